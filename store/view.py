"""What promises look at, in this process's memory: sparse by SKU, immutable, swapped when it moves.

A view is one moment of the database, `place` in the change feed. `following.py` keeps the newest.
The database alone decides when stock is taken; a view only says what to ask for.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.catalogue import Product
from domain.routing.decision import Exclusion, InboundSupply
from domain.routing.facts import (
    DayCapacity,
    KernelFacts,
    NetworkFacts,
    SkuStock,
    compile_network,
    needed_skus,
)
from domain.supply import Block
from store.view_inbound import Inbound

WESTERNMOST = timedelta(hours=12)
"""The earliest local date anywhere is that of 12 hours ago in UTC."""
NO_NETWORK = compile_network((), ())
NO_STOCK = SkuStock(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))
_PARSED = 4_096


class CoolOff(NamedTuple):
    """A node not to be asked until then, for one SKU or (empty) for all."""

    node_id: str
    sku: str
    until: datetime
    reason: str


class Closed(NamedTuple):
    """A node whose units are not promised until then (None: until lifted)."""

    node_id: str
    until: datetime | None

    def at(self, moment: datetime) -> bool:
        """Whether it is closed at that moment."""
        return self.until is None or self.until > moment


@dataclass(frozen=True, slots=True)
class AvailabilityView:
    """Every input of a promise at one place of the change feed. All mappings are never changed."""

    place: str
    availability_version: str
    network: NetworkFacts
    stock: Mapping[str, SkuStock] = field(default_factory=dict)
    """SKU -> nodes that have it, open to all channels; SKUs that no node has are left out."""
    own: Mapping[str, Mapping[str, Mapping[int, int]]] = field(default_factory=dict)
    """SKU -> channel -> node index -> what it may take, its protected units included."""
    closed: Mapping[str, tuple[Closed, ...]] = field(default_factory=dict)
    """By SKU; empty SKU: for all."""
    products: Mapping[str, bytes] = field(default_factory=dict)
    """SKU -> the product's document as JSON; parsed when asked for."""
    capacity: Mapping[str, DayCapacity] = field(default_factory=dict)
    inbound: Mapping[str, Inbound] = field(default_factory=dict)
    cool_offs: Mapping[str, tuple[CoolOff, ...]] = field(default_factory=dict)
    """By SKU; empty SKU: for all."""

    def product(self, sku: str) -> Product | None:
        """A product, if there is one of that SKU."""
        document = self.products.get(sku)
        return None if document is None else _parsed(document)

    def needed(self, skus: Iterable[str]) -> list[str]:
        """These SKUs and the components of those that are kits, sorted."""
        wanted = sorted(set(skus))
        products = {sku: x for sku in wanted if (x := self.product(sku)) is not None}
        return sorted(needed_skus(wanted, products))

    def facts(self, skus: Iterable[str], channel: str, now: datetime) -> KernelFacts:
        """What the kernel may look at for these SKUs and the components of those that are kits.

        `channel` is who asks: units protected for others are not there.
        """
        needed = self.needed(skus)
        today = (now - WESTERNMOST).date().isoformat()
        return KernelFacts(
            network=self.network,
            stock={sku: self.stock_of(sku, channel, now) for sku in needed},
            products={sku: x for sku in needed if (x := self.product(sku)) is not None},
            capacity={day: left for day, left in self.capacity.items() if day >= today},
            inbound={x: rows for x in needed if (rows := self.inbound_of(x, channel, now))},
            availability_version=self.availability_version,
        )

    def stock_of(self, sku: str, channel: str, now: datetime) -> SkuStock:
        """The units of a SKU that the channel may take now, by node."""
        stock = self.stock.get(sku, NO_STOCK)
        if self.own and (own := self.own.get(sku, {}).get(channel)):
            # A node with none of a product that needs no stock carries it all the same.
            listed = set(stock.nodes.tolist())
            units = {node: x if x or node in listed else None for node, x in own.items()}
            stock = changed_stock(stock, units)
        if self.closed:
            out = self._closed_nodes(sku, now)
            if out.size:
                kept = ~np.isin(stock.nodes, out)
                stock = SkuStock(stock.nodes[kept], stock.units[kept])
        return stock

    def exclusions(self, skus: Iterable[str], now: datetime) -> tuple[Exclusion, ...]:
        """Nodes that cool off at this moment, for these SKUs or for all."""
        if not self.cool_offs:
            return ()
        return tuple(
            Exclusion(node_id=x.node_id, sku=x.sku or None, reason=x.reason)
            for sku in ("", *sorted(set(skus)))
            for x in self.cool_offs.get(sku, ())
            if x.until > now
        )

    def at(self, place: str, availability_version: str) -> "AvailabilityView":
        """The same inputs, known to be those of a later place."""
        return replace(self, place=place, availability_version=availability_version)

    def megabytes(self) -> float:
        """Memory that the view holds, by the sizes of its parts."""
        return _size(self) / 1_000_000

    def _closed_nodes(self, sku: str, now: datetime) -> NDArray[np.int32]:
        rows = (*self.closed.get("", ()), *self.closed.get(sku, ()))
        out = self.network.indexes_of(x.node_id for x in rows if x.at(now))
        return np.array(out, dtype=np.int32)

    def inbound_of(self, sku: str, channel: str, now: datetime) -> tuple[InboundSupply, ...]:
        """Units on their way that the channel may be promised, from when; soonest first."""
        found = self.inbound.get(sku)
        if found is None:
            return ()
        return found.offered(sku, channel, tuple(self._blocks(sku, found.node_ids, now)), now)

    def _blocks(self, sku: str, node_ids: Iterable[str], now: datetime) -> Iterator[Block]:
        for closed in (*self.closed.get("", ()), *self.closed.get(sku, ())):
            if closed.at(now):
                yield Block(node_id=closed.node_id, until=closed.until, reason="closed")
        for node_id in node_ids:
            number = self.network.index.get(node_id)
            node = None if number is None else self.network.nodes[number]
            if node is None or not node.active:
                yield Block(node_id=node_id, reason="inactive")
            elif node.offline_until is not None and node.offline_until > now:
                yield Block(node_id=node_id, until=node.offline_until, reason="offline")


