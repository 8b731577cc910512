"""Asking the kernel: one call for promise, route and grants, recorded so it can be replayed."""

from datetime import datetime

from sqlalchemy.orm import Session

from domain.orders import Order
from domain.planning import Wanted, decision_request, plan_of
from domain.plans import Plan
from domain.routing.explain import explain
from domain.routing.solve import decide
from store import decisions, network, orders, policies, reservations
from store.snapshot import build_snapshot


def decide_plan(
    session: Session,
    order: Order,
    wanted: Wanted,
    routing_policy: str,
    now: datetime,
    version: int,
) -> Plan:
    """Build the snapshot, decide, save the decision under the request's id, return the plan."""
    skus = sorted({line.sku for line in order.lines if wanted.units.get(line.line_id, 0) > 0})
    snapshot = build_snapshot(session, skus, now)
    # Units granted at a node are reserved there already, so no cool-off may send them elsewhere.
    cooling = () if wanted.own_units else tuple(reservations.cool_offs(session, skus, now))
    request = decision_request(
        orders.at_current_addresses(session, order),
        wanted.model_copy(update={"exclusions": (*wanted.exclusions, *cooling)}),
        now,
        snapshot.base_currency,
        snapshot.exchange_rates,
    )
    policy = policies.routing_policy(session, routing_policy)
    decision = decide(request, snapshot, policy)
    decisions.save_decision(
        session, wanted.request_id, order.order_id, request, snapshot, policy, decision, now
    )
    return plan_of(
        decision,
        snapshot,
        network.connections(session),
        decision_id=wanted.request_id,
        plan_version=version,
        explanation=explain(decision, request),
    )
