"""What people may ask and are told: updates, queries, attributes, histories, wrong messages."""

import json
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import kernel
from domain.errors import UnknownReferenceError
from domain.fulfillments import FulfillmentLine, FulfillmentOrder
from domain.network import ConnectionClass
from tests.workflow.world import World, document
from workflows.fulfillment import FulfillmentWorkflow
from workflows.messages import Cancel, FulfillmentInput, PlaceHold, ReleaseHold, Resume, Vote
from workflows.order import OrderWorkflow


async def events(order: Any) -> list[dict[str, Any]]:
    """The order's history as its JSON says."""
    history = await order.fetch_history()
    found: list[dict[str, Any]] = json.loads(history.to_json())["events"]
    return found


async def reserved(world: World) -> Any:
    world.prepare()
    world.stock(dc_1__TEA=5)
    return await world.reserved(document())


async def test_an_update_is_answered_and_a_repeat_of_it_gets_the_first_answer(
    world: World,
) -> None:
    # given
    order = await reserved(world)
    cancel = Cancel.model_validate(
        {"request_id": "c-1", "lines": [{"line_id": "1", "quantity": 1}]}
    )
    # when
    first = await order.execute_update(OrderWorkflow.cancel_and_answer, cancel, id="c-1")
    again = await order.execute_update(OrderWorkflow.cancel_and_answer, cancel, id="c-1")
    other = await order.execute_update(OrderWorkflow.cancel_and_answer, cancel, id="another id")
    # then
    assert (first.done, first.text) == (True, "1 unit cancelled")
    assert first == again == other
    assert world.quantities() == {"1": {"cancelled": 1, "reserved": 1}}
    assert world.sellable() == {"dc-1": 4}


async def test_holds_are_placed_and_lifted_by_updates(world: World) -> None:
    # given
    order = await reserved(world)
    # when
    held = await order.execute_update(
        OrderWorkflow.hold_and_answer, PlaceHold(request_id="h-1", type="fraud")
    )
    lifted = await order.execute_update(
        OrderWorkflow.release_hold_and_answer, ReleaseHold(request_id="r-1", type="fraud")
    )
    # then
    assert (held.done, held.text) == (True, "Held: fraud")
    assert (lifted.done, lifted.text) == (True, "Hold fraud lifted")
    assert (await world.report(order)).view.holds == ()


@pytest.mark.parametrize(
    ("update", "message", "why"),
    [
        (
            "cancel_and_answer",
            Cancel.model_validate({"request_id": "x", "lines": [{"line_id": "9", "quantity": 1}]}),
            "the order has no line 9",
        ),
        (
            "release_hold_and_answer",
            ReleaseHold(request_id="x", type="fraud"),
            "There is no hold fraud: the order is not held",
        ),
        (
            "resume_and_answer",
            Resume.model_validate({"request_id": "x", "park_id": "p-1", "choice": "retry"}),
            "nothing waits for a choice",
        ),
        (
            "approve_and_answer",
            Vote(request_id="x", approver="mia", role="manager", level=1),
            "no approval is waited for",
        ),
        (
            "reject_and_answer",
            Vote(request_id="x", approver="mia", role="manager", level=1),
            "no approval is waited for",
        ),
    ],
)
async def test_a_refused_update_says_why_and_leaves_no_trace(
    world: World, update: str, message: Any, why: str
) -> None:
    # given
    order = await reserved(world)
    await world.until_attribute("order-W-1", "OrderStatus", "reserved")
    before = await events(order)
    # when
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await order.execute_update(update, message)
    # then
    assert why in str(refusal.value.cause)
    # This server keeps the workflow task that looked at it; the real one not even that.
    new = (await events(order))[len(before) :]
    assert [x["eventType"] for x in new if "WORKFLOW_TASK" not in x["eventType"]] == []


async def test_a_signal_of_the_wrong_shape_changes_nothing(world: World) -> None:
    # given
    order = await reserved(world)
    # when
    await order.signal("cancel", {"request_id": "c-1", "lines": "all of them"})
    await order.signal("hold", {"nonsense": True})
    await order.signal("approve", 7)
    await order.signal("no such signal", {"a": 1})
    await world.child("W-1-1").signal("cancel", {"x": 1}) if world.statuses() else None
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.child("W-1-1").signal("node_event", {"type": "exploded"})
    await world.child("W-1-1").signal("carrier_event", [])
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_queries_tell_where_an_order_stands_and_why(world: World) -> None:
    # given
    order = await reserved(world)
    # when
    report = await order.query(OrderWorkflow.status)
    again = await order.query(OrderWorkflow.status)
    timeline = await order.query(OrderWorkflow.timeline)
    explanation = await order.query(OrderWorkflow.explain)
    # then
    assert report.view == again.view
    assert report.view.lines["1"].reserved == 2
    assert "**Stage:** reserved" in report.details
    assert "| 1 | TEA | 2 reserved |" in report.details
    assert [entry.kind for entry in timeline.entries] == ["promised", "reserved"]
    assert "dc-1" in explanation


