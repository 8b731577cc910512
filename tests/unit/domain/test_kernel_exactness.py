"""The kernel against an obvious brute force, and its invariants, on small random instances."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import Product
from domain.network import Node, NodeKind
from domain.routing.decision import CapacityLeft, DecisionRequest, Snapshot
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide, decide_batch
from tests.unit.domain.builders import (
    MONDAY,
    at,
    group,
    line,
    node,
    plan_of,
    policy,
    request,
    service,
    snapshot,
)

Case = tuple[DecisionRequest, Snapshot, RoutingPolicy]
DAYS = 3


@st.composite
def cases(draw: st.DrawFn, *, line_split: bool = False) -> Case:
    """Up to 5 lines over up to 3 SKUs (so lines contend), up to 4 nodes, scarce stock and days."""
    skus = ["A", "B", "C"]
    lines = tuple(
        line(
            f"l{n}",
            draw(st.sampled_from(skus)),
            draw(st.integers(1, 4)),
            keep_together=draw(st.sampled_from([None, None, None, "set"])),
        )
        for n in range(draw(st.integers(1, 5)))
    )
    nodes = tuple(
        node(
            f"N{n}",
            draw(st.sampled_from([NodeKind.DC, NodeKind.STORE])),
            cost_per_order=Decimal(draw(st.integers(0, 30))) / 10,
            cost_per_unit=Decimal(draw(st.integers(0, 20))) / 10,
            daily_units=draw(st.sampled_from([3, 6, 100])),
            daily_orders=draw(st.sampled_from([0, 1, 1, 9])),
        )
        for n in range(draw(st.integers(1, 4)))
    )
    availability = {
        sku: {x.node_id: draw(st.integers(0, 6)) for x in nodes if draw(st.booleans())}
        for sku in skus
    }
    capacity = tuple(
        CapacityLeft(
            node_id=x.node_id, work_date="2026-03-02", units=draw(st.integers(0, 5)), orders=1
        )
        for x in nodes
        if draw(st.integers(0, 3)) == 0
    )
    case = snapshot(
        nodes,
        availability,
        capacity=capacity,
        services=(service(per_kg=Decimal(1)),),
        products={"A": Product(sku="A", weight_grams=300), "B": Product(sku="B")},
    )
    asked = request(
        *lines,
        groups=(
            group(deliver_by=at(20, day=4), ship_complete=draw(st.sampled_from([False, True]))),
        ),
        allow_split=draw(st.sampled_from([True, True, True, False])),
    )
    rules = policy(
        kind_cost={NodeKind.STORE: Decimal("0.70")},
        max_shipments=draw(st.integers(1, 4)),
        horizon_days=DAYS,
        relax=(),
        allow_line_split=line_split,
        lateness_cost_per_day=Decimal(draw(st.sampled_from([0, 2]))),
    )
    return asked, case, rules


def _price(case: Case, place: Node, chosen: list[int]) -> int | None:
    """The formula of DESIGN, read plainly; None when stock or every day's capacity is too small."""
    asked, facts, rules = case
    lines = [asked.lines[n] for n in chosen]
    need: Counter[str] = Counter()
    for x in lines:
        need[x.sku] += x.quantity
    for sku, quantity in need.items():
        if facts.availability[sku].get(place.node_id, 0) < quantity:
            return None
    units = need.total()
    limits = {(x.node_id, x.work_date): (x.units, x.orders) for x in facts.capacity}
    for days_later in range(DAYS):
        day = (MONDAY + timedelta(days=days_later)).date().isoformat()
        left, orders = limits.get((place.node_id, day), (place.daily_units, place.daily_orders))
        if orders >= 1 and left >= units:
            grams = 300 * need["A"]
            cost = rules.shipment_cost + place.cost_per_order + place.cost_per_unit * units
            cost += Decimal(4) + Decimal(grams) / 1000 + days_later * rules.lateness_cost_per_day
            cost += rules.kind_cost.get(place.kind, Decimal(0))
            return int(cost * 1_000_000)
    return None


def _best(case: Case) -> tuple[int, int]:
    """(Units covered, cost) of the best plan, by trying every node for every line."""
    asked, facts, rules = case
    one_node = asked.groups[0].ship_complete or not asked.allow_split
    best = (0, 0)
    places: list[Node | None] = [None, *facts.nodes]
    for choice in product(places, repeat=len(asked.lines)):
        parts: dict[str, list[int]] = {}
        for number, place in enumerate(choice):
            if place is not None:
                parts.setdefault(place.node_id, []).append(number)
        together = {
            place.node_id if place else None
            for place, x in zip(choice, asked.lines, strict=True)
            if x.keep_together
        }
        whole = not one_node or (len(parts) == 1 and None not in choice)
        if len(parts) > rules.max_shipments or len(together) > 1 or not whole:
            continue
        nodes = {x.node_id: x for x in facts.nodes}
        prices = [_price(case, nodes[node_id], chosen) for node_id, chosen in parts.items()]
        if None not in prices:
            units = sum(asked.lines[n].quantity for chosen in parts.values() for n in chosen)
            best = min(best, (-units, sum(x for x in prices if x is not None)))
    return -best[0], best[1]


