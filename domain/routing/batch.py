"""Many unreleased orders that contend for stock and capacity, planned together.

Column generation: the exact core proposes plans for each order under prices of scarce stock and
capacity; a linear program over all plans proposed so far sets the prices; at the end a whole-number
program picks one plan an order. The prices also give a bound (Dantzig and Wolfe 1960).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

import numpy as np

from domain.routing.facts import Ints, KernelFacts, is_made_to_order
from domain.routing.group import EXACT_ATOMS, GroupPlan, Shipment, atoms_of, shipment_of
from domain.routing.milp import Answer, Model
from domain.routing.partition import Partition, Priced, cheapest_partition
from domain.routing.pricing import Sites
from domain.routing.record import node_of, work_day_of
from domain.routing.supply import ENDLESS
from domain.values import MICROS

ROUNDS = 12
CLOSE_ENOUGH = 0.0005
_LEFT_OUT = 1e5
"""Cost in the base currency of an order that gets none of its plans: dearer than any of them."""

Resource = tuple[str, str, int, int]
"""("stock", SKU, node, 0), ("units", "", node, day) or ("orders", "", node, day)."""


class Column(NamedTuple):
    """One plan of one order: what it costs and uses up."""

    cost: int
    uses: dict[Resource, int]
    parts: tuple[tuple[int, int], ...]
    """(row, set of atoms as bits)."""


@dataclass(slots=True)
class Contender:
    """An order with its own best plan and the others proposed."""

    plan: GroupPlan
    priced: Priced
    columns: list[Column] = field(default_factory=list)

    def propose(self, partition: Partition) -> bool:
        """Keeps the plan; False when it is known already."""
        if any(x.parts == partition.parts for x in self.columns):
            return False
        uses: Counter[Resource] = Counter()
        cost = 0
        for shipment in self.shipments(partition.parts):
            cost += shipment.price.cost
            uses.update(uses_of(self.plan, shipment))
        self.columns.append(Column(cost, dict(uses), partition.parts))
        return True

    def shipments(self, parts: Iterable[tuple[int, int]]) -> list[Shipment]:
        """The parts as shipments."""
        pricer = self.plan.pricer
        assert pricer is not None  # noqa: S101 (a contender was planned, so it has candidates)
        atoms = pricer.demand.atoms
        return [
            shipment_of(pricer, row, {x: atoms[x].units for x in atoms_of(part)})
            for row, part in parts
        ]


class Together(NamedTuple):
    """The plans chosen by position of the order, None: none fits; cost and bound in micros."""

    chosen: list[GroupPlan | None]
    cost: int
    bound: float


def contender_of(plan: GroupPlan) -> Contender | None:
    """The order as one of many; None when it must be planned alone.

    In pieces, too large, or under an objective of more than cost.
    """
    if plan.exact is None or plan.missing or len(plan.task.demand.atoms) > EXACT_ATOMS:
        return None
    if plan.is_packed:
        # Its packed costs are too large beside others' to be weighed against them.
        return None
    contender = Contender(plan, plan.exact[0])
    contender.propose(plan.exact[1])
    return contender


def uses_of(plan: GroupPlan, shipment: Shipment) -> dict[Resource, int]:
    """The scarce things a shipment takes."""
    demand, node, day = plan.task.demand, node_of(shipment), work_day_of(shipment)
    uses: Counter[Resource] = Counter()
    for position, quantity in shipment.quantities.items():
        for sku, each in demand.parts[position]:
            uses["stock", demand.skus[sku], node, 0] += each * quantity
    uses["units", "", node, day] = sum(shipment.quantities.values())
    uses["orders", "", node, day] = 1
    return dict(uses)


class Limits:
    """How much there is of each scarce thing, read when first asked for."""

    def __init__(self, facts: KernelFacts) -> None:
        """Reads nothing yet."""
        self._facts = facts
        self._known: dict[Resource, int] = {}

    def of(self, resource: Resource) -> int:
        """Units of stock, or units or orders of a node's day."""
        known = self._known.get(resource)
        if known is None:
            known = self._known[resource] = self._read(resource)
        return known

    def _read(self, resource: Resource) -> int:
        kind, sku, node, day = resource
        if kind == "stock":
            product = self._facts.products.get(sku)
            arrays = self._facts.network.node
            if product is not None and is_made_to_order(product) and arrays.makes_to_order[node]:
                return ENDLESS
            stock = self._facts.stock[sku]
            return int(stock.units[np.searchsorted(stock.nodes, node)])
        return capacity_of(self._facts, node, day)[kind == "orders"]


