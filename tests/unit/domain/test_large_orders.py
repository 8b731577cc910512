"""The search for large orders, against the exact solver where that can still follow."""

import random
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from domain.catalogue import Product, SupplyMode
from domain.network import NodeKind, WorkingHours
from domain.orders import Method, ServiceLevel
from domain.routing import group as group_planner
from domain.routing import improve
from domain.routing.bound import Bound, Relaxation
from domain.routing.decision import DecisionRequest, Option, Purpose, Snapshot
from domain.routing.facts import facts_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide, decide_on
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

Case = tuple[DecisionRequest, Snapshot, RoutingPolicy]


def case(seed: int) -> Case:
    """9 or 10 lines, some of one SKU, 8 nodes with scarce stock, days and lead times."""
    chance = random.Random(seed)  # noqa: S311 (repeatable cases, no secret)
    nodes = tuple(
        node(
            f"N{n}",
            chance.choice([NodeKind.DC, NodeKind.STORE, NodeKind.SUPPLIER]),
            cost_per_order=Decimal(chance.randint(0, 40)) / 10,
            cost_per_unit=Decimal(chance.randint(0, 20)) / 10,
            daily_units=chance.choice([6, 12, 100]),
            services=chance.choice([("ground",), ("ground",), ("ground", "air"), ("rail",)]),
        )
        for n in range(8)
    )
    skus = [f"S{n}" for n in range(8)]
    lines = tuple(
        line(f"l{n:02d}", chance.choice(skus), chance.randint(1, 3))
        for n in range(chance.randint(9, 10))
    )
    stock = {
        sku: {x.node_id: chance.randint(1, 6) for x in nodes if chance.random() < 0.45}
        for sku in skus
    }
    made = Product(sku="S0", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=2, weight_grams=900)
    facts = snapshot(
        nodes,
        stock,
        services=(
            service(per_kg=Decimal(1)),
            service("air", base=Decimal(3), per_kg=Decimal(4)),
            service("rail", base=Decimal(6)),
        ),
        products={"S0": made, "S1": Product(sku="S1", weight_grams=2_000)},
    )
    rules = policy(
        max_shipments=chance.choice([2, 20, 20]), relax=(), allow_line_split=False, horizon_days=2
    )
    return request(*lines, groups=(group(),)), facts, rules


def units_of(plan: Option) -> int:
    return sum(x.quantity for shipment in plan.shipments for x in shipment.assignments)


def test_the_search_stays_near_the_exact_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    covered = best_covered = cost = best_cost = 0
    for seed in range(60):
        with monkeypatch.context() as narrower:
            narrower.setattr(group_planner, "EXACT_ATOMS", 8)
            found = plan_of(decide(*case(seed)))
        best = plan_of(decide(*case(seed)))
        assert units_of(found) <= units_of(best)
        if units_of(found) == units_of(best):
            assert found.cost_micros >= best.cost_micros
            cost += found.cost_micros
            best_cost += best.cost_micros
        covered += units_of(found)
        best_covered += units_of(best)

    assert covered >= 0.96 * best_covered
    assert cost <= 1.05 * best_cost


def test_the_search_never_uses_more_than_there_is() -> None:
    for seed in range(100, 140):
        asked, facts, rules = case(seed)

        plan = plan_of(decide(asked, facts, rules))

        used: Counter[tuple[str, str]] = Counter()
        planned = Counter({x.line_id: x.quantity for x in plan.missing})
        for shipment in plan.shipments:
            for x in shipment.assignments:
                used[x.sku, shipment.node_id] += x.quantity
                planned[x.line_id] += x.quantity
        assert planned == Counter({x.line_id: x.quantity for x in asked.lines})
        assert len(plan.shipments) <= rules.max_shipments
        assert all(
            facts.availability[sku].get(place, 0) >= units
            for (sku, place), units in used.items()
            if sku != "S0"
        )
        assert plan == plan_of(decide(asked, facts, rules))


def test_a_node_that_is_cheap_per_unit_is_closed_when_another_can_take_its_lines() -> None:
    nodes = (
        node("BIG", cost_per_order=Decimal(2)),
        node("SMALL", cost_per_unit=Decimal(0), cost_per_order=Decimal(0)),
    )
    stock = {f"S{n}": {"BIG": 9} for n in range(9)}
    stock["S0"]["SMALL"] = 9
    asked = request(*(line(f"{n}", f"S{n}") for n in range(9)))

    assert set(sent(plan_of(decide(asked, snapshot(nodes, stock), policy())))) == {"BIG"}


