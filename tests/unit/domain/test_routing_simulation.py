from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import KitComponent, Product
from domain.network import NodeKind, Place
from domain.orders import Method
from domain.routing.decision import DecisionRequest
from domain.routing.facts import facts_of, snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from domain.routing_baselines import BASELINES, cheapest_unsplit, nearest
from domain.routing_simulation import (
    COLUMNS,
    Made,
    Outcome,
    Planner,
    SimulatedOrder,
    Simulation,
    by_policy,
    grams_of,
    order_value,
)
from domain.simulated_world import Start, StockChange, pieces_of
from domain.simulation_measures import compare
from tests.unit.domain.builders import (
    MONDAY,
    at,
    group,
    line,
    node,
    policy,
    request,
    service,
    snapshot,
)

FAR = Place(latitude=34.0, longitude=-118.0, region="US-CA", country="US")
PRODUCTS = {
    "A": Product(sku="A", weight_grams=500, unit_cost=Decimal("2.00")),
    "B": Product(sku="B", weight_grams=2_000, unit_cost=Decimal("7.50")),
}
NODES = (
    node("N1", cost_per_order=Decimal(1), cost_per_unit=Decimal("0.50"), daily_units=20),
    node("N2", cost_per_order=Decimal(2), cost_per_unit=Decimal("0.25"), place=FAR),
)
CARRIER = service(base=Decimal(4), per_kg=Decimal("0.60"), per_km=Decimal("0.01"))
PLAIN = policy(shipment_cost=Decimal(0), lateness_cost_per_day=Decimal(0))


def start(stock: dict[str, dict[str, int]], **changes: Any) -> Start:
    nodes = changes.pop("nodes", NODES)
    products = changes.pop("products", PRODUCTS)
    facts = facts_of(snapshot(nodes, stock, products=products, services=(CARRIER,)))
    return Start(facts.network, facts.stock, products, **changes)


def order(asked: DecisionRequest, *revenue: str) -> SimulatedOrder:
    amounts = revenue or ("0",) * len(asked.lines)
    return SimulatedOrder(asked, tuple(int(Decimal(x) * 1_000_000) for x in amounts))


def run(begin: Start, planner: Planner, *orders: SimulatedOrder) -> tuple[Outcome, list[Made]]:
    simulation = Simulation(begin, planner)
    made = [one for x in orders for one in simulation.place(x)]
    return simulation.outcome(), made


def row(outcome: Outcome, number: int = 0) -> dict[str, int]:
    return dict(zip(COLUMNS, outcome.columns[number].tolist(), strict=True))


def nodes_of(made: Made) -> list[str]:
    return [x.node_id for x in made.served.shipments]


def test_an_order_is_decided_as_the_kernel_decides_it_and_its_parts_add_up() -> None:
    begin = start({"A": {"N1": 5, "N2": 5}, "B": {"N1": 5}})
    asked = request(line("1", "A", 2), line("2", "B"), groups=(group(destination=FAR),))

    outcome, made = run(begin, by_policy(PLAIN), order(asked, "20", "30"))

    plan = decide(asked, snapshot_of(Simulation(begin, nearest).world.facts(asked, PLAIN)), PLAIN)
    assert plan.plan is not None
    assert made[0].served.shipments == plan.plan.shipments
    shipped = plan.plan.shipments[0]
    assert [x.node_id for x in plan.plan.shipments] == ["N1"]
    shipping = 4_000_000 + 10_000 * shipped.distance_km + 600 * 3_000
    assert shipped.cost_micros == shipping + 1_000_000 + 1_500_000
    assert row(outcome) == {
        "orders": 1,
        "filled": 1,
        "backordered": 0,
        "lines": 2,
        "lines_filled": 2,
        "units": 3,
        "units_filled": 3,
        "units_missing": 0,
        "units_served": 3,
        "shipped": 1,
        "split": 0,
        "shipments": 1,
        "km": shipped.distance_km,
        "shipping": shipping,
        "handling": 2_500_000,
        "cost": shipping + 2_500_000,
        "policy_cost": shipping + 2_500_000,
        "due": 0,
        "on_time": 0,
        "promise_seconds": int((shipped.deliver_at - MONDAY).total_seconds()),
        "margin": 50_000_000 - 4_000_000 - 7_500_000 - shipping - 2_500_000,
    }


