"""Objectives of several measures and the rules of strategies against an obvious brute force."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import Product
from domain.network import Node, NodeKind, Place, WorkingHours
from domain.orders import ServiceLevel
from domain.planning import distance_km
from domain.routing import objective
from domain.routing.decision import CapacityLeft, DecisionRequest, Option, Snapshot, StockFact
from domain.routing.milp import Model
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide, decide_batch
from tests.unit.domain.builders import (
    HERE,
    MONDAY,
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
DUE = at(20, day=4)
DAYS = 3
SERVICES = (
    service("ground", base=Decimal(4), transit_days=2, per_kg=Decimal(1)),
    service("air", level=ServiceLevel.STANDARD, base=Decimal(9), transit_days=1),
)
MEASURES = ("shipments", "lateness", "delivery", "distance")


@st.composite
def objectives(draw: st.DrawFn) -> list[str]:
    chosen = draw(st.permutations(MEASURES))[: draw(st.integers(0, 4))]
    return [*chosen, *draw(st.sampled_from([[], ["cost"]]))] or ["cost"]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to 4 lines over 3 SKUs, up to 4 nodes near and far; scarce stock and days; rich rules."""
    skus = ["A", "B", "C"]
    lines = tuple(
        line(
            f"l{n}",
            draw(st.sampled_from(skus)),
            draw(st.integers(1, 3)),
            unit_price_micros=draw(st.sampled_from([0, 5_000_000, 20_000_000])),
        )
        for n in range(draw(st.integers(1, 4)))
    )
    nodes = tuple(
        node(
            f"N{n}",
            draw(st.sampled_from([NodeKind.DC, NodeKind.STORE])),
            place=Place(
                latitude=draw(st.sampled_from([40.0, 41.0, 30.0, 20.0])),
                longitude=-75.0,
                country="US",
            ),
            cost_per_order=Decimal(draw(st.integers(0, 30))) / 10,
            daily_units=draw(st.sampled_from([3, 100])),
            services=draw(st.sampled_from([("ground",), ("ground", "air")])),
            attributes={"priority": draw(st.integers(1, 3))},
        )
        for n in range(draw(st.integers(1, 4)))
    )
    stock = {
        sku: {x.node_id: draw(st.integers(0, 5)) for x in nodes if draw(st.booleans())}
        for sku in skus
    }
    facts = snapshot(
        nodes,
        stock,
        services=SERVICES,
        products={
            "A": Product(sku="A", weight_grams=300, category="x", unit_cost=Decimal(2)),
            "B": Product(sku="B", category="x"),
            "C": Product(sku="C", category="y"),
        },
        capacity=tuple(
            CapacityLeft(node_id=x.node_id, work_date="2026-03-02", units=2, orders=1)
            for x in nodes
            if draw(st.integers(0, 3)) == 0
        ),
        stock_facts=tuple(
            StockFact(node_id=x.node_id, sku="A", unit_cost=Decimal(draw(st.integers(0, 9))))
            for x in nodes[:2]
        ),
    )
    rules = policy(
        horizon_days=DAYS,
        max_shipments=draw(st.integers(1, 4)),
        allow_line_split=False,
        relax=(),
        lateness_cost_per_day=Decimal(draw(st.sampled_from([0, 2]))),
        objective=draw(objectives()),
        criteria={
            "delivery_cost_per_day": draw(st.sampled_from(["0", "1.5"])),
            "goods_cost_weight": draw(st.sampled_from(["0", "0.5"])),
            "node_scores": draw(
                st.sampled_from(
                    [[], [{"attribute": "priority", "best": 1, "worst": 3, "cost": "4"}]]
                )
            ),
        },
        constraints={
            "keep_together_by": draw(st.sampled_from([[], ["category"]])),
            "min_value_per_shipment": draw(st.sampled_from(["0", "0", "15"])),
            "min_units_per_shipment": draw(st.sampled_from([0, 0, 3])),
        },
        filters={"keep_units": draw(st.sampled_from([0, 0, 1]))},
    )
    return request(*lines, groups=(group(deliver_by=DUE),)), facts, rules


