from decimal import Decimal
from typing import Any

import pytest

from domain.catalogue import KitComponent, Product
from domain.network import DistributionGroup, NodeKind, Place, WorkingHours
from domain.orders import Method
from domain.routing.decision import CapacityLeft, Decision, Snapshot
from domain.routing.explain import explain
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from tests.unit.domain.builders import (
    group,
    line,
    node,
    plan_of,
    policy,
    request,
    sent,
    service,
    snapshot,
)

FAR = Place(latitude=34.0, longitude=-118.0, region="US-CA", country="US")
PRODUCTS = {
    "A": Product(sku="A"),
    "SOLVENT": Product(sku="SOLVENT", hazard="flammable", category="paint"),
    "DESK": Product(sku="DESK", weight_grams=34_000, length_mm=1_450, category="furniture"),
    "SET": Product(sku="SET", components=(KitComponent(sku="SOLVENT", quantity=2),)),
}


def world(**changes: Any) -> Snapshot:
    """N1 is cheapest, then N2, then N3 (a store); each has five of all."""
    nodes = (
        node("N1", attributes={"cold": False, "rank": 2}),
        node("N2", cost_per_order=Decimal(2), attributes={"cold": True, "hazards": ["flammable"]}),
        node(
            "N3",
            NodeKind.STORE,
            cost_per_order=Decimal(3),
            attributes={"hazards": True, "max_weight_grams": "30000", "max_length_mm": 1_000},
            services=("ground", "bike"),
        ),
    )
    stock = {sku: {x.node_id: 5 for x in nodes} for sku in PRODUCTS if sku != "SET"}
    facts: dict[str, Any] = {
        "nodes": nodes,
        "availability": stock,
        "products": PRODUCTS,
        "services": (service(), service("bike", carrier="Courier", base=Decimal(20))),
    }
    return Snapshot(**(facts | changes))


def filtered(**filters: Any) -> RoutingPolicy:
    return policy(filters=filters, relax=())


def served_by(decision: Decision) -> set[str]:
    return {shipment.node_id for shipment in plan_of(decision).shipments}


@pytest.mark.parametrize(
    ("filters", "serves", "excluded"),
    [
        ({"kinds": ["store"]}, "N3", {"no store": ("N1", "N2")}),
        ({"excluded_kinds": ["dc"]}, "N3", {"excluded by policy": ("N1", "N2")}),
        ({"nodes": ["N2"]}, "N2", {"not among the nodes allowed": ("N1", "N3")}),
        ({"excluded_nodes": ["N1"]}, "N2", {"excluded by policy": ("N1",)}),
        ({"node_attributes": {"cold": True}}, "N2", {"cold is not true": ("N1", "N3")}),
        ({"node_attributes": {"rank": [1, 2]}}, "N1", {"rank is not 1 or 2": ("N2", "N3")}),
        ({"excluded_node_attributes": {"cold": False}}, "N2", {"cold is false": ("N1",)}),
        (
            {"carriers": ["Courier"]},
            "N3",
            {"no carrier service that is allowed": ("N1", "N2")},
        ),
        (
            {"excluded_carriers": ["Acme Post"]},
            "N3",
            {"no carrier service that is allowed": ("N1", "N2")},
        ),
        ({"services": ["bike"]}, "N3", {"no carrier service that is allowed": ("N1", "N2")}),
        (
            {"excluded_services": ["ground"]},
            "N3",
            {"no carrier service that is allowed": ("N1", "N2")},
        ),
    ],
)
def test_a_filter_excludes_nodes_with_a_reason_of_its_own(
    filters: dict[str, Any], serves: str, excluded: dict[str, tuple[str, ...]]
) -> None:
    decision = decide(request(line("1", "A")), world(), filtered(**filters))

    assert served_by(decision) == {serves}
    assert decision.excluded == excluded


def test_a_farther_node_is_excluded_by_the_strategys_own_distance() -> None:
    near = world().nodes[0].model_copy(update={"place": FAR})
    facts = world(nodes=(near, *world().nodes[1:]))

    decision = decide(request(line("1", "A")), facts, filtered(max_distance_km=100))

    assert served_by(decision) == {"N2"}
    assert decision.excluded == {"too far": ("N1",)}


def test_a_strategy_may_source_from_a_group_of_its_own() -> None:
    groups = (
        DistributionGroup(group_id="east", nodes=("N1",)),
        DistributionGroup(group_id="stores", kinds=(NodeKind.STORE,)),
    )
    rules = policy(
        sourcing_groups=["east"],
        sourced_from=groups,
        strategies=[
            {
                "name": "shops",
                "when": {"channels": ["shop"]},
                "filters": {"sourcing_groups": ["stores"]},
            }
        ],
    )

    by_shop = decide(request(line("1", "A"), channel="shop"), world(), rules)
    by_web = decide(request(line("1", "A"), channel="web"), world(), rules)

    assert rules.group_names == ("east", "stores")
    assert (served_by(by_shop), by_shop.strategy) == ({"N3"}, "shops")
    assert (served_by(by_web), by_web.strategy) == ({"N1"}, "default")


