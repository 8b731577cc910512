"""Taking in orders' documents: new ones, the same again, amendments, conflicts."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from domain.orders import Order
from domain.stages import Stage
from domain.values import Model
from store import inbox, order_events
from store.columns import changed, query, statement
from store.engine import is_sqlite
from store.order_lines import add_lines
from store.tracking import new_tracking_token

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
        add_lines(session, order)
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
        order_events.accepted(session, order, "order.accepted", now)
        return Acceptance(
            outcome=Outcome.NEW,
            order_id=order.order_id,
            version=order.version,
            workflow_id=workflow_id,
        )
    return _accept_again(session, order, content_hash, entered_by, now)


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
    order_events.accepted(session, order, "order.amended", now)
