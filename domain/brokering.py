"""Which unreleased orders a brokering run moves to other nodes, and in which small groups.

All orders are planned anew together (`decide_batch`), as if none held anything. Of the plans that
differ only those are kept whose group gains enough and in which no promise gets worse. A group is
an order that gains and those that must move so that it can: they are moved together or not at all.
Each order's plan is then decided once more by itself, on what the group leaves it, so its record
explains and replays it like any other decision.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from domain.ground import Ground, Resource, Uses
from domain.plans import Plan
from domain.routing.decision import Decision, DecisionRequest, Option
from domain.routing.facts import KernelFacts
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_batch_on, decide_on
from domain.values import MICROS

MOST_TOGETHER = 8
"""Orders of a group: the more must move at once, the likelier one of them is released meanwhile."""

Places = dict[tuple[str, str], int]
"""(node id, line id) -> units."""


@dataclass(frozen=True)
class Standing:
    """An order's reserved plan, not released yet.

    `request` is what the plan was decided for, as of now, for the units it still reserves, under
    the id of the decision to make; `plan` holds just these units. `is_whole` where that is all it
    was decided for, so that its cost is known. `next_version` is the number of its next plan.
    """

    order_id: str
    request: DecisionRequest
    plan: Plan
    is_whole: bool = True
    next_version: int = 2

    @property
    def places(self) -> Places:
        """Where its units are."""
        return _places((x.node_id, x.lines) for x in self.plan.fulfillments)

    @property
    def uses(self) -> Uses:
        """The stock and room it gives back when it moves."""
        used: Uses = Counter()
        for planned in self.plan.fulfillments:
            for line in planned.lines:
                used["stock", line.sku, planned.node_id] += line.quantity
                used["units", planned.work_date, planned.node_id] += line.quantity
            used["orders", planned.work_date, planned.node_id] = 1
        return used


@dataclass(frozen=True)
class Moved:
    """An order's new plan: decided for `request` on `facts`; costs in micros."""

    standing: Standing
    request: DecisionRequest
    facts: KernelFacts
    decision: Decision
    before: int
    why: str = ""

    @property
    def option(self) -> Option:
        """The new plan."""
        return _plan(self.decision)

    @property
    def gain(self) -> int:
        """What it saves; negative where it makes room for another."""
        return self.before - self.option.cost_micros


class _Target(NamedTuple):
    """The plan that the batch has for an order, and what it and the present one cost."""

    standing: Standing
    decision: Decision
    before: int

    @property
    def gain(self) -> int:
        return self.before - _plan(self.decision).cost_micros

    @property
    def wants(self) -> Uses:
        return uses_of(_plan(self.decision))


def rebroker(
    standings: Sequence[Standing], facts: KernelFacts, policy: RoutingPolicy, min_gain: int
) -> list[tuple[Moved, ...]]:
    """The groups to move, in this order: each may need what an earlier one gives back.

    `facts` are what is free now: what the orders reserve is not in it. `min_gain` micros are what a
    group must save for each order that it moves.
    """
    ground = Ground(facts)
    targets = _targets(standings, ground, policy)
    groups: list[tuple[Moved, ...]] = []
    for target in sorted(targets.values(), key=lambda x: (-x.gain, x.standing.order_id)):
        if target.gain < min_gain or target.standing.order_id not in targets:
            continue
        group = _with_givers(target, targets, ground)
        moved = _decided(group, ground, policy) if group else ()
        if moved and sum(x.gain for x in moved) >= min_gain * len(moved):
            groups.append(_with_reasons(moved, ground))
            for one in moved:
                ground.give(one.standing.uses)
                del targets[one.standing.order_id]
            for one in moved:
                ground.take(uses_of(one.option))
    return groups


def _targets(
    standings: Sequence[Standing], ground: Ground, policy: RoutingPolicy
) -> dict[str, _Target]:
    """Order id -> where the batch would have it, where that is elsewhere and as good a promise."""
    pool = ground.copy()
    for standing in standings:
        pool.give(standing.uses)
    batch = decide_batch_on([x.request for x in standings], pool.facts(), policy)
    targets = {}
    for standing, decision in zip(standings, batch.decisions, strict=True):
        if _may_become(standing, decision):
            before = _cost_of_staying(standing, ground, policy)
            if before is not None:
                targets[standing.order_id] = _Target(standing, decision, before)
    return targets


def _may_become(standing: Standing, decision: Decision) -> bool:
    option = decision.plan
    if option is None or option.missing:
        return False
    is_elsewhere = _places((x.node_id, x.assignments) for x in option.shipments) != standing.places
    return is_elsewhere and keeps_promise(standing, option)


def keeps_promise(standing: Standing, option: Option) -> bool:
    """Whether no ship group comes later than promised, or, where it is late already, than now."""
    for group in standing.request.groups:
        now = [x.deliver_by for x in standing.plan.fulfillments if x.ship_group == group.group_id]
        then = [x.deliver_at for x in option.shipments if x.ship_group == group.group_id]
        dues = [x for x in (standing.request.promised_deliver_by, group.deliver_by) if x]
        if now and then and max(then) > _latest(max(now), dues):
            return False
    return True


