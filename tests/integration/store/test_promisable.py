from typing import Any

import pytest
from sqlalchemy import Engine

from domain.catalogue import KitComponent, Product, SupplyMode
from domain.errors import ConflictError, UnknownReferenceError
from domain.network import DistributionGroup
from domain.stock_rules import StockRules
from store import (
    exclusions,
    inventory,
    network,
    outbox,
    promisable,
    reservations,
    stock_rules,
)
from store.engine import reading, transaction
from store.promisable import SkuPromise
from store.supply import Expected, expect_supply
from tests.integration.store.builders import NOW, a_network, a_node, a_plan, at, reserve

DAY = 24 * 60


def a_shop(engine: Engine, stock: dict[tuple[str, str], int]) -> None:
    products = [
        Product(sku="CUP"),
        Product(sku="POT"),
        Product(sku="SET", components=(part("CUP", 2), part("POT", 1))),
        Product(sku="CARD", supply_mode=SupplyMode.INFINITE),
        Product(sku="RING", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=3),
        Product(sku="GIFT", components=(part("CUP", 1), part("CARD", 1))),
        Product(sku="NOTE", components=(part("CARD", 1),)),
        Product(sku="LOOP", components=(part("LOOP", 1),)),
    ]
    nodes = [a_node("A"), a_node("B"), a_node("OFF", active=False)]
    nodes.append(a_node("AWAY", offline_until=at(2 * DAY)))
    group = DistributionGroup(group_id="west", nodes=("A", "AWAY"))
    with transaction(engine) as session:
        whole = a_network(*nodes).model_copy(update={"groups": (group,)})
        network.import_network(session, whole, products, NOW)
        for (node_id, sku), units in stock.items():
            inventory.receive(session, node_id, sku, units, key=f"{node_id}/{sku}", now=NOW)


def part(sku: str, quantity: int) -> KitComponent:
    return KitComponent(sku=sku, quantity=quantity)


def expect(
    engine: Engine, sku: str, node_id: str, quantity: int, days: float, **facts: Any
) -> None:
    with transaction(engine) as session:
        row = {
            "supply_id": f"PO-{sku}-{node_id}-{days}",
            "sku": sku,
            "node_id": node_id,
            "quantity": quantity,
            "due": at(days * DAY),
            **facts,
        }
        expect_supply(session, [Expected.model_validate(row)])


def promise(engine: Engine, sku: str, channel: str = "") -> SkuPromise:
    with reading(engine) as session:
        return promisable.promise_of(session, sku, NOW, channel)


def by_days(found: SkuPromise, *days: float) -> list[int | None]:
    return [found.by(at(day * DAY)) for day in days]


def test_stock_supply_backorders_and_closed_nodes_make_what_can_be_promised(
    engine: Engine,
) -> None:
    a_shop(engine, {("A", "CUP"): 10, ("AWAY", "CUP"): 3, ("OFF", "CUP"): 50, ("B", "CUP"): 4})
    reserve(engine, "W-1", a_plan(("A", "1", "CUP", 4)))
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-2", [("1", "CUP", 2)], demand_class="b", promise_at=None, key="b", now=NOW
        )
        exclusions.exclude(session, "B", "CUP", until=at(5 * DAY), reason="recall")
    expect(engine, "CUP", "A", 5, 1)
    expect(engine, "CUP", "B", 7, 3, supply_type="in_transit")
    found = promise(engine, "CUP")
    assert by_days(found, 0, 1, 2, 3, 5) == [6, 9, 12, 12, 23]
    assert found.dates() == (NOW, at(DAY), at(2 * DAY), at(5 * DAY))
    assert [(x.node_id, x.reason) for x in found.blocks] == [
        ("B", "recall"),
        ("AWAY", "offline"),
        ("OFF", "inactive"),
    ]
    assert [row.order_id for row in found.waiting] == ["W-2"]
    with reading(engine) as session:
        west = promisable.nodes_of_group(session, "west")
        with pytest.raises(UnknownReferenceError):
            promisable.nodes_of_group(session, "east")
    assert found.by(at(2 * DAY), west) == 12


