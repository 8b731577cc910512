"""Records histories for the replay test: `python -m tests.replay.record [NAME ...]`.

A history is recorded once, when its path is new, and never edited: it stands for the orders that
were under way when the code changed. Names that exist are left alone; delete a file to record anew.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from domain.events import LineFact, ShortReason
from domain.fulfillments import Package, PackageLine
from domain.orders import Order
from domain.plans import NodeChoice
from domain.stages import Choice
from integrations.node_system import CancelReplyOutcome
from store.engine import migrate, open_engine
from tests.workflow.early_promise import promise_one_day_early
from tests.workflow.held_back import let_the_word_go, word_held_back
from tests.workflow.server import development_server, time_skipping_server, world_on
from tests.workflow.world import World, document
from workflows.messages import Amend, ChooseNode, PlaceHold, ReleaseHold, Resume, Vote

HISTORIES = Path(__file__).parent / "histories"
TWO_LINES = [
    {"line_id": "1", "sku": "TEA", "quantity": 1},
    {"line_id": "2", "sku": "CUP", "quantity": 3},
]
B2B: dict[str, Any] = {
    "order_type": "b2b",
    "customer": {"account_id": "ACME"},
    "payment": {"status": "terms"},
}
SCRUBBED = {"identity": "recorder", "stackTrace": "left out"}
LEVELS = {"approvals": [{"level": 1, "role": "manager"}, {"level": 2, "role": "finance"}]}

Scenario = Callable[[World], Awaitable[None]]


async def completed(world: World) -> None:
    """One shipment, no hitch."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def split(world: World) -> None:
    """Two nodes."""
    world.prepare()
    world.stock(dc_1__TEA=1, dc_2__CUP=4)
    order = await world.at_node(document(lines=TWO_LINES))
    await world.until_fulfillment("W-1-2", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.ship_and_deliver("W-1-2")
    await world.result(order)


async def mixed_pickup(world: World) -> None:
    """One line is shipped, the other collected at a store."""
    world.prepare()
    world.stock(dc_1__TEA=2, store_1__CUP=1)
    mixed = document(lines=[TWO_LINES[0], {**TWO_LINES[1], "quantity": 1, "ship_group": "2"}])
    mixed["ship_groups"].append({"id": "2", "method": "pickup", "node_id": "store-1"})
    order = await world.submit(mixed)
    await world.until_planned()
    await world.skip(minutes=31)
    await world.until(lambda: len(world.page().fulfillments) == 2, "both are released")
    by_node = {x.node_id: x.fulfillment_id for x in world.page().fulfillments}
    await world.until_fulfillment(by_node["dc-1"], "acknowledged")
    await world.ship_and_deliver(by_node["dc-1"])
    await world.until(lambda: by_node["store-1"] in world.pos.released, "the store has it")
    for report in ("acknowledged", "picked", "ready_for_pickup", "collected"):
        await world.node_says(by_node["store-1"], report)
    await world.result(order)


async def pickup_expired(world: World) -> None:
    """Nobody comes."""
    world.prepare()
    world.stock(store_1__TEA=2)
    groups = [{"id": "1", "method": "pickup", "node_id": "store-1"}]
    order = await world.at_node(document(ship_groups=groups), status="released")
    await world.node_says("W-1-1", "ready_for_pickup")
    await world.until_fulfillment("W-1-1", "ready_for_pickup")
    await world.skip(days=8)
    await world.result(order)


async def third_party(world: World) -> None:
    """A 3PL ships itself, in two packages."""
    world.prepare()
    world.stock(threepl_1__TEA=2)
    order = await world.at_node(document())
    parcels = tuple(
        Package(
            package_id=f"box-{number}",
            lines=(PackageLine(line_id="1", quantity=1),),
            carrier="Their Own",
            tracking_number=f"own-{number}",
        )
        for number in (1, 2)
    )
    await world.node_says("W-1-1", "packed", packages=parcels)
    for number, parcel in enumerate(parcels, 1):
        await world.node_says("W-1-1", "handed_over", packages=(parcel,))
        await world.carrier_says("W-1-1", "delivered", tracking=f"own-{number}")
    await world.result(order)


async def rerouted(world: World) -> None:
    """The first node rejects."""
    world.prepare()
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "rejected")
    await world.sent_again("W-1-2")
    await world.result(order)