def days_begun(since: datetime, until: datetime) -> int:
    return max(0, -((since - until) // timedelta(days=1)))


def weighed(rules: RoutingPolicy, arrives: datetime, km: int, cost: int) -> tuple[int, ...]:
    """One shipment's measures in the policy's order, cost last."""
    found = {
        "shipments": 1,
        "lateness": days_begun(DUE, arrives),
        "delivery": days_begun(MONDAY, arrives),
        "distance": km,
    }
    return (*(found[x] for x in rules.objective if x != "cost"), cost)


def price(case: Case, place: Node, chosen: list[int]) -> tuple[int, ...] | None:
    """The formulas read plainly, by the best service; None: stock or days do not suffice."""
    asked, facts, rules = case
    lines = [asked.lines[n] for n in chosen]
    need = Counter[str]()
    for x in lines:
        need[x.sku] += x.quantity
    for sku, quantity in need.items():
        if facts.availability[sku].get(place.node_id, 0) - rules.filters.keep_units < quantity:
            return None
    limits = {(x.node_id, x.work_date): x.units for x in facts.capacity}
    for later in range(DAYS):
        day = MONDAY + timedelta(days=later)
        left = limits.get((place.node_id, day.date().isoformat()), place.daily_units)
        if left >= need.total():
            ways = [way(case, place, need, day, x) for x in SERVICES]
            return min(
                x for x, y in zip(ways, SERVICES, strict=True) if y.service_id in place.services
            )
    return None


def way(case: Case, place: Node, need: Counter[str], day: datetime, by: Any) -> tuple[int, ...]:
    _, facts, rules = case
    km = distance_km(place.place, HERE) or 0
    transit = by.transit_days + (km - 1) // by.km_per_day * (km > by.km_per_day)
    arrives = day.replace(hour=20) + timedelta(days=transit)
    cost = rules.shipment_cost + place.cost_per_order + place.cost_per_unit * need.total()
    cost += by.base + by.per_kg * Decimal(300 * need["A"]) / 1_000
    cost += rules.lateness_cost_per_day * days_begun(DUE, arrives)
    cost += rules.criteria.delivery_cost_per_day * days_begun(MONDAY, arrives)
    for score in rules.criteria.node_scores:
        cost += score.cost * (place.attributes["priority"] - 1) / 2
    known = {x.node_id: x.unit_cost or Decimal(0) for x in facts.stock_facts}
    goods = known.get(place.node_id, Decimal(2)) * need["A"]
    cost += goods * rules.criteria.goods_cost_weight
    return weighed(rules, arrives, km, int(cost * 1_000_000))


def is_allowed(case: Case, parts: dict[str, list[int]], choice: tuple[Node | None, ...]) -> bool:
    asked, facts, rules = case
    if len(parts) > rules.max_shipments:
        return False
    if rules.constraints.keep_together_by:
        by_category: dict[str, set[str | None]] = {}
        for x, place in zip(asked.lines, choice, strict=True):
            category = facts.products[x.sku].category
            by_category.setdefault(category, set()).add(place.node_id if place else None)
        if any(len(places) > 1 for places in by_category.values()):
            return False
    least = rules.constraints.min_value_per_shipment * 1_000_000
    return len(parts) < 2 or all(
        sum(asked.lines[n].unit_price_micros * asked.lines[n].quantity for n in chosen) >= least
        and sum(asked.lines[n].quantity for n in chosen) >= rules.constraints.min_units_per_shipment
        for chosen in parts.values()
    )


def best(case: Case) -> tuple[int, ...]:
    """(-units, measures and cost) of the best plan, by trying every node for every line."""
    asked, facts, _ = case
    nodes = {x.node_id: x for x in facts.nodes}
    found: list[tuple[int, ...]] = []
    for choice in product([None, *facts.nodes], repeat=len(asked.lines)):
        parts: dict[str, list[int]] = {}
        for number, place in enumerate(choice):
            if place is not None:
                parts.setdefault(place.node_id, []).append(number)
        if is_allowed(case, parts, choice):
            prices = [price(case, nodes[x], chosen) for x, chosen in parts.items()]
            sums = [x for x in prices if x is not None]
            if len(sums) == len(prices):
                units = sum(asked.lines[n].quantity for x in parts.values() for n in x)
                total = [sum(column) for column in zip(*sums, strict=True)]
                found.append((-units, *total))
    # Nothing at all is a plan too, of no units.
    return min(found, key=lambda x: (x[0], *x[1:]), default=(0,))


def decided(case: Case, plan: Option) -> tuple[int, ...]:
    """The same of the kernel's plan."""
    sums = [weighed(case[2], x.deliver_at, x.distance_km, x.cost_micros) for x in plan.shipments]
    units = sum(x.quantity for s in plan.shipments for x in s.assignments)
    return (-units, *(sum(column) for column in zip(*sums, strict=True)))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_plan_is_the_best_by_the_measures_in_their_order(case: Case) -> None:
    decision = decide(*case)

    plan = plan_of(decision)
    assert decided(case, plan) == best(case)
    assert decision.is_proven
    assert plan.cost_micros == sum(x.cost_micros for x in plan.shipments)
    for shipment in plan.shipments:
        # A flat policy tells no parts.
        assert sum(shipment.cost_parts.values()) in {shipment.cost_micros, 0}
        assert "workload" not in shipment.cost_parts


@settings(max_examples=60, deadline=None)
@given(cases(), st.booleans())
def test_each_unit_is_planned_once_or_missing_and_stays_within_all_limits(
    case: Case, split: bool
) -> None:
    asked, facts, rules = case
    rules = rules.model_copy(update={"allow_line_split": split})

    plan = plan_of(decide(asked, facts, rules))

    planned: Counter[str] = Counter()
    used: Counter[tuple[str, str]] = Counter()
    price_of = {x.line_id: x.unit_price_micros for x in asked.lines}
    for shipment in plan.shipments:
        worth = sum(price_of[x.line_id] * x.quantity for x in shipment.assignments)
        units = sum(x.quantity for x in shipment.assignments)
        if len(plan.shipments) > 1:
            assert worth >= rules.constraints.min_value_per_shipment * 1_000_000
            assert units >= rules.constraints.min_units_per_shipment
        for x in shipment.assignments:
            planned[x.line_id] += x.quantity
            used[x.sku, shipment.node_id] += x.quantity
    for missing in plan.missing:
        planned[missing.line_id] += missing.quantity
        assert missing.reason
    assert planned == Counter({x.line_id: x.quantity for x in asked.lines})
    assert len(plan.shipments) <= rules.max_shipments
    keep = rules.filters.keep_units
    assert all(units + keep <= facts.availability[a][b] for (a, b), units in used.items())


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 5))
def test_a_node_that_nobody_needs_changes_nothing(case: Case, place: int) -> None:
    asked, facts, rules = case
    useless = node(
        f"N{place}x",
        cost_per_order=Decimal(10_000),
        place=Place(latitude=-40.0, longitude=100.0, country="AU"),
        services=("ground",),
    )
    more = facts.model_copy(update={"nodes": (*facts.nodes, useless)})
    # It holds something, but may not serve.
    stock = {sku: {**x, useless.node_id: 9} for sku, x in facts.availability.items()}
    held = more.model_copy(update={"availability": stock})
    barred = rules.model_copy(update={"excluded_nodes": (useless.node_id,)})

    plan = plan_of(decide(*case))

    assert decide(asked, more, rules).plan == plan
    # Why something is missing may be told otherwise: a node that holds it is excluded.
    assert plan_of(decide(asked, held, barred)).shipments == plan.shipments


