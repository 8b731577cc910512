"""The kernel: `decide` for one request, `decide_batch` for many. Pure: no clock, no randomness.

Each ship group is planned to the exact least cost up to `EXACT_ATOMS` lines (lines that must stay
together count as one), by search beyond. Groups follow one another in the request's order, and
what one takes the next no longer finds; only that order of groups is not optimised.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from domain.calendars import calendar_of
from domain.errors import FinalError
from domain.network import Place
from domain.orders import Method, ServiceLevel
from domain.routing.candidates import (
    NOT_ENOUGH_UNITS,
    Atom,
    Candidate,
    Candidates,
    Facts,
    GroupTask,
    PolicyCosts,
    ServiceFacts,
    Taken,
    find_candidates,
    why_missing,
)
from domain.routing.coverage import CoverageSearch, price_of_atoms
from domain.routing.decision import (
    Assignment,
    Decision,
    DecisionRequest,
    Missing,
    NodeScore,
    Option,
    PlannedShipment,
    Purpose,
    RequestGroup,
    RequestLine,
    Snapshot,
)
from domain.routing.facts import KernelFacts, content_id, facts_of, looked_at, snapshot_of
from domain.routing.money import micros
from domain.routing.objective import Price, Timetable, by_weight
from domain.routing.partition import IMPOSSIBLE, Costs, Partition, cheapest_partition
from domain.routing.policy import RoutingPolicy

EXACT_ATOMS = 8
NOT_IN_ONE_SHIPMENT = "no single node has everything"
TOO_MANY_SHIPMENTS = "more shipments than allowed"
NO_DESTINATION = "no such store"
_SCORES = TypeAdapter(tuple[NodeScore, ...])
"""Makes all rows in one call: there is one for each node that holds stock."""
_OFFERS = frozenset({Purpose.PRODUCT_PAGE, Purpose.CART, Purpose.CHECKOUT})


def decide(request: DecisionRequest, snapshot: Snapshot, policy: RoutingPolicy) -> Decision:
    """The cheapest allowed plan for the request, or what is missing and why.

    The same input gives the same bytes of `model_dump_json()`. Raises FinalError for a currency
    without an exchange rate and for a line whose ship group is not in the request.
    """
    return decide_on(request, facts_of(snapshot), policy)


def decide_on(request: DecisionRequest, facts: KernelFacts, policy: RoutingPolicy) -> Decision:
    """As `decide`, on facts that are arrays already: the way of the hot path."""
    facts = looked_at(facts, request)
    return _decide(request, Facts(snapshot_of(facts)), content_id(facts), policy, Taken())


def decide_batch(
    requests: Iterable[DecisionRequest], snapshot: Snapshot, policy: RoutingPolicy
) -> tuple[Decision, ...]:
    """One decision each, in the given order; stock and capacity an earlier one takes are gone.

    Sequential: an order early in the list is not held back for one that needs the stock more.
    """
    facts, version, taken = Facts(snapshot), content_id(facts_of(snapshot)), Taken()
    return tuple(_decide(request, facts, version, policy, taken) for request in requests)


def policy_id(policy: RoutingPolicy) -> str:
    """The policy's name and the first 12 hex digits of its content's sha256."""
    digest = hashlib.sha256(policy.model_dump_json().encode()).hexdigest()
    return f"{policy.name}@{digest[:12]}"


@dataclass(slots=True)
class _Shipment:
    """A node of the plan with the units of each line it sends."""

    row: Candidate
    quantities: dict[str, int]
    price: Price


@dataclass(slots=True)
class _GroupPlan:
    """A planned ship group."""

    task: GroupTask
    candidates: Candidates
    shipments: list[_Shipment]
    missing: list[Missing]
    costs: Costs | None
    """The exact solver's matrix, kept to price alternatives; None after a search."""
    partition: Partition

    @property
    def cost(self) -> int:
        return sum(shipment.price.cost for shipment in self.shipments)

    @property
    def units_missing(self) -> int:
        return sum(missing.quantity for missing in self.missing)


@dataclass(slots=True)
class _OptionPlan:
    """A whole option before it becomes part of a decision."""

    option: Option
    groups: list[_GroupPlan]
    taken: Taken
    in_time: bool


