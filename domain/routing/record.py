"""The parts of a decision: planned shipments, scores, exclusions, the runner-up.

What the kernel worked out itself is valid already, so models are made without checking it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from domain.catalogue import KitComponent, SupplyMode
from domain.orders import Method, ServiceLevel
from domain.routing.cost_parts import cost_parts
from domain.routing.decision import Assignment, NodeScore, Option, PlannedShipment
from domain.routing.facts import Ints
from domain.routing.filters import barred_text
from domain.routing.group import GroupPlan, Shipment, atoms_of, shipment_of
from domain.routing.partition import Partition, cheapest_partition
from domain.routing.plans import GroupPricer, is_possible
from domain.routing.pricing import COUNTER, IMPOSSIBLE, leg, price
from domain.routing.timetable import calendar_of, moment

MOST_SCORES = 24
"""Rows kept besides the chosen nodes: those that cover most, then cost least."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The rows worth keeping, and how many nodes were compared."""

    rows: tuple[NodeScore, ...]
    compared: int


def option_of(level: ServiceLevel, groups: Sequence[GroupPlan]) -> Option:
    """The groups' plans as one option."""
    shipments = tuple(planned(plan, x) for plan in groups for x in plan.shipments)
    return Option.model_construct(
        service_level=level,
        shipments=shipments,
        missing=tuple(missing for plan in groups for missing in plan.missing),
        cost_micros=sum(plan.cost for plan in groups),
        ship_at=max((x.ship_at for x in shipments), default=None),
        deliver_at=max((x.deliver_at for x in shipments), default=None),
        order_by=min((x.order_by for x in shipments), default=None),
    )


def node_of(shipment: Shipment) -> int:
    """Index of the shipment's node in the network."""
    return int(shipment.pricer.candidates.nodes[shipment.row])


def work_day_of(shipment: Shipment) -> int:
    """Ordinal of the local date whose capacity the shipment uses."""
    candidates, found = shipment.pricer.candidates, shipment.price
    calendar = candidates.sites.calendar[shipment.row]
    return int(candidates.times.work[found.begin, calendar, found.turn])


def deliver_at_of(shipment: Shipment) -> datetime:
    """When the shipment arrives."""
    return _times(shipment)[1]


def _times(shipment: Shipment) -> tuple[datetime, datetime]:
    candidates, found = shipment.pricer.candidates, shipment.price
    _, _, ship, deliver = leg(
        candidates.sites,
        candidates.times,
        shipment.pricer.services,
        shipment.row,
        found.way,
        found.begin,
        found.turn,
    )
    return moment(int(ship)), moment(int(deliver))


def planned(plan: GroupPlan, shipment: Shipment) -> PlannedShipment:
    """The shipment as the decision records it."""
    task, candidates = plan.task, shipment.pricer.candidates
    network, row = task.facts.network, shipment.row
    node = node_of(shipment)
    ship_at, deliver_at = _times(shipment)
    service = int(candidates.sites.services[row, shipment.price.way])
    is_counter = service == COUNTER
    order_by = calendar_of(network, node).order_by(ship_at)
    return PlannedShipment.model_construct(
        node_id=network.nodes[node].node_id,
        ship_group=task.group.group_id,
        # The store's own units wait at its counter; no carrier brings them.
        method=Method.PICKUP if is_counter else task.group.method,
        service_id=None if is_counter else network.services[service].service_id,
        assignments=tuple(_assignment(plan, *x) for x in shipment.quantities.items()),
        work_date=date.fromordinal(work_day_of(shipment)).isoformat(),
        ship_at=ship_at,
        deliver_at=deliver_at,
        order_by=(ship_at if order_by is None else order_by) - _lead(plan, shipment),
        cost_micros=shipment.price.cost,
        distance_km=int(candidates.sites.km[row]),
        cost_parts={} if task.policy.is_flat else cost_parts(task, shipment),
    )


