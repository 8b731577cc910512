"""Labels and parcels: carriers that are away, refuse, lose, return or deliver late."""

from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from domain.events import LineFact, ShortReason
from domain.fulfillments import Package, PackageLine
from domain.stages import Choice
from integrations.carrier.port import Rate, ShipmentRequest
from integrations.node_system import CancelReplyOutcome
from tests.workflow.world import World, document
from workflows.messages import Answer, Resume


async def packed(world: World) -> Any:
    """Two units packed at dc-1; dc-1 has three more."""
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    await world.node_says("W-1-1", "packed")
    return order


async def lost(world: World, status: str = "lost") -> tuple[Any, str]:
    """The parcel is lost, and a person is asked."""
    order = await packed(world)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", status)
    park_id = await world.until_asked("W-1-1", "deliver")
    await world.until_attribute("fulfillment-W-1-1", "BlockedStep", "deliver")
    return order, park_id


async def test_a_carrier_that_is_away_for_a_while_delays_only(world: World) -> None:
    # given
    world.carrier.outages = 3
    order = await packed(world)
    # when
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.carrier.rated == 4
    assert list(world.carrier.bought) == ["W-1-1/P1/label"]
    assert world.sellable() == {"dc-1": 3}
    world.nothing_is_astray()


async def test_a_node_system_that_is_away_for_a_while_delays_only(world: World) -> None:
    # given
    world.wms.outages = 3
    # when
    order = await packed(world)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.wms.handovers == ["W-1-1"]
    world.nothing_is_astray()


async def refused_label(world: World) -> tuple[Any, str]:
    world.carrier.refusal = "no service to this postal code"
    order = await packed(world)
    park_id = await world.until_asked("W-1-1", "ship")
    attention = world.page().fulfillments[0].attention
    assert attention is not None
    assert attention.reason == "carrier refused: no service to this postal code"
    assert [x.value for x in attention.choices] == ["retry", "reroute", "cancel"]
    await world.until_attribute("fulfillment-W-1-1", "BlockedStep", "ship")
    return order, park_id


async def test_a_refused_label_is_bought_when_a_person_says_so(world: World) -> None:
    # given
    order, park_id = await refused_label(world)
    world.carrier.refusal = None
    # when
    await world.choose(world.child("W-1-1"), park_id, "retry")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert len(world.carrier.bought) == 1
    world.nothing_is_astray()


async def test_a_refused_label_may_send_the_units_to_another_node(world: World) -> None:
    # given
    order, park_id = await refused_label(world)
    world.stock(dc_2__TEA=2)
    world.carrier.refusal = None
    # when
    await world.choose(world.child("W-1-1"), park_id, "reroute")
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "rejected", "W-1-2": "delivered"}
    assert list(world.carrier.bought) == ["W-1-2/P1/label"]
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_a_refused_label_may_cancel_the_units(world: World) -> None:
    # given
    order, park_id = await refused_label(world)
    # when
    await world.choose(world.child("W-1-1"), park_id, "cancel")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.carrier.bought == {}
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_a_cancel_reaches_the_node_while_a_person_is_asked_about_a_label(
    world: World,
) -> None:
    # given
    order, _ = await refused_label(world)
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert [fulfillment_id for fulfillment_id, _ in world.wms.cancels] == ["W-1-1"]
    assert world.carrier.bought == {}
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def packed_in_an_outage(world: World) -> Any:
    """On a real server: the time-skipping one goes on with an activity that was cancelled."""
    world.prepare(process={"timings": {"remorse": "PT0S", "vendor_retry_first": "PT0.2S"}})
    world.stock(dc_1__TEA=5)
    world.carrier.outages = 1_000_000
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "packed")
    await world.until(lambda: world.carrier.rated > 1, "the carrier is asked again")
    return order