def _decide(
    request: DecisionRequest, facts: Facts, content: str, policy: RoutingPolicy, taken: Taken
) -> Decision:
    groups = _lines_by_group(request)
    asked_level = max(
        (group.service_level for group, _ in groups if group.method is not Method.PICKUP),
        key=_LEVELS.index,
        default=ServiceLevel.STANDARD,
    )
    asked = _plan_option(request, facts, policy, taken, groups, asked_level, None)
    plans = [asked]
    ships = any(group.method is not Method.PICKUP for group, _ in groups)
    if request.purpose in _OFFERS and ships:
        others = [
            _plan_option(request, facts, policy, taken, groups, level, level)
            for level in _LEVELS
            if level is not asked_level
        ]
        possible = [plan for plan in others if plan.option.shipments and not plan.option.missing]
        plans = sorted([asked, *possible], key=lambda x: _LEVELS.index(x.option.service_level))
    chosen = _choose(plans, asked)
    taken.stock, taken.capacity = chosen.taken.stock, chosen.taken.capacity
    return Decision(
        request_id=request.request_id,
        policy_version=policy_id(policy),
        snapshot_id=content,
        options=tuple(plan.option for plan in plans),
        chosen=plans.index(chosen),
        scores=_scores(chosen),
        excluded=_excluded(chosen),
        runner_up_cost_micros=_runner_up(chosen),
    )


_LEVELS = (ServiceLevel.STANDARD, ServiceLevel.EXPRESS, ServiceLevel.SAME_DAY)


def _lines_by_group(
    request: DecisionRequest,
) -> list[tuple[RequestGroup, tuple[RequestLine, ...]]]:
    """The groups that have lines, in the request's order."""
    lines: dict[str, list[RequestLine]] = {group.group_id: [] for group in request.groups}
    for line in request.lines:
        if line.ship_group not in lines:
            raise FinalError(f"line '{line.line_id}': no ship group '{line.ship_group}'")
        lines[line.ship_group].append(line)
    return [(x, tuple(lines[x.group_id])) for x in request.groups if lines[x.group_id]]


def _choose(plans: list[_OptionPlan], asked: _OptionPlan) -> _OptionPlan:
    """The asked level, unless it comes late and another comes in time."""
    if asked.in_time or asked.option.missing:
        return asked
    in_time = [plan for plan in plans if plan.in_time]
    return min(in_time, key=lambda plan: plan.option.cost_micros, default=asked)


def _plan_option(
    request: DecisionRequest,
    facts: Facts,
    policy: RoutingPolicy,
    taken: Taken,
    groups: list[tuple[RequestGroup, tuple[RequestLine, ...]]],
    label: ServiceLevel,
    level: ServiceLevel | None,
) -> _OptionPlan:
    """All groups, one after another, at `level` or (None) each at its own."""
    taken = taken.copy()
    plans: list[_GroupPlan] = []
    for group, lines in groups:
        task = _group_task(request, facts, policy, taken, group, lines, level)
        plan = _plan_with_relaxation(task)
        sku_of = {line.line_id: line.sku for line in lines}
        for shipment in plan.shipments:
            units: dict[str, int] = {}
            for line_id, quantity in shipment.quantities.items():
                units[sku_of[line_id]] = units.get(sku_of[line_id], 0) + quantity
            taken.take(shipment.row.node_id, shipment.price.work_date.isoformat(), units)
        plans.append(plan)
    shipments = tuple(_planned(plan, x) for plan in plans for x in plan.shipments)
    option = Option(
        service_level=label,
        shipments=shipments,
        missing=tuple(missing for plan in plans for missing in plan.missing),
        cost_micros=sum(plan.cost for plan in plans),
        ship_at=max((x.ship_at for x in shipments), default=None),
        deliver_at=max((x.deliver_at for x in shipments), default=None),
        order_by=min((x.order_by for x in shipments), default=None),
    )
    in_time = all(
        shipment.price.leg.deliver_at <= due
        for plan in plans
        if (due := _due(plan.task.request, plan.task.group)) is not None
        for shipment in plan.shipments
    )
    return _OptionPlan(option, plans, taken, in_time and not option.missing)


def _due(request: DecisionRequest, group: RequestGroup) -> datetime | None:
    """The earlier of what was promised and what was asked."""
    dues = [x for x in (request.promised_deliver_by, group.deliver_by) if x is not None]
    return min(dues, default=None)


