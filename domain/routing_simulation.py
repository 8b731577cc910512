"""Many orders routed one after another: what each policy would have made of them.

Each order is decided by the kernel that routes real orders (`decide_on`), on what earlier orders
left in the policy's own world. Units that nobody has wait, where the order allows it, and are
routed again when some arrive, oldest order first, before later orders find them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np

from domain.catalogue import Product
from domain.routing.decision import DecisionRequest, Missing, PlannedShipment
from domain.routing.demand import components_of
from domain.routing.facts import Ints, microseconds
from domain.routing.money import micros
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_on
from domain.simulated_world import Start, World


class SimulatedOrder(NamedTuple):
    """An order as it is asked for whole; `now` of the request is when it was placed."""

    request: DecisionRequest
    revenue: tuple[int, ...]
    """By line: price less discount of all its units, in micros of the base currency."""


class Served(NamedTuple):
    """What was planned, and taken from the world, and what is missing."""

    shipments: tuple[PlannedShipment, ...]
    missing: tuple[Missing, ...]
    cost_micros: int
    """As the policy counts it, with its own prices of splits, kinds, distance and lateness."""
    waits: bool = True
    """Whether missing units wait for supply; False: they are left to customer care."""


class Made(NamedTuple):
    """A decision of a run."""

    number: int
    """Of the order, from 0."""
    request: DecisionRequest
    served: Served
    waited: bool
    """Whether it is about units that had to wait for supply."""


Planner = Callable[[DecisionRequest, World], Served]


def by_policy(policy: RoutingPolicy) -> Planner:
    """Plans as orders under that policy are planned."""

    def plan(request: DecisionRequest, world: World) -> Served:
        return serve(request, world, policy)

    return plan


def serve(request: DecisionRequest, world: World, policy: RoutingPolicy) -> Served:
    """Decide, and take the plan from the world."""
    decision = decide_on(request, world.facts(request, policy), policy)
    plan = decision.plan
    assert plan is not None  # noqa: S101 (the kernel always chooses an option)
    for shipment in plan.shipments:
        world.take(shipment, request.channel)
    waits = decision.after != "customer_care"
    return Served(plan.shipments, plan.missing, plan.cost_micros, waits)


def still_missing(request: DecisionRequest, missing: tuple[Missing, ...]) -> DecisionRequest:
    """The request for only those units."""
    units = {x.line_id: x.quantity for x in missing}
    lines = tuple(
        line.model_copy(update={"quantity": units[line.line_id]})
        for line in request.lines
        if line.line_id in units
    )
    used = {line.ship_group for line in lines}
    groups = tuple(group for group in request.groups if group.group_id in used)
    changes = {"lines": lines, "groups": groups, "order_value_micros": order_value(request)}
    return request.model_copy(update=changes)


def order_value(request: DecisionRequest) -> int:
    """Unit price x quantity of the whole order, which may be more than is still asked for."""
    if request.order_value_micros is not None:
        return request.order_value_micros
    return sum(line.unit_price_micros * line.quantity for line in request.lines)


COLUMNS = (
    "orders",
    "filled",
    "backordered",
    "lines",
    "lines_filled",
    "units",
    "units_filled",
    "units_missing",
    "units_served",
    "shipped",
    "split",
    "shipments",
    "km",
    "shipping",
    "handling",
    "cost",
    "policy_cost",
    "due",
    "on_time",
    "promise_seconds",
    "margin",
)
"""What is counted of each order; money in micros of the base currency.

