"""What lists show of an order is derived from its own rows and those of its fulfillments.

An order's workflow need not be woken, nor write, for each step of a fulfillment: whoever writes a
fulfillment's row brings the order's derived columns up to date in the same transaction.
"""

from typing import Any

from sqlalchemy.orm import Session

from domain.stages import Stage
from store.columns import query, statement

_ORDER = query(
    "SELECT stage, displayed, holds, attention, needs_attention FROM orders"
    " WHERE order_id = :order_id AND NOT closed",
    "orders",
)
_OWN = query(
    "SELECT sum(open + backordered + reserved) AS before,"
    " sum(released + picked + shipped + delivered) AS given FROM order_lines"
    " WHERE order_id = :order_id",
    "order_lines",
)
_WITH_NODES = query(
    "SELECT sum(l.picked) AS picked, sum(l.shipped) AS shipped, sum(l.delivered) AS delivered"
    " FROM fulfillments f JOIN fulfillment_lines l ON l.fulfillment_id = f.fulfillment_id"
    " WHERE f.order_id = :order_id",
    "fulfillments",
)
_PARKED = query(
    "SELECT attention FROM fulfillments WHERE order_id = :order_id AND NOT closed"
    " AND attention IS NOT NULL ORDER BY fulfillment_id LIMIT 1",
    "fulfillments",
)
_SHOW = statement(
    "UPDATE orders SET stage = :stage, displayed = :displayed, needs_attention = :needs_attention"
    " WHERE order_id = :order_id",
    "orders",
)


def show_order(session: Session, order_id: str) -> None:
    """Bring stage, attention and what is displayed up to date; a closed order stays as it is."""
    place = {"order_id": order_id}
    order = session.execute(_ORDER, place).one_or_none()
    if order is None:
        return
    stage = _stage(session, place, order.stage)
    parked = session.execute(_PARKED, place).scalar_one_or_none()
    attention = order.attention or parked
    shown = {
        "order_id": order_id,
        "stage": stage,
        "displayed": _displayed(stage, order.holds, attention),
        "needs_attention": attention is not None,
    }
    if (stage, shown["displayed"], attention is not None) != (
        order.stage,
        order.displayed,
        order.needs_attention,
    ):
        session.execute(_SHOW, shown)


def _displayed(stage: str, holds: list[dict[str, Any]], attention: dict[str, Any] | None) -> str:
    if attention is not None:
        return f"attention: {attention['step']}"
    return f"hold: {holds[0]['type']}" if holds else stage


def _stage(session: Session, place: dict[str, str], stored: str) -> str:
    """The least advanced stage of units that nodes have, once the order itself holds none."""
    own = session.execute(_OWN, place).one()
    if own.before or not own.given:
        return stored
    nodes = session.execute(_WITH_NODES, place).one()
    if (nodes.delivered or 0) >= own.given:
        return stored
    if (nodes.shipped or 0) >= own.given:
        return Stage.SHIPPED.value
    return (Stage.PICKING if (nodes.picked or 0) >= own.given else Stage.RELEASED).value