def _group_task(
    request: DecisionRequest,
    facts: Facts,
    policy: RoutingPolicy,
    taken: Taken,
    group: RequestGroup,
    lines: tuple[RequestLine, ...],
    level: ServiceLevel | None,
) -> GroupTask:
    start = request.now if group.not_before is None else max(request.now, group.not_before)
    late_cost = micros(policy.lateness_cost_per_day)
    skus = tuple(dict.fromkeys(line.sku for line in lines))
    task = GroupTask(
        facts=facts,
        request=request,
        group=group,
        policy=policy,
        lines=lines,
        atoms=(),
        skus=skus,
        level=group.service_level if level is None else level,
        destination=_destination(facts, group),
        timetable=Timetable(start, _due(request, group), late_cost, policy.horizon_days),
        taken=taken,
        costs=PolicyCosts(policy),
    )
    return replace(task, atoms=_atoms(task))


def _destination(facts: Facts, group: RequestGroup) -> Place | None:
    if group.method is Method.SHIP:
        return group.destination
    store = facts.nodes.get(group.node_id or "")
    return None if store is None else store.place


def _atoms(task: GroupTask) -> tuple[Atom, ...]:
    """Lines that one node must serve together, in the order of their first line."""
    bundles: dict[tuple[str, str], list[RequestLine]] = {}
    for line in task.lines:
        if task.one_shipment:
            key = ("group", "")
        elif line.keep_together is not None:
            key = ("together", line.keep_together)
        else:
            key = ("line", line.line_id)
        bundles.setdefault(key, []).append(line)
    index = {sku: position for position, sku in enumerate(task.skus)}
    return tuple(
        _atom(task, tuple(lines), index, may_split=kind == "line")
        for (kind, _), lines in bundles.items()
    )


def _atom(
    task: GroupTask, lines: tuple[RequestLine, ...], index: dict[str, int], *, may_split: bool
) -> Atom:
    needs: dict[int, int] = {}
    for line in lines:
        needs[index[line.sku]] = needs.get(index[line.sku], 0) + line.quantity
    units = sum(line.quantity for line in lines)
    grams = sum(task.facts.supply_of(line.sku)[2] * line.quantity for line in lines)
    may_split = may_split and task.policy.allow_line_split and task.request.allow_split
    return Atom(lines, units, grams, tuple(needs.items()), may_split)


def _grams(task: GroupTask, quantities: dict[str, int]) -> int:
    return sum(
        task.facts.supply_of(line.sku)[2] * quantities.get(line.line_id, 0) for line in task.lines
    )


def _plan_with_relaxation(task: GroupTask) -> _GroupPlan:
    """The group's plan; while units are missing, soft limits fall in the policy's order."""
    plan = _plan_group(task)
    dropped = task.dropped
    for limit in task.policy.relax:
        if not plan.missing:
            break
        dropped = (*dropped, limit)
        wider = _plan_group(replace(task, dropped=dropped))
        if wider.units_missing < plan.units_missing:
            plan = wider
    return plan


def _plan_group(task: GroupTask) -> _GroupPlan:
    if task.destination is None:
        missing = [_missing(line, line.quantity, NO_DESTINATION) for line in task.lines]
        return _GroupPlan(task, Candidates([], {}), [], missing, None, Partition(0, 0, ()))
    candidates = find_candidates(task, task.destination)
    rows = candidates.rows
    costs: Costs | None = None
    if len(task.atoms) <= EXACT_ATOMS:
        costs = _cost_matrix(task, rows)
        units = np.array(_sums([atom.units for atom in task.atoms]), dtype=np.int64)
        partition = cheapest_partition(costs, units, task.most_shipments)
    else:
        partition = CoverageSearch(task, rows).best(task.most_shipments)
    shipments = {
        row: _shipment(task, rows[row], _lines_of(task, mask)) for row, mask in partition.parts
    }
    covered = sum(mask for _, mask in partition.parts)
    left = [atom for number, atom in enumerate(task.atoms) if not covered >> number & 1]
    missing = _spread_lines(task, candidates, shipments, left)
    ordered = [shipments[row] for row in sorted(shipments)]
    return _GroupPlan(task, candidates, ordered, missing, costs, partition)


def _sums(values: list[int]) -> list[int]:
    """The sum of the values of each mask, by mask."""
    sums = [0]
    for value in values:
        sums += [value + before for before in sums]
    return sums


def _lines_of(task: GroupTask, mask: int) -> dict[str, int]:
    return {
        line.line_id: line.quantity
        for number, atom in enumerate(task.atoms)
        if mask >> number & 1
        for line in atom.lines
    }


