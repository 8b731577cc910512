"""Where an order stands, as its workflow says."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.plans import OrderView
from store import order_events
from store.columns import changed, statement
from store.order_lines import BUCKETS, add_lines, order_lines
from store.orders import load_order, must_exist
from store.shown import show_order

_RECORD = statement(
    "UPDATE orders SET revision = :revision, stage = :stage, displayed = :displayed,"
    " holds = :holds, attention = :attention, needs_attention = :needs_attention,"
    " promise_at = :promise_at, decision_id = :decision_id, plan_version = :plan_version,"
    " awaits = :awaits, closed = :closed, updated_at = :updated_at, release_at = :release_at,"
    " overrides = :overrides"
    " WHERE order_id = :order_id AND revision < :revision",
    "orders",
)
_RECORD_LINE = statement(
    "UPDATE order_lines SET ordered = :ordered, "  # noqa: S608 (own names)
    + ", ".join(f"{bucket} = :{bucket}" for bucket in BUCKETS)
    + " WHERE order_id = :order_id AND line_id = :line_id",
    "order_lines",
)


def record_order(session: Session, view: OrderView, now: datetime) -> bool:
    """Write the view if it is newer than what is stored; whether it was.

    Raises UnknownReferenceError when there is no such order.
    """
    before = order_events.order_before(session, view.order_id)
    attention = None if view.attention is None else view.attention.model_dump(mode="json")
    row = {
        "order_id": view.order_id,
        "revision": view.revision,
        "stage": view.stage.value,
        "displayed": view.displayed,
        "holds": [hold.model_dump(mode="json") for hold in view.holds],
        "attention": attention,
        "needs_attention": attention is not None,
        "promise_at": view.promise_at,
        "decision_id": view.decision_id,
        "plan_version": view.plan_version,
        "awaits": view.awaits,
        "closed": view.closed,
        "updated_at": now,
        "release_at": view.release_at,
        "overrides": [x.model_dump(mode="json") for x in view.overrides] or None,
    }
    if not changed(session, _RECORD, row):
        must_exist(session, view.order_id)
        return False
    lines = [
        {**quantities.model_dump(), "order_id": view.order_id, "line_id": line_id}
        for line_id, quantities in view.lines.items()
    ]
    if lines and changed(session, _RECORD_LINE, lines) < len(lines):
        _add_amended_lines(session, view, lines)
    if not view.closed and any(line.released for line in view.lines.values()):
        show_order(session, view.order_id)
    if before is not None:
        order_events.tell_order(session, before, view, now)
    return True


def _add_amended_lines(
    session: Session, view: OrderView, lines: Iterable[Mapping[str, Any]]
) -> None:
    # Lines that an amendment added have no row yet; the workflow has just taken them over.
    known = {row["line_id"] for row in order_lines(session, view.order_id)}
    missing = {line["line_id"]: line for line in lines if line["line_id"] not in known}
    add_lines(session, load_order(session, view.order_id), missing)
