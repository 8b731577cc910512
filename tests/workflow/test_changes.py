"""Holds, addresses and changed documents, at every stage."""

from datetime import timedelta
from typing import Any

import pytest

from domain.orders import Address
from store import addresses
from store.engine import reading, transaction
from tests.workflow.world import SAN_FRANCISCO, World, document
from workflows.messages import Amend, ChangeAddress, PlaceHold, ReleaseHold, Vote

NEW_HOME = {"country": "US", "region": "NE", "latitude": 41.2, "longitude": -99.0}


async def hold(order: Any, request_id: str = "h-1", **fields: Any) -> None:
    await order.signal("hold", PlaceHold(request_id=request_id, owner="support", **fields))


async def release_hold(order: Any, request_id: str = "r-1", **fields: Any) -> None:
    await order.signal("release_hold", ReleaseHold(request_id=request_id, **fields))


async def test_a_held_order_is_not_released_until_the_hold_is_lifted(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await hold(order, reason="fraud check")
    await world.until_shown(order, "hold: support")
    await world.skip(days=2)
    # then
    assert world.wms.handovers == []
    page = world.page()
    assert (page.displayed, page.stage) == ("hold: support", "reserved")
    assert [(x.type, x.owner, x.reason) for x in page.holds] == [
        ("support", "support", "fraud check")
    ]
    # when
    await release_hold(order)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.page().holds == ()
    world.nothing_is_astray()


async def test_a_hold_expires_by_itself(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    await hold(order, expires_at=world.now() + timedelta(hours=3))
    await world.skip(hours=2)
    assert world.wms.handovers == []
    # when
    await world.skip(hours=2)
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert world.page().holds == ()


async def test_an_order_held_when_received_is_planned_and_not_released(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document())
    await hold(order)
    await world.until(lambda: world.sellable() == {"dc-1": 3}, "it is reserved")
    await world.skip(hours=1)
    # then
    assert world.page().displayed == "hold: support"
    assert world.wms.handovers == []


async def test_no_label_is_bought_while_a_hold_stands_at_the_node(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await hold(order)
    await world.answer(order, "what is already with the nodes is asked to wait")
    # when
    await world.node_says("W-1-1", "packed")
    await world.until_fulfillment("W-1-1", "packed")
    await world.until(lambda: world.statuses() == {"W-1-1": "packed"}, "it is recorded")
    # then
    assert world.carrier.bought == {}
    # when
    await release_hold(order)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert len(world.carrier.bought) == 1
    world.nothing_is_astray()


async def test_a_hold_that_expires_lets_the_node_go_on_too(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await hold(order, expires_at=world.now() + timedelta(hours=3))
    await world.node_says("W-1-1", "packed")
    await world.until(lambda: world.statuses() == {"W-1-1": "packed"}, "it is recorded")
    # when
    await world.skip(hours=4)
    # then
    await world.until_label("W-1-1")
    assert (await world.report(order)).view.holds == ()


async def test_an_unpaid_order_is_held_until_the_payment_is_there(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document(payment={"status": "pending"}))
    await world.until_shown(order, "hold: payment")
    await world.skip(days=1)
    # then
    assert world.wms.handovers == []
    assert world.sellable() == {"dc-1": 3}
    # when
    await release_hold(order, type="payment")
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_version_that_is_paid_lifts_the_hold_of_an_unpaid_order(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.submit(document(payment={"status": "pending"}))
    await world.until_shown(order, "hold: payment")
    # when
    await amend(world, 2, 2, payment={"status": "paid", "reference": "P-1"})
    # then
    await world.until_shown(order, "reserved")
    assert world.sellable() == {"dc-1": 3}


async def test_a_version_whose_payment_is_pending_again_holds_the_order(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await amend(world, 2, 2, payment={"status": "pending"})
    await world.until_shown(order, "hold: payment")
    await world.skip(days=1)
    # then
    assert world.wms.handovers == []
    assert world.sellable() == {"dc-1": 3}
    # when
    await release_hold(order, type="payment")
    await world.until_fulfillment("W-1-1", "acknowledged")
    # then
    assert world.wms.handovers == ["W-1-1"]
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)


async def test_lifting_a_hold_that_is_not_there_changes_nothing(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    await hold(order)
    # when
    await release_hold(order, type="payment")
    # then
    await world.answer(order, "There is no hold payment: there is support")
    assert (await world.report(order)).view.displayed == "hold: support"


async def move(world: World, order: Any, request_id: str = "a-1") -> None:
    with transaction(world.engine) as session:
        address_id = addresses.save_address(session, "W-1", "1", Address.model_validate(NEW_HOME))
    await order.signal(
        "change_address", ChangeAddress(request_id=request_id, address_id=address_id)
    )


def destination(world: World) -> float | None:
    with reading(world.engine) as session:
        address = addresses.address_of(session, "W-1", "1")
    assert address is not None
    return address.longitude


async def test_a_new_address_before_release_is_planned_again(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    assert world.sellable() == {"dc-1": 3, "dc-2": 5}
    # when
    await move(world, order)
    await world.until_planned(version=2)
    # then
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    assert destination(world) == -99.0
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    ship_to = world.wms.released["W-1-1"].ship_to
    assert ship_to is not None
    assert ship_to.longitude == -99.0
    assert [x.node_id for x in world.page().fulfillments] == ["dc-2"]
    world.nothing_is_astray()


@pytest.mark.parametrize("change", ["address", "version"])
async def test_nobody_gets_the_units_of_an_order_that_is_just_planned_again(
    world: World, change: str
) -> None:
    # given: an order that has all there is
    world.prepare()
    world.stock(dc_1__TEA=2)
    order = await world.reserved(document())
    # when: it changes, and everything stops between giving its plan up and the next
    world.refusals["route"] = "no worker"
    if change == "address":
        await move(world, order)
    else:
        moved = [{"id": "1", "address": NEW_HOME}]
        await amend(world, 2, 2, ship_groups=moved)
    await world.until(lambda: world.page().attention is not None, "the route step is parked")
    # then
    assert world.quantities() == {"1": {"open": 2}}
    assert world.position("dc-1").held == 2
    assert world.sellable() == {}
    # when
    del world.refusals["route"]
    await world.choose(order, "route-1", "retry")
    await world.until_planned(version=2)
    # then
    assert world.quantities() == {"1": {"reserved": 2}}
    assert (world.position("dc-1").held, world.position("dc-1").reserved) == (0, 2)
    await world.cancel(order)
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.sellable() == {"dc-1": 2}
    world.nothing_is_astray()


async def test_an_order_that_shrinks_to_nothing_while_it_is_planned_again_keeps_nothing(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2)
    order = await world.reserved(document())
    world.refusals["route"] = "no worker"
    await move(world, order)
    await world.until(lambda: world.page().attention is not None, "the route step is parked")
    # when
    del world.refusals["route"]
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.sellable() == {"dc-1": 2}
    world.nothing_is_astray()


async def test_of_what_has_left_a_hold_and_a_new_address_are_answered_as_too_late(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until(lambda: world.quantities() == {"1": {"shipped": 2}}, "it has left")
    await world.until_order_knows(order, "W-1-1", "shipped")
    # when
    await hold(order)
    await move(world, order)
    # then
    await world.answer(order, "Held: support; what has left goes on")
    await world.answer(
        order, "Too late: it has left; the new address counts only if it is sent again"
    )
    await world.carrier_says("W-1-1", "delivered")
    assert await world.result(order) == ("completed", 2, 0)
    assert world.carrier.destinations != [-99.0]
    world.nothing_is_astray()


async def test_a_new_address_of_an_order_that_has_partly_left_is_used_for_the_rest(
    world: World,
) -> None:
    # given: two units have left, two wait for supply
    world.prepare()
    world.stock(dc_1__TEA=2)
    lines = [{"line_id": "1", "sku": "TEA", "quantity": 4}]
    order = await world.submit(document(lines=lines))
    await world.until_shown(order, "backordered")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_order_knows(order, "W-1-1", "shipped")
    assert world.page().awaits.endswith("; dc-1 to do its part (W-1-1)")
    # when
    await move(world, order)
    # then
    await world.answer(order, "The new address is used; what has left goes to the address before")
    await world.carrier_says("W-1-1", "delivered")
    await world.until_order_knows(order, "W-1-1", "delivered")
    await world.until(lambda: "dc-1" not in world.page().awaits, "the node has done its part")
    assert world.page().awaits.startswith("supply for backordered units")
    await world.cancel(order)
    assert await world.result(order) == ("completed", 2, 2)
    world.nothing_is_astray()


async def test_a_node_takes_a_new_address_until_the_label_is_bought(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await move(world, order)
    await world.answer(order, "W-1-1 uses the new address")
    # then
    assert [x.longitude for x in world.wms.addresses] == [-99.0]
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.carrier.destinations == [-99.0]


async def test_a_node_may_be_past_a_new_address(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.takes_addresses = False
    order = await world.at_node(document())
    # when
    await move(world, order)
    # then
    await world.answer(order, "W-1-1 is past changing its address")
    # when
    await world.ship_and_deliver("W-1-1")
    # then: the label says what the node's papers say
    assert await world.result(order) == ("completed", 2, 0)
    assert world.carrier.destinations == [SAN_FRANCISCO["longitude"]]


async def test_an_address_changed_after_the_label_is_refused(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until(lambda: "W-1-1" in world.wms.labels, "the label reaches the node")
    # when
    await move(world, order)
    await world.answer(order, "W-1-1 is past changing its address")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.wms.addresses == []
    assert world.carrier.voided == []
    world.nothing_is_astray()


async def test_an_address_nobody_stored_is_skipped_by_a_person(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await order.signal("change_address", ChangeAddress(request_id="a-1", address_id="A-none"))
    report = await world.until_shown(order, "attention: use_address")
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "skip")
    # then
    await world.answer(order, "The new address cannot be used")
    await world.until_shown(order, "reserved")
    assert destination(world) == SAN_FRANCISCO["longitude"]
    assert world.page().plan_version == 1


async def amend(world: World, version: int, quantity: int, **changes: Any) -> None:
    lines = changes.pop("lines", [{"line_id": "1", "sku": "TEA", "quantity": quantity}])
    await world.submit(document(version=version, lines=lines, **changes))


async def test_a_changed_order_takes_more_before_release(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await amend(world, 2, 4)
    await world.answer(order, "Changed to version 2")
    await world.until(lambda: world.quantities() == {"1": {"reserved": 4}}, "all is reserved")
    # then
    assert world.sellable() == {"dc-1": 1}
    assert world.page().version == 2
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then: as one parcel
    assert await world.result(order) == ("completed", 4, 0)
    assert world.wms.handovers == ["W-1-1"]
    world.nothing_is_astray()


async def test_a_changed_order_takes_another_product_before_release(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_1__CUP=5)
    order = await world.reserved(document())
    # when
    await amend(world, 2, 0, lines=[{"line_id": "1", "sku": "CUP", "quantity": 2}])
    await world.answer(order, "Changed to version 2")
    await world.until(lambda: world.sellable("CUP") == {"dc-1": 3}, "the other is reserved")
    # then
    assert world.sellable("TEA") == {"dc-1": 5}
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    handed = world.wms.released["W-1-1"].order.lines
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert [(x.sku, x.quantity) for x in handed] == [("CUP", 2)]
    world.nothing_is_astray()


async def test_a_waiting_line_that_becomes_another_product_waits_no_longer(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__CUP=5)
    order = await world.submit(document())
    await world.until_shown(order, "backordered")
    # when
    await amend(world, 2, 0, lines=[{"line_id": "1", "sku": "CUP", "quantity": 2}])
    # then
    await world.until_shown(order, "reserved")
    assert world.sellable("CUP") == {"dc-1": 3}
    world.stock(dc_1__TEA=2)
    assert world.sellable("TEA") == {"dc-1": 2}
    world.books_are_right()


async def test_a_product_cannot_change_once_it_is_released(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_1__CUP=5)
    order = await world.at_node(document())
    # when
    await amend(world, 2, 0, lines=[{"line_id": "1", "sku": "CUP", "quantity": 2}])
    # then
    await world.answer(order, "line 1: 2 units of TEA released already: not changed")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable("CUP") == {"dc-1": 5}
    world.nothing_is_astray()


async def test_units_that_have_left_stay_in_the_order(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_shown(order, "shipped")
    # when
    await amend(world, 2, 1)
    # then
    await world.answer(order, "line 1: 1 unit has left and stays")
    await world.carrier_says("W-1-1", "delivered")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


def elsewhere() -> list[dict[str, Any]]:
    return [{"id": "1", "address": NEW_HOME}]


async def test_a_version_with_another_address_is_planned_again(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    assert world.sellable() == {"dc-1": 3, "dc-2": 5}
    # when
    await amend(world, 2, 2, ship_groups=elsewhere())
    await world.answer(order, "Changed to version 2")
    # then
    await world.until(lambda: world.sellable() == {"dc-1": 5, "dc-2": 3}, "it is planned again")
    assert world.quantities() == {"1": {"reserved": 2}}


@pytest.mark.parametrize(("is_taken", "longitude"), [(True, -99.0), (False, -122.42)])
async def test_a_node_is_asked_to_send_to_the_address_of_a_new_version(
    world: World, is_taken: bool, longitude: float
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.takes_addresses = is_taken
    order = await world.at_node(document())
    # when
    await amend(world, 2, 2, ship_groups=elsewhere())
    what = "uses the new address" if is_taken else "is past changing its address"
    await world.answer(order, f"W-1-1 {what}")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert [x.longitude for x in world.wms.addresses] == [-99.0]
    assert world.carrier.destinations == [longitude]


async def test_a_changed_order_takes_less_before_release(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await amend(world, 2, 1)
    await world.answer(order, "1 unit cancelled (changed order)")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 1, 1)
    assert world.sellable() == {"dc-1": 4}
    world.nothing_is_astray()


async def test_a_changed_order_takes_more_and_another_line_after_release(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_1__CUP=5)
    order = await world.at_node(document())
    # when
    lines = [
        {"line_id": "1", "sku": "TEA", "quantity": 3},
        {"line_id": "2", "sku": "CUP", "quantity": 1},
    ]
    await amend(world, 2, 0, lines=lines)
    await world.answer(order, "Changed to version 2")
    await world.ship_and_deliver("W-1-1")
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 4, 0)
    assert world.quantities() == {"1": {"delivered": 3}, "2": {"delivered": 1}}
    assert (world.sellable("TEA"), world.sellable("CUP")) == ({"dc-1": 2}, {"dc-1": 4})
    world.nothing_is_astray()


async def test_a_changed_order_asks_the_node_for_what_it_wants_less(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await amend(world, 2, 1)
    await world.answer(order, "/less: cancelled")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 1, 1)
    assert len(world.wms.cancels) == 1
    assert world.sellable() == {"dc-1": 4}
    world.nothing_is_astray()


async def test_a_version_that_is_not_newer_changes_nothing(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    await amend(world, 2, 1)
    await world.answer(order, "Changed to version 2")
    # when
    await order.signal("amend", Amend(request_id="again", version=2))
    # then
    await world.answer(order, "Version 2 is not newer")
    assert world.quantities()["1"]["reserved"] == 1


async def test_a_changed_order_is_asked_of_the_levels_it_newly_needs(world: World) -> None:
    # given: a business order small enough to need nobody
    rule = {"level": 1, "role": "manager", "condition": {"min_total": "100"}}
    world.prepare(process={"approvals": [rule]})
    world.stock(dc_1__TEA=50)
    business: dict[str, Any] = {
        "order_type": "b2b",
        "customer": {"account_id": "ACME"},
        "payment": {"status": "terms"},
    }
    order = await world.reserved(document(**business))
    # when: it is changed to one that needs a manager
    many = [{"line_id": "1", "sku": "TEA", "quantity": 20}]
    await world.submit(document(version=2, lines=many, **business))
    await world.until_shown(order, "pending_approval")
    await world.skip(days=1)
    # then: nothing goes out before the manager says yes
    assert world.wms.handovers == []
    # when
    vote = {"request_id": "v-1", "approver": "ann", "role": "manager", "level": 1}
    await order.signal("approve", Vote.model_validate(vote))
    # then
    await world.until(lambda: bool(world.wms.handovers), "the approved order is released")
    world.books_are_right()
