from decimal import Decimal
from typing import Any

import pytest

from domain.catalogue import KitComponent, Product
from domain.network import NodeKind
from domain.orders import Method, ServiceLevel
from domain.routing import group as group_planner
from domain.routing.decision import Decision, InboundSupply, Snapshot, StockFact
from domain.routing.explain import explain
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide, decide_batch
from tests.unit.domain.builders import (
    EXPRESS,
    at,
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

PRODUCTS = {
    "A": Product(sku="A", category="home", attributes={"set": "tea"}),
    "B": Product(sku="B", category="home"),
    "C": Product(sku="C", category="toys", attributes={"set": "tea"}),
    "KIT": Product(sku="KIT", components=(KitComponent(sku="B", quantity=1),)),
}


def bound(**constraints: Any) -> RoutingPolicy:
    return policy(constraints=constraints, relax=())


def apart(**changes: Any) -> Snapshot:
    """N1 has A, N2 has B, N3 has C, and N4 has all, but each unit is dear there."""
    nodes = (node("N1"), node("N2"), node("N3"), node("N4", cost_per_unit=Decimal(20)))
    stock = {"A": {"N1": 5}, "B": {"N2": 5}, "C": {"N3": 5}}
    stock = {sku: by_node | {"N4": 5} for sku, by_node in stock.items()}
    return snapshot(nodes, stock, products=PRODUCTS, **changes)


THREE = (line("1", "A"), line("2", "B"), line("3", "C"))


def missing(decision: Decision) -> dict[str, tuple[int, str]]:
    return {x.line_id: (x.quantity, x.reason) for x in plan_of(decision).missing}


def test_a_strategy_may_ask_for_one_shipment() -> None:
    decision = decide(request(*THREE), apart(), bound(ship_complete=True))

    assert sent(plan_of(decision)) == {"N4": {"1": 1, "2": 1, "3": 1}}


@pytest.mark.parametrize(
    ("constraints", "plan"),
    [
        ({"keep_together": [{"skus": ["A", "B"]}]}, {"N3": ["3"], "N4": ["1", "2"]}),
        ({"keep_together": [{"categories": ["none"]}]}, {"N1": ["1"], "N2": ["2"], "N3": ["3"]}),
        ({"keep_together_by": ["category"]}, {"N3": ["3"], "N4": ["1", "2"]}),
        ({"keep_together_by": ["set"]}, {"N2": ["2"], "N4": ["1", "3"]}),
        ({"keep_together_by": ["set", "category"]}, {"N4": ["1", "2", "3"]}),
    ],
)
def test_what_is_to_stay_together_comes_from_one_node(
    constraints: dict[str, Any], plan: dict[str, list[str]]
) -> None:
    decision = decide(request(*THREE), apart(), bound(**constraints))

    found = {place: list(units) for place, units in sent(plan_of(decision)).items()}
    assert found == plan


def test_a_customers_wish_and_the_policys_are_joined() -> None:
    lines = (
        line("1", "A", keep_together="x"),
        line("2", "B", keep_together="x"),
        line("3", "C"),
    )

    decision = decide(request(*lines), apart(), bound(keep_together_by=["set"]))

    assert list(sent(plan_of(decision))) == ["N4"]


def test_a_product_that_is_not_known_stays_with_nothing() -> None:
    facts = snapshot((node("N1"), node("N2")), {"X": {"N1": 1}, "Y": {"N2": 1}})

    decision = decide(
        request(line("1", "X"), line("2", "Y")), facts, bound(keep_together_by=["category"])
    )

    assert sent(plan_of(decision)) == {"N1": {"1": 1}, "N2": {"2": 1}}


def test_what_is_to_stay_together_is_missing_when_no_node_has_it_all() -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 5}, "B": {"N2": 5}}, products=PRODUCTS)
    rules = bound(keep_together_by=["category"])

    decision = decide(request(line("1", "A"), line("2", "B")), facts, rules)

    assert missing(decision) == {
        "1": (1, "no single node has everything"),
        "2": (1, "no single node has everything"),
    }


@pytest.mark.parametrize(
    "constraints",
    [
        {"never_split": {"skus": ["A"]}},
        {"never_split": {"categories": ["home"]}},
        {"allow_line_split": False},
        {"keep_together": [{"skus": ["A"]}]},
    ],
)
def test_a_line_that_is_not_to_be_split_is_missing_whole(constraints: dict[str, Any]) -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 3, "N2": 3}}, products=PRODUCTS)
    other = snapshot((node("N1"), node("N2")), {"C": {"N1": 3, "N2": 3}}, products=PRODUCTS)

    decision = decide(request(line("1", "A", 5)), facts, bound(**constraints))

    assert missing(decision) == {"1": (5, "not enough units")}
    if "allow_line_split" not in constraints:
        assert not missing(decide(request(line("1", "C", 5)), other, bound(**constraints)))


