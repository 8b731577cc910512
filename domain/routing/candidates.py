"""Which nodes could serve a ship group, what each could supply, and why the others cannot.

Everything here is plain objects and integers: the rows are read thousands of times a decision.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from domain import geo
from domain.calendars import Calendar, calendar_of, transit_days
from domain.catalogue import Product, SupplyMode
from domain.network import CarrierService, Node, NodeKind, Place
from domain.orders import Method, ServiceLevel
from domain.routing.decision import (
    DecisionRequest,
    RequestGroup,
    RequestLine,
    Snapshot,
)
from domain.routing.money import ExchangeRates, micros
from domain.routing.objective import Leg, Price, Timetable, by_weight
from domain.routing.policy import RoutingPolicy, SoftLimit

ENDLESS = 1 << 40
"""Units of a product that needs no stock; more than any order can ask for."""
NOT_ENOUGH_UNITS = "not enough units"
NO_STOCK = "no stock"

_SPEED = {ServiceLevel.STANDARD: 0, ServiceLevel.EXPRESS: 1, ServiceLevel.SAME_DAY: 2}
_MAKES_TO_ORDER = frozenset({NodeKind.DC, NodeKind.SUPPLIER})
_NEW_PRODUCT_FACTS = (SupplyMode.STOCKED, 0, 0)


class NodeFacts:
    """What the kernel reads of a node, worked out once per node object."""

    __slots__ = ("calendar", "kind", "node", "order_micros", "unit_micros", "vector")

    def __init__(self, node: Node) -> None:
        """Costs stay in the node's own currency: rates change, nodes do not."""
        self.node = node
        self.kind: str = node.kind.value
        self.calendar: Calendar = calendar_of(node)
        self.order_micros = micros(node.cost_per_order)
        self.unit_micros = micros(node.cost_per_unit)
        self.vector = vector_of(node.place)


_T = TypeVar("_T")


class ServiceFacts:
    """What the kernel reads of a carrier service, in micros."""

    __slots__ = ("base", "max_km", "per_kg", "per_km", "pickup_at", "service", "speed")

    def __init__(self, service: CarrierService) -> None:
        """Reads the tariff once per call of the kernel."""
        self.service = service
        self.base = micros(service.base)
        self.per_kg = micros(service.per_kg)
        self.per_km = micros(service.per_km)
        self.max_km = service.max_km
        self.pickup_at = service.pickup_at
        self.speed = _SPEED[service.level]


_facts: dict[int, NodeFacts] = {}
_MOST_FACTS = 20_000


def facts_of(node: Node) -> NodeFacts:
    """The node's facts, remembered by object identity (nodes are immutable and long-lived)."""
    facts = _facts.get(id(node))
    if facts is None or facts.node is not node:
        if len(_facts) >= _MOST_FACTS:
            _facts.clear()
        facts = _facts[id(node)] = NodeFacts(node)
    return facts


@dataclass(slots=True)
class Taken:
    """Stock and capacity that earlier parts of the same decision or batch already use."""

    stock: dict[tuple[str, str], int] = field(default_factory=dict)
    """(SKU, node id) -> units."""
    capacity: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(node id, work date) -> units, orders."""

    def copy(self) -> "Taken":
        """An independent copy, to try a plan on."""
        return Taken(dict(self.stock), dict(self.capacity))

    def take(self, node_id: str, work_date: str, units: dict[str, int]) -> None:
        """Use up units by SKU and one order's capacity."""
        for sku, quantity in units.items():
            key = (sku, node_id)
            self.stock[key] = self.stock.get(key, 0) + quantity
        used, orders = self.capacity.get((node_id, work_date), (0, 0))
        self.capacity[node_id, work_date] = (used + sum(units.values()), orders + 1)


class Facts:
    """A snapshot with its indexes; one per call of the kernel."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Indexes nodes, services and capacity; copies nothing else."""
        self.snapshot = snapshot
        self.nodes = {node.node_id: node for node in snapshot.nodes}
        self.services = {x.service_id: ServiceFacts(x) for x in snapshot.services}
        self.rates = ExchangeRates(snapshot.exchange_rates, snapshot.base_currency)
        self._capacity = {
            (row.node_id, row.work_date): (row.units, row.orders) for row in snapshot.capacity
        }

    def capacity_left(self, node: Node, work_date: str, taken: Taken) -> tuple[int, int]:
        """Units and orders the node can still take on that local date."""
        units, orders = node.daily_units, node.daily_orders
        if self._capacity or taken.capacity:
            key = (node.node_id, work_date)
            units, orders = self._capacity.get(key, (units, orders))
            used_units, used_orders = taken.capacity.get(key, (0, 0))
            return units - used_units, orders - used_orders
        return units, orders

    def supply_of(self, sku: str) -> tuple[SupplyMode, int, int]:
        """Supply mode, lead time in days, and grams of one unit."""
        product: Product | None = self.snapshot.products.get(sku)
        if product is None:
            return _NEW_PRODUCT_FACTS
        return product.supply_mode, product.lead_time_days, product.weight_grams


