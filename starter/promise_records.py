"""Keeping promises without making the shopper wait: one thread writes them in batches.

The queue is bounded: when it is full, the caller writes its own promise. Whoever needs one that is
not written yet writes it at once. What is in the queue is written before the process ends; a killed
process loses at most what it answered in the last moments, and an order that names such a promise
is promised afresh (lost_promises.py).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.routing.facts import snapshot_of
from starter.promising import Promise
from store import decisions
from store.engine import reading, transaction

MOST_WAITING = 2_000
_AT_ONCE = 50
_GATHER_SECONDS = 0.02
_RETRY_SECONDS = 1.0
UNUSED_KEPT = timedelta(days=30)
"""A promise that no order took is forgotten after that time."""
_FORGET_SECONDS = 3_600.0
FORGOTTEN_AT_ONCE = 10_000
_DELETED_AT_ONCE = 500

log = logging.getLogger(__name__)


class PromiseRecords:
    """Writes promises, now or soon; one per process."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """Without `start`, everything is written at once."""
        self._engine = engine
        self._clock = clock
        self._waiting: queue.Queue[Promise] = queue.Queue(most_waiting)
        self._unwritten: dict[str, Promise] = {}
        """Of each decision id, the promise that `put` took and nobody wrote yet."""
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._networks: set[str] = set()
        """Versions of the network that are kept."""

    def start(self) -> None:
        """Begin to write what `put` takes, in a thread of its own."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="promises", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def waiting(self) -> int:
        """How many promises were answered and are not written yet, about."""
        return self._waiting.qsize()

    def put(self, promise: Promise) -> bool:
        """Take a promise to write soon; False when the caller has to `write` it."""
        if self._thread is None:
            return False
        self._unwritten.update((one.decision_id, promise) for one in promise.decided)
        try:
            self._waiting.put_nowait(promise)
        except queue.Full:
            self._no_longer_waits(promise)
            return False
        return True

    def settle(self, decision_id: str) -> None:
        """Write the promise of that decision now, if it still waits; it waits for no other."""
        promise = self._unwritten.get(decision_id)
        if promise is not None:
            # The thread writes it too, which changes nothing.
            self.write([promise])
            self._no_longer_waits(promise)

    def write(self, promises: Sequence[Promise]) -> None:
        """Write promises now."""
        rows = self.rows(promises)
        with transaction(self._engine) as session:
            decisions.save_packed(session, rows)

    def rows(self, promises: Sequence[Promise]) -> list[dict[str, Any]]:
        """Rows for `decisions.save_packed`; call it outside a transaction."""
        # Packing takes longer than writing: the database's writer is not kept waiting for it.
        rows: list[dict[str, Any]] = []
        for promise in promises:
            for one in promise.decided:
                snapshot = snapshot_of(one.facts, one.request)
                if snapshot.network_version not in self._networks:
                    with transaction(self._engine) as session:
                        decisions.keep_network(session, snapshot)
                    self._networks.add(snapshot.network_version)
                rows.append(
                    decisions.packed(
                        one.decision_id,
                        None,
                        one.request,
                        snapshot,
                        promise.policy,
                        one.decision,
                        promise.now,
                    )
                )
        return rows

    def _run(self) -> None:
        forget_at = time.monotonic()
        while not (self._ended.is_set() and self._waiting.empty()):
            batch = self._next_batch()
            if time.monotonic() >= forget_at:
                # What is left is forgotten after the next batch: writing does not wait for it.
                is_done = self._forget()
                forget_at = time.monotonic() + (_FORGET_SECONDS if is_done else 0.0)
            if batch:
                self._write_at_last(batch)
                for promise in batch:
                    self._no_longer_waits(promise)

    def _no_longer_waits(self, promise: Promise) -> None:
        for one in promise.decided:
            self._unwritten.pop(one.decision_id, None)

    def _next_batch(self) -> list[Promise]:
        try:
            batch = [self._waiting.get(timeout=0.2)]
        except queue.Empty:
            return []
        self._ended.wait(_GATHER_SECONDS)
        while len(batch) < _AT_ONCE:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return batch

    def _write_at_last(self, batch: list[Promise]) -> None:
        while True:
            try:
                self.write(batch)
            except SQLAlchemyError as error:
                log.warning("%d promises cannot be written yet: %s", len(batch), error)
                if self._ended.wait(_RETRY_SECONDS):
                    log.warning("%d promises were not written", len(batch))
                    return
            except Exception:
                log.exception("%d promises cannot be packed", len(batch))
                self._write_each(batch)
                return
            else:
                return

    def _write_each(self, batch: list[Promise]) -> None:
        """Leave out the one that cannot be packed."""
        if len(batch) > 1:
            for promise in batch:
                self._write_at_last([promise])

    def _forget(self) -> bool:
        """Forget some of the old promises that no order took; whether all are forgotten now."""
        try:
            with reading(self._engine) as session:
                before = self._clock() - UNUSED_KEPT
                found = decisions.unused(session, before, limit=FORGOTTEN_AT_ONCE)
            for first in range(0, len(found), _DELETED_AT_ONCE):
                with transaction(self._engine) as session:
                    decisions.forget(session, found[first : first + _DELETED_AT_ONCE])
        except Exception:
            log.exception("old promises cannot be deleted yet")
            return True
        return len(found) < FORGOTTEN_AT_ONCE