async def silent(world: World) -> None:
    """A store is reminded, asked to cancel, does not know, and a person sends it elsewhere."""
    world.prepare()
    world.stock(store_1__TEA=2, dc_2__TEA=2)
    world.pos.cancel_outcome = CancelReplyOutcome.UNKNOWN
    order = await world.at_node(document(), status="released")
    await world.skip(hours=5)
    await world.until(lambda: "W-1-1" in world.pos.reminded, "it is reminded")
    await world.skip(hours=5)
    park_id = await world.until_asked("W-1-1", "cancel")
    await world.choose(world.child("W-1-1"), park_id, "cancel")
    await world.sent_again("W-1-2")
    await world.result(order)


async def short_pick(world: World) -> None:
    """One of two units is not found."""
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.at_node(document())
    facts = (LineFact(line_id="1", picked=1, short=1, reason=ShortReason.NOT_FOUND),)
    await world.node_says("W-1-1", "picked", lines=facts)
    await world.until_planned(version=2)
    await world.ship_and_deliver("W-1-1")
    await world.sent_again("W-1-2")
    await world.result(order)


async def backordered(world: World) -> None:
    """Nothing is there; after some days supply is granted."""
    world.prepare()
    order = await world.submit(document())
    await world.until_shown(order, "backordered")
    await world.skip(days=3)
    world.stock(dc_1__TEA=5)
    await world.until_shown(order, "reserved")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def backorder_expired(world: World) -> None:
    """Nothing ever comes."""
    world.prepare()
    order = await world.submit(document())
    await world.until_shown(order, "backordered")
    await world.skip(days=31)
    await world.result(order)


async def _asked(world: World) -> Any:
    world.prepare(process=LEVELS)
    world.stock(dc_1__TEA=5)
    order = await world.submit(document(**B2B))
    await world.until_attribute("order-W-1", "PendingApproval", "manager")
    return order


def _vote(role: str, level: int) -> Vote:
    return Vote(request_id=f"{role}-{level}", approver=f"the-{role}", role=role, level=level)


async def approved(world: World) -> None:
    """Two levels, one vote that does not count, a reminder."""
    order = await _asked(world)
    await order.signal("approve", _vote("finance", 1))
    await order.signal("approve", _vote("manager", 1))
    await world.until_attribute("order-W-1", "PendingApproval", "finance")
    await world.skip(hours=25)
    await order.signal("approve", _vote("finance", 2))
    await world.until_shown(order, "reserved")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def rejected(world: World) -> None:
    """The first level says no."""
    order = await _asked(world)
    await order.signal("reject", _vote("manager", 1))
    await world.result(order)


async def waiting_for_approval(world: World) -> None:
    """Still open: it waits for its first level."""
    await _asked(world)


async def cancelled_before_release(world: World) -> None:
    """All of a reserved order."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    await world.cancel(order)
    await world.result(order)


async def cancelled_at_node(world: World) -> None:
    """Packed and labelled: the node confirms, the label is voided."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until(lambda: "W-1-1" in world.wms.labels, "the label reaches the node")
    await world.cancel(order)
    await world.result(order)


async def cancelled_in_part(world: World) -> None:
    """One unit by line while it is reserved, one more at the node."""
    world.prepare()
    world.stock(dc_1__CUP=5)
    order = await world.reserved(document(lines=[TWO_LINES[1]]))
    await world.cancel(order, "c-1", {"2": 1})
    await world.answer(order, "1 unit cancelled")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.cancel(order, "c-2", {"2": 1})
    await world.answer(order, "Cancel c-2: cancelled")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def too_late(world: World) -> None:
    """The node refuses a cancel."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    order = await world.at_node(document())
    await world.cancel(order)
    await world.answer(order, "Cancel c-1: too_late")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def lost_parcel(world: World) -> None:
    """Lost, and sent again."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "lost")
    park_id = await world.until_asked("W-1-1", "deliver")
    await world.choose(world.child("W-1-1"), park_id, "reship")
    await world.sent_again("W-1-2")
    await world.result(order)


async def refused_work(world: World) -> None:
    """The node refuses the work; a person sends it elsewhere, after the node was asked."""
    world.prepare()
    world.stock(dc_1__TEA=2, threepl_1__TEA=2)
    world.wms.refusal = "this warehouse is closed"
    await world.reserved(document())
    await world.skip(minutes=31)
    park_id = await world.until_asked("W-1-1", "pick")
    await world.choose(world.child("W-1-1"), park_id, "reroute")
    await world.until_planned(version=2)


