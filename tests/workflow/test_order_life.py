"""An order's whole life."""

from domain.stages import Stage
from tests.workflow.world import World, document


async def test_an_order_is_promised_reserved_released_shipped_and_delivered(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document())
    await world.until_shown(order, "reserved")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    result = await order.result()
    # then
    assert (result.stage, result.delivered_units, result.cancelled_units) == (Stage.COMPLETED, 2, 0)
    page = world.page()
    assert page.closed
    assert page.stage == "completed"
    assert world.sellable() == {"dc-1": 3}
    assert list(world.wms.released) == ["W-1-1"]
    assert len(world.carrier.bought) == 1
    world.books_are_right()