def _assignment(plan: GroupPlan, position: int, units: int) -> Assignment:
    demand = plan.task.demand
    known = demand.assignments.get((position, units))
    if known is not None:
        return known
    line, parts = demand.lines[position], demand.parts[position]
    is_kit = demand.skus[parts[0][0]] != line.sku
    pieces = [(demand.skus[sku], each * units) for sku, each in parts] if is_kit else ()
    known = demand.assignments[position, units] = Assignment.model_construct(
        line_id=line.line_id,
        sku=line.sku,
        quantity=units,
        parts=tuple(KitComponent.model_construct(sku=x, quantity=y) for x, y in pieces),
    )
    return known


def _lead(plan: GroupPlan, shipment: Shipment) -> timedelta:
    """Time until the last product of the shipment is made at its node."""
    task = plan.task
    classes = shipment.pricer.candidates.sku_classes[shipment.row]
    days = [0]
    for position in shipment.quantities:
        for sku, _ in task.demand.parts[position]:
            product = task.facts.products.get(task.demand.skus[sku])
            if classes[sku] and product is not None:
                is_made = product.supply_mode is SupplyMode.LEAD_TIME
                days.append(product.lead_time_days if is_made else 0)
    return timedelta(days=max(days))


def scores_of(groups: Sequence[GroupPlan]) -> Scores:
    """The chosen nodes, and of the others that may serve those worth telling of, by id."""
    covers: dict[int, list[str]] = {}
    costs: dict[int, int] = {}
    distances: dict[int, int] = {}
    compared: list[Ints] = []
    used: set[int] = set()
    for plan in groups:
        if plan.pricer is None:
            continue
        chosen = [shipment.row for shipment in plan.shipments]
        candidates = plan.pricer.candidates
        used.update(candidates.nodes[chosen].tolist())
        compared.append(candidates.nodes)
        cost = _cover_costs(plan.pricer)
        lines = _lines_covered(plan.pricer)
        units = lines @ np.array([x.quantity for x in plan.task.demand.lines])
        ranked = np.lexsort((cost, -units))[: MOST_SCORES + len(chosen)].tolist()
        for row in {*ranked, *chosen}:
            node = int(candidates.nodes[row])
            distances.setdefault(node, int(candidates.sites.km[row]))
            found = np.flatnonzero(lines[row]).tolist()
            covers.setdefault(node, []).extend(plan.task.demand.lines[x].line_id for x in found)
            if is_possible(int(cost[row])):
                costs[node] = costs.get(node, 0) + _paid(plan.pricer, row, int(cost[row]))
    nodes = groups[0].task.facts.network.nodes if groups else ()
    rows = tuple(
        NodeScore.model_construct(
            node_id=nodes[node].node_id,
            covers=tuple(covers[node]),
            cost_micros=costs.get(node),
            distance_km=distances[node],
            chosen=node in used,
        )
        for node in sorted(distances)
    )
    return Scores(rows, len(np.unique(np.concatenate(compared))) if compared else 0)


def _paid(pricer: GroupPricer, row: int, cost: int) -> int:
    """The cost of all the row covers, without measures that are packed before it."""
    if pricer.candidates.packing is None:
        return cost
    numbers = np.flatnonzero(pricer.candidates.covers[row]).tolist()
    found = pricer.price(row, {x: pricer.demand.atoms[x].units for x in numbers})
    return cost if found is None else pricer.paid(row, found).cost


def _lines_covered(pricer: GroupPricer) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    """(row, line): whether the node has the line whole."""
    demand, have = pricer.demand, pricer.candidates.have
    if len(demand.atoms) == len(demand.lines):
        return pricer.candidates.covers
    found = np.ones((len(have), len(demand.lines)), dtype=np.bool_)
    for position, line in enumerate(demand.lines):
        for sku, each in demand.parts[position]:
            found[:, position] &= have[:, sku] >= each * line.quantity
    return found


