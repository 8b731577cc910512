"""Cancels, whole and in part, at every stage: at a node a cancel is only a request."""

import asyncio
import threading
from typing import Any

import pytest

from domain.errors import UnknownReferenceError
from integrations.node_system import CancelReplyOutcome
from store import reservations
from store.reserver import Reserver
from tests.workflow.world import World, document
from workflows.messages import Cancel


async def cancelled(world: World, order: Any) -> None:
    """It ended cancelled; everything is back on the shelves and nothing left doms twice."""
    assert await world.result(order) == ("cancelled", 0, 2)
    page = world.page()
    assert (page.stage, page.closed) == ("cancelled", True)
    assert world.quantities() == {"1": {"cancelled": 2}}
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_an_order_is_cancelled_as_soon_as_it_is_received(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document())
    await world.cancel(order)
    # then
    await cancelled(world, order)
    assert world.wms.handovers == []


async def test_a_reserved_order_is_cancelled_and_its_stock_is_freed(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    assert world.sellable() == {"dc-1": 3}
    # when
    await world.cancel(order)
    # then
    await cancelled(world, order)
    assert (world.wms.handovers, world.wms.cancels) == ([], [])


async def test_a_released_order_is_cancelled_before_its_node_accepted(world: World) -> None:
    # given
    world.prepare()
    world.stock(store_1__TEA=5)
    order = await world.at_node(document(), status="released")
    await world.until(lambda: world.pos.handovers == ["W-1-1"], "the store has it")
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.pos.cancels == [("W-1-1", "c-1")]
    assert world.sellable() == {"store-1": 5}
    assert world.statuses() == {"W-1-1": "cancelled"}
    world.nothing_is_astray()


async def test_a_packed_order_is_cancelled_and_its_label_is_voided(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until(lambda: "W-1-1" in world.wms.labels, "the label reaches the node")
    # when
    await world.cancel(order)
    # then
    await cancelled(world, order)
    assert world.wms.cancels == [("W-1-1", "c-1")]
    assert world.carrier.voided == ["S-W-1-1-P1-label"]


async def test_a_cancel_after_the_hand_over_is_too_late(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_fulfillment("W-1-1", "shipped")
    await world.answer(order, "W-1-1: shipped")
    # when
    await world.cancel(order)
    await world.answer(order, "Nothing is left to cancel")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert (world.wms.cancels, world.carrier.voided) == ([], [])
    assert world.sellable() == {"dc-1": 3}
    world.nothing_is_astray()


async def test_a_node_may_say_that_a_cancel_is_too_late(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    order = await world.at_node(document())
    # when
    await world.cancel(order)
    await world.answer(order, "Cancel c-1: too_late")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.position("dc-1").usable == 3
    assert world.carrier.voided == []
    world.nothing_is_astray()


async def test_a_node_may_answer_a_cancel_later(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.PENDING
    order = await world.at_node(document())
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    assert world.position("dc-1").released == 2
    # when
    await world.node_says("W-1-1", "cancelled", request_id="c-1")
    # then
    await cancelled(world, order)


async def test_a_node_may_refuse_a_cancel_later(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.PENDING
    order = await world.at_node(document())
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    # when
    await world.node_says("W-1-1", "cancel_refused", request_id="c-1")
    await world.answer(order, "Cancel c-1: too_late")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_goods_that_leave_while_a_cancel_is_pending_answer_it(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.PENDING
    order = await world.at_node(document())
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert "Cancel c-1: too_late" in world.story()
    world.nothing_is_astray()


@pytest.mark.parametrize(
    ("choice", "ends"), [("cancel", ("cancelled", 0, 2)), ("skip", ("completed", 2, 0))]
)
async def test_a_person_settles_a_cancel_the_node_does_not_know_of(
    world: World, choice: str, ends: tuple[str, int, int]
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.UNKNOWN
    order = await world.at_node(document())
    await world.cancel(order)
    park_id = await world.until_asked("W-1-1", "cancel")
    await world.answer(order, "Cancel c-1: unknown")
    assert world.position("dc-1").released == 2
    # when
    await world.choose(world.child("W-1-1"), park_id, choice)
    if choice == "skip":
        await world.answer(order, "Cancel c-1: too_late")
        await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ends
    world.nothing_is_astray()


async def test_the_same_request_is_obeyed_once(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await world.cancel(order, "c-1", {"1": 1})
    await world.cancel(order, "c-1", {"1": 1})
    await world.until(
        lambda: world.quantities() == {"1": {"cancelled": 1, "reserved": 1}}, "one is cancelled"
    )
    await world.cancel(order, "c-1", {"1": 1})
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 1, 1)
    assert world.sellable() == {"dc-1": 4}
    world.nothing_is_astray()


async def test_units_of_one_line_are_cancelled_at_the_node(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_1__CUP=5)
    lines = [
        {"line_id": "1", "sku": "TEA", "quantity": 3},
        {"line_id": "2", "sku": "CUP", "quantity": 2},
    ]
    order = await world.at_node(document(lines=lines))
    # when
    await world.cancel(order, lines={"1": 2})
    await world.answer(order, "Cancel c-1: cancelled")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 3, 2)
    assert world.quantities() == {
        "1": {"cancelled": 2, "delivered": 1},
        "2": {"delivered": 2},
    }
    assert (world.sellable("TEA"), world.sellable("CUP")) == ({"dc-1": 4}, {"dc-1": 3})
    world.nothing_is_astray()


async def test_a_partial_cancel_takes_reserved_units_first_and_says_what_is_past_it(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=1)
    order = await world.submit(document(lines=[{"line_id": "1", "sku": "TEA", "quantity": 3}]))
    await world.until(
        lambda: world.quantities() == {"1": {"backordered": 2, "reserved": 1}}, "one is reserved"
    )
    # when
    await world.cancel(order, lines={"1": 7})
    # then
    assert await world.result(order) == ("cancelled", 0, 3)
    assert "3 units cancelled; 4 units are past cancelling" in world.story()
    assert world.sellable() == {"dc-1": 1}
    world.nothing_is_astray()


async def test_units_asked_back_that_the_node_then_cannot_find_are_not_routed_again(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.PENDING
    order = await world.at_node(document())
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    # when
    await world.node_says("W-1-1", "rejected")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.wms.handovers == ["W-1-1"]
    assert world.sellable() == {"dc-1": 5, "dc-2": 5}
    world.nothing_is_astray()


async def test_one_of_two_nodes_is_too_late(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=1, store_1__CUP=1)
    lines = [
        {"line_id": "1", "sku": "TEA", "quantity": 1},
        {"line_id": "2", "sku": "CUP", "quantity": 1},
    ]
    order = await world.submit(document(lines=lines))
    await world.until_planned()
    await world.skip(minutes=31)
    await world.until(lambda: len(world.page().fulfillments) == 2, "both are released")
    by_node = {x.node_id: x.fulfillment_id for x in world.page().fulfillments}
    await world.until_fulfillment(by_node["dc-1"], "acknowledged")
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    # when
    await world.cancel(order)
    await world.answer(order, "Cancel c-1: too_late")
    await world.ship_and_deliver(by_node["dc-1"])
    # then
    assert await world.result(order) == ("completed", 1, 1)
    assert world.quantities() == {"1": {"delivered": 1}, "2": {"cancelled": 1}}
    assert world.sellable("CUP") == {"store-1": 1}
    world.nothing_is_astray()


async def test_a_native_cancel_of_a_reserved_order_is_a_cancel(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await order.cancel()
    # then
    await cancelled(world, order)


async def test_a_native_cancel_of_an_order_just_started_is_a_cancel(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document())
    await order.cancel()
    # then
    await cancelled(world, order)


async def test_a_native_cancel_asks_the_nodes(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await order.cancel()
    # then
    await cancelled(world, order)
    assert world.wms.cancels == [("W-1-1", "native-cancel")]


async def test_a_native_cancel_of_a_fulfillment_asks_its_node(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await world.child("W-1-1").cancel()
    # then
    await cancelled(world, order)
    assert world.wms.cancels == [("W-1-1", "native-cancel")]


class Gate:
    """Stops a step in its middle, in the thread of its activity, until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def stop(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def gated(*args: Any, **options: Any) -> Any:
            answer = real(*args, **options)
            self.reached.set()
            assert self.open.wait(8)
            return answer

        monkeypatch.setattr(owner, name, gated)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 8)


async def test_a_native_cancel_in_the_middle_of_reserving_gives_all_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    gate = Gate()
    gate.stop(monkeypatch, Reserver, "reserve")
    order = await world.submit(document())
    await gate.until_reached()
    # when
    await order.cancel()
    gate.open.set()
    # then
    await cancelled(world, order)


@pytest.mark.parametrize("step", ["free_reserved", "free_released"])
async def test_a_native_cancel_in_the_middle_of_giving_back_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    gate = Gate()
    gate.stop(monkeypatch, reservations, step)
    order = await world.reserved(document())
    if step == "free_released":
        await world.skip(minutes=31)
        await world.until_fulfillment("W-1-1", "acknowledged")
    await world.cancel(order)
    await gate.until_reached()
    # when
    await order.cancel()
    if step == "free_released":
        await world.child("W-1-1").cancel()
    gate.open.set()
    # then
    await cancelled(world, order)


async def test_a_cancel_does_not_abandon_a_giving_back_that_is_stuck(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    real, broken = reservations.free_reserved, [True]

    def stuck(*args: Any, **options: Any) -> None:
        if broken:
            raise UnknownReferenceError("the books are locked")
        real(*args, **options)

    monkeypatch.setattr(reservations, "free_reserved", stuck)
    order = await world.reserved(document())
    await world.cancel(order, "c-1", {"1": 1})
    report = await world.until_shown(order, "attention: free")
    # when
    await world.cancel(order, "c-2")
    broken.clear()
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "retry")
    # then
    await cancelled(world, order)


async def test_an_order_that_ends_answers_a_cancel_that_comes_at_the_last_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    gate = Gate()
    gate.stop(monkeypatch, reservations, "free_reserved")
    # when: the second request arrives while the first empties the order
    await world.cancel(order, "c-1")
    await gate.until_reached()
    second = asyncio.create_task(
        order.execute_update("cancel_and_answer", Cancel(request_id="c-2"), id="c-2")
    )
    gate.open.set()
    answer = await second
    # then
    assert answer["done"] is False
    assert answer["text"] == "Nothing is left to cancel"
    await cancelled(world, order)