def test_a_single_line_moves_to_a_used_node_that_is_cheaper_for_it() -> None:
    nodes = (
        node("A", cost_per_unit=Decimal(1), cost_per_order=Decimal(0)),
        node("B", cost_per_unit=Decimal("0.90"), cost_per_order=Decimal(9)),
    )
    stock = {f"S{n}": {"A": 9} for n in range(8)} | {"S8": {"A": 9, "B": 9}, "S9": {"B": 9}}
    asked = request(*(line(f"{n}", f"S{n}") for n in range(10)))

    assert sent(plan_of(decide(asked, snapshot(nodes, stock), policy())))["B"] == {"8": 1, "9": 1}


def test_lines_larger_than_any_day_of_a_node_stay_missing() -> None:
    facts = snapshot((node("N1", daily_units=1),), {f"S{n}": {"N1": 9} for n in range(15)})
    asked = request(*(line(f"{n}", f"S{n}", 2) for n in range(15)))

    plan = plan_of(decide(asked, facts, policy(allow_line_split=False)))

    assert plan.shipments == ()
    assert {x.reason for x in plan.missing} == {"not enough units"}


def test_a_thousand_lines_are_planned_whole() -> None:
    nodes = tuple(node(f"N{n:02d}", cost_per_order=Decimal(1 + n % 4)) for n in range(30))
    stock = {
        f"S{x}": {p.node_id: 3 for n, p in enumerate(nodes) if (x * 7 + n) % 3} for x in range(1000)
    }
    asked = request(*(line(f"{x}", f"S{x}", 1 + x % 3) for x in range(1000)))

    plan = plan_of(decide(asked, snapshot(nodes, stock), policy(horizon_days=7)))

    assert plan.missing == ()
    assert units_of(plan) == 1999


def large_cart(purpose: Purpose) -> tuple[DecisionRequest, Snapshot]:
    """100 lines, of which some ask for one SKU, over 300 nodes that hold a few SKUs each."""
    chance = random.Random(5)  # noqa: S311 (a repeatable case, no secret)
    nodes = tuple(
        node(f"N{n:03d}", cost_per_order=Decimal(chance.randint(0, 40)) / 10) for n in range(300)
    )
    stock = {
        f"S{n}": {x.node_id: chance.randint(1, 9) for x in chance.sample(nodes, 20)}
        for n in range(98)
    }
    lines = tuple(line(f"l{n:03d}", f"S{n % 98}") for n in range(100))
    return request(*lines, purpose=purpose), snapshot(nodes, stock)


@pytest.mark.parametrize("purpose", [Purpose.CART, Purpose.PRODUCT_PAGE])
def test_a_large_cart_is_searched_and_not_proven(purpose: Purpose) -> None:
    asked, facts = large_cart(purpose)

    decision = decide(asked, facts, policy(max_shipments=20))

    plan = plan_of(decision)
    assert plan.missing == ()
    assert units_of(plan) == 100
    assert not decision.is_proven
    assert decision == decide_on(asked, facts_of(facts), policy(max_shipments=20))


def test_a_faster_level_is_not_offered_where_a_limit_keeps_its_only_node_out() -> None:
    nodes = (node("A"), node("B", NodeKind.STORE, services=("air",)))
    facts = snapshot(nodes, {"S": {"A": 1, "B": 1}}, services=(service(), EXPRESS))
    asked = request(line("1", "S"), purpose=Purpose.CART)

    strict = decide(asked, facts, policy(excluded_kinds=(NodeKind.STORE,), relax=()))
    soft = decide(
        asked,
        facts,
        policy(
            excluded_kinds=(NodeKind.STORE,),
            excluded_nodes=("C",),
            max_distance_km=1,
            relax=("excluded_kinds", "max_distance_km", "excluded_nodes"),
        ),
    )

    assert [x.service_level for x in strict.options] == [ServiceLevel.STANDARD]
    assert [x.service_level for x in soft.options] == [ServiceLevel.STANDARD, ServiceLevel.EXPRESS]
    assert set(sent(soft.options[1])) == {"B"}


def test_no_level_is_offered_to_a_store_that_is_not_there() -> None:
    facts = snapshot((node("A"),), {"S": {"A": 1}}, services=(service(), EXPRESS))
    there = group(method=Method.SHIP_TO_STORE, node_id="nowhere", destination=None)
    asked = request(line("1", "S"), purpose=Purpose.CART, groups=(there,))

    decision = decide(asked, facts, policy())

    assert [x.missing[0].reason for x in decision.options] == ["no such store"]


