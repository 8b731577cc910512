"""What no node has waits for supply, is granted, or is given up."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session
from temporalio import workflow

from store import inventory
from store.capacity import WorkDay, take_capacity
from store.engine import transaction
from tests.workflow.world import World, document
from workflows.messages import PlaceHold


async def backordered(world: World, **process: Any) -> Any:
    """Two units wanted; nothing anywhere."""
    world.prepare(process=process)
    order = await world.submit(document())
    await world.until_shown(order, "backordered")
    await world.until(lambda: world.quantities() == {"1": {"backordered": 2}}, "it is recorded")
    return order


async def test_supply_that_arrives_is_granted_released_and_shipped(world: World) -> None:
    # given
    order = await backordered(world)
    await world.until_attribute("order-W-1", "AtRisk", True)
    await world.skip(days=3)
    # when
    world.stock(dc_1__TEA=5)
    # then
    assert world.sellable() == {"dc-1": 3}
    await world.until_shown(order, "reserved")
    await world.until_attribute("order-W-1", "AtRisk", False)
    await world.sent_again("W-1-1", plan=2)
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable() == {"dc-1": 3}
    assert len(world.wms.handovers) == 1
    world.nothing_is_astray()


async def test_a_grant_whose_node_others_filled_at_that_moment_is_planned_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: others take the node's last capacity between deciding and reserving
    order = await backordered(world)
    refused: list[str] = []

    def filled_once(session: Session, works: Sequence[Mapping[WorkDay, int]]) -> tuple[str, ...]:
        if not refused:
            refused.append("dc-1")
            return ("dc-1",)
        return take_capacity(session, works)

    monkeypatch.setattr("store.reserving.take_capacity", filled_once)
    # when
    world.stock(dc_1__TEA=5)
    # then
    report = await world.until_shown(order, "reserved")
    assert refused == ["dc-1"]
    assert report.view.attention is None
    await world.sent_again("W-1-1", plan=2)
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_supply_that_suffices_for_a_part_is_granted_to_that_part(world: World) -> None:
    # given
    order = await backordered(world)
    # when
    world.stock(dc_1__TEA=1)
    await world.until(
        lambda: world.quantities() == {"1": {"backordered": 1, "reserved": 1}}, "one is granted"
    )
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    world.stock(dc_2__TEA=1)
    await world.until(lambda: "reserved" in world.quantities()["1"], "the rest is granted")
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable() == {}
    world.nothing_is_astray()


async def test_a_part_in_stock_is_sent_while_the_rest_waits(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=1)
    order = await world.submit(document())
    await world.until(
        lambda: world.quantities() == {"1": {"backordered": 1, "reserved": 1}}, "one is reserved"
    )
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.skip(days=31)
    # then
    assert await world.result(order) == ("completed", 1, 1)
    world.nothing_is_astray()


async def test_a_backorder_is_cancelled_after_its_longest_wait(world: World) -> None:
    # given
    order = await backordered(world)
    # when
    await world.skip(days=29)
    assert world.quantities() == {"1": {"backordered": 2}}
    await world.skip(days=2)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.stock(dc_1__TEA=2)
    assert world.sellable() == {"dc-1": 2}
    world.nothing_is_astray()


async def asked(world: World) -> tuple[Any, str]:
    order = await backordered(world, backorder_last_resort="ask")
    await world.skip(days=31)
    report = await world.until_shown(order, "attention: backorder")
    assert report.view.attention is not None
    return order, report.view.attention.park_id


async def test_a_person_may_wait_on(world: World) -> None:
    # given
    order, park_id = await asked(world)
    # when
    await world.choose(order, park_id, "retry")
    await world.until_shown(order, "backordered")
    world.stock(dc_1__TEA=2)
    await world.until_shown(order, "reserved")
    await world.sent_again("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_hold_expires_while_a_person_is_asked(world: World) -> None:
    # given: one unit is reserved but held, the other waits for supply
    world.prepare(process={"backorder_last_resort": "ask"})
    world.stock(dc_1__TEA=1)
    order = await world.submit(document())
    await world.until(lambda: "backordered" in world.quantities()["1"], "one waits")
    over = world.now() + timedelta(days=32)
    await order.signal("hold", PlaceHold(request_id="h-1", expires_at=over))
    await world.skip(days=31)
    report = await world.until_shown(order, "attention: backorder")
    assert world.statuses() == {}
    # when
    await world.skip(days=2)
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert (await world.report(order)).view.attention == report.view.attention
    # when
    await world.ship_and_deliver("W-1-1")
    await world.skip(days=6)
    # then
    assert await world.result(order) == ("completed", 1, 1)
    world.nothing_is_astray()


async def test_a_question_outlives_a_new_run_and_the_next_has_an_id_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    order, park_id = await asked(world)
    assert park_id == "backorder-1"
    # when: the order continues as new while it waits for the answer

    def is_first_run(info: workflow.Info) -> bool:
        return info.continued_run_id is None

    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", is_first_run)
    await order.signal("hold", PlaceHold(request_id="h-1"))
    await world.until_continued(order)
    report = await world.until_shown(order, "attention: backorder")
    # then
    assert report.view.attention is not None
    assert report.view.attention.park_id == park_id
    # when
    await world.choose(order, park_id, "retry")
    await world.until_shown(order, "hold: support")
    await world.skip(days=31)
    report = await world.until_shown(order, "attention: backorder")
    # then
    assert report.view.attention is not None
    assert report.view.attention.park_id == "backorder-2"


async def test_a_person_may_give_up(world: World) -> None:
    # given
    order, park_id = await asked(world)
    # when
    await world.choose(order, park_id, "cancel")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.nothing_is_astray()


async def test_supply_that_arrives_answers_the_question(world: World) -> None:
    # given
    order, _ = await asked(world)
    # when
    world.stock(dc_1__TEA=2)
    # then
    await world.until_shown(order, "reserved")
    await world.until_attribute("order-W-1", "BlockedStep", None)
    await world.until(lambda: world.page().attention is None, "nobody is asked any more")


async def test_a_question_nobody_answers_ends_in_a_cancel(world: World) -> None:
    # given
    order, _ = await asked(world)
    # when
    await world.skip(days=8)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.nothing_is_astray()


async def test_customer_care_is_asked_at_once_where_the_routing_policy_says_so(
    world: World,
) -> None:
    # given
    world.prepare(routing={"after": ["customer_care"]})
    # when
    order = await world.submit(document())
    report = await world.until_shown(order, "attention: backorder")
    # then
    asked = report.view.attention
    assert asked is not None
    assert asked.reason == "no node can supply it: the routing policy asks people"
    # when: a person lets it wait, and then nothing comes
    await world.choose(order, asked.park_id, "retry")
    await world.until_shown(order, "backordered")
    await world.skip(days=31)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.nothing_is_astray()


async def test_what_customer_care_does_not_answer_waits_as_long_as_any_backorder(
    world: World,
) -> None:
    # given
    world.prepare(routing={"after": ["customer_care"]})
    order = await world.submit(document())
    await world.until_shown(order, "attention: backorder")
    # when
    await world.skip(days=29)
    # then
    assert world.page().displayed == "attention: backorder"
    # when
    await world.skip(days=2)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.nothing_is_astray()


async def test_customer_care_may_cancel_what_no_node_has(world: World) -> None:
    # given
    world.prepare(routing={"after": ["customer_care"]})
    order = await world.submit(document())
    report = await world.until_shown(order, "attention: backorder")
    assert report.view.attention is not None
    # when
    await world.choose(order, report.view.attention.park_id, "cancel")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.nothing_is_astray()


async def test_supply_that_arrives_spares_customer_care_the_question(world: World) -> None:
    # given
    world.prepare(routing={"after": ["customer_care"]})
    order = await world.submit(document())
    await world.until_shown(order, "attention: backorder")
    # when
    world.stock(dc_1__TEA=2)
    # then
    await world.until_shown(order, "reserved")
    await world.until(lambda: world.page().attention is None, "nobody is asked any more")


async def test_an_order_that_may_not_wait_is_cancelled_at_once(world: World) -> None:
    # given
    world.prepare()
    # when
    order = await world.submit(document(allow_backorder=False))
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.nothing_is_astray()


async def test_a_backordered_order_can_be_cancelled(world: World) -> None:
    # given
    order = await backordered(world)
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    world.stock(dc_1__TEA=2)
    assert world.sellable() == {"dc-1": 2}
    world.nothing_is_astray()


async def test_a_cancel_that_crosses_a_grant_cancels_what_was_granted(world: World) -> None:
    # given
    order = await backordered(world)
    # when: the supply is granted, and its message waits while the cancel arrives
    with transaction(world.engine) as session:
        grants = inventory.receive(
            session, "dc-1", "TEA", 2, key="late", now=world.now().replace(year=2100)
        )
    assert [grant.quantity for grant in grants] == [2]
    await world.cancel(order)
    await world.answer(order, "2 units to be cancelled once supply is reserved")
    await order.signal(
        "supply_granted",
        {"request_id": grants[0].reservation_id, "reservation_id": grants[0].reservation_id},
    )
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.sellable() == {"dc-1": 2}
    world.nothing_is_astray()


async def test_stock_that_another_order_gave_back_serves_an_order_that_waits(world: World) -> None:
    # given: the only two units are reserved for another order
    world.prepare()
    world.stock(dc_1__TEA=2)
    other = await world.submit(document("W-0", external_id="W-0"))
    await world.until_shown(other, "reserved")
    order = await world.submit(document())
    await world.until_shown(order, "backordered")
    # when: that order is cancelled, and the one that waits looks again
    await world.cancel(other)
    assert await world.result(other) == ("cancelled", 0, 2)
    await world.skip(minutes=61)
    # then
    await world.until_shown(order, "reserved")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()