@dataclass(slots=True)
class Atom:
    """Lines that one node must serve together; usually one line."""

    lines: tuple[RequestLine, ...]
    units: int
    grams: int
    needs: tuple[tuple[int, int], ...]
    """(index of the SKU in `GroupTask.skus`, units)."""
    may_split: bool


class PolicyCosts:
    """The policy's costs in micros; node kinds by their text, which is faster to look up."""

    __slots__ = ("by_kind", "per_km", "shipment")

    def __init__(self, policy: RoutingPolicy) -> None:
        """Converts each amount once."""
        self.shipment = micros(policy.shipment_cost)
        self.per_km = micros(policy.distance_cost_per_km)
        self.by_kind = {kind.value: micros(cost) for kind, cost in policy.kind_cost.items()}


@dataclass(slots=True)
class GroupTask:
    """One ship group to be planned, under the limits in force."""

    facts: Facts
    request: DecisionRequest
    group: RequestGroup
    policy: RoutingPolicy
    lines: tuple[RequestLine, ...]
    atoms: tuple[Atom, ...]
    skus: tuple[str, ...]
    level: ServiceLevel
    destination: Place | None
    """None: the group names a store that is not in the snapshot."""
    timetable: Timetable
    taken: Taken
    costs: PolicyCosts
    dropped: tuple[SoftLimit, ...] = ()

    @property
    def one_shipment(self) -> bool:
        """Whether the whole group must come from one node, or not at all."""
        return self.group.ship_complete or not self.request.allow_split

    @property
    def most_shipments(self) -> int:
        """How many shipments the group may have."""
        if self.one_shipment:
            return 1
        limit = self.policy.max_shipments
        return len(self.lines) * limit if "max_shipments" in self.dropped else limit


class Candidate:
    """A node that may serve the group, with what it has and what serving would cost."""

    __slots__ = (
        "_days",
        "_legs",
        "_task",
        "cover",
        "facts",
        "first_day",
        "first_room",
        "fixed",
        "have",
        "km",
        "leads",
        "node_id",
        "per_unit",
        "services",
    )

    def __init__(
        self,
        task: GroupTask,
        facts: NodeFacts,
        km: int,
        services: tuple[ServiceFacts | None, ...],
        have: list[int],
        leads: dict[int, int],
    ) -> None:
        """`have` is units by SKU index, `leads` the days of SKUs that are made to order."""
        self._task = task
        self.facts = facts
        node = facts.node
        self.node_id = node.node_id
        self.km = km
        self.services = services
        self.have = have
        self.leads = leads
        costs, rates = task.costs, task.facts.rates
        self.per_unit = rates.to_base(facts.unit_micros, node.currency)
        self.fixed = (
            costs.shipment
            + costs.by_kind.get(facts.kind, 0)
            + costs.per_km * km
            + rates.to_base(facts.order_micros, node.currency)
        )
        self.cover = 0
        self.first_day, self.first_room = self._first_day()
        self._days: dict[int, list[tuple[date, int]]] = {}
        self._legs: dict[tuple[date, int], list[Leg]] = {}

    def _first_day(self) -> tuple[date, int]:
        """Work date of the first day that can take one more order, and its units left; 0: none."""
        task, node = self._task, self.facts.node
        for day, text in task.timetable.work_dates(self.facts.calendar, 0):
            units, orders = task.facts.capacity_left(node, text, task.taken)
            if orders > 0 and units > 0:
                return day, units
        return date.min, 0

    def lead_days(self, sku_indexes: Iterable[int]) -> int:
        """Days until the last of these products is made."""
        return max((self.leads.get(index, 0) for index in sku_indexes), default=0)

    def days(self, lead: int) -> list[tuple[date, int]]:
        """(Work date, units left) of the days in the horizon that can take one more order."""
        days = self._days.get(lead)
        if days is None:
            task, node = self._task, self.facts.node
            days = self._days[lead] = []
            for day, text in task.timetable.work_dates(self.facts.calendar, lead):
                units, orders = task.facts.capacity_left(node, text, task.taken)
                if orders > 0 and units > 0:
                    days.append((day, units))
        return days

    def legs(self, day: date, lead: int) -> list[Leg]:
        """The ways to send what is worked on that day, in the order of the node's services."""
        legs = self._legs.get((day, lead))
        if legs is None:
            found = (self._leg(service, day, lead) for service in self.services)
            legs = self._legs[day, lead] = [leg for leg in found if leg is not None]
        return legs

    def first_legs(self) -> list[Leg]:
        """The ways to send what is worked on the first day, with nothing made to order."""
        return self.legs(self.first_day, 0)

    def first_lateness(self, service: ServiceFacts | None) -> int | None:
        """What the first day's lateness costs by that service; None: it never gets there."""
        timetable, calendar, day = self._task.timetable, self.facts.calendar, self.first_day
        if service is None:
            ready = timetable.ready_at(calendar, 0, day)
            return None if ready is None else timetable.lateness(ready)
        transit = transit_days(service.service, self.km)
        times = timetable.arrival((calendar, 0, day, service.pickup_at, transit))
        return None if times is None else times[2]

    def _leg(self, service: ServiceFacts | None, day: date, lead: int) -> Leg | None:
        timetable, calendar = self._task.timetable, self.facts.calendar
        if service is None:
            ready = timetable.ready_at(calendar, lead, day)
            if ready is None:
                return None
            return Leg(self.fixed + timetable.lateness(ready), 0, None, ready, ready)
        transit = transit_days(service.service, self.km)
        times = timetable.arrival((calendar, lead, day, service.pickup_at, transit))
        if times is None:
            return None
        ship_at, deliver_at, late = times
        amount = self.fixed + service.base + service.per_km * self.km + late
        return Leg(amount, service.per_kg, service.service, ship_at, deliver_at)

    def price(self, units: int, grams: int, lead: int) -> Price | None:
        """The cheapest way to send so much on the first day that can take it; None: no day can."""
        for day, left in self.days(lead):
            if units <= left:
                best: Price | None = None
                for leg in self.legs(day, lead):
                    cost = leg.amount + self.per_unit * units + by_weight(leg.per_kg, grams)
                    if best is None or cost < best.cost:
                        best = Price(cost, leg, day)
                return best
        return None


