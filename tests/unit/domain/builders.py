"""Small networks, requests and snapshots for the kernel's tests."""

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from domain.network import CarrierService, Node, NodeKind, Place, WorkingHours
from domain.orders import ServiceLevel
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Option,
    Purpose,
    RequestGroup,
    RequestLine,
    Snapshot,
)
from domain.routing.policy import RoutingPolicy

MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ALWAYS_OPEN = WorkingHours(
    days=(0, 1, 2, 3, 4, 5, 6), opens=time(8), closes=time(18), cutoff=time(14)
)
HERE = Place(latitude=40.0, longitude=-75.0, region="US-PA", country="US")


def at(hour: int, minute: int = 0, day: int = 2, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def node(node_id: str, kind: NodeKind = NodeKind.DC, **changes: Any) -> Node:
    facts: dict[str, Any] = {
        "node_id": node_id,
        "kind": kind,
        "place": HERE,
        "hours": ALWAYS_OPEN,
        "services": ("ground",),
        "cost_per_order": Decimal(1),
        "cost_per_unit": Decimal("0.50"),
    }
    return Node(**(facts | changes))


def service(service_id: str = "ground", **changes: Any) -> CarrierService:
    facts: dict[str, Any] = {
        "service_id": service_id,
        "connection_id": "carrier",
        "carrier": "Acme Post",
        "level": ServiceLevel.STANDARD,
        "base": Decimal(4),
        "transit_days": 2,
    }
    return CarrierService(**(facts | changes))


EXPRESS = service("air", level=ServiceLevel.EXPRESS, base=Decimal(9), transit_days=1)
SAME_DAY = service("bike", level=ServiceLevel.SAME_DAY, base=Decimal(15), transit_days=0, max_km=30)


def line(line_id: str, sku: str, quantity: int = 1, **changes: Any) -> RequestLine:
    return RequestLine(line_id=line_id, sku=sku, quantity=quantity, **changes)


def group(group_id: str = "1", **changes: Any) -> RequestGroup:
    return RequestGroup(**({"group_id": group_id, "destination": HERE} | changes))


def request(*lines: RequestLine, **changes: Any) -> DecisionRequest:
    facts: dict[str, Any] = {
        "request_id": "R-1",
        "purpose": Purpose.ROUTE,
        "now": MONDAY,
        "lines": lines,
        "groups": (group(),),
    }
    return DecisionRequest(**(facts | changes))


def snapshot(
    nodes: tuple[Node, ...], availability: dict[str, dict[str, int]], **changes: Any
) -> Snapshot:
    facts: dict[str, Any] = {
        "nodes": nodes,
        "availability": availability,
        "services": (service(),),
    }
    return Snapshot(**(facts | changes))


def policy(**changes: Any) -> RoutingPolicy:
    return RoutingPolicy(**({"name": "test"} | changes))


def plan_of(decision: Decision) -> Option:
    plan = decision.plan
    assert plan is not None
    return plan


def sent(option: Option) -> dict[str, dict[str, int]]:
    """Node id -> line id -> units."""
    found: dict[str, dict[str, int]] = {}
    for shipment in option.shipments:
        units = found.setdefault(shipment.node_id, {})
        for x in shipment.assignments:
            units[x.line_id] = units.get(x.line_id, 0) + x.quantity
    return found