def test_what_a_policy_adds_for_itself_counts_only_by_its_own_prices() -> None:
    asked = request(line("1", "A"))
    dear = policy(shipment_cost=Decimal(3), kind_cost={NodeKind.DC: Decimal(2)})

    outcome, _ = run(start({"A": {"N1": 1}}), by_policy(dear), order(asked))

    assert row(outcome)["policy_cost"] - row(outcome)["cost"] == 5_000_000


def test_later_orders_find_what_earlier_ones_left() -> None:
    begin = start({"A": {"N1": 2, "N2": 5}})
    orders = [order(request(line("1", "A"), request_id=f"R-{n}", now=at(9, n))) for n in range(4)]

    outcome, made = run(begin, by_policy(PLAIN), *orders)

    assert [nodes_of(x) for x in made] == [["N1"], ["N1"], ["N2"], ["N2"]]
    assert [x.number for x in made] == [0, 1, 2, 3]
    assert not any(x.waited for x in made)
    assert [(x.node_id, x.shipments, x.units) for x in outcome.loads] == [
        ("N1", 2, 2),
        ("N2", 2, 2),
    ]


def test_a_full_day_sends_later_orders_to_the_next_day_or_another_node() -> None:
    nodes = (node("N1", daily_units=3, daily_orders=9),)
    begin = start({"A": {"N1": 9}}, nodes=nodes)
    orders = [
        order(request(line("1", "A", 2), request_id=f"R-{n}", now=at(9, n))) for n in range(3)
    ]

    outcome, made = run(begin, by_policy(PLAIN), *orders)

    days = [x.served.shipments[0].work_date for x in made]
    assert days == ["2026-03-02", "2026-03-03", "2026-03-04"]
    load = outcome.loads[0]
    assert (load.node_id, load.shipments, load.units) == ("N1", 3, 6)
    assert load.busiest_use == load.mean_use == pytest.approx(2 / 3)


def test_units_that_nobody_has_wait_and_go_out_when_some_arrive() -> None:
    begin = start({"A": {"N1": 1}}, changes=(StockChange(at(12, day=4), "N2", "A", 5),))
    first = order(request(line("1", "A", 3)), "30")
    later = order(request(line("1", "A"), request_id="R-2", now=at(9, day=6)), "10")

    outcome, made = run(begin, by_policy(PLAIN), first, later)

    assert [(x.number, nodes_of(x), x.waited) for x in made] == [
        (0, ["N1"], False),
        (0, ["N2"], True),
        (1, ["N2"], False),
    ]
    assert made[1].request.now == at(12, day=4)
    assert [x.quantity for x in made[1].request.lines] == [2]
    found = row(outcome)
    assert (found["units_filled"], found["units_missing"], found["units_served"]) == (1, 2, 3)
    assert (found["filled"], found["backordered"], found["lines_filled"]) == (0, 1, 0)
    assert (found["shipments"], found["split"]) == (2, 1)
    assert found["margin"] == 30_000_000 - 6_000_000 - found["cost"]
    delivered = made[1].served.shipments[0].deliver_at
    assert found["promise_seconds"] == int((delivered - MONDAY).total_seconds())
    assert outcome.reasons == {"not enough units": 2}


def test_margin_counts_only_the_units_that_were_served() -> None:
    outcome, _ = run(
        start({"A": {"N1": 1}}), by_policy(PLAIN), order(request(line("1", "A", 3)), "30")
    )

    found = row(outcome)
    assert found["margin"] == 10_000_000 - 2_000_000 - found["cost"]


def test_an_order_that_takes_no_backorder_does_not_wait() -> None:
    begin = start({}, changes=(StockChange(at(12, day=4), "N1", "A", 5),))
    first = order(request(line("1", "A"), allow_backorder=False))
    later = order(request(line("1", "A"), request_id="R-2", now=at(9, day=6)))

    outcome, made = run(begin, by_policy(PLAIN), first, later)

    assert [(x.number, nodes_of(x)) for x in made] == [(0, []), (1, ["N1"])]
    assert row(outcome)["shipped"] == row(outcome)["units_served"] == 0
    assert row(outcome)["units_missing"] == 1


