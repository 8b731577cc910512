"""Delivery dates learned, and the shipments they are learned from."""

import json
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy.orm import Session

from domain.learned_dates import LearnedDates, Shipment
from domain.network import Place
from store.columns import query, statement
from store.network import load_network

_SHIPPED = query(
    "SELECT fulfillment_id, order_id, node_id, service_id, ship_group, document, created_at"
    " FROM fulfillments WHERE method = 'ship' AND service_id IS NOT NULL"
    " AND created_at >= :created_at AND status NOT IN ('cancelled', 'rejected')"
    " ORDER BY created_at, fulfillment_id",
    "fulfillments",
)
_ORDERS = query(
    "SELECT v.order_id, v.document FROM order_versions v JOIN orders o"
    " ON o.order_id = v.order_id AND o.version = v.version WHERE v.order_id IN"
    " (SELECT order_id FROM fulfillments WHERE created_at >= :created_at)",
    "order_versions",
    "fulfillments",
)
_TIMES = query(
    "SELECT t.order_id, t.key, t.at, t.kind FROM timeline t JOIN orders o"
    " ON o.order_id = t.order_id WHERE t.kind IN ('shipped', 'delivered')"
    " AND o.updated_at >= :updated_at ORDER BY t.at, t.key",
    "timeline",
    "orders",
)
_KEEP = statement(
    "INSERT INTO learned_dates (learned_at, shipments, document)"
    " VALUES (:learned_at, :shipments, :document) ON CONFLICT DO NOTHING",
    "learned_dates",
)
_FORGET = statement(
    "DELETE FROM learned_dates WHERE learned_at NOT IN"
    " (SELECT learned_at FROM learned_dates ORDER BY learned_at DESC LIMIT :kept)",
    "learned_dates",
)
_LATEST = query(
    "SELECT document FROM learned_dates ORDER BY learned_at DESC LIMIT 1", "learned_dates"
)
_COUNT = statement("SELECT count(*) FROM learned_dates")
_KEPT = 30


def shipments(session: Session, since: datetime) -> Iterator[Shipment]:
    """What was or is to be shipped since then, without names; what has no address is left out.

    A fulfillment left when its first units were handed over, and arrived when all were delivered.
    """
    places = {node.node_id: node.place for node in load_network(session).nodes}
    times, destinations = _times(session, since), _destinations(session, since)
    for row in session.execute(_SHIPPED, {"created_at": since}).mappings():
        destination = destinations.get((row["order_id"], row["ship_group"]))
        origin = places.get(row["node_id"])
        if destination is None or origin is None:
            continue
        asked = row["document"]
        planned = asked.get("ship_by")
        reached = times.get(row["fulfillment_id"], {})
        yield Shipment(
            node_id=row["node_id"],
            service_id=row["service_id"],
            origin=origin,
            destination=destination,
            planned=row["created_at"] if planned is None else datetime.fromisoformat(planned),
            handed_over=reached.get("shipped"),
            delivered=reached.get("delivered"),
            units=sum(line["quantity"] for line in asked["lines"]),
        )


def _times(session: Session, since: datetime) -> dict[str, dict[str, datetime]]:
    """By fulfillment: the first hand-over, the last delivery."""
    found: dict[str, dict[str, datetime]] = {}
    for row in session.execute(_TIMES, {"updated_at": since}).mappings():
        fulfillment_id = row["key"].partition("/")[0]
        reached = found.setdefault(fulfillment_id, {})
        if row["kind"] == "delivered" or "shipped" not in reached:
            reached[row["kind"]] = row["at"]
    return found


def _destinations(session: Session, since: datetime) -> dict[tuple[str, str], Place]:
    """By order and ship group; of an address only what a place is."""
    found = {}
    for row in session.execute(_ORDERS, {"created_at": since}).mappings():
        for group in row["document"]["ship_groups"]:
            address = group.get("address")
            if address is not None:
                place = {name: address[name] for name in Place.model_fields if name in address}
                found[row["order_id"], group["id"]] = Place(**place)
    return found


def keep(session: Session, learned: LearnedDates) -> None:
    """Keep what was learned; the last month of it stays to be looked at."""
    document = json.loads(learned.model_dump_json())
    session.execute(
        _KEEP,
        {
            "learned_at": learned.learned_at,
            "shipments": learned.shipments,
            "document": document,
        },
    )
    session.execute(_FORGET, {"kept": _KEPT})


def latest(session: Session) -> LearnedDates | None:
    """What was learned last; None when nothing was yet."""
    document = session.execute(_LATEST).scalar()
    return None if document is None else LearnedDates.model_validate_json(json.dumps(document))


def kept(session: Session) -> int:
    """How many times of learning are kept."""
    count: int = session.execute(_COUNT).scalar_one()
    return count
