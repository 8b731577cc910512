"""One ship group's plan: exact where that can be afforded, searched and bounded beyond."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import cast

import numpy as np

from domain.errors import FinalError
from domain.network import Place
from domain.orders import Method
from domain.routing.candidates import (
    NO_STOCK,
    NOT_ENOUGH_UNITS,
    find_candidates,
    why_missing,
)
from domain.routing.decision import Missing, Purpose
from domain.routing.demand import Atom, demand_of
from domain.routing.improve import improved
from domain.routing.minimums import with_minimums
from domain.routing.partition import NOTHING, Partition, Priced, cheapest_partition
from domain.routing.plans import GroupPricer, Load, Price
from domain.routing.search import QUICK, THOROUGH, Effort, search
from domain.routing.spread import piece_rooms, pieces_allowed, spread
from domain.routing.strategy import SPLITTING, Relax, SoftLimit
from domain.routing.task import GroupTask
from domain.routing.ways import Problem, problem_of

EXACT_ATOMS = 14
NOT_IN_ONE_SHIPMENT = "no single node has everything"
TOO_MANY_SHIPMENTS = "more shipments than allowed"
TOO_SMALL = "too small to be a shipment of its own"
NO_DESTINATION = "no such store"
OFFERS = frozenset({Purpose.PRODUCT_PAGE, Purpose.CART, Purpose.CHECKOUT})
HURRIED = frozenset({Purpose.PRODUCT_PAGE, Purpose.CART})
"""Who waits for milliseconds."""
Loads = dict[int, tuple[int, ...]]
"""Row -> the atoms it serves."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """A node of the plan with the units of each line it sends."""

    pricer: GroupPricer
    row: int
    load: Load
    quantities: dict[int, int]
    """Line's position -> units."""
    price: Price


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A planned ship group."""

    task: GroupTask
    shipments: list[Shipment]
    missing: list[Missing]
    pricer: GroupPricer | None
    """None: the group has no destination."""
    is_proven: bool
    """Whether no plan covers more units, or as many for less."""
    bound: int | None = None
    """Micros: no plan that serves everything costs less; None: none is known."""
    exact: tuple[Priced, Partition] | None = None
    """What the exact core looked at and found; None: searched, or not all of the plan."""
    steps: tuple[str, ...] = ()
    """Limits dropped and after-actions taken to serve as much as it does."""

    @property
    def cost(self) -> int:
        """Micros of all shipments."""
        return sum(shipment.price.cost for shipment in self.shipments)

    @property
    def is_packed(self) -> bool:
        """Whether measures come before cost (objective.py)."""
        return self.pricer is not None and self.pricer.candidates.packing is not None

    @property
    def units_missing(self) -> int:
        """Units no node serves."""
        return sum(missing.quantity for missing in self.missing)


def plan_group(task: GroupTask, pricer: GroupPricer | None = None) -> GroupPlan:
    """The group's plan; while units are missing, soft limits fall in the policy's order.

    Then units that will arrive count, where the policy says so. `pricer`: that of the task, where
    it is known already.
    """
    plan = plan_under(task, pricer)
    if not plan.missing:
        return plan
    task, plan = _relaxed(task, plan, task.policy.relax, plan.pricer)
    for action in task.policy.after:
        if not plan.missing:
            break
        if isinstance(action, Relax):
            task, plan = _relaxed(task, plan, action.relax, None)
        elif action == "split":
            task = without(task, SPLITTING)
            plan = _fuller(plan, plan_under(task), action)
        elif action == "ship_to_store" and task.group.method is Method.PICKUP:
            group = task.group.model_copy(update={"method": Method.SHIP_TO_STORE})
            task = replace(task, group=group, known={})
            plan = _fuller(plan, plan_under(task), action)
    if plan.missing and _counts_inbound(task):
        demand = task.demand
        lacks = {x.line_id for x in plan.missing}
        skus = {
            demand.skus[sku]
            for line, parts in zip(demand.lines, demand.parts, strict=True)
            if line.line_id in lacks
            for sku, _ in parts
        }
        awaited = frozenset(skus & task.facts.inbound.keys())
        if awaited:
            plan = _fuller(plan, plan_under(replace(task, awaited=awaited)))
    return plan


def _relaxed(
    task: GroupTask, plan: GroupPlan, limits: Sequence[SoftLimit], pricer: GroupPricer | None
) -> tuple[GroupTask, GroupPlan]:
    """The task without as many of the limits as it takes, and the fullest plan.

    `pricer`: that of the task, where it is known already.
    """
    for limit in limits:
        if not plan.missing:
            break
        if limit == "max_shipments":
            task = without(task, (limit,))
            if pricer is None and task.destination is not None:
                pricer = _pricer_of(task, task.destination)
            if pricer is not None and _may_be_fuller(task, plan, pricer):
                plan = _fuller(plan, plan_under(task, pricer), limit)
        elif is_set(task, limit):
            task = without(task, (limit,))
            other = plan_under(task)
            pricer = other.pricer
            plan = _fuller(plan, other, limit)
        else:
            task = without(task, (limit,))
    return task, plan


def without(task: GroupTask, limits: Sequence[SoftLimit]) -> GroupTask:
    """The task with these limits dropped."""
    dropped = (*task.dropped, *(limit for limit in limits if limit not in task.dropped))
    if not _OF_DEMAND & set(limits):
        return replace(task, dropped=dropped)
    demand = demand_of(
        task.request, task.group, task.demand.lines, task.facts.products, task.policy, dropped
    )
    return replace(task, dropped=dropped, demand=demand, known={})


_OF_DEMAND = {"allow_line_split", "ship_complete", "keep_together", "never_split"}


def is_set(task: GroupTask, limit: SoftLimit) -> bool:
    """Whether the policy has the limit at all; one that it has not keeps nothing out."""
    policy = task.policy
    if limit == "allow_line_split":
        return not policy.allow_line_split
    if limit == "keep_together":
        return bool(policy.constraints.keep_together or policy.constraints.keep_together_by)
    if limit == "carriers":
        filters = policy.filters
        return bool(
            filters.carriers
            or filters.excluded_carriers
            or filters.services
            or filters.excluded_services
        )
    for holder in (policy, policy.filters, policy.constraints):
        value = getattr(holder, limit, None)
        if value is not None:
            return limit in _NUMBERS or bool(value)
    return False


_NUMBERS = {"max_distance_km", "capacity_left", "starts_within_days"}
"""Limits of which 0 is one too."""


def plan_whole(task: GroupTask) -> GroupPlan | None:
    """As `plan_group`; None at once where units stay missing whatever limit falls."""
    if task.destination is None:
        return None
    awaited = task.awaited
    if _counts_inbound(task):
        awaited |= frozenset(task.demand.skus) & task.facts.inbound.keys()
    if task.policy.after:
        plan = plan_group(task)
        return None if plan.missing else plan
    loosest = replace(without(task, task.policy.relax), awaited=awaited)
    pricer = _pricer_of(loosest, task.destination)
    if unreachable(pricer):
        return None
    is_same = not awaited and not any(_limits_candidates(task, x) for x in task.policy.relax)
    plan = plan_group(task, pricer if is_same else None)
    return None if plan.missing else plan


def _limits_candidates(task: GroupTask, limit: SoftLimit) -> bool:
    return limit != "max_shipments" and is_set(task, limit)


def unreachable(pricer: GroupPricer) -> int:
    """Units that no plan of these candidates can serve, however many shipments it has."""
    whole = pricer.candidates.covers.any(axis=0)
    total = 0
    for number in np.flatnonzero(~whole).tolist():
        atom = pricer.demand.atoms[number]
        pieces = sum(piece_rooms(pricer, number)) if atom.may_split else 0
        total += max(0, atom.units - pieces)
    return total


def _may_be_fuller(task: GroupTask, plan: GroupPlan, pricer: GroupPricer) -> bool:
    """Whether more shipments could serve more units."""
    return not task.demand.one_shipment and plan.units_missing > unreachable(pricer)


def _counts_inbound(task: GroupTask) -> bool:
    allowed = task.policy.inbound
    return allowed == "always" or (allowed == "offers" and task.request.purpose in OFFERS)


def _fuller(plan: GroupPlan, other: GroupPlan, step: str = "") -> GroupPlan:
    """The other where it serves more, which is what the step was for."""
    if other.units_missing >= plan.units_missing:
        return plan
    return replace(other, steps=(*plan.steps, step) if step else plan.steps)


def _pricer_of(task: GroupTask, destination: Place) -> GroupPricer:
    return GroupPricer(task.demand, find_candidates(task, destination), *task.least_in_shipment)


def plan_under(task: GroupTask, pricer: GroupPricer | None = None) -> GroupPlan:
    """The best plan under the task's limits; `pricer`: that of its candidates, where known."""
    if task.destination is None:
        missing = [
            Missing(line_id=x.line_id, sku=x.sku, quantity=x.quantity, reason=NO_DESTINATION)
            for x in task.demand.lines
        ]
        return GroupPlan(task, [], missing, None, is_proven=True)
    if pricer is None:
        pricer = _pricer_of(task, task.destination)
    whole, exact, bound = _whole_atoms(task, pricer)
    most = task.most_shipments
    pieces = pieces_allowed(pricer, whole, most)
    atoms = task.demand.atoms
    plan = {row: {x: atoms[x].units for x in numbers} for row, numbers in whole.items()}
    is_proven = exact is not None
    if pieces or not is_proven:
        plan = with_minimums(pricer, spread(pricer, plan, pieces, most))
        if len(atoms) <= EXACT_ATOMS:
            plan, is_proven = improved(pricer, plan, pieces, most)
        is_proven = is_proven and not pricer.has_least
        exact = None
    shipments = [shipment_of(pricer, row, plan[row]) for row in sorted(plan)]
    missing = _missing(task, pricer, shipments)
    cost = sum(shipment.price.cost for shipment in shipments)
    packing = pricer.candidates.packing
    if packing is not None:
        bound, is_proven = None, is_proven and packing.is_exact
    elif is_proven:
        bound = cost
    elif missing:
        bound = None
    elif bound is not None and cost - bound <= 2 * len(atoms):
        # Each atom's weight is rounded for itself, a shipment's as a whole.
        bound, is_proven = cost, True
    return GroupPlan(task, shipments, missing, pricer, is_proven, bound, exact)


