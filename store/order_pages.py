"""Orders as people read them: pages, lists and counts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, false, func, select, tuple_
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from domain.errors import UnknownReferenceError
from domain.plans import NODES_AT_WORK, NodeOverride, TimelineEntry
from domain.quantities import LineQuantities
from domain.stages import Attention, Hold, Stage
from domain.values import Model, UtcTime
from store import words
from store.columns import query
from store.fulfillments import FulfillmentPage, fulfillments_of
from store.order_lines import order_lines
from store.order_progress import advanced
from store.timeline import timeline

_NODES_NAMED = 3
_NO_NODES = frozenset({"", "nothing", NODES_AT_WORK})
_ORDERS = SQLModel.metadata.tables["orders"]
_ONE = query("SELECT * FROM orders WHERE order_id = :order_id", "orders")
_BY_STAGE = query("SELECT stage, count(*) AS n FROM orders GROUP BY stage", "orders")


class LinePage(Model):
    """One line and where its units are; its parent is the kit it is a component of, or as sent."""

    line_id: str
    parent_line_id: str | None = None
    sku: str
    ship_group: str
    quantities: LineQuantities


class OrderSummary(Model):
    """A row of a list of orders."""

    order_id: str
    source: str
    external_id: str
    version: int
    workflow_id: str
    order_type: str
    channel: str
    brand: str
    region: str
    currency: str
    total: str
    placed_at: UtcTime
    received_at: UtcTime
    updated_at: UtcTime
    stage: Stage
    displayed: str
    needs_attention: bool
    promise_at: UtcTime | None = None
    awaits: str = ""
    closed: bool = False


class OrderPage(OrderSummary):
    """All that is shown of one order, with what was said about it; no name or address."""

    entered_by: str
    lines: tuple[LinePage, ...]
    holds: tuple[Hold, ...] = ()
    attention: Attention | None = None
    decision_id: str | None = None
    plan_version: int = 0
    release_at: UtcTime | None = None
    overrides: tuple[NodeOverride, ...] = ()
    """What people said of its nodes."""
    fulfillments: tuple[FulfillmentPage, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()


class OpenOrder(Model):
    """An order that is not closed, for comparing with running workflows."""

    order_id: str
    workflow_id: str
    version: int
    received_at: UtcTime


def order_page(session: Session, order_id: str) -> OrderPage:
    """All that is shown of one order. Raises UnknownReferenceError."""
    row = session.execute(_ONE, {"order_id": order_id}).mappings().one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no order '{order_id}'")
    said = words.of_order(session, order_id)
    fulfillments = [_with_words(x, said) for x in fulfillments_of(session, order_id)]
    summary = _summary(row)
    return OrderPage(
        **{**summary, "awaits": _awaits(words.told(summary["awaits"], said), row, fulfillments)},
        entered_by=row["entered_by"],
        lines=tuple(_line_page(line, fulfillments) for line in order_lines(session, order_id)),
        holds=tuple(words.told_hold(Hold.model_validate(x), said) for x in row["holds"]),
        attention=words.told_attention(_attention(row["attention"]), said),
        decision_id=row["decision_id"],
        plan_version=row["plan_version"],
        release_at=row["release_at"],
        overrides=tuple(
            words.told_override(NodeOverride.model_validate(x), said)
            for x in row["overrides"] or ()
        ),
        fulfillments=tuple(fulfillments),
        timeline=words.in_story(timeline(session, order_id), said),
    )


def list_orders(
    session: Session,
    *,
    stage: str | None = None,
    brand: str | None = None,
    region: str | None = None,
    order_type: str | None = None,
    needs_attention: bool | None = None,
    limit: int = 50,
    after: str | None = None,
) -> list[OrderSummary]:
    """Orders, newest first; `after` is the order id the page before ended with."""
    found = select(_ORDERS).order_by(_ORDERS.c.received_at.desc(), _ORDERS.c.order_id.desc())
    found = found.where(*_wanted(stage, brand, region, order_type, needs_attention))
    if after is not None:
        row = session.execute(_ONE, {"order_id": after}).one_or_none()
        last = (row.received_at, row.order_id) if row is not None else None
        place = tuple_(_ORDERS.c.received_at, _ORDERS.c.order_id)
        found = found.where(false() if last is None else place < tuple_(*last))
    rows = session.execute(found.limit(limit)).mappings()
    return [OrderSummary(**_summary(row)) for row in rows]


def count_orders(
    session: Session,
    *,
    stage: str | None = None,
    brand: str | None = None,
    region: str | None = None,
    order_type: str | None = None,
    needs_attention: bool | None = None,
) -> int:
    """How many orders `list_orders` would list on all its pages."""
    conditions = _wanted(stage, brand, region, order_type, needs_attention)
    counted = select(func.count()).select_from(_ORDERS).where(*conditions)
    return session.execute(counted).scalar_one()


def open_orders(
    session: Session, older_than: datetime, *, after: OpenOrder | None = None, most: int = 500
) -> list[OpenOrder]:
    """Orders received before that time and not closed, oldest first, from the one after `after`."""
    columns, age = _ORDERS.c, tuple_(_ORDERS.c.received_at, _ORDERS.c.order_id)
    asked = (
        select(*(columns[name] for name in OpenOrder.model_fields))
        .where(columns.closed == false(), columns.received_at < older_than)
        .order_by(columns.received_at, columns.order_id)
        .limit(most)
    )
    if after is not None:
        asked = asked.where(age > (after.received_at, after.order_id))
    return [OpenOrder.model_validate(dict(row)) for row in session.execute(asked).mappings()]


def orders_by_stage(session: Session) -> dict[str, int]:
    """Stage -> number of orders; stages without orders are left out."""
    return {row.stage: row.n for row in session.execute(_BY_STAGE)}


def _wanted(
    stage: str | None,
    brand: str | None,
    region: str | None,
    order_type: str | None,
    needs_attention: bool | None,
) -> list[ColumnElement[bool]]:
    wanted = {"stage": stage, "brand": brand, "region": region, "order_type": order_type}
    found = [_ORDERS.c[name] == value for name, value in wanted.items() if value is not None]
    if needs_attention is not None:
        found.append(_ORDERS.c.needs_attention.is_(needs_attention))
    return found


def _summary(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: row[name] for name in OrderSummary.model_fields}


def _attention(stored: Any) -> Attention | None:
    return None if stored is None else Attention.model_validate(stored)


def _with_words(page: FulfillmentPage, said: Mapping[str, words.Words]) -> FulfillmentPage:
    told = {
        "attention": words.told_attention(page.attention, said),
        "awaits": words.told(page.awaits, said),
    }
    return page.model_copy(update=told)


def _line_page(line: Mapping[Any, Any], fulfillments: list[FulfillmentPage]) -> LinePage:
    stored = LineQuantities(**{name: line[name] for name in LineQuantities.model_fields})
    return LinePage(
        line_id=line["line_id"],
        parent_line_id=line["parent_line_id"],
        sku=line["sku"],
        ship_group=line["ship_group"],
        quantities=_with_progress(line["line_id"], stored, fulfillments),
    )


def _with_progress(
    line_id: str, stored: LineQuantities, fulfillments: list[FulfillmentPage]
) -> LineQuantities:
    """The order's own numbers, moved on by what its fulfillments already know.

    A fulfillment's row is often a moment ahead of its order's; cumulative counts are compared, so
    a unit that the order has taken back is not shown as shipped by an old fulfillment.
    """
    picked = shipped = delivered = 0
    for fulfillment in fulfillments:
        asked = {line.line_id: line.quantity for line in fulfillment.asked}
        for line in fulfillment.lines:
            if line.line_id == line_id and line_id in asked:
                kept = asked[line_id] - line.cancelled - line.returned_to_order
                delivered += min(line.delivered, kept)
                shipped += min(max(line.shipped, line.delivered), kept)
                picked += min(max(line.picked, line.shipped, line.delivered), kept)
    return advanced(stored, picked=picked, shipped=shipped, delivered=delivered)


def _awaits(text: str, row: Mapping[Any, Any], fulfillments: Sequence[FulfillmentPage]) -> str:
    """What the order's own row says, with the nodes that work on it now."""
    if row["attention"] is not None or row["closed"]:
        return text
    working = [x for x in fulfillments if not x.closed]
    nodes = [_awaited(x) for x in working[:_NODES_NAMED]]
    if len(working) > len(nodes):
        nodes.append(f"{len(working) - len(nodes)} more nodes")
    # Rows written before named nodes, the last of them cut off, and were not told of their end.
    named = {x.node_id for x in fulfillments}
    own = [x for x in text.split("; ") if x not in _NO_NODES and x.split(" ")[0] not in named]
    return "; ".join([*own, *nodes]) or "nothing"


def _awaited(fulfillment: FulfillmentPage) -> str:
    asked = fulfillment.attention
    who = (
        f"{fulfillment.node_id} to do its part" if asked is None else f"a person at '{asked.step}'"
    )
    return f"{who} ({fulfillment.fulfillment_id})"
