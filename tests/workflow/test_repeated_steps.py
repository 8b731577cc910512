"""A worker may die after a step is done and before it said so: the step is then taken again."""

import pytest

from tests.replay import record
from tests.replay.record import Scenario
from tests.workflow.world import World


@pytest.mark.parametrize(
    "scenario",
    [
        record.completed,
        record.split,
        record.pickup_expired,
        record.silent,
        record.short_pick,
        record.backordered,
        record.backorder_expired,
        record.approved,
        record.cancelled_before_release,
        record.cancelled_at_node,
        record.cancelled_in_part,
        record.lost_parcel,
    ],
    ids=lambda scenario: scenario.__name__,
)
async def test_an_order_each_of_whose_steps_is_taken_twice_ends_as_it_should(
    world: World, scenario: Scenario
) -> None:
    # given
    world.loses_answers = True
    # when
    await scenario(world)
    # then
    page = world.page()
    assert page.closed
    for line in page.lines:
        assert line.quantities.delivered + line.quantities.cancelled == line.quantities.ordered
    world.books_agree()
    labels = {x.tracking_number for f in page.fulfillments for x in f.packages}
    assert len(labels - {None}) <= len(world.carrier.bought)
    assert len({key.split("/")[0] for key in world.carrier.bought}) == len(world.carrier.bought)
