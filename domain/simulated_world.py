"""Stock, supply and capacity while simulated orders come one after another.

A world begins as a copy of its start and changes with each plan that is taken from it. Stock falls
by the rules of reserving: a product that needs no stock is never taken from a shelf. Units on their
way become stock when they are due; those that a plan counted on by then went with it.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from domain.catalogue import Product
from domain.errors import FinalError
from domain.learned_dates import LearnedDates, destinations_of, transits
from domain.routing.decision import Assignment, DecisionRequest, InboundSupply, PlannedShipment
from domain.routing.facts import (
    DayCapacity,
    KernelFacts,
    NetworkFacts,
    SkuStock,
    is_made_to_order,
    needed_skus,
)
from domain.routing.policy import RoutingPolicy

_WESTERNMOST = timedelta(hours=12)
"""The earliest local date anywhere is that of 12 hours ago in UTC."""
_NO_STOCK = SkuStock(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))


class Arrived(NamedTuple):
    """SKUs of which some units came, all at one moment."""

    at: datetime
    skus: frozenset[str]


class StockChange(NamedTuple):
    """Units that come to a node, or (below 0) leave it, for other reasons than these orders."""

    at: datetime
    node_id: str
    sku: str
    units: int
    is_announced: bool = False
    """Known from the start, so that a policy that counts on inbound units may plan on them."""


Kept = Mapping[str, Mapping[str, Mapping[int, int]]]
"""SKU -> channel -> index of the node -> units kept for that channel."""


@dataclass(frozen=True)
class Start:
    """What lies where before the first order, and what happens to it besides the orders."""

    network: NetworkFacts
    stock: Mapping[str, SkuStock]
    products: Mapping[str, Product]
    capacity: Mapping[str, DayCapacity] = field(default_factory=dict)
    """ISO date of local work -> what is left there; dates not named have all of it."""
    changes: tuple[StockChange, ...] = ()
    kept: Kept = field(default_factory=dict)
    """Units on top of `stock` that only one channel may take."""
    learned: LearnedDates | None = None
    """For policies whose delivery dates are learned."""


class World:
    """One policy's own copy of the start; no other policy sees what is taken here."""

    def __init__(self, start: Start) -> None:
        """The start itself stays as it is."""
        index = start.network.index
        self._start = start
        self._stock = dict(start.stock)
        self._kept = {
            (sku, channel): dict(units)
            for sku, channels in start.kept.items()
            for channel, units in channels.items()
        }
        self._capacity = dict(start.capacity)
        self._inbound: dict[str, tuple[InboundSupply, ...]] = {}
        known = [x for x in start.changes if x.node_id in index]
        self._changes = sorted(known, key=lambda x: (x.at, x.node_id, x.sku))
        self._passed = 0
        self._today = ""
        self._expected: dict[str, list[int]] = {}
        self._left = [max(0, x.units) if x.is_announced else 0 for x in self._changes]
        for number, change in enumerate(self._changes):
            if self._left[number]:
                self._expected.setdefault(change.sku, []).append(number)
        for sku in self._expected:
            self._announce(sku)
        self._facts = KernelFacts(
            network=start.network,
            stock=self._stock,
            products=start.products,
            capacity=self._capacity,
            inbound=self._inbound,
        )

    @property
    def start(self) -> Start:
        """What the world began as."""
        return self._start

    @property
    def stock(self) -> Mapping[str, SkuStock]:
        """Units on the shelves now; SKUs without any are left out or empty."""
        return self._stock

    @property
    def capacity(self) -> Mapping[str, DayCapacity]:
        """What is left of the work dates from today on that were used."""
        return self._capacity

    @property
    def inbound(self) -> Mapping[str, tuple[InboundSupply, ...]]:
        """Announced units that are not there yet and that no plan counts on."""
        return self._inbound

    def facts(self, request: DecisionRequest, policy: RoutingPolicy) -> KernelFacts:
        """What the kernel looks at now: a view of this world, not a copy."""
        facts, learned = self._facts, self._start.learned
        if self._kept:
            facts = replace(facts, stock=ChainMap(self._own_stock(request), self._stock))
        if policy.delivery_dates == "configured" or learned is None:
            return facts
        places = destinations_of(request.groups, self._start.network.node_places)
        level = float(policy.delivery_confidence)
        return replace(facts, transits=transits(learned, places, request.now, level))

    def units_of(self, sku: str) -> int:
        """Units of the SKU on all shelves."""
        return int(self._stock.get(sku, _NO_STOCK).units.sum())

    def pass_time(self, now: datetime) -> Iterator[Arrived]:
        """Let everything happen that is due by `now`; what came, moment by moment, as it is there.

        The caller must run through all of it.
        """
        while self._passed < len(self._changes) and self._changes[self._passed].at <= now:
            moment, skus = self._changes[self._passed].at, set[str]()
            while self._passed < len(self._changes) and self._changes[self._passed].at == moment:
                if self._happen(self._passed) > 0:
                    skus.add(self._changes[self._passed].sku)
                self._passed += 1
            if skus:
                yield Arrived(moment, frozenset(skus))
        today = (now - _WESTERNMOST).date().isoformat()
        if today != self._today:
            self._today = today
            for day in [day for day in self._capacity if day < today]:
                del self._capacity[day]

    def take(self, shipment: PlannedShipment, channel: str = "") -> None:
        """Use up what the shipment needs. Raises FinalError when it is not there.

        A channel takes what is open to all first, then what is kept for it, then what is due.
        """
        node = self._start.network.index[shipment.node_id]
        for one in shipment.assignments:
            for sku, units in pieces_of(one):
                product = self._start.products.get(sku)
                if product is None or not is_made_to_order(product):
                    self._take_units(sku, node, units, channel)
        self._work(node, shipment.work_date, sum(x.quantity for x in shipment.assignments))

    def _happen(self, number: int) -> int:
        """Units by which the stock changed."""
        change = self._changes[number]
        node = self._start.network.index[change.node_id]
        units = change.units
        if change.is_announced:
            units, self._left[number] = self._left[number], 0
            self._announce(change.sku)
        if units < 0:
            units = -min(-units, self._on_hand(change.sku, node))
        if units:
            self._put(change.sku, node, units)
        return units

    def _announce(self, sku: str) -> None:
        """Tell the kernel what of the SKU is still on its way."""
        rows = [
            InboundSupply.model_construct(
                node_id=change.node_id, sku=sku, quantity=self._left[number], due=change.at
            )
            for number in self._expected.get(sku, ())
            if self._left[number] and (change := self._changes[number])
        ]
        if rows:
            self._inbound[sku] = tuple(rows)
        else:
            self._inbound.pop(sku, None)

    def _on_hand(self, sku: str, node: int) -> int:
        stock = self._stock.get(sku, _NO_STOCK)
        row = int(np.searchsorted(stock.nodes, node))
        is_there = row < len(stock.nodes) and int(stock.nodes[row]) == node
        return int(stock.units[row]) if is_there else 0

    def _own_stock(self, request: DecisionRequest) -> dict[str, SkuStock]:
        """Of the request's products with units kept for its channel: those, and what is open."""
        found: dict[str, SkuStock] = {}
        for sku in needed_skus((x.sku for x in request.lines), self._start.products):
            kept = self._kept.get((sku, request.channel))
            if kept:
                stock = self._stock.get(sku, _NO_STOCK)
                units = dict(zip(stock.nodes.tolist(), stock.units.tolist(), strict=True))
                for node, more in kept.items():
                    units[node] = units.get(node, 0) + more
                nodes = sorted(units)
                found[sku] = SkuStock(
                    np.array(nodes, dtype=np.int32),
                    np.array([units[node] for node in nodes], dtype=np.int64),
                )
        return found

    def _take_units(self, sku: str, node: int, units: int, channel: str) -> None:
        node_id = self._start.network.nodes[node].node_id
        expected = [x for x in self._expected.get(sku, ()) if self._changes[x].node_id == node_id]
        own = self._kept.get((sku, channel), {})
        on_hand = min(units, self._on_hand(sku, node))
        kept = min(units - on_hand, own.get(node, 0))
        wanted = units - on_hand - kept
        lacks = wanted - sum(self._left[x] for x in expected)
        if lacks > 0:
            raise FinalError(f"'{node_id}' lacks {lacks} units of '{sku}' that were planned")
        if on_hand:
            self._put(sku, node, -on_hand)
        if kept:
            own[node] -= kept
        for number in expected if wanted else ():
            used = min(wanted, self._left[number])
            self._left[number] -= used
            wanted -= used
        if on_hand + kept < units:
            self._announce(sku)

    def _put(self, sku: str, node: int, units: int) -> None:
        """Change the shelf; a node without units is left out, as in stock that is read."""
        stock = self._stock.get(sku, _NO_STOCK)
        row = int(np.searchsorted(stock.nodes, node))
        if row == len(stock.nodes) or int(stock.nodes[row]) != node:
            self._stock[sku] = SkuStock(
                np.insert(stock.nodes, row, node), np.insert(stock.units, row, units)
            )
            return
        changed = stock.units.copy()
        changed[row] += units
        product = self._start.products.get(sku)
        if changed[row] or (product is not None and is_made_to_order(product)):
            self._stock[sku] = SkuStock(stock.nodes, changed)
        else:
            self._stock[sku] = SkuStock(np.delete(stock.nodes, row), np.delete(changed, row))

    def _work(self, node: int, work_date: str, units: int) -> None:
        """Count one order of so many units on the node's work date."""
        day = self._capacity.get(work_date)
        arrays = self._start.network.node
        row = 0 if day is None else int(np.searchsorted(day.nodes, node))
        if day is None:
            empty = np.empty(0, dtype=np.int64)
            day = DayCapacity(np.empty(0, dtype=np.int32), empty, empty)
        if row == len(day.nodes) or int(day.nodes[row]) != node:
            day = DayCapacity(
                np.insert(day.nodes, row, node),
                np.insert(day.units, row, arrays.daily_units[node]),
                np.insert(day.orders, row, arrays.daily_orders[node]),
            )
        left_units, left_orders = day.units.copy(), day.orders.copy()
        left_units[row] -= units
        left_orders[row] -= 1
        self._capacity[work_date] = DayCapacity(day.nodes, left_units, left_orders)


def pieces_of(assignment: Assignment) -> Iterator[tuple[str, int]]:
    """(SKU, units) that leave the shelf: a kit's components, else the product itself."""
    if not assignment.parts:
        yield assignment.sku, assignment.quantity
    for part in assignment.parts:
        yield part.sku, part.quantity
