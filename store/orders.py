"""Orders: taking them in, their documents, and the read model of where they stand."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, false, func, select, tuple_
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from domain.errors import UnknownReferenceError
from domain.orders import Address, Order
from domain.plans import OrderView, TimelineEntry, version_address
from domain.quantities import LineQuantities
from domain.stages import Attention, Hold, Stage
from domain.values import Model, UtcTime
from store import inbox, words
from store.columns import changed, query, statement
from store.engine import is_sqlite
from store.fulfillments import FulfillmentPage, fulfillments_of
from store.network import base_currency, exchange_rates
from store.shown import show_order
from store.timeline import timeline
from store.tracking import new_tracking_token

_ORDERS = SQLModel.metadata.tables["orders"]
_BUCKETS = (
    "open",
    "backordered",
    "reserved",
    "released",
    "picked",
    "shipped",
    "delivered",
    "cancelled",
    "returned",
)
_INSERT = statement(
    "INSERT INTO orders (order_id, source, external_id, version, workflow_id, order_type, channel,"
    " brand, region, currency, total, account_id, payment_status, placed_at, received_at,"
    " entered_by, revision, stage, displayed, holds, needs_attention, plan_version, awaits,"
    " closed, updated_at, routing_policy, process_policy, tracking_token) VALUES"
    " (:order_id, :source, :external_id, :version, :workflow_id, :order_type, :channel, :brand,"
    " :region, :currency, :total, :account_id, :payment_status, :placed_at,"
    " :received_at, :entered_by, -1, :stage, :displayed, :holds, :needs_attention, 0, '',"
    " :closed, :updated_at, :routing_policy, :process_policy, :tracking_token)"
    " ON CONFLICT DO NOTHING",
    "orders",
)
_INSERT_VERSION = statement(
    "INSERT INTO order_versions (order_id, version, content_hash, document, entered_by,"
    " received_at) VALUES (:order_id, :version, :content_hash, :document, :entered_by,"
    " :received_at)",
    "order_versions",
)
_PUT_LINE = statement(
    "INSERT INTO order_lines (order_id, line_id, parent_line_id, position, sku, ship_group,"  # noqa: S608
    " ordered, "
    + ", ".join(_BUCKETS)
    + ") VALUES (:order_id, :line_id, :parent_line_id, :position, :sku, :ship_group, :ordered, "
    + ", ".join(f":{bucket}" for bucket in _BUCKETS)
    + ")",
    "order_lines",
)
_FIND = (
    "SELECT order_id, source, external_id, version, workflow_id, closed FROM orders"
    " WHERE order_id = :order_id OR (source = :source AND external_id = :external_id)"
    " ORDER BY order_id"
)
_FIND_SQLITE = query(_FIND, "orders")
_FIND_LOCKING = query(f"{_FIND} FOR UPDATE", "orders")
_HASHES = query(
    "SELECT version, content_hash FROM order_versions WHERE order_id = :order_id",
    "order_versions",
)
_NEW_VERSION = statement(
    "UPDATE orders SET version = :version, total = :total, account_id = :account_id,"
    " payment_status = :payment_status, updated_at = :updated_at WHERE order_id = :order_id",
    "orders",
)
_LATEST = query(
    "SELECT document FROM order_versions WHERE order_id = :order_id ORDER BY version DESC LIMIT 1",
    "order_versions",
)
_VERSION = query(
    "SELECT document FROM order_versions WHERE order_id = :order_id AND version = :version",
    "order_versions",
)
_BEFORE = query(
    "SELECT max(version) FROM order_versions WHERE order_id = :order_id AND version < :version",
    "order_versions",
)
_RECORD = statement(
    "UPDATE orders SET revision = :revision, stage = :stage, displayed = :displayed,"
    " holds = :holds, attention = :attention, needs_attention = :needs_attention,"
    " promise_at = :promise_at, decision_id = :decision_id, plan_version = :plan_version,"
    " awaits = :awaits, closed = :closed, updated_at = :updated_at"
    " WHERE order_id = :order_id AND revision < :revision",
    "orders",
)
_RECORD_LINE = statement(
    "UPDATE order_lines SET ordered = :ordered, "  # noqa: S608 (own names)
    + ", ".join(f"{bucket} = :{bucket}" for bucket in _BUCKETS)
    + " WHERE order_id = :order_id AND line_id = :line_id",
    "order_lines",
)
_ONE = query("SELECT * FROM orders WHERE order_id = :order_id", "orders")
_LINES = query(
    "SELECT * FROM order_lines WHERE order_id = :order_id ORDER BY position, line_id",
    "order_lines",
)
_OPEN_TERMS = query(
    "SELECT total, currency FROM orders WHERE account_id = :account_id AND NOT closed"
    " AND payment_status = 'terms' AND order_id <> :order_id",
    "orders",
)
_BY_STAGE = query("SELECT stage, count(*) AS n FROM orders GROUP BY stage", "orders")
_OPEN = query(
    "SELECT order_id, workflow_id, version, received_at FROM orders WHERE NOT closed"
    " AND received_at < :received_at ORDER BY received_at, order_id",
    "orders",
)
_SAVE_ADDRESS = statement(
    "INSERT INTO addresses (address_id, order_id, group_id, address)"
    " VALUES (:address_id, :order_id, :group_id, :address) ON CONFLICT DO NOTHING",
    "addresses",
)
_USE_ADDRESS = statement(
    "UPDATE addresses SET used_at = :used_at, used_in_version ="
    " (SELECT version FROM orders WHERE orders.order_id = addresses.order_id)"
    " WHERE address_id = :address_id AND order_id = :order_id",
    "addresses",
)
_USED_ADDRESS = query(
    "SELECT address, used_in_version FROM addresses WHERE order_id = :order_id"
    " AND group_id = :group_id AND used_at IS NOT NULL AND address_id NOT IN :refused"
    " ORDER BY used_at DESC, address_id LIMIT 1",
    "addresses",
    lists=["refused"],
)
_MOVED = query(
    "SELECT DISTINCT group_id FROM addresses WHERE order_id = :order_id AND used_at IS NOT NULL",
    "addresses",
)


class Outcome(StrEnum):
    """What taking in a document came to."""

    NEW = "new"
    SAME = "same"
    AMENDMENT = "amendment"
    CONFLICT = "conflict"


class Acceptance(Model):
    """What taking in a document came to; for a conflict, `reason` says why nothing was stored."""

    outcome: Outcome
    order_id: str
    version: int
    workflow_id: str
    reason: str = ""


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
    fulfillments: tuple[FulfillmentPage, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()


class OpenOrder(Model):
    """An order that is not closed, for comparing with running workflows."""

    order_id: str
    workflow_id: str
    version: int
    received_at: UtcTime


def content_hash(order: Order) -> str:
    """SHA-256 (hex) of the document's canonical JSON without its version number."""
    document = order.model_dump(mode="json", exclude={"version"})
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def accept_order(
    session: Session,
    order: Order,
    *,
    content_hash: str,
    entered_by: str,
    now: datetime,
    pins: Mapping[str, str] | None = None,
) -> Acceptance:
    """Take in a document: the first one, the same again, a later version, or a conflicting one.

    A new order gets its `start` in the inbox, with the policy versions it is pinned to (`routing`,
    `process`); an amendment its `amend` signal; the same content changes nothing, a conflict
    neither. Safe when the same order arrives twice at once.
    """
    workflow_id = f"order-{order.order_id}"
    row = _order_row(order, workflow_id, entered_by, now) | {
        "routing_policy": pins["routing"] if pins else None,
        "process_policy": pins["process"] if pins else None,
        "tracking_token": new_tracking_token(),
    }
    if changed(session, _INSERT, row):
        _store_version(session, order, content_hash, entered_by, now)
        session.execute(_PUT_LINE, _new_lines(order, {x.line_id for x in order.lines}))
        start: dict[str, Any] = {"order_id": order.order_id, "version": order.version}
        if pins is not None:
            start["pins"] = dict(pins)
        inbox.put(
            session,
            kind="start",
            name="start",
            stream=workflow_id,
            workflow_id=workflow_id,
            payload=start,
            key=f"start/{order.order_id}",
            now=now,
        )
        return Acceptance(
            outcome=Outcome.NEW,
            order_id=order.order_id,
            version=order.version,
            workflow_id=workflow_id,
        )
    return _accept_again(session, order, content_hash, entered_by, now)