@dataclass(slots=True)
class Candidates:
    """The nodes that may serve a group, by id, and why other holders of its stock may not."""

    rows: list[Candidate]
    excluded: dict[str, str]
    """Node id -> reason."""


def find_candidates(task: GroupTask, destination: Place) -> Candidates:
    """Every node that holds or makes something of the group and passes all filters, by node id.

    Raises FinalError when a cost is in a currency without an exchange rate.
    """
    stock, leads = _supply(task)
    filters = _Filters(task, destination)
    rows: list[Candidate] = []
    excluded: dict[str, str] = {}
    for node_id in sorted(stock):
        node = task.facts.nodes.get(node_id)
        if node is None:
            continue
        reason = filters.reason_against(node)
        km = 0
        services: tuple[ServiceFacts | None, ...] = (None,)
        if reason is None and not filters.is_at_the_counter(node):
            km = filters.distance_to(node)
            reason, services = filters.ways_to_ship(node, km)
        if reason is not None:
            excluded[node_id] = reason
            continue
        row = Candidate(task, facts_of(node), km, services, stock[node_id], leads.get(node_id, {}))
        row.cover = _cover(task, row)
        if row.first_room:
            rows.append(row)
        else:
            excluded[node_id] = "no capacity"
    return Candidates(rows, excluded)


def _supply(task: GroupTask) -> tuple[dict[str, list[int]], dict[str, dict[int, int]]]:
    """Units by node and SKU index, and lead days where a product is made to order."""
    stock: dict[str, list[int]] = {}
    leads: dict[str, dict[int, int]] = {}
    count = len(task.skus)
    for index, sku in enumerate(task.skus):
        mode, lead_days, _ = task.facts.supply_of(sku)
        for node_id, units in units_by_node(task, sku).items():
            if mode is not SupplyMode.STOCKED and _is_made_at(task.facts, node_id):
                asked = sum(line.quantity for line in task.lines if line.sku == sku)
                # Stock at hand saves the lead time only when it covers all that is asked.
                if mode is SupplyMode.LEAD_TIME and units < asked:
                    leads.setdefault(node_id, {})[index] = lead_days
                stock.setdefault(node_id, [0] * count)[index] = ENDLESS
            elif units > 0:
                stock.setdefault(node_id, [0] * count)[index] = units
    return stock, leads


def _is_made_at(facts: Facts, node_id: str) -> bool:
    node = facts.nodes.get(node_id)
    return node is not None and node.kind in _MAKES_TO_ORDER


def units_by_node(task: GroupTask, sku: str) -> dict[str, int]:
    """Node id -> units this request may use: sellable, its own, less what is masked or taken."""
    request = task.request
    units = task.facts.snapshot.availability.get(sku, {})
    own = request.own_units.get(sku)
    if own:
        units = dict(units)
        for node_id, quantity in own.items():
            units[node_id] = units.get(node_id, 0) + quantity
    masked = {x.node_id for x in request.exclusions if x.sku == sku}
    if masked:
        units = {node_id: left for node_id, left in units.items() if node_id not in masked}
    if task.taken.stock:
        taken = task.taken.stock
        units = {node_id: left - taken.get((sku, node_id), 0) for node_id, left in units.items()}
    return units


