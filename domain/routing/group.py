"""One ship group's plan: exact where that can be afforded, searched and bounded beyond."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from domain.errors import FinalError
from domain.routing.candidates import (
    NO_STOCK,
    NOT_ENOUGH_UNITS,
    Candidates,
    GroupTask,
    find_candidates,
    why_missing,
)
from domain.routing.coverage import CoverageSearch, Loads
from domain.routing.decision import Missing, Purpose
from domain.routing.demand import Atom
from domain.routing.improve import improved
from domain.routing.partition import NOTHING, Partition, Priced, cheapest_partition
from domain.routing.plans import GroupPricer, Load, Price
from domain.routing.spread import pieces_allowed, spread

EXACT_ATOMS = 14
NOT_IN_ONE_SHIPMENT = "no single node has everything"
TOO_MANY_SHIPMENTS = "more shipments than allowed"
NO_DESTINATION = "no such store"
OFFERS = frozenset({Purpose.PRODUCT_PAGE, Purpose.CART, Purpose.CHECKOUT})


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
    exact: tuple[Priced, Partition] | None = None
    """What the exact core looked at and found; None: searched, or not all of the plan."""

    @property
    def cost(self) -> int:
        """Micros of all shipments."""
        return sum(shipment.price.cost for shipment in self.shipments)

    @property
    def units_missing(self) -> int:
        """Units no node serves."""
        return sum(missing.quantity for missing in self.missing)


def plan_group(task: GroupTask) -> GroupPlan:
    """The group's plan; while units are missing, soft limits fall in the policy's order.

    Then units that will arrive count, where the policy says so.
    """
    plan = plan_under(task)
    for limit in task.policy.relax:
        if not plan.missing:
            return plan
        task = replace(task, dropped=(*task.dropped, limit))
        plan = _fuller(plan, plan_under(task))
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


def _counts_inbound(task: GroupTask) -> bool:
    allowed = task.policy.inbound
    return allowed == "always" or (allowed == "offers" and task.request.purpose in OFFERS)


def _fuller(plan: GroupPlan, other: GroupPlan) -> GroupPlan:
    return other if other.units_missing < plan.units_missing else plan


def plan_under(task: GroupTask) -> GroupPlan:
    """The best plan under the task's limits."""
    if task.destination is None:
        missing = [
            Missing(line_id=x.line_id, sku=x.sku, quantity=x.quantity, reason=NO_DESTINATION)
            for x in task.demand.lines
        ]
        return GroupPlan(task, [], missing, None, is_proven=True)
    candidates = find_candidates(task, task.destination)
    pricer = GroupPricer(task.demand, candidates, task.facts.network.service)
    whole, exact = _whole_atoms(task, pricer)
    most = task.most_shipments
    pieces = pieces_allowed(pricer, whole, most)
    atoms = task.demand.atoms
    plan = {row: {x: atoms[x].units for x in numbers} for row, numbers in whole.items()}
    is_proven = exact is not None
    if pieces or not is_proven:
        plan, is_proven = improved(pricer, spread(pricer, plan, pieces, most), pieces, most)
        exact = None
    shipments = [shipment_of(pricer, row, plan[row]) for row in sorted(plan)]
    missing = _missing(task, pricer, shipments)
    return GroupPlan(task, shipments, missing, pricer, is_proven=is_proven, exact=exact)


def _whole_atoms(
    task: GroupTask, pricer: GroupPricer
) -> tuple[Loads, tuple[Priced, Partition] | None]:
    """Row -> atoms it serves whole; with the exact core's view when that could be followed."""
    atoms, most = task.demand.atoms, task.most_shipments
    if not len(pricer.candidates.nodes):
        return {}, (pricer.priced(), NOTHING) if len(atoms) <= EXACT_ATOMS else None
    if len(atoms) <= EXACT_ATOMS:
        priced = pricer.priced()
        found = cheapest_partition(priced, most)
        if found is not None:
            return {row: atoms_of(part) for row, part in found.parts}, (priced, found)
    return CoverageSearch(pricer).best(most), None


def atoms_of(part: int) -> tuple[int, ...]:
    """The atoms of a set that is written as bits."""
    return tuple(x for x in range(part.bit_length()) if part >> x & 1)


def shipment_of(pricer: GroupPricer, row: int, load: Load) -> Shipment:
    """That row sending those units. Raises FinalError when it cannot."""
    price = pricer.price(row, load)
    if price is None:
        node = int(pricer.candidates.nodes[row])
        raise FinalError(f"node number {node} cannot serve what was planned")
    return Shipment(pricer, row, load, pricer.lines_of(load), price)


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
                reason = _why_not(task, pricer.candidates, position, atom, is_full=is_full)
                missing.append(
                    Missing(line_id=line.line_id, sku=line.sku, quantity=lacks, reason=reason)
                )
    return missing


def _why_not(
    task: GroupTask, candidates: Candidates, position: int, atom: Atom, *, is_full: bool
) -> str:
    quantity = task.demand.lines[position].quantity
    parts = task.demand.parts[position]
    holds = [candidates.have[:, sku] >= each * quantity for sku, each in parts]
    if not np.logical_and.reduce(holds).any():
        reasons = [
            why_missing(task, task.demand.skus[sku], candidates.excluded)
            for (sku, _), enough in zip(parts, holds, strict=True)
            if not enough.any()
        ]
        return NO_STOCK if NO_STOCK in reasons else (reasons or [NOT_ENOUGH_UNITS])[0]
    if len(atom.lines) > 1:
        return NOT_IN_ONE_SHIPMENT
    return TOO_MANY_SHIPMENTS if is_full else NOT_ENOUGH_UNITS