def load_order(session: Session, order_id: str, version: int | None = None) -> Order:
    """A version of the document, the latest by default. Raises UnknownReferenceError."""
    sql = _LATEST if version is None else _VERSION
    row = session.execute(sql, {"order_id": order_id, "version": version}).one_or_none()
    if row is None:
        which = "" if version is None else f" version {version}"
        raise UnknownReferenceError(f"no order '{order_id}'{which}")
    return Order.model_validate(row.document)


def record_order(session: Session, view: OrderView, now: datetime) -> bool:
    """Write the view if it is newer than what is stored; whether it was.

    Raises UnknownReferenceError when there is no such order.
    """
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
    }
    if not changed(session, _RECORD, row):
        _must_exist(session, view.order_id)
        return False
    lines = [
        {**quantities.model_dump(), "order_id": view.order_id, "line_id": line_id}
        for line_id, quantities in view.lines.items()
    ]
    if lines and changed(session, _RECORD_LINE, lines) < len(lines):
        _add_amended_lines(session, view, lines)
    if not view.closed and any(line.released for line in view.lines.values()):
        show_order(session, view.order_id)
    return True


def order_page(session: Session, order_id: str) -> OrderPage:
    """All that is shown of one order. Raises UnknownReferenceError."""
    row = session.execute(_ONE, {"order_id": order_id}).mappings().one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no order '{order_id}'")
    said = words.of_order(session, order_id)
    fulfillments = [_with_words(x, said) for x in fulfillments_of(session, order_id)]
    lines = session.execute(_LINES, {"order_id": order_id}).mappings()
    summary = _summary(row)
    return OrderPage(
        **{**summary, "awaits": words.told(summary["awaits"], said)},
        entered_by=row["entered_by"],
        lines=tuple(_line_page(line, fulfillments) for line in lines),
        holds=tuple(words.told_hold(Hold.model_validate(x), said) for x in row["holds"]),
        attention=words.told_attention(_attention(row["attention"]), said),
        decision_id=row["decision_id"],
        plan_version=row["plan_version"],
        fulfillments=tuple(fulfillments),
        timeline=words.in_story(timeline(session, order_id), said),
    )