def _cost_matrix(task: GroupTask, rows: list[Candidate]) -> Costs:
    """What each row asks for each set of atoms; IMPOSSIBLE where it cannot serve the set."""
    units = _sums([atom.units for atom in task.atoms])
    grams = _sums([atom.grams for atom in task.atoms])
    masks = np.arange(len(units))
    costs = np.full((len(rows), len(units)), IMPOSSIBLE, dtype=np.int64)
    plain = [n for n, row in enumerate(rows) if not row.leads and row.first_room >= units[-1]]
    if plain:
        costs[plain] = _plain_costs([rows[n] for n in plain], units, grams)
    covers = np.array([row.cover for row in rows], dtype=np.int64).reshape(len(rows), 1)
    costs[(masks & ~covers) != 0] = IMPOSSIBLE
    costs[_overdrawn(task, rows)] = IMPOSSIBLE
    for number in sorted(set(range(len(rows))) - set(plain)):
        _fill_row(task, rows[number], costs[number])
    costs[:, 0] = IMPOSSIBLE
    return costs


def _plain_costs(rows: list[Candidate], units: list[int], grams: list[int]) -> Costs:
    """Rows whose first day takes the whole group: every set goes the same few ways."""
    best = np.full((len(rows), len(units)), IMPOSSIBLE, dtype=np.int64)
    users: dict[ServiceFacts | None, list[int]] = {}
    for number, row in enumerate(rows):
        for service in row.services:
            users.setdefault(service, []).append(number)
    for service, numbers in users.items():
        late = [rows[n].first_lateness(service) for n in numbers]
        able = [n for n, cost in zip(numbers, late, strict=True) if cost is not None]
        fixed = [
            rows[n].fixed + cost for n, cost in zip(numbers, late, strict=True) if cost is not None
        ]
        weights = [0] * len(grams)
        if service is not None:
            base, per_km = service.base, service.per_km
            fixed = [x + base + per_km * rows[n].km for n, x in zip(able, fixed, strict=True)]
            weights = [by_weight(service.per_kg, x) for x in grams]
        _refuse_beyond_64_bits(max(fixed, default=0) + weights[-1])
        ways = np.add.outer(np.array(fixed, dtype=np.int64), np.array(weights, dtype=np.int64))
        best[able] = np.minimum(best[able], ways)
    per_unit = [row.per_unit for row in rows]
    _refuse_beyond_64_bits(max(per_unit) * units[-1])
    best += np.multiply.outer(np.array(per_unit, dtype=np.int64), np.array(units, dtype=np.int64))
    return np.minimum(best, IMPOSSIBLE)


def _refuse_beyond_64_bits(cost: int) -> None:
    if cost >= IMPOSSIBLE // EXACT_ATOMS:
        raise FinalError("a shipment would cost more than 10^11: check the tariffs")


def _overdrawn(task: GroupTask, rows: list[Candidate]) -> NDArray[np.bool_]:
    """Sets whose atoms each fit the node's stock but together do not, being of one SKU."""
    overdrawn = np.zeros((len(rows), 1 << len(task.atoms)), dtype=np.bool_)
    needs = [dict(atom.needs) for atom in task.atoms]
    for index in range(len(task.skus)):
        asked = [need.get(index, 0) for need in needs]
        if sum(1 for quantity in asked if quantity) > 1:
            have = np.array([row.have[index] for row in rows], dtype=np.int64)
            overdrawn |= np.less.outer(have, np.array(_sums(asked), dtype=np.int64))
    return overdrawn


def _fill_row(task: GroupTask, row: Candidate, costs: Costs) -> None:
    """A row whose sets may fall on different days, priced set by set."""
    for mask in range(1, len(costs)):
        if mask & ~row.cover == 0:
            atoms = [number for number in range(len(task.atoms)) if mask >> number & 1]
            cost = price_of_atoms(task, row, atoms)
            if cost is not None:
                _refuse_beyond_64_bits(cost)
                costs[mask] = cost
            else:
                costs[mask] = IMPOSSIBLE


def _lead(task: GroupTask, row: Candidate, quantities: dict[str, int]) -> int:
    """Days until the last product of these lines is made at the node."""
    if not row.leads:
        return 0
    return row.lead_days(
        index
        for index, sku in enumerate(task.skus)
        if any(line.sku == sku and line.line_id in quantities for line in task.lines)
    )