def changed_stock(stock: SkuStock, units: Mapping[int, int | None]) -> SkuStock:
    """The stock with the units of some nodes replaced; None: the node has none any more."""
    kept = ~np.isin(stock.nodes, np.fromiter(units, dtype=np.int32))
    left = {node: x for node, x in units.items() if x is not None}
    nodes = np.concatenate([stock.nodes[kept], np.fromiter(left, dtype=np.int32)])
    amounts = np.concatenate([stock.units[kept], np.fromiter(left.values(), dtype=np.int64)])
    order = np.argsort(nodes)
    return SkuStock(nodes[order], amounts[order])


EMPTY = AvailabilityView(place="", availability_version="0", network=NO_NETWORK)
"""What is known before anything was read."""


@lru_cache(maxsize=_PARSED)
def _parsed(document: bytes) -> Product:
    return Product.model_validate_json(document)


def _size(view: AvailabilityView) -> int:
    wholes: dict[int, int] = {}
    total = sum(
        sys.getsizeof(x)
        for x in (view.stock, view.products, view.capacity, view.inbound, view.own, view.closed)
    )
    for sku, stock in view.stock.items():
        total += sys.getsizeof(sku) + sys.getsizeof(stock)
        for array in stock:
            total += sys.getsizeof(array)
            if isinstance(array.base, np.ndarray):
                wholes[id(array.base)] = array.base.nbytes
    total += sum(sys.getsizeof(x) for x in view.products.values())
    total += sum(array.nbytes for day in view.capacity.values() for array in day)
    arrays = (*view.network.node, *view.network.service)
    return total + sum(wholes.values()) + sum(array.nbytes for array in arrays)