`filled` and `missing` are of the first decision, the others of all decisions about the order.
"""
_AT = {name: number for number, name in enumerate(COLUMNS)}


class NodeLoad(NamedTuple):
    """What a node had to do."""

    node_id: str
    shipments: int
    units: int
    busiest_use: float
    """Of its busiest work date: units or orders / what the node can do, whichever is more."""
    mean_use: float
    """Of units, over the work dates on which it had something to do."""


class Outcome(NamedTuple):
    """What one policy made of all orders."""

    columns: Ints
    """(order, `COLUMNS`)."""
    loads: tuple[NodeLoad, ...]
    """Nodes that had something to do; most shipments first."""
    reasons: dict[str, int]
    """Why units were missing at first -> units; most first."""


@dataclass(slots=True)
class _Waiting:
    """Units of an order that no node had."""

    request: DecisionRequest
    skus: frozenset[str]


@dataclass(slots=True)
class _Seen:
    """What is known of an order besides its counts."""

    order: SimulatedOrder
    last_delivery: int = 0
    is_late: bool = False
    shares: list[int] = field(default_factory=list)


class Simulation:
    """A run of one policy: orders are placed one after another, in time order."""

    def __init__(self, start: Start, planner: Planner) -> None:
        """Begin with a world of its own."""
        self.world = World(start)
        self._planner = planner
        self._rows: list[list[int]] = []
        self._seen: dict[int, _Seen] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._waiting_for: dict[str, set[int]] = {}
        self._load: dict[tuple[int, str], list[int]] = {}
        self._reasons: dict[str, int] = {}
        self._services = {x.service_id: n for n, x in enumerate(start.network.services)}

    def place(self, order: SimulatedOrder) -> list[Made]:
        """Let time pass until the order is placed, then decide it; every decision made meanwhile.

        Orders must come in the order of their times.
        """
        made = self.pass_time(order.request.now)
        number = len(self._rows)
        served = self._planner(order.request, self.world)
        self._begin(number, order, served.missing)
        self._count(number, served)
        self._wait(number, order.request, served)
        return [*made, Made(number, order.request, served, waited=False)]

    def pass_time(self, now: datetime) -> list[Made]:
        """Let units arrive that are due by then; decisions about orders that waited for them."""
        made: list[Made] = []
        for arrived in self.world.pass_time(now):
            waiting = {n for sku in arrived.skus for n in self._waiting_for.get(sku, ())}
            for number in sorted(waiting):
                if any(self.world.units_of(sku) for sku in self._waiting[number].skus):
                    made += self._again(number, arrived.at)
        return made

    def outcome(self) -> Outcome:
        """What became of all orders so far."""
        shape = (len(self._rows), len(COLUMNS))
        reasons = sorted(self._reasons.items(), key=lambda x: (-x[1], x[0]))
        columns = np.array(self._rows, dtype=np.int64).reshape(shape)
        return Outcome(columns, self._loads(), dict(reasons))

    def _again(self, number: int, now: datetime) -> list[Made]:
        waiting = self._waiting[number]
        request = waiting.request.model_copy(update={"now": now})
        served = self._planner(request, self.world)
        if not served.shipments:
            return []
        self._count(number, served)
        self._wait(number, request, served)
        return [Made(number, request, served, waited=True)]

    def _wait(self, number: int, request: DecisionRequest, served: Served) -> None:
        old = self._waiting.pop(number, None)
        for sku in old.skus if old is not None else ():
            self._waiting_for[sku].discard(number)
        if served.missing and served.waits and request.allow_backorder:
            left = still_missing(request, served.missing)
            products = self.world.start.products
            parts = [part for line in left.lines for part in components_of(line.sku, products)]
            skus = frozenset(part.sku for part in parts)
            self._waiting[number] = _Waiting(left, skus)
            for sku in skus:
                self._waiting_for.setdefault(sku, set()).add(number)

    def _begin(self, number: int, order: SimulatedOrder, missing: tuple[Missing, ...]) -> None:
        row = [0] * len(COLUMNS)
        lacks = {x.line_id: x.quantity for x in missing}
        lines = order.request.lines
        units, units_missing = sum(x.quantity for x in lines), sum(lacks.values())
        row[_AT["orders"]] = 1
        row[_AT["filled"]] = not lacks
        row[_AT["backordered"]] = bool(lacks)
        row[_AT["lines"]] = len(lines)
        row[_AT["lines_filled"]] = sum(x.line_id not in lacks for x in lines)
        row[_AT["units"]] = units
        row[_AT["units_filled"]] = units - units_missing
        row[_AT["units_missing"]] = units_missing
        row[_AT["due"]] = _due_of(order.request) is not None
        self._rows.append(row)
        self._seen[number] = _Seen(order, shares=[0] * len(lines))
        for one in missing:
            self._reasons[one.reason] = self._reasons.get(one.reason, 0) + one.quantity

    def _count(self, number: int, served: Served) -> None:
        row, seen = self._rows[number], self._seen[number]
        row[_AT["policy_cost"]] += served.cost_micros
        for shipment in served.shipments:
            self._count_shipment(row, seen, shipment)
        if not served.shipments:
            return
        placed = microseconds(seen.order.request.now)
        row[_AT["shipped"]] = 1
        row[_AT["split"]] = row[_AT["shipments"]] > 1
        row[_AT["cost"]] = row[_AT["shipping"]] + row[_AT["handling"]]
        row[_AT["promise_seconds"]] = (seen.last_delivery - placed) // 1_000_000
        is_whole = row[_AT["units_served"]] == row[_AT["units"]]
        row[_AT["on_time"]] = bool(row[_AT["due"]]) and is_whole and not seen.is_late
        row[_AT["margin"]] = self._earned(seen) - row[_AT["cost"]]
        if is_whole:
            del self._seen[number]

    def _count_shipment(self, row: list[int], seen: _Seen, shipment: PlannedShipment) -> None:
        network, products = self.world.start.network, self.world.start.products
        request = seen.order.request
        node = network.index[shipment.node_id]
        units = sum(x.quantity for x in shipment.assignments)
        row[_AT["units_served"]] += units
        row[_AT["shipments"]] += 1
        row[_AT["km"]] += shipment.distance_km
        row[_AT["handling"]] += int(network.node.order_cost[node])
        row[_AT["handling"]] += int(network.node.unit_cost[node]) * units
        if shipment.service_id is not None:
            service, carrier = self._services[shipment.service_id], network.service
            grams = sum(x.quantity * grams_of(x.sku, products) for x in shipment.assignments)
            row[_AT["shipping"]] += int(carrier.base[service])
            row[_AT["shipping"]] += int(carrier.per_km[service]) * shipment.distance_km
            row[_AT["shipping"]] += (int(carrier.per_kg[service]) * grams + 500) // 1_000
        delivered = microseconds(shipment.deliver_at)
        seen.last_delivery = max(seen.last_delivery, delivered)
        due = _due_of(request, shipment.ship_group)
        seen.is_late |= due is not None and delivered > due
        line_ids = [x.line_id for x in request.lines]
        for one in shipment.assignments:
            seen.shares[line_ids.index(one.line_id)] += one.quantity
        load = self._load.setdefault((node, shipment.work_date), [0, 0])
        load[0] += 1
        load[1] += units

    def _earned(self, seen: _Seen) -> int:
        """What the customer pays for the units served, less what they cost to buy."""
        products, total = self.world.start.products, 0
        for line, revenue, units in zip(
            seen.order.request.lines, seen.order.revenue, seen.shares, strict=True
        ):
            total += revenue * units // line.quantity - units * _bought_for(line.sku, products)
        return total

    def _loads(self) -> tuple[NodeLoad, ...]:
        arrays, nodes = self.world.start.network.node, self.world.start.network.nodes
        by_node: dict[int, list[list[int]]] = {}
        for (node, _), load in self._load.items():
            by_node.setdefault(node, []).append(load)
        found = []
        for node, days in by_node.items():
            shipments, units = (sum(x) for x in zip(*days, strict=True))
            most_orders, most_units = int(arrays.daily_orders[node]), int(arrays.daily_units[node])
            busiest = max(max(x / most_orders, y / most_units) for x, y in days)
            mean = units / most_units / len(days)
            found.append(NodeLoad(nodes[node].node_id, shipments, units, busiest, mean))
        return tuple(sorted(found, key=lambda x: (-x.shipments, x.node_id)))


def _due_of(request: DecisionRequest, group_id: str | None = None) -> int | None:
    """When the group must be delivered, as requested or committed; of all groups the earliest."""
    asked = [x.deliver_by for x in request.groups if group_id in {None, x.group_id}]
    dues = [microseconds(x) for x in (*asked, request.promised_deliver_by) if x is not None]
    return min(dues, default=None)


def grams_of(sku: str, products: Mapping[str, Product]) -> int:
    """Weight of one unit; a kit without a weight of its own weighs what is in it."""
    product = products.get(sku)
    if product is None:
        return 0
    own = product.weight_grams
    return own or sum(grams_of(x.sku, products) * x.quantity for x in product.components)


def _bought_for(sku: str, products: Mapping[str, Product]) -> int:
    """What one unit costs to buy, in micros; a kit without a cost of its own, what is in it."""
    product = products.get(sku)
    if product is None:
        return 0
    own = micros(product.unit_cost)
    return own or sum(_bought_for(x.sku, products) * x.quantity for x in product.components)
