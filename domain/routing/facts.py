"""What a decision looks at, as arrays: the network compiled once per version, stock by SKU.

A process keeps one `NetworkFacts` for each version of the network and hands it to every decision,
so that no decision touches each node as an object. `decide_on` (solve.py) takes `KernelFacts`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain import geo
from domain.calendars import Calendar, calendar_of
from domain.catalogue import Product, SupplyMode
from domain.network import CarrierService, Node, NodeKind, Place
from domain.orders import ServiceLevel
from domain.routing.decision import (
    CapacityLeft,
    DecisionRequest,
    InboundSupply,
    LearnedTransit,
    Snapshot,
    StockFact,
)
from domain.routing.money import HUGE, ExchangeRates, clipped, micros

Ints = NDArray[np.int64]
Indexes = NDArray[np.int32]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KINDS = tuple(NodeKind)
SPEED = {ServiceLevel.STANDARD: 0, ServiceLevel.EXPRESS: 1, ServiceLevel.SAME_DAY: 2}
NO_LIMIT = 1 << 40
_MAKES_TO_ORDER = frozenset({NodeKind.DC, NodeKind.SUPPLIER})


class SkuStock(NamedTuple):
    """Sellable units (ATS) of one SKU, sparse.

    Of a stocked product only nodes with units. Of one that is endless or made to order, nodes with
    0 units stand here too: they carry the product.
    """

    nodes: Indexes
    """Ascending indexes into `NetworkFacts.nodes`."""
    units: Ints


class DayCapacity(NamedTuple):
    """What nodes can still take on one local work date; nodes not named have it all."""

    nodes: Indexes
    """Ascending indexes into `NetworkFacts.nodes`."""
    units: Ints
    orders: Ints


class NodeArrays(NamedTuple):
    """One entry for each node, in the order of `NetworkFacts.nodes`."""

    kind: NDArray[np.int8]
    """Index into `KINDS`."""
    active: Flags
    ships: Flags
    offers_pickup: Flags
    makes_to_order: Flags
    offline_until: Ints
    """Microseconds since 1970; 0: not offline."""
    vector: Floats
    """Shape (nodes, 3): the place on a globe of radius 1; zeros without coordinates."""
    is_located: Flags
    country: Indexes
    region: Indexes
    """Numbers of `NetworkFacts.countries` and `regions`; region -1: none."""
    order_cost: Ints
    unit_cost: Ints
    """Micros of the base currency."""
    has_rate: Flags
    """False: the node's currency has no exchange rate."""
    daily_units: Ints
    daily_orders: Ints
    calendar: Indexes
    """Index into `NetworkFacts.calendars`."""
    service_set: Indexes
    """Index into `NetworkFacts.service_sets`."""


class ServiceArrays(NamedTuple):
    """One entry for each carrier service; money in micros of the base currency."""

    base: Ints
    per_kg: Ints
    per_km: Ints
    speed: NDArray[np.int8]
    max_km: Ints
    transit_days: Ints
    km_per_day: Ints
    pickup: Indexes
    """Index into `NetworkFacts.pickup_times`."""


