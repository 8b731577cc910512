"""The kernel: `decide` for one request, `decide_batch` for many. Pure: no clock, no randomness.

Each ship group is planned to the least cost (group.py). Groups follow one another in the request's
order, and what one takes the next no longer finds; only that order of groups is not optimised.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from domain.errors import FinalError
from domain.network import CarrierService, Node, NodeKind, Place
from domain.orders import Method, ServiceLevel
from domain.routing.batch import Contender, contender_of, plan_together
from domain.routing.decision import (
    KERNEL_VERSION,
    Decision,
    DecisionRequest,
    Option,
    Purpose,
    RequestGroup,
    RequestLine,
    Snapshot,
)
from domain.routing.demand import Demand, demand_of
from domain.routing.facts import KernelFacts, content_id, facts_of, looked_at, pooled
from domain.routing.group import OFFERS, GroupPlan, plan_group, plan_whole
from domain.routing.policy import RoutingPolicy
from domain.routing.record import (
    deliver_at_of,
    excluded_of,
    node_of,
    option_of,
    runner_up_of,
    scores_of,
    work_day_of,
)
from domain.routing.rules import Rules, rules_for
from domain.routing.strategy import LAST
from domain.routing.supply import Taken
from domain.routing.task import GroupTask, Held

_LEVELS = (ServiceLevel.STANDARD, ServiceLevel.EXPRESS, ServiceLevel.SAME_DAY)
_MANY = "ABCDEFGHIJKLMNOP"
"""Products to warm up with: more lines than the exact core takes."""
Groups = list[tuple[RequestGroup, Demand]]
Known = dict[tuple[frozenset[str], bool], Held]
"""The first group's supply and distances, for all levels."""


def decide(request: DecisionRequest, snapshot: Snapshot, policy: RoutingPolicy) -> Decision:
    """The cheapest allowed plan for the request, or what is missing and why.

    The same input gives the same bytes of `model_dump_json()`. Raises FinalError for a currency
    without an exchange rate and for a line whose ship group is not in the request.
    """
    return decide_on(request, facts_of(snapshot), policy)


def decide_on(request: DecisionRequest, facts: KernelFacts, policy: RoutingPolicy) -> Decision:
    """As `decide`, on facts that are arrays already: the way of the hot path."""
    facts = looked_at(facts, request)
    return _decide(request, facts, policy, Taken())


def decide_after(
    request: DecisionRequest, facts: KernelFacts, policy: RoutingPolicy, taken: Taken
) -> Decision:
    """As `decide_on`, of what `taken` leaves; what the plan uses is taken too."""
    return _decide(request, looked_at(facts, request), policy, taken)


def decide_batch(
    requests: Iterable[DecisionRequest], snapshot: Snapshot, policy: RoutingPolicy
) -> tuple[Decision, ...]:
    """One decision each; no unit and no place in a day is given twice.

    Orders that contend are planned together (batch.py), so that one may get a plan dearer than its
    own best for the good of all. Those that cannot be (large ones, lines in pieces, several groups,
    offers) follow in the given order and find what is left.
    """
    return decide_batch_on(requests, facts_of(snapshot), policy).decisions


class Batch(NamedTuple):
    """Decisions in the order of the requests; of those planned together, cost and its bound."""

    decisions: tuple[Decision, ...]
    cost_micros: int
    bound_micros: float


def decide_batch_on(
    requests: Iterable[DecisionRequest], facts: KernelFacts, policy: RoutingPolicy
) -> Batch:
    """As `decide_batch`, on facts that are arrays already.

    Units that the orders reserve already are there for all of them: a plan holds only if all are
    carried out together.
    """
    given = tuple(requests)
    facts = pooled(facts, given)
    asked = tuple(x.model_copy(update={"own_units": {}}) for x in given)
    contenders: dict[int, Contender] = {}
    for number, request in enumerate(asked):
        rules = rules_for(policy, request, facts.products)
        groups = _demands(request, facts, rules.policy)
        if len(groups) == 1 and request.purpose not in OFFERS:
            task = group_task(request, facts, rules.policy, Taken(), *groups[0], None)
            found = contender_of(plan_group(task))
            if found is not None:
                contenders[number] = found
    together = plan_together(tuple(contenders.values()), facts)
    taken = Taken()
    chosen = dict(zip(contenders, together.chosen, strict=True))
    for plan in chosen.values():
        if plan is not None:
            take(plan, taken)
    decisions: list[Decision] = []
    for number, request in enumerate(asked):
        plan = chosen.get(number)
        if plan is None:
            decisions.append(decide_after(request, facts, policy, taken))
        else:
            own = looked_at(facts, request)
            level = ServiceLevel.STANDARD
            if plan.task.group.method is not Method.PICKUP:
                level = plan.task.group.service_level
            rules = rules_for(policy, request, facts.products)
            option = _option_plan(level, rules, [plan], taken)
            decisions.append(_decision(request, own, policy, [option], option))
    return Batch(tuple(decisions), together.cost, together.bound)


