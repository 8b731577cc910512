"""An order behaves for its whole life as the doms that started it did."""

from tests.workflow.world import World, document
from workflows.messages import CURRENT_BEHAVIOR, OrderInput, PolicyPins


async def test_a_new_order_and_its_fulfillment_behave_as_doms_does_now(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    await world.at_node(document())
    # then
    for workflow_id in ("order-W-1", "fulfillment-W-1-1"):
        begun = await world.plain_history(workflow_id)
        assert f'"behavior":{CURRENT_BEHAVIOR}' in begun


def test_an_order_recorded_without_a_behavior_has_the_first() -> None:
    pins = PolicyPins(routing="r", process="p")
    old = OrderInput(order_id="W-1", pins=pins).model_dump(mode="json", exclude={"behavior"})
    assert OrderInput.model_validate(old).behavior == 1