@dataclass(frozen=True, eq=False)
class NetworkFacts:
    """Nodes, carrier services, calendars and costs of one version of the network."""

    nodes: tuple[Node, ...]
    """By node id, so that a smaller index is an earlier id."""
    services: tuple[CarrierService, ...]
    base_currency: str
    exchange_rates: Mapping[str, str]
    version: str
    index: dict[str, int]
    node: NodeArrays
    service: ServiceArrays
    calendars: tuple[Calendar, ...]
    service_sets: tuple[tuple[int, ...], ...]
    """Known services of a node, as indexes, in the node's order."""
    pickup_times: tuple[time, ...]
    countries: dict[str, int]
    regions: dict[str, int]
    cache: dict[object, object] = field(default_factory=dict)
    """What is worked out once for this network, such as the dates of a day."""

    @cached_property
    def content(self) -> str:
        """Content id of the network; where it has a version, that stands for its documents."""
        ids = [node.node_id for node in self.nodes]
        if self.version:
            documents: object = [self.version, ids]
        else:
            documents = sorted(x.model_dump_json() for x in (*self.nodes, *self.services))
        rates = dict(sorted(self.exchange_rates.items()))
        text = json.dumps([documents, rates, self.base_currency], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def node_places(self) -> dict[str, Place]:
        """Node id -> where it is."""
        return {node.node_id: node.place for node in self.nodes}

    def indexes_of(self, node_ids: Iterable[str]) -> list[int]:
        """The indexes of those nodes that are in the network."""
        return [self.index[x] for x in node_ids if x in self.index]


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """All facts a decision looks at: the network, and what changes by the minute."""

    network: NetworkFacts
    stock: Mapping[str, SkuStock]
    products: Mapping[str, Product] = field(default_factory=dict)
    capacity: Mapping[str, DayCapacity] = field(default_factory=dict)
    """ISO date of local work -> what is left there."""
    inbound: Mapping[str, tuple[InboundSupply, ...]] = field(default_factory=dict)
    """SKU -> units that will arrive."""
    availability_version: str = ""
    transits: tuple[LearnedTransit, ...] = ()
    stock_facts: Mapping[str, tuple[StockFact, ...]] = field(default_factory=dict)
    """SKU -> what is known of its units at nodes."""


def compile_network(
    nodes: Iterable[Node],
    services: Iterable[CarrierService],
    base_currency: str = "USD",
    exchange_rates: Mapping[str, str] | None = None,
    version: str = "",
) -> NetworkFacts:
    """The network as arrays; keep the result as long as the network does not change."""
    by_id = {node.node_id: node for node in nodes}
    ordered = tuple(by_id[node_id] for node_id in sorted(by_id))
    carriers = tuple(services)
    rates = ExchangeRates(exchange_rates or {}, base_currency)
    calendars = {x: n for n, x in enumerate(dict.fromkeys(calendar_of(x) for x in ordered))}
    known = {x.service_id: n for n, x in enumerate(carriers)}
    sets = {x: n for n, x in enumerate(dict.fromkeys(node.services for node in ordered))}
    pickups = {x: n for n, x in enumerate(dict.fromkeys(x.pickup_at for x in carriers))}
    countries = _numbers(node.place.country for node in ordered)
    regions = _numbers(node.place.region for node in ordered if node.place.region)
    return NetworkFacts(
        nodes=ordered,
        services=carriers,
        base_currency=base_currency,
        exchange_rates=dict(exchange_rates or {}),
        version=version,
        index={node.node_id: number for number, node in enumerate(ordered)},
        node=_node_arrays(ordered, rates, calendars, sets, countries, regions),
        service=_service_arrays(carriers, pickups),
        calendars=tuple(calendars),
        service_sets=tuple(tuple(known[x] for x in ids if x in known) for ids in sets),
        pickup_times=tuple(pickups),
        countries=countries,
        regions=regions,
    )


def _numbers(texts: Iterable[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def _node_arrays(
    nodes: tuple[Node, ...],
    rates: ExchangeRates,
    calendars: Mapping[Calendar, int],
    sets: Mapping[tuple[str, ...], int],
    countries: Mapping[str, int],
    regions: Mapping[str, int],
) -> NodeArrays:
    vectors = [vector_of(node.place) for node in nodes]
    known = [rates.knows(node.currency) for node in nodes]
    costs = [
        [clipped(rates.to_base(micros(amount), x.currency)) if is_known else 0 for amount in pair]
        for x, is_known in zip(nodes, known, strict=True)
        for pair in [(x.cost_per_order, x.cost_per_unit)]
    ]
    money = np.array(costs, dtype=np.int64).reshape(len(nodes), 2)
    return NodeArrays(
        kind=np.array([KINDS.index(x.kind) for x in nodes], dtype=np.int8),
        active=np.array([x.active for x in nodes], dtype=np.bool_),
        ships=np.array([x.ships for x in nodes], dtype=np.bool_),
        offers_pickup=np.array([x.offers_pickup for x in nodes], dtype=np.bool_),
        makes_to_order=np.array([x.kind in _MAKES_TO_ORDER for x in nodes], dtype=np.bool_),
        offline_until=np.array(
            [microseconds(x.offline_until) if x.offline_until else 0 for x in nodes], dtype=np.int64
        ),
        vector=np.array([x or (0.0, 0.0, 0.0) for x in vectors], dtype=np.float64).reshape(-1, 3),
        is_located=np.array([x is not None for x in vectors], dtype=np.bool_),
        country=np.array([countries[x.place.country] for x in nodes], dtype=np.int32),
        region=np.array([regions.get(x.place.region, -1) for x in nodes], dtype=np.int32),
        order_cost=np.ascontiguousarray(money[:, 0]),
        unit_cost=np.ascontiguousarray(money[:, 1]),
        has_rate=np.array(known, dtype=np.bool_),
        daily_units=np.array([min(x.daily_units, HUGE) for x in nodes], dtype=np.int64),
        daily_orders=np.array([min(x.daily_orders, HUGE) for x in nodes], dtype=np.int64),
        calendar=np.array([calendars[calendar_of(x)] for x in nodes], dtype=np.int32),
        service_set=np.array([sets[x.services] for x in nodes], dtype=np.int32),
    )


def _service_arrays(
    services: tuple[CarrierService, ...], pickups: Mapping[time, int]
) -> ServiceArrays:
    def whole(values: Iterable[int]) -> Ints:
        return np.array(list(values), dtype=np.int64)

    return ServiceArrays(
        base=whole(clipped(micros(x.base)) for x in services),
        per_kg=whole(clipped(micros(x.per_kg)) for x in services),
        per_km=whole(clipped(micros(x.per_km)) for x in services),
        speed=np.array([SPEED[x.level] for x in services], dtype=np.int8),
        max_km=whole(NO_LIMIT if x.max_km is None else x.max_km for x in services),
        transit_days=whole(x.transit_days for x in services),
        km_per_day=whole(x.km_per_day for x in services),
        pickup=np.array([pickups[x.pickup_at] for x in services], dtype=np.int32),
    )


def vector_of(place: Place) -> geo.Vector | None:
    """Where the place is on the globe; None without coordinates."""
    if place.latitude is None or place.longitude is None:
        return None
    return geo.unit_vector(place.latitude, place.longitude)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    passed = moment - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def needed_skus(skus: Iterable[str], products: Mapping[str, Product]) -> tuple[str, ...]:
    """These SKUs, and the components of those that are kits: what a decision must know of."""
    wanted = dict.fromkeys(skus)
    for sku in tuple(wanted):
        if sku in products:
            wanted |= dict.fromkeys(part.sku for part in products[sku].components)
    return tuple(wanted)


def facts_of(snapshot: Snapshot) -> KernelFacts:
    """The recorded form as arrays. Networks that were compiled lately are not compiled again."""
    network = _compiled(snapshot)
    makeable = {sku for sku, x in snapshot.products.items() if is_made_to_order(x)}
    stock = {
        sku: _stock_of(network, units, keep_empty=sku in makeable)
        for sku, units in snapshot.availability.items()
    }
    days: dict[str, dict[int, CapacityLeft]] = {}
    for row in snapshot.capacity:
        if row.node_id in network.index:
            days.setdefault(row.work_date, {})[network.index[row.node_id]] = row
    inbound: dict[str, list[InboundSupply]] = {}
    for supply in snapshot.inbound:
        inbound.setdefault(supply.sku, []).append(supply)
    known: dict[str, list[StockFact]] = {}
    for fact in snapshot.stock_facts:
        known.setdefault(fact.sku, []).append(fact)
    return KernelFacts(
        network=network,
        stock=stock,
        products=snapshot.products,
        capacity={day: _day_of(rows) for day, rows in days.items()},
        inbound={sku: tuple(rows) for sku, rows in inbound.items()},
        availability_version=snapshot.availability_version,
        transits=snapshot.transits,
        stock_facts={sku: tuple(rows) for sku, rows in known.items()},
    )


def is_made_to_order(product: Product) -> bool:
    """Whether some nodes need no stock of the product."""
    return product.supply_mode is not SupplyMode.STOCKED


def _stock_of(network: NetworkFacts, by_node: Mapping[str, int], *, keep_empty: bool) -> SkuStock:
    index = network.index
    rows = sorted(
        (index[node_id], max(0, units))
        for node_id, units in by_node.items()
        if node_id in index and (units > 0 or keep_empty)
    )
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
    return SkuStock(table[:, 0].astype(np.int32), np.ascontiguousarray(table[:, 1]))


def _day_of(rows: Mapping[int, CapacityLeft]) -> DayCapacity:
    numbers = sorted(rows)
    return DayCapacity(
        np.array(numbers, dtype=np.int32),
        np.array([rows[n].units for n in numbers], dtype=np.int64),
        np.array([rows[n].orders for n in numbers], dtype=np.int64),
    )


_MOST_NETWORKS = 8
_networks: dict[object, NetworkFacts] = {}


def _compiled(snapshot: Snapshot) -> NetworkFacts:
    """Compiled lately for the very same objects, which the kept facts keep alive."""
    objects = (*map(id, snapshot.nodes), *map(id, snapshot.services))
    rates = tuple(sorted(snapshot.exchange_rates.items()))
    key = (objects, rates, snapshot.base_currency, snapshot.network_version)
    network = _networks.get(key)
    if network is None:
        if len(_networks) >= _MOST_NETWORKS:
            _networks.clear()
        network = _networks[key] = compile_network(
            snapshot.nodes,
            snapshot.services,
            snapshot.base_currency,
            snapshot.exchange_rates,
            snapshot.network_version,
        )
    return network


def snapshot_of(facts: KernelFacts, request: DecisionRequest | None = None) -> Snapshot:
    """The recordable form; with a request only what that request can look at.

    Deciding on it again gives the same bytes.
    """
    if request is not None:
        facts = looked_at(facts, request)
    network = facts.network
    ids = [node.node_id for node in network.nodes]
    return Snapshot.model_construct(
        availability={
            sku: dict(zip([ids[n] for n in x.nodes.tolist()], x.units.tolist(), strict=True))
            for sku, x in facts.stock.items()
        },
        nodes=network.nodes,
        services=network.services,
        products=dict(facts.products),
        capacity=tuple(
            CapacityLeft.model_construct(
                node_id=ids[number], work_date=day, units=units, orders=orders
            )
            for day, x in sorted(facts.capacity.items())
            for number, units, orders in zip(
                x.nodes.tolist(), x.units.tolist(), x.orders.tolist(), strict=True
            )
        ),
        inbound=tuple(row for sku in sorted(facts.inbound) for row in facts.inbound[sku]),
        transits=facts.transits,
        stock_facts=tuple(
            row for sku in sorted(facts.stock_facts) for row in facts.stock_facts[sku]
        ),
        exchange_rates=dict(network.exchange_rates),
        base_currency=network.base_currency,
        network_version=network.version,
        availability_version=facts.availability_version,
    )


def looked_at(facts: KernelFacts, request: DecisionRequest) -> KernelFacts:
    """Of these facts what the request can look at: its SKUs, and the capacity of their holders."""
    skus = needed_skus((line.sku for line in request.lines), facts.products)
    stock = {sku: facts.stock[sku] for sku in skus if sku in facts.stock}
    inbound = {sku: facts.inbound[sku] for sku in skus if sku in facts.inbound}
    capacity: dict[str, DayCapacity] = {}
    if facts.capacity:
        holds = np.zeros(len(facts.network.nodes), dtype=np.bool_)
        for x in stock.values():
            holds[x.nodes] = True
        others = [x.node_id for rows in inbound.values() for x in rows]
        others += [node_id for by_node in request.own_units.values() for node_id in by_node]
        holds[facts.network.indexes_of(others)] = True
        capacity = {day: kept for day, x in facts.capacity.items() if (kept := _of(x, holds))}
    return replace(
        facts,
        stock=stock,
        products={sku: facts.products[sku] for sku in skus if sku in facts.products},
        capacity=capacity,
        inbound=inbound,
        stock_facts={x: facts.stock_facts[x] for x in skus if x in facts.stock_facts},
    )


def pooled(facts: KernelFacts, requests: Iterable[DecisionRequest]) -> KernelFacts:
    """The facts with the units that these requests' orders reserve, as if all were given back."""
    freed: dict[str, dict[int, int]] = {}
    for request in requests:
        for sku, by_node in request.own_units.items():
            for node_id, units in by_node.items():
                if node_id in facts.network.index:
                    node = facts.network.index[node_id]
                    own = freed.setdefault(sku, {})
                    own[node] = own.get(node, 0) + units
    stock = dict(facts.stock)
    for sku, own in freed.items():
        known = stock.get(sku)
        if known is not None:
            for node, units in zip(known.nodes.tolist(), known.units.tolist(), strict=True):
                own[node] = own.get(node, 0) + units
        nodes = sorted(own)
        stock[sku] = SkuStock(
            np.array(nodes, dtype=np.int32), np.array([own[x] for x in nodes], dtype=np.int64)
        )
    return replace(facts, stock=stock)


def _of(day: DayCapacity, nodes: Flags) -> DayCapacity | None:
    kept = nodes[day.nodes]
    if not kept.any():
        return None
    return DayCapacity(day.nodes[kept], day.units[kept], day.orders[kept])


def snapshot_id(snapshot: Snapshot) -> str:
    """Content id of all the snapshot holds: 64 hex digits. See `content_id`."""
    return content_id(facts_of(snapshot))


def content_id(facts: KernelFacts) -> str:
    """sha256 over the network's content id, stock, capacity, inbound supply and products."""
    digest = hashlib.sha256(facts.network.content.encode())
    for sku in sorted(facts.stock):
        stock = facts.stock[sku]
        digest.update(f"stock {sku} {len(stock.nodes)}\n".encode())
        digest.update(stock.nodes.astype("<i4", copy=False).tobytes())
        digest.update(stock.units.astype("<i8", copy=False).tobytes())
    for date in sorted(facts.capacity):
        day = facts.capacity[date]
        digest.update(f"capacity {date} {len(day.nodes)}\n".encode())
        digest.update(day.nodes.astype("<i4", copy=False).tobytes())
        digest.update(day.units.astype("<i8", copy=False).tobytes())
        digest.update(day.orders.astype("<i8", copy=False).tobytes())
    for sku in sorted(facts.inbound):
        for row in sorted(x.model_dump_json() for x in facts.inbound[sku]):
            digest.update(f"inbound {row}\n".encode())
    for transit in facts.transits:
        digest.update(f"transit {transit.model_dump_json()}\n".encode())
    for sku in sorted(facts.stock_facts):
        digest.update(_of_stock(facts.stock_facts[sku]))
    for sku in sorted(facts.products):
        digest.update(_document(facts.products[sku]))
    digest.update(f"availability {facts.availability_version}".encode())
    return digest.hexdigest()


_stock: dict[int, tuple[tuple[StockFact, ...], bytes]] = {}


def _of_stock(rows: tuple[StockFact, ...]) -> bytes:
    """The facts' digest, remembered by object, as there may be one for each node."""
    found = _stock.get(id(rows))
    if found is None or found[0] is not rows:
        if len(_stock) >= _MOST_DOCUMENTS:
            _stock.clear()
        lines = "".join(f"fact {row}\n" for row in sorted(x.model_dump_json() for x in rows))
        found = _stock[id(rows)] = rows, hashlib.sha256(lines.encode()).digest()
    return found[1]


_MOST_DOCUMENTS = 100_000
_documents: dict[int, tuple[Product, bytes]] = {}


def _document(product: Product) -> bytes:
    """The product's JSON, remembered by object: products are immutable and live long."""
    found = _documents.get(id(product))
    if found is None or found[0] is not product:
        if len(_documents) >= _MOST_DOCUMENTS:
            _documents.clear()
        found = product, f"product {product.model_dump_json()}\n".encode()
        _documents[id(product)] = found
    return found[1]