def test_where_a_day_takes_only_part_of_a_cart_each_way_is_priced_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = (
        node("A", daily_units=1, services=("ground", "air")),
        node("B", daily_units=1, services=("ground",)),
    )
    facts = snapshot(nodes, {"S": {"A": 1}, "T": {"B": 1}}, services=(service(), EXPRESS))
    asked = request(line("1", "S"), line("2", "T"), purpose=Purpose.CART)
    compiled = decide(asked, facts, policy(inbound="never"))

    run_uncompiled(monkeypatch)
    decision = decide(asked, facts, policy(inbound="never"))

    assert decision == compiled
    assert sent(plan_of(decision)) == {"A": {"1": 1}, "B": {"2": 1}}
    assert [x.service_level for x in decision.options] == [ServiceLevel.STANDARD]


def test_two_groups_of_a_cart_are_offered_by_every_level_that_serves_both() -> None:
    facts = snapshot(
        (node("A", services=("ground", "air")),), {"S": {"A": 2}}, services=(service(), EXPRESS)
    )
    asked = request(
        line("1", "S"),
        line("2", "S", ship_group="2"),
        purpose=Purpose.CART,
        groups=(group(), group("2")),
    )

    decision = decide(asked, facts, policy())

    assert [x.service_level for x in decision.options] == [
        ServiceLevel.STANDARD,
        ServiceLevel.EXPRESS,
    ]
    assert [len(x.shipments) for x in decision.options] == [2, 2]


@pytest.mark.parametrize(("lines", "pieces"), [(17, 1), (3, 12)])
def test_the_search_passes_over_services_that_do_not_reach_and_days_without_work(
    monkeypatch: pytest.MonkeyPatch, lines: int, pieces: int
) -> None:
    run_uncompiled(monkeypatch)
    closing = tuple(date(2026, 3, 9) + timedelta(weeks=n) for n in range(100))
    nodes = (
        node("A", services=("near", "ground"), hours=WorkingHours(days=(0,), holidays=closing)),
        node("B", services=("ground",), cost_per_order=Decimal(3)),
    )
    stock = {f"S{n}": {"A": 9, "B": 9} for n in range(16)} | {"S16": {"B": 1}}
    facts = snapshot(nodes, stock, services=(service("near", max_km=1), service()))
    last = 17 - lines
    asked = request(
        *(line(f"{n:02d}", f"S{n}") for n in range(last, 17)),
        line("many", f"S{last}", pieces),
        groups=(group(deliver_by=at(9)),),
        purpose=Purpose.CART,
    )

    plan = plan_of(decide(asked, facts, policy(horizon_days=3)))

    assert set(sent(plan)) == ({"B"} if pieces == 1 else {"A", "B"})
    assert "ground" in {x.service_id for x in plan.shipments}


def test_a_faster_level_is_offered_only_where_it_comes_earlier() -> None:
    as_slow = service("air", level=ServiceLevel.EXPRESS, base=Decimal(9), transit_days=2)
    facts = snapshot(
        (node("A", services=("ground", "air")),), {"S": {"A": 1}}, services=(service(), as_slow)
    )
    asked = request(line("1", "S"), purpose=Purpose.CART)
    express = asked.model_copy(update={"groups": (group(service_level=ServiceLevel.EXPRESS),)})

    offered = decide(asked, facts, policy())
    chosen = decide(express, facts, policy())

    assert [x.service_level for x in offered.options] == [ServiceLevel.STANDARD]
    assert [x.service_level for x in chosen.options] == [
        ServiceLevel.STANDARD,
        ServiceLevel.EXPRESS,
    ]
    assert chosen.chosen == 1


def _blind(relaxation: Relaxation, _: int) -> Bound:
    return Bound(0.0, np.ones(len(relaxation.fixed), dtype=np.bool_))


def test_pieces_that_are_made_later_do_not_leave_before(monkeypatch: pytest.MonkeyPatch) -> None:
    run_uncompiled(monkeypatch)
    monkeypatch.setattr(improve, "bound_of", _blind)
    made = Product(sku="M", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=2)
    nodes = (node("A", NodeKind.SUPPLIER), node("B", NodeKind.SUPPLIER, cost_per_unit=Decimal(2)))
    facts = snapshot(nodes, {"S": {"A": 2, "B": 2}, "M": {"A": 0}}, products={"M": made})

    plan = plan_of(decide(request(line("1", "S", 4), line("2", "M")), facts, policy()))

    assert plan.missing == ()
    assert sent(plan) == {"A": {"1": 2, "2": 1}, "B": {"1": 2}}
