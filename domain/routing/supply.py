"""What nodes hold for a ship group, and from when they can work on it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from domain.catalogue import SupplyMode
from domain.routing.decision import DecisionRequest
from domain.routing.demand import Demand
from domain.routing.facts import Flags, Ints, KernelFacts

ENDLESS = 1 << 40
"""Units of a product that needs no stock; more than any order can ask for."""


@dataclass(slots=True)
class Taken:
    """Stock and capacity that earlier parts of the same decision or batch already use."""

    stock: dict[tuple[str, int], int] = field(default_factory=dict)
    """(SKU, node) -> units."""
    capacity: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(node, ordinal of the work date) -> units, orders."""

    def copy(self) -> "Taken":
        """An independent copy, to try a plan on."""
        return Taken(dict(self.stock), dict(self.capacity))

    def take(self, node: int, work_day: int, units: int, stock: Iterable[tuple[str, int]]) -> None:
        """Use up stock by SKU, and capacity for one order of so many units."""
        for sku, quantity in stock:
            self.stock[sku, node] = self.stock.get((sku, node), 0) + quantity
        used, orders = self.capacity.get((node, work_day), (0, 0))
        self.capacity[node, work_day] = (used + units, orders + 1)


@dataclass(frozen=True, slots=True)
class Barred:
    """What nodes may not give of their stock."""

    keep: int = 0
    """Sellable units of each SKU that stay at a node."""
    nodes: Mapping[str, Flags] = field(default_factory=dict)
    """SKU -> by node of the network: whether it may not handle it."""
    told: Sequence[tuple[str, str, Flags]] = ()
    """(SKU, reason, by node), in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Who holds or makes something of the group."""

    nodes: NDArray[np.int64]
    """Ascending indexes of the network's nodes."""
    have: Ints
    """(row, SKU): units the request may use."""
    classes: NDArray[np.int16]
    """(row, SKU): index into `releases`."""
    releases: list[datetime]
    """From when units may be worked on, ascending; the first: at once."""
    barred: dict[str, dict[int, str]] = field(default_factory=dict)
    """SKU -> nodes that hold enough of it but may not give it -> why not."""


def supply_of(
    facts: KernelFacts,
    request: DecisionRequest,
    demand: Demand,
    start: datetime,
    taken: Taken,
    awaited: frozenset[str],
    barred: Barred,
) -> Supply:
    """Sellable and own units, less what is masked or taken; of `awaited` SKUs also inbound ones.

    Stock at hand, or made sooner, counts only where it covers all that the group asks: a node's
    units of one SKU have one moment from which they are there.
    """
    count = len(facts.network.nodes)
    units = np.zeros((len(demand.skus), count), dtype=np.int64)
    later: dict[tuple[int, int], datetime] = {}
    gone: dict[str, list[tuple[int, int]]] = {}
    for (sku, node), quantity in taken.stock.items():
        gone.setdefault(sku, []).append((node, quantity))
    for number, sku in enumerate(demand.skus):
        row = units[number]
        stock = facts.stock.get(sku)
        listed = np.zeros(count, dtype=np.bool_)
        if stock is not None:
            row[stock.nodes] = np.maximum(0, stock.units - barred.keep)
            listed[stock.nodes] = True
        _add_own(facts, request, sku, row, listed)
        for node, quantity in gone.get(sku, ()):
            row[node] -= quantity
        _make(facts, sku, demand.asked[number], start, row, listed, number, later)
        if sku in awaited:
            _await(facts, sku, demand.asked[number], start, row, number, later)
        if sku in barred.nodes:
            row[barred.nodes[sku]] = 0
        masked = [x.node_id for x in request.exclusions if x.sku == sku]
        if masked:
            row[facts.network.indexes_of(masked)] = 0
    holds = (units > 0).any(axis=0)
    nodes = np.flatnonzero(holds)
    have = np.ascontiguousarray(units[:, nodes].T)
    releases = [start, *sorted({x for x in later.values() if x > start})]
    classes = np.zeros(have.shape, dtype=np.int16)
    if len(releases) > 1:
        position = {node: row for row, node in enumerate(nodes.tolist())}
        number_of = {moment: number for number, moment in enumerate(releases)}
        for (number, node), moment in later.items():
            if node in position:
                classes[position[node], number] = number_of.get(moment, 0)
    told = _told(facts, demand, barred)
    return Supply(nodes, np.maximum(have, 0), classes, releases, told)


def _told(facts: KernelFacts, demand: Demand, barred: Barred) -> dict[str, dict[int, str]]:
    """Why holders of enough units may not give them; the first reason of each."""
    found: dict[str, dict[int, str]] = {}
    for sku, reason, nodes in barred.told:
        stock = facts.stock.get(sku)
        if stock is not None:
            for node in stock.nodes[nodes[stock.nodes] & (stock.units > 0)].tolist():
                found.setdefault(sku, {}).setdefault(node, reason)
    for number, sku in enumerate(demand.skus):
        stock = facts.stock.get(sku)
        if barred.keep and stock is not None:
            asked = demand.asked[number]
            short = (stock.units >= asked) & (stock.units - barred.keep < asked)
            for node in stock.nodes[short].tolist():
                found.setdefault(sku, {}).setdefault(node, f"keeps {barred.keep} units")
    return found


def _add_own(
    facts: KernelFacts, request: DecisionRequest, sku: str, row: Ints, listed: NDArray[np.bool_]
) -> None:
    for node_id, quantity in request.own_units.get(sku, {}).items():
        node = facts.network.index.get(node_id)
        if node is not None:
            row[node] += quantity
            listed[node] = True


def _make(
    facts: KernelFacts,
    sku: str,
    asked: int,
    start: datetime,
    row: Ints,
    listed: NDArray[np.bool_],
    number: int,
    later: dict[tuple[int, int], datetime],
) -> None:
    """DCs and suppliers that carry a product made to order, or endless, always have enough."""
    product = facts.products.get(sku)
    if product is None or product.supply_mode is SupplyMode.STOCKED:
        return
    makers = listed & facts.network.node.makes_to_order
    if product.supply_mode is SupplyMode.LEAD_TIME:
        made = start + timedelta(days=product.lead_time_days)
        for node in np.flatnonzero(makers & (row < asked)).tolist():
            later[number, node] = made
    row[makers] = ENDLESS


def _await(
    facts: KernelFacts,
    sku: str,
    asked: int,
    start: datetime,
    row: Ints,
    number: int,
    later: dict[tuple[int, int], datetime],
) -> None:
    """Units that will arrive, soonest first, until the node has what is asked."""
    for supply in sorted(facts.inbound.get(sku, ()), key=lambda x: (x.due, x.node_id, x.quantity)):
        node = facts.network.index.get(supply.node_id)
        if node is not None and row[node] < asked:
            row[node] = max(0, int(row[node])) + supply.quantity
            later[number, node] = max(start, supply.due)