def _covered(case: Case) -> tuple[int, int]:
    plan = plan_of(decide(*case))
    return sum(x.quantity for s in plan.shipments for x in s.assignments), plan.cost_micros


@settings(max_examples=150, deadline=None)
@given(cases())
def test_a_small_order_gets_the_plan_that_covers_most_and_then_costs_least(case: Case) -> None:
    assert _covered(case) == _best(case)


@settings(max_examples=100, deadline=None)
@given(cases(line_split=True))
def test_each_unit_asked_is_planned_once_or_said_to_be_missing(case: Case) -> None:
    asked, facts, _ = case

    plan = plan_of(decide(*case))

    planned: Counter[str] = Counter()
    used: Counter[tuple[str, str]] = Counter()
    for shipment in plan.shipments:
        for x in shipment.assignments:
            planned[x.line_id] += x.quantity
            used[x.sku, shipment.node_id] += x.quantity
    for missing in plan.missing:
        planned[missing.line_id] += missing.quantity
        assert missing.reason
    assert planned == Counter({x.line_id: x.quantity for x in asked.lines})
    for (sku, node_id), units in used.items():
        assert units <= facts.availability[sku][node_id]
    assert plan.cost_micros == sum(x.cost_micros for x in plan.shipments)
    assert len({x.node_id for x in plan.shipments}) == len(plan.shipments)
    assert all(x.order_by >= asked.now for x in plan.shipments)


@settings(max_examples=60, deadline=None)
@given(cases(line_split=True))
def test_the_same_input_gives_the_same_bytes(case: Case) -> None:
    asked, facts, rules = case
    again = (
        DecisionRequest.model_validate_json(asked.model_dump_json()),
        Snapshot.model_validate_json(facts.model_dump_json()),
        RoutingPolicy.model_validate_json(rules.model_dump_json()),
    )

    assert decide(*again).model_dump_json() == decide(*case).model_dump_json()


@settings(max_examples=60, deadline=None)
@given(cases(line_split=True), st.integers(0, 5))
def test_a_useless_node_changes_nothing_in_the_plan(case: Case, place: int) -> None:
    asked, facts, rules = case
    dear = node(f"N{place}x", cost_per_order=Decimal(10_000), daily_orders=9)
    more = facts.model_copy(update={"nodes": (*facts.nodes, dear)})
    stock = {**facts.availability, "Z": {dear.node_id: 100}}

    assert decide(asked, more, rules).plan == decide(*case).plan
    assert (
        decide(asked, more.model_copy(update={"availability": stock}), rules).plan
        == decide(*case).plan
    )


@settings(max_examples=60, deadline=None)
@given(cases(), st.permutations(range(4)))
def test_other_names_and_another_order_of_nodes_cost_the_same(case: Case, order: list[int]) -> None:
    asked, facts, rules = case
    names = {f"N{n}": f"X{m}" for n, m in enumerate(order)}
    renamed = facts.model_copy(
        update={
            "nodes": tuple(
                x.model_copy(update={"node_id": names[x.node_id]}) for x in reversed(facts.nodes)
            ),
            "availability": {
                sku: {names[x]: units for x, units in by_node.items()}
                for sku, by_node in facts.availability.items()
            },
            "capacity": tuple(
                x.model_copy(update={"node_id": names[x.node_id]}) for x in facts.capacity
            ),
        }
    )

    assert _covered((asked, renamed, rules)) == _covered(case)


@settings(max_examples=60, deadline=None)
@given(cases(line_split=True))
def test_a_batch_never_gives_the_same_unit_twice(case: Case) -> None:
    asked, facts, rules = case
    second = asked.model_copy(update={"request_id": "R-2"})

    decisions = decide_batch([asked, second, second], facts, rules)

    used: Counter[tuple[str, str]] = Counter()
    days: Counter[tuple[str, str]] = Counter()
    for decision in decisions:
        for shipment in plan_of(decision).shipments:
            days[shipment.node_id, shipment.work_date] += 1
            for x in shipment.assignments:
                used[x.sku, shipment.node_id] += x.quantity
    nodes = {x.node_id: x for x in facts.nodes}
    assert all(facts.availability[sku][place] >= units for (sku, place), units in used.items())
    assert all(max(1, nodes[place].daily_orders) >= orders for (place, _), orders in days.items())
    assert [x.request_id for x in decisions] == [asked.request_id, "R-2", "R-2"]
