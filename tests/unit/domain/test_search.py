"""The search beyond the exact size: what it finds, what it proves, and that it is repeatable."""

import random
from decimal import Decimal

import numpy as np
import pytest

from domain.catalogue import Product, SupplyMode
from domain.network import NodeKind
from domain.orders import ServiceLevel
from domain.routing import group as group_planner
from domain.routing.decision import DecisionRequest, Purpose, Snapshot
from domain.routing.explain import explain
from domain.routing.moves import _best_moves, _without_idle
from domain.routing.policy import RoutingPolicy
from domain.routing.search import THOROUGH, _next_pair
from domain.routing.solve import decide
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


def case(seed: int, lines: int = 16) -> Case:
    """Scarce stock, small days, lead times, lines in pieces, carriers for light and for heavy."""
    chance = random.Random(seed)  # noqa: S311 (repeatable cases, no secret)
    nodes = tuple(
        node(
            f"N{n}",
            chance.choice([NodeKind.DC, NodeKind.SUPPLIER]),
            cost_per_order=Decimal(chance.randint(0, 40)) / 10,
            cost_per_unit=Decimal(chance.randint(0, 20)) / 10,
            daily_units=chance.choice([3, 8, 100]),
            services=chance.choice([("ground", "rail"), ("rail", "air", "ground"), ("near",)]),
        )
        for n in range(9)
    )
    skus = [f"S{n}" for n in range(lines - 3)]
    stock = {
        sku: {x.node_id: chance.randint(1, 5) for x in nodes if chance.random() < 0.5}
        for sku in skus
    }
    made = Product(sku="S0", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=2, weight_grams=900)
    slow = made.model_copy(update={"sku": "S1", "lead_time_days": 1})
    heavy = {f"S{n}": Product(sku=f"S{n}", weight_grams=n * 300) for n in range(2, 6)}
    asked = request(
        *(line(f"l{n:02d}", chance.choice(skus), chance.randint(1, 4)) for n in range(lines)),
        groups=(group(deliver_by=at(20, day=4)),),
        purpose=Purpose.CHECKOUT,
    )
    facts = snapshot(
        nodes,
        stock,
        services=(
            service(per_kg=Decimal(2)),
            service("rail", base=Decimal(6)),
            service("air", base=Decimal(6), per_kg=Decimal(9), transit_days=1),
            service("near", max_km=1_000, base=Decimal(5)),
        ),
        products={"S0": made, "S1": slow, **heavy},
    )
    rules = policy(max_shipments=chance.choice([2, 20]), relax=(), horizon_days=3)
    return asked, facts, rules


@pytest.mark.parametrize("seed", range(12))
def test_compiled_and_not_the_search_finds_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = decide(*case(seed))

    run_uncompiled(monkeypatch)

    assert decide(*case(seed)) == compiled


def test_the_bound_is_below_the_optimum_and_the_plan_near_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    cost = best_cost = 0
    for seed in range(80):
        asked, facts, rules = case(seed, lines=12)
        rules = rules.model_copy(update={"allow_line_split": False, "max_shipments": 20})
        best = decide(asked, facts, rules)
        with monkeypatch.context() as narrower:
            narrower.setattr(group_planner, "EXACT_ATOMS", 5)
            narrower.setattr(group_planner, "improved", _as_it_is)
            found = decide(asked, facts, rules)
        if plan_of(best).missing or plan_of(found).missing:
            continue
        compared += 1
        assert found.bound_micros is not None
        assert found.bound_micros <= plan_of(best).cost_micros <= plan_of(found).cost_micros
        cost += plan_of(found).cost_micros
        best_cost += plan_of(best).cost_micros

    assert compared > 10
    assert cost <= 1.05 * best_cost


def _as_it_is(_: object, plan: object, *__: object) -> tuple[object, bool]:
    return plan, False


def many(*node_ids: str) -> tuple[DecisionRequest, dict[str, dict[str, int]]]:
    """Sixteen lines that all those nodes have."""
    stock = {f"S{n}": dict.fromkeys(node_ids, 9) for n in range(16)}
    return request(*(line(f"{n:02d}", f"S{n}") for n in range(16))), stock


def test_a_plan_that_meets_its_bound_is_proven() -> None:
    asked, stock = many("A", "B")
    facts = snapshot((node("A"), node("B", cost_per_unit=Decimal(9))), stock)

    decision = decide(asked, facts, policy())

    assert set(sent(plan_of(decision))) == {"A"}
    assert decision.is_proven
    assert decision.bound_micros == plan_of(decision).cost_micros


def test_the_explanation_says_how_far_from_the_best_a_plan_may_be() -> None:
    asked, facts, rules = case(3)
    found = decide(asked, facts, rules.model_copy(update={"max_shipments": 20}))
    plan = plan_of(found)
    known = found.model_copy(
        update={"is_proven": False, "bound_micros": plan.cost_micros * 100 // 104}
    )

    assert "this one is at most 4.0 % above the best." in explain(known, asked)
    assert "above the best" not in explain(known.model_copy(update={"bound_micros": None}), asked)
    assert "above the best" not in explain(known.model_copy(update={"is_proven": True}), asked)


def test_without_work_allowed_nothing_is_searched_beside_the_first_plans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_uncompiled(monkeypatch)
    asked, facts, rules = case(5)
    whole = plan_of(decide(asked, facts, rules))
    monkeypatch.setattr(group_planner, "THOROUGH", THOROUGH._replace(work=0))

    found = plan_of(decide(asked, facts, rules))

    assert len(found.missing) >= len(whole.missing)


def test_a_large_order_of_a_level_no_node_offers_is_missing_whole() -> None:
    asked, stock = many("A")
    there = asked.model_copy(update={"groups": (group(service_level=ServiceLevel.EXPRESS),)})

    decision = decide(there, snapshot((node("A"),), stock, services=(service(), EXPRESS)), policy())

    assert plan_of(decision).shipments == ()
    assert len(plan_of(decision).missing) == 16


def test_each_way_of_a_plan_is_left_out_alone_then_each_pair() -> None:
    seen = [(0, 0)]
    while seen[-1][1] < 3:
        seen.append(_next_pair(*seen[-1], 3))

    assert seen == [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 3)]
    assert _next_pair(0, 0, 1) == (0, 1)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_moves_that_promise_most_are_tried_first(
    monkeypatch: pytest.MonkeyPatch, *, is_compiled: bool
) -> None:
    if not is_compiled:
        run_uncompiled(monkeypatch)
    gains = np.array([1.0, 9.0, 0.1, 3.0, 2.0, 8.0, 4.0, 5.0, 0.7])
    best_moves = _best_moves if is_compiled else _best_moves.py_func  # type: ignore[attr-defined]

    assert best_moves(gains).tolist() == [1, 5, 7, 6, 3, 4]


@pytest.mark.parametrize("is_compiled", [True, False])
def test_ways_that_serve_nothing_are_closed(*, is_compiled: bool) -> None:
    chosen = np.array([7, 3, 5], dtype=np.int32)
    places = np.array([2, -1, 0, 2], dtype=np.int32)
    without_idle = _without_idle if is_compiled else _without_idle.py_func  # type: ignore[attr-defined]

    assert without_idle(chosen, 3, places) == 2

    assert chosen[:2].tolist() == [7, 5]
    assert places.tolist() == [1, -1, 0, 1]
