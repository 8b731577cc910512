"""Stock as it was, and how it changed, told by the ledger; orders of a period as they were sent."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from domain.orders import Order
from store.columns import query

_ROWS_AT_ONCE = 5_000
# What carts hold is left out: it goes to an order, or back.
_COUNTED = "('usable', 'reserved', 'released', 'claimed', 'safety_stock', 'protected')"
_SIGNED = "sum(CASE WHEN bucket = 'usable' THEN delta ELSE -delta END)"
_PERIOD = "placed_at >= :placed_at_from AND placed_at < :placed_at_until AND stage <> 'rejected'"
# Nobody knew of a position before its first count, so what it found was there before.
_FIRST_COUNT = (
    "kind = 'count' AND NOT EXISTS (SELECT 1 FROM ledger e WHERE e.sku = ledger.sku"  # noqa: S608
    f" AND e.node_id = ledger.node_id AND e.id < ledger.id AND e.bucket IN {_COUNTED})"
)
_AS_OF = query(
    f"SELECT sku, node_id, {_SIGNED} AS units FROM ledger"  # noqa: S608 (own names)
    f" WHERE bucket IN {_COUNTED} AND (at < :at_from OR (at < :at_until AND {_FIRST_COUNT}))"
    f" GROUP BY sku, node_id HAVING {_SIGNED} > 0 ORDER BY sku, node_id",
    "ledger",
)
_OTHER_CHANGES = query(
    f"SELECT at, node_id, sku, {_SIGNED} AS units FROM ledger"  # noqa: S608 (own names)
    f" WHERE at >= :at_from AND at < :at_until AND bucket IN {_COUNTED}"
    f" AND (order_id IS NULL OR order_id NOT IN (SELECT order_id FROM orders WHERE {_PERIOD}))"
    f" AND NOT ({_FIRST_COUNT})"
    f" GROUP BY at, node_id, sku HAVING {_SIGNED} <> 0 ORDER BY at, node_id, sku",
    "ledger",
    "orders",
)
_ORDERS = query(
    "SELECT v.document, o.promise_at FROM orders o"  # noqa: S608 (own names)
    " JOIN order_versions v ON v.order_id = o.order_id AND v.version = o.version"
    f" WHERE {_PERIOD} ORDER BY o.placed_at, o.order_id",
    "orders",
    "order_versions",
)


class Sellable(NamedTuple):
    """Units of a SKU at a node that could be sold."""

    node_id: str
    sku: str
    units: int


class Moved(NamedTuple):
    """By how many units what can be sold changed, at one moment."""

    at: datetime
    node_id: str
    sku: str
    units: int


class PlacedOrder(NamedTuple):
    """An order's newest document, and the delivery it was promised before it was placed."""

    order: Order
    promised: datetime | None


def sellable_as_of(session: Session, begin: datetime, end: datetime) -> Iterator[Sellable]:
    """What could be sold just before `begin`, by SKU and node; what carts held counts.

    What was counted for the first time from then until before `end` was there already.
    """
    for row in session.execute(_AS_OF, {"at_from": begin, "at_until": end}):
        yield Sellable(row.node_id, row.sku, int(row.units))


def other_changes(session: Session, begin: datetime, end: datetime) -> Iterator[Moved]:
    """What came and went from `begin` until before `end`, but for the orders placed in that time.

    Supply, later counts, sales at tills, stock rules, and what earlier orders took or gave back.
    """
    period = {"placed_at_from": begin, "placed_at_until": end}
    asked = {"at_from": begin, "at_until": end, **period}
    for row in session.execute(_OTHER_CHANGES, asked):
        yield Moved(row.at, row.node_id, row.sku, int(row.units))


def orders_placed(session: Session, begin: datetime, end: datetime) -> Iterator[PlacedOrder]:
    """Orders placed from `begin` until before `end`, oldest first; not those that were rejected."""
    period = {"placed_at_from": begin, "placed_at_until": end}
    rows = session.execute(_ORDERS, period, execution_options={"yield_per": _ROWS_AT_ONCE})
    for row in rows:
        order = Order.model_validate(row.document)
        yield PlacedOrder(order, row.promise_at if order.promise_id is not None else None)