def valued(*prices: int) -> tuple[Any, ...]:
    skus = ("A", "B", "C")
    return tuple(
        line(str(number), sku, unit_price_micros=price * 1_000_000)
        for number, (sku, price) in enumerate(zip(skus, prices, strict=False), start=1)
    )


def test_a_shipment_that_is_worth_too_little_does_not_go_beside_others() -> None:
    lines = valued(50, 40, 10)

    free = decide(request(*lines), apart(), bound())
    bounded = decide(request(*lines), apart(), bound(min_value_per_shipment="40"))

    assert len(sent(plan_of(free))) == 3
    # C alone is worth 10: it goes with B, from the node that is dear by the unit.
    assert sent(plan_of(bounded)) == {"N1": {"1": 1}, "N4": {"2": 1, "3": 1}}


def test_an_order_that_is_worth_little_goes_in_one_shipment() -> None:
    lines = valued(1, 2, 3)

    decision = decide(request(*lines), apart(), bound(min_value_per_shipment="40"))

    assert list(sent(plan_of(decision))) == ["N4"]
    assert not plan_of(decision).missing


def test_a_shipment_of_too_few_units_does_not_go_beside_others() -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 5}, "B": {"N2": 5}})
    lines = (line("1", "A", 3), line("2", "B", 1))

    decision = decide(request(*lines), facts, bound(min_units_per_shipment=2))

    assert sent(plan_of(decision)) == {"N1": {"1": 3}}
    assert missing(decision) == {"2": (1, "too small to be a shipment of its own")}


def test_nothing_is_planned_where_nothing_is_there_whatever_the_least() -> None:
    decision = decide(request(line("1", "Z")), apart(), bound(min_units_per_shipment=2))

    assert missing(decision) == {"1": (1, "no stock")}


def test_pieces_of_a_line_too_small_to_go_alone_stay_missing() -> None:
    nodes = (node("N1"), node("N2"), node("N3"))
    facts = snapshot(nodes, {"A": {"N1": 6, "N2": 5, "N3": 1}})

    decision = decide(request(line("1", "A", 12)), facts, bound(min_units_per_shipment=3))

    assert sent(plan_of(decision)) == {"N1": {"1": 6}, "N2": {"1": 5}}
    assert missing(decision)["1"][0] == 1
    assert not decision.is_proven


def test_a_piece_too_small_goes_to_a_node_that_can_take_it() -> None:
    nodes = (node("N1"), node("N2", cost_per_order=Decimal(2)))
    facts = snapshot(nodes, {"A": {"N1": 6, "N2": 5}, "B": {"N1": 9, "N2": 9}})
    lines = (line("1", "A", 9), line("2", "B", 1))

    decision = decide(request(*lines), facts, bound(min_units_per_shipment=4))

    assert all(
        sum(x.quantity for x in shipment.assignments) >= 4
        for shipment in plan_of(decision).shipments
    )
    assert not missing(decision)


def test_a_large_order_holds_the_least_too() -> None:
    skus = [f"S{n:02}" for n in range(16)]
    stock = {sku: {"N1": 9} for sku in skus[:12]} | {sku: {"N2": 9} for sku in skus[12:15]}
    facts = snapshot((node("N1"), node("N2"), node("N3")), stock | {"S15": {"N3": 1}})
    asked = request(*(line(sku, sku) for sku in skus))

    decision = decide(asked, facts, bound(min_units_per_shipment=2))

    assert {place: len(units) for place, units in sent(plan_of(decision)).items()} == {
        "N1": 12,
        "N2": 3,
    }
    assert missing(decision) == {"S15": (1, "too small to be a shipment of its own")}


def test_where_the_exact_core_gives_up_the_least_holds_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_planner, "cheapest_partition", lambda *_: None)

    decision = decide(request(*valued(50, 40, 10)), apart(), bound(min_value_per_shipment="40"))

    assert sent(plan_of(decision)) == {"N1": {"1": 1}, "N4": {"2": 1, "3": 1}}
    assert not decision.is_proven


@pytest.mark.parametrize(
    ("constraints", "limit"),
    [
        ({"ship_complete": True}, "ship_complete"),
        ({"keep_together_by": ["category"]}, "keep_together"),
        ({"keep_together": [{"skus": ["A", "B"]}]}, "keep_together"),
        ({"min_value_per_shipment": "1"}, "min_value_per_shipment"),
        ({"min_units_per_shipment": 9}, "min_units_per_shipment"),
        ({"max_shipments": 1}, "max_shipments"),
    ],
)
def test_a_constraint_that_is_named_as_soft_falls_when_units_are_missing(
    constraints: dict[str, Any], limit: str
) -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 5}, "B": {"N2": 5}}, products=PRODUCTS)
    asked = request(line("1", "A"), line("2", "B"))

    hard = decide(asked, facts, bound(**constraints))
    soft = decide(asked, facts, bound(**constraints, relax=[limit]))

    assert plan_of(hard).missing
    assert (sent(plan_of(soft)), soft.relaxed) == ({"N1": {"1": 1}, "N2": {"2": 1}}, (limit,))


