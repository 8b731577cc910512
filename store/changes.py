"""The change feed of everything promises look at: what was committed between two looks, no gap.

Triggers write a row into `changes` within the transaction that changes an input, whoever changes
it. A place in the feed is text. On SQLite it is the last row's number: there is one writer, so
numbers follow commits. On PostgreSQL it is a snapshot (`xmin:xmax:running`): commits finish out of
order, so the feed gives what the new snapshot sees and the last one did not, never "numbers above
the last". A row names what changed, not how: whoever follows reads the values anew.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from store.columns import changed
from store.engine import transaction

MOST_CHANGES = 20_000
"""More than that at once is read quicker by loading everything again."""
KEPT_SECONDS = 600.0
"""How long changes are kept. Who was away for longer must load everything again."""
_PRUNED_AT_ONCE = 5_000
_PRUNED = "pruned"
"""Topic of the row that says up to which place, its `sku`, changes were deleted. A follower whose
clock stood still with its machine learns from it what it missed."""

_PLACE = {
    # The sequence, not the greatest row: pruned rows still count.
    "sqlite": text("SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)"),
    "postgresql": text("SELECT CAST(pg_current_snapshot() AS text)"),
}
_SINCE = {
    "sqlite": text(
        "SELECT DISTINCT topic, sku, node_id FROM changes WHERE id > CAST(:place AS INTEGER)"
        " LIMIT :most"
    ),
    "postgresql": text(
        "SELECT DISTINCT topic, sku, node_id FROM changes WHERE"
        " xid >= CAST(CAST(pg_snapshot_xmin(CAST(:place AS pg_snapshot)) AS text) AS bigint)"
        " AND NOT pg_visible_in_snapshot("
        "CAST(CAST(xid AS text) AS xid8), CAST(:place AS pg_snapshot)) LIMIT :most"
    ),
}
_OLD = {
    "sqlite": "id <= CAST(:place AS INTEGER)",
    "postgresql": "xid < CAST(CAST(pg_snapshot_xmin(CAST(:place AS pg_snapshot)) AS text)"
    " AS bigint)",
}
_PRUNE = {
    dialect: text(
        "DELETE FROM changes WHERE id IN (SELECT id FROM changes"  # noqa: S608 (own words)
        f" WHERE {old} AND topic <> '{_PRUNED}' ORDER BY {order} LIMIT :most)"
    )
    for (dialect, old), order in zip(_OLD.items(), ("id", "xid"), strict=True)
}
_PRUNE_MARKS = {
    dialect: text(f"DELETE FROM changes WHERE {old} AND topic = '{_PRUNED}'")  # noqa: S608
    for dialect, old in _OLD.items()
}
_MARK = {
    "sqlite": text(
        f"INSERT INTO changes (xid, topic, sku, node_id) VALUES (0, '{_PRUNED}', :end, '')"  # noqa: S608
    ),
    "postgresql": text(
        "INSERT INTO changes (xid, topic, sku, node_id) VALUES"  # noqa: S608
        f" (CAST(CAST(pg_current_xact_id() AS text) AS bigint), '{_PRUNED}', :end, '')"
    ),
}


class Change(NamedTuple):
    """A row of the table `topic` that changed; parts that its key lacks are empty."""

    topic: str
    sku: str
    node_id: str


@dataclass(frozen=True)
class News:
    """What changed since a place, and the place reached.

    `changes` is None where it is too much to name, or some of it was pruned.
    """

    place: str
    changes: frozenset[Change] | None


def place_of(session: Session | Connection) -> str:
    """The place in the feed that the transaction of this session or connection sees."""
    return str(session.execute(_PLACE[_dialect(session)]).scalar_one())


def news_since(connection: Connection, place: str) -> News:
    """What was committed after that place and before this transaction's snapshot.

    The transaction must see one snapshot throughout (SQLite always does; PostgreSQL in REPEATABLE
    READ), so that values read in it are those of the place returned.
    """
    dialect = connection.dialect.name
    reached = place_of(connection)
    if reached == place:
        return News(reached, frozenset())
    rows = connection.execute(_SINCE[dialect], {"place": place, "most": MOST_CHANGES + 1}).all()
    if len(rows) > MOST_CHANGES:
        return News(reached, None)
    found = frozenset(Change(*row) for row in rows)
    marks = {change for change in found if change.topic == _PRUNED}
    if any(int(mark.sku) > _seen_to(place) for mark in marks):
        return News(reached, None)
    return News(reached, found - marks)


def has_passed(place: str, other: str) -> bool:
    """Whether a look at `place` saw all that a look at `other` saw. Both of one database."""
    if ":" not in place:
        return int(place) >= int(other)
    first, first_open = _parsed(place)
    second, second_open = _parsed(other)
    # What the other look saw are the transactions below its end that were not running then.
    return first >= second and all(xid >= second or xid in second_open for xid in first_open)


def _seen_to(place: str) -> int:
    """Where what a look at that place saw without any gap ends."""
    return int(place.split(":")[0])


def _parsed(snapshot: str) -> tuple[int, frozenset[int]]:
    _, end, running = snapshot.split(":")
    return int(end), frozenset(int(xid) for xid in running.split(",") if xid)


class Pruner:
    """Deletes changes that every follower had `KEPT_SECONDS` to read; any process may run one."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        """Remembers places by the clock of this process, so the feed needs no times."""
        self._kept = kept_seconds
        self._places: deque[tuple[float, str]] = deque()

    def remember(self, place: str, seconds: float) -> None:
        """Note that the feed had reached that place at that moment."""
        if not self._places or seconds - self._places[-1][0] >= self._kept / 10:
            self._places.append((seconds, place))

    def prune(self, engine: Engine, seconds: float) -> int:
        """Delete what was read by everyone long ago; how many rows."""
        old: str | None = None
        while self._places and seconds - self._places[0][0] >= self._kept:
            old = self._places.popleft()[1]
        return 0 if old is None else delete_before(engine, old)


def delete_before(engine: Engine, place: str) -> int:
    """Delete the changes that a look at that place saw; how many. In several transactions."""
    deleted = 0
    while True:
        with transaction(engine) as session:
            parameters: dict[str, Any] = {"place": place, "most": _PRUNED_AT_ONCE}
            count = changed(session, _PRUNE[engine.dialect.name], parameters)
            if count:
                session.execute(_PRUNE_MARKS[engine.dialect.name], {"place": place})
                session.execute(_MARK[engine.dialect.name], {"end": str(_seen_to(place))})
        deleted += count
        if count < _PRUNED_AT_ONCE:
            return deleted


def _dialect(session: Session | Connection) -> str:
    bind = session.get_bind() if isinstance(session, Session) else session
    return bind.dialect.name
