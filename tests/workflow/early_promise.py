"""A promise that nobody can keep."""

from datetime import UTC, datetime, timedelta

from domain.orders import Order
from domain.planning import Wanted, decision_request
from domain.routing.decision import Purpose
from domain.routing.facts import snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_on
from store import decisions
from store.engine import reading, transaction
from store.snapshot import build_facts
from tests.workflow.world import World


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