def test_a_node_that_is_nearly_full_is_left_alone() -> None:
    left = (CapacityLeft(node_id="N1", work_date="2026-03-02", units=199, orders=9),)

    kept = decide(request(line("1", "A")), world(capacity=left), filtered(capacity_left="0.2"))
    served = decide(request(line("1", "A")), world(capacity=left), filtered(capacity_left="0.199"))

    assert served_by(kept) == {"N2"}
    assert kept.excluded == {"less than 20 % of the day's capacity left": ("N1",)}
    assert served_by(served) == {"N1"}


def test_a_node_that_has_no_room_at_all_says_so_first() -> None:
    closed = world().nodes[0].model_copy(update={"daily_orders": 0})
    facts = world(nodes=(closed, *world().nodes[1:]))

    decision = decide(request(line("1", "A")), facts, filtered(capacity_left="0.5"))

    assert decision.excluded == {"no capacity": ("N1",)}


def test_a_node_that_starts_too_late_is_left_alone() -> None:
    closed = WorkingHours(days=(2, 3))
    rests = world().nodes[0].model_copy(update={"hours": closed})
    facts = world(nodes=(rests, *world().nodes[1:]))

    soon = decide(request(line("1", "A")), facts, filtered(starts_within_days=1))
    later = decide(request(line("1", "A")), facts, filtered(starts_within_days=2))

    assert served_by(soon) == {"N2"}
    assert soon.excluded == {"cannot start within 1 days": ("N1",)}
    assert served_by(later) == {"N1"}


def test_a_hazard_goes_only_where_it_may_be_handled() -> None:
    decision = decide(
        request(line("1", "SOLVENT"), line("2", "A")), world(), filtered(hazards=True)
    )

    assert sent(plan_of(decision)) == {"N2": {"1": 1, "2": 1}}
    assert decision.excluded == {"not with SOLVENT: hazard flammable": ("N1",)}
    assert "N1: not with SOLVENT: hazard flammable" in explain(
        decision, request(line("1", "SOLVENT"), line("2", "A"))
    )


def test_a_hazard_in_a_kit_counts_too() -> None:
    decision = decide(request(line("1", "SET")), world(), filtered(hazards=True))

    assert served_by(decision) == {"N2"}


def test_what_no_node_may_handle_is_missing_with_that_reason() -> None:
    facts = world(availability={"SOLVENT": {"N1": 5}})

    decision = decide(request(line("1", "SOLVENT")), facts, filtered(hazards=True))

    missing = plan_of(decision).missing[0]
    assert (missing.quantity, missing.reason) == (1, "not with SOLVENT: hazard flammable")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_weight_grams": 33_999}, "too heavy"),
        ({"max_length_mm": 1_449}, "too long"),
        ({"max_weight_grams": 1, "max_length_mm": 1}, "too heavy"),
    ],
)
def test_an_oversize_product_needs_a_node_that_takes_it(
    limits: dict[str, int], reason: str
) -> None:
    small = world().nodes[0].model_copy(update={"attributes": limits})
    facts = world(nodes=(small, *world().nodes[1:]))

    asked = request(line("1", "A"), line("2", "DESK"))
    decision = decide(asked, facts, filtered(oversize=True))

    assert served_by(decision) == {"N2"}
    assert decision.excluded[f"not with DESK: {reason}"][0] == "N1"


def test_a_product_that_is_not_known_has_neither_size_nor_hazard() -> None:
    facts = world(availability={"NEW": {"N3": 1}})

    decision = decide(request(line("1", "NEW")), facts, filtered(oversize=True, hazards=True))

    assert served_by(decision) == {"N3"}


@pytest.mark.parametrize(
    ("nodes", "serves"),
    [
        ({"nodes": ["N3", "N9"]}, "N3"),
        ({"kinds": ["store"]}, "N3"),
        ({"attributes": {"cold": True}}, "N2"),
        ({}, "N1"),
    ],
)
def test_a_product_rule_keeps_products_at_nodes_that_fit(
    nodes: dict[str, Any], serves: str
) -> None:
    rule = {"name": "paint", "products": {"categories": ["paint"]}, "nodes": nodes}

    decision = decide(request(line("1", "SOLVENT")), world(), filtered(product_rules=[rule]))
    other = decide(request(line("1", "A")), world(), filtered(product_rules=[rule]))

    assert served_by(decision) == {serves}
    assert served_by(other) == {"N1"}