async def refused_label(world: World) -> None:
    """The carrier refuses; a person says to try again."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.carrier.refusal = "no service to this postal code"
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    park_id = await world.until_asked("W-1-1", "ship")
    world.carrier.refusal = None
    await world.choose(world.child("W-1-1"), park_id, "retry")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    await world.result(order)


async def held(world: World) -> None:
    """Held before release by an unpaid bill, and again at the node."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.submit(document(payment={"status": "pending"}))
    await world.until_shown(order, "hold: payment")
    await world.skip(hours=1)
    await order.signal("release_hold", ReleaseHold(request_id="r-1", type="payment"))
    await world.until_fulfillment("W-1-1", "acknowledged")
    await order.signal("hold", PlaceHold(request_id="h-2", type="fraud"))
    await world.node_says("W-1-1", "packed")
    await world.until_fulfillment("W-1-1", "packed")
    await order.signal("release_hold", ReleaseHold(request_id="r-2", type="fraud"))
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    await world.result(order)


async def amended(world: World) -> None:
    """More units after release."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.submit(document(version=2, lines=[{**TWO_LINES[0], "quantity": 4}]))
    await world.answer(order, "Changed to version 2")
    await order.signal("amend", Amend(request_id="again", version=2))
    await world.ship_and_deliver("W-1-1")
    await world.sent_again("W-1-2")
    await world.result(order)


async def amended_before_release(world: World) -> None:
    """More units and another product while all is reserved: planned again as one."""
    world.prepare()
    world.stock(dc_1__TEA=5, dc_1__CUP=5, dc_1__POT=5)
    order = await world.reserved(document(lines=TWO_LINES))
    lines = [{**TWO_LINES[0], "quantity": 3}, {**TWO_LINES[1], "sku": "POT"}]
    await world.submit(document(version=2, lines=lines))
    await world.answer(order, "Changed to version 2")
    await world.until_planned(version=2)
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def amended_for_approval(world: World) -> None:
    """A changed order needs further approval: the level it newly needs is asked and votes."""
    rule = {"level": 2, "role": "finance", "condition": {"min_total": "30"}}
    world.prepare(process={"approvals": [{"level": 1, "role": "manager"}, rule]})
    world.stock(dc_1__TEA=9)
    order = await world.submit(document(**B2B))
    await world.until_attribute("order-W-1", "PendingApproval", "manager")
    await order.signal("approve", _vote("manager", 1))
    await world.until_shown(order, "reserved")
    await world.submit(document(version=2, lines=[{**TWO_LINES[0], "quantity": 4}], **B2B))
    await world.answer(order, "The changed order needs further approval")
    await world.until_attribute("order-W-1", "PendingApproval", "finance")
    await order.signal("approve", _vote("finance", 2))
    await world.answer(order, "Approved by every level")
    await world.until_planned(version=2)
    await world.skip(minutes=31)
    await world.until(lambda: len(world.page().fulfillments) == 2, "both are released")
    for fulfillment_id in ("W-1-1", "W-1-2"):
        await world.until_fulfillment(fulfillment_id, "acknowledged")
        await world.ship_and_deliver(fulfillment_id)
    await world.result(order)


async def asked_and_going_on(world: World) -> None:
    """A person is asked about one line while the other is released, sent and delivered."""
    world.prepare(process={"reroute_attempts": 0})
    world.stock(dc_1__TEA=1, dc_2__TEA=1, dc_1__CUP=3)
    order = await world.at_node(document(lines=TWO_LINES[:1]))
    await world.submit(document(version=2, lines=TWO_LINES))
    await world.until_planned(version=2)
    await world.node_says("W-1-1", "rejected")
    report = await world.until_shown(order, "attention: reroute")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-2", "acknowledged")
    await world.ship_and_deliver("W-1-2")
    await world.until(lambda: world.statuses()["W-1-2"] == "delivered", "it is delivered")
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "cancel")
    await world.result(order)


async def ended_fulfillment(world: World) -> None:
    """Support staff terminate a fulfillment; a person sends its units from elsewhere."""
    world.prepare(process={"timings": {"remorse": "PT0S"}})
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.child("W-1-1").terminate("by mistake")
    report = await world.until_shown(order, "attention: fulfillment")
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "reroute")
    await world.until_fulfillment("W-1-2", "acknowledged")
    await world.ship_and_deliver("W-1-2")
    await world.result(order)


async def native_cancel(world: World) -> None:
    """Cancelled in Temporal while its fulfillment is at the node; all is given back."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await order.cancel()
    await world.result(order)


async def kept_books_completed(world: World) -> None:
    """One shipment; bookkeeping is local, a risk passes, holds and cancels come without words."""
    await completed(world)


async def kept_books_split(world: World) -> None:
    """Two nodes, likewise."""
    await split(world)


