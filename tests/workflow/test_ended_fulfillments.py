"""Support staff may end a fulfillment's workflow: its order notices, and a person decides."""

from typing import Any

from tests.workflow.world import World, document

AT_ONCE = {"timings": {"remorse": "PT0S"}}


async def ended(world: World) -> tuple[Any, str]:
    """Two units at dc-1, whose workflow is terminated; dc-2 has two more."""
    world.prepare(process=AT_ONCE)
    world.stock(dc_1__TEA=2, dc_2__TEA=2)
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.child("W-1-1").terminate("by mistake")
    report = await world.until_shown(order, "attention: fulfillment")
    assert report.view.attention is not None
    assert "W-1-1" in report.view.attention.reason
    assert [x.value for x in report.view.attention.choices] == ["retry", "reroute", "cancel"]
    return order, report.view.attention.park_id


async def test_the_units_of_an_ended_fulfillment_are_sent_from_elsewhere(dev_world: World) -> None:
    # given
    world = dev_world
    order, park_id = await ended(world)
    # when
    await world.choose(order, park_id, "reroute")
    # then
    await world.until_fulfillment("W-1-2", "acknowledged")
    await world.ship_and_deliver("W-1-2")
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "rejected", "W-1-2": "delivered"}
    world.nothing_is_astray()


async def test_the_units_of_an_ended_fulfillment_are_cancelled(dev_world: World) -> None:
    # given
    world = dev_world
    order, park_id = await ended(world)
    # when
    await world.choose(order, park_id, "cancel")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.statuses() == {"W-1-1": "cancelled"}
    assert world.sellable() == {"dc-1": 2, "dc-2": 2}
    world.nothing_is_astray()


async def test_what_has_left_an_ended_fulfillment_counts_as_delivered(dev_world: World) -> None:
    # given: one that has shipped
    world = dev_world
    world.prepare(process=AT_ONCE)
    world.stock(dc_1__TEA=2)
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "packed")
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until(lambda: world.statuses() == {"W-1-1": "shipped"}, "it is on its way")
    await world.child("W-1-1").terminate("by mistake")
    report = await world.until_shown(order, "attention: fulfillment")
    # when
    assert report.view.attention is not None
    await world.choose(order, report.view.attention.park_id, "cancel")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "delivered"}
    world.nothing_is_astray()


async def test_an_end_that_cannot_be_read_is_shown_to_a_person(dev_world: World) -> None:
    # given: a person says it was reset, but its rows cannot be read
    world = dev_world
    order, park_id = await ended(world)
    world.refusals["final_report"] = "the rows cannot be read"
    # when
    await world.choose(order, park_id, "retry")

    # then
    async def asks_again() -> bool:
        attention = (await world.report(order)).view.attention
        return attention is not None and attention.park_id != park_id

    await world.until(asks_again, "a person is asked again")