async def test_attributes_tell_lists_where_orders_stand(world: World) -> None:
    # given
    order = await reserved(world)
    # then
    await world.until_attribute("order-W-1", "OrderStatus", "reserved")
    attributes = await world.attributes("order-W-1")
    assert attributes["OrderType"] == "b2c"
    assert attributes["OrderValue"] == 20.0
    assert "PromiseDate" in attributes
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.result(order)
    # then
    attributes = await world.attributes("order-W-1")
    assert attributes["OrderStatus"] == "completed"
    assert attributes["FulfillmentNodes"] == ["dc-1"]
    assert attributes["Carriers"] == ["Fake Parcel"]
    child = await world.attributes("fulfillment-W-1-1")
    assert child["FulfillmentStatus"] == "delivered"
    assert "OrderStatus" not in child


async def test_every_step_and_timer_says_what_it_is_and_nothing_is_personal(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=1)
    person = {"name": "Ada Example", "email": "ada@example.org", "phone": "+1 555 0100"}
    home = {
        "name": "Ada Example",
        "line1": "12 Analytical Lane",
        "city": "Lovelaceville",
        "postal_code": "94107",
        "country": "US",
        "region": "CA",
        "latitude": 37.77,
        "longitude": -122.42,
    }
    order = await world.submit(
        document(customer=person, ship_groups=[{"id": "1", "address": home}])
    )
    await world.until_planned()
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.cancel(order)
    await world.result(order)
    # when
    histories = [await events(order), await events(world.child("W-1-1"))]
    # then
    for history in histories:
        for event in history:
            if event["eventType"] in {
                "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
                "EVENT_TYPE_TIMER_STARTED",
            }:
                assert event["userMetadata"]["summary"]["data"], event
    texts = [await world.plain_history("order-W-1"), await world.plain_history("fulfillment-W-1-1")]
    for text in texts:
        assert "TEA" in text
        for secret in ("Ada", "ada@", "555 0100", "Analytical", "Lovelace", "94107", "37.77"):
            assert secret not in text
    assert "Ada Example" in str(world.wms.released["W-1-1"].customer_name)


async def test_a_step_that_fails_for_good_waits_for_a_person_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    real, broken = kernel.decide_on_chosen, [True]

    def decide(*args: Any, **options: Any) -> Any:
        if broken:
            raise UnknownReferenceError("no policy of that version")
        return real(*args, **options)

    monkeypatch.setattr("activities.route.decide_on_chosen", decide)
    order: Any = await world.submit(document())
    # when
    report = await world.until_shown(order, "attention: route")
    # then
    attention = report.view.attention
    assert attention is not None
    assert attention.reason == "no policy of that version"
    assert [x.value for x in attention.choices] == ["retry", "cancel"]
    await world.until_attribute("order-W-1", "BlockedStep", "route")
    await world.until(lambda: world.page().needs_attention, "the list shows it")
    # when
    wrong = Resume.model_validate(
        {"request_id": "w", "park_id": attention.park_id, "choice": "reship"}
    )
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await order.execute_update(OrderWorkflow.resume_and_answer, wrong)
    assert "choose one of retry, cancel" in str(refusal.value.cause)
    broken.clear()
    right = Resume.model_validate(
        {"request_id": "r", "park_id": attention.park_id, "choice": "retry"}
    )
    answer = await order.execute_update(OrderWorkflow.resume_and_answer, right)
    again = await order.execute_update(OrderWorkflow.resume_and_answer, right)
    # then
    assert (answer.done, answer.text) == (True, "A person chose retry")
    assert again == answer
    await world.until_shown(order, "reserved")
    await world.until_attribute("order-W-1", "BlockedStep", None)
    assert world.sellable() == {"dc-1": 3}


async def test_an_order_that_is_stuck_may_be_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)

    def decide(*_: Any, **__: Any) -> Any:
        raise UnknownReferenceError("no policy of that version")

    monkeypatch.setattr("activities.route.decide_on_chosen", decide)
    order = await world.submit(document())
    await world.until_shown(order, "attention: route")
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.page().attention is None
    world.nothing_is_astray()


async def test_an_order_whose_fulfillment_already_runs_waits_for_its_end(world: World) -> None:
    # given: as after a reset of the order to before its release
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    await order.signal("hold", PlaceHold(request_id="h-1"))
    await world.skip(minutes=31)
    world.wms.outages = 1_000_000
    fulfillment = FulfillmentOrder(
        fulfillment_id="W-1-1",
        order_id="W-1",
        node_id="dc-1",
        ship_group="1",
        method="ship",
        service_id="ground",
        lines=(FulfillmentLine(line_id="1", sku="TEA", quantity=2),),
    )
    await world.client.start_workflow(
        FulfillmentWorkflow.run,
        FulfillmentInput(
            order=fulfillment,
            connection_id="wms",
            connection_kind=ConnectionClass.WMS,
            carrier_connection_id="carrier",
        ),
        id="fulfillment-W-1-1",
        task_queue=world.settings.orders_task_queue,
    )
    # when
    await order.signal("release_hold", ReleaseHold(request_id="r-1"))
    await world.until(lambda: len(world.page().fulfillments) == 1, "it is released")
    world.wms.outages = 0
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    await world.until(lambda: world.statuses() == {"W-1-1": "delivered"}, "it is delivered")
    await world.skip(minutes=6)
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.wms.handovers == ["W-1-1"]
    world.nothing_is_astray()