@settings(max_examples=60, deadline=None)
@given(cases(), st.permutations(range(4)))
def test_other_names_of_nodes_change_nothing_but_names(case: Case, order: list[int]) -> None:
    asked, facts, rules = case
    names = {f"N{n}": f"X{m}" for n, m in enumerate(order)}

    def renamed(rows: Any) -> Any:
        return tuple(x.model_copy(update={"node_id": names[x.node_id]}) for x in rows)

    other = facts.model_copy(
        update={
            "nodes": renamed(reversed(facts.nodes)),
            "availability": {
                sku: {names[x]: units for x, units in by_node.items()}
                for sku, by_node in facts.availability.items()
            },
            "capacity": renamed(facts.capacity),
            "stock_facts": renamed(facts.stock_facts),
        }
    )

    plans = plan_of(decide(asked, other, rules)), plan_of(decide(*case))

    assert decided(case, plans[0]) == decided(case, plans[1])


@settings(max_examples=60, deadline=None)
@given(cases(), st.booleans())
def test_a_replay_from_its_record_gives_the_same_bytes(case: Case, split: bool) -> None:
    asked, facts, rules = case
    rules = rules.model_copy(update={"allow_line_split": split})
    again = (
        DecisionRequest.model_validate_json(asked.model_dump_json()),
        Snapshot.model_validate_json(facts.model_dump_json()),
        RoutingPolicy.model_validate_json(rules.model_dump_json()),
    )

    first = decide(asked, facts, rules).model_dump_json()

    assert decide(*again).model_dump_json() == first


