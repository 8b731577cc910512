"""The rows of an order's lines: how many units are where."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from domain.orders import Order
from domain.quantities import LineQuantities
from store.columns import query, statement

BUCKETS = tuple(name for name in LineQuantities.model_fields if name != "ordered")
_PUT_LINE = statement(
    "INSERT INTO order_lines (order_id, line_id, parent_line_id, position, sku, ship_group,"  # noqa: S608
    " ordered, "
    + ", ".join(BUCKETS)
    + ") VALUES (:order_id, :line_id, :parent_line_id, :position, :sku, :ship_group, :ordered, "
    + ", ".join(f":{bucket}" for bucket in BUCKETS)
    + ")",
    "order_lines",
)
_LINES = query(
    "SELECT * FROM order_lines WHERE order_id = :order_id ORDER BY position, line_id",
    "order_lines",
)


def add_lines(
    session: Session, order: Order, known: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Rows for the lines of a document: all units open.

    With `known`, only for lines of those ids, with the columns it tells of each.
    """
    rows = [
        {
            **dict.fromkeys(BUCKETS, 0),
            "order_id": order.order_id,
            "line_id": line.line_id,
            "parent_line_id": line.parent_line_id,
            "position": position,
            "sku": line.sku,
            "ship_group": line.ship_group,
            "ordered": line.quantity,
            "open": line.quantity,
            **({} if known is None else known[line.line_id]),
        }
        for position, line in enumerate(order.lines)
        if known is None or line.line_id in known
    ]
    if rows:
        session.execute(_PUT_LINE, rows)


def order_lines(session: Session, order_id: str) -> list[Mapping[Any, Any]]:
    """The rows of an order's lines, in the order of its document."""
    return list(session.execute(_LINES, {"order_id": order_id}).mappings())
