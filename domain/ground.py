"""What is free while orders are moved one after the other: the facts, and what changed since."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date

import numpy as np

from domain.routing.batch import capacity_of
from domain.routing.facts import DayCapacity, KernelFacts, SkuStock, is_made_to_order
from domain.routing.supply import ENDLESS

Resource = tuple[str, str, str]
"""("stock", SKU, node), ("units", date, node) or ("orders", date, node)."""
Uses = Counter[Resource]


class Ground:
    """Stock and room that are free now."""

    def __init__(self, facts: KernelFacts, changes: Uses | None = None) -> None:
        """Begin with what the facts say."""
        self._facts = facts
        self._index = facts.network.index
        self._changes: dict[tuple[str, str], Counter[int]] = {}
        self.give(changes or Counter())

    def copy(self) -> "Ground":
        """Another one that goes its own way."""
        other = Ground(self._facts)
        other._changes = {what: changes.copy() for what, changes in self._changes.items()}
        return other

    def give(self, uses: Uses) -> None:
        """Let it be used by others; at a node that is gone nobody can."""
        for (kind, name, node_id), units in uses.items():
            if node_id in self._index:
                self._changes.setdefault((kind, name), Counter())[self._index[node_id]] += units

    def take(self, uses: Uses) -> None:
        """Let nobody else use it."""
        self.give(Counter({resource: -units for resource, units in uses.items()}))

    def left(self, resource: Resource) -> int:
        """How much of it there is."""
        kind, name, node_id = resource
        node = self._index.get(node_id)
        if node is None:
            return 0
        if kind != "stock":
            return self._room_at(name, node)[kind == "orders"]
        return ENDLESS if self._is_endless(name) else self._units(name).get(node, 0)

    def facts(self, skus: Collection[str] | None = None) -> KernelFacts:
        """What is free now; with `skus` only of these the stock is."""
        changed = [name for kind, name in self._changes if kind == "stock"]
        stock = {
            sku: _stock(self._units(sku))
            for sku in changed
            if (skus is None or sku in skus) and not self._is_endless(sku)
        }
        return replace(self._facts, stock={**self._facts.stock, **stock}, capacity=self._room())

    def alone(self, uses: Uses) -> KernelFacts:
        """As if there were no other stock than this, and room for it beside what is free."""
        own = self.copy()
        own.give(uses)
        held: dict[str, dict[int, int]] = {}
        for (kind, sku, node_id), units in uses.items():
            if kind == "stock" and node_id in self._index:
                held.setdefault(sku, {})[self._index[node_id]] = units
        stock = {sku: _stock(units) for sku, units in held.items()}
        return replace(self._facts, stock=stock, capacity=own._room(), inbound={})

    def _is_endless(self, sku: str) -> bool:
        product = self._facts.products.get(sku)
        return product is not None and is_made_to_order(product)

    def _units(self, sku: str) -> dict[int, int]:
        known = self._facts.stock.get(sku)
        units: Counter[int] = Counter()
        if known is not None:
            units.update(dict(zip(known.nodes.tolist(), known.units.tolist(), strict=True)))
        units.update(self._more("stock", sku))
        return units

    def _room(self) -> dict[str, DayCapacity]:
        dates = {name for kind, name in self._changes if kind != "stock"}
        return {**self._facts.capacity, **{day: self._day(day) for day in dates}}

    def _day(self, day: str) -> DayCapacity:
        known = self._facts.capacity.get(day)
        nodes = set() if known is None else set(known.nodes.tolist())
        nodes |= self._more("units", day).keys() | self._more("orders", day).keys()
        ordered = sorted(nodes)
        rows = np.array([self._room_at(day, node) for node in ordered], dtype=np.int64)
        rows = rows.reshape(len(ordered), 2)
        return DayCapacity(
            np.array(ordered, dtype=np.int32),
            np.ascontiguousarray(rows[:, 0]),
            np.ascontiguousarray(rows[:, 1]),
        )

    def _room_at(self, day: str, node: int) -> tuple[int, int]:
        units, orders = capacity_of(self._facts, node, date.fromisoformat(day).toordinal())
        more_units, more_orders = self._more("units", day), self._more("orders", day)
        return units + more_units[node], orders + more_orders[node]

    def _more(self, kind: str, name: str) -> Counter[int]:
        return self._changes.get((kind, name), Counter())


def _stock(units: Mapping[int, int]) -> SkuStock:
    """Only nodes with units, ascending: what a record keeps of it is the same."""
    nodes = sorted(node for node, left in units.items() if left > 0)
    return SkuStock(
        np.array(nodes, dtype=np.int32), np.array([units[x] for x in nodes], dtype=np.int64)
    )
