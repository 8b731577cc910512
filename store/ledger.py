"""Changing stock positions together with the ledger rows that explain them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.inventory import Position
from store import driver
from store.columns import ByPairs, statement
from store.engine import is_sqlite
from store.tables.stock import BUCKETS

SELLABLE = "usable - held - reserved - released - claimed - safety_stock - protected"
"""SQL for what may still be sold of a position (ATS); may be negative after a count."""

Changes = dict[tuple[str, str], dict[str, int]]
"""(node id, SKU) -> bucket -> how many units more (or fewer)."""

SET_ASIDE = "set_aside"
"""Kind of a change of released units that were found damaged, or not found."""
LEAVING = frozenset({"consume", SET_ASIDE})
"""Kinds of changes by which released units leave `usable`.

Their rows say in `released` how many left, in `usable` no more than were believed to be there.
"""

PROMISABLE = (
    "NOT EXISTS (SELECT 1 FROM exclusions e WHERE e.node_id = positions.node_id"
    " AND e.sku IN ('', positions.sku) AND (e.until IS NULL OR e.until > :until_now))"
)
"""SQL for whether a position's node may be asked at `:until_now`, for this SKU and at all."""

_PAIR = {"sku": "text", "node_id": "text"}
_CHANGE = driver.add("positions", _PAIR, BUCKETS)
_OPEN = statement(
    f"INSERT INTO positions (sku, node_id, {', '.join(BUCKETS)})"  # noqa: S608 (as above)
    f" VALUES (:sku, :node_id, {', '.join('0' for _ in BUCKETS)}) ON CONFLICT DO NOTHING",
    "positions",
)
_WRITE = driver.insert(
    "ledger",
    {
        "key": "text",
        "at": "time",
        "node_id": "text",
        "sku": "text",
        "bucket": "text",
        "delta": "bigint",
        "kind": "text",
        "order_id": "text",
        "fulfillment_id": "text",
        "reason": "text",
        "occurred_at": "time",
    },
)
_PLACES = ByPairs("t.*", "positions", "ORDER BY t.node_id, t.sku")
_NOTHING = dict.fromkeys(BUCKETS, 0)


@dataclass(frozen=True)
class Cause:
    """Why stock changes: the business key, when, what kind of change, and for whom.

    `occurred_at` is when it happened, where that was before `at`, when doms learned of it.
    """

    key: str
    at: datetime
    kind: str
    order_id: str | None = None
    fulfillment_id: str | None = None
    reason: str | None = None
    occurred_at: datetime | None = None


def add(changes: Changes, node_id: str, sku: str, bucket: str, delta: int) -> None:
    """Add to a set of changes."""
    buckets = changes.setdefault((node_id, sku), {})
    buckets[bucket] = buckets.get(bucket, 0) + delta


def open_positions(session: Session, pairs: Iterable[tuple[str, str]]) -> None:
    """Make empty positions where (node id, SKU) has none yet."""
    rows = [{"node_id": node_id, "sku": sku} for node_id, sku in sorted(set(pairs))]
    if rows:
        session.execute(_OPEN, rows)


def lock_positions(
    session: Session, pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Position]:
    """The positions as they are now, kept from changing until the transaction ends.

    Every transaction locks in the order of (node, SKU), so two never wait for each other.
    """
    rows = _PLACES.rows(session, pairs, locked=True).mappings()
    return {(row["node_id"], row["sku"]): Position.model_construct(**row) for row in rows}


def apply(session: Session, changes: Changes, cause: Cause) -> None:
    """Change the buckets of existing positions and write the ledger rows that explain it."""
    pairs = [pair for pair, buckets in sorted(changes.items()) if any(buckets.values())]
    if not pairs:
        return
    if len(pairs) > 1 and not is_sqlite(session):
        lock_positions(session, pairs)
    positions = [
        {**_NOTHING, **changes[node_id, sku], "node_id": node_id, "sku": sku}
        for node_id, sku in pairs
    ]
    driver.write(session, (_CHANGE, positions), (_WRITE, _rows(pairs, changes, cause)))


def _rows(pairs: Iterable[tuple[str, str]], changes: Changes, cause: Cause) -> list[dict[str, Any]]:
    why: dict[str, Any] = asdict(cause)
    why["at"] = driver.moment(cause.at)
    if cause.occurred_at is not None:
        why["occurred_at"] = driver.moment(cause.occurred_at)
    return [
        {**why, "node_id": node_id, "sku": sku, "bucket": bucket, "delta": delta}
        for node_id, sku in pairs
        for bucket, delta in changes[node_id, sku].items()
        if delta
    ]


def position_of_row(row: Mapping[Any, Any]) -> Position:
    """A position from a database row."""
    return Position.model_construct(**{name: row[name] for name in Position.model_fields})