def _shipment(task: GroupTask, row: Candidate, quantities: dict[str, int]) -> _Shipment:
    lead = _lead(task, row, quantities)
    price = row.price(sum(quantities.values()), _grams(task, quantities), lead)
    if price is None:
        raise FinalError(f"node '{row.node_id}' cannot serve what was planned")
    return _Shipment(row, quantities, price)


def _missing(line: RequestLine, quantity: int, reason: str) -> Missing:
    return Missing(line_id=line.line_id, sku=line.sku, quantity=quantity, reason=reason)


def _spread_lines(
    task: GroupTask, candidates: Candidates, shipments: dict[int, _Shipment], left: list[Atom]
) -> list[Missing]:
    """Split the lines that no node has whole, where allowed; what stays missing, and why."""
    missing: list[Missing] = []
    for atom in left:
        if atom.may_split:
            line = atom.lines[0]
            need = _split_line(task, candidates.rows, shipments, line, atom.needs[0][0])
            if need:
                reason = _why_not(task, candidates, shipments, line)
                missing.append(_missing(line, need, reason))
        else:
            missing += [
                _missing(line, line.quantity, _why_not(task, candidates, shipments, line))
                for line in atom.lines
            ]
    return missing


def _split_line(
    task: GroupTask,
    rows: list[Candidate],
    shipments: dict[int, _Shipment],
    line: RequestLine,
    index: int,
) -> int:
    """Gives the line's units to nodes in `shipments`, or new ones; returns the units left over.

    A node that can finish the line, the cheapest first; else nodes already in the plan, then the
    one with most units, so that few shipments are added.
    """
    need = line.quantity
    rooms = _rooms(task, rows, shipments, index)
    while need:
        may_open = len(shipments) < task.most_shipments
        if need == line.quantity and not may_open:
            whole = [n for n, room in rooms.items() if room >= need]
            if whole and not any(n in shipments for n in whole):
                return need
        pool = [n for n in rooms if may_open or n in shipments]
        if not pool:
            return need
        finishing = [n for n in pool if rooms[n] >= need]
        if finishing:
            extra = {n: _extra_cost(task, rows[n], shipments.get(n), line, need) for n in finishing}
            number = min(finishing, key=lambda n: (extra[n], n))
        else:
            number = min(pool, key=lambda n: (n not in shipments, -rooms[n], n))
        sent = min(need, rooms.pop(number))
        quantities = dict(shipments[number].quantities) if number in shipments else {}
        quantities[line.line_id] = sent
        shipments[number] = _shipment(task, rows[number], quantities)
        need -= sent
    return 0


def _rooms(
    task: GroupTask, rows: list[Candidate], shipments: dict[int, _Shipment], index: int
) -> dict[int, int]:
    """Units of that SKU each row could still send, by stock and by its freest day."""
    sku = task.skus[index]
    same = [line.line_id for line in task.lines if line.sku == sku]
    rooms: dict[int, int] = {}
    for number, row in enumerate(rows):
        room = row.have[index]
        if not room:
            continue
        lead = row.leads.get(index, 0)
        used = 0
        shipment = shipments.get(number)
        if shipment is not None:
            room -= sum(shipment.quantities.get(line_id, 0) for line_id in same)
            used = sum(shipment.quantities.values())
            lead = max(lead, _lead(task, row, shipment.quantities))
        fullest = max((units for _, units in row.days(lead)), default=0)
        room = min(room, fullest - used)
        if room > 0 and row.price(used + room, 0, lead) is not None:
            rooms[number] = room
    return rooms


def _extra_cost(
    task: GroupTask, row: Candidate, shipment: _Shipment | None, line: RequestLine, units: int
) -> int:
    """What sending these units on top costs."""
    before = {} if shipment is None else shipment.quantities
    after = _shipment(task, row, {**before, line.line_id: units})
    return after.price.cost - (0 if shipment is None else shipment.price.cost)


def _why_not(
    task: GroupTask,
    candidates: Candidates,
    shipments: dict[int, _Shipment],
    line: RequestLine,
) -> str:
    index = task.skus.index(line.sku)
    if not any(row.have[index] >= line.quantity for row in candidates.rows):
        return why_missing(task, line, candidates.excluded)
    if any(len(atom.lines) > 1 and line in atom.lines for atom in task.atoms):
        return NOT_IN_ONE_SHIPMENT
    full = len(shipments) >= task.most_shipments
    return TOO_MANY_SHIPMENTS if full else NOT_ENOUGH_UNITS


