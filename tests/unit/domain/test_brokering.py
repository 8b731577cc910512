"""Which unreleased orders move, and with whom."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import brokering
from domain.brokering import Moved, Standing, keeps_promise, rebroker, uses_of
from domain.brokering_runs import BrokeringRun
from domain.catalogue import Product, SupplyMode
from domain.ground import Ground
from domain.network import Place
from domain.planning import plan_of as plan_from
from domain.plans import Plan
from domain.routing.decision import CapacityLeft, DecisionRequest, InboundSupply, Snapshot
from domain.routing.facts import facts_of, snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from tests.unit.domain.builders import at, line, node, plan_of, policy, request, service, snapshot

EAST = Place(latitude=40.0, longitude=-75.0, country="US")
WEST = Place(latitude=40.0, longitude=-115.0, country="US")
NODES = (node("EAST", place=EAST), node("WEST", place=WEST))
BY_KM = service(per_km=Decimal("0.001"), km_per_day=100_000)
DIME = 100_000


def world(stock: dict[str, dict[str, int]], **changes: object) -> Snapshot:
    facts: dict[str, object] = {"services": (BY_KM,)}
    return snapshot(NODES, stock, **{**facts, **changes})


def asked(order_id: str, *skus: str, to: Place = EAST, **changes: object) -> DecisionRequest:
    lines = (line(f"{n}", sku) for n, sku in enumerate(skus))
    found = request(*lines, request_id=f"{order_id}-d2-run", order_id=order_id, **changes)
    groups = tuple(x.model_copy(update={"destination": to}) for x in found.groups)
    return found.model_copy(update={"groups": groups})


def standing(
    wanted: DecisionRequest, *places: tuple[str, str], known: Snapshot | None = None
) -> Standing:
    """Its plan: those (SKU, node), and nothing else."""
    stock: dict[str, dict[str, int]] = {}
    for sku, node_id in places:
        stock.setdefault(sku, {})[node_id] = 9
    only = (known or world({})).model_copy(update={"availability": stock})
    decision = decide(wanted, only, policy())
    assert not plan_of(decision).missing
    plan = plan_from(decision, only, {}, decision_id="D-1", plan_version=1)
    return Standing(str(wanted.order_id), wanted, plan)


def run(
    standings: list[Standing],
    known: Snapshot,
    min_gain: int = DIME,
    rules: RoutingPolicy | None = None,
) -> list[tuple[Moved, ...]]:
    return rebroker(standings, facts_of(known), rules or policy(), min_gain)


def nodes_of(groups: list[tuple[Moved, ...]]) -> list[dict[str, str]]:
    return [
        {
            x.standing.order_id: "+".join(sorted({s.node_id for s in x.option.shipments}))
            for x in group
        }
        for group in groups
    ]


def test_an_order_moves_to_where_it_costs_less() -> None:
    far = standing(asked("W-1", "A"), ("A", "WEST"))

    groups = run([far], world({"A": {"EAST": 1}}))

    assert nodes_of(groups) == [{"W-1": "EAST"}]
    [[moved]] = groups
    assert moved.gain == far.plan.cost_micros - moved.option.cost_micros > 3_000_000
    before, after = far.plan.cost_micros / 1e6, moved.option.cost_micros / 1e6
    assert moved.why == f"moved from WEST to EAST, {before:.2f} before, {after:.2f} now"


def test_the_decision_of_a_move_is_replayed_to_the_same_bytes() -> None:
    orders = [
        standing(asked("W-1", "A"), ("A", "WEST")),
        standing(asked("W-2", "A", to=WEST), ("A", "EAST")),
    ]

    [group] = run(orders, world({}))

    for moved in group:
        recorded = snapshot_of(moved.facts, moved.request)
        again = Snapshot.model_validate_json(recorded.model_dump_json())
        replayed = decide(moved.request, again, policy())
        assert replayed.model_dump_json() == moved.decision.model_dump_json()


def test_too_small_a_gain_moves_nothing() -> None:
    far = standing(asked("W-1", "A"), ("A", "WEST"))
    assert run([far], world({"A": {"EAST": 1}}), min_gain=50_000_000) == []


def test_an_order_that_is_at_its_best_node_stays() -> None:
    near = standing(asked("W-1", "A"), ("A", "EAST"))
    assert run([near], world({"A": {"EAST": 9, "WEST": 9}})) == []


def test_two_orders_swap_the_units_they_have_for_each_other() -> None:
    orders = [
        standing(asked("W-1", "A"), ("A", "WEST")),
        standing(asked("W-2", "A", to=WEST), ("A", "EAST")),
    ]

    groups = run(orders, world({}))

    assert nodes_of(groups) == [{"W-1": "EAST", "W-2": "WEST"}]
    whys = {x.standing.order_id: x.why for x in groups[0]}
    assert whys["W-1"].endswith("saved. W-2 needed 1 x A at WEST")
    assert whys["W-2"].endswith("saved. W-1 needed 1 x A at EAST")


def test_an_order_makes_room_for_one_that_gains_more() -> None:
    # given: W-1 is split since the only A at EAST is W-2's, who can as well have it from WEST
    split = standing(asked("W-1", "A", "B"), ("A", "WEST"), ("B", "EAST"))
    giver = standing(asked("W-2", "A", to=place_between()), ("A", "EAST"))
    known = world({"A": {"WEST": 5}})

    groups = run([split, giver], known)

    assert nodes_of(groups) == [{"W-1": "EAST", "W-2": "WEST"}]
    [first, second] = groups[0]
    assert second.gain <= 0 < first.gain + second.gain
    assert second.why.endswith("W-1 needed 1 x A at EAST")


def place_between() -> Place:
    return Place(latitude=40.0, longitude=-94.0, country="US")


def test_room_in_a_nodes_day_is_given_for_the_one_that_needs_it() -> None:
    # given: EAST takes one order more on each day, and that is W-2's, which could do with WEST
    days = tuple(
        CapacityLeft(node_id="EAST", work_date=f"2026-03-{day:02}", units=0, orders=0)
        for day in range(2, 32)
    )
    split = standing(asked("W-1", "A"), ("A", "WEST"))
    giver = standing(asked("W-2", "B", to=place_between()), ("B", "EAST"))
    known = world({"A": {"EAST": 5}, "B": {"WEST": 5}}, capacity=days)

    groups = run([split, giver], known)

    assert nodes_of(groups) == [{"W-1": "EAST", "W-2": "WEST"}]
    assert groups[0][1].why.endswith("W-1 needed room at EAST on 2026-03-02")


def test_a_group_that_gains_too_little_for_its_size_stays() -> None:
    orders = [
        standing(asked("W-1", "A"), ("A", "WEST")),
        standing(asked("W-2", "A", to=WEST), ("A", "EAST")),
    ]
    [group] = run(orders, world({}))
    whole = sum(moved.gain for moved in group)

    assert run(orders, world({}), min_gain=whole // 2 + 1) == []


def test_no_group_is_larger_than_can_be_moved_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokering, "MOST_TOGETHER", 1)
    orders = [
        standing(asked("W-1", "A"), ("A", "WEST")),
        standing(asked("W-2", "A", to=WEST), ("A", "EAST")),
    ]
    assert run(orders, world({})) == []


def test_a_cheaper_plan_that_comes_after_the_promise_is_not_taken() -> None:
    # given: only a slow service from EAST
    slow = node("EAST", place=EAST, services=("slow",))
    services = (BY_KM, service("slow", base=Decimal(1), transit_days=9))
    known = snapshot((slow, NODES[1]), {"A": {"EAST": 1}}, services=services)
    kept = asked("W-1", "A", promised_deliver_by=at(20, day=6))
    lax = policy(lateness_cost_per_day=Decimal("0.01"))
    late = asked("W-1", "A", promised_deliver_by=at(20, day=30))

    assert run([standing(kept, ("A", "WEST"), known=known)], known, rules=lax) == []
    groups = run([standing(late, ("A", "WEST"), known=known)], known, rules=lax)
    assert nodes_of(groups) == [{"W-1": "EAST"}]


def test_an_order_that_is_late_already_may_come_as_late_but_not_later() -> None:
    late = standing(asked("W-1", "A", promised_deliver_by=at(10)), ("A", "WEST"))
    option = plan_of(decide(late.request, world({"A": {"EAST": 1}}), policy()))
    due = max(x.deliver_by for x in late.plan.fulfillments)
    assert keeps_promise(late, option)

    def arrives(later: timedelta) -> bool:
        shipments = [x.model_copy(update={"deliver_at": due + later}) for x in option.shipments]
        return keeps_promise(late, option.model_copy(update={"shipments": tuple(shipments)}))

    assert arrives(timedelta(0))
    assert not arrives(timedelta(minutes=1))


def test_without_a_promise_an_order_comes_no_later_than_planned() -> None:
    far = standing(asked("W-1", "A"), ("A", "WEST"))
    slow = node("EAST", place=EAST, services=("slow",))
    services = (BY_KM, service("slow", base=Decimal(1), transit_days=9))
    known = snapshot((slow, NODES[1]), {"A": {"EAST": 1}}, services=services)
    assert run([far], known) == []


def test_units_for_which_no_plan_is_found_stay_where_they_are() -> None:
    far = standing(asked("W-1", "A"), ("A", "WEST"))
    forbidden = policy(excluded_nodes=("WEST",))
    # when: its own node may not be asked any more, then: what it costs is not known
    assert run([far], world({"A": {"EAST": 1}}), rules=forbidden) == []
    # when: no node may be asked
    nowhere = policy(excluded_nodes=("WEST", "EAST"))
    assert run([far], world({"A": {"EAST": 1}}), rules=nowhere) == []


def test_an_order_at_a_node_that_is_gone_stays() -> None:
    far = standing(asked("W-1", "A"), ("A", "WEST"))
    gone = snapshot(NODES[:1], {"A": {"EAST": 1}}, services=(BY_KM,))
    assert run([far], gone) == []
    assert Ground(facts_of(gone)).left(("stock", "A", "WEST")) == 0


def test_a_part_of_a_plan_is_priced_anew() -> None:
    whole = standing(asked("W-1", "A", "B"), ("A", "WEST"), ("B", "WEST"))
    kept = tuple(x.model_copy(update={"lines": x.lines[:1]}) for x in whole.plan.fulfillments)
    wanted = asked("W-1", "A")
    part = Standing("W-1", wanted, whole.plan.model_copy(update={"fulfillments": kept}), False)

    [[moved]] = run([part], world({"A": {"EAST": 1}}))

    assert moved.before == standing(wanted, ("A", "WEST")).plan.cost_micros


def test_products_without_counted_stock_move_freely() -> None:
    endless = {"A": Product(sku="A", supply_mode=SupplyMode.INFINITE)}
    known = world({"A": {"EAST": 0, "WEST": 0}}, products=endless)
    far = standing(asked("W-1", "A"), ("A", "WEST"), known=known)

    assert nodes_of(run([far], known)) == [{"W-1": "EAST"}]


def test_units_on_their_way_move_nobody() -> None:
    due = InboundSupply(node_id="EAST", sku="A", quantity=5, due=at(6, day=3))
    far = standing(asked("W-1", "A"), ("A", "WEST"))
    assert run([far], world({}, inbound=(due,)), rules=policy(inbound="always")) == []


def test_a_plan_that_is_found_worse_when_decided_alone_moves_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = standing(asked("W-1", "A"), ("A", "WEST"))
    known, decisions = world({"A": {"EAST": 1}}), []

    def one_that_stays(*asked: object) -> object:
        decisions.append(asked)
        alone = world({"A": {"WEST": 1}})
        return decide(far.request, alone, policy())

    monkeypatch.setattr(brokering, "decide_on", one_that_stays)
    assert run([far], known) == []
    assert len(decisions) == 2


cells = st.sampled_from(["EAST", "WEST"])
orders = st.lists(
    st.tuples(st.sampled_from(["A", "B", "AB"]), cells, cells, cells), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(
    orders,
    st.dictionaries(st.tuples(st.sampled_from("AB"), cells), st.integers(0, 2)),
    st.integers(0, 3),
)
def test_moves_use_only_what_is_free_or_given_back_and_always_gain(
    rows: list[tuple[str, str, str, str]], free: dict[tuple[str, str], int], room: int
) -> None:
    """Group after group, in the order they are made."""
    stock: dict[str, dict[str, int]] = {"A": {}, "B": {}}
    for (sku, node_id), units in free.items():
        stock[sku][node_id] = units
    days = tuple(
        CapacityLeft(node_id="EAST", work_date=f"2026-03-{day:02}", units=room, orders=room)
        for day in range(2, 32)
    )
    known = world(stock, capacity=days)
    places = {"EAST": EAST, "WEST": WEST}
    standings = [
        standing(
            asked(f"W-{n}", *skus, to=places[to]),
            *zip(skus, (first, second), strict=False),
            known=world({}),
        )
        for n, (skus, first, second, to) in enumerate(rows)
    ]

    groups = run(standings, known)

    ground = Ground(facts_of(known))
    moved = Counter(x.standing.order_id for group in groups for x in group)
    assert all(times == 1 for times in moved.values())
    for group in groups:
        assert sum(x.gain for x in group) >= DIME * len(group)
        for one in group:
            ground.give(one.standing.uses)
        for one in group:
            ground.take(uses_of(one.option))
            assert keeps_promise(one.standing, one.option)
            left = Counter({x.line_id: x.quantity for x in one.request.lines})
            for shipment in one.option.shipments:
                left.subtract({x.line_id: x.quantity for x in shipment.assignments})
            assert not any(left.values())
        for one in group:
            for resource in uses_of(one.option):
                assert ground.left(resource) >= 0, resource


def test_a_standing_plan_says_where_its_units_are() -> None:
    plan = standing(asked("W-1", "A", "B"), ("A", "WEST"), ("B", "EAST"))
    assert plan.places == {("WEST", "0"): 1, ("EAST", "1"): 1}
    assert replace(plan, plan=Plan(decision_id="D", plan_version=1)).places == {}


def test_a_run_says_how_long_it_took_once_it_is_over() -> None:
    run = BrokeringRun(
        run_id="R", started_at=at(9), finished_at=None, looked_at=3, moved=1, gain_micros=5
    )
    assert run.seconds is None
    assert run.model_copy(update={"finished_at": at(9, 1)}).seconds == 60
