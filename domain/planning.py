"""From an order to a kernel request, and from a decision back to a plan an order carries out."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from domain.geo import haversine_km
from domain.money import to_base
from domain.network import CarrierService, Connection, ConnectionClass, Node, Place
from domain.orders import Address, Order, ShipGroup
from domain.plans import GroupFacts, Plan, PlanLine, PlannedFulfillment, PlanShortage
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Exclusion,
    PlannedShipment,
    Purpose,
    RequestGroup,
    RequestLine,
    Snapshot,
)
from domain.values import MICROS, Model


def place_of(address: Address) -> Place:
    """The non-personal facts of an address that tariffs, zones and distances look at."""
    return Place(
        latitude=address.latitude,
        longitude=address.longitude,
        region=address.region or "",
        country=address.country,
        postal_code=address.postal_code or "",
    )


def distance_km(sender: Place, receiver: Place) -> int | None:
    """Great-circle kilometres, rounded; None where a coordinate is missing."""
    match sender, receiver:
        case (
            Place(latitude=float(from_latitude), longitude=float(from_longitude)),
            Place(latitude=float(to_latitude), longitude=float(to_longitude)),
        ):
            away = haversine_km(from_latitude, from_longitude, to_latitude, to_longitude)
            return round(away)
    return None


def region_label(place: Place) -> str:
    """A place as text that is not personal: country, region and the postal code's first digits."""
    parts = (place.country, place.region)
    return f"{'-'.join(part for part in parts if part)} {place.postal_code[:3]}".strip()


def group_facts(group: ShipGroup) -> GroupFacts:
    """What a workflow may know of a ship group."""
    return GroupFacts(
        group_id=group.id,
        method=group.method,
        node_id=group.node_id,
        place=region_label(place_of(group.address)) if group.address else group.node_id or "",
        ship_complete=group.ship_complete,
    )


def bundles(order: Order) -> dict[str, str]:
    """Line id -> the lines it must come with in one shipment; lines that may come alone lack.

    The kernel plans such lines whole, from one node, or not at all.
    """
    whole = {group.id for group in order.ship_groups if group.ship_complete}
    found = {}
    for line in order.lines:
        if line.ship_group in whole or not order.allow_split:
            found[line.line_id] = f"group/{line.ship_group}"
        elif line.keep_together is not None:
            found[line.line_id] = f"together/{line.ship_group}/{line.keep_together}"
    return found


class Wanted(Model):
    """What a request asks for besides its order: `units` line id -> base units still to plan."""

    request_id: str
    purpose: Purpose
    units: dict[str, int]
    exclusions: tuple[Exclusion, ...] = ()
    promised_deliver_by: datetime | None = None
    own_units: dict[str, dict[str, int]] = Field(default_factory=dict)
    forced_nodes: tuple[str, ...] = ()


def decision_request(
    order: Order, wanted: Wanted, now: datetime, base: str, rates: Mapping[str, str]
) -> DecisionRequest:
    """The kernel's request for those units of the order, without anything personal."""
    lines = tuple(
        RequestLine(
            line_id=line.line_id,
            sku=line.sku,
            quantity=wanted.units[line.line_id],
            ship_group=line.ship_group,
            keep_together=line.keep_together,
            unit_price_micros=int(to_base(line.unit_price, order.currency, base, rates) * MICROS),
        )
        for line in order.lines
        if wanted.units.get(line.line_id, 0) > 0
    )
    used = {line.ship_group for line in lines}
    return DecisionRequest(
        request_id=wanted.request_id,
        purpose=wanted.purpose,
        now=now,
        lines=lines,
        groups=tuple(_request_group(group) for group in order.ship_groups if group.id in used),
        order_id=order.order_id,
        order_type=order.order_type,
        channel=order.channel,
        brand=order.brand,
        region=order.region,
        tier=order.customer.tier or "",
        allow_split=order.allow_split,
        allow_backorder=order.allow_backorder,
        promised_deliver_by=wanted.promised_deliver_by,
        exclusions=wanted.exclusions,
        own_units=wanted.own_units,
        forced_nodes=wanted.forced_nodes,
        order_value_micros=_value_of(order, base, rates),
    )


def _value_of(order: Order, base: str, rates: Mapping[str, str]) -> int:
    """Micros of the whole order's goods before discounts, whatever part of it is planned now."""
    return sum(
        int(to_base(line.unit_price, order.currency, base, rates) * MICROS) * line.quantity
        for line in order.lines
    )


def _request_group(group: ShipGroup) -> RequestGroup:
    return RequestGroup(
        group_id=group.id,
        method=group.method,
        destination=place_of(group.address) if group.address else None,
        node_id=group.node_id,
        service_level=group.service_level,
        not_before=group.not_before,
        deliver_by=group.deliver_by,
        ship_complete=group.ship_complete,
    )


def plan_of(
    decision: Decision,
    snapshot: Snapshot,
    connections: Mapping[str, Connection],
    *,
    decision_id: str,
    plan_version: int,
    explanation: str = "",
) -> Plan:
    """The chosen option as fulfillments, each with the connection that runs its node."""
    option = decision.plan
    if option is None:
        return Plan(decision_id=decision_id, plan_version=plan_version, explanation=explanation)
    nodes = {node.node_id: node for node in snapshot.nodes}
    services = {service.service_id: service for service in snapshot.services}
    return Plan(
        decision_id=decision_id,
        plan_version=plan_version,
        fulfillments=tuple(
            _fulfillment_of(shipment, nodes, services, connections) for shipment in option.shipments
        ),
        missing=tuple(
            PlanShortage(line_id=x.line_id, sku=x.sku, quantity=x.quantity, reason=x.reason)
            for x in option.missing
        ),
        cost_micros=option.cost_micros,
        explanation=explanation,
        asks_people=decision.after == "customer_care",
    )


def _fulfillment_of(
    shipment: PlannedShipment,
    nodes: Mapping[str, Node],
    services: Mapping[str, CarrierService],
    connections: Mapping[str, Connection],
) -> PlannedFulfillment:
    node = nodes[shipment.node_id]
    runs = connections[node.connection_id] if node.connection_id else None
    service = services[shipment.service_id] if shipment.service_id else None
    return PlannedFulfillment(
        node_id=node.node_id,
        node_place=region_label(node.place),
        connection_id=runs.connection_id if runs else None,
        connection_kind=runs.kind if runs else ConnectionClass.NONE,
        ship_group=shipment.ship_group,
        method=shipment.method,
        service_id=shipment.service_id,
        carrier_connection_id=service.connection_id if service else None,
        carrier=service.carrier if service else "",
        lines=tuple(
            PlanLine(line_id=x.line_id, sku=x.sku, quantity=x.quantity)
            for x in shipment.assignments
        ),
        work_date=shipment.work_date,
        ship_by=shipment.ship_at,
        deliver_by=shipment.deliver_at,
        order_by=shipment.order_by,
        cost_micros=shipment.cost_micros,
    )
