"""Tells subscribers what happened to orders: signed, in order, again and again for three days.

One process at a time tells a subscription (a lease on its row); subscriptions are told side by
side. What a receiver does not take is tried again by `RETRIES` and then kept for a person. A
process that is killed loses nothing: the next tells the same events under the same ids again.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from prometheus_client import Counter
from pydantic_core import to_json
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from integrations.event_posting import Answer, Networks, post_event
from integrations.http import open_client
from store import event_deliveries, subscriptions
from store.engine import reading, transaction
from store.event_deliveries import DueEvent
from store.subscriptions import Secret, Subscription, SubscriptionState

log = logging.getLogger("doms.events")

RETRIES = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""Pauses between attempts, as Standard Webhooks suggests: ten attempts within three days."""
POLL_SECONDS = 0.5
EVENTS_AT_ONCE = 50
SUBSCRIPTIONS_AT_ONCE = 16
TURN_SECONDS = 20.0
"""After so long a subscription is given back: well within its lease."""
LONGEST_PAUSE = timedelta(minutes=1)
"""A receiver that is away is asked at least this often whether it is back."""
LONGEST_ASKED_PAUSE = timedelta(days=1)
KEPT = timedelta(days=30)
"""How long it is kept what a subscriber was told."""
TIDY_SECONDS = 3_600.0

_GONE = httpx.codes.GONE
_OVERLOADED = frozenset({408, 425, 429})
_SERVER_ERROR = 500

SENT = Counter("doms_events_sent", "Attempts to tell subscribers of events", ["outcome"])

Attempt = tuple[DueEvent, Answer]


@dataclass
class _Turn:
    """What became of some events of one subscription."""

    subscription: Subscription
    attempts: list[Attempt]

    @property
    def last(self) -> Answer | None:
        """The last answer: whether the receiver is away or well."""
        return self.attempts[-1][1] if self.attempts else None


