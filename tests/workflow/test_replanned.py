"""What a brokering run tells an order, in time, late, or twice."""

from domain.orders import Address
from store import addresses
from store.engine import transaction
from tests.workflow.world import World, document
from workflows.messages import ChangeAddress, ReplannedEvent

NEW_HOME = {"country": "US", "region": "NE", "latitude": 41.2, "longitude": -99.0}


def told(version: int, request_id: str = "run-1/W-1") -> ReplannedEvent:
    return ReplannedEvent(
        request_id=request_id, decision_id=f"W-1-d{version}-run", plan_version=version
    )


async def test_a_word_of_a_plan_that_is_given_up_meanwhile_loses_no_unit(world: World) -> None:
    # given: an order that was planned again since, so that its plan 1 holds nothing any more
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    with transaction(world.engine) as session:
        group = document()["ship_groups"][0]
        moved = {**group["address"], **NEW_HOME}
        address = Address.model_validate(moved)
        address_id = addresses.save_address(session, "W-1", "1", address)
    await order.signal("change_address", ChangeAddress(request_id="a-1", address_id=address_id))
    await world.until_planned(version=2)
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    # when: word of plan 1 comes late
    await order.signal("replanned", told(1))
    await world.skip(minutes=31)
    # then: plan 2 is carried out, and nothing else is held
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert world.position("dc-2").released == 2
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_word_that_comes_after_the_release_changes_nothing(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await order.signal("replanned", told(1))
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable() == {"dc-1": 3}
    world.nothing_is_astray()