def test_two_rules_for_one_product_both_hold() -> None:
    rules = [
        {"name": "cold", "products": {"skus": ["A"]}, "nodes": {"attributes": {"cold": True}}},
        {"name": "shop", "products": {"skus": ["A"]}, "nodes": {"kinds": ["store"]}},
    ]

    decision = decide(request(line("1", "A")), world(), filtered(product_rules=rules))

    assert served_by(decision) == set()
    assert decision.excluded == {
        "not with A: cold": ("N1", "N3"),
        "not with A: shop": ("N2",),
    }


def test_units_that_are_to_stay_at_a_node_are_not_sent() -> None:
    facts = world(availability={"A": {"N1": 3, "N2": 5}})

    decision = decide(request(line("1", "A", 2)), facts, filtered(keep_units=2))

    assert served_by(decision) == {"N2"}
    assert decision.excluded == {"not with A: keeps 2 units": ("N1",)}


def test_units_that_the_order_holds_already_need_not_stay() -> None:
    facts = world(availability={"A": {"N1": 0, "N2": 5}})

    decision = decide(
        request(line("1", "A", 2), own_units={"A": {"N1": 2}}), facts, filtered(keep_units=2)
    )

    assert served_by(decision) == {"N1"}


def test_units_are_kept_until_that_limit_is_dropped() -> None:
    facts = world(availability={"A": {"N1": 3}})
    rules = policy(filters={"keep_units": 2}, relax=("max_shipments", "keep_units"))

    decision = decide(request(line("1", "A", 2)), facts, rules)

    assert served_by(decision) == {"N1"}
    assert decision.relaxed == ("keep_units",)


@pytest.mark.parametrize(
    ("filters", "limit"),
    [
        ({"kinds": ["store"]}, "kinds"),
        ({"nodes": ["N3"]}, "nodes"),
        ({"node_attributes": {"cold": False}}, "node_attributes"),
        ({"excluded_node_attributes": {"cold": True}}, "excluded_node_attributes"),
        ({"services": ["bike"]}, "carriers"),
        ({"sourcing_groups": ["none"]}, "sourcing_groups"),
        ({"max_distance_km": 1}, "max_distance_km"),
        ({"starts_within_days": 0}, "starts_within_days"),
        ({"capacity_left": "1"}, "capacity_left"),
    ],
)
def test_a_filter_that_is_named_as_soft_falls_when_nothing_else_serves(
    filters: dict[str, Any], limit: str
) -> None:
    only = node(
        "N2",
        attributes={"cold": True},
        place=FAR,
        hours=WorkingHours(days=(1, 2)),
        daily_units=10,
    )
    left = (CapacityLeft(node_id="N2", work_date="2026-03-03", units=9, orders=1),)
    facts = snapshot((only,), {"A": {"N2": 5}}, capacity=left, services=world().services)

    hard = decide(request(line("1", "A")), facts, filtered(**filters))
    soft = decide(request(line("1", "A")), facts, policy(filters=filters, relax=(limit,)))

    assert (served_by(hard), hard.relaxed) == (set(), ())
    assert (served_by(soft), soft.relaxed) == ({"N2"}, (limit,))
    assert f"only without {limit}" in explain(soft, request(line("1", "A")))


def test_a_soft_limit_that_the_policy_does_not_set_is_no_step() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 1}})
    rules = policy(
        filters={"hazards": True},
        relax=("kinds", "carriers", "keep_together", "allow_line_split", "min_units_per_shipment"),
    )

    decision = decide(request(line("1", "A", 2)), facts, rules)

    assert decision.relaxed == ()
    assert plan_of(decision).missing[0].quantity == 1


def test_a_counter_needs_no_carrier_that_is_allowed() -> None:
    store = node("N3", NodeKind.STORE, offers_pickup=True)
    asked = request(line("1", "A"), groups=(group(method=Method.PICKUP, node_id="N3"),))

    decision = decide(asked, snapshot((store,), {"A": {"N3": 1}}), filtered(carriers=["Nobody"]))

    assert served_by(decision) == {"N3"}


def test_a_node_that_is_excluded_anyway_is_told_of_once() -> None:
    decision = decide(
        request(line("1", "SOLVENT"), line("2", "A")),
        world(),
        filtered(hazards=True, excluded_nodes=["N1"]),
    )

    assert decision.excluded == {"excluded by policy": ("N1",)}


def test_a_hazard_that_nobody_holds_bars_nobody() -> None:
    decision = decide(request(line("1", "SOLVENT")), world(availability={}), filtered(hazards=True))

    assert decision.excluded == {}
    assert plan_of(decision).missing[0].reason == "no stock"