async def test_a_cancel_reaches_the_node_while_the_carrier_is_away(dev_world: World) -> None:
    # given
    world = dev_world
    order = await packed_in_an_outage(world)
    # when
    await world.cancel(order)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert [fulfillment_id for fulfillment_id, _ in world.wms.cancels] == ["W-1-1"]
    assert world.carrier.bought == {}
    assert not any("labelled" in text for text in world.story())
    assert world.sellable() == {"dc-1": 5}
    world.nothing_is_astray()


async def test_a_cancel_that_is_too_late_leaves_the_label_to_be_bought_once_the_carrier_is_back(
    dev_world: World,
) -> None:
    # given
    world = dev_world
    order = await packed_in_an_outage(world)
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    # when
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    world.carrier.outages = 0
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert len(world.carrier.bought) == 1
    world.nothing_is_astray()


async def test_a_cancel_that_comes_too_late_for_the_node_leaves_the_question_about_its_label(
    world: World,
) -> None:
    # given
    order, park_id = await refused_label(world)
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    # when
    await world.cancel(order)
    # then
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    assert await world.until_asked("W-1-1", "ship") == park_id
    # when
    world.carrier.refusal = None
    await world.choose(world.child("W-1-1"), park_id, "retry")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert len(world.carrier.bought) == 1
    world.nothing_is_astray()


async def test_an_answer_that_comes_while_the_node_is_asked_to_cancel_still_counts(
    world: World,
) -> None:
    # given
    order, park_id = await refused_label(world)
    world.wms.cancel_outcome = CancelReplyOutcome.TOO_LATE
    world.wms.answers_cancels.clear()
    await world.cancel(order)
    await world.until(lambda: bool(world.wms.cancels), "the node is asked")
    # when
    await world.choose(world.child("W-1-1"), park_id, "retry")
    world.wms.answers_cancels.set()
    # then: tried after the cancel, again by the answer, and then a new question
    assert await world.until_asked_anew("W-1-1", park_id) == "ship-2"
    assert world.carrier.rated == 3
    # when
    world.carrier.refusal = None
    await world.choose(world.child("W-1-1"), "ship-2", "retry")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_package_of_a_voided_one_s_id_gets_a_label_of_its_own(world: World) -> None:
    # given: a box with line 1, labelled; its contents are then damaged and the label is voided
    def box(line_id: str, quantity: int) -> Package:
        return Package(package_id="P1", lines=(PackageLine(line_id=line_id, quantity=quantity),))

    world.prepare()
    world.stock(dc_1__TEA=1, dc_1__CUP=3)
    order = await world.at_node(
        document(
            allow_backorder=False,
            lines=[
                {"line_id": "1", "sku": "TEA", "quantity": 1},
                {"line_id": "2", "sku": "CUP", "quantity": 3},
            ],
        )
    )
    await world.node_says("W-1-1", "packed", packages=(box("1", 1),))
    await world.until_label("W-1-1")
    damaged = LineFact(line_id="1", short=1, reason=ShortReason.DAMAGED)
    await world.node_says("W-1-1", "picked", lines=(damaged,))
    await world.until(lambda: bool(world.carrier.voided), "the label is voided")

    def shown() -> list[tuple[str, str, str | None]]:
        packages = world.page().fulfillments[0].packages
        return [(x.package_id, x.status.value, x.tracking_number) for x in packages]

    await world.until(
        lambda: shown() == [("P1", "voided", "T-W-1-1-P1-label")], "the label is shown as voided"
    )
    # when: the node takes a box of the same id for the rest
    await world.node_says("W-1-1", "packed", packages=(box("2", 3),))
    await world.until(
        lambda: shown() == [("P1", "labelled", "T-W-1-1-P1-label-2")], "a new label is bought"
    )
    await world.node_says("W-1-1", "handed_over")
    await world.carrier_says("W-1-1", "delivered", tracking="T-W-1-1-P1-label-2")
    # then
    assert await world.result(order) == ("completed", 3, 1)
    assert list(world.carrier.bought) == ["W-1-1/P1/label", "W-1-1/P1/label-2"]
    assert world.carrier.voided == ["S-W-1-1-P1-label"]
    world.nothing_is_astray()


