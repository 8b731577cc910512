"""What brokering runs and people who choose nodes leave to each other, and to orders that wait."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from domain.plans import Plan
from store import brokering, outbox, reservations
from store.engine import transaction
from tests.integration.store.builders import NOW, a_plan, a_world, at, filled, reserve
from tests.integration.store.test_brokering import (
    a_decision,
    a_move,
    as_reserved,
    books_are_right,
    looked_at,
    move,
    moved_by,
    reserved,
)
from tests.integration.store.test_freed_units import granted, wait_for


def planned_by_people(engine: Engine, order_id: str, plan: Plan, *, replaces: str) -> None:
    with transaction(engine) as session:
        reservations.reserve_plan(
            session,
            order_id,
            plan,
            key=f"{order_id}/reserve/{plan.plan_version}",
            now=NOW,
            replaces=[replaces],
            keeps_holds=True,
        )


def test_units_that_a_chosen_node_leaves_behind_go_to_the_order_that_waits(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 5, ("B", "X"): 3})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 5)))
    wait_for(engine, 9)
    # when two units stay where they are
    plan = a_plan(("A", "1", "X", 2), ("B", "1", "X", 3), version=2)
    planned_by_people(engine, "W-0", plan, replaces="W-0-r1")
    # then
    assert granted(engine) == [("W-1", "A", 3)]
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 2, "claimed": 3}
    assert filled(engine, "B", "X") == {"usable": 3, "reserved": 3}
    books_are_right(engine)


def test_units_that_another_order_of_the_group_takes_go_to_no_order_that_waits(
    engine: Engine,
) -> None:
    # given
    a_world(engine, {("A", "X"): 3, ("B", "X"): 2})
    first = reserved(engine, "W-2", ("A", "1", "X", 3))
    second = reserved(engine, "W-3", ("B", "1", "X", 2))
    wait_for(engine, 9)
    # when
    move(
        engine,
        a_move("W-2", first, ("A", "1", "X", 1), ("B", "1", "X", 2)),
        a_move("W-3", second, ("A", "1", "X", 1)),
    )
    # then
    assert granted(engine) == [("W-1", "A", 1)]
    assert filled(engine, "A", "X") == {"usable": 3, "reserved": 2, "claimed": 1}
    assert filled(engine, "B", "X") == {"usable": 2, "reserved": 2}


def test_an_order_of_units_that_need_no_stock_is_moved_past_one_that_waits(engine: Engine) -> None:
    # given
    a_world(engine)
    first = reserved(engine, "W-2", ("A", "1", "ENDLESS", 2))
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            "W-1",
            [("1", "ENDLESS", 2)],
            demand_class="b",
            promise_at=None,
            key="W-1/waits",
            now=NOW,
        )
    # when
    move(engine, a_move("W-2", first, ("B", "1", "ENDLESS", 2)))
    # then
    assert moved_by(engine) == ["W-2"]
    with transaction(engine) as session:
        assert outbox.counts(session)["waiting"] == 1
    assert granted(engine) == []


def test_an_order_that_a_run_has_moved_is_left_alone_by_its_repeat(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 3, ("B", "X"): 3})
    plans = {x: reserved(engine, x, ("A", "1", "X", 1)) for x in ("W-1", "W-2")}
    for order_id in plans:
        as_reserved(engine, order_id)
    a_decision(engine, "W-1")
    with transaction(engine) as session:
        [batch] = brokering.start(session, "run-1", release_after=at(10), most=10, now=NOW)
    one = a_move("W-1", plans["W-1"], ("B", "1", "X", 1))
    # by a decision that is known
    move(engine, replace(one, plan=one.plan.model_copy(update={"decision_id": "D-1"})))
    # when
    with transaction(engine) as session:
        again = brokering.standings(session, "run-1", batch, release_after=at(10), now=NOW)
    # then
    assert [x.order_id for x in again] == ["W-2"]
    assert [x.order_id for x in looked_at(engine, "run-2")] == ["W-1", "W-2"]


def test_a_move_does_not_wait_for_holds_that_the_order_keeps(engine: Engine) -> None:
    """People who choose nodes lock the order's reservation first, and its holds after."""
    if engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    # given
    a_world(engine, {("A", "X"): 2, ("B", "X"): 2})
    first = reserved(engine, "W-1", ("A", "1", "X", 2))
    with transaction(engine) as session:
        reservations.free_reserved(
            session, "W-1", [(1, "A", "1", 1)], key="amend", now=NOW, kept_until=at(10)
        )
    left = first.fulfillments[0].lines[0].model_copy(update={"quantity": 1})
    plan = first.model_copy(
        update={"fulfillments": (first.fulfillments[0].model_copy(update={"lines": (left,)}),)}
    )
    # when
    with transaction(engine) as other:
        other.execute(text("SELECT * FROM cart_holds WHERE order_id = 'W-1' FOR UPDATE")).all()
        with transaction(engine) as session:
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            group = [a_move("W-1", plan, ("B", "1", "X", 1))]
            brokering.move_together(session, "run-1", group, NOW)
    # then
    assert moved_by(engine) == ["W-1"]
    assert filled(engine, "A", "X") == {"usable": 2, "held": 1}
    assert filled(engine, "B", "X") == {"usable": 2, "reserved": 1}