def capacity_of(facts: KernelFacts, node: int, day: int) -> tuple[int, int]:
    """Units and orders the node can still take on that local date."""
    left = facts.capacity.get(date.fromordinal(day).isoformat())
    if left is not None:
        row = int(np.searchsorted(left.nodes, node))
        if row < len(left.nodes) and left.nodes[row] == node:
            return int(left.units[row]), int(left.orders[row])
    arrays = facts.network.node
    return int(arrays.daily_units[node]), int(arrays.daily_orders[node])


def plan_together(contenders: Sequence[Contender], facts: KernelFacts) -> Together:
    """One plan for each contender, none using what another uses, at nearly the least cost."""
    limits = Limits(facts)
    floor = sum(x.columns[0].cost for x in contenders)
    bound = float(floor)
    for _ in range(ROUNDS):
        scarce = _scarce(contenders, limits)
        if not scarce:
            break
        answer, rows = _master(contenders, scarce, limits, is_relaxed=True)
        value = float(np.dot(answer.values, _costs(contenders))) * MICROS
        duals = {x: round(float(answer.duals[row]) * MICROS) for x, row in rows.items()}
        prices = {x: price for x, price in duals.items() if price > 0}
        reduced, is_new = _propose(contenders, prices)
        bound = max(bound, reduced - sum(y * limits.of(x) for x, y in prices.items()))
        if not is_new or value - bound <= CLOSE_ENOUGH * value:
            break
    return _picked(contenders, limits, bound)


def _scarce(contenders: Sequence[Contender], limits: Limits) -> list[Resource]:
    """What the proposed plans together could use more of than there is."""
    most: Counter[Resource] = Counter()
    for contender in contenders:
        highest: dict[Resource, int] = {}
        for column in contender.columns:
            for resource, units in column.uses.items():
                highest[resource] = max(units, highest.get(resource, 0))
        most.update(highest)
    return sorted(x for x, units in most.items() if units > limits.of(x))


def _costs(contenders: Sequence[Contender]) -> list[float]:
    costs: list[float] = []
    for contender in contenders:
        costs.append(_LEFT_OUT)
        costs += [column.cost / MICROS for column in contender.columns]
    return costs


def _master(
    contenders: Sequence[Contender],
    scarce: Sequence[Resource],
    limits: Limits,
    *,
    is_relaxed: bool,
) -> tuple[Answer, dict[Resource, int]]:
    """One plan an order, or none; the scarce things' rows come first."""
    model = Model()
    terms: dict[Resource, dict[int, float]] = {x: {} for x in scarce}
    choices: list[dict[int, float]] = []
    for contender in contenders:
        choice = {model.column(_LEFT_OUT): 1.0}
        for column in contender.columns:
            number = model.column(column.cost / MICROS)
            choice[number] = 1.0
            for resource, units in column.uses.items():
                if resource in terms:
                    terms[resource][number] = float(units)
        choices.append(choice)
    for resource in scarce:
        model.row(terms[resource], float(limits.of(resource)))
    for choice in choices:
        model.row(choice, 1.0, 1.0)
    answer = model.solve(is_relaxed=is_relaxed)
    if answer is None:
        answer = Answer(_nothing(contenders), False, np.zeros(len(scarce) + len(choices)))
    return answer, {resource: row for row, resource in enumerate(scarce)}