def test_what_a_policy_leaves_to_customer_care_does_not_wait() -> None:
    begin = start({}, changes=(StockChange(at(12, day=4), "N1", "A", 5),))
    orders = [
        order(request(line("1", "A"), request_id=f"R-{day}", now=at(9, day=day))) for day in (2, 6)
    ]

    _, made = run(begin, by_policy(policy(after=("customer_care",))), *orders)

    assert [(x.number, nodes_of(x)) for x in made] == [(0, []), (1, ["N1"])]


def test_what_waited_is_routed_as_part_of_an_order_of_its_whole_value() -> None:
    begin = start({"A": {"N1": 1}}, changes=(StockChange(at(12, day=4), "N1", "A", 1),))
    asked = request(line("1", "A", 3, unit_price_micros=20_000_000))
    simulation = Simulation(begin, by_policy(PLAIN))
    simulation.place(order(asked))

    again = simulation.pass_time(at(12, day=4))

    assert [x.quantity for x in again[0].request.lines] == [2]
    assert again[0].request.order_value_micros == 60_000_000
    assert order_value(again[0].request) == 60_000_000


def test_the_oldest_waits_in_front_and_who_is_still_short_keeps_the_place() -> None:
    begin = start(
        {},
        changes=tuple(StockChange(at(12, day=day), "N1", "A", 2) for day in (4, 5, 6)),
    )
    orders = [
        order(request(line("1", "A", units), request_id=f"R-{n}", now=at(9, n)))
        for n, units in enumerate((1, 3, 2))
    ]
    simulation = Simulation(begin, by_policy(PLAIN))
    for one in orders:
        simulation.place(one)

    served = [
        (x.number, sum(y.quantity for z in x.served.shipments for y in z.assignments))
        for x in simulation.pass_time(at(12, day=6))
    ]

    assert served == [(0, 1), (1, 1), (1, 2), (2, 2)]
    assert simulation.world.units_of("A") == 0


def test_what_waited_finds_all_that_came_at_that_moment() -> None:
    changes = (StockChange(at(12), "N1", "A", 1), StockChange(at(12), "N2", "A", 1))
    simulation = Simulation(start({}, changes=changes), nearest)
    simulation.place(order(request(line("1", "A"), groups=(group(destination=FAR),))))

    assert [nodes_of(x) for x in simulation.pass_time(at(12))] == [["N2"]]


def test_what_must_come_together_waits_whole_until_all_is_there() -> None:
    begin = start(
        {"B": {"N1": 1}},
        changes=(
            StockChange(at(12, day=4), "N1", "A", 1),
            StockChange(at(12, day=5), "N1", "A", 1),
        ),
    )
    asked = request(line("1", "A", 2), line("2", "B"), groups=(group(ship_complete=True),))
    simulation = Simulation(begin, by_policy(PLAIN))

    assert nodes_of(simulation.place(order(asked))[0]) == []
    assert simulation.pass_time(at(12, day=4)) == []
    assert [nodes_of(x) for x in simulation.pass_time(at(12, day=5))] == [["N1"]]
    assert row(simulation.outcome())["units_served"] == 3


def test_a_kit_waits_for_its_components() -> None:
    kit = Product(
        sku="KIT",
        components=(KitComponent(sku="A", quantity=2), KitComponent(sku="B", quantity=1)),
    )
    begin = start(
        {"B": {"N1": 1}},
        products={**PRODUCTS, "KIT": kit},
        changes=(StockChange(at(12, day=4), "N1", "A", 2),),
    )
    simulation = Simulation(begin, by_policy(PLAIN))
    simulation.place(order(request(line("1", "KIT")), "50"))

    assert [nodes_of(x) for x in simulation.pass_time(at(13, day=4))] == [["N1"]]
    found = row(simulation.outcome())
    assert found["shipping"] == 4_000_000 + 600 * 3_000
    assert found["margin"] == 50_000_000 - 11_500_000 - found["cost"]


def test_weight_of_an_unknown_product_is_nothing_and_a_kit_may_have_its_own() -> None:
    heavy = Product(sku="K", weight_grams=9, components=(KitComponent(sku="A", quantity=2),))

    assert grams_of("?", PRODUCTS) == 0
    assert grams_of("K", {**PRODUCTS, "K": heavy}) == 9