@settings(max_examples=40, deadline=None)
@given(cases())
def test_many_orders_never_get_one_unit_twice(case: Case) -> None:
    asked, facts, rules = case

    decisions = decide_batch([asked, asked, asked], facts, rules)

    used: Counter[tuple[str, str]] = Counter()
    for decision in decisions:
        for shipment in plan_of(decision).shipments:
            for x in shipment.assignments:
                used[x.sku, shipment.node_id] += x.quantity
    assert all(facts.availability[sku][place] >= units for (sku, place), units in used.items())


@pytest.fixture(params=["compiled", "not compiled"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "not compiled":
        run_uncompiled(monkeypatch)


FAR = Place(latitude=10.0, longitude=-75.0, country="US")


def choices() -> Snapshot:
    """N1 is near, dear and has all; N2 and N3 are cheap and have one each, N3 far away."""
    nodes = (
        node("N1", cost_per_order=Decimal(50)),
        node("N2"),
        node("N3", place=FAR),
    )
    return snapshot(nodes, {"A": {"N1": 1, "N2": 1}, "B": {"N1": 1, "N3": 1}})


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("objective_", "nodes"),
    [
        ("weighted", ["N2", "N3"]),
        (["cost"], ["N2", "N3"]),
        (["shipments"], ["N1"]),
        (["lateness", "cost"], ["N1"]),
        (["distance", "shipments"], ["N1"]),
        (["distance", "cost"], ["N1"]),
        (["delivery", "cost"], ["N1"]),
    ],
)
def test_the_first_measure_decides_then_the_next(objective_: Any, nodes: list[str]) -> None:
    asked = request(line("1", "A"), line("2", "B"), groups=(group(deliver_by=at(20, day=4)),))

    decision = decide(asked, choices(), policy(objective=objective_, lateness_cost_per_day=1))

    assert sorted(sent(plan_of(decision))) == nodes
    assert decision.is_proven


@pytest.mark.usefixtures("kernel")
def test_costs_and_scores_are_told_without_the_measures_before_them() -> None:
    asked = request(line("1", "A"), line("2", "B"))
    rules = policy(objective=["shipments", "distance"])

    decision = decide(asked, choices(), rules)

    assert plan_of(decision).cost_micros == 56_500_000
    assert {x.node_id: x.cost_micros for x in decision.scores} == {
        "N1": 56_500_000,
        "N2": 7_000_000,
        "N3": 7_000_000,
    }
    # Without N1 two shipments cost less, though they are one too many.
    assert decision.runner_up_cost_micros == 14_000_000
    assert decision.bound_micros is None


@pytest.mark.usefixtures("kernel")
def test_nodes_of_fewer_services_and_closed_days_are_measured_too() -> None:
    nodes = (
        node("N1", services=("ground", "air"), cost_per_order=Decimal(20)),
        node("N2", daily_units=1, hours=WorkingHours(days=(0,))),
    )
    facts = snapshot(nodes, {"A": {"N1": 2, "N2": 2}}, services=SERVICES)
    rules = policy(objective=["delivery"], horizon_days=60)

    decision = decide(request(line("1", "A", 2)), facts, rules)

    assert [x.service_id for x in plan_of(decision).shipments] == ["air"]


@pytest.mark.usefixtures("kernel")
def test_a_score_of_a_node_that_cannot_send_all_at_once_is_left_out() -> None:
    nodes = (node("N1", daily_units=3), node("N2"))
    facts = snapshot(nodes, {"A": {"N1": 2, "N2": 2}, "B": {"N1": 2, "N2": 2}})
    asked = request(line("1", "A", 2), line("2", "B", 2))

    decision = decide(asked, facts, policy(objective=["distance"]))

    assert {x.node_id: x.cost_micros for x in decision.scores} == {"N1": None, "N2": 8_500_000}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("measures", "nodes"),
    [
        (["cost"], ["N2", "N3"]),
        (["distance"], ["N1", "N2"]),
        (["shipments", "distance"], ["N1", "N2"]),
    ],
)
def test_pieces_of_a_line_follow_the_measures_too(measures: list[str], nodes: list[str]) -> None:
    places = (
        node("N1", cost_per_order=Decimal(50)),
        node("N2"),
        node("N3", place=FAR),
    )
    facts = snapshot(places, {"A": {"N1": 3, "N2": 4, "N3": 3}})

    decision = decide(request(line("1", "A", 5)), facts, policy(objective=measures))

    found = sent(plan_of(decision))
    assert (list(found), decision.is_proven) == (nodes, True)
    assert sum(x["1"] for x in found.values()) == 5


