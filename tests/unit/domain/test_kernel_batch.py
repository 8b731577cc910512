"""Orders that contend for stock and capacity, planned together."""

import random
from collections import Counter
from decimal import Decimal
from itertools import product

import pytest

from domain.catalogue import Product, SupplyMode
from domain.network import NodeKind
from domain.routing import batch
from domain.routing.decision import CapacityLeft, DecisionRequest, Purpose, Snapshot
from domain.routing.facts import facts_of
from domain.routing.milp import Model
from domain.routing.partition import Partition
from domain.routing.solve import decide, decide_batch, decide_batch_on
from tests.unit.domain.builders import group, line, node, plan_of, policy, request, sent, snapshot
from tests.unit.domain.uncompiled import run_uncompiled


@pytest.fixture(autouse=True, params=["compiled", "not compiled"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs the kernel twice: as machine code, and as Python."""
    if request.param == "not compiled":
        run_uncompiled(monkeypatch)


def asked(name: str, *skus: str, **changes: object) -> DecisionRequest:
    lines = (line(f"{n}", sku) for n, sku in enumerate(skus))
    return request(*lines, request_id=name, **changes)


def contended(**changes: object) -> Snapshot:
    """NEAR is cheap and has one A; FAR has A too; only NEAR has B."""
    nodes = (node("FAR", cost_per_order=Decimal(3)), node("NEAR", cost_per_order=Decimal(1)))
    stock = {"A": {"NEAR": 1, "FAR": 9}, "B": {"NEAR": 9}}
    return snapshot(nodes, stock, **changes)


def test_the_unit_goes_to_the_order_that_needs_it_most() -> None:
    decisions = decide_batch([asked("R-1", "A"), asked("R-2", "A", "B")], contended(), policy())

    assert [sent(plan_of(x)) for x in decisions] == [
        {"FAR": {"0": 1}},
        {"NEAR": {"0": 1, "1": 1}},
    ]
    assert [x.is_proven for x in decisions] == [False, True]


def test_orders_that_do_not_contend_get_their_own_best_plans() -> None:
    orders = [asked("R-1", "A"), asked("R-2", "B")]

    found = decide_batch_on(orders, facts_of(contended()), policy())

    assert [x.plan for x in found.decisions] == [
        decide(x, contended(), policy()).plan for x in orders
    ]
    assert found.cost_micros == found.bound_micros


def test_places_in_a_nodes_day_go_where_they_save_most() -> None:
    full = (CapacityLeft(node_id="NEAR", work_date="2026-03-02", units=2, orders=1),)
    nodes = (node("FAR", cost_per_order=Decimal(3)), node("NEAR", cost_per_order=Decimal(1)))
    stock = {"A": {"NEAR": 9, "FAR": 9}, "B": {"NEAR": 9, "FAR": 9}, "C": {"NEAR": 9}}
    facts = snapshot(nodes, stock, capacity=full)
    rules = policy(horizon_days=1)

    decisions = decide_batch([asked("R-1", "A"), asked("R-2", "A", "C")], facts, rules)

    assert [sent(plan_of(x)) for x in decisions] == [
        {"FAR": {"0": 1}},
        {"NEAR": {"0": 1, "1": 1}},
    ]
    units = decide_batch(
        [asked("R-1", "A", "B"), asked("R-2", "C")],
        facts.model_copy(
            update={"capacity": (full[0].model_copy(update={"units": 2, "orders": 2}),)}
        ),
        rules,
    )
    assert [sent(plan_of(x)) for x in units] == [
        {"FAR": {"0": 1, "1": 1}},
        {"NEAR": {"0": 1}},
    ]


def test_a_price_touches_only_orders_that_could_pay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    full = (CapacityLeft(node_id="NEAR", work_date="2026-03-02", units=2, orders=1),)
    nodes = (node("FAR", cost_per_order=Decimal(3)), node("NEAR", cost_per_order=Decimal(1)))
    stock = {"A": {"NEAR": 9, "FAR": 9}, "B": {"NEAR": 9, "FAR": 9}}
    facts = snapshot(nodes, stock, capacity=full)
    orders = [
        asked("R-1", "A"),
        asked("R-2", "A"),
        request(line("1", "B", 3), request_id="R-3"),
    ]
    monkeypatch.setattr(batch, "ROUNDS", 1)

    decisions = decide_batch(orders, facts, policy())

    assert all(not plan_of(x).missing for x in decisions)
    both = decide_batch(
        [asked("R-1", "A"), asked("R-2", "A"), asked("R-3", "B")], contended(), policy()
    )
    assert sent(plan_of(both[2])) == {"NEAR": {"0": 1}}
    assert sorted(next(iter(sent(plan_of(x)))) for x in both[:2]) == ["FAR", "NEAR"]


def test_units_orders_reserve_already_are_there_for_all_of_them() -> None:
    facts = contended().model_copy(update={"availability": {"A": {"FAR": 9}}})
    orders = [
        asked("R-1", "A", own_units={"A": {"NEAR": 1, "gone": 7}}),
        asked("R-2", "A", "B", own_units={"B": {"NEAR": 1}, "A": {"FAR": 1}}),
    ]

    decisions = decide_batch(orders, facts, policy())

    assert [sent(plan_of(x)) for x in decisions] == [
        {"FAR": {"0": 1}},
        {"NEAR": {"0": 1, "1": 1}},
    ]


def test_who_gets_nothing_together_is_planned_alone_with_what_is_left() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 1}})

    first, second = decide_batch([asked("R-1", "A"), asked("R-2", "A")], facts, policy())

    assert sorted(len(plan_of(x).shipments) for x in (first, second)) == [0, 1]


def test_offers_own_units_groups_and_pieces_are_planned_one_after_another() -> None:
    nodes = (node("N1", NodeKind.SUPPLIER), node("S1", NodeKind.STORE, offers_pickup=True))
    made = Product(sku="M", supply_mode=SupplyMode.INFINITE)
    facts = snapshot(nodes, {"A": {"N1": 3, "S1": 2}, "M": {"N1": 0}}, products={"M": made})
    pickup = group(method="pickup", node_id="S1", destination=None)
    orders = [
        asked("R-1", "A", purpose=Purpose.CHECKOUT),
        asked("R-2", "A", own_units={"A": {"N1": 1}}),
        request(line("1", "A", 4), request_id="R-3"),
        asked("R-4", "M"),
        asked("R-5", "M"),
        asked("R-6", "A", groups=(pickup,)),
    ]

    decisions = decide_batch(orders, facts, policy())

    used: Counter[str] = Counter()
    for decision in decisions:
        for shipment in plan_of(decision).shipments:
            for x in shipment.assignments:
                used[f"{x.sku} {shipment.node_id}"] += x.quantity
    assert used == {"A N1": 4, "A S1": 2, "M N1": 2}
    assert [x.request_id for x in decisions] == [f"R-{n}" for n in range(1, 7)]


def test_together_costs_no_more_than_the_best_of_all_assignments() -> None:
    chance = random.Random(5)  # noqa: S311 (repeatable cases, no secret)
    for _ in range(12):
        nodes = tuple(
            node(f"N{n}", cost_per_order=Decimal(chance.randint(0, 40)) / 10) for n in range(4)
        )
        stock = {sku: {x.node_id: chance.randint(1, 2) for x in nodes} for sku in "AB"}
        facts = snapshot(nodes, stock)
        orders = [asked(f"R-{n}", "A", "B") for n in range(4)]

        found = decide_batch_on(orders, facts_of(facts), policy(max_shipments=1))

        assert found.cost_micros == _least(orders, facts)
        assert found.bound_micros <= found.cost_micros


def _least(orders: list[DecisionRequest], facts: Snapshot) -> int:
    """Each order whole from one node, by trying every node for every order."""
    best = None
    for choice in product(facts.nodes, repeat=len(orders)):
        loads = Counter(x.node_id for x in choice)
        if all(loads[x] <= min(facts.availability[sku][x] for sku in "AB") for x in loads):
            cost = sum(int((x.cost_per_order + Decimal("6.50")) * 1_000_000) for x in choice)
            best = cost if best is None else min(best, cost)
    assert best is not None
    return best


def test_a_search_that_gives_up_leaves_the_order_its_own_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gives_up(*_: object) -> Partition | None:
        return None

    monkeypatch.setattr(batch, "cheapest_partition", gives_up)

    decisions = decide_batch([asked("R-1", "A"), asked("R-2", "A", "B")], contended(), policy())

    assert sorted(len(plan_of(x).missing) for x in decisions) == [0, 0]


def test_without_an_answer_of_the_solver_orders_are_planned_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Model, "solve", lambda *_, **__: None)

    decisions = decide_batch([asked("R-1", "A"), asked("R-2", "A", "B")], contended(), policy())

    assert [sent(plan_of(x)) for x in decisions] == [
        {"NEAR": {"0": 1}},
        {"FAR": {"0": 1}, "NEAR": {"1": 1}},
    ]
