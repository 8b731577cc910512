"""Asking the kernel: one way for promise, route and grants, recorded so it can be replayed.

Deciding only reads; keeping the decision is a short write of its own, so that nobody waits for the
database while the kernel works. Reserving checks everything again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from domain.ground import Ground, Uses
from domain.learned_dates import destinations_of, transits
from domain.network import Node
from domain.orders import Order
from domain.planning import Wanted, decision_request, plan_of
from domain.plans import ChosenNodes, Plan
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Exclusion,
    LearnedTransit,
    Option,
    Purpose,
    Snapshot,
)
from domain.routing.explain import explain
from domain.routing.facts import snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from store import addresses, decisions, delivery_dates, holds, network, pins, policies, reservations
from store.snapshot import build_facts

FORBIDDEN = "forbidden for this order by a person"
"""Reason of the exclusions that people made."""


@dataclass(frozen=True)
class Numbered:
    """The number a plan gets. `kept`: what was reserved under it for the same ask."""

    plan_version: int
    decision_id: str
    kept: Plan | None


def reserve_key(order_id: str, plan: Plan) -> str:
    """The business key of reserving a plan: whoever reserves it, it is taken once."""
    return f"{order_id}/reserve/{plan.plan_version}"


def number_for(
    session: Session, order_id: str, plan_version: int, asked: Mapping[str, object]
) -> Numbered:
    """The first number from `plan_version` on under which nothing else was reserved or freed.

    A repeat of an ask finds its own plan. An order that was reset asks for something else under a
    number it used before: that is another plan, and has another number.
    """
    digest = _digest(asked)
    while True:
        decision_id = f"{order_id}-d{plan_version}-{digest}"
        kept = reservations.reserved_plan(session, order_id, plan_version)
        is_free = kept is not None and reservations.plan_was_freed(session, order_id, plan_version)
        if kept is None or (kept.decision_id == decision_id and not is_free):
            return Numbered(plan_version, decision_id, kept)
        plan_version += 1


def earlier_plan(
    session: Session, order_id: str, plan_version: int, asked: Mapping[str, object]
) -> Plan | None:
    """What was reserved for the same ask under a lower number."""
    digest = _digest(asked)
    for version in range(plan_version - 1, 0, -1):
        kept = reservations.reserved_plan(session, order_id, version)
        is_same = kept is not None and kept.decision_id == f"{order_id}-d{version}-{digest}"
        if is_same and not reservations.plan_was_freed(session, order_id, version):
            return kept
    return None


def _digest(asked: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Decided:
    """A decision with all it looked at."""

    order_id: str
    request: DecisionRequest
    snapshot: Snapshot
    policy: RoutingPolicy
    decision: Decision


def decide_for(
    session: Session,
    order: Order,
    wanted: Wanted,
    routing_policy: str,
    now: datetime,
    own_room: Uses | None = None,
) -> Decided:
    """Build the snapshot and decide; nothing is written.

    `own_room` is what the order itself takes of nodes' days, and gives back for the new plan.
    """
    skus = sorted({line.sku for line in order.lines if wanted.units.get(line.line_id, 0) > 0})
    facts = build_facts(session, skus, now, order.channel)
    snapshot = snapshot_of(facts if own_room is None else Ground(facts, own_room).facts(()))
    own = wanted.own_units
    may_hold = order.reservation_id is not None or wanted.purpose is Purpose.REROUTE
    if not own and may_hold:
        own = holds.own_units(session, order.order_id)
    # Units granted at a node are reserved there already, so no cool-off may send them elsewhere.
    cooling = () if wanted.own_units else tuple(reservations.cool_offs(session, skus, now))
    request = decision_request(
        addresses.at_current_addresses(session, order),
        wanted.model_copy(update={"exclusions": (*wanted.exclusions, *cooling), "own_units": own}),
        now,
        snapshot.base_currency,
        snapshot.exchange_rates,
    )
    version = pins.pinned(session, order.order_id, "routing", routing_policy)
    policy = policies.routing_policy(session, version)
    if policy.delivery_dates == "learned":
        known = learned_transits(session, snapshot.nodes, [request], policy, now)
        snapshot = snapshot.model_copy(update={"transits": known})
    return Decided(order.order_id, request, snapshot, policy, decide(request, snapshot, policy))


def decide_on_chosen(
    session: Session,
    order: Order,
    wanted: Wanted,
    routing_policy: str,
    now: datetime,
    chosen: ChosenNodes,
    own_room: Uses | None = None,
) -> Decided:
    """As `decide_for`, on the nodes that people chose.

    Preferred nodes serve alone where they can serve all of it, in time if anything can.
    """
    forbidden = [Exclusion(node_id=x, reason=FORBIDDEN) for x in chosen.forbid]
    asked = {"exclusions": (*wanted.exclusions, *forbidden), "forced_nodes": chosen.force}
    wanted = wanted.model_copy(update=asked)
    free = decide_for(session, order, wanted, routing_policy, now, own_room)
    if not chosen.prefer or chosen.force:
        return free
    on_preferred = wanted.model_copy(update={"forced_nodes": chosen.prefer})
    preferred = decide_for(session, order, on_preferred, routing_policy, now, own_room)
    return preferred if _may_prefer(preferred.decision.plan, free.decision.plan, wanted) else free


def _may_prefer(preferred: Option | None, free: Option | None, wanted: Wanted) -> bool:
    if preferred is None or preferred.missing or preferred.deliver_at is None:
        return False
    due = wanted.promised_deliver_by
    if due is None or preferred.deliver_at <= due or free is None or free.deliver_at is None:
        return True
    return preferred.deliver_at <= free.deliver_at


def learned_transits(
    session: Session,
    nodes: Iterable[Node],
    requests: Iterable[DecisionRequest],
    policy: RoutingPolicy,
    now: datetime,
) -> tuple[LearnedTransit, ...]:
    """What was learned of the lanes to where the requests' groups go; nothing while nothing is."""
    learned = delivery_dates.latest(session)
    if learned is None:
        return ()
    stores = {node.node_id: node.place for node in nodes}
    groups = [group for request in requests for group in request.groups]
    places = destinations_of(groups, stores)
    return transits(learned, places, now, float(policy.delivery_confidence))


def keep_decision(
    session: Session,
    decided: Decided,
    version: int,
    now: datetime,
    chosen: ChosenNodes | None = None,
) -> Plan:
    """Save the decision under its request's id, and return its plan.

    A repeat, whose first answer was lost, carries out the decision that was saved first.
    """
    decision_id = decided.request.request_id
    is_new = decisions.save_decision(
        session,
        decision_id,
        decided.order_id,
        decided.request,
        decided.snapshot,
        decided.policy,
        decided.decision,
        now,
    )
    by_people = "" if chosen is None else chosen.text
    kept = decided if is_new else decisions.load_decision(session, decision_id)
    return plan_of(
        kept.decision,
        kept.snapshot,
        network.connections(session),
        decision_id=decision_id,
        plan_version=version,
        explanation=f"{by_people} {explain(kept.decision, kept.request)}".strip(),
    )