def test_a_channel_is_promised_what_rules_keep_for_it_too(engine: Engine) -> None:
    a_shop(engine, {("A", "CUP"): 10})
    with transaction(engine) as session:
        rules = StockRules.model_validate(
            {
                "safety_stock": [{"units": 1}],
                "protections": [{"channel": "vip", "units": 12}, {"channel": "b2b", "units": 2}],
                "promisable": ["purchase_order"],
            }
        )
        version = stock_rules.put_rules(session, rules, NOW).version
        inventory.adjust(session, "A", "CUP", "usable", 1, key="a", now=NOW, reason="found")
    expect(engine, "CUP", "A", 6, 1)
    expect(engine, "CUP", "A", 6, 2, supply_type="planned")
    assert by_days(promise(engine, "CUP", "vip"), 0, 1, 2) == [10, 14, 14]
    assert by_days(promise(engine, "CUP", "b2b"), 0, 1, 2) == [0, 4, 4]
    assert by_days(promise(engine, "CUP"), 0, 1, 2) == [0, 2, 2]
    assert promise(engine, "CUP").rules_version == version


def test_a_kit_is_made_at_a_node_of_the_components_there(engine: Engine) -> None:
    a_shop(engine, {("A", "CUP"): 5, ("A", "POT"): 1, ("B", "CUP"): 9, ("B", "SET"): 1})
    expect(engine, "POT", "A", 3, 1)
    expect(engine, "CUP", "A", 4, 2)
    found = promise(engine, "SET")
    assert by_days(found, 0, 1, 2) == [2, 3, 5]
    assert found.at_node("A", NOW) == 1
    assert found.at_node("B", at(9 * DAY)) == 1
    assert found.by(at(2 * DAY), ["A"]) == 4
    assert found.dates() == (NOW, at(DAY), at(2 * DAY))
    assert found.node_ids == ("A", "B")


def test_what_is_not_counted_is_promised_without_limit(engine: Engine) -> None:
    a_shop(engine, {("A", "CUP"): 5})
    assert by_days(promise(engine, "CARD"), 0) == [None]
    assert by_days(promise(engine, "RING"), 0, 2.9, 3) == [0, 0, None]
    assert promise(engine, "RING").dates() == (at(3 * DAY),)
    assert by_days(promise(engine, "GIFT"), 0) == [5]
    assert by_days(promise(engine, "NOTE"), 0) == [None]


def test_an_unknown_product_and_a_kit_of_itself_are_refused(engine: Engine) -> None:
    a_shop(engine, {})
    with pytest.raises(UnknownReferenceError):
        promise(engine, "HAT")
    with pytest.raises(ConflictError):
        promise(engine, "LOOP")


def test_preorders_are_served_by_class_then_the_earlier_date_and_may_come_in_parts(
    engine: Engine,
) -> None:
    a_shop(engine, {})
    for order_id, quantity, days, demand_class in (
        ("W-1", 3, 30, "b"),
        ("W-2", 2, 10, "b"),
        ("W-3", 1, 60, "a"),
        ("W-4", 2, None, "b"),
    ):
        with transaction(engine) as session:
            reservations.add_backorder(
                session,
                order_id,
                [("1", "CUP", quantity)],
                demand_class=demand_class,
                promise_at=None if days is None else at(days * DAY),
                key=order_id,
                now=NOW,
            )
    expect(engine, "CUP", "A", 10, 5)
    found = promise(engine, "CUP")
    assert [row.order_id for row in found.waiting] == ["W-3", "W-2", "W-1", "W-4"]
    assert by_days(found, 0, 5) == [0, 2]
    with transaction(engine) as session:
        first = inventory.receive(
            session, "A", "CUP", 4, key="in1", now=at(5 * DAY), supply_id="PO-CUP-A-5"
        )
        second = inventory.receive(
            session, "A", "CUP", 6, key="in2", now=at(6 * DAY), supply_id="PO-CUP-A-5"
        )
    assert [(x.order_id, x.quantity) for x in first] == [("W-3", 1), ("W-2", 2), ("W-1", 1)]
    assert [(x.order_id, x.quantity) for x in second] == [("W-1", 2), ("W-4", 2)]
    assert by_days(promise(engine, "CUP"), 0) == [2]


def wait_together(engine: Engine, order_id: str, *lines: tuple[str, str, int]) -> None:
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            order_id,
            lines,
            demand_class="b",
            promise_at=None,
            key=order_id,
            now=NOW,
            bundles={line_id: "together/1/set" for line_id, _, _ in lines},
        )


def arrive(
    engine: Engine, sku: str, units: int, node_id: str = "A", *, days: float = 1
) -> list[tuple[str, str, str, int]]:
    with transaction(engine) as session:
        key = f"{node_id}/{sku}/{days}"
        grants = inventory.receive(session, node_id, sku, units, key=key, now=at(days * DAY))
    return [(x.order_id, x.line_id, x.node_id, x.quantity) for x in grants]