def _cover(task: GroupTask, row: Candidate) -> int:
    """The atoms the node has whole, as bits, each looked at alone."""
    have = row.have
    cover = 0
    for position, atom in enumerate(task.atoms):
        for index, units in atom.needs:
            if have[index] < units:
                break
        else:
            cover |= 1 << position
    return cover


def vector_of(place: Place) -> geo.Vector | None:
    """Where the place is on the globe; None without coordinates."""
    if place.latitude is None or place.longitude is None:
        return None
    return geo.unit_vector(place.latitude, place.longitude)


class _Filters:
    """The hard rules of one group, in the order in which they are told."""

    def __init__(self, task: GroupTask, destination: Place) -> None:
        request, policy, group = task.request, task.policy, task.group
        self._now = request.now
        self._store = group.node_id if group.method is not Method.SHIP else None
        self._pickup = group.method is Method.PICKUP
        self._excluded = {x.node_id: x.reason for x in request.exclusions if x.sku is None}
        self._forced = frozenset(request.forced_nodes)
        self._nodes = _unless("excluded_nodes", task, frozenset(policy.excluded_nodes))
        self._kinds = _unless("excluded_kinds", task, frozenset(policy.excluded_kinds))
        dropped = "max_distance_km" in task.dropped
        self._max_km = None if dropped else policy.max_distance_km
        self._services = task.facts.services
        self._speed = _SPEED[task.level]
        self._fast: dict[tuple[str, ...], tuple[ServiceFacts, ...]] = {}
        self._policy = policy
        self._destination = destination
        self._target = vector_of(destination)

    def reason_against(self, node: Node) -> str | None:
        """Why the node may not serve, whatever the way; None: it may."""
        if not node.active:
            return "inactive"
        if node.offline_until is not None and node.offline_until > self._now:
            return "offline"
        reason = self._excluded.get(node.node_id)
        if reason is not None:
            return f"excluded: {reason}"
        if self._forced and node.node_id not in self._forced:
            return "not a forced node"
        if node.node_id in self._nodes or (self._kinds and node.kind in self._kinds):
            return "excluded by policy"
        if self._pickup and node.node_id != self._store:
            return "not the pickup store"
        if self.is_at_the_counter(node):
            return None if node.offers_pickup else "offers no pickup"
        return None if node.ships else "does not ship"

    def is_at_the_counter(self, node: Node) -> bool:
        """Whether the customer collects at this very node, so that nothing is shipped."""
        return node.node_id == self._store

    def ways_to_ship(self, node: Node, km: int) -> tuple[str | None, tuple[ServiceFacts, ...]]:
        """The services that are fast enough and reach so far, or why there are none."""
        if self._max_km is not None and km > self._max_km:
            return "too far", ()
        fast = self._fast.get(node.services)
        if fast is None:
            known = [self._services[x] for x in node.services if x in self._services]
            fast = tuple(x for x in known if x.speed >= self._speed)
            self._fast[node.services] = fast
        for service in fast:
            if service.max_km is not None and km > service.max_km:
                fast = tuple(x for x in fast if x.max_km is None or km <= x.max_km)
                break
        return (None, fast) if fast else ("no carrier service", ())

    def distance_to(self, node: Node) -> int:
        """Whole kilometres; the policy's assumption where a place has no coordinates."""
        origin = facts_of(node).vector
        if origin is not None and self._target is not None:
            return round(geo.distance_km(origin, self._target))
        place, target = node.place, self._destination
        if place.country != target.country:
            return self._policy.assumed_km_abroad
        if place.region and place.region == target.region:
            return self._policy.assumed_km_same_region
        return self._policy.assumed_km_same_country


def _unless(limit: SoftLimit, task: GroupTask, values: frozenset[_T]) -> frozenset[_T]:
    return frozenset() if limit in task.dropped else values


def why_missing(task: GroupTask, line: RequestLine, excluded: dict[str, str]) -> str:
    """The commonest reason among the nodes that hold some of the line's product."""
    masked = {
        x.node_id: f"excluded: {x.reason}" for x in task.request.exclusions if x.sku == line.sku
    }
    reasons: Counter[str] = Counter()
    for node_id, units in task.facts.snapshot.availability.get(line.sku, {}).items():
        if units > 0 and node_id in task.facts.nodes:
            reasons[excluded.get(node_id) or masked.get(node_id) or NOT_ENOUGH_UNITS] += 1
    if not reasons:
        return NO_STOCK
    return min(reasons, key=lambda reason: (-reasons[reason], reason))
