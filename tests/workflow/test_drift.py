"""A routed plan against what was promised."""

from datetime import UTC, datetime, timedelta

from domain.drift import Drift
from domain.orders import Order
from domain.planning import Wanted, decision_request
from domain.routing.decision import Purpose
from domain.routing.facts import snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_on
from store import decisions, drift
from store.engine import reading, transaction
from store.snapshot import build_facts
from tests.workflow.world import World, document


def promise_one_day_early(world: World, order: Order) -> datetime:
    """Keep the checkout's promise for that order, a day better than can be done; its date."""
    now, policy = datetime.now(UTC), RoutingPolicy(name="test")
    with reading(world.engine) as session:
        facts = build_facts(session, [line.sku for line in order.lines], now, order.channel)
    wanted = Wanted(
        request_id="promise-1",
        purpose=Purpose.CHECKOUT,
        units={line.line_id: line.quantity for line in order.lines},
    )
    request = decision_request(order, wanted, now, order.currency, {})
    decision = decide_on(request, facts, policy)
    assert decision.plan is not None
    assert decision.plan.deliver_at is not None
    date = decision.plan.deliver_at - timedelta(days=1)
    option = decision.plan.model_copy(update={"deliver_at": date})
    early = decision.model_copy(update={"options": (option,), "chosen": 0})
    with transaction(world.engine) as session:
        snapshot = snapshot_of(facts, request)
        decisions.save_decision(session, "promise-1", None, request, snapshot, policy, early, now)
    return date


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


async def test_an_order_is_held_to_its_checkouts_date_and_a_later_plan_is_told(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    promised = promise_one_day_early(world, Order.model_validate(document()))
    # when
    await world.reserved(document(promise_id="promise-1"))
    # then
    page = world.page()
    assert page.promise_at == promised
    with reading(world.engine) as session:
        kept = drift.drift_of(session, "W-1")
    assert kept is not None
    assert (kept.promised_in, kept.first.delivery_days) == ("promise-1", 1)
    assert [entry.key for entry in page.timeline if entry.kind == "later"] == ["later/1"]
