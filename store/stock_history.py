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
_AS_OF = query(
    f"SELECT sku, node_id, {_SIGNED} AS units FROM ledger"  # noqa: S608 (own names)
    f" WHERE at < :at_from AND bucket IN {_COUNTED}"
    f" GROUP BY sku, node_id HAVING {_SIGNED} > 0 ORDER BY sku, node_id",
    "ledger",
)
_OTHER_CHANGES = query(
    f"SELECT at, node_id, sku, {_SIGNED} AS units FROM ledger"  # noqa: S608 (own names)
    f" WHERE at >= :at_from AND at < :at_until AND bucket IN {_COUNTED}"
    " AND (order_id IS NULL OR order_id NOT IN"
    f" (SELECT order_id FROM orders WHERE {_PERIOD}))"
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


def sellable_as_of(session: Session, moment: datetime) -> Iterator[Sellable]:
    """What could be sold just before that moment, by SKU and node; what carts held counts."""
    for row in session.execute(_AS_OF, {"at_from": moment}):
        yield Sellable(row.node_id, row.sku, int(row.units))


def other_changes(session: Session, begin: datetime, end: datetime) -> Iterator[Moved]:
    """What came and went from `begin` until before `end`, but for the orders placed in that time.

    Supply, counts, sales at tills, stock rules, and what earlier orders took or gave back.
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