async def kept_books_short_pick(world: World) -> None:
    """One of two units is not found, likewise."""
    await short_pick(world)


async def kept_books_backordered(world: World) -> None:
    """Supply comes after some days, likewise."""
    await backordered(world)


async def kept_books_cancelled_at_node(world: World) -> None:
    """The node confirms a cancel of packed goods, likewise."""
    await cancelled_at_node(world)


async def kept_books_approved(world: World) -> None:
    """Two levels and a vote that does not count, likewise."""
    await approved(world)


async def kept_books_held(world: World) -> None:
    """Held before release and at the node, likewise."""
    await held(world)


async def kept_books_refused_label(world: World) -> None:
    """A refusal whose words stay in the store; a person says to try again."""
    await refused_label(world)


async def late(world: World) -> None:
    """The plan is a day later than the checkout promised: at risk until it is delivered."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    promise_one_day_early(world, Order.model_validate(document()))
    order = await world.at_node(document(promise_id="promise-1"))
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def cancelled_while_parked(world: World) -> None:
    """The carrier refuses a label; while a person is asked, the customer cancels."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.carrier.refusal = "no service to this postal code"
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    await world.until_asked("W-1-1", "ship")
    await world.cancel(order)
    await world.result(order)


async def cancelled_in_an_outage(world: World) -> None:
    """The carrier is away; meanwhile the customer cancels."""
    world.prepare(process={"timings": {"remorse": "PT0S", "vendor_retry_first": "PT0.2S"}})
    world.stock(dc_1__TEA=5)
    world.carrier.outages = 1_000_000
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "packed")
    await world.until(lambda: world.carrier.rated > 1, "the carrier is asked again")
    await world.cancel(order)
    await world.result(order)


async def answered_by_update(world: World) -> None:
    """The carrier refuses a label; a person answers, and is told what became of it."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.carrier.refusal = "no service to this postal code"
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    park_id = await world.until_asked("W-1-1", "ship")
    world.carrier.refusal = None
    resume = Resume(request_id="r-1", park_id=park_id, choice=Choice.RETRY)
    await world.child("W-1-1").execute_update("resume_and_answer", resume)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    await world.result(order)


async def answered_during_a_cancel(world: World) -> None:
    """While a person is asked about a label, a cancel comes too late; the answer still counts."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    world.carrier.refusal = "no service to this postal code"
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    world.wms.answers_cancels.clear()
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    park_id = await world.until_asked("W-1-1", "ship")
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    await world.choose(world.child("W-1-1"), park_id, "retry")
    world.wms.answers_cancels.set()
    again = await world.until_asked_anew("W-1-1", park_id)
    world.carrier.refusal = None
    await world.choose(world.child("W-1-1"), again, "retry")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    await world.result(order)


