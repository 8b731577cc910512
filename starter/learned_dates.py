"""Delivery dates as learned last, in memory: a promise never waits for the database."""

import threading
import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.learned_dates import LearnedDates
from store import delivery_dates
from store.engine import reading

LOOK_AGAIN_SECONDS = 600.0


class LearnedReader:
    """Reads anew, in a thread of its own, when what it has is some minutes old."""

    def __init__(self, engine: Engine, look_again_seconds: float = LOOK_AGAIN_SECONDS) -> None:
        """Nothing is read yet."""
        self._engine = engine
        self._look_again_seconds = look_again_seconds
        self._learned: LearnedDates | None = None
        self._looked_at = float("-inf")
        self._looking = threading.Lock()

    def current(self) -> LearnedDates | None:
        """What is known now; None before the first reading and while nothing was learned."""
        is_old = time.monotonic() - self._looked_at > self._look_again_seconds
        if is_old and self._looking.acquire(blocking=False):
            self._looked_at = time.monotonic()
            threading.Thread(target=self._look, name="learned dates", daemon=True).start()
        return self._learned

    def _look(self) -> None:
        try:
            with reading(self._engine) as session:
                self._learned = delivery_dates.latest(session)
        except SQLAlchemyError:
            # What was known stays in use; the next look is some minutes later.
            return
        finally:
            self._looking.release()
