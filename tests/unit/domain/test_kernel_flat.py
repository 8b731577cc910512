"""A flat routing document decides byte for byte what it decided before strategies were known."""

import hashlib
import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

from domain.catalogue import Product
from domain.network import NodeKind, Place
from domain.orders import Method, ServiceLevel
from domain.routing.decision import (
    CapacityLeft,
    DecisionRequest,
    InboundSupply,
    Purpose,
    Snapshot,
)
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide, decide_batch, policy_id
from tests.unit.domain.builders import (
    EXPRESS,
    MONDAY,
    group,
    line,
    node,
    policy,
    request,
    service,
    snapshot,
)

SKUS = ("A", "B", "C", "D", "E")
DECIDED = "897bacb8887aa1de72576dfe43bb0d0a7814b4efc4354bda8095e4453f1702e0"
DECIDED_TOGETHER = "22a804650f4ade7cd15b928d8846f1c6a94d3d17e0cc05f30ded31faef3f6153"


def case(number: int) -> tuple[DecisionRequest, Snapshot, RoutingPolicy]:
    """Orders of 1 to 16 lines over 12 nodes; scarce stock and days, soft limits, pieces, offers."""
    chance = random.Random(number)  # noqa: S311 (repeatable cases, no secret)
    nodes = tuple(
        node(
            f"N{n:02}",
            chance.choice([NodeKind.DC, NodeKind.STORE]),
            place=Place(latitude=chance.randint(30, 45), longitude=-80, region="R", country="US"),
            cost_per_order=Decimal(chance.randint(0, 30)) / 10,
            daily_units=chance.choice([3, 9, 100]),
            offers_pickup=True,
            services=("ground", "air"),
        )
        for n in range(12)
    )
    lines = tuple(
        line(
            f"l{n}",
            chance.choice(SKUS),
            chance.randint(1, 4),
            keep_together=chance.choice([None, None, None, "set"]),
        )
        for n in range(chance.choice([1, 2, 3, 5, 8, 16]))
    )
    changes: dict[str, Any] = {}
    if chance.random() < 0.15:
        changes = {"method": Method.PICKUP, "node_id": "N03"}
    asked = request(
        *lines,
        request_id=f"R-{number}",
        groups=(
            group(
                deliver_by=MONDAY + timedelta(days=chance.randint(1, 6)),
                service_level=chance.choice([ServiceLevel.STANDARD, ServiceLevel.EXPRESS]),
                **changes,
            ),
        ),
        purpose=chance.choice([Purpose.ROUTE, Purpose.ROUTE, Purpose.CHECKOUT]),
    )
    world = snapshot(
        nodes,
        {sku: {x.node_id: chance.randint(0, 6) for x in nodes} for sku in SKUS},
        services=(service(per_kg=Decimal(1), per_km=Decimal("0.002")), EXPRESS),
        products={"A": Product(sku="A", weight_grams=300), "B": Product(sku="B")},
        capacity=tuple(
            CapacityLeft(node_id=x.node_id, work_date="2026-03-02", units=2, orders=1)
            for x in nodes[:4]
        ),
        inbound=(InboundSupply(node_id="N01", sku="C", quantity=9, due=MONDAY),),
    )
    rules = policy(
        kind_cost={NodeKind.STORE: Decimal("0.70")},
        distance_cost_per_km=Decimal(chance.choice([0, 0, 1])) / 1_000,
        max_shipments=chance.randint(1, 5),
        max_distance_km=chance.choice([None, 600, 1_500]),
        excluded_nodes=chance.choice([(), ("N00",)]),
        relax=chance.choice([(), ("max_distance_km", "max_shipments"), ("excluded_nodes",)]),
    )
    return asked, world, rules


def test_a_flat_document_decides_the_same_bytes_as_ever() -> None:
    digest = hashlib.sha256()

    for number in range(120):
        decision = decide(*case(number)).model_dump_json()
        digest.update(decision.encode())

    assert digest.hexdigest() == DECIDED


def test_a_flat_document_decides_the_same_bytes_for_many_orders() -> None:
    digest = hashlib.sha256()

    for number in range(10):
        _, world, rules = case(number)
        orders = [case(other)[0] for other in range(number, number + 6)]
        for decision in decide_batch(orders, world, rules):
            digest.update(decision.model_dump_json().encode())

    assert digest.hexdigest() == DECIDED_TOGETHER


def test_a_flat_document_keeps_its_id_and_its_stored_form() -> None:
    rules = policy(max_distance_km=900)

    assert policy_id(rules) == "test@51e3cbef48ed"
    assert "strategies" not in rules.model_dump(mode="json")
