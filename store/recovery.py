"""Finding and mending what got lost between the store and the workflows."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.stages import Attention
from store import inbox, order_events
from store.columns import changed, query, statement
from store.order_pages import OpenOrder

RESTART_SECONDS = 600
"""An order is put up for starting again at most once in this time."""

_START = query("SELECT payload FROM messages WHERE key = :key", "messages")
_NOTE_STOPPED = statement(
    "UPDATE orders SET attention = :attention, needs_attention = :needs_attention,"
    " displayed = :displayed, updated_at = :updated_at"
    " WHERE order_id = :order_id AND NOT closed AND NOT needs_attention",
    "orders",
)
_CLOSED = query("SELECT closed FROM orders WHERE order_id = :order_id", "orders")


def start_again(session: Session, order: OpenOrder, now: datetime) -> bool:
    """Put a start for an open order without a workflow; False when one was put a moment ago.

    It starts under the policies the order was pinned to when it was accepted.
    """
    first = session.execute(_START, {"key": f"start/{order.order_id}"}).one_or_none()
    payload: dict[str, Any] = dict(first.payload) if first is not None else {}
    _, is_new = inbox.put(
        session,
        kind="start",
        name="start",
        stream=order.workflow_id,
        workflow_id=order.workflow_id,
        payload={**payload, "order_id": order.order_id, "version": order.version},
        key=f"start/{order.order_id}/{int(now.timestamp()) // RESTART_SECONDS}",
        now=now,
    )
    return is_new


def note_stopped(session: Session, order_id: str, attention: Attention, now: datetime) -> bool:
    """Show that an open order's workflow has stopped, unless it asks for attention already.

    The next view that the workflow writes, once it was reset, takes this away again.
    """
    row = {
        "order_id": order_id,
        "attention": attention.model_dump(mode="json"),
        "needs_attention": True,
        "displayed": f"attention: {attention.step}",
        "updated_at": now,
    }
    is_news = changed(session, _NOTE_STOPPED, row) == 1
    if is_news:
        order_events.tell_attention(session, order_id, attention, now)
    return is_news


def is_closed(session: Session, order_id: str) -> bool:
    """Whether the order has ended, or does not exist."""
    row = session.execute(_CLOSED, {"order_id": order_id}).one_or_none()
    return row is None or bool(row.closed)