async def automated(world: World) -> None:
    """Rules of the policy tell something, hold the order for an hour, and ask a person to look."""
    rules = [
        {"name": "greet", "event": "accepted", "do": "notify"},
        {"name": "wait", "event": "reserved", "do": "hold", "expires_after": "PT1H"},
        {"name": "vip", "event": "reserved", "do": "attention"},
    ]
    world.prepare(process={"automation": rules})
    world.stock(dc_1__TEA=5)
    order = await world.submit(document())
    report = await world.until_shown(order, "attention: rule-vip")
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "skip")
    await world.until_shown(order, "hold: automation")
    await world.skip(minutes=61)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def customer_care(world: World) -> None:
    """No node can supply it, and the routing policy asks people at once; supply comes later."""
    world.prepare(routing={"after": ["customer_care"]})
    order = await world.submit(document())
    report = await world.until_shown(order, "attention: backorder")
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "retry")
    await world.until_shown(order, "backordered")
    world.stock(dc_1__TEA=2)
    await world.until_shown(order, "reserved")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def unpaid_again(world: World) -> None:
    """A new version's payment is pending: held until it is paid."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    await world.submit(document(version=2, payment={"status": "pending"}))
    await world.until_shown(order, "hold: payment")
    await order.signal("release_hold", ReleaseHold(request_id="paid", type="payment"))
    await world.skip(hours=1)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def _reserved_far_away(world: World) -> WorkflowHandle[Any, Any]:
    world.prepare()
    world.stock(dc_2__TEA=5)
    order = await world.reserved(document())
    world.stock(dc_1__TEA=5)
    return order


async def moved(world: World) -> None:
    """A brokering run moves the plan, the order hears of it, and a unit is cancelled then."""
    order = await _reserved_far_away(world)
    await world.brokering()
    await world.answer(order, "Moved by a brokering run")
    await world.cancel(order, lines={"1": 1})
    await world.answer(order, "1 unit cancelled")
    await world.sent_again("W-1-1")
    await world.result(order)


async def brokered(world: World) -> None:
    """A brokering run of its own, beside the order that it moves."""
    order = await _reserved_far_away(world)
    await world.brokering("recorded")
    await world.answer(order, "Moved by a brokering run")
    await world.sent_again("W-1-1")
    await world.result(order)


async def moved_unheard(world: World) -> None:
    """The release comes before word of the move, which comes late."""
    order = await _reserved_far_away(world)
    with word_held_back():
        await world.brokering()
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    let_the_word_go(world)
    await world.ship_and_deliver("W-1-1")
    await world.result(order)


async def chosen_nodes(world: World) -> None:
    """A node is forced, another that cannot serve is refused, then all is planned freely."""
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    for number, (choice, node) in enumerate(
        [(NodeChoice.FORCE, "dc-2"), (NodeChoice.FORBID, "dc-2"), (None, None)], 1
    ):
        command = ChooseNode(request_id=f"n-{number}", choice=choice, node_id=node)
        await order.execute_update("choose_node_and_answer", command, id=f"n-{number}")
    only = ChooseNode(request_id="n-4", choice=NodeChoice.FORCE, node_id="store-1")
    await order.execute_update("choose_node_and_answer", only, id="n-4")
    await world.sent_again("W-1-1", plan=4)
    await world.result(order)


SCENARIOS: tuple[Scenario, ...] = (
    completed,
    split,
    mixed_pickup,
    pickup_expired,
    third_party,
    rerouted,
    silent,
    short_pick,
    backordered,
    backorder_expired,
    approved,
    rejected,
    waiting_for_approval,
    cancelled_before_release,
    cancelled_at_node,
    cancelled_in_part,
    too_late,
    lost_parcel,
    refused_work,
    refused_label,
    held,
    amended,
    amended_before_release,
    amended_for_approval,
    asked_and_going_on,
    ended_fulfillment,
    native_cancel,
    kept_books_completed,
    kept_books_split,
    kept_books_short_pick,
    kept_books_backordered,
    kept_books_cancelled_at_node,
    kept_books_approved,
    kept_books_held,
    kept_books_refused_label,
    late,
    cancelled_while_parked,
    cancelled_in_an_outage,
    answered_by_update,
    answered_during_a_cancel,
    unpaid_again,
    automated,
    customer_care,
    moved,
    brokered,
    moved_unheard,
    chosen_nodes,
)

NEED_A_REAL_SERVER = (ended_fulfillment, cancelled_in_an_outage)
"""The time-skipping server tells no order that a fulfillment of it was terminated, and goes on with
an activity that was cancelled."""


RUNS: dict[Scenario, tuple[str, ...]] = {brokered: ("recorded",)}
"""The brokering runs whose histories are kept too."""


async def record(scenario: Scenario, template: Path) -> None:
    """Play a scenario and keep the histories of the order and its fulfillments."""
    is_real = scenario in NEED_A_REAL_SERVER
    with tempfile.TemporaryDirectory() as folder:
        async with (
            development_server() if is_real else time_skipping_server() as server,
            world_on(server, template, Path(folder), is_versioned=is_real) as world,
        ):
            await scenario(world)
            numbers = [page.fulfillment_id for page in world.page().fulfillments]
            runs = RUNS.get(scenario, ())
            parts = [f"fulfillment-{number}" for number in numbers]
            for workflow_id in ("order-W-1", *parts, *runs):
                history = await world.client.get_workflow_handle(workflow_id).fetch_history()
                document = _anonymous(json.loads(history.to_json()))
                path = HISTORIES / f"{scenario.__name__}.{workflow_id}.json"
                path.write_text(json.dumps(document, separators=(",", ":")) + "\n")


def _anonymous(value: Any) -> Any:
    """Without the names, processes and paths of the machine that recorded."""
    if isinstance(value, dict):
        return {key: SCRUBBED.get(key) or _anonymous(one) for key, one in value.items()}
    return [_anonymous(one) for one in value] if isinstance(value, list) else value


async def _main(names: list[str]) -> None:
    HISTORIES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "doms.db"
        engine = open_engine(f"sqlite:///{template}")
        migrate(engine)
        engine.dispose()
        for scenario in SCENARIOS:
            name = scenario.__name__
            is_wanted = name in names if names else not list(HISTORIES.glob(f"{name}.*.json"))
            if is_wanted:
                await record(scenario, template)
                print(f"recorded {name}")


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
