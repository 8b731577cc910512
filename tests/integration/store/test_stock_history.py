"""Stock of an earlier moment, what came and went since, and the orders of a period."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from store import inventory, order_intake
from store.engine import reading, transaction
from store.stock_history import (
    Moved,
    PlacedOrder,
    Sellable,
    orders_placed,
    other_changes,
    sellable_as_of,
)
from tests.integration.store.builders import (
    NOW,
    a_count,
    a_plan,
    a_world,
    an_order,
    at,
    release,
    reserve,
)

LATER = NOW + timedelta(days=1)


def accept(engine: Engine, order_id: str, placed_at: datetime, **changes: Any) -> None:
    order = an_order(order_id, placed_at=placed_at, **changes)
    with transaction(engine) as session:
        order_intake.accept_order(
            session, order, content_hash=order_id, entered_by="shop", now=placed_at
        )


def as_of(engine: Engine, begin: datetime, end: datetime = NOW) -> list[Sellable]:
    with reading(engine) as session:
        return list(sellable_as_of(session, begin, max(begin, end)))


def changes(engine: Engine, begin: datetime, end: datetime) -> list[Moved]:
    with reading(engine) as session:
        return list(other_changes(session, begin, end))


def placed(engine: Engine, begin: datetime, end: datetime) -> list[PlacedOrder]:
    with reading(engine) as session:
        return list(orders_placed(session, begin, end))


def test_stock_of_a_moment_is_what_could_be_sold_just_before_it(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 2, ("A", "Y"): 1})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3), ("A", "2", "Y", 1)))

    assert as_of(engine, at(-60)) == []
    assert as_of(engine, NOW) == [
        Sellable("A", "X", 5),
        Sellable("B", "X", 2),
        Sellable("A", "Y", 1),
    ]
    assert as_of(engine, at(1)) == [Sellable("A", "X", 2), Sellable("B", "X", 2)]


def test_what_moves_from_reserved_to_released_changes_nothing(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    plan = a_plan(("A", "1", "X", 3))
    reserve(engine, "W-1", plan)
    before = as_of(engine, LATER)

    assert release(engine, "W-1", plan)

    assert as_of(engine, LATER) == before == [Sellable("A", "X", 2)]


def test_what_came_and_went_is_told_but_for_the_orders_of_that_time(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9, ("B", "X"): 4})
    accept(engine, "OLD", at(-30))
    accept(engine, "NEW", at(0))
    reserve(engine, "NEW", a_plan(("A", "1", "X", 2)))
    reserve(engine, "OLD", a_plan(("B", "1", "X", 1)))
    with transaction(engine) as session:
        inventory.receive(session, "A", "Y", 7, key="truck", now=at(20))
        inventory.adjust(session, "B", "X", "usable", -2, key="loss", now=at(30), reason="stolen")
        inventory.set_stock(session, [a_count("A", "X", 9, 35)], key="count", now=at(40))

    assert changes(engine, NOW, LATER) == [
        Moved(NOW, "B", "X", -1),
        Moved(at(20), "A", "Y", 7),
        Moved(at(30), "B", "X", -2),
    ]
    assert changes(engine, at(20), at(30)) == [Moved(at(20), "A", "Y", 7)]
    assert [x.order.order_id for x in placed(engine, NOW, LATER)] == ["NEW"]


def test_the_stock_now_is_that_of_then_and_all_that_moved_since(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    accept(engine, "NEW", at(0))
    reserve(engine, "NEW", a_plan(("A", "1", "X", 2)))
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 3, key="truck", now=at(20))

    begun = {(x.node_id, x.sku): x.units for x in as_of(engine, NOW)}
    for moved in changes(engine, NOW, LATER):
        begun[moved.node_id, moved.sku] += moved.units

    with reading(engine) as session:
        assert inventory.availability(session, ["X"]) == {"X": {"A": begun["A", "X"] - 2}}


def test_what_is_counted_for_the_first_time_was_there_before(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    with transaction(engine) as session:
        first = [
            a_count("A", "X", 5, 10),
            a_count("B", "X", 4, 10),
            a_count("B", "Y", 2, 10, "damaged"),
        ]
        inventory.set_stock(session, first, key="first", now=at(10))
        inventory.set_stock(session, [a_count("B", "X", 6, 20)], key="second", now=at(20))
        inventory.receive(session, "ATPICK", "X", 1, key="truck", now=at(20))

    assert as_of(engine, NOW, at(10)) == [Sellable("A", "X", 3)]
    assert as_of(engine, NOW, LATER) == [Sellable("A", "X", 3), Sellable("B", "X", 4)]
    assert changes(engine, NOW, LATER) == [
        Moved(at(10), "A", "X", 2),
        Moved(at(20), "ATPICK", "X", 1),
        Moved(at(20), "B", "X", 2),
    ]


def test_orders_of_a_period_come_oldest_first_and_without_those_that_were_rejected(
    engine: Engine,
) -> None:
    for order_id, minutes in (("W-2", 20), ("W-1", 10), ("W-3", 30), ("W-4", 40), ("W-0", -1)):
        accept(engine, order_id, at(minutes))
    with transaction(engine) as session:
        session.execute(text("UPDATE orders SET stage = 'rejected' WHERE order_id = 'W-3'"))

    found = placed(engine, NOW, at(40))

    assert [x.order.order_id for x in found] == ["W-1", "W-2"]
    assert [x.promised for x in found] == [None, None]
    assert found[0].order == an_order("W-1", placed_at=at(10))


def test_a_delivery_that_was_promised_before_the_order_is_told(engine: Engine) -> None:
    accept(engine, "PROMISED", at(0), promise_id="P-1")
    accept(engine, "PLANNED", at(1))
    with transaction(engine) as session:
        of_planned = "(SELECT placed_at FROM orders WHERE order_id = 'PLANNED')"
        session.execute(text(f"UPDATE orders SET promise_at = {of_planned}"))  # noqa: S608

    found = placed(engine, NOW, LATER)

    assert [(x.order.order_id, x.promised) for x in found] == [
        ("PROMISED", at(1)),
        ("PLANNED", None),
    ]


def test_only_the_newest_version_of_an_order_counts(engine: Engine) -> None:
    accept(engine, "W-1", NOW)
    changed = an_order("W-1", [("1", "X", 7)], placed_at=NOW, version=2)
    with transaction(engine) as session:
        order_intake.accept_order(session, changed, content_hash="v2", entered_by="shop", now=at(5))

    assert [x.order for x in placed(engine, NOW, LATER)] == [changed]