def _nothing(contenders: Sequence[Contender]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Each order left out."""
    columns = [[1.0] + [0.0] * len(x.columns) for x in contenders]
    return np.array([value for row in columns for value in row])


def _propose(contenders: Sequence[Contender], prices: dict[Resource, int]) -> tuple[int, bool]:
    """Each order's best plan under the prices: the sum of their costs, and whether any is new."""
    by_node: dict[int, list[tuple[Resource, int]]] = {}
    for resource, price in prices.items():
        by_node.setdefault(resource[2], []).append((resource, price))
    total, is_new = 0, False
    for contender in contenders:
        priced = _under(contender, by_node)
        if priced is None:
            total += contender.columns[0].cost
            continue
        found = cheapest_partition(priced, contender.plan.task.most_shipments)
        if found is None or found.units < contender.plan.task.demand.units:
            total += contender.columns[0].cost
            continue
        total += found.cost
        is_new |= contender.propose(found)
    return total, is_new


def _under(contender: Contender, by_node: dict[int, list[tuple[Resource, int]]]) -> Priced | None:
    """The order's view with those prices; None when they do not touch it."""
    pricer = contender.plan.pricer
    assert pricer is not None  # noqa: S101 (a contender was planned, so it has candidates)
    sites, demand = pricer.candidates.sites, pricer.demand
    index = {sku: number for number, sku in enumerate(demand.skus)}
    needs = demand.needs()
    units = np.array([atom.units for atom in demand.atoms], dtype=np.int64)
    prices = np.zeros(pricer.candidates.covers.shape, dtype=np.int64)
    if sites.prices.shape[1]:
        prices += sites.prices
    extra = np.zeros(len(prices), dtype=np.int64)
    is_touched = False
    nodes = pricer.candidates.nodes
    touched = np.flatnonzero(np.isin(nodes, list(by_node))).tolist()
    for row in touched:
        for (kind, sku, _, day), price in by_node[int(nodes[row])]:
            if kind == "stock":
                if sku in index:
                    prices[row] += needs[:, index[sku]] * price
                    is_touched = True
            elif sites.is_plain[row] and day == _first_day(contender, row):
                is_touched = True
                if kind == "units":
                    prices[row] += units * price
                else:
                    extra[row] += price
    if not is_touched:
        return None
    return contender.priced._replace(sites=_dearer(sites, prices, extra))


def _dearer(sites: Sites, prices: Ints, extra: Ints) -> Sites:
    amounts = np.where(sites.amounts >= 0, sites.amounts + extra[:, None], -1)
    return sites._replace(prices=prices, amounts=amounts)


def _first_day(contender: Contender, row: int) -> int:
    """Ordinal of the first day on which the row has room."""
    pricer = contender.plan.pricer
    assert pricer is not None  # noqa: S101 (a contender was planned, so it has candidates)
    candidates = pricer.candidates
    turn = int(candidates.turns[row])
    return int(candidates.times.work[0, candidates.sites.calendar[row], turn])


def _picked(contenders: Sequence[Contender], limits: Limits, bound: float) -> Together:
    """Whole plans: a program over those proposed; who gets none is left to be planned alone."""
    scarce = _scarce(contenders, limits)
    values = _nothing(contenders)
    if scarce:
        values = _master(contenders, scarce, limits, is_relaxed=False)[0].values
    chosen: list[GroupPlan | None] = []
    cost = position = 0
    for contender in contenders:
        count = len(contender.columns)
        picks = np.flatnonzero(values[position + 1 : position + 1 + count] > 0.5).tolist()
        if not scarce:
            picks = [0]
        position += 1 + count
        if picks:
            column = contender.columns[picks[0]]
            cost += column.cost
            chosen.append(_as_plan(contender, column))
        else:
            chosen.append(None)
    return Together(chosen, cost, bound)


def _as_plan(contender: Contender, column: Column) -> GroupPlan:
    if column.parts == contender.columns[0].parts:
        return contender.plan
    shipments = contender.shipments(column.parts)
    return replace(contender.plan, shipments=shipments, is_proven=False, exact=None)
