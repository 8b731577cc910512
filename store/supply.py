"""Dated supply: units due at a node that are not there yet."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.supply import DatedSupply, SupplyType
from domain.values import Count, Id, Model, UtcTime
from store.columns import ByPairs, query, statement

CHUNK = 500

_NODES = query("SELECT node_id FROM nodes WHERE node_id IN :node_ids", "nodes", lists=["node_ids"])
_EXPECT = statement(
    "INSERT INTO supply (supply_id, sku, node_id, quantity, due, supply_type, condition, as_of)"
    " VALUES (:supply_id, :sku, :node_id, :quantity, :due, :supply_type, :condition, :as_of)"
    " ON CONFLICT (supply_id, sku, node_id) DO UPDATE SET quantity = excluded.quantity,"
    " due = excluded.due, supply_type = excluded.supply_type, condition = excluded.condition,"
    " as_of = excluded.as_of WHERE supply.as_of IS NULL OR excluded.as_of IS NULL"
    " OR excluded.as_of >= supply.as_of",
    "supply",
)
_ARRIVED = statement(
    "UPDATE supply SET quantity = CASE WHEN quantity > :arrived THEN quantity - :arrived ELSE 0 END"
    " WHERE supply_id = :supply_id AND sku = :sku AND node_id = :node_id",
    "supply",
)
_RECEIVED = ByPairs(
    "t.node_id, t.sku, t.reason, t.at, t.occurred_at, t.delta",
    "ledger",
    "WHERE t.bucket = 'usable' AND t.kind = 'receive' AND t.at > :at",
)
_OF_SKUS = query(
    "SELECT supply_id, node_id, sku, quantity, due, supply_type, condition FROM supply"
    " WHERE sku IN :skus AND quantity > 0 ORDER BY due, node_id, sku, supply_id",
    "supply",
    lists=["skus"],
)


class Expected(Model):
    """Units due at a node under a purchase order, transfer or production order.

    `quantity` is what had not arrived yet at `as_of`; 0 takes the supply back.
    """

    supply_id: Id
    node_id: Id
    sku: Id
    quantity: Count
    due: UtcTime
    supply_type: SupplyType = SupplyType.PURCHASE_ORDER
    condition: str = "usable"
    as_of: UtcTime | None = None


def expect_supply(session: Session, supplies: Iterable[Expected]) -> None:
    """Add or replace dated supply by (supply id, SKU, node).

    What was said earlier than the newest word on it is ignored; what arrived after `as_of` is no
    longer expected. Raises UnknownReferenceError for an unknown node.
    """
    rows = list(supplies)
    wanted = sorted({row.node_id for row in rows})
    known = set(session.execute(_NODES, {"node_ids": wanted}).scalars())
    unknown = [node_id for node_id in wanted if node_id not in known]
    if unknown:
        raise UnknownReferenceError(f"no node '{unknown[0]}': import it with the network first")
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        received = _received_since(session, chunk)
        session.execute(_EXPECT, [_row(row, received) for row in chunk])


def take_expected(session: Session, supply_id: str, node_id: str, sku: str, quantity: int) -> None:
    """As many units of that supply are no longer expected: they arrived."""
    row = {"supply_id": supply_id, "sku": sku, "node_id": node_id, "arrived": quantity}
    session.execute(_ARRIVED, row)


def supply_of(session: Session, skus: Iterable[str]) -> list[DatedSupply]:
    """Everything still to come of these SKUs, soonest first."""
    rows = session.execute(_OF_SKUS, {"skus": sorted(set(skus))})
    return [DatedSupply.model_validate(dict(row)) for row in rows.mappings()]


def _row(row: Expected, received: Mapping[tuple[str, str, str], Sequence[Any]]) -> dict[str, Any]:
    since = 0
    if row.as_of is not None:
        moves = received.get((row.supply_id, row.node_id, row.sku), ())
        since = sum(x.delta for x in moves if _time(x) > row.as_of)
    document = row.model_dump()
    return {
        **document,
        "quantity": max(0, row.quantity - since),
        "supply_type": row.supply_type.value,
    }


def _time(move: Any) -> datetime:
    time: datetime = move.occurred_at or move.at
    return time


def _received_since(
    session: Session, rows: Sequence[Expected]
) -> dict[tuple[str, str, str], list[Any]]:
    times = [row.as_of for row in rows if row.as_of is not None]
    found: dict[tuple[str, str, str], list[Any]] = {}
    if times:
        pairs = {(row.node_id, row.sku) for row in rows if row.as_of is not None}
        for move in _RECEIVED.rows(session, pairs, at=min(times)):
            found.setdefault((move.reason, move.node_id, move.sku), []).append(move)
    return found
