"""What a stock count as of T means for a position now."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.inventory import Position
from store import driver, ledger
from store.columns import ByPairs, query
from store.driver import moment
from store.ledger import LEAVING, Cause, Changes

_LAST = ByPairs("t.*", "stock_counts", "")
_MOVES = ByPairs(
    "t.node_id, t.sku, t.bucket, t.at, t.occurred_at, t.delta, t.kind, t.fulfillment_id",
    "ledger",
    "WHERE t.bucket IN ('usable', 'damaged', 'quarantine', 'suspect', 'released') AND t.at > :at",
)
_UNBELIEVED = ByPairs(
    "t.node_id, t.sku, t.occurred_at, t.found - t.expected AS units",
    "discrepancies",
    "WHERE t.kind = 'till_sale' AND t.condition = 'usable' AND t.noted_at > :at",
)
_REMEMBER = driver.insert(
    "stock_counts",
    {
        "sku": "text",
        "node_id": "text",
        "condition": "text",
        "quantity": "bigint",
        "counted_at": "time",
        "by_people": "boolean",
    },
    "ON CONFLICT (sku, node_id, condition) DO UPDATE SET quantity = excluded.quantity,"
    " counted_at = excluded.counted_at, by_people = excluded.by_people",
)
_DISAGREES = driver.insert(
    "discrepancies",
    {
        "key": "text",
        "kind": "text",
        "node_id": "text",
        "sku": "text",
        "condition": "text",
        "expected": "bigint",
        "found": "bigint",
        "occurred_at": "time",
        "noted_at": "time",
    },
)
_NODES = query(
    "SELECT node_id, document FROM nodes WHERE node_id IN :node_ids", "nodes", lists=["node_ids"]
)
_COUNTED_AT = query(
    "SELECT counted_at FROM stock_counts"
    " WHERE sku = :sku AND node_id = :node_id AND condition = :condition",
    "stock_counts",
)
_PICKED = query(
    "SELECT l.picked, r.released, r.consumed, r.fulfillment_id FROM reservations r"
    " JOIN fulfillment_lines l ON l.fulfillment_id = r.fulfillment_id AND l.line_id = r.line_id"
    " JOIN fulfillments f ON f.fulfillment_id = r.fulfillment_id"
    " WHERE f.node_id = :node_id AND r.sku = :sku AND l.picked > 0 AND l.picked_at <= :picked_at"
    " AND (r.released > 0 OR r.fulfillment_id IN :fulfillment_ids)",
    "fulfillment_lines",
    "reservations",
    lists=["fulfillment_ids"],
)


RECOUNT = "recount"
"""Kind of a change that a late fact makes to what a count it preceded was taken to mean."""
_COUNTS = frozenset({"count", "cycle_count", RECOUNT})


_SIGN = {"released": 1, "usable": -1}


def _time(row: Any) -> datetime:
    time: datetime = row.occurred_at or row.at
    return time


@dataclass(frozen=True)
class Counted:
    """One row of a count; one by people is of what lies on the shelf."""

    node_id: str
    sku: str
    condition: str
    quantity: int
    counted_at: datetime
    by_people: bool = False


@dataclass(frozen=True)
class Ignored:
    """A row of a count that changed nothing: a newer count of the same thing is known."""

    node_id: str
    sku: str
    condition: str
    counted_at: datetime
    last_counted_at: datetime


@dataclass
class _Moves:
    """Ledger rows of one position since the oldest count of the feed.

    `unbelieved` are till sales of more than was believed to be there: the ledger lacks the rest.
    """

    rows: list[Any] = field(default_factory=list)
    unbelieved: list[Any] = field(default_factory=list)

    def after(self, at: datetime, bucket: str) -> int:
        """Sum of the changes of a bucket later than `at`; counts are none."""
        return sum(
            row.delta
            for row in self.rows
            if _time(row) > at and row.bucket == bucket and row.kind not in _COUNTS
        )

    def moved_after(self, at: datetime, condition: str) -> int:
        """Units of a condition that came less those that went later than `at`.

        Also those that went though nobody believed they were there: of usable units the ledger
        takes off no more than it has.
        """
        moved = self.after(at, condition)
        if condition == "usable":
            moved -= sum(row.units for row in self.unbelieved if row.occurred_at > at)
            moved += sum(
                row.delta * _SIGN.get(row.bucket, 0)
                for row in self.rows
                if _time(row) > at and row.kind in LEAVING
            )
        return moved

    def consumed_after(self, at: datetime) -> dict[str, int]:
        """Fulfillment id -> units handed over later than `at`."""
        units: dict[str, int] = {}
        for row in self.rows:
            if _time(row) > at and row.bucket == "released" and row.kind == "consume":
                units[row.fulfillment_id] = units.get(row.fulfillment_id, 0) - row.delta
        return units


def counted_changes(
    session: Session,
    counted: Sequence[Counted],
    positions: Mapping[tuple[str, str], Position],
    nodes: Mapping[str, Mapping[str, object]],
    cause: Cause,
) -> tuple[Changes, list[Ignored]]:
    """How the locked positions change by these counts, and the rows that are too old to count.

    Counts taken over are remembered, and those listed that do not agree with what was believed of
    a position known before.
    """
    if not counted:
        return {}, []
    known = _last_counts(session, counted)
    ignored = [_ignored(row, known[_key(row)]) for row in counted if _is_old(row, known)]
    every = _with_suspects_settled(counted, positions)
    taken = [row for row in every if not _is_old(row, known)]
    if not taken:
        return {}, ignored
    changes: Changes = {}
    given = set(counted)
    differing: list[dict[str, Any]] = []
    for count, found in _reckoned(session, taken, positions, nodes):
        believed = int(getattr(positions[count.node_id, count.sku], count.condition))
        ledger.add(changes, count.node_id, count.sku, count.condition, found - believed)
        is_known = believed > 0 or _key(count) in known
        if found != believed and is_known and count in given:
            differing.append(_disagreement(count, believed, found, cause))
    remembered = [{**vars(count), "counted_at": moment(count.counted_at)} for count in taken]
    driver.write(session, (_REMEMBER, remembered), (_DISAGREES, differing))
    return changes, ignored


def recounted_changes(
    session: Session, pairs: Iterable[tuple[str, str]], occurred_at: datetime
) -> Changes:
    """How positions change when what occurred then is told after a count had seen it.

    The fact was booked on top of that count. Whether the count had left those units out depends on
    what the node's counts mean, so the newest usable count is reckoned anew.
    """
    newer = [
        Counted(
            row.node_id, row.sku, row.condition, row.quantity, row.counted_at, bool(row.by_people)
        )
        for row in _LAST.rows(session, pairs)
        if row.condition == "usable" and row.counted_at >= occurred_at
    ]
    changes: Changes = {}
    if newer:
        positions = ledger.lock_positions(session, {(row.node_id, row.sku) for row in newer})
        documents = session.execute(_NODES, {"node_ids": sorted({row.node_id for row in newer})})
        nodes = {row.node_id: row.document for row in documents}
        for count, found in _reckoned(session, newer, positions, nodes):
            believed = positions[count.node_id, count.sku].usable
            ledger.add(changes, count.node_id, count.sku, "usable", found - believed)
    return changes


def was_counted(
    session: Session, node_id: str, sku: str, condition: str, occurred_at: datetime
) -> bool:
    """Whether the newest count of that condition already saw what occurred then."""
    asked = {"node_id": node_id, "sku": sku, "condition": condition}
    counted_at = session.execute(_COUNTED_AT, asked).scalar_one_or_none()
    return counted_at is not None and occurred_at <= counted_at


def note_disagreement(
    session: Session, counted: Counted, *, expected: int, found: int, cause: Cause
) -> None:
    """List that something was found that does not agree with what was believed."""
    driver.write(session, (_DISAGREES, [_disagreement(counted, expected, found, cause)]))


def _disagreement(counted: Counted, expected: int, found: int, cause: Cause) -> dict[str, Any]:
    return {
        "key": cause.key,
        "kind": cause.kind,
        "node_id": counted.node_id,
        "sku": counted.sku,
        "condition": counted.condition,
        "expected": expected,
        "found": found,
        "occurred_at": moment(counted.counted_at),
        "noted_at": moment(cause.at),
    }


def _reckoned(
    session: Session,
    counted: Sequence[Counted],
    positions: Mapping[tuple[str, str], Position],
    nodes: Mapping[str, Mapping[str, object]],
) -> Iterator[tuple[Counted, int]]:
    """Each count with the units it means are there now."""
    moves = _moves_since(session, counted)
    for count in counted:
        since = moves.get((count.node_id, count.sku), _Moves())
        there = count.quantity + since.moved_after(count.counted_at, count.condition)
        if count.condition == "usable":
            place = positions[count.node_id, count.sku]
            there += _not_counted_by(session, nodes[count.node_id], count, place, since)
        yield count, max(0, there)


def _with_suspects_settled(
    counted: Sequence[Counted], positions: Mapping[tuple[str, str], Position]
) -> list[Counted]:
    # Suspect units are waiting to be counted: whoever counted the usable ones looked for them.
    given = {(row.node_id, row.sku, row.condition) for row in counted}
    settled = [
        Counted(row.node_id, row.sku, "suspect", 0, row.counted_at)
        for row in counted
        if row.condition == "usable"
        and positions[row.node_id, row.sku].suspect
        and (row.node_id, row.sku, "suspect") not in given
    ]
    return [*counted, *settled]


_Last = Mapping[tuple[str, str, str], datetime]


def _last_counts(session: Session, counted: Sequence[Counted]) -> _Last:
    known = _LAST.rows(session, {(row.node_id, row.sku) for row in counted})
    return {(row.node_id, row.sku, row.condition): row.counted_at for row in known}


def _key(row: Counted) -> tuple[str, str, str]:
    return row.node_id, row.sku, row.condition


def _is_old(row: Counted, last: _Last) -> bool:
    known = last.get(_key(row))
    return known is not None and row.counted_at < known


def _ignored(row: Counted, last_counted_at: datetime) -> Ignored:
    return Ignored(*_key(row), counted_at=row.counted_at, last_counted_at=last_counted_at)


def _moves_since(session: Session, counted: Sequence[Counted]) -> dict[tuple[str, str], _Moves]:
    pairs = {(row.node_id, row.sku) for row in counted}
    oldest = min(row.counted_at for row in counted)
    moves: dict[tuple[str, str], _Moves] = {}
    for row in _MOVES.rows(session, pairs, at=oldest):
        moves.setdefault((row.node_id, row.sku), _Moves()).rows.append(row)
    for row in _UNBELIEVED.rows(session, pairs, at=oldest):
        moves.setdefault((row.node_id, row.sku), _Moves()).unbelieved.append(row)
    return moves


def _not_counted_by(
    session: Session,
    node: Mapping[str, object],
    count: Counted,
    place: Position,
    moves: _Moves,
) -> int:
    """Units that were there at T by doms's reckoning but that the count leaves out."""
    if count.by_people:
        return _picked_but_there(session, count, moves)
    if node["feed_meaning"] == "net":
        # A node's clock may say that units left before doms released them.
        return max(0, place.released - moves.after(count.counted_at, "released"))
    if node["decrement"] == "pick":
        return _picked_but_there(session, count, moves)
    return 0


def _picked_but_there(session: Session, count: Counted, moves: _Moves) -> int:
    consumed_later = moves.consumed_after(count.counted_at)
    rows = session.execute(
        _PICKED,
        {
            "node_id": count.node_id,
            "sku": count.sku,
            "picked_at": count.counted_at,
            "fulfillment_ids": sorted(consumed_later),
        },
    )
    picked: dict[str, int] = {}
    released: dict[str, int] = {}
    consumed: dict[str, int] = {}
    for row in rows:
        for units, more in (
            (picked, row.picked),
            (released, row.released),
            (consumed, row.consumed),
        ):
            units[row.fulfillment_id] = units.get(row.fulfillment_id, 0) + more
    there = 0
    for fulfillment_id, units_picked in picked.items():
        later = consumed_later.get(fulfillment_id, 0)
        still_picked = units_picked - (consumed[fulfillment_id] - later)
        there += max(0, min(still_picked, released[fulfillment_id] + later))
    return there