def test_lines_that_must_come_together_are_granted_whole_at_one_node(engine: Engine) -> None:
    a_shop(engine, {})
    wait_together(engine, "W-1", ("1", "CUP", 2), ("2", "POT", 1))
    assert arrive(engine, "POT", 1, "B") == []
    assert arrive(engine, "CUP", 1) == []
    assert arrive(engine, "POT", 1, days=2) == []
    assert arrive(engine, "CUP", 2, days=3) == [("W-1", "1", "A", 2), ("W-1", "2", "A", 1)]
    with transaction(engine) as session:
        places = [inventory.position(session, "A", sku) for sku in ("CUP", "POT")]
        assert inventory.unexplained(session) == []
        told = [x.name for x in outbox.claim(session, 9, at(9 * DAY))]
    assert [(x.usable, x.claimed) for x in places] == [(3, 2), (1, 1)]
    assert told == ["supply_granted"]
    assert promise(engine, "CUP").waiting == promise(engine, "POT").waiting == ()


def test_who_waits_for_more_than_came_keeps_nobody_else_waiting(engine: Engine) -> None:
    a_shop(engine, {})
    wait_together(engine, "W-1", ("1", "CUP", 2), ("2", "POT", 1))
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-2", [("1", "CUP", 2)], demand_class="c", promise_at=None, key="b", now=NOW
        )
    assert arrive(engine, "CUP", 2) == [("W-2", "1", "A", 2)]
    assert arrive(engine, "POT", 1) == []


def test_however_many_wait_for_more_than_came_those_behind_them_are_served(
    engine: Engine,
) -> None:
    a_shop(engine, {})
    with transaction(engine) as session:
        for number in range(210):
            reservations.add_backorder(
                session,
                f"W-{number}",
                [("1", "CUP", 1), ("2", "POT", 1)],
                demand_class="b",
                promise_at=None,
                key=f"W-{number}",
                now=NOW,
                bundles={"1": "set", "2": "set"},
            )
        reservations.add_backorder(
            session, "LAST", [("1", "CUP", 2)], demand_class="c", promise_at=None, key="c", now=NOW
        )
    assert arrive(engine, "CUP", 2) == [("LAST", "1", "A", 2)]


def test_units_of_a_sku_that_come_in_one_count_are_shared_by_whole_orders(
    engine: Engine,
) -> None:
    a_shop(engine, {})
    wait_together(engine, "W-1", ("1", "CUP", 2), ("2", "POT", 1), ("3", "CUP", 1))
    wait_together(engine, "W-2", ("1", "CUP", 1), ("2", "POT", 1))
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-3", [("1", "POT", 9)], demand_class="c", promise_at=None, key="b", now=NOW
        )
        rows = [
            inventory.StockCount(node_id="A", sku=sku, quantity=units, counted_at=NOW)
            for sku, units in (("CUP", 4), ("POT", 5))
        ]
        taken = inventory.set_stock(session, rows, key="count", now=at(DAY))
    assert [(x.order_id, x.line_id, x.quantity) for x in taken.grants] == [
        ("W-1", "1", 2),
        ("W-1", "2", 1),
        ("W-1", "3", 1),
        ("W-2", "1", 1),
        ("W-2", "2", 1),
        ("W-3", "1", 3),
    ]
    with reading(engine) as session:
        assert inventory.unexplained(session) == []
        assert inventory.oversold(session) == []


def test_components_of_a_kit_that_waits_apart_are_granted_as_they_come(engine: Engine) -> None:
    a_shop(engine, {})
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            "W-1",
            [("1", "CUP", 2), ("2", "POT", 1)],
            demand_class="b",
            promise_at=None,
            key="b",
            now=NOW,
        )
    expect(engine, "CUP", "A", 4, 1)
    expect(engine, "POT", "A", 2, 2)
    # One kit's worth waits: it is taken off what later kits can be made of.
    assert by_days(promise(engine, "SET"), 1, 2) == [0, 1]
    with transaction(engine) as session:
        cups = inventory.receive(session, "A", "CUP", 4, key="cups", now=at(DAY))
        pots = inventory.receive(session, "A", "POT", 2, key="pots", now=at(DAY))
    assert [(x.line_id, x.sku, x.quantity) for x in (*cups, *pots)] == [
        ("1", "CUP", 2),
        ("2", "POT", 1),
    ]
    assert by_days(promise(engine, "SET"), 0) == [1]
