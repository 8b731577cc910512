"""Delivers what was kept: starts and signals workflows, at least once, in order within a stream.

Rows of inbox and outbox are leased, delivered concurrently and settled in batches. A dispatcher
that is killed loses nothing: its leases end and another delivers again, which changes nothing,
since starts are unique and every signal carries an id.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from config.settings import Settings, load_settings
from starter.api.context import Wakeup
from starter.api.metrics import DELIVERIES, DELIVERY_SECONDS, IN_FLIGHT, TEMPORAL_UP
from starter.deliveries import (
    Behind,
    Delivery,
    Done,
    Kept,
    Later,
    Outcome,
    Prepared,
    Preparer,
    Quarantined,
    Signal,
    Start,
    backoff,
)
from starter.intake import Capture, Intake, Reference
from starter.leases import LeaseKeeper
from store import inbox, outbox, timeline
from store.engine import migrate, transaction
from store.messages import Message, let_go_messages
from worker.composition import connect, engine_of

log = logging.getLogger("doms.dispatcher")

Connect = Callable[[], Awaitable[Client]]

POLL_SECONDS = 0.25
"""Rows written by other processes are found within this time."""
LINGER_SECONDS = 0.08
"""While busy, a turn waits this long for company: one transaction settles and claims several."""
QUIET_LINGER_SECONDS = 0.002
ROWS_AT_ONCE = 32
CALLS_AT_ONCE = 16
RPC_TIMEOUT = timedelta(seconds=5)
LONGEST_PAUSE_SECONDS = 5.0
AWAY_PAUSE_SECONDS = 0.5
"""Nothing is claimed before the server answers again; an overloaded one gets this long a rest."""
STARTING_PAUSE_SECONDS = 1.0
"""A workflow that has not started yet is about to: its signals try again this soon."""
GRACE_SECONDS = 5.0

_AWAY = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
    }
)


@dataclass(frozen=True)
class Settled:
    """A claimed row and what became of it."""

    row: Message
    outgoing: bool
    outcome: Outcome


class TemporalAwayError(Exception):
    """The server cannot be reached now; nothing is wrong with what was to be delivered."""


class NotYetStartedError(Exception):
    """The workflow does not exist yet; its start waits or is under way."""


class StoppedError(Exception):
    """The workflow failed or was terminated with work left; once reset, it takes the signal."""


class Dispatcher:
    """One per process; several processes may each have one."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        reference: Reference,
        capture: Capture,
        wakeup: Wakeup,
        clock: Callable[[], datetime],
    ) -> None:
        """Deliver from that store; `wakeup` says that something was committed in this process."""
        self._settings = settings
        self._engine = engine
        self._preparer = Preparer(settings, reference, capture)
        self._wakeup = wakeup
        self._clock = clock
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self._settled: list[Settled] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._random = random.Random()  # noqa: S311 (jitter, no secret)
        self._lease = LeaseKeeper()
        self.reaches_temporal = False

    async def run(self, connect: Connect) -> None:
        """Deliver until cancelled."""
        self._wakeup.bind()
        client: Client | None = None
        try:
            while True:
                if client is None or not self.reaches_temporal:
                    client = await self._reach(connect, client)
                if await self._turn(client):
                    continue
                await self._wakeup.wait(POLL_SECONDS)
                is_busy = bool(self._tasks or self._settled)
                await asyncio.sleep(LINGER_SECONDS if is_busy else QUIET_LINGER_SECONDS)
        finally:
            await self._finish()

    async def _reach(self, connect: Connect, client: Client | None) -> Client:
        """A client whose server answers; tries with growing pauses for as long as it takes."""
        pause = 0.2
        while True:
            try:
                client = client or await connect()
                await client.service_client.check_health(timeout=RPC_TIMEOUT)
            except (RPCError, RuntimeError, OSError) as error:
                self._note_reach(False, str(error))
                await self._settle_only()
                await asyncio.sleep(pause * self._random.uniform(0.5, 1))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                self._note_reach(True)
                return client

    def _note_reach(self, reaches: bool, why: str = "") -> None:
        if not reaches and (self.reaches_temporal or why):
            log.warning("Temporal cannot be reached; what comes in is kept: %s", why)
        self.reaches_temporal = reaches
        TEMPORAL_UP.set(reaches)

    async def _turn(self, client: Client) -> bool:
        """Settle what is finished, claim what there is room for; True when there may be more."""
        room = ROWS_AT_ONCE - len(self._tasks)
        settled, self._settled = self._settled, []
        try:
            prepared = await asyncio.to_thread(self._exchange, settled, room)
        except SQLAlchemyError as error:
            log.warning("the database did not answer: %s", error)
            self._settled = settled + self._settled
            await asyncio.sleep(1)
            return False
        for stream in _by_stream(prepared):
            task = asyncio.create_task(self._deliver_stream(client, stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        IN_FLIGHT.set(len(self._tasks))
        return bool(room) and len(prepared) >= room

    def _exchange(self, settled: Sequence[Settled], room: int) -> list[Prepared]:
        """One transaction settles and claims; a second, reading one prepares what was claimed."""
        now = self._clock()
        with transaction(self._engine) as session:
            for one in settled:
                self._write_outcome(session, one, now)
            done_in = [x.row.id for x in settled if isinstance(x.outcome, Done) and not x.outgoing]
            done_out = [x.row.id for x in settled if isinstance(x.outcome, Done) and x.outgoing]
            inbox.done(session, done_in, now)
            outbox.done(session, done_out, now)
            self._lease.keep(session, now)
            claimed = self._claim(session, room, now)
        for one in settled:
            _measure(one, now)
        return self._preparer.prepare_all(self._engine, claimed)

    def _claim(self, session: Session, room: int, now: datetime) -> list[tuple[Message, bool]]:
        """Half the room at most for signals between workflows when both sides have a backlog."""
        if room <= 0:
            return []
        owner = self._lease.owner
        going_out = [
            (row, True) for row in outbox.claim(session, (room + 1) // 2, now, owner=owner)
        ]
        left = room - len(going_out)
        coming_in = inbox.claim(session, left, now, owner=owner) if left > 0 else []
        return [(row, False) for row in coming_in] + going_out

    def _write_outcome(self, session: Session, one: Settled, now: datetime) -> None:
        """What `done` in bulk does not cover: notes, postponing, quarantine."""
        side = outbox if one.outgoing else inbox
        match one.outcome:
            case Done(notes):
                for order_id, entry in notes:
                    timeline.note(session, order_id, [entry])
            case Later(error, longest):
                pause = backoff(one.row.attempts, longest, self._random)
                side.retry_later(session, one.row.id, error[:500], now + pause)
            case Quarantined(reason):
                side.quarantine(session, one.row.id, reason[:1_000])
            case Behind():
                let_go_messages(session, [one.row.id])
            case Kept():
                pass

    async def _deliver_stream(self, client: Client, stream: Sequence[Prepared]) -> None:
        """One after another; what follows one that must come again later waits for it.

        A workflow that is told several things at once looks at them in one task.
        """
        is_held_up = False
        for one in stream:
            outcome = Behind() if is_held_up else await self._deliver(client, one)
            is_held_up = is_held_up or isinstance(outcome, Later)
            self._settled.append(Settled(one.row, one.outgoing, outcome))
        self._wakeup.set_here()

    async def _deliver(self, client: Client, prepared: Prepared) -> Outcome:
        """Tell Temporal what the row asks for; the outcome is written with the next turn."""
        outcome = prepared.outcome
        try:
            async with self._calls:
                for delivery in prepared.deliveries:
                    await self._tell(client, delivery)
        except TemporalAwayError as error:
            self._note_reach(False, str(error))
            outcome = Later(str(error), pause=AWAY_PAUSE_SECONDS)
        except NotYetStartedError as error:
            outcome = Later(str(error), pause=STARTING_PAUSE_SECONDS)
        except StoppedError as error:
            outcome = Later(str(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("message %s cannot be delivered", prepared.row.id)
            outcome = Later(f"{type(error).__name__}: {error}")
        return outcome

    async def _tell(self, client: Client, delivery: Delivery) -> None:
        """Start or signal. Raises TemporalAwayError, NotYetStartedError or Temporal's refusal."""
        try:
            if isinstance(delivery, Start):
                await self._start(client, delivery)
            else:
                await self._signal(client, delivery)
        except RPCError as error:
            if error.status in _AWAY:
                raise TemporalAwayError(f"{error.status.name}: {error.message}") from error
            raise

    async def _start(self, client: Client, start: Start) -> None:
        try:
            await client.start_workflow(
                "OrderWorkflow",
                start.input,
                id=start.workflow_id,
                task_queue=self._settings.orders_task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=start.attributes,
                static_summary=start.summary,
                static_details=start.details,
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            log.debug("%s runs already", start.workflow_id)

    async def _signal(self, client: Client, signal: Signal) -> None:
        handle = client.get_workflow_handle(signal.workflow_id)
        try:
            await handle.signal(signal.name, signal.payload, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await self._refuse_unless_closed(client, signal)

    async def _refuse_unless_closed(self, client: Client, signal: Signal) -> None:
        """A signal to what has ended is done; one to a workflow not started or stopped waits."""
        try:
            described = await client.get_workflow_handle(signal.workflow_id).describe(
                rpc_timeout=RPC_TIMEOUT
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            if not await asyncio.to_thread(
                self._preparer.is_closed, self._engine, signal.workflow_id
            ):
                raise NotYetStartedError(f"{signal.workflow_id} has not started yet") from error
            return
        if described.status is WorkflowExecutionStatus.RUNNING:
            # It continued as new in between: the next attempt finds the new run.
            raise NotYetStartedError(f"{signal.workflow_id} was between two runs")
        if described.status is not WorkflowExecutionStatus.COMPLETED:
            await self._refuse_unless_ended(signal)
        log.info("%s for %s: workflow closed", signal.name, signal.workflow_id)

    async def _refuse_unless_ended(self, signal: Signal) -> None:
        """A workflow that failed or was terminated may be reset, and then misses no message."""
        is_closed = self._preparer.is_closed
        if not await asyncio.to_thread(is_closed, self._engine, signal.workflow_id):
            raise StoppedError(f"{signal.workflow_id} has stopped: reset it in the Temporal UI")

    async def _settle_only(self) -> None:
        """Write outcomes while Temporal is away, so that their leases end."""
        settled, self._settled = self._settled, []
        if settled:
            try:
                await asyncio.to_thread(self._exchange, settled, 0)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
                self._settled = settled + self._settled

    async def _finish(self) -> None:
        """Let calls under way end, for some seconds, and write what became of them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await self._settle_only()


def _by_stream(prepared: Sequence[Prepared]) -> list[list[Prepared]]:
    """Rows of one stream together, in order; one without a stream stands alone."""
    streams: dict[tuple[bool, object], list[Prepared]] = {}
    for one in prepared:
        streams.setdefault((one.outgoing, one.row.stream or one.row.id), []).append(one)
    return list(streams.values())


def _measure(one: Settled, now: datetime) -> None:
    outcome = type(one.outcome).__name__.lower()
    DELIVERIES.labels(one.row.kind, outcome).inc()
    if isinstance(one.outcome, Done):
        DELIVERY_SECONDS.observe(max(0.0, (now - one.row.received_at).total_seconds()))


async def _serve() -> None:
    settings = load_settings()
    engine = engine_of(settings)
    await asyncio.to_thread(migrate, engine)
    wakeup, reference = Wakeup(), Reference()
    capture = Capture(engine, reference, Intake(engine, reference))
    dispatcher = Dispatcher(settings, engine, reference, capture, wakeup, lambda: datetime.now(UTC))
    try:
        await dispatcher.run(lambda: connect(settings))
    finally:
        engine.dispose()


def main() -> None:
    """Run a dispatcher alone, beside or instead of the API's own, until told to stop."""
    logging.basicConfig(level=load_settings().log_level)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve())


if __name__ == "__main__":
    main()