def _attention(stored: Any) -> Attention | None:
    return None if stored is None else Attention.model_validate(stored)


def _with_words(page: FulfillmentPage, said: Mapping[str, words.Words]) -> FulfillmentPage:
    told = {
        "attention": words.told_attention(page.attention, said),
        "awaits": words.told(page.awaits, said),
    }
    return page.model_copy(update=told)


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


def open_orders(session: Session, older_than: datetime) -> list[OpenOrder]:
    """Orders received before that time and not closed, oldest first."""
    rows = session.execute(_OPEN, {"received_at": older_than}).mappings()
    return [OpenOrder.model_validate(dict(row)) for row in rows]


def orders_by_stage(session: Session) -> dict[str, int]:
    """Stage -> number of orders; stages without orders are left out."""
    return {row.stage: row.n for row in session.execute(_BY_STAGE)}


def save_address(session: Session, order_id: str, group_id: str, address: Address) -> str:
    """Keep a changed address, apart because it is personal; its id. It is not in use yet.

    The same address for the same ship group has the same id. Raises UnknownReferenceError when
    the order has no such ship group.
    """
    order = load_order(session, order_id)
    if group_id not in {group.id for group in order.ship_groups}:
        raise UnknownReferenceError(f"order '{order_id}' has no ship group '{group_id}'")
    document = address.model_dump(mode="json")
    content = json.dumps([order_id, group_id, document], sort_keys=True)
    address_id = f"A-{hashlib.sha256(content.encode()).hexdigest()[:24]}"
    session.execute(
        _SAVE_ADDRESS,
        {
            "address_id": address_id,
            "order_id": order_id,
            "group_id": group_id,
            "address": document,
        },
    )
    return address_id


