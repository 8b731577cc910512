"""What all simulators share: memory, clock, knobs, the ledger, due steps and callbacks."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json, to_json

from integrations.simulators.database import Database, Step
from integrations.simulators.knobs import Knobs, happens, turned
from integrations.simulators.outbox import Outbox

logger = logging.getLogger(__name__)

_STEPS_AT_ONCE = 50
_FOREVER = float("inf")
_LONGEST_SLEEP = 3_600.0


def now_text() -> str:
    """The time now, as it goes into documents."""
    return datetime.now(UTC).isoformat()


class Machine:
    """State and time of one simulator. Everything that changes state does so inside `work()`."""

    def __init__(self, database: Database, outbox: Outbox, callback_url: str) -> None:
        """Read the knobs as they were last turned."""
        self.database = database
        self._outbox = outbox
        self._callback_url = callback_url
        stored = database.document("knobs", "")
        self.knobs = turned(Knobs(), from_json(stored)) if stored else Knobs()
        self._wake = asyncio.Event()
        self._sleeps_until = _FOREVER
        self._earliest = _FOREVER
        self._streams: set[str] = set()

    def turn(self, changes: dict[str, Any] | None) -> Knobs:
        """Change some knobs, or all back to how they come (None). Raises ValueError."""
        self.knobs = Knobs() if changes is None else turned(self.knobs, changes)
        self.database.keep("knobs", "", self.knobs.model_dump_json().encode())
        self._wake.set()
        self._outbox.hold(stopped=self.knobs.outage)
        return self.knobs

    @contextmanager
    def work(self) -> Iterator[None]:
        """One transaction; what it planned and sent is taken up after the commit."""
        self._streams.clear()
        self._earliest = _FOREVER
        with self.database.transaction():
            yield
        for stream in self._streams:
            self._outbox.wake(stream)
        if self._earliest < self._sleeps_until:
            self._wake.set()

    def plan(self, step: str, subject: str, knobs: Knobs, *, lasts: str, detail: str = "") -> None:
        """Do a step once the one named `lasts` has taken its time."""
        due = time.time() + knobs.seconds(lasts)
        self.database.plan(due, step, subject, detail)
        self._earliest = min(self._earliest, due)

    def tell(self, reference: str, body: dict[str, Any], knobs: Knobs) -> None:
        """Send a webhook to doms, after the earlier ones of that reference unless knobs say so."""
        event_id = body["event_id"]
        stream, due = reference, time.time()
        if happens(knobs, "out_of_order_rate", event_id):
            stream, due = event_id, due + knobs.out_of_order_seconds
        elif happens(knobs, "late_webhook_rate", event_id):
            due += knobs.late_seconds
        text = to_json({**body, "simulator": True}).decode()
        copies = 2 if happens(knobs, "duplicate_webhook_rate", event_id) else 1
        for _ in range(copies):
            self.database.send(stream, self._callback_url, event_id, text, due)
        self._streams.add(stream)

    def call(self, stream: str, url: str, body: dict[str, Any]) -> None:
        """Call another company's system, such as the carrier's; unsigned."""
        self.database.send(stream, url, "", to_json(body).decode(), time.time())
        self._streams.add(stream)

    def record(self, kind: str, reference: str, **detail: object) -> None:
        """Write down in the ledger what was done."""
        self.database.record(now_text(), kind, reference, detail)

    async def run(self, perform: Callable[[Step], None]) -> None:
        """Do each step when it falls due, for ever; sleep in between."""
        self._outbox.hold(stopped=self.knobs.outage)
        for stream in self.database.streams():
            self._outbox.wake(stream)
        while True:
            steps = (
                [] if self.knobs.outage else self.database.due_steps(time.time(), _STEPS_AT_ONCE)
            )
            for step in steps:
                self._do(step, perform)
                await asyncio.sleep(0)
            if not steps:
                await self._sleep()

    def _do(self, step: Step, perform: Callable[[Step], None]) -> None:
        try:
            with self.work():
                perform(step)
                self.database.step_done(step.id)
        except Exception:
            logger.exception("step %s of %s failed and is dropped", step.name, step.subject)
            self.database.step_done(step.id)

    async def _sleep(self) -> None:
        due = None if self.knobs.outage else self.database.next_due()
        self._sleeps_until = _FOREVER if due is None else due
        self._wake.clear()
        timeout = None if due is None else min(max(0.0, due - time.time()), _LONGEST_SLEEP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._sleeps_until = 0.0