def _whole_atoms(
    task: GroupTask, pricer: GroupPricer
) -> tuple[Loads, tuple[Priced, Partition] | None, int | None]:
    """Row -> atoms it serves whole; with the exact core's view where that could be followed.

    Beyond that with a bound: micros, below which no plan that serves everything costs.
    """
    atoms, most = task.demand.atoms, task.most_shipments
    if not len(pricer.candidates.nodes):
        return {}, (pricer.priced(), NOTHING) if len(atoms) <= EXACT_ATOMS else None, None
    if len(atoms) <= EXACT_ATOMS:
        priced = pricer.priced()
        found = cheapest_partition(priced, most)
        if found is not None:
            return {row: atoms_of(part) for row, part in found.parts}, (priced, found), None
    loads, bound = _searched(pricer, most, QUICK if task.request.purpose in HURRIED else THOROUGH)
    return loads, None, bound


def _searched(pricer: GroupPricer, most: int, effort: Effort) -> tuple[Loads, int]:
    problem = cast(Problem, pricer.cache.get("problem") or _problem_of(pricer))
    pricer.cache["problem"] = problem
    found = search(problem, most, effort)
    loads: dict[int, list[int]] = {}
    for number, way in enumerate(found.ways.tolist()):
        if way >= 0:
            loads.setdefault(int(problem.row[way]), []).append(number)
    bound = max(0, floor(found.bound) - len(pricer.demand.atoms))
    return {row: tuple(loads[row]) for row in sorted(loads)}, bound


