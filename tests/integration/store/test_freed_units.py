"""Units that somebody gives back go to the orders that wait for them before anyone else."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from store import exclusions, holds, inventory, outbox, reservations
from store.engine import reading, transaction
from store.holds import HoldItem
from tests.integration.store.builders import (
    NOW,
    a_plan,
    a_world,
    at,
    filled,
    position,
    released_order,
    reserve,
)

LASTING = timedelta(minutes=15)


def wait_for(engine: Engine, quantity: int, order_id: str = "W-1") -> None:
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            order_id,
            [("1", "X", quantity)],
            demand_class="b",
            promise_at=None,
            key=f"{order_id}/waits",
            now=NOW,
        )


def granted(engine: Engine) -> list[tuple[str, str, int]]:
    """(order id, node id, units) of every grant that its order was told of."""
    with transaction(engine) as session:
        told = {
            str(message.workflow_id).removeprefix("order-"): message.payload["reservation_id"]
            for message in outbox.claim(session, 20, at(60))
            if message.name == "supply_granted"
        }
        return [
            (order_id, node_id, units)
            for order_id, reservation_id in told.items()
            for node_id, _, _, units in reservations.take_grant(session, order_id, reservation_id)
        ]


def is_sound(engine: Engine) -> bool:
    with reading(engine) as session:
        return inventory.unexplained(session) == [] and inventory.oversold(session) == []


def cart(engine: Engine, units: int) -> None:
    with transaction(engine) as session:
        item = HoldItem(line_id="1", node_id="A", sku="X", quantity=units)
        holds.hold(session, "cart-1", [item], lasting=LASTING, now=NOW)


def test_reserved_units_that_are_freed_go_to_the_order_that_waits(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 5})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 5)))
    wait_for(engine, 3)
    # when
    with transaction(engine) as session:
        reservations.free_reserved(session, "W-0", [(1, "A", "1", 4)], key="cancel", now=NOW)
    # then
    assert granted(engine) == [("W-1", "A", 3)]
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 1, "claimed": 3}
    assert position(engine, "A", "X").sellable == 1
    assert is_sound(engine)


def test_a_grant_that_is_freed_goes_on_to_the_next_order_that_waits(engine: Engine) -> None:
    # given
    a_world(engine)
    wait_for(engine, 2, "W-0")
    with transaction(engine) as session:
        (grant,) = inventory.receive(session, "A", "X", 2, key="in", now=NOW)
    wait_for(engine, 2)
    # when
    with transaction(engine) as session:
        freed = (grant.reservation_id, "A", "1", 2)
        reservations.free_reserved(session, "W-0", [freed], key="cancel", now=NOW)
    # then
    assert ("W-1", "A", 2) in granted(engine)
    assert filled(engine, "A", "X") == {"usable": 2, "claimed": 2}
    assert is_sound(engine)


def test_units_freed_for_the_orders_own_next_plan_go_to_nobody_else(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 5})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 5)))
    wait_for(engine, 3)
    # when
    with transaction(engine) as session:
        reservations.free_reserved(
            session, "W-0", [(1, "A", "1", 4)], key="amend", now=NOW, kept_until=at(10)
        )
    # then
    assert granted(engine) == []
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 1, "held": 4}


def test_released_units_that_a_node_gives_back_go_to_the_order_that_waits(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-0", ("A", "1", "X", 5))
    wait_for(engine, 9)
    # when
    with transaction(engine) as session:
        reservations.free_released(session, "W-0-1", [("1", 2, "shelf")], key="back", now=NOW)
        reservations.free_released(session, "W-0-1", [("1", 1, "suspect")], key="lost", now=NOW)
    # then
    assert granted(engine) == [("W-1", "A", 2)]
    assert filled(engine, "A", "X") == {"usable": 4, "suspect": 1, "released": 2, "claimed": 2}
    assert is_sound(engine)


def test_what_a_node_just_rejected_is_not_granted_to_another_order_there(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-0", ("A", "1", "X", 5))
    wait_for(engine, 3)
    # when
    with transaction(engine) as session:
        reservations.cool_off(session, "A", "X", at(60), "rejected")
        reservations.free_released(session, "W-0-1", [("1", 5, "shelf")], key="back", now=NOW)
    # then
    assert granted(engine) == []
    assert filled(engine, "A", "X") == {"usable": 5}


@pytest.mark.parametrize("how", ["given up", "expired"])
def test_a_carts_units_go_to_the_order_that_waits_when_its_hold_ends(
    engine: Engine, how: str
) -> None:
    # given
    a_world(engine, {("A", "X"): 5})
    cart(engine, 4)
    reserve(engine, "W-0", a_plan(("A", "1", "X", 1)))
    wait_for(engine, 3)
    # when
    with transaction(engine) as session:
        if how == "given up":
            holds.release(session, "cart-1", now=at(1))
        else:
            holds.expire(session, now=at(16))
    # then
    assert granted(engine) == [("W-1", "A", 3)]
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 1, "claimed": 3}
    assert is_sound(engine)


@pytest.mark.parametrize("sku", [None, "X"])
def test_what_lies_at_a_node_goes_to_the_order_that_waits_when_its_exclusion_is_lifted(
    engine: Engine, sku: str | None
) -> None:
    # given
    a_world(engine, {("A", "X"): 5, ("A", "Y"): 5, ("B", "Y"): 5})
    with transaction(engine) as session:
        exclusions.exclude(session, "A", sku, until=None, reason="flood")
    wait_for(engine, 3)
    # when
    with transaction(engine) as session:
        assert exclusions.lift(session, "A", sku, at(5))
    # then
    assert granted(engine) == [("W-1", "A", 3)]
    assert filled(engine, "A", "X") == {"usable": 5, "claimed": 3}
    assert filled(engine, "A", "Y") == {"usable": 5}
    assert is_sound(engine)