def test_products_nobody_knows_cost_nothing_to_buy() -> None:
    outcome, _ = run(start({"X": {"N1": 1}}), by_policy(PLAIN), order(request(line("1", "X")), "5"))

    assert row(outcome)["margin"] == 5_000_000 - row(outcome)["cost"]


@pytest.mark.parametrize(
    ("group_due", "promised", "expected"),
    [
        (None, None, (0, 0)),
        (at(20, day=4), None, (1, 1)),
        (at(19, day=4), None, (1, 0)),
        (None, at(20, day=4), (1, 1)),
        (at(20, day=9), at(19, day=4), (1, 0)),
    ],
)
def test_on_time_is_by_the_earlier_of_the_requested_and_the_committed_date(
    group_due: Any, promised: Any, expected: tuple[int, int]
) -> None:
    asked = request(
        line("1", "A"), groups=(group(deliver_by=group_due),), promised_deliver_by=promised
    )

    outcome, made = run(start({"A": {"N1": 1}}), by_policy(PLAIN), order(asked))

    assert made[0].served.shipments[0].deliver_at == at(20, day=4)
    assert (row(outcome)["due"], row(outcome)["on_time"]) == expected


def test_an_order_with_units_missing_is_not_on_time() -> None:
    asked = request(line("1", "A", 2), groups=(group(deliver_by=at(20, day=9)),))

    outcome, _ = run(start({"A": {"N1": 1}}), by_policy(PLAIN), order(asked))

    assert (row(outcome)["due"], row(outcome)["on_time"]) == (1, 0)


def test_what_is_collected_at_a_store_costs_no_carrier() -> None:
    store = node("S1", NodeKind.STORE, offers_pickup=True)
    asked = request(
        line("1", "A"), groups=(group(method=Method.PICKUP, node_id="S1", destination=None),)
    )

    outcome, made = run(start({"A": {"S1": 1}}, nodes=(store,)), by_policy(PLAIN), order(asked))

    assert nodes_of(made[0]) == ["S1"]
    assert (row(outcome)["shipping"], row(outcome)["handling"]) == (0, 1_500_000)


def test_no_orders_give_an_empty_outcome() -> None:
    outcome, _ = run(start({}), nearest)

    assert outcome.columns.shape == (0, len(COLUMNS))
    assert outcome.loads == ()
    assert outcome.reasons == {}


# --- baselines


def test_nearest_takes_the_nearest_node_and_the_rest_from_the_next() -> None:
    begin = start({"A": {"N1": 1, "N2": 9}, "B": {"N2": 1}})
    asked = request(line("1", "A", 1), line("2", "B"))

    outcome, made = run(begin, nearest, order(asked))

    assert [(x.node_id, [y.line_id for y in x.assignments]) for x in made[0].served.shipments] == [
        ("N1", ["1"]),
        ("N2", ["2"]),
    ]
    assert row(outcome)["policy_cost"] == row(outcome)["cost"]


def test_nearest_passes_over_a_node_that_has_nothing_of_the_rest() -> None:
    begin = start({"A": {"N1": 1, "N2": 9}, "B": {"N3": 1}}, nodes=(*NODES, node("N3", place=FAR)))

    _, made = run(begin, nearest, order(request(line("1", "A"), line("2", "B"))))

    assert nodes_of(made[0]) == ["N1", "N3"]


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_baseline_finds_what_is_kept_for_the_orders_channel(name: str) -> None:
    begin = start({"A": {"N2": 1}}, kept={"A": {"web": {0: 1}}})

    _, own = run(begin, BASELINES[name], order(request(line("1", "A"), channel="web")))
    _, other = run(begin, BASELINES[name], order(request(line("1", "A"), channel="shop")))

    assert (nodes_of(own[0]), nodes_of(other[0])) == (["N1"], ["N2"])


def test_the_unsplit_rule_takes_the_one_node_that_has_everything() -> None:
    begin = start({"A": {"N1": 1, "N2": 9}, "B": {"N2": 1}})

    outcome, made = run(begin, cheapest_unsplit, order(request(line("1", "A"), line("2", "B"))))

    assert nodes_of(made[0]) == ["N2"]
    assert row(outcome)["policy_cost"] == row(outcome)["cost"]