def _problem_of(pricer: GroupPricer) -> Problem:
    demand, candidates = pricer.demand, pricer.candidates
    split = np.array([atom.may_split for atom in demand.atoms], dtype=np.bool_)
    pieces = split & ~candidates.covers.any(axis=0)
    rooms = np.zeros(candidates.covers.shape, dtype=np.int64)
    for number in np.flatnonzero(pieces).tolist():
        rooms[:, number] = piece_rooms(pricer, number)
    return problem_of(demand, candidates, pricer.services, pieces, rooms)


def atoms_of(part: int) -> tuple[int, ...]:
    """The atoms of a set that is written as bits."""
    return tuple(x for x in range(part.bit_length()) if part >> x & 1)


def shipment_of(pricer: GroupPricer, row: int, load: Load) -> Shipment:
    """That row sending those units. Raises FinalError when it cannot."""
    price = pricer.price(row, load)
    if price is None:
        node = int(pricer.candidates.nodes[row])
        raise FinalError(f"node number {node} cannot serve what was planned")
    return Shipment(pricer, row, load, pricer.lines_of(load), pricer.paid(row, price))


def _missing(task: GroupTask, pricer: GroupPricer, shipments: Sequence[Shipment]) -> list[Missing]:
    """What stays missing of each line, and why."""
    sent: Counter[int] = Counter()
    for shipment in shipments:
        sent.update(shipment.quantities)
    is_full = len(shipments) >= task.most_shipments
    missing: list[Missing] = []
    for atom in task.demand.atoms:
        for position in atom.lines:
            line = task.demand.lines[position]
            lacks = line.quantity - sent[position]
            if lacks:
                reason = _why_not(task, pricer, position, atom, is_full=is_full)
                missing.append(
                    Missing(line_id=line.line_id, sku=line.sku, quantity=lacks, reason=reason)
                )
    return missing


def _hold_together(task: GroupTask, pricer: GroupPricer, position: int) -> bool:
    """Whether all nodes have the line's units between them."""
    demand, have = task.demand, pricer.candidates.have
    quantity = demand.lines[position].quantity
    return all(int(have[:, sku].sum()) >= each * quantity for sku, each in demand.parts[position])


def _why_not(
    task: GroupTask, pricer: GroupPricer, position: int, atom: Atom, *, is_full: bool
) -> str:
    candidates = pricer.candidates
    quantity = task.demand.lines[position].quantity
    parts = task.demand.parts[position]
    holds = [candidates.have[:, sku] >= each * quantity for sku, each in parts]
    if not np.logical_and.reduce(holds).any():
        if is_full and atom.may_split and _hold_together(task, pricer, position):
            return TOO_MANY_SHIPMENTS
        reasons = [
            why_missing(task, task.demand.skus[sku], candidates)
            for (sku, _), enough in zip(parts, holds, strict=True)
            if not enough.any()
        ]
        return NO_STOCK if NO_STOCK in reasons else (reasons or [NOT_ENOUGH_UNITS])[0]
    if len(atom.lines) > 1:
        return NOT_IN_ONE_SHIPMENT
    if is_full:
        return TOO_MANY_SHIPMENTS
    is_small = pricer.is_small(dict.fromkeys([task.demand.atoms.index(atom)], atom.units))
    return TOO_SMALL if is_small else NOT_ENOUGH_UNITS