def _version_before(session: Session, order: Order) -> int:
    place = {"order_id": order.order_id, "version": order.version}
    return int(session.execute(_BEFORE, place).scalar_one())


def use_address(session: Session, order_id: str, address_id: str, now: datetime) -> None:
    """Send the ship group there from now on. Raises UnknownReferenceError."""
    row = {"order_id": order_id, "address_id": address_id, "used_at": now}
    if not changed(session, _USE_ADDRESS, row):
        raise UnknownReferenceError(f"order '{order_id}' has no address '{address_id}'")


def address_of(
    session: Session, order_id: str, group_id: str, refused: Collection[str] = ()
) -> Address | None:
    """Where the ship group goes now: the address in use, else its document's.

    Addresses of the ids in `refused` are as if never used: a node was past changing to them.
    A later version of the document that itself changes the address overrides an address that was
    taken into use before. Raises UnknownReferenceError when there is no such order or ship group.
    """
    order = load_order(session, order_id)
    while version_address(order_id, order.version) in refused:
        order = load_order(session, order_id, _version_before(session, order))
    documented = _documented(order, group_id)
    used = session.execute(
        _USED_ADDRESS, {"order_id": order_id, "group_id": group_id, "refused": ["", *refused]}
    ).one_or_none()
    if used is None:
        return documented
    if used.used_in_version != order.version:
        before = load_order(session, order_id, used.used_in_version)
        if _documented(before, group_id) != documented:
            return documented
    return Address.model_validate(used.address)


def at_current_addresses(session: Session, order: Order) -> Order:
    """The order as `address_of` says where each of its ship groups goes now."""
    moved = set(session.execute(_MOVED, {"order_id": order.order_id}).scalars())
    if not moved:
        return order
    groups = tuple(
        group.model_copy(update={"address": address_of(session, order.order_id, group.id)})
        if group.id in moved
        else group
        for group in order.ship_groups
    )
    return order.model_copy(update={"ship_groups": groups})