def test_pieces_are_not_proven_when_a_stage_finds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 3, "N2": 4}})
    solve = Model.solve
    monkeypatch.setattr(
        Model,
        "solve",
        lambda model, **_: None if max(model.costs) == 1.0 else solve(model),
    )

    decision = decide(request(line("1", "A", 5)), facts, policy(objective=["shipments"]))

    assert not plan_of(decision).missing
    assert not decision.is_proven


def test_a_large_order_follows_the_measures_unproven() -> None:
    skus = [f"S{n}" for n in range(16)]
    facts = snapshot(
        (node("N1", place=FAR), node("N2", cost_per_order=Decimal(9))),
        {sku: {"N1": 9, "N2": 9} for sku in skus},
    )
    asked = request(*(line(sku, sku) for sku in skus))

    near = decide(asked, facts, policy(objective=["distance"]))
    cheap = decide(asked, facts, policy())

    assert (list(sent(plan_of(near))), near.is_proven) == (["N2"], False)
    assert list(sent(plan_of(cheap))) == ["N1"]


def test_weights_that_would_not_fit_are_cut_and_nothing_is_proven() -> None:
    dear = node("N1", cost_per_order=Decimal("9000000000"))
    facts = snapshot((dear, node("N2", place=FAR)), {"A": {"N1": 1, "N2": 1}})

    decision = decide(
        request(line("1", "A")), facts, policy(objective=["delivery", "lateness", "distance"])
    )

    assert list(sent(plan_of(decision))) == ["N1"]
    assert plan_of(decision).cost_micros == 9_000_000_006_000_000
    assert not decision.is_proven


def test_packed_costs_stay_far_below_what_stands_for_the_impossible() -> None:
    limits = objective.Measures(1, 99, 99, 20_000)

    found = objective._weights(("delivery", "distance"), limits, 1_000, 10**17)

    assert not found.is_exact
    assert 1_000 * found.weighs(limits) + 10**17 <= objective.MOST_PACKED