def _planned(plan: _GroupPlan, shipment: _Shipment) -> PlannedShipment:
    row, leg, task = shipment.row, shipment.price.leg, plan.task
    calendar = calendar_of(row.facts.node)
    lead = timedelta(days=_lead(task, row, shipment.quantities))
    order_by = calendar.order_by(leg.ship_at)
    return PlannedShipment(
        node_id=row.node_id,
        ship_group=task.group.group_id,
        # The store's own units wait at its counter; no carrier brings them.
        method=Method.PICKUP if leg.service is None else task.group.method,
        service_id=None if leg.service is None else leg.service.service_id,
        assignments=tuple(
            Assignment(line_id=x.line_id, sku=x.sku, quantity=shipment.quantities[x.line_id])
            for x in task.lines
            if x.line_id in shipment.quantities
        ),
        work_date=shipment.price.work_date.isoformat(),
        ship_at=leg.ship_at,
        deliver_at=leg.deliver_at,
        order_by=(leg.ship_at if order_by is None else order_by) - lead,
        cost_micros=shipment.price.cost,
        distance_km=row.km,
    )


def _scores(chosen: _OptionPlan) -> tuple[NodeScore, ...]:
    """A row for each node that holds something of the order and may serve, by id."""
    covers: dict[str, list[str]] = {}
    costs: dict[str, int] = {}
    distances: dict[str, int] = {}
    for plan in chosen.groups:
        lines = [(x.line_id, plan.task.skus.index(x.sku), x.quantity) for x in plan.task.lines]
        for number, row in enumerate(plan.candidates.rows):
            have, node_id = row.have, row.node_id
            distances.setdefault(node_id, row.km)
            covers.setdefault(node_id, []).extend(
                [line_id for line_id, index, units in lines if have[index] >= units]
            )
            cost = _cost_of_cover(plan, number, row)
            if cost is not None:
                costs[node_id] = costs.get(node_id, 0) + cost
    used = {shipment.node_id for shipment in chosen.option.shipments}
    return _SCORES.validate_python(
        [
            {
                "node_id": node_id,
                "covers": covers[node_id],
                "cost_micros": costs.get(node_id),
                "distance_km": distances[node_id],
                "chosen": node_id in used,
            }
            for node_id in sorted(distances)
        ]
    )


def _cost_of_cover(plan: _GroupPlan, number: int, row: Candidate) -> int | None:
    if not row.cover:
        return None
    if plan.costs is not None:
        cost = int(plan.costs[number, row.cover])
        return None if cost >= IMPOSSIBLE else cost
    atoms = [atom for atom in range(len(plan.task.atoms)) if row.cover >> atom & 1]
    return price_of_atoms(plan.task, row, atoms)


def _excluded(chosen: _OptionPlan) -> dict[str, tuple[str, ...]]:
    """Reason -> nodes that hold something of the order but may serve none of its groups."""
    able = {row.node_id for plan in chosen.groups for row in plan.candidates.rows}
    reasons: dict[str, str] = {}
    for plan in chosen.groups:
        for node_id, reason in plan.candidates.excluded.items():
            if node_id not in able:
                reasons.setdefault(node_id, reason)
    return {
        reason: tuple(sorted(x for x, why in reasons.items() if why == reason))
        for reason in sorted(set(reasons.values()))
    }


def _runner_up(chosen: _OptionPlan) -> int | None:
    """Cost of the best plan as full as the chosen one that leaves out a group's main node.

    None when there is none, when the group was searched, or when one of its lines was split.
    """
    changes: list[int] = []
    for plan in chosen.groups:
        parts, costs = plan.partition.parts, plan.costs
        sent = sum(sum(shipment.quantities.values()) for shipment in plan.shipments)
        if costs is None or not parts or sent != plan.partition.units:
            continue
        units = np.array(_sums([atom.units for atom in plan.task.atoms]), dtype=np.int64)
        main = min(parts, key=lambda part: (-units[part[1]], part[0]))[0]
        without = np.delete(costs, main, axis=0)
        other = cheapest_partition(without, units, plan.task.most_shipments)
        if other.units == plan.partition.units:
            changes.append(other.cost - plan.partition.cost)
    return chosen.option.cost_micros + min(changes) if changes else None