def _latest(now: datetime, dues: Sequence[datetime]) -> datetime:
    return max(now, min(dues)) if dues else now


def _cost_of_staying(standing: Standing, ground: Ground, policy: RoutingPolicy) -> int | None:
    """What the present plan costs, in micros; None where it could not be made any more.

    At most what it cost when it was made: that it was decided earlier is no gain.
    """
    plan = decide_on(standing.request, ground.alone(standing.uses), policy).plan
    if plan is None or plan.missing:
        return None
    if standing.is_whole:
        return min(plan.cost_micros, standing.plan.cost_micros)
    return plan.cost_micros


def _with_givers(
    target: _Target, targets: Mapping[str, _Target], ground: Ground
) -> tuple[_Target, ...]:
    """The order and the fewest others found that must move so that it can; none: it cannot."""
    group = [target]
    while (short := _short(group, ground)) is not None:
        names = {x.standing.order_id for x in group}
        givers = [
            x
            for x in targets.values()
            if x.standing.order_id not in names and x.standing.uses[short] > x.wants[short]
        ]
        if not givers or len(group) == MOST_TOGETHER:
            return ()
        group.append(max(givers, key=lambda x: (x.gain, x.standing.order_id)))
    return tuple(group)


def _short(group: Sequence[_Target], ground: Ground) -> Resource | None:
    """Something that the group's plans use more of than there is once it has given back."""
    needs: Counter[Resource] = Counter()
    for target in group:
        needs.update(target.wants)
        needs.subtract(target.standing.uses)
    return min((x for x, units in needs.items() if units > ground.left(x)), default=None)


def _decided(group: Sequence[_Target], ground: Ground, policy: RoutingPolicy) -> tuple[Moved, ...]:
    """Each order's own decision on what the others leave; none where one finds no such plan."""
    found: list[Moved] = []
    for number, target in enumerate(group):
        own = ground.copy()
        for member in group:
            own.give(member.standing.uses)
        for moved in found:
            own.take(uses_of(moved.option))
        for member in group[number + 1 :]:
            own.take(member.wants)
        request, facts = (
            target.standing.request,
            own.facts({x.sku for x in target.standing.request.lines}),
        )
        decision = decide_on(request, facts, policy)
        if not _may_become(target.standing, decision):
            return ()
        found.append(Moved(target.standing, request, facts, decision, target.before))
    return tuple(found)


def _with_reasons(moved: Sequence[Moved], ground: Ground) -> tuple[Moved, ...]:
    return tuple(replace(one, why=_why(one, moved, ground)) for one in moved)


def _why(one: Moved, group: Sequence[Moved], ground: Ground) -> str:
    """Why it moves, in words: what it saves, or who needed what it gives up and was short."""
    cost = f"{_amount(one.before)} before, {_amount(one.option.cost_micros)} now"
    parts = [f"moved from {_nodes(one.standing.places)} to {_nodes(_places_of(one.option))}", cost]
    if len(group) > 1:
        parts.append(f"with {len(group) - 1} more: {_amount(sum(x.gain for x in group))} saved")
    freed = one.standing.uses - uses_of(one.option)
    needed = []
    for other in group:
        taken = freed & (uses_of(other.option) - other.standing.uses)
        scarce = {x: units for x, units in sorted(taken.items()) if ground.left(x) < units}
        if other is not one and scarce:
            named = dict.fromkeys(_named(x, units) for x, units in scarce.items())
            needed.append(f"{other.standing.order_id} needed {' and '.join(named)}")
    return ". ".join([", ".join(parts), *needed])


def _named(resource: Resource, units: int) -> str:
    kind, name, node_id = resource
    return f"{units} x {name} at {node_id}" if kind == "stock" else f"room at {node_id} on {name}"


def _amount(micros: int) -> str:
    return f"{Decimal(micros) / MICROS:.2f}"


def _nodes(places: Places) -> str:
    return ", ".join(sorted({node_id for node_id, _ in places}))


def _plan(decision: Decision) -> Option:
    plan = decision.plan
    assert plan is not None  # noqa: S101 (only whole plans become targets)
    return plan


def _places_of(option: Option) -> Places:
    return _places((x.node_id, x.assignments) for x in option.shipments)


def _places(parts: Iterable[tuple[str, Iterable[object]]]) -> Places:
    places: Counter[tuple[str, str]] = Counter()
    for node_id, lines in parts:
        for line in lines:
            places[node_id, line.line_id] += line.quantity  # type: ignore[attr-defined]
    return dict(places)


def uses_of(option: Option) -> Uses:
    """The stock and room that a plan takes."""
    used: Uses = Counter()
    for shipment in option.shipments:
        for part in shipment.assignments:
            used["stock", part.sku, shipment.node_id] += part.quantity
            used["units", shipment.work_date, shipment.node_id] += part.quantity
        used["orders", shipment.work_date, shipment.node_id] = 1
    return used
