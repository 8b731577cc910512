"""A routed plan against what was promised."""

from domain.drift import Drift
from domain.orders import Order
from store import drift
from store.engine import reading
from tests.workflow.early_promise import promise_one_day_early
from tests.workflow.world import World, document


async def test_an_order_is_routed_as_it_was_promised_when_nothing_changed(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    # when
    await world.reserved(document())
    # then
    with reading(world.engine) as session:
        kept = drift.drift_of(session, "W-1")
    assert kept is not None
    assert kept.promised_in == "W-1-p1"
    assert kept.routed_in.startswith("W-1-d1")
    assert (kept.first, kept.now) == (Drift(), Drift())
    assert "later" not in [entry.kind for entry in world.page().timeline]
    await world.until_attribute("order-W-1", "AtRisk", False)


async def test_an_order_is_held_to_its_checkouts_date_and_a_later_plan_is_told(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    promised = promise_one_day_early(world, Order.model_validate(document()))
    # when
    order = await world.reserved(document(promise_id="promise-1"))
    # then
    page = world.page()
    assert page.promise_at == promised
    await world.until_attribute("order-W-1", "AtRisk", True)
    with reading(world.engine) as session:
        kept = drift.drift_of(session, "W-1")
    assert kept is not None
    assert (kept.promised_in, kept.first.delivery_days) == ("promise-1", 1)
    assert [entry.key for entry in page.timeline if entry.kind == "later"] == ["later/1"]
    # when: nothing is on its way any more
    await world.cancel(order)
    await world.result(order)
    # then
    await world.until_attribute("order-W-1", "AtRisk", False)
