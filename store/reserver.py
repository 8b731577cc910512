"""Reservations of a process's threads, those that come at the same time in one transaction.

A SKU that everybody wants is then limited by what one transaction can do, not by how many can be
committed in a second; and SQLite waits for the disk once for all of them.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.engine import transaction
from store.reserving import Ask, reserve_plans

MOST_AT_ONCE = 64
"""Reservations of one transaction: more only make each wait longer."""


def _nothing(_session: Session) -> None:
    return


@dataclass
class _Waiting:
    """A thread's ask; `woken` says that it was served, or else that the thread is to serve."""

    ask: Ask
    then: Callable[[Session], None]
    woken: threading.Event = field(default_factory=threading.Event)
    outcome: str | Exception | None = None


class Reserver:
    """Takes plans for the threads of a process, those that come at the same time together.

    The first thread serves itself and whoever waits, in one transaction; who comes meanwhile is
    served by the next. Nothing runs in the background and nobody waits for company.
    """

    def __init__(self, engine: Engine) -> None:
        """Reserve in that database."""
        self._engine = engine
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._is_serving = False

    def reserve(self, ask: Ask, then: Callable[[Session], None] = _nothing) -> str:
        """Take the plan, and do `then` in the same transaction; the reservation's id.

        Raises ShortageError, and then nothing was changed, and whatever else went wrong.
        """
        mine = _Waiting(ask, then)
        with self._lock:
            self._queue.append(mine)
            serves, self._is_serving = not self._is_serving, True
        if not serves:
            mine.woken.wait()
        if mine.outcome is None:
            self._serve_next()
        if isinstance(mine.outcome, str):
            return mine.outcome
        raise mine.outcome or RuntimeError("a reservation was left without an answer")

    def _serve_next(self) -> None:
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(MOST_AT_ONCE, len(self._queue)))]
        try:
            self._serve(batch)
        finally:
            with self._lock:
                following = self._queue[0] if self._queue else None
                self._is_serving = following is not None
            for waiting in batch:
                waiting.woken.set()
            if following is not None:
                following.woken.set()

    def _serve(self, batch: Sequence[_Waiting]) -> None:
        try:
            with transaction(self._engine) as session:
                outcomes = reserve_plans(session, [waiting.ask for waiting in batch])
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    if isinstance(outcome, str):
                        waiting.then(session)
        except Exception as error:
            if len(batch) == 1:
                batch[0].outcome = error
                return
            # One that fails must not take the others along: each alone.
            for waiting in batch:
                self._serve([waiting])
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
