"""Brokering runs: reserved plans are moved where all together cost less."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import ScheduleActionStartWorkflow, ScheduleOverlapPolicy, WorkflowHandle

from activities import route
from config.settings import Settings
from domain.errors import FinalError
from domain.orders import Address
from domain.plans import Plan
from store import addresses, brokering, decisions, reservations
from store.columns import statement
from store.engine import reading, transaction
from store.snapshot import build_facts
from tests.integration.store.builders import used_capacity
from tests.workflow.held_back import let_the_word_go, word_held_back
from tests.workflow.test_replanned import NEW_HOME
from tests.workflow.world import World, document
from worker.schedules import brokering_of
from workflows.brokering import BrokeringInput
from workflows.messages import ChangeAddress, PlaceHold
from workflows.order import OrderWorkflow


async def reserved_far_away(
    world: World, order_id: str = "W-1", **changes: object
) -> WorkflowHandle[Any, Any]:
    """An order whose two TEA are reserved at dc-2, and then there is some at dc-1."""
    world.prepare()
    world.stock(dc_2__TEA=5)
    order = await world.reserved(document(order_id, **changes))
    world.stock(dc_1__TEA=5)
    return order


async def test_a_run_moves_an_order_to_a_nearer_node_and_its_workflow_carries_that_out(
    world: World,
) -> None:
    # given
    order = await reserved_far_away(world)
    before = world.page()
    release_at = release_of(world)
    # when
    run = await world.brokering()
    # then: the store has moved it, and kept what and why
    assert (run.looked_at, run.moved) == (1, 1)
    assert run.gain_micros > 1_000_000
    assert world.sellable() == {"dc-1": 3, "dc-2": 5}
    with reading(world.engine) as session:
        [move] = brokering.moves_of(session, "brokering-1")
        kept = decisions.load_decision(session, move.decision_id)
    assert (move.from_version, move.to_version) == (1, 2)
    assert move.before_micros - move.after_micros == run.gain_micros
    assert move.why.startswith("moved from dc-2 to dc-1, ")
    assert kept.order_id == "W-1"
    # and: its workflow knows
    await world.answer(order, "Moved by a brokering run from dc-2 to dc-1")
    await world.until(lambda: world.page().plan_version == 2, "the page shows it")
    assert world.page().decision_id == move.decision_id
    assert world.page().promise_at == before.promise_at
    assert release_of(world) == release_at
    assert "moved from dc-2 to dc-1" in await order.query(OrderWorkflow.explain)
    # when: its time comes
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert world.page().fulfillments[0].node_id == "dc-1"
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


def release_of(world: World, order_id: str = "W-1") -> str | None:
    with reading(world.engine) as session:
        row = session.execute(
            text("SELECT release_at FROM orders WHERE order_id = :order_id"),
            {"order_id": order_id},
        )
        found: str | None = row.scalar_one()
        return found


async def test_a_second_run_finds_nothing_to_gain(world: World) -> None:
    # given
    order = await reserved_far_away(world)
    await world.brokering("first")
    await world.answer(order, "Moved by a brokering run")
    # when
    run = await world.brokering("second")
    # then
    assert (run.looked_at, run.moved, run.gain_micros) == (1, 0, 0)
    assert world.page().plan_version == 2


async def test_orders_that_are_held_or_released_soon_are_left_alone(world: World) -> None:
    # given
    order = await reserved_far_away(world)
    # when: it is released before the margin is over
    soon = await world.brokering("soon", margin="PT2H")
    # then
    assert (soon.looked_at, soon.moved) == (0, 0)
    # when it is held
    await order.signal("hold", PlaceHold(request_id="h-1", owner="support"))
    await world.until(lambda: bool(world.page().holds), "it is held")
    held = await world.brokering("held")
    # then
    assert (held.looked_at, held.moved) == (0, 0)
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}


async def test_no_order_is_moved_to_a_node_that_cools_off(world: World) -> None:
    # given
    await reserved_far_away(world)
    until = datetime.now(UTC) + timedelta(days=2)
    with transaction(world.engine) as session:
        for node_id in ("dc-1", "dc-2"):
            reservations.cool_off(session, node_id, "TEA", until, f"{node_id} rejected TEA")
    # when
    run = await world.brokering()
    # then: it stays, also where it would not be sent now
    assert (run.looked_at, run.moved) == (1, 0)
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}


async def test_too_small_a_gain_moves_nothing(world: World) -> None:
    # given
    await reserved_far_away(world)
    # when
    run = await world.brokering(min_gain_micros=100_000_000)
    # then
    assert (run.looked_at, run.moved) == (1, 0)
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}


async def test_a_cancel_before_the_order_hears_of_the_move_frees_the_moved_units(
    world: World,
) -> None:
    # given: an order whose workflow has not heard yet that a run moved it
    order = await reserved_far_away(world)
    with word_held_back():
        await world.brokering()
    assert world.page().plan_version == 1
    # when
    await world.cancel(order, "c-1", {"1": 1})
    await world.until(lambda: world.sellable() == {"dc-1": 4, "dc-2": 5}, "one is freed")
    let_the_word_go(world)
    await world.answer(order, "Moved by a brokering run from dc-2 to dc-1")
    # then: the other goes out from where it is now
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 1, 1)
    assert world.sellable() == {"dc-1": 4, "dc-2": 5}
    world.nothing_is_astray()


async def test_a_whole_cancel_before_the_order_hears_of_the_move_leaves_nothing(
    world: World,
) -> None:
    order = await reserved_far_away(world)
    with word_held_back():
        await world.brokering()
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    let_the_word_go(world)
    assert world.sellable() == {"dc-1": 5, "dc-2": 5}
    world.nothing_is_astray()


async def test_a_release_before_the_order_hears_of_the_move_releases_the_moved_plan(
    world: World,
) -> None:
    # given
    order = await reserved_far_away(world)
    with word_held_back():
        await world.brokering()
    # when: its time comes, and only then the word of the move
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    let_the_word_go(world)
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable() == {"dc-1": 3, "dc-2": 5}
    with reading(world.engine) as session:
        assert used_capacity(session, "dc-2", work_date_of(world)) == (0, 0)
    world.nothing_is_astray()


def work_date_of(world: World) -> str:
    with reading(world.engine) as session:
        found = session.execute(text("SELECT max(work_date) FROM reservations"))
        return str(found.scalar_one())


async def test_a_changed_address_before_the_order_hears_of_the_move_plans_once(
    world: World,
) -> None:
    """Its own next plan has the number that the run has used."""
    order = await reserved_far_away(world)
    with word_held_back():
        await world.brokering()
    with transaction(world.engine) as session:
        address = document()["ship_groups"][0]["address"]
        new = Address.model_validate({**address, **NEW_HOME})
        address_id = addresses.save_address(session, "W-1", "1", new)
    # when
    await order.signal("change_address", ChangeAddress(request_id="a-1", address_id=address_id))
    await world.until_planned(version=3)
    let_the_word_go(world)
    # then
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    world.nothing_is_astray()


async def test_a_run_whose_worker_dies_between_two_moves_makes_each_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: two orders to move, and a worker that is gone after the first, its answer lost
    world.prepare()
    world.stock(dc_2__TEA=5)
    for order_id in ("W-1", "W-2"):
        await world.reserved(document(order_id))
    world.stock(dc_1__TEA=5)
    move, calls = brokering.move_together, []

    def dies_once(*asked: Any) -> None:
        calls.append(asked)
        if len(calls) == 2:
            raise OSError("killed")
        move(*asked)

    monkeypatch.setattr(brokering, "move_together", dies_once)
    world.loses_answers = True
    # when
    run = await world.brokering()
    world.loses_answers = False
    # then
    assert (run.moved, len(calls)) == (2, 3)
    assert world.sellable() == {"dc-1": 1, "dc-2": 5}
    for order_id in ("W-1", "W-2"):
        await world.until(lambda x=order_id: world.page(x).plan_version == 2, "it knows")  # type: ignore[misc]
        told = [x for x in world.story(order_id) if x.startswith("Moved by a brokering run")]
        assert len(told) == 1
    await world.skip(minutes=31)
    for order_id in ("W-1", "W-2"):
        await world.until_fulfillment(f"{order_id}-1", "acknowledged")
        await world.ship_and_deliver(f"{order_id}-1")
    await world.until(lambda: world.page("W-2").closed and world.page("W-1").closed, "all end")
    world.nothing_is_astray()


async def test_a_batch_that_cannot_be_planned_keeps_no_other_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: orders of two channels, of which one's stock cannot be read
    await reserved_far_away(world)
    await world.reserved(document("W-2", channel="app"))
    assert world.sellable() == {"dc-1": 3, "dc-2": 3}
    look = build_facts

    def fails(session: Any, skus: Any, now: Any, channel: str) -> Any:
        if channel == "app":
            raise FinalError("unreadable")
        return look(session, skus, now, channel)

    monkeypatch.setattr("activities.brokering.build_facts", fails)
    world.stock(dc_1__TEA=1)
    # when
    run = await world.brokering()
    # then
    assert (run.looked_at, run.moved, run.finished_at is not None) == (2, 1, True)
    assert world.page("W-2").plan_version == 1


async def test_an_order_takes_the_next_number_where_a_run_used_its_plans(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between deciding and reserving a run may reserve a plan of the order under that number."""
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    keep = route._keep
    kept: list[Plan] = []

    def keep_and_be_overtaken(session: Any, *asked: Any) -> Plan:
        plan = keep(session, *asked)
        if not kept:
            row = {"order_id": "W-1", "state": "freed", "plan_version": plan.plan_version}
            other = plan.model_copy(update={"decision_id": "a-run-s", "fulfillments": ()})
            session.execute(
                OTHERS_PLAN, {**row, "document": other.model_dump(mode="json"), "saved_at": NOW}
            )
        kept.append(plan)
        return plan

    monkeypatch.setattr(route, "_keep", keep_and_be_overtaken)
    # when
    order = await world.reserved(document())
    # then
    assert world.page().plan_version == 2
    assert len(kept) == 2
    assert world.sellable() == {"dc-1": 3}
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    assert [x for x in world.story() if x.startswith("Reserved at")] == ["Reserved at dc-1"]
    world.nothing_is_astray()


OTHERS_PLAN = statement(
    "INSERT INTO plans (order_id, plan_version, state, document, saved_at)"
    " VALUES (:order_id, :plan_version, :state, :document, :saved_at)",
    "plans",
)
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def test_the_schedule_is_as_the_settings_say() -> None:
    settings = Settings(
        _env_file=None, brokering_minutes=5, brokering_min_gain="0.25", brokering_margin_seconds=30
    )
    schedule = brokering_of(settings)
    [every] = schedule.spec.intervals
    assert every.every == timedelta(minutes=5)
    assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    action = schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert action.args == [
        BrokeringInput(min_gain_micros=250_000, margin=timedelta(seconds=30), most_orders=1_000)
    ]