@pytest.mark.parametrize(
    ("constraints", "limit"),
    [
        ({"never_split": {"skus": ["A"]}}, "never_split"),
        ({"allow_line_split": False}, "allow_line_split"),
    ],
)
def test_a_line_may_be_split_once_that_limit_falls(constraints: dict[str, Any], limit: str) -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 3, "N2": 3}})

    decision = decide(request(line("1", "A", 5)), facts, bound(**constraints, relax=[limit]))

    assert (missing(decision), decision.relaxed) == ({}, (limit,))


AFTER = {
    "constraints": {"ship_complete": True},
    "filters": {"kinds": ["dc"]},
    "after": [{"relax": ["max_distance_km", "kinds"]}, "split", "customer_care"],
    "relax": (),
}


def test_after_actions_are_taken_in_their_order_while_units_are_missing() -> None:
    nodes = (node("N1"), node("N2", NodeKind.STORE))
    asked = request(line("1", "A"), line("2", "B"))
    rules = policy(**AFTER)

    by_kind = decide(asked, snapshot(nodes, {"A": {"N2": 1}, "B": {"N2": 1}}), rules)
    by_split = decide(asked, snapshot(nodes, {"A": {"N1": 1}, "B": {"N2": 1}}), rules)
    by_people = decide(asked, snapshot(nodes, {"A": {"N1": 1}}), rules)
    at_once = decide(asked, snapshot(nodes, {"A": {"N1": 1}, "B": {"N1": 1}}), rules)

    assert (sent(plan_of(by_kind)), by_kind.relaxed) == ({"N2": {"1": 1, "2": 1}}, ("kinds",))
    assert (by_kind.after, at_once.relaxed, at_once.after) == ("", (), "")
    assert (len(sent(plan_of(by_split))), by_split.relaxed) == (2, ("split",))
    assert sent(plan_of(by_people)) == {"N1": {"1": 1}}
    assert (by_people.relaxed, by_people.after) == (("split",), "customer_care")
    assert missing(by_people) == {"2": (1, "no stock")}
    told = explain(by_people, asked)
    assert told.startswith("By strategy 'default'. So much is served only by splitting")
    assert "Missing: 1 of 1 x B (no stock). What is missing goes to customer care." in told


def test_the_customers_own_wish_for_one_shipment_is_never_split() -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 1}, "B": {"N2": 1}})
    asked = request(line("1", "A"), line("2", "B"), allow_split=False)

    decision = decide(asked, facts, policy(after=["split", "backorder"]))

    assert len(missing(decision)) == 2
    assert (decision.relaxed, decision.after) == ((), "backorder")
    assert "What is missing waits for supply." in explain(decision, asked)


def test_a_pick_up_is_rescued_by_bringing_it_to_the_store() -> None:
    nodes = (node("N1"), node("S", NodeKind.STORE, offers_pickup=True))
    facts = snapshot(nodes, {"A": {"N1": 5, "S": 1}})
    asked = request(
        line("1", "A", 2), groups=(group(method=Method.PICKUP, node_id="S", destination=None),)
    )

    decision = decide(asked, facts, policy(after=["ship_to_store", "customer_care"]))

    shipment = plan_of(decision).shipments[0]
    assert (shipment.node_id, shipment.method) == ("N1", Method.SHIP_TO_STORE)
    assert (decision.relaxed, decision.after) == (("ship_to_store",), "")
    assert "only by bringing it to the store" in explain(decision, asked)


def test_what_is_shipped_anyway_is_not_brought_to_a_store() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 1}})

    decision = decide(request(line("1", "B")), facts, policy(after=["ship_to_store"]))

    assert (decision.relaxed, decision.after) == ((), "")
    assert missing(decision) == {"1": (1, "no stock")}


def test_a_store_that_is_not_there_is_still_named_after_all_steps() -> None:
    asked = request(
        line("1", "A"), groups=(group(method=Method.PICKUP, node_id="GONE", destination=None),)
    )
    rules = policy(after=[{"relax": ["max_shipments"]}, "ship_to_store", "customer_care"])

    decision = decide(asked, apart(), rules)

    assert missing(decision) == {"1": (1, "no such store")}
    assert decision.after == "customer_care"


