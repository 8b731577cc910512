"""Keeping this process's availability view at the head of the change feed.

One thread looks every `LOOK_SECONDS`: within one snapshot of the database it reads what changed
since the last look and the values that has now, and swaps the view. It also compares the view with
the database, piece by piece and round and round, and prunes the feed. Where no thread runs (tools,
tests) whoever asks for the view looks first.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import UnknownReferenceError
from domain.policy_rollout import Activation, Whose, in_force
from domain.routing.decision import Exclusion
from domain.routing.policy import RoutingPolicy
from store import policies
from store.changes import Pruner, has_passed, news_since, place_of
from store.engine import reading
from store.view import EMPTY, AvailabilityView
from store.view_check import Checker
from store.view_updates import moved, one_moment, read_view

LOOK_SECONDS = 0.05
CHECK_SECONDS = 1.0
PRUNE_SECONDS = 60.0
STALE_SECONDS = 10.0
"""Longer without a look and promises tell of stock that may be gone."""
_PAUSE_SECONDS = 1.0
_REFUSED = "had fewer units a moment ago"
_MOST_SCOPES = 1_000
_POLICY_TOPICS = frozenset({"policy_activations", "network_state"})
"""What changes which policy is in force, or what its sourcing groups hold."""

Scope = tuple[str, str, str, str]
"""Brand, region, order type, channel."""
_Known = tuple[Sequence[Activation], Mapping[str, RoutingPolicy]]
"""A scope's activations, and their policies by version."""

log = logging.getLogger(__name__)


def _whose(scope: Scope, unit: str) -> Whose:
    brand, region, order_type, channel = scope
    return Whose(brand=brand, region=region, order_type=order_type, channel=channel, unit=unit)


class Following:
    """The newest view, what was refused since, and the policies in force; one per process."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        """Nothing is read yet. `clock` tells which days and cool-offs are over."""
        self._engine = engine
        self._clock = clock
        self._view = EMPTY
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._is_trusted = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._refused: dict[tuple[str, str], str] = {}
        self._policies: dict[Scope, _Known] = {}
        self._checker = Checker()
        self._pruner = Pruner()
        self.differences = 0
        """Pieces of the view that were found unlike the database, and read anew."""

    def start(self) -> None:
        """Read everything, then follow in a thread of its own until `stop`."""
        self.look()
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def view(self) -> AvailabilityView:
        """The newest view; without a thread, one of this moment (reads the database)."""
        if self._thread is None:
            self.look()
        return self._view

    @property
    def reads_nothing(self) -> bool:
        """Whether `view` and `exclusions` only read memory, so that an event loop may call them."""
        return self._thread is not None

    @property
    def is_current(self) -> bool:
        """Whether the last look succeeded some seconds ago at most; true where none is kept."""
        return self._thread is None or time.monotonic() - self._looked_at <= STALE_SECONDS

    def look(self) -> AvailabilityView:
        """Bring the view to this moment."""
        with self._looking, one_moment(self._engine) as connection:
            self._look(connection)
            return self._view

    def check(self) -> int:
        """Compare the next piece of the view with the database; how many parts differed."""
        with self._looking, one_moment(self._engine) as connection:
            self._look(connection)
            found = self._checker.next_piece(connection, self._view, self._clock())
            if found.names:
                log.error("the availability view differed and was mended: %s", found.names)
                self._view = found.mended
                self.differences += len(found.names)
            return len(found.names)

    def refuse(self, short: Iterable[tuple[str, str]]) -> None:
        """Mask these (node id, SKU), which the database just refused, until the view knows why."""
        with one_moment(self._engine) as connection:
            place = place_of(connection)
        self._refused = {**self._refused, **dict.fromkeys(short, place)}

    def exclusions(self, skus: Iterable[str], now: datetime) -> tuple[Exclusion, ...]:
        """What a request for these SKUs must not use now: nodes that cool off or just refused."""
        view = self._view
        found = view.exclusions(skus, now)
        if not self._refused:
            return found
        wanted = {"", *skus}
        return found + tuple(
            Exclusion(node_id=node_id, sku=sku or None, reason=_REFUSED)
            for (node_id, sku), place in sorted(self._refused.items())
            if sku in wanted and not has_passed(view.place, place)
        )

    def known_policy(self, scope: Scope, customer_id: str = "") -> tuple[str, RoutingPolicy] | None:
        """What `policy` answers, if the scope was asked before and no policy activated since."""
        known = self._policies.get(scope) if self.reads_nothing else None
        return None if known is None else self._chosen(known, scope, customer_id)

    def policy(self, scope: Scope, customer_id: str = "") -> tuple[str, RoutingPolicy]:
        """Version and routing policy in force there; reads the database.

        Raises UnknownReferenceError when none is.
        """
        cache = self._policies
        with reading(self._engine) as session:
            live = policies.candidates(session, "routing", _whose(scope, ""), self._clock())
            read = {
                version: policies.routing_policy(session, version)
                for version in {one.version for one in live}
            }
        known = (tuple(live), read)
        # Into the dictionary taken before reading: what was activated meanwhile has replaced it.
        if len(cache) < _MOST_SCOPES:
            cache[scope] = known
        found = self._chosen(known, scope, customer_id)
        if found is None:
            raise UnknownReferenceError(policies.NONE_ACTIVE.format(kind="routing"))
        return found

    def _chosen(
        self, known: _Known, scope: Scope, customer_id: str
    ) -> tuple[str, RoutingPolicy] | None:
        live, read = known
        found = in_force(live, _whose(scope, customer_id), self._clock())
        return None if found is None else (found.version, read[found.version])

    def _look(self, connection: Connection) -> None:
        view, seconds, now = self._view, time.monotonic(), self._clock()
        if not self._is_trusted:
            self._policies = {}
            view = read_view(connection, now)
        else:
            news = news_since(connection, view.place)
            if news.changes is None:
                self._policies = {}
                view = read_view(connection, now)
            elif news.place != view.place:
                if any(x.topic in _POLICY_TOPICS for x in news.changes):
                    self._policies = {}
                view = moved(connection, view, news.place, news.changes, now)
        self._view, self._looked_at, self._is_trusted = view, seconds, True
        self._pruner.remember(view.place, seconds)
        if self._refused:
            self._refused = {
                pair: place
                for pair, place in self._refused.items()
                if not has_passed(view.place, place)
            }

    def _run(self) -> None:
        check_at = prune_at = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            seconds = time.monotonic()
            try:
                self.look()
                if seconds >= check_at:
                    self.check()
                    check_at = seconds + CHECK_SECONDS
                if seconds >= prune_at:
                    self._pruner.prune(self._engine, seconds)
                    prune_at = seconds + PRUNE_SECONDS
            except SQLAlchemyError as error:
                log.warning("the availability view cannot look at the database: %s", error)
                self._ended.wait(_PAUSE_SECONDS)
            except Exception:
                # The view may be wrong where the fault was; one read whole cannot be.
                self._is_trusted = False
                log.exception("the availability view cannot be moved and is read whole again")
                self._ended.wait(_PAUSE_SECONDS)
