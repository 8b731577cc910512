from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.catalogue import KitComponent, Product, SupplyMode
from domain.errors import FinalError
from domain.learned_dates import LearnedDates
from domain.network import Node
from domain.orders import Method
from domain.routing.decision import Assignment, PlannedShipment
from domain.routing.facts import facts_of
from domain.simulated_world import Start, StockChange, World
from tests.unit.domain.builders import MONDAY, at, line, node, policy, request, snapshot

NODES = (node("N1", daily_units=10, daily_orders=4), node("N2"))


def start(
    stock: dict[str, dict[str, int]], nodes: tuple[Node, ...] = NODES, **changes: Any
) -> Start:
    products = changes.pop("products", {})
    facts = facts_of(snapshot(nodes, stock, products=products))
    return Start(facts.network, facts.stock, products, **changes)


def shelves(world: World) -> dict[str, dict[str, int]]:
    ids = [x.node_id for x in world.start.network.nodes]
    return {
        sku: dict(zip([ids[n] for n in x.nodes.tolist()], x.units.tolist(), strict=True))
        for sku, x in world.stock.items()
    }


def shipment(node_id: str, *units: Assignment, work_date: str = "2026-03-02") -> PlannedShipment:
    return PlannedShipment(
        node_id=node_id,
        ship_group="1",
        method=Method.SHIP,
        service_id="ground",
        assignments=units,
        work_date=work_date,
        ship_at=at(17),
        deliver_at=at(20, day=4),
        order_by=at(14),
        cost_micros=0,
    )


def units(sku: str, quantity: int, *parts: KitComponent) -> Assignment:
    return Assignment(line_id="1", sku=sku, quantity=quantity, parts=parts)


def passed(world: World, moment: datetime) -> list[tuple[datetime, set[str]]]:
    return [(x.at, set(x.skus)) for x in world.pass_time(moment)]


def left(world: World, day: str) -> list[tuple[int, int, int]]:
    found = world.capacity[day]
    return list(zip(found.nodes.tolist(), found.units.tolist(), found.orders.tolist(), strict=True))


def test_a_plan_takes_units_and_a_node_without_any_is_left_out() -> None:
    begin = start({"A": {"N1": 5, "N2": 2}})
    world = World(begin)

    world.take(shipment("N1", units("A", 3)))
    world.take(shipment("N2", units("A", 2)))

    assert shelves(world) == {"A": {"N1": 2}}
    assert world.units_of("A") == 2
    assert world.units_of("B") == 0


def test_what_one_world_takes_no_other_one_misses() -> None:
    begin = start({"A": {"N1": 5}})
    one, other = World(begin), World(begin)

    one.take(shipment("N1", units("A", 5)))

    assert shelves(other) == {"A": {"N1": 5}}
    assert other.capacity == {}
    assert begin.stock["A"].units.tolist() == [5]


def test_units_that_are_not_there_are_refused_and_nothing_changes() -> None:
    world = World(
        start({"A": {"N1": 1}}, changes=(StockChange(at(12), "N1", "A", 1, is_announced=True),))
    )

    with pytest.raises(FinalError, match="'N1' lacks 2 units of 'A'"):
        world.take(shipment("N1", units("A", 4)))

    assert shelves(world) == {"A": {"N1": 1}}
    assert [x.quantity for x in world.inbound["A"]] == [1]
    assert world.capacity == {}


def test_a_kit_takes_its_components() -> None:
    world = World(start({"A": {"N1": 9}, "B": {"N1": 9}}))
    parts = (KitComponent(sku="A", quantity=4), KitComponent(sku="B", quantity=2))

    world.take(shipment("N1", units("KIT", 2, *parts)))

    assert shelves(world) == {"A": {"N1": 5}, "B": {"N1": 7}}
    assert left(world, "2026-03-02") == [(0, 8, 3)]


def test_what_needs_no_stock_is_never_taken_from_a_shelf() -> None:
    products = {"A": Product(sku="A", supply_mode=SupplyMode.INFINITE)}
    world = World(start({"A": {"N1": 0}}, products=products))

    world.take(shipment("N1", units("A", 7)))

    assert shelves(world) == {"A": {"N1": 0}}
    assert left(world, "2026-03-02") == [(0, 3, 3)]


def test_a_count_that_leaves_nothing_keeps_who_carries_what_is_made_to_order() -> None:
    products = {"A": Product(sku="A", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=2)}
    world = World(
        start({"A": {"N1": 2}}, products=products, changes=(StockChange(at(8), "N1", "A", -2),))
    )

    assert passed(world, MONDAY) == []
    assert shelves(world) == {"A": {"N1": 0}}


def test_units_arrive_when_they_are_due_and_not_before() -> None:
    changes = (
        StockChange(at(12), "N2", "A", 4),
        StockChange(at(10), "N1", "A", 1),
        StockChange(at(11), "N1", "B", 2),
        StockChange(at(11), "N1", "C", -1),
    )
    world = World(start({"A": {"N1": 1}}, changes=changes))

    assert passed(world, MONDAY) == []
    assert shelves(world) == {"A": {"N1": 1}}
    assert passed(world, at(11)) == [(at(10), {"A"}), (at(11), {"B"})]
    assert shelves(world) == {"A": {"N1": 2}, "B": {"N1": 2}}
    assert passed(world, at(12)) == [(at(12), {"A"})]
    assert shelves(world) == {"A": {"N1": 2, "N2": 4}, "B": {"N1": 2}}
    assert passed(world, at(23)) == []