class EventSender:
    """One per process; several processes may each have one."""

    def __init__(
        self,
        engine: Engine,
        environment: Mapping[str, str],
        networks: Networks,
        clock: Callable[[], datetime],
        *,
        client: httpx.Client | None = None,
    ) -> None:
        """Tell what that store keeps; `networks` are private ones that may be told."""
        self._engine = engine
        self._environment = environment
        self._networks = networks
        self._clock = clock
        # Not the connections to our own systems: those lead to addresses that are refused here.
        # And without a proxy, which a transport of one's own has none of: what is looked at is
        # where a connection leads, and through a proxy that is the proxy.
        self._client = client or open_client(transport=httpx.HTTPTransport())
        self._owner = secrets.token_hex(8)
        self._random = random.Random()  # noqa: S311 (jitter, no secret)
        self._under_way: dict[str, asyncio.Future[int]] = {}
        self._tidied = -TIDY_SECONDS
        self._is_stopping = False

    async def run(self, _: object = None) -> None:
        """Tell until cancelled."""
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(SUBSCRIPTIONS_AT_ONCE, "events")
        self._is_stopping = False
        try:
            while True:
                try:
                    await self._begin(loop, pool)
                except SQLAlchemyError as error:
                    log.warning("the database did not answer: %s", error)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            # What is being sent is settled; the rest waits for the next process.
            self._is_stopping = True
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
            self._under_way.clear()

    async def _begin(self, loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor) -> None:
        """Begin to tell every subscription that is due and not under way in this process."""
        for subscription_id, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[subscription_id]
                if task.exception() is not None:
                    log.warning("%s was not told: %s", subscription_id, task.exception())
        await loop.run_in_executor(pool, self._tidy)
        for subscription_id in await loop.run_in_executor(pool, self._due):
            if subscription_id not in self._under_way:
                task = loop.run_in_executor(pool, self.tell_all, subscription_id)
                self._under_way[subscription_id] = task

    def _due(self) -> list[str]:
        with reading(self._engine) as session:
            return subscriptions.due(session, self._clock())

    def _tidy(self) -> None:
        now = time.monotonic()
        if now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            with transaction(self._engine) as session:
                event_deliveries.forget(session, self._clock() - KEPT)

    def tell_due(self) -> int:
        """Tell every subscription what is due now, one after another; how many were taken."""
        return sum(self.tell_all(subscription_id) for subscription_id in self._due())

    def tell_all(self, subscription_id: str) -> int:
        """Tell one subscription what is due, for a while; how many events it took."""
        taken, until = 0, time.monotonic() + TURN_SECONDS
        while time.monotonic() < until and not self._is_stopping:
            turn = self._turn(subscription_id, until)
            told = 0 if turn is None else sum(x.is_taken for _, x in turn.attempts)
            taken += told
            if told < EVENTS_AT_ONCE:
                break
        return taken

    def _turn(self, subscription_id: str, until: float) -> _Turn | None:
        now = self._clock()
        with transaction(self._engine) as session:
            found = subscriptions.claim(session, subscription_id, self._owner, now)
            if found is None:
                return None
            events = event_deliveries.due(session, subscription_id, now, EVENTS_AT_ONCE)
        turn = _Turn(found, [])
        try:
            self._tell(turn, events, until)
        finally:
            with transaction(self._engine) as session:
                self._settle(session, turn)
        return turn

    def _tell(self, turn: _Turn, events: Sequence[DueEvent], until: float) -> None:
        """Send one after another; of an order, none after one that was not taken."""
        held_up: set[str] = set()
        for event in events:
            if event.order_id in held_up:
                continue
            answer = self._send(turn.subscription, event)
            turn.attempts.append((event, answer))
            if not answer.is_taken:
                held_up.add(event.order_id)
            if _is_away(answer) or answer.status == _GONE:
                return
            if self._is_stopping or time.monotonic() > until:
                return

    def _send(self, subscription: Subscription, event: DueEvent) -> Answer:
        now = self._clock()
        try:
            signing = [self._secret(x) for x in subscription.secrets if x.signs(now)]
        except LookupError as missing:
            return Answer(None, str(missing.args[0]))
        body = to_json(event.document).decode()
        return post_event(
            self._client, subscription.url, event.event_id, body, signing, now, self._networks
        )

    def _secret(self, secret: Secret) -> str:
        found = secret.value or self._environment.get(secret.variable or "")
        if not found:
            raise LookupError(f"set the variable {secret.variable}, which signs its events")
        return found

    def _settle(self, session: Session, turn: _Turn) -> None:
        """Write what became of each event, and when the subscription may be told again."""
        now, subscription_id = self._clock(), turn.subscription.subscription_id
        taken = [event.id for event, answer in turn.attempts if answer.is_taken]
        event_deliveries.told(session, taken, now)
        for event, answer in turn.attempts:
            SENT.labels(_outcome(answer)).inc()
            if not answer.is_taken:
                self._postpone(session, event, answer, now)
        last = turn.last
        if last is not None and last.status == _GONE:
            why = "the receiver answered 410 Gone"
            subscriptions.set_state(session, subscription_id, SubscriptionState.DISABLED, why)
            event_deliveries.give_up_all(session, subscription_id, why, now)
            log.warning("%s is disabled: %s", subscription_id, why)
        failures, not_before = turn.subscription.failures, None
        if last is not None:
            failures = failures + 1 if _is_away(last) else 0
            not_before = self._pause(last, failures, now)
        subscriptions.let_go(
            session, subscription_id, self._owner, failures=failures, not_before=not_before
        )

    def _postpone(self, session: Session, event: DueEvent, answer: Answer, now: datetime) -> None:
        if event.attempts >= len(RETRIES):
            event_deliveries.give_up(session, event.id, answer.words, now)
            log.warning("event %s is given up: %s", event.event_id, answer.words)
            return
        pause = RETRIES[event.attempts] * self._random.uniform(1, 1.1)
        pause = max(pause, _asked(answer))
        event_deliveries.retry_later(session, event.id, answer.words, now + pause)

    def _pause(self, answer: Answer, failures: int, now: datetime) -> datetime | None:
        """Until when a receiver that is away, or asked for rest, is left alone."""
        if not _is_away(answer):
            return None
        pause = min(timedelta(seconds=2 ** min(failures, 10)), LONGEST_PAUSE)
        return now + max(pause, _asked(answer))


def _is_away(answer: Answer) -> bool:
    """Whether no event would be taken now, so that the others need not try."""
    status = answer.status
    return status is None or status in _OVERLOADED or status >= _SERVER_ERROR


def _asked(answer: Answer) -> timedelta:
    """How long the receiver asked to be left alone."""
    seconds = min(answer.retry_after or 0.0, LONGEST_ASKED_PAUSE.total_seconds())
    return timedelta(seconds=seconds)


def _outcome(answer: Answer) -> str:
    if answer.is_taken:
        return "taken"
    return "away" if _is_away(answer) else "refused"