def policy_id(policy: RoutingPolicy) -> str:
    """The policy's name and the first 12 hex digits of its content's sha256."""
    digest = hashlib.sha256(policy.model_dump_json().encode()).hexdigest()
    return f"{policy.name}@{digest[:12]}"


def warm() -> None:
    """Loads the compiled functions, or compiles them once for this machine: call it at start."""
    now = datetime(2026, 1, 5, 9, tzinfo=UTC)
    place = Place(latitude=0, longitude=0, country="US")
    nodes = tuple(
        Node(node_id=f"N{n}", kind=NodeKind.DC, place=place, services=("S",), daily_units=units)
        for n, units in enumerate((9, 1, 1))
    )
    service = CarrierService(
        service_id="S", connection_id="C", carrier="C", level=ServiceLevel.STANDARD, base="1"
    )
    snapshot = Snapshot(
        availability={sku: {x.node_id: 9 for x in nodes} for sku in _MANY},
        nodes=nodes,
        services=(service,),
    )
    for skus in ("AB", _MANY):
        request = DecisionRequest(
            request_id="warm",
            purpose=Purpose.ROUTE,
            now=now,
            lines=tuple(RequestLine(line_id=sku, sku=sku, quantity=1) for sku in skus),
            groups=(RequestGroup(group_id="1", destination=place),),
        )
        decide(request, snapshot, RoutingPolicy(name="warm", max_shipments=1))


@dataclass(slots=True)
class _OptionPlan:
    """A whole option before it becomes part of a decision."""

    option: Option
    groups: list[GroupPlan]
    taken: Taken
    in_time: bool
    rules: Rules


class _Asked(NamedTuple):
    """What is asked at the order's own levels, and the rules for that."""

    rules: Rules
    groups: Groups
    known: Known


def _decide(
    request: DecisionRequest, facts: KernelFacts, policy: RoutingPolicy, taken: Taken
) -> Decision:
    rules = rules_for(policy, request, facts.products)
    groups = _demands(request, facts, rules.policy)
    asked_level = max(
        (group.service_level for group, _ in groups if group.method is not Method.PICKUP),
        key=_LEVELS.index,
        default=ServiceLevel.STANDARD,
    )
    known: Known = {}
    plans_asked = _plan_groups(request, facts, rules.policy, taken, groups, None, known)
    asked = _option_plan(asked_level, rules, *plans_asked)
    plans = [asked]
    ships = any(group.method is not Method.PICKUP for group, _ in groups)
    if request.purpose in OFFERS and ships:
        for level in _LEVELS:
            if level is not asked_level:
                own = _Asked(rules, groups, known)
                found = _offered(request, facts, policy, taken, level, own)
                if found is not None:
                    plans.append(found)
        plans.sort(key=lambda x: _LEVELS.index(x.option.service_level))
        plans = _really_faster(plans, asked)
    chosen = _choose(plans, asked)
    taken.stock, taken.capacity = chosen.taken.stock, chosen.taken.capacity
    return _decision(request, facts, policy, plans, chosen)


def _offered(
    request: DecisionRequest,
    facts: KernelFacts,
    policy: RoutingPolicy,
    taken: Taken,
    level: ServiceLevel,
    asked: _Asked,
) -> _OptionPlan | None:
    """The order as it would be routed at that level, by the strategy that it would fall under.

    None when it lacks units.
    """
    rules, groups, known = asked
    if policy.strategies:
        rules = rules_for(policy, _at_level(request, level), facts.products)
        if rules.policy is not asked.rules.policy:
            groups, known = _demands(request, facts, rules.policy), {}
    found = _plan_whole_groups(request, facts, rules.policy, taken, groups, level, known)
    return None if found is None else _option_plan(level, rules, *found)


def _at_level(request: DecisionRequest, level: ServiceLevel) -> DecisionRequest:
    groups = tuple(
        group
        if group.method is Method.PICKUP
        else group.model_copy(update={"service_level": level})
        for group in request.groups
    )
    return request.model_copy(update={"groups": groups})


def _decision(
    request: DecisionRequest,
    facts: KernelFacts,
    policy: RoutingPolicy,
    plans: list[_OptionPlan],
    chosen: _OptionPlan,
) -> Decision:
    rules = chosen.rules
    scores = scores_of(chosen.groups)
    return Decision.model_construct(
        request_id=request.request_id,
        kernel_version=KERNEL_VERSION,
        policy_version=policy_id(policy),
        snapshot_id=content_id(facts),
        options=tuple(plan.option for plan in plans),
        chosen=plans.index(chosen),
        is_proven=all(plan.is_proven for plan in chosen.groups),
        bound_micros=_bound_of(chosen.groups),
        scores=scores.rows,
        compared=scores.compared,
        excluded=excluded_of(chosen.groups),
        runner_up_cost_micros=runner_up_of(chosen.groups, chosen.option.cost_micros),
        strategy=rules.strategy,
        relaxed=_steps_of(chosen.groups) if rules.strategy else (),
        after=_last_resort(rules.policy) if chosen.option.missing else "",
    )


def _steps_of(groups: list[GroupPlan]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step for plan in groups for step in plan.steps))


