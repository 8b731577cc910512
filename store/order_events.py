"""Events of orders, kept in the transaction that changes what is known of them.

While nobody subscribes, telling costs one statement that finds no row.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from domain.fulfillments import FulfillmentStatus, Package, PackageStatus
from domain.order_events import (
    Fact,
    FulfillmentSeen,
    OrderSeen,
    attention_facts,
    fulfillment_facts,
    order_facts,
)
from domain.orders import Order
from domain.plans import FulfillmentView, OrderView
from domain.quantities import LineQuantities
from domain.stages import Attention, Stage
from store import subscriptions
from store.columns import query, statement
from store.order_lines import order_lines

# Asked at every step of every order: a third of the cost of the queries that follow it.
_LISTENED_TO = query(
    "SELECT 1 AS is_heard FROM subscriptions WHERE state = 'active' LIMIT 1", "subscriptions"
)
_ORDER_FACTS = (
    "o.order_id, o.source, o.external_id, o.version, o.order_type, o.channel, o.brand, o.promise_at"
)
_ORDER = query(
    f"SELECT {_ORDER_FACTS}, o.stage, o.holds, o.attention, o.closed FROM orders o"  # noqa: S608 (own names)
    " WHERE o.order_id = :order_id",
    "orders",
)
# The order's own facts stand under its columns' names; those of the fulfillment have aliases.
_FULFILLMENT = query(
    f"SELECT {_ORDER_FACTS}, f.order_id AS of_order, f.status AS stage, f.attention, f.node_id,"  # noqa: S608 (own names)
    " f.method, f.ship_group FROM fulfillments f LEFT JOIN orders o ON o.order_id = f.order_id"
    " WHERE f.fulfillment_id = :fulfillment_id",
    "orders",
    "fulfillments",
)
_PACKAGES = query(
    "SELECT package_id, status FROM packages WHERE fulfillment_id = :fulfillment_id", "packages"
)
_LINES = query(
    "SELECT line_id, sku, quantity, picked, shipped, delivered, cancelled, returned_to_order"
    " FROM fulfillment_lines WHERE fulfillment_id = :fulfillment_id ORDER BY line_id",
    "fulfillment_lines",
)
_KEEP = statement(
    "INSERT INTO order_events (event_id, order_id, event_type, document, occurred_at)"
    " VALUES (:event_id, :order_id, :event_type, :document, :occurred_at)",
    "order_events",
)
_DELIVER = statement(
    "INSERT INTO event_deliveries (subscription_id, event_id, order_id, state, attempts, next_at,"
    " error, created_at) VALUES (:subscription_id, :event_id, :order_id, 'waiting', 0, :next_at,"
    " '', :created_at)",
    "event_deliveries",
)


class OrderBefore(NamedTuple):
    """What an order's events are derived from, read before its rows change."""

    order: Mapping[str, Any]
    seen: OrderSeen


class FulfillmentBefore(NamedTuple):
    """The same of a fulfillment; `part` is what its events say of it."""

    order: Mapping[str, Any]
    part: Mapping[str, Any]
    seen: FulfillmentSeen


def _is_listened_to(session: Session) -> bool:
    return session.execute(_LISTENED_TO).first() is not None


def accepted(session: Session, order: Order, event_type: str, now: datetime) -> None:
    """An order's document was taken in: the first, or a later version."""
    if not _is_listened_to(session):
        return
    row = session.execute(_ORDER, {"order_id": order.order_id}).mappings().one()
    lines = [
        {"line_id": line.line_id, "sku": line.sku, "quantity": line.quantity}
        for line in order.lines
    ]
    about = {**_order(dict(row)), "stage": row["stage"], "lines": lines}
    _tell(session, dict(row), [(event_type, about)], now)


def order_before(session: Session, order_id: str) -> OrderBefore | None:
    """What is known of an order before it changes; None when nobody listens, or of no order."""
    if not _is_listened_to(session):
        return None
    row = session.execute(_ORDER, {"order_id": order_id}).mappings().one_or_none()
    if row is None:
        return None
    seen = OrderSeen(
        stage=Stage(row["stage"]),
        holds={hold["hold_id"]: hold["type"] for hold in row["holds"]},
        park_id=_park_id(row["attention"]),
        promise_at=row["promise_at"],
        closed=row["closed"],
        lines={
            line["line_id"]: LineQuantities(
                **{name: line[name] for name in LineQuantities.model_fields}
            )
            for line in order_lines(session, order_id)
        },
    )
    return OrderBefore(dict(row), seen)


def tell_order(session: Session, before: OrderBefore, view: OrderView, now: datetime) -> None:
    """Keep an event for everything that is new in the order's view."""
    facts = order_facts(before.seen, view)
    if not facts:
        return
    skus = {line["line_id"]: line["sku"] for line in order_lines(session, view.order_id)}
    about = {
        **_order(before.order),
        "promised_by": _text(view.promise_at),
        "stage": view.stage.value,
    }
    _tell(
        session,
        before.order,
        [(fact.type, {**about, **_order_data(fact, view, skus)}) for fact in facts],
        now,
    )


def tell_notices(session: Session, order_id: str, texts: Sequence[str], now: datetime) -> None:
    """Keep an event for everything that rules have to tell of an order."""
    row = session.execute(_ORDER, {"order_id": order_id}).mappings().one_or_none()
    if row is not None:
        about = {**_order(dict(row)), "stage": row["stage"]}
        _tell(session, dict(row), [("order.notice", {**about, "text": x}) for x in texts], now)