def test_all_that_comes_at_one_moment_is_there_at_once() -> None:
    changes = (StockChange(at(10), "N1", "A", 1), StockChange(at(10), "N2", "B", 2))
    world = World(start({}, changes=changes))

    arrived = next(iter(world.pass_time(at(12))))

    assert (arrived.at, set(arrived.skus)) == (at(10), {"A", "B"})
    assert shelves(world) == {"A": {"N1": 1}, "B": {"N2": 2}}


def test_units_leave_as_far_as_there_are_any() -> None:
    changes = (StockChange(at(8), "N1", "A", -3), StockChange(at(8), "N2", "A", -1))
    world = World(start({"A": {"N1": 2}}, changes=changes))

    assert passed(world, MONDAY) == []
    assert shelves(world) == {"A": {}}


def test_a_node_that_the_network_lacks_changes_nothing() -> None:
    world = World(start({"A": {"N1": 2}}, changes=(StockChange(at(8), "N9", "A", 5),)))

    assert passed(world, MONDAY) == []
    assert shelves(world) == {"A": {"N1": 2}}


def test_announced_units_may_be_planned_on_and_then_never_reach_the_shelf() -> None:
    changes = (
        StockChange(at(12), "N1", "A", 3, is_announced=True),
        StockChange(at(13), "N1", "A", 4, is_announced=True),
        StockChange(at(13), "N2", "A", 6, is_announced=True),
    )
    world = World(start({"A": {"N1": 1}}, changes=changes))
    assert [(x.node_id, x.quantity, x.due) for x in world.inbound["A"]] == [
        ("N1", 3, at(12)),
        ("N1", 4, at(13)),
        ("N2", 6, at(13)),
    ]

    world.take(shipment("N1", units("A", 6)))

    assert shelves(world) == {"A": {}}
    assert [(x.node_id, x.quantity) for x in world.inbound["A"]] == [("N1", 2), ("N2", 6)]
    assert passed(world, at(12)) == []
    assert passed(world, at(13)) == [(at(13), {"A"})]
    assert shelves(world) == {"A": {"N1": 2, "N2": 6}}
    assert world.inbound == {}


def test_unannounced_units_are_not_known_before_they_come() -> None:
    world = World(start({}, changes=(StockChange(at(12), "N1", "A", 3),)))

    assert world.inbound == {}


def test_each_work_date_counts_its_units_and_orders() -> None:
    world = World(start({"A": {"N1": 9, "N2": 9}}))

    world.take(shipment("N2", units("A", 2)))
    world.take(shipment("N1", units("A", 3)))
    world.take(shipment("N1", units("A", 1)))
    world.take(shipment("N1", units("A", 1), work_date="2026-03-03"))

    assert left(world, "2026-03-02") == [(0, 6, 2), (1, 998, 499)]
    assert left(world, "2026-03-03") == [(0, 9, 3)]


def test_work_dates_that_are_over_everywhere_are_forgotten() -> None:
    world = World(start({"A": {"N1": 9}}))
    world.take(shipment("N1", units("A", 1)))
    world.take(shipment("N1", units("A", 1), work_date="2026-03-03"))

    passed(world, at(11, day=3))
    assert set(world.capacity) == {"2026-03-02", "2026-03-03"}
    passed(world, at(12, day=3))
    assert set(world.capacity) == {"2026-03-03"}


def test_learned_dates_are_looked_at_only_by_policies_that_go_by_them() -> None:
    learned = LearnedDates(
        learned_at=MONDAY,
        shipments=0,
        first_planned=MONDAY,
        weekday_shares=(1 / 7,) * 7,
        deviations=(0.0, 0.0),
        lanes=(),
    )
    begin = start({"A": {"N1": 1}})
    plain = World(begin)
    knowing = World(Start(begin.network, begin.stock, {}, learned=learned))
    asked = request(line("1", "A"))

    for world, rules in (
        (plain, policy(delivery_dates="learned")),
        (knowing, policy()),
    ):
        assert world.facts(asked, rules) is world.facts(asked, policy())
    found = knowing.facts(asked, policy(delivery_dates="learned"))
    assert found.transits == ()
    assert found.stock is knowing.facts(asked, policy()).stock


def test_a_channel_takes_what_is_open_and_then_what_is_kept_for_it() -> None:
    begin = start({"A": {"N1": 2}, "B": {"N1": 1}}, kept={"A": {"web": {0: 3, 1: 4}}})
    world = World(begin)
    own, other = (
        request(line("1", "A"), line("2", "B"), channel=channel) for channel in ("web", "shop")
    )

    found = world.facts(own, policy()).stock["A"]
    assert (found.nodes.tolist(), found.units.tolist()) == ([0, 1], [5, 4])
    assert world.facts(other, policy()).stock["A"].units.tolist() == [2]
    assert world.facts(own, policy()).stock["B"].units.tolist() == [1]

    world.take(shipment("N1", units("A", 4)), "web")
    assert shelves(world)["A"] == {}
    assert world.facts(own, policy()).stock["A"].units.tolist() == [1, 4]
    with pytest.raises(FinalError, match="'N2' lacks 1 units of 'A'"):
        world.take(shipment("N2", units("A", 1)), "shop")
    world.take(shipment("N2", units("A", 1)), "web")
    assert world.facts(own, policy()).stock["A"].units.tolist() == [1, 3]
    assert World(begin).facts(own, policy()).stock["A"].units.tolist() == [5, 4]


def test_a_change_that_brings_nothing_any_more_is_passed_over() -> None:
    change = StockChange(MONDAY + timedelta(hours=1), "N1", "A", 2, is_announced=True)
    world = World(start({}, changes=(change,)))

    world.take(shipment("N1", units("A", 2)))

    assert world.inbound == {}
    assert passed(world, at(23)) == []
    assert shelves(world) == {}