def _last_resort(policy: RoutingPolicy) -> str:
    last = policy.after[-1] if policy.after else ""
    return last if isinstance(last, str) and last in LAST else ""


def _bound_of(groups: list[GroupPlan]) -> int | None:
    bounds = [plan.bound for plan in groups if plan.bound is not None]
    return sum(bounds) if len(bounds) == len(groups) else None


def _demands(request: DecisionRequest, facts: KernelFacts, policy: RoutingPolicy) -> Groups:
    """The groups that have lines, in the request's order."""
    lines: dict[str, list[RequestLine]] = {group.group_id: [] for group in request.groups}
    for line in request.lines:
        if line.ship_group not in lines:
            raise FinalError(f"line '{line.line_id}': no ship group '{line.ship_group}'")
        lines[line.ship_group].append(line)
    return [
        (x, demand_of(request, x, tuple(lines[x.group_id]), facts.products, policy))
        for x in request.groups
        if lines[x.group_id]
    ]


def _really_faster(plans: list[_OptionPlan], asked: _OptionPlan) -> list[_OptionPlan]:
    """What was asked, and of the other levels those that come before every slower one."""
    kept: list[_OptionPlan] = []
    for plan in plans:
        slower = [x.option.deliver_at for x in kept if x.option.deliver_at is not None]
        arrives = plan.option.deliver_at
        if plan is asked or arrives is None or all(arrives < other for other in slower):
            kept.append(plan)
    return kept


def _choose(plans: list[_OptionPlan], asked: _OptionPlan) -> _OptionPlan:
    """The asked level, unless it comes late and another comes in time."""
    if asked.in_time or asked.option.missing:
        return asked
    in_time = [plan for plan in plans if plan.in_time]
    return min(in_time, key=lambda plan: plan.option.cost_micros, default=asked)


def _plan_groups(
    request: DecisionRequest,
    facts: KernelFacts,
    policy: RoutingPolicy,
    taken: Taken,
    groups: Groups,
    level: ServiceLevel | None,
    known: Known,
) -> tuple[list[GroupPlan], Taken]:
    """All groups, one after another, at `level` or (None) each at its own."""
    taken = taken.copy()
    plans: list[GroupPlan] = []
    for group, demand in groups:
        task = group_task(request, facts, policy, taken, group, demand, level)
        if not plans:
            # Later groups find what this one leaves, which differs by level.
            task = replace(task, known=known)
        plan = plan_group(task)
        take(plan, taken)
        plans.append(plan)
    return plans, taken


def _plan_whole_groups(
    request: DecisionRequest,
    facts: KernelFacts,
    policy: RoutingPolicy,
    taken: Taken,
    groups: Groups,
    level: ServiceLevel,
    known: Known,
) -> tuple[list[GroupPlan], Taken] | None:
    """As `_plan_groups`; None when a group lacks units, as such a level is not offered."""
    taken = taken.copy()
    plans: list[GroupPlan] = []
    for group, demand in groups:
        task = group_task(request, facts, policy, taken, group, demand, level)
        if not plans:
            task = replace(task, known=known)
        plan = plan_whole(task)
        if plan is None:
            return None
        take(plan, taken)
        plans.append(plan)
    return plans, taken


def _option_plan(
    label: ServiceLevel, rules: Rules, plans: list[GroupPlan], taken: Taken
) -> _OptionPlan:
    option = option_of(label, plans)
    in_time = not option.missing and all(
        deliver_at_of(shipment) <= plan.task.due
        for plan in plans
        if plan.task.due is not None
        for shipment in plan.shipments
    )
    return _OptionPlan(option, plans, taken, in_time, rules)


def take(plan: GroupPlan, taken: Taken) -> None:
    """Uses up what the plan needs."""
    demand = plan.task.demand
    for shipment in plan.shipments:
        stock = [
            (demand.skus[sku], each * quantity)
            for position, quantity in shipment.quantities.items()
            for sku, each in demand.parts[position]
        ]
        units = sum(shipment.quantities.values())
        taken.take(node_of(shipment), work_day_of(shipment), units, stock)


def group_task(
    request: DecisionRequest,
    facts: KernelFacts,
    policy: RoutingPolicy,
    taken: Taken,
    group: RequestGroup,
    demand: Demand,
    level: ServiceLevel | None,
) -> GroupTask:
    """The group as the planner sees it, at `level` or (None) its own."""
    dues = [x for x in (request.promised_deliver_by, group.deliver_by) if x is not None]
    return GroupTask(
        facts=facts,
        request=request,
        group=group,
        policy=policy,
        demand=demand,
        level=group.service_level if level is None else level,
        destination=_destination(facts, group),
        start=request.now if group.not_before is None else max(request.now, group.not_before),
        due=min(dues, default=None),
        taken=taken,
    )


def _destination(facts: KernelFacts, group: RequestGroup) -> Place | None:
    if group.method is Method.SHIP:
        return group.destination
    store = facts.network.index.get(group.node_id or "")
    return None if store is None else facts.network.nodes[store].place
