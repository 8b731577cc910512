"""Reservations of a process's threads, those that come at the same time in one transaction.

A SKU that everybody wants is then limited by what one transaction can do, not by how many can be
committed in a second; and SQLite waits for the disk once for all of them.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.orm import Session

from domain.errors import RetryableError
from store.engine import transaction
from store.reserving import Ask, reserve_plans

MOST_AT_ONCE = 64
"""Reservations of one transaction: more only make each wait longer."""
LONGEST_WAIT = 10.0
"""Seconds a thread waits for others to serve it or to let it serve."""
_AWAY = (OperationalError, InterfaceError, NoConnectionError)
"""The database is locked, full or gone: each alone would fare no better, only later."""


def _nothing(_session: Session) -> None:
    return


@dataclass(eq=False)
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

    def __init__(self, engine: Engine, *, longest_wait: float = LONGEST_WAIT) -> None:
        """Reserve in that database; a thread waits at most that many seconds for the others."""
        self._engine = engine
        self._longest_wait = longest_wait
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._leader: _Waiting | None = None
        """Who serves now or is woken to: always in the queue or in the batch being served."""

    def reserve(self, ask: Ask, then: Callable[[Session], None] = _nothing) -> str:
        """Take the plan, and do `then` in the same transaction; the reservation's id.

        Raises ShortageError, and then nothing was changed, RetryableError when others kept it
        waiting too long (whether it was taken is told under the same key), and whatever else went
        wrong.
        """
        mine = _Waiting(ask, then)
        try:
            with self._lock:
                self._queue.append(mine)
                if self._leader is None:
                    self._leader = mine
                    mine.woken.set()
            if not mine.woken.wait(self._longest_wait):
                raise RetryableError("other reservations take too long: try again")
            if mine.outcome is None and self._leader is mine:
                self._serve_next()
        finally:
            # Whatever ends this thread's wait, the others must go on without it.
            self._leave(mine)
        if isinstance(mine.outcome, str):
            return mine.outcome
        raise mine.outcome or RetryableError("the reservation was left without an answer")

    def _leave(self, mine: _Waiting) -> None:
        with self._lock:
            if mine in self._queue:
                self._queue.remove(mine)
            if self._leader is mine:
                self._leader = self._queue[0] if self._queue else None
                if self._leader is not None:
                    self._leader.woken.set()

    def _serve_next(self) -> None:
        batch: list[_Waiting] = []
        try:
            with self._lock:
                while self._queue and len(batch) < MOST_AT_ONCE:
                    batch.append(self._queue.popleft())
            self._serve(batch)
        finally:
            for waiting in batch:
                waiting.woken.set()

    def _serve(self, batch: Sequence[_Waiting]) -> None:
        error = self._answer(batch)
        if error is not None and len(batch) > 1 and not isinstance(error, _AWAY):
            # One that fails must not take the others along: each alone.
            for waiting in batch:
                error = self._answer([waiting])
                if isinstance(error, _AWAY):
                    break
                waiting.outcome = waiting.outcome or error
        for waiting in batch:
            waiting.outcome = waiting.outcome or error

    def _answer(self, batch: Sequence[_Waiting]) -> Exception | None:
        """Serve them in one transaction, or say why none was."""
        try:
            with transaction(self._engine) as session:
                outcomes = reserve_plans(session, [waiting.ask for waiting in batch])
                served = zip(batch, outcomes, strict=True)
                taken = [waiting for waiting, outcome in served if isinstance(outcome, str)]
                # In the order in which whoever else writes to many orders does, or each may wait
                # for a row of the other.
                for waiting in sorted(taken, key=lambda waiting: waiting.ask.order_id):
                    waiting.then(session)
        except Exception as error:
            return error
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
        return None