@pytest.mark.parametrize("status", ["lost", "returned"])
async def test_a_lost_or_returned_parcel_is_sent_again_also_from_the_same_node(
    world: World, status: str
) -> None:
    # given
    order, park_id = await lost(world, status)
    assert world.sellable() == {"dc-1": 3}
    # when
    await world.choose(world.child("W-1-1"), park_id, "reship")
    await world.sent_again("W-1-2")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "returned", "W-1-2": "delivered"}
    assert world.quantities() == {"1": {"delivered": 2}}
    assert world.sellable() == {"dc-1": 1}
    assert sorted(world.carrier.bought) == ["W-1-1/P1/label", "W-1-2/P1/label"]
    world.nothing_is_astray()


async def test_a_lost_parcel_may_be_cancelled(world: World) -> None:
    # given
    order, park_id = await lost(world)
    # when
    await world.choose(world.child("W-1-1"), park_id, "cancel")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.sellable() == {"dc-1": 3}
    world.nothing_is_astray()


async def test_a_lost_parcel_may_be_taken_as_delivered(world: World) -> None:
    # given
    order, park_id = await lost(world)
    # when
    await world.choose(world.child("W-1-1"), park_id, "skip")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "delivered"}
    world.nothing_is_astray()


async def test_who_answers_a_fulfillment_learns_what_became_of_it(world: World) -> None:
    # given
    order, park_id = await lost(world)
    child = world.child("W-1-1")
    skip = Resume(request_id="r-1", park_id=park_id, choice=Choice.SKIP)
    update = "resume_and_answer"
    # when: answers that do not fit, then one that does
    with pytest.raises(WorkflowUpdateFailedError) as other:
        await child.execute_update(update, skip.model_copy(update={"park_id": "deliver-9"}))
    with pytest.raises(WorkflowUpdateFailedError) as wrong:
        await child.execute_update(update, skip.model_copy(update={"choice": Choice.REROUTE}))
    told = await child.execute_update(update, skip, result_type=Answer)
    # then
    assert str(other.value.cause) == f"Refused: what waits is {park_id}, not deliver-9"
    assert str(wrong.value.cause) == "Refused: choose one of reship, cancel, skip, retry"
    assert (told.done, told.text) == (True, "A person chose skip")
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "delivered"}
    world.nothing_is_astray()


async def test_a_lost_parcel_that_turns_up_needs_no_answer(world: World) -> None:
    # given
    order, _ = await lost(world)
    # when
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.page().fulfillments[0].attention is None
    assert len(world.carrier.bought) == 1
    world.nothing_is_astray()


async def test_a_parcel_that_is_not_delivered_in_time_is_asked_about_and_waited_for(
    world: World,
) -> None:
    # given
    order = await packed(world)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_fulfillment("W-1-1", "shipped")
    # when
    await world.skip(days=22)
    park_id = await world.until_asked("W-1-1", "deliver")
    await world.choose(world.child("W-1-1"), park_id, "retry")
    await world.until_attribute("fulfillment-W-1-1", "BlockedStep", None)
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_an_exception_on_the_way_passes(world: World) -> None:
    # given
    order = await packed(world)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    # when
    await world.carrier_says("W-1-1", "exception")
    await world.until_fulfillment("W-1-1", "exception")
    await world.carrier_says("W-1-1", "out_for_delivery")
    await world.until_fulfillment("W-1-1", "out_for_delivery")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_while_the_carrier_is_away_nothing_is_told_as_labelled(world: World) -> None:
    # given
    world.prepare(process={"timings": {"remorse": "PT0S"}})
    world.stock(dc_1__TEA=2)
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    world.carrier.outages = 3
    labelled = "dc-1: 1 package labelled"
    stories: list[list[str]] = []
    real = world.carrier.rates

    def told_so_far(request: ShipmentRequest) -> tuple[Rate, ...]:
        stories.append(world.story())
        return real(request)

    world.carrier.rates = told_so_far  # type: ignore[method-assign]
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert len(stories) == 4
    assert all(labelled not in story for story in stories)
    assert world.story().count(labelled) == 1