def test_the_unsplit_rule_splits_where_no_node_has_everything() -> None:
    begin = start({"A": {"N1": 2}, "B": {"N2": 1}})
    asked = request(line("1", "A", 2), line("2", "B"))

    _, made = run(begin, cheapest_unsplit, order(asked))

    assert nodes_of(made[0]) == ["N1", "N2"]


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_baseline_says_what_is_missing(name: str) -> None:
    begin = start({"A": {"N1": 1}})
    asked = request(line("1", "A", 2), line("2", "B"), groups=(group(), group("2")))

    outcome, made = run(begin, BASELINES[name], order(asked))

    assert {(x.line_id, x.quantity) for x in made[0].served.missing} == {("1", 1), ("2", 1)}
    assert row(outcome)["units_served"] == 1


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_baseline_serves_each_ship_group_by_itself(name: str) -> None:
    begin = start({"A": {"N1": 2, "N2": 2}})
    asked = request(
        line("1", "A"),
        line("2", "A", ship_group="2"),
        groups=(group(), group("2", destination=FAR)),
    )

    _, made = run(begin, BASELINES[name], order(asked))

    assert [(x.ship_group, x.node_id) for x in made[0].served.shipments] == [
        ("1", "N1"),
        ("2", "N2"),
    ]


def test_nearest_counts_from_the_store_that_the_customer_goes_to() -> None:
    store = node("S1", NodeKind.STORE, offers_pickup=True, place=FAR)
    begin = start({"A": {"N1": 1, "N2": 1}}, nodes=(*NODES, store))
    asked = request(
        line("1", "A"), groups=(group(method=Method.SHIP_TO_STORE, node_id="S1", destination=None),)
    )

    _, made = run(begin, nearest, order(asked))

    assert nodes_of(made[0]) == ["N2"]


def test_nearest_goes_nowhere_for_a_store_that_is_not_in_the_network() -> None:
    asked = request(
        line("1", "A"), groups=(group(method=Method.PICKUP, node_id="S9", destination=None),)
    )

    _, made = run(start({"A": {"N1": 1}}), nearest, order(asked))

    assert nodes_of(made[0]) == []
    assert [x.reason for x in made[0].served.missing] == ["no node has it"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place(region="US-CA", country="US"), "N2"),
        (Place(region="US-TX", country="US"), "N1"),
        (Place(country="US"), "N1"),
        (Place(region="BY", country="DE"), "N1"),
    ],
)
def test_without_coordinates_the_same_region_is_nearest_and_then_the_earlier_id(
    place: Place, expected: str
) -> None:
    asked = request(line("1", "A"), groups=(group(destination=place),))

    _, made = run(start({"A": {"N1": 1, "N2": 1}}), nearest, order(asked))

    assert nodes_of(made[0]) == [expected]


def test_nearest_passes_over_a_node_that_does_not_ship() -> None:
    nodes = (node("N1", ships=False), NODES[1])

    _, made = run(
        start({"A": {"N1": 1, "N2": 1}}, nodes=nodes), nearest, order(request(line("1", "A")))
    )

    assert nodes_of(made[0]) == ["N2"]


# --- what always holds

PLACES = (FAR, Place(latitude=40.0, longitude=-75.0, country="US"), Place(country="US"))
THREE = (*NODES, node("N3", daily_units=6, daily_orders=3))
POLICIES: dict[str, RoutingPolicy | None] = {
    "plain": PLAIN,
    "few": policy(max_shipments=1, allow_line_split=False, relax=()),
    "inbound": policy(inbound="always"),
    "nearest": None,
    "cheapest-unsplit": None,
}


def planner(name: str) -> Planner:
    rules = POLICIES[name]
    return BASELINES[name] if rules is None else by_policy(rules)


