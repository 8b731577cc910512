"""What a node refuses, does not answer or cannot find goes to another node."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from domain.events import LineFact, ShortReason
from domain.plans import Plan
from integrations.node_system import CancelReplyOutcome
from store import reservations
from store.engine import reading, transaction
from store.feeds import TillSale, sell_at_till
from store.reserver import Reserver
from store.reserving import Ask
from tests.replay import record
from tests.workflow.world import World, document


async def test_stock_sold_between_routing_and_reserving_is_masked_and_routed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    real = Reserver.reserve
    refused: list[Plan] = []

    def sold_out_once(reserver: Reserver, ask: Ask, then: Callable[[Session], None]) -> str:
        if not refused:
            refused.append(ask.plan)
            sale = TillSale(node_id="dc-1", sku="TEA", quantity=2, sold_at=ask.now)
            with transaction(world.engine) as session:
                sell_at_till(session, sale, key="sold", now=ask.now)
        return real(reserver, ask, then)

    monkeypatch.setattr(Reserver, "reserve", sold_out_once)
    # when
    order = await world.at_node(document())
    # then
    assert [x.node_id for x in refused[0].fulfillments] == ["dc-1"]
    assert [x.node_id for x in world.page().fulfillments] == ["dc-2"]
    assert world.page().plan_version == 2
    assert world.sellable() == {}
    assert "Reserved at dc-1" not in world.story()
    assert "Not reserved, gone meanwhile: TEA at dc-1" in world.story()
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_node_that_rejects_is_left_out_for_a_while(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.at_node(document())
    # when
    await world.node_says("W-1-1", "rejected", reason="no staff")
    await world.until_planned(version=2)
    # then
    with reading(world.engine) as session:
        (cooling,) = reservations.cool_offs(session, ["TEA"], world.now())
        later = world.now() + timedelta(days=2)
        assert reservations.cool_offs(session, ["TEA"], later) == []
    assert (cooling.node_id, cooling.sku) == ("dc-1", "TEA")
    assert world.sellable() == {"dc-1": 2}
    # when
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "rejected", "W-1-2": "delivered"}
    assert [x.node_id for x in world.page().fulfillments] == ["dc-1", "dc-2"]
    assert world.wms.handovers == ["W-1-1", "W-1-2"]
    assert list(world.carrier.bought) == ["W-1-2/P1/label"]
    assert (await world.attributes("order-W-1"))["AtRisk"] is False
    world.nothing_is_astray()


async def test_an_order_rejected_too_often_asks_a_person(world: World) -> None:
    # given
    world.prepare(process={"reroute_attempts": 0})
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.at_node(document())
    # when
    await world.node_says("W-1-1", "rejected")
    report = await world.until_shown(order, "attention: reroute")
    # then
    assert report.view.attention is not None
    assert [x.value for x in report.view.attention.choices] == ["retry", "cancel"]
    await world.until_attribute("order-W-1", "BlockedStep", "reroute")
    # when
    await world.choose(order, report.view.attention.park_id, "retry")
    # then
    await world.until_planned(version=2)
    await world.until_attribute("order-W-1", "BlockedStep", None)


async def test_an_order_rejected_too_often_may_be_cancelled_there(world: World) -> None:
    # given
    world.prepare(process={"reroute_attempts": 0})
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "rejected")
    report = await world.until_shown(order, "attention: reroute")
    # when
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "cancel")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.sellable() == {"dc-1": 2, "dc-2": 2}
    world.nothing_is_astray()


async def test_what_is_reserved_goes_on_while_a_person_is_asked_about_the_rest(
    world: World,
) -> None:
    # when
    await record.asked_and_going_on(world)
    # then
    assert world.quantities() == {"1": {"cancelled": 1}, "2": {"delivered": 3}}
    assert world.sellable() == {"dc-1": 1, "dc-2": 1}
    world.nothing_is_astray()


async def test_a_question_is_gone_when_the_order_is_cancelled(world: World) -> None:
    # given
    world.prepare(process={"reroute_attempts": 0})
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "rejected")
    await world.until_shown(order, "attention: reroute")
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.page().attention is None
    await world.until_attribute("order-W-1", "BlockedStep", None)
    world.nothing_is_astray()


async def silent(world: World) -> Any:
    """A store that has not accepted, was reminded, and is now asked to cancel."""
    world.prepare()
    world.stock(store_1__TEA=2, dc_2__TEA=2)
    order = await world.at_node(document(), status="released")
    await world.until(lambda: "W-1-1" in world.pos.released, "the store has it")
    await world.skip(hours=5)
    await world.until(lambda: world.pos.reminded == ["W-1-1"], "it is reminded")
    assert world.pos.cancels == []
    await world.skip(hours=5)
    await world.until(lambda: bool(world.pos.cancels), "it is asked to cancel")
    assert world.pos.cancels == [("W-1-1", "silent")]
    return order


async def test_a_silent_node_is_reminded_asked_to_cancel_and_passed_over(world: World) -> None:
    # given
    order = await silent(world)
    # when
    await world.until_planned(version=2)
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "rejected", "W-1-2": "delivered"}
    assert world.sellable() == {"store-1": 2}
    assert world.pos.reminded == ["W-1-1"]
    world.nothing_is_astray()


async def test_people_who_work_in_doms_may_have_longer_to_accept(world: World) -> None:
    # given: one order at a store with a system of its own, one at a store without
    world.prepare(process={"timings": {"acknowledgement_by_people": "PT12H"}})
    world.stock(store_1__TEA=2, store_2__CUP=2)
    await world.at_node(document(), status="released")
    cup = {"line_id": "1", "sku": "CUP", "quantity": 2}
    people = await world.at_node(document("W-2", lines=[cup]), status="released")
    await world.until(lambda: "W-1-1" in world.pos.released, "the store has it")
    # when
    await world.skip(hours=11)
    # then
    await world.until(lambda: world.pos.reminded == ["W-1-1"], "it is reminded")
    assert not any("has not accepted" in text for text in world.story("W-2"))
    # when
    await world.skip(hours=14)
    # then
    given_back = "store-2: still silent: asked to cancel, to route elsewhere"
    await world.until(lambda: given_back in world.story("W-2"), "the people had twice 12 hours")
    await world.cancel(people)


async def test_a_silent_node_that_cannot_cancel_goes_on(world: World) -> None:
    # given
    world.pos.cancel_outcome = CancelReplyOutcome.TOO_LATE
    order = await silent(world)
    # when
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_fulfillment("W-1-1", "shipped")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "delivered"}
    assert world.sellable() == {"dc-2": 2}
    world.nothing_is_astray()


async def test_a_silent_node_that_confirms_the_cancel_later_is_passed_over(world: World) -> None:
    # given
    world.pos.cancel_outcome = CancelReplyOutcome.PENDING
    await silent(world)
    # when
    await world.node_says("W-1-1", "cancelled")
    await world.until_planned(version=2)
    # then
    assert world.statuses() == {"W-1-1": "rejected"}
    assert world.sellable() == {"store-1": 2}


@pytest.mark.parametrize("outcome", ["pending", "unknown"])
async def test_a_person_decides_when_a_silent_node_does_not_say_whether_it_cancelled(
    world: World, outcome: str
) -> None:
    # given
    world.pos.cancel_outcome = CancelReplyOutcome(outcome)
    await silent(world)
    await world.skip(hours=3)
    park_id = await world.until_asked("W-1-1", "cancel")
    await world.until_attribute("fulfillment-W-1-1", "BlockedStep", "cancel")
    assert world.position("store-1").released == 2
    # when
    await world.choose(world.child("W-1-1"), park_id, "cancel")
    # then
    await world.until_planned(version=2)
    assert world.statuses() == {"W-1-1": "rejected"}
    assert world.sellable() == {"store-1": 2}


async def test_a_person_may_ask_a_silent_node_once_more(world: World) -> None:
    # given
    world.pos.cancel_outcome = CancelReplyOutcome.UNKNOWN
    await silent(world)
    park_id = await world.until_asked("W-1-1", "cancel")
    world.pos.cancel_outcome = CancelReplyOutcome.CANCELLED
    # when
    await world.choose(world.child("W-1-1"), park_id, "retry")
    # then
    await world.until_planned(version=2)
    assert world.pos.cancels == [("W-1-1", "silent")] * 2
    assert world.sellable() == {"store-1": 2}


async def test_a_silent_node_that_wakes_up_answers_the_question_itself(world: World) -> None:
    # given
    world.pos.cancel_outcome = CancelReplyOutcome.UNKNOWN
    order = await silent(world)
    await world.until_asked("W-1-1", "cancel")
    # when
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_fulfillment("W-1-1", "shipped")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.page().fulfillments[0].attention is None
    assert world.sellable() == {"dc-2": 2}
    world.nothing_is_astray()


async def test_a_node_that_does_not_finish_picking_is_asked_about(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    await world.at_node(document())
    # when
    await world.skip(days=3)
    park_id = await world.until_asked("W-1-1", "pick")
    await world.choose(world.child("W-1-1"), park_id, "reroute")
    # then
    await world.until_planned(version=2)
    assert world.statuses() == {"W-1-1": "rejected"}
    assert world.sellable() == {"dc-1": 2}
    assert world.wms.cancels == [("W-1-1", "silent")]


async def test_a_late_node_that_ships_after_all_needs_no_answer(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2)
    order = await world.at_node(document())
    await world.skip(days=3)
    await world.until_asked("W-1-1", "pick")
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.page().fulfillments[0].attention is None
    world.nothing_is_astray()


async def test_a_node_that_refuses_the_work_is_asked_about_and_passed_over(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2, threepl_1__TEA=2)
    world.wms.refusal = "this warehouse is closed"
    await world.reserved(document())
    # when
    await world.skip(minutes=31)
    park_id = await world.until_asked("W-1-1", "pick")
    # then
    attention = world.page().fulfillments[0].attention
    assert attention is not None
    assert attention.reason == "wms refused: this warehouse is closed"
    # when
    await world.choose(world.child("W-1-1"), park_id, "reroute")
    await world.until_planned(version=2)
    # then
    assert world.sellable() == {"dc-1": 2}
    assert world.wms.handovers == []
    # An error may hide work that was taken: the node was asked to give it back first.
    assert world.wms.cancels == [("W-1-1", "silent")]


async def test_a_short_pick_makes_the_units_suspect_and_routes_the_rest_again(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.at_node(document())
    # when
    facts = (LineFact(line_id="1", picked=1, short=1, reason=ShortReason.NOT_FOUND),)
    await world.node_says("W-1-1", "picked", lines=facts)
    await world.until_planned(version=2)
    # then
    position = world.position("dc-1")
    assert (position.usable, position.suspect, position.released) == (4, 1, 1)
    assert world.quantities() == {"1": {"reserved": 1, "picked": 1}}
    # when
    await world.ship_and_deliver("W-1-1")
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert [x.node_id for x in world.page().fulfillments] == ["dc-1", "dc-2"]
    assert world.position("dc-1").usable == 3
    assert world.position("dc-1").suspect == 1
    assert world.sellable() == {"dc-1": 3, "dc-2": 4}
    world.nothing_is_astray()


async def test_a_short_pick_that_is_told_with_the_hand_over_still_counts(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    # when
    facts = (LineFact(line_id="1", picked=1, short=1, reason=ShortReason.DAMAGED),)
    await world.node_says("W-1-1", "handed_over", lines=facts)
    await world.carrier_says("W-1-1", "delivered")
    await world.until_planned(version=2)
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.quantities() == {"1": {"delivered": 2}}
    position = world.position("dc-1")
    assert (position.usable, position.suspect, position.released) == (3, 1, 0)
    world.nothing_is_astray()


async def test_a_short_pick_for_want_of_time_leaves_the_units_sellable(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    await world.at_node(document())
    # when
    facts = (LineFact(line_id="1", picked=1, short=1, reason=ShortReason.NO_CAPACITY),)
    await world.node_says("W-1-1", "picked", lines=facts)
    await world.until_planned(version=2)
    # then
    position = world.position("dc-1")
    assert (position.usable, position.suspect, position.released) == (5, 0, 1)


async def test_a_node_that_cancels_unasked_is_taken_to_reject(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    await world.at_node(document())
    # when
    await world.node_says("W-1-1", "cancelled")
    # then
    await world.until_planned(version=2)
    assert world.statuses() == {"W-1-1": "rejected"}
    assert world.quantities() == {"1": {"reserved": 2}}
