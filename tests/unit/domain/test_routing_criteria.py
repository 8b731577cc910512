from decimal import Decimal
from typing import Any

import pytest

from domain.catalogue import KitComponent, Product
from domain.errors import FinalError
from domain.network import Node, NodeKind, Place
from domain.orders import Method, ServiceLevel
from domain.routing import facts as kernel_facts
from domain.routing import unit_prices
from domain.routing.decision import CapacityLeft, Decision, InboundSupply, Snapshot, StockFact
from domain.routing.explain import explain
from domain.routing.facts import facts_of, snapshot_id, snapshot_of
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
from tests.unit.domain.uncompiled import run_uncompiled


@pytest.fixture(autouse=True, params=["compiled", "not compiled"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs the kernel twice: as machine code, and as Python."""
    if request.param == "not compiled":
        run_uncompiled(monkeypatch)


def scored(**criteria: Any) -> RoutingPolicy:
    return policy(criteria=criteria)


def pair(first: dict[str, Any], second: dict[str, Any], **changes: Any) -> Snapshot:
    """N1 and N2, ten of A each; what an order from either costs: 7.00 for one unit."""
    nodes = (node("N1", **first), node("N2", **second))
    return snapshot(nodes, {"A": {"N1": 10, "N2": 10}}, **changes)


def costs(decision: Decision) -> dict[str, int]:
    """Node -> what it would ask for all it covers, in micros."""
    return {x.node_id: x.cost_micros or 0 for x in decision.scores}


def one(facts: Snapshot, rules: RoutingPolicy, units: int = 1, **changes: Any) -> Decision:
    decision = decide(request(line("1", "A", units), **changes), facts, rules)
    plan = plan_of(decision)
    # The plan costs what the score of its one node says.
    assert plan.cost_micros == costs(decision)[plan.shipments[0].node_id]
    return decision


def test_flat_prices_may_be_other_ones_in_a_strategy() -> None:
    facts = pair({"kind": NodeKind.STORE}, {"place": Place(country="US", region="X")})
    rules = scored(shipment_cost="2.50", distance_cost_per_km="0.001", kind_cost={"store": "0.25"})

    assert costs(one(facts, rules)) == {"N1": 8_250_000, "N2": 9_500_000}


def test_the_carriers_tariff_is_weighed() -> None:
    facts = pair(
        {},
        {"place": Place(latitude=41.0, longitude=-75.0, country="US")},
        services=(service(per_kg=Decimal(2), per_km=Decimal("0.01")),),
        products={"A": Product(sku="A", weight_grams=500)},
    )

    # 1.50 + 1 + 0.50 stay; of base 4, 1 a kilogram and 1.11 for 111 km the half counts.
    found = costs(one(facts, scored(carrier_weight="0.5")))

    assert found == {"N1": 5_500_000, "N2": 6_055_000}


def test_the_nodes_own_costs_are_weighed() -> None:
    assert costs(one(pair({}, {}), scored(handling_weight="3"), 2))["N1"] == 11_500_000


def test_labor_costs_the_nodes_hourly_rate() -> None:
    facts = pair(
        {"attributes": {"labor_cost_per_hour": "24"}},
        {"attributes": {"labor_cost_per_hour": 12}, "currency": "EUR"},
        exchange_rates={"EUR": "2"},
    )
    rules = scored(labor={"minutes_per_order": "5", "minutes_per_unit": "0.5"})

    # 24 an hour: 2.00 an order and 0.20 a unit; the euro is worth two dollars.
    found = costs(one(facts, rules, 3))

    assert found == {"N1": 10_600_000, "N2": 10_600_000 + 2_500_000}


def test_labor_costs_nothing_where_no_rate_is_known() -> None:
    facts = pair({}, {"attributes": {"labor_cost_per_hour": -4}})

    found = costs(one(facts, scored(labor={"minutes_per_order": "60"})))

    assert found == {"N1": 7_000_000, "N2": 7_000_000}


def test_labor_at_a_node_whose_currency_has_no_rate_is_refused_like_its_other_costs() -> None:
    facts = pair({"currency": "EUR", "attributes": {"labor_cost_per_hour": 1}}, {})

    with pytest.raises(FinalError, match="no exchange rate for EUR"):
        decide(request(line("1", "A")), facts, scored(labor={"minutes_per_order": "1"}))


@pytest.mark.parametrize(
    ("value", "price"),
    [(1, 0), ("3", 2_000_000), (5, 4_000_000), (9, 4_000_000), (0, 0), ("x", 4_000_000)],
)
def test_a_score_prices_how_far_a_node_is_from_the_best(value: object, price: int) -> None:
    rule = {"attribute": "priority", "best": 1, "worst": 5, "cost": "4"}
    facts = pair({"attributes": {"priority": value}}, {"attributes": {"priority": 1}})

    assert costs(one(facts, scored(node_scores=[rule])))["N1"] == 7_000_000 + price


def test_a_score_may_be_better_the_higher_it_is_and_count_by_unit() -> None:
    rule = {
        "attribute": "on_time",
        "best": "1",
        "worst": "0.8",
        "cost": "1",
        "per": "unit",
        "missing": "0.9",
    }
    facts = pair({"attributes": {"on_time": "0.95"}}, {})

    # A quarter of the price, and the half where it is not known, for each of two units.
    assert costs(one(facts, scored(node_scores=[rule]), 2)) == {
        "N1": 7_500_000 + 500_000,
        "N2": 7_500_000 + 1_000_000,
    }


def test_each_day_to_delivery_has_its_price() -> None:
    facts = pair({}, {"services": ("air",)}, services=(service(), EXPRESS))

    slow = one(facts, scored(delivery_cost_per_day="1"))
    fast = one(facts, scored(delivery_cost_per_day="6"))

    # By ground it is there on the third day begun, by air on the second for 5.00 more.
    assert costs(slow) == {"N1": 10_000_000, "N2": 14_000_000}
    assert plan_of(fast).shipments[0].node_id == "N2"
    assert costs(fast) == {"N1": 25_000_000, "N2": 24_000_000}


def test_a_price_of_days_and_of_lateness_add_up() -> None:
    facts = pair({"daily_units": 1}, {"daily_units": 1})
    due = (group(deliver_by=at(20, day=3)),)

    rules = scored(delivery_cost_per_day="1", lateness_cost_per_day="2")
    decision = one(facts, rules, groups=due)

    assert costs(decision)["N1"] == 7_000_000 + 3_000_000 + 2_000_000


@pytest.mark.parametrize(
    ("left", "above", "price"),
    [(1_000, "0", 0), (500, "0", 2_000_000), (500, "0.5", 0), (250, "0.5", 2_000_000)],
)
def test_a_fuller_node_costs_more(left: int, above: str, price: int) -> None:
    capacity = (CapacityLeft(node_id="N1", work_date="2026-03-02", units=left, orders=9),)
    facts = pair({}, {}, capacity=capacity)

    found = costs(one(facts, scored(workload={"cost": "4", "above": above})))

    assert found == {"N1": 7_000_000 + price, "N2": 7_000_000}


def test_what_goods_cost_at_a_node_counts_where_margin_does() -> None:
    facts = pair(
        {},
        {},
        products={"A": Product(sku="A", unit_cost=Decimal(5))},
        stock_facts=(
            StockFact(node_id="N2", sku="A", unit_cost=Decimal(4)),
            StockFact(node_id="N9", sku="A", unit_cost=Decimal(1)),
            StockFact(node_id="N1", sku="B", unit_cost=Decimal(1)),
        ),
    )

    found = costs(one(facts, scored(goods_cost_weight="0.5"), 2))

    assert found == {"N1": 7_500_000 + 5_000_000, "N2": 7_500_000 + 4_000_000}


def test_units_about_to_be_marked_down_go_first() -> None:
    facts = pair(
        {},
        {},
        stock_facts=(
            StockFact(node_id="N1", sku="A", markdown=Decimal(1)),
            StockFact(node_id="N2", sku="A", markdown=Decimal(9)),
        ),
    )

    found = costs(one(facts, scored(markdown={"up_to": "3", "weight": "0.5"}), 2))

    assert found == {"N1": 7_500_000 + 2_000_000, "N2": 7_500_000}


def test_slow_stock_goes_first() -> None:
    facts = pair(
        {},
        {},
        stock_facts=(
            StockFact(node_id="N1", sku="A", daily_demand=Decimal("2.5")),
            StockFact(node_id="N2", sku="A", daily_demand=Decimal(99)),
        ),
    )

    found = costs(one(facts, scored(velocity={"cost": "2", "fast": "10"})))

    assert found == {"N1": 7_500_000, "N2": 9_000_000}


def test_the_last_units_of_a_node_have_a_price() -> None:
    facts = pair(
        {},
        {},
        stock_facts=(
            StockFact(node_id="N1", sku="A", daily_demand=Decimal(2)),
            StockFact(node_id="N2", sku="A", daily_demand=Decimal("0.1")),
        ),
    )

    # After two units 8 are left, which last 4 days: of 10 days 6 are not covered.
    found = costs(one(facts, scored(stock_out={"cost": "1", "days": 10}), 2))

    assert found == {"N1": 7_500_000 + 1_200_000, "N2": 7_500_000}


def test_prices_of_units_decide_between_plans_of_several_lines() -> None:
    nodes = (node("N1"), node("N2"))
    facts = snapshot(
        nodes,
        {"A": {"N1": 5, "N2": 5}, "B": {"N1": 5, "N2": 5}},
        stock_facts=(
            StockFact(node_id="N1", sku="A", unit_cost=Decimal(1)),
            StockFact(node_id="N1", sku="B", unit_cost=Decimal(9)),
            StockFact(node_id="N2", sku="A", unit_cost=Decimal(20)),
            StockFact(node_id="N2", sku="B", unit_cost=Decimal(0)),
        ),
    )
    asked = request(line("1", "A"), line("2", "B"))

    split = decide(asked, facts, scored(goods_cost_weight="1"))
    whole = decide(asked, facts, scored(goods_cost_weight="0.5"))

    assert sent(plan_of(split)) == {"N1": {"1": 1}, "N2": {"2": 1}}
    assert plan_of(split).cost_micros == 2 * 7_000_000 + 1_000_000
    assert sent(plan_of(whole)) == {"N1": {"1": 1, "2": 1}}
    assert plan_of(whole).cost_micros == 7_500_000 + 5_000_000
    assert split.runner_up_cost_micros == 7_500_000 + 20_000_000


def test_the_units_of_a_kit_cost_what_its_parts_do() -> None:
    kit = Product(sku="KIT", components=(KitComponent(sku="A", quantity=2),))
    facts = pair({}, {}, products={"KIT": kit, "A": Product(sku="A", unit_cost=Decimal(3))})

    decision = decide(request(line("1", "KIT", 2)), facts, scored(goods_cost_weight="1"))

    assert plan_of(decision).cost_micros == 7_500_000 + 12_000_000


def test_units_in_pieces_cost_their_share() -> None:
    facts = snapshot(
        (node("N1"), node("N2"), node("N3")),
        {"A": {"N1": 3, "N2": 3, "N3": 3}},
        stock_facts=(
            StockFact(node_id="N1", sku="A", unit_cost=Decimal(8)),
            StockFact(node_id="N2", sku="A", unit_cost=Decimal(1)),
            StockFact(node_id="N3", sku="A", unit_cost=Decimal(2)),
        ),
    )

    decision = decide(request(line("1", "A", 5)), facts, scored(goods_cost_weight="1"))

    plan = plan_of(decision)
    assert sent(plan) == {"N2": {"1": 3}, "N3": {"1": 2}}
    assert plan.cost_micros == 2 * 6_500_000 + 5 * 500_000 + 3_000_000 + 4_000_000
    assert decision.is_proven


def test_a_large_order_looks_at_the_prices_of_units_too() -> None:
    skus = [f"S{n}" for n in range(16)]
    facts = snapshot(
        (node("N1"), node("N2")),
        {sku: {"N1": 9, "N2": 9} for sku in skus},
        stock_facts=tuple(StockFact(node_id="N1", sku=sku, unit_cost=Decimal(1)) for sku in skus),
    )
    asked = request(*(line(sku, sku) for sku in skus))

    decision = decide(asked, facts, scored(goods_cost_weight="1"))

    assert list(sent(plan_of(decision))) == ["N2"]
    assert plan_of(decision).cost_micros == 6_500_000 + 16 * 500_000


def test_orders_planned_together_look_at_the_prices_of_units_too() -> None:
    facts = snapshot(
        (node("N1"), node("N2")),
        {"A": {"N1": 1, "N2": 5}},
        stock_facts=(StockFact(node_id="N2", sku="A", unit_cost=Decimal(3)),),
    )
    orders = [request(line("1", "A"), request_id=f"R-{n}") for n in range(2)]

    decisions = decide_batch(orders, facts, scored(goods_cost_weight="1"))

    assert sorted(plan_of(x).cost_micros for x in decisions) == [7_000_000, 10_000_000]


def test_units_still_to_arrive_are_priced_on_their_later_days_too() -> None:
    facts = snapshot(
        (node("N1"),),
        {"A": {}},
        inbound=(InboundSupply(node_id="N1", sku="A", quantity=9, due=at(9, day=4)),),
        products={"A": Product(sku="A", unit_cost=Decimal(2))},
    )
    rules = policy(inbound="always", criteria={"goods_cost_weight": "1"})

    assert plan_of(decide(request(line("1", "A")), facts, rules)).cost_micros == 9_000_000


@pytest.mark.parametrize(
    "criteria",
    [
        {"workload": {"cost": "99999999999999"}},
        {"node_scores": [{"attribute": "x", "best": 1, "worst": 2, "cost": "99999999999999"}]},
        {"delivery_cost_per_day": "99999999999999"},
        {"markdown": {"up_to": "99999999999999"}},
    ],
)
def test_absurd_prices_are_refused(criteria: dict[str, Any]) -> None:
    with pytest.raises(FinalError, match="would cost more than"):
        decide(request(line("1", "A", 3)), pair({}, {}), scored(**criteria))


def test_what_is_known_of_stock_is_part_of_the_snapshot_and_of_its_id() -> None:
    known = (
        StockFact(node_id="N1", sku="A", markdown=Decimal(1)),
        StockFact(node_id="N1", sku="B", markdown=Decimal(1)),
    )
    facts = pair({}, {}, stock_facts=known)
    asked = request(line("1", "A"))

    recorded = snapshot_of(facts_of(facts), asked)

    assert recorded.stock_facts == known[:1]
    assert snapshot_id(facts) != snapshot_id(pair({}, {}))
    rules = scored(markdown={"up_to": "3"})
    again = Snapshot.model_validate_json(recorded.model_dump_json())
    assert decide(asked, again, rules) == decide(asked, facts, rules)


def test_offers_of_other_levels_are_priced_alike() -> None:
    facts = pair({"services": ("ground", "air")}, {}, services=(service(), EXPRESS))
    asked = request(line("1", "A"), purpose="checkout")

    decision = decide(asked, facts, scored(carrier_weight="2"))

    assert [(x.service_level, x.cost_micros) for x in decision.options] == [
        (ServiceLevel.STANDARD, 11_000_000),
        (ServiceLevel.EXPRESS, 21_000_000),
    ]


def test_what_is_worked_out_for_a_network_is_not_worked_out_again() -> None:
    places: tuple[Node, ...] = (node("N1", attributes={"priority": 2}), node("N2"))
    rules = scored(
        carrier_weight="2",
        node_scores=[{"attribute": "priority", "best": 1, "worst": 5, "cost": "4"}],
    )
    facts = snapshot(places, {"A": {"N1": 1, "N2": 1}})

    first, second = (decide(request(line("1", "A")), facts, rules) for _ in range(2))

    assert first == second


def test_a_shipment_tells_what_its_cost_is_made_of() -> None:
    capacity = (CapacityLeft(node_id="N1", work_date="2026-03-02", units=500, orders=9),)
    facts = snapshot(
        (node("N1", NodeKind.STORE, place=Place(latitude=41.0, longitude=-75.0, country="US")),),
        {"A": {"N1": 9}},
        capacity=capacity,
        services=(service(per_kg=Decimal(2), per_km=Decimal("0.01")),),
        products={"A": Product(sku="A", weight_grams=500, unit_cost=Decimal(3))},
    )
    rules = policy(
        kind_cost={"store": "0.70"},
        distance_cost_per_km="0.001",
        lateness_cost_per_day="2",
        criteria={
            "delivery_cost_per_day": "1",
            "workload": {"cost": "4"},
            "goods_cost_weight": "0.5",
        },
    )
    asked = request(line("1", "A", 2), groups=(group(deliver_by=at(20, day=3)),))

    decision = decide(asked, facts, rules)

    shipment = plan_of(decision).shipments[0]
    assert shipment.cost_parts == {
        "carrier": 4_000_000 + 1_110_000 + 2_000_000,
        "node": 2_000_000,
        "shipment": 2_200_000,
        "distance": 111_000,
        "lateness": 2_000_000,
        "delivery": 3_000_000,
        "units": 3_000_000,
        "workload": 2_000_000,
    }
    assert sum(shipment.cost_parts.values()) == shipment.cost_micros
    assert "for 21.42 (carrier 7.11, delivery 3.00, units 3.00, shipment 2.20," in explain(
        decision, asked
    )


def test_what_is_collected_has_no_carrier_in_its_cost() -> None:
    store = node("N1", NodeKind.STORE, offers_pickup=True)
    asked = request(
        line("1", "A"), groups=(group(method=Method.PICKUP, node_id="N1", destination=None),)
    )

    plan = plan_of(decide(asked, snapshot((store,), {"A": {"N1": 1}}), policy(after=["split"])))

    assert plan.shipments[0].cost_parts == {"node": 1_500_000, "shipment": 1_500_000}


def test_what_a_product_says_of_its_units_by_node_counts_where_no_fact_does() -> None:
    said = {
        "unit_cost_at": {"N1": "5", "N2": 2, "N3": "cheap"},
        "markdown_at": {"N2": -1, "N3": "1"},
        "daily_demand_at": "fast",
    }
    facts = snapshot(
        (node("N1"), node("N2"), node("N3")),
        {"A": {"N1": 9, "N2": 9, "N3": 9}},
        products={"A": Product(sku="A", unit_cost=Decimal(4), attributes=said)},
        stock_facts=(StockFact(node_id="N1", sku="A", unit_cost=Decimal(3)),),
    )
    rules = scored(goods_cost_weight="1", markdown={"up_to": "1"})

    assert costs(one(facts, rules)) == {
        "N1": 7_000_000 + 3_000_000 + 1_000_000,
        "N2": 7_000_000 + 2_000_000 + 1_000_000,
        "N3": 7_000_000 + 4_000_000,
    }


def test_prices_of_many_products_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_prices, "_MOST_TABLES", 1)
    monkeypatch.setattr(kernel_facts, "_MOST_DOCUMENTS", 0)
    products = {sku: Product(sku=sku, unit_cost=Decimal(1)) for sku in "AB"}
    known = tuple(StockFact(node_id="N1", sku=sku, unit_cost=Decimal(1)) for sku in "AB")
    facts = snapshot(
        (node("N1"),), {"A": {"N1": 1}, "B": {"N1": 1}}, products=products, stock_facts=known
    )
    asked = request(line("1", "A"), line("2", "B"))

    decisions = [decide(asked, facts, scored(goods_cost_weight="1")) for _ in range(2)]

    assert [plan_of(x).cost_micros for x in decisions] == [9_500_000] * 2


def test_prices_follow_what_is_known_now() -> None:
    rules = scored(goods_cost_weight="1")
    asked = request(line("1", "A"))
    before = pair({}, {}, products={"A": Product(sku="A", unit_cost=Decimal(1))})
    after = before.model_copy(update={"products": {"A": Product(sku="A", unit_cost=Decimal(2))}})

    found = [plan_of(decide(asked, facts, rules)).cost_micros for facts in (before, after)]

    assert found == [8_000_000, 9_000_000]