def test_units_that_will_arrive_count_after_all_steps() -> None:
    facts = snapshot(
        (node("N1"), node("N2", NodeKind.STORE)),
        {"A": {"N2": 1}},
        inbound=(InboundSupply(node_id="N1", sku="A", quantity=9, due=at(9, day=4)),),
    )
    rules = policy(
        inbound="always", filters={"kinds": ["dc"]}, after=[{"relax": ["kinds"]}, "backorder"]
    )

    few = decide(request(line("1", "A")), facts, rules)
    many = decide(request(line("1", "A", 3)), facts, rules)

    assert list(sent(plan_of(few))) == ["N2"]
    assert (list(sent(plan_of(many))), many.after) == (["N1"], "")


def test_offers_are_made_by_the_same_steps() -> None:
    nodes = (node("N2", NodeKind.STORE),)
    facts = snapshot(nodes, {"A": {"N2": 1}})
    rules = policy(filters={"kinds": ["dc"]}, after=[{"relax": ["kinds"]}])
    asked = request(line("1", "A"), purpose="checkout")
    short = request(line("1", "A", 2), purpose="checkout")

    assert [len(x.shipments) for x in decide(asked, facts, rules).options] == [1]
    assert [len(x.missing) for x in decide(short, facts, rules).options] == [1]


def test_orders_planned_together_each_go_by_their_own_strategy() -> None:
    facts = snapshot((node("N1"), node("N2", NodeKind.STORE)), {"A": {"N1": 2, "N2": 2}})
    rules = policy(
        strategies=[
            {"name": "shop", "when": {"channels": ["shop"]}, "filters": {"kinds": ["store"]}}
        ]
    )
    orders = [
        request(line("1", "A"), request_id="R-1", channel="shop"),
        request(line("1", "A"), request_id="R-2"),
    ]

    decisions = decide_batch(orders, facts, rules)

    assert [x.strategy for x in decisions] == ["shop", "default"]
    assert [list(sent(plan_of(x))) for x in decisions] == [["N2"], ["N1"]]


def test_more_shipments_are_tried_as_an_after_action() -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 5}, "B": {"N2": 5}})
    rules = policy(max_shipments=1, relax=(), after=[{"relax": ["max_shipments"]}])

    decision = decide(request(line("1", "A"), line("2", "B")), facts, rules)

    assert (missing(decision), decision.relaxed) == ({}, ("max_shipments",))


def test_in_a_large_order_a_small_shipments_lines_go_to_another_that_has_them() -> None:
    skus = [f"S{n:02}" for n in range(16)]
    stock = {sku: {"N1": 9, "N3": 9} for sku in skus} | {"S15": {"N1": 9, "N2": 9, "N3": 9}}
    facts = snapshot(
        (node("N1"), node("N2"), node("N3", cost_per_unit=Decimal("0.60"))),
        stock,
        stock_facts=tuple(
            StockFact(node_id=place, sku=sku, unit_cost=Decimal(cost))
            for place, sku, cost in [("N1", "S15", 90), ("N3", "S15", 99), ("N3", "S00", 0)]
        ),
        products={"S00": Product(sku="S00", unit_cost=Decimal(60))},
    )
    rules = policy(constraints={"min_units_per_shipment": 2}, criteria={"goods_cost_weight": "1"})

    decision = decide(request(*(line(sku, sku) for sku in skus)), facts, rules)

    assert not missing(decision)
    assert all(len(x.assignments) > 1 for x in plan_of(decision).shipments) or (
        len(plan_of(decision).shipments) == 1
    )


def test_another_level_is_offered_by_the_strategy_that_it_would_fall_under() -> None:
    """So that what is promised for it is what is routed when it is ordered."""
    nodes = (
        node("N1", services=("ground", "air")),
        node("N2", cost_per_order=Decimal(9), services=("ground", "air")),
    )
    store = node("S", NodeKind.STORE, offers_pickup=True)
    facts = snapshot(
        (*nodes, store), {"A": {"N1": 2, "N2": 2, "S": 2}}, services=(service(), EXPRESS)
    )
    rules = policy(
        strategies=[
            {
                "name": "fast",
                "when": {"service_levels": ["express"]},
                "filters": {"excluded_nodes": ["N1"]},
            }
        ]
    )
    collected = group("2", method=Method.PICKUP, node_id="S", destination=None)
    lines = (line("1", "A"), line("2", "A", ship_group="2"))
    groups = (group(), collected)
    express = (group(service_level=ServiceLevel.EXPRESS), collected)

    offered = decide(request(*lines, groups=groups, purpose="checkout"), facts, rules)
    ordered = decide(request(*lines, groups=express), facts, rules)

    assert offered.strategy == "default"
    assert [[x.node_id for x in option.shipments] for option in offered.options] == [
        ["N1", "S"],
        ["N2", "S"],
    ]
    assert ordered.strategy == "fast"
    assert plan_of(ordered) == offered.options[1]