def entered_by(session: Session, order_id: str) -> str:
    """Who entered the order, as the edge stamped it. Raises UnknownReferenceError."""
    row = session.execute(_ONE, {"order_id": order_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no order '{order_id}'")
    return str(row.entered_by)


def open_terms(session: Session, account_id: str, except_order_id: str) -> Decimal:
    """What an account's other open orders on terms come to, in the base currency.

    Raises UnknownReferenceError when a currency has no exchange rate.
    """
    base, rates = base_currency(session), exchange_rates(session)
    rows = session.execute(_OPEN_TERMS, {"account_id": account_id, "order_id": except_order_id})
    total = Decimal(0)
    for row in rows:
        rate = "1" if row.currency == base else rates.get(row.currency)
        if rate is None:
            raise UnknownReferenceError(f"no exchange rate for {row.currency}: set one")
        total += Decimal(row.total) * Decimal(rate)
    return total


def _order_row(order: Order, workflow_id: str, entered_by: str, now: datetime) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "source": order.source,
        "external_id": order.external_id,
        "version": order.version,
        "workflow_id": workflow_id,
        "order_type": order.order_type.value,
        "channel": order.channel,
        "brand": order.brand,
        "region": order.region,
        "currency": order.currency,
        "total": str(order.total),
        "account_id": order.customer.account_id,
        "payment_status": order.payment.status.value,
        "placed_at": order.placed_at,
        "received_at": now,
        "entered_by": entered_by,
        "stage": Stage.RECEIVED.value,
        "displayed": Stage.RECEIVED.value,
        "holds": [],
        "needs_attention": False,
        "closed": False,
        "updated_at": now,
    }


def _store_version(
    session: Session, order: Order, content_hash: str, entered_by: str, now: datetime
) -> None:
    session.execute(
        _INSERT_VERSION,
        {
            "order_id": order.order_id,
            "version": order.version,
            "content_hash": content_hash,
            "document": order.model_dump(mode="json"),
            "entered_by": entered_by,
            "received_at": now,
        },
    )


def _accept_again(
    session: Session, order: Order, content_hash: str, entered_by: str, now: datetime
) -> Acceptance:
    sql = _FIND_SQLITE if is_sqlite(session) else _FIND_LOCKING
    rows = session.execute(
        sql,
        {
            "order_id": order.order_id,
            "source": order.source,
            "external_id": order.external_id,
        },
    ).all()
    stored = rows[0]
    facts = {
        "order_id": stored.order_id,
        "version": stored.version,
        "workflow_id": stored.workflow_id,
    }
    reason = _other_order(order, stored)
    if reason:
        return Acceptance(outcome=Outcome.CONFLICT, reason=reason, **facts)
    hashes = {
        row.version: row.content_hash
        for row in session.execute(_HASHES, {"order_id": order.order_id})
    }
    if hashes.get(order.version) == content_hash or hashes[stored.version] == content_hash:
        return Acceptance(outcome=Outcome.SAME, **facts)
    if order.version <= stored.version:
        reason = (
            f"version {order.version} with other content than before: the stored version is"
            f" {stored.version}; send a change as version {stored.version + 1}"
        )
        return Acceptance(outcome=Outcome.CONFLICT, reason=reason, **facts)
    if stored.closed:
        reason = "the order is closed and cannot be changed"
        return Acceptance(outcome=Outcome.CONFLICT, reason=reason, **facts)
    _amend(session, order, content_hash, entered_by, now)
    return Acceptance(outcome=Outcome.AMENDMENT, **{**facts, "version": order.version})


def _other_order(order: Order, stored: Any) -> str:
    if stored.order_id != order.order_id:
        return (
            f"source '{order.source}' sent external_id '{order.external_id}' before as order"
            f" '{stored.order_id}'"
        )
    if (stored.source, stored.external_id) != (order.source, order.external_id):
        return (
            f"order_id '{order.order_id}' belongs to external_id '{stored.external_id}' of"
            f" source '{stored.source}'"
        )
    return ""


def _amend(
    session: Session, order: Order, content_hash: str, entered_by: str, now: datetime
) -> None:
    _store_version(session, order, content_hash, entered_by, now)
    session.execute(
        _NEW_VERSION,
        {
            "order_id": order.order_id,
            "version": order.version,
            "total": str(order.total),
            "account_id": order.customer.account_id,
            "payment_status": order.payment.status.value,
            "updated_at": now,
        },
    )
    request_id = f"amend-{order.version}"
    workflow_id = f"order-{order.order_id}"
    inbox.put(
        session,
        kind="signal",
        name="amend",
        stream=workflow_id,
        workflow_id=workflow_id,
        payload={"request_id": request_id, "version": order.version},
        key=f"amend/{order.order_id}/{order.version}",
        now=now,
    )


def _new_lines(order: Order, line_ids: set[str]) -> list[dict[str, Any]]:
    return [
        {
            **dict.fromkeys(_BUCKETS, 0),
            "order_id": order.order_id,
            "line_id": line.line_id,
            "parent_line_id": line.parent_line_id,
            "position": position,
            "sku": line.sku,
            "ship_group": line.ship_group,
            "ordered": line.quantity,
            "open": line.quantity,
        }
        for position, line in enumerate(order.lines)
        if line.line_id in line_ids
    ]


def _add_amended_lines(
    session: Session, view: OrderView, lines: Iterable[Mapping[str, Any]]
) -> None:
    # Lines that an amendment added have no row yet; the workflow has just taken them over.
    known = session.execute(_LINES, {"order_id": view.order_id}).mappings()
    missing = set(view.lines) - {row["line_id"] for row in known}
    rows = {row["line_id"]: row for row in _new_lines(load_order(session, view.order_id), missing)}
    added = [{**rows[line["line_id"]], **line} for line in lines if line["line_id"] in rows]
    if added:
        session.execute(_PUT_LINE, added)


def _must_exist(session: Session, order_id: str) -> None:
    if session.execute(_ONE, {"order_id": order_id}).one_or_none() is None:
        raise UnknownReferenceError(f"no order '{order_id}'")


def _summary(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: row[name] for name in OrderSummary.model_fields}


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


def _documented(order: Order, group_id: str) -> Address | None:
    try:
        return order.group(group_id).address
    except KeyError:
        raise UnknownReferenceError(
            f"order '{order.order_id}' has no ship group '{group_id}'"
        ) from None