def _cover_costs(pricer: GroupPricer) -> Ints:
    """By row: what it asks for all atoms it covers; IMPOSSIBLE: none, or not all at once."""
    demand, candidates = pricer.demand, pricer.candidates
    covers, sites = candidates.covers.astype(np.int64), candidates.sites
    units = covers @ np.array([atom.units for atom in demand.atoms], dtype=np.int64)
    grams = covers @ np.array([atom.grams for atom in demand.atoms], dtype=np.int64)
    begins = np.where(candidates.covers, sites.classes, 0).max(axis=1, initial=0).astype(np.int64)
    costs = _first_day_costs(pricer, units, grams)
    services, times = pricer.services, candidates.times
    for row in np.flatnonzero(~sites.is_plain & (units > 0)).tolist():
        costs[row], _, _ = price(
            sites, times, services, row, int(units[row]), int(grams[row]), int(begins[row])
        )
    if sites.prices.shape[1]:
        costs = np.minimum(costs + (covers * sites.prices).sum(axis=1), IMPOSSIBLE)
    costs[units == 0] = IMPOSSIBLE
    if sites.shared.shape[1]:
        needs = demand.needs()
        # What one atom alone asks for is there: its node covers it.
        shared = np.flatnonzero(np.count_nonzero(needs, axis=0) > 1)
        costs[(covers @ needs[:, shared] > sites.shared).any(axis=1)] = IMPOSSIBLE
    return costs


def _first_day_costs(pricer: GroupPricer, units: Ints, grams: Ints) -> Ints:
    """By row: what it asks for so much on its first day."""
    sites = pricer.candidates.sites
    rates = np.append(pricer.services.per_kg, 0)[np.maximum(sites.services, -1)]
    weights = (rates * grams[:, None] + 500) // 1_000
    costs = np.where(sites.amounts >= 0, sites.amounts + weights, IMPOSSIBLE).min(axis=1)
    total: Ints = np.minimum(costs + sites.per_unit * units, IMPOSSIBLE)
    return total


def excluded_of(groups: Sequence[GroupPlan]) -> dict[str, tuple[str, ...]]:
    """Reason -> nodes that hold something of the order but may serve none of its groups.

    Nodes that may serve, but not with a certain product, stand under a reason that names it.
    """
    found = [plan.pricer.candidates for plan in groups if plan.pricer is not None]
    able: set[int] = set()
    if len(found) > 1:
        able = {node for candidates in found for node in candidates.nodes.tolist()}
    reasons: dict[int, str] = {}
    for candidates in found:
        for node, reason in candidates.excluded.items():
            if node not in able:
                reasons.setdefault(node, reason)
    nodes: dict[str, list[int]] = {}
    for node, reason in reasons.items():
        nodes.setdefault(reason, []).append(node)
    for candidates in found:
        for sku, barred in candidates.barred.items():
            for node, reason in barred.items():
                if node not in reasons:
                    nodes.setdefault(barred_text(sku, reason), []).append(node)
    return {reason: _ids(groups, sorted(set(nodes[reason]))) for reason in sorted(nodes)}


def _ids(groups: Sequence[GroupPlan], nodes: Iterable[int]) -> tuple[str, ...]:
    network = groups[0].task.facts.network
    return tuple(network.nodes[node].node_id for node in nodes)


def runner_up_of(groups: Sequence[GroupPlan], cost: int) -> int | None:
    """Cost of the best plan as full as the chosen one that leaves out a group's main node.

    None when there is none, or no group was planned by the exact core alone.
    """
    changes: list[int] = []
    for plan in groups:
        if plan.exact is None or not plan.exact[1].parts:
            continue
        priced, partition = plan.exact
        units = priced.sets.units
        main = min(partition.parts, key=lambda part: (-int(units[part[1]]), part[0]))[0]
        other = cheapest_partition(priced, plan.task.most_shipments, without=main)
        if other is not None and other.units == partition.units:
            changes.append(_cost_of(plan, other) - _cost_of(plan, partition))
    return cost + min(changes) if changes else None


def _cost_of(plan: GroupPlan, partition: Partition) -> int:
    """Micros; of packed costs, the cost alone."""
    if not plan.is_packed or plan.pricer is None:
        return partition.cost
    atoms = plan.pricer.demand.atoms
    return sum(
        shipment_of(plan.pricer, row, {x: atoms[x].units for x in atoms_of(part)}).price.cost
        for row, part in partition.parts
    )