quantities = st.integers(0, 6)
worlds = st.fixed_dictionaries(
    {
        "stock": st.fixed_dictionaries(
            {
                sku: st.fixed_dictionaries({x.node_id: quantities for x in THREE})
                for sku in ("A", "B")
            }
        ),
        "changes": st.lists(
            st.tuples(
                st.integers(0, 96),
                st.sampled_from([x.node_id for x in THREE]),
                st.sampled_from(["A", "B"]),
                st.integers(1, 5),
                st.booleans(),
            ),
            max_size=6,
        ),
        "orders": st.lists(
            st.tuples(
                st.integers(0, 24),
                st.sampled_from(PLACES),
                st.lists(
                    st.tuples(st.sampled_from(["A", "B"]), st.integers(1, 4)),
                    min_size=1,
                    max_size=3,
                ),
                st.booleans(),
                st.booleans(),
            ),
            min_size=1,
            max_size=8,
        ),
        "policy": st.sampled_from(sorted(POLICIES)),
    }
)


def drawn(world: dict[str, Any]) -> tuple[Start, list[SimulatedOrder]]:
    changes = tuple(
        StockChange(MONDAY + timedelta(hours=hours), node_id, sku, units, announced)
        for hours, node_id, sku, units, announced in world["changes"]
    )
    orders, now = [], MONDAY
    for number, (hours, place, lines, whole, waits) in enumerate(world["orders"]):
        now += timedelta(hours=hours)
        asked = request(
            *(line(str(n), sku, units) for n, (sku, units) in enumerate(lines)),
            request_id=f"R-{number}",
            now=now,
            groups=(group(destination=place, ship_complete=whole),),
            allow_backorder=waits,
        )
        orders.append(order(asked))
    return start(world["stock"], nodes=THREE, changes=changes), orders


def on_shelves(simulation: Simulation) -> Counter[tuple[str, str]]:
    ids = [x.node_id for x in simulation.world.start.network.nodes]
    found: Counter[tuple[str, str]] = Counter()
    for sku, stock in simulation.world.stock.items():
        for number, units in zip(stock.nodes.tolist(), stock.units.tolist(), strict=True):
            found[ids[number], sku] = units
    return found


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_no_unit_is_made_or_lost_and_nothing_is_used_that_is_not_there(
    world: dict[str, Any],
) -> None:
    begin, orders = drawn(world)
    simulation = Simulation(begin, planner(world["policy"]))
    there = on_shelves(simulation)
    total = there.total() + sum(x.units for x in begin.changes)
    made: list[Made] = []
    for one in orders:
        made += simulation.place(one)
        assert min(on_shelves(simulation).values(), default=0) >= 0
        for day in simulation.world.capacity.values():
            assert day.units.min() >= 0
            assert day.orders.min() >= 0
    made += simulation.pass_time(MONDAY + timedelta(days=30))

    taken: Counter[int] = Counter()
    for one_made in made:
        for shipment in one_made.served.shipments:
            for x in shipment.assignments:
                taken[one_made.number] += sum(units for _, units in pieces_of(x))
    left = on_shelves(simulation).total()
    assert left + taken.total() == total
    assert simulation.world.inbound == {}
    columns = simulation.outcome().columns
    asked = columns[:, COLUMNS.index("units")]
    served = columns[:, COLUMNS.index("units_served")]
    assert served.tolist() == [taken[n] for n in range(len(orders))]
    assert (served <= asked).all()
    first = columns[:, COLUMNS.index("units_filled")]
    assert (first + columns[:, COLUMNS.index("units_missing")] == asked).all()
    assert (first <= served).all()


@settings(max_examples=25, deadline=None)
@given(worlds)
def test_the_same_input_gives_the_same_output_and_a_policy_differs_from_itself_by_nothing(
    world: dict[str, Any],
) -> None:
    begin, orders = drawn(world)
    one, made = run(begin, planner(world["policy"]), *orders)
    again, made_again = run(begin, planner(world["policy"]), *orders)

    assert made == made_again
    assert one.columns.tolist() == again.columns.tolist()
    assert (one.loads, one.reasons) == (again.loads, again.reasons)
    blocks = np.arange(len(orders), dtype=np.int64)
    chance = np.random.default_rng(3)
    times = [
        np.bincount(chance.integers(0, len(orders), len(orders)), minlength=len(orders))
        for _ in range(20)
    ]
    found = compare([one.columns, again.columns], blocks, 100.0, times)
    for differences in found.differences:
        assert {x.value for x in differences} <= {0.0, None}
        assert {x.low for x in differences} <= {0.0, None}
        assert {x.high for x in differences} <= {0.0, None}
