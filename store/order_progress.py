"""Where the units of lines are: the order's own numbers, and what its fulfillments know already."""

from sqlalchemy import ColumnElement, Select, and_, case, false, func, select
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from domain.quantities import LineQuantities

_ORDERS = SQLModel.metadata.tables["orders"]
_LINES = SQLModel.metadata.tables["order_lines"]
_FULFILLMENTS = SQLModel.metadata.tables["fulfillments"]
_PROGRESS = SQLModel.metadata.tables["fulfillment_lines"]
_DONE = ("picked", "shipped", "delivered")
_AT_NODES = ("released", *_DONE)


def advanced(
    stored: LineQuantities, *, picked: int, shipped: int, delivered: int
) -> LineQuantities:
    """The order's own numbers, moved on by cumulative counts of all its fulfillments.

    A fulfillment's row is often a moment ahead of its order's; no more units are moved than the
    order has at nodes.
    """
    at_nodes = stored.released + stored.picked + stored.shipped + stored.delivered
    all_delivered = max(stored.delivered, min(delivered, at_nodes))
    all_shipped = max(stored.shipped + stored.delivered, min(shipped, at_nodes), all_delivered)
    all_picked = max(at_nodes - stored.released, min(picked, at_nodes), all_shipped)
    return stored.model_copy(
        update={
            "released": at_nodes - all_picked,
            "picked": all_picked - all_shipped,
            "shipped": all_shipped - all_delivered,
            "delivered": all_delivered,
        }
    )


def units_by_place(session: Session) -> dict[str, int]:
    """Units of all lines of all orders by where they are, as the orders' own pages say it."""
    names = tuple(LineQuantities.model_fields)
    sums = select(*(func.coalesce(func.sum(_LINES.c[name]), 0).label(name) for name in names))
    found = {name: int(units) for name, units in session.execute(sums).mappings().one().items()}
    # Lines that stand alike move alike: each distinct standing is moved on once.
    for row in session.execute(_ALIKE).mappings():
        at_nodes = {name: int(row[name]) for name in _AT_NODES}
        stored = LineQuantities(ordered=sum(at_nodes.values()), **at_nodes)
        now = advanced(stored, **{name: int(row[f"all_{name}"]) for name in _DONE})
        for name in _AT_NODES:
            found[name] += row["alike"] * (getattr(now, name) - getattr(stored, name))
    return found


def _least(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one < other, one), else_=other)


def _most(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


def _alike_lines() -> Select[tuple[int, ...]]:
    """How many lines of open orders stand so in their order and so in their fulfillments."""
    told, lines, orders = _PROGRESS.c, _LINES.c, _ORDERS.c
    kept = told.quantity - told.cancelled - told.returned_to_order
    shipped = _most(told.shipped, told.delivered)
    done = {
        "picked": _least(_most(told.picked, shipped), kept),
        "shipped": _least(shipped, kept),
        "delivered": _least(told.delivered, kept),
    }
    of_line = (
        select(
            _FULFILLMENTS.c.order_id,
            told.line_id,
            *(func.sum(done[name]).label(f"all_{name}") for name in _DONE),
        )
        .join_from(_PROGRESS, _FULFILLMENTS, told.fulfillment_id == _FULFILLMENTS.c.fulfillment_id)
        .join(_ORDERS, orders.order_id == _FULFILLMENTS.c.order_id)
        .where(orders.closed == false())
        .group_by(_FULFILLMENTS.c.order_id, told.line_id)
        .subquery()
    )
    standing = [lines[name] for name in _AT_NODES] + [of_line.c[f"all_{name}"] for name in _DONE]
    is_its = and_(lines.order_id == of_line.c.order_id, lines.line_id == of_line.c.line_id)
    return (
        select(*standing, func.count().label("alike"))
        .join_from(_LINES, of_line, is_its)
        .group_by(*standing)
    )


_ALIKE = _alike_lines()