def tell_attention(session: Session, order_id: str, attention: Attention, now: datetime) -> None:
    """Keep an event for a question that the order's workflow did not ask itself."""
    if not _is_listened_to(session):
        return
    row = dict(session.execute(_ORDER, {"order_id": order_id}).mappings().one())
    about = {**_order(row), "stage": row["stage"]}
    told = [(fact.type, {**about, **fact.data}) for fact in attention_facts(None, attention)]
    _tell(session, row, told, now)


def _order_data(fact: Fact, view: OrderView, skus: Mapping[str, str]) -> dict[str, Any]:
    if "units" in fact.data:
        units = fact.data["units"].items()
        return {"lines": [{"line_id": x, "sku": skus.get(x), "quantity": n} for x, n in units]}
    if view.closed and not fact.data:
        return {
            "lines": [
                {
                    "line_id": line_id,
                    "sku": skus.get(line_id),
                    "ordered": line.ordered,
                    "delivered": line.delivered,
                    "cancelled": line.cancelled,
                }
                for line_id, line in view.lines.items()
            ]
        }
    return fact.data


def fulfillment_before(session: Session, fulfillment_id: str) -> FulfillmentBefore | None:
    """What is known of a fulfillment before it changes; None when nobody listens."""
    if not _is_listened_to(session):
        return None
    place = {"fulfillment_id": fulfillment_id}
    row = session.execute(_FULFILLMENT, place).mappings().one_or_none()
    if row is None:
        return None
    part = {
        "fulfillment_id": fulfillment_id,
        "node_id": row["node_id"],
        "method": row["method"],
        "ship_group": row["ship_group"],
    }
    seen = FulfillmentSeen(
        status=FulfillmentStatus(row["stage"]),
        park_id=_park_id(row["attention"]),
        packages={x.package_id: PackageStatus(x.status) for x in session.execute(_PACKAGES, place)},
    )
    return FulfillmentBefore({**row, "order_id": row["of_order"]}, part, seen)


def tell_fulfillment(
    session: Session,
    before: FulfillmentBefore,
    view: FulfillmentView,
    packages: Callable[[], Sequence[Package]],
    now: datetime,
) -> None:
    """Keep an event for everything that is new in the fulfillment's view.

    `packages` gives them as they are stored afterwards: a view may know less.
    """
    facts = fulfillment_facts(before.seen, view)
    if not facts:
        return
    place = {"fulfillment_id": view.fulfillment_id}
    lines = [dict(row) for row in session.execute(_LINES, place).mappings()]
    parcels = {x.package_id: _parcel(x, lines) for x in packages()}
    about = {**_order(before.order), **before.part}
    told = []
    for fact in facts:
        if "package_id" in fact.data:
            extra: dict[str, Any] = {"package": parcels[fact.data["package_id"]]}
        else:
            extra = {"status": view.status.value, **fact.data}
            if fact.type.startswith("fulfillment."):
                extra |= {"lines": lines, "packages": list(parcels.values())}
        told.append((fact.type, {**about, **extra}))
    _tell(session, before.order, told, now)


def _parcel(package: Package, lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    skus = {line["line_id"]: line["sku"] for line in lines}
    return {
        "package_id": package.package_id,
        "status": package.status.value,
        "carrier": package.carrier,
        "service": package.service,
        "tracking_number": package.tracking_number,
        "lines": [
            {"line_id": x.line_id, "sku": skus.get(x.line_id), "quantity": x.quantity}
            for x in package.lines
        ],
    }


def _order(row: Mapping[str, Any]) -> dict[str, Any]:
    """Whose event it is: ids and scope, nothing personal."""
    names = ("order_id", "source", "external_id", "version", "order_type", "channel", "brand")
    return {
        **{name: row[name] for name in names},
        "promised_by": _text(row["promise_at"]),
    }


def _tell(
    session: Session,
    order: Mapping[str, Any],
    told: Iterable[tuple[str, dict[str, Any]]],
    now: datetime,
) -> None:
    """Keep each event that somebody wants, and that it is on its way to them."""
    listeners = subscriptions.active(session)
    events, deliveries = [], []
    for event_type, data in told:
        wanted = [x for x in listeners if x.wants(event_type, order["brand"], order["channel"])]
        if not wanted:
            continue
        event = _event(order["order_id"], event_type, data, now)
        events.append(event)
        deliveries += [
            {
                "subscription_id": listener.subscription_id,
                "event_id": event["event_id"],
                "order_id": order["order_id"],
                "next_at": now,
                "created_at": now,
            }
            for listener in wanted
        ]
    if events:
        session.execute(_KEEP, events)
        session.execute(_DELIVER, deliveries)


def _event(order_id: str, event_type: str, data: dict[str, Any], now: datetime) -> dict[str, Any]:
    document = {"type": event_type, "timestamp": _text(now), "data": data}
    return {
        "event_id": f"evt-{secrets.token_hex(12)}",
        "order_id": order_id,
        "event_type": event_type,
        "document": document,
        "occurred_at": now,
    }


def _park_id(attention: Mapping[str, Any] | None) -> str | None:
    return None if attention is None else str(attention["park_id"])


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
