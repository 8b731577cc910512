"""What a simulation runs on: orders, network, products, stock and policies, from files or store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sqlalchemy import Engine

from config.policy_files import load_policy
from config.samples import (
    SAMPLE,
    load_exchange_rates,
    load_network,
    load_products,
    load_stock,
)
from config.settings import Settings
from domain.catalogue import Product
from domain.errors import FinalError
from domain.learned_dates import LearnedDates
from domain.network import DistributionGroup, Network, Node
from domain.orders import Order, OrderLine
from domain.planning import NoRateError, Wanted, decision_request, to_base
from domain.routing.decision import Purpose
from domain.routing.facts import (
    DayCapacity,
    NetworkFacts,
    SkuStock,
    compile_network,
    is_made_to_order,
    needed_skus,
)
from domain.routing.policy import RoutingPolicy
from domain.routing_baselines import BASELINES
from domain.routing_simulation import SimulatedOrder
from domain.simulated_world import Kept, Start, StockChange
from domain.values import MICROS
from starter.api.problems import InvalidDocumentError
from starter.bulk.format_names import Format
from starter.bulk.formats import load
from starter.bulk.loaded import LoadedOrder, UnreadableInputError
from starter.bulk.olist import OlistData
from starter.bulk.stock_lines import read_stock
from starter.commands.local_store import database
from starter.intake import check_order, normalise
from store import delivery_dates, policies
from store import network as network_store
from store.engine import reading
from store.stock_history import orders_placed, other_changes, sellable_as_of
from store.view import AvailabilityView
from store.view_updates import one_moment, read_view

Period = tuple[datetime, datetime]
Units = dict[str, dict[str, int]]
"""SKU -> node id -> units."""


@dataclass(frozen=True)
class Asked:
    """What the command line says; `orders` or `history` is given."""

    policies: tuple[str, ...]
    orders: Path | None = None
    form: Format = Format.AUTO
    limit: int | None = None
    history: Period | None = None
    is_sample: bool = False
    network: Path | None = None
    catalogue: Path | None = None
    stock: Path | None = None


class NamedPolicy(NamedTuple):
    """A policy under the name it is shown by; a baseline has only that name."""

    label: str
    policy: RoutingPolicy | None


class LeftOut(NamedTuple):
    """An order that cannot be simulated: where it stands, and why."""

    where: str
    why: str


@dataclass
class Inputs:
    """Everything a run needs. `notes` tell what was assumed."""

    start: Start
    orders: list[SimulatedOrder]
    policies: list[NamedPolicy]
    until: datetime
    """How long arriving units may serve orders that wait."""
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Source:
    """Network, catalogue and stock of one origin: the database, or files."""

    network: Network
    rates: dict[str, str]
    version: str = ""
    find_products: Callable[[set[str]], dict[str, Product]] = lambda _: {}
    stock: Units = field(default_factory=dict)
    view: AvailabilityView | None = None
    learned: LearnedDates | None = None


def read_inputs(settings: Settings, asked: Asked) -> Inputs:
    """Read everything. Raises FinalError, which says what to do, when something cannot be read."""
    if asked.is_sample or asked.network is not None:
        if asked.history is not None:
            raise FinalError("--history reads the database: leave out --sample and --network")
        source = _from_files(asked)
        named = [_policy_file(x, source.network.groups) for x in asked.policies]
        return _inputs(asked, source, named, None)
    with database(settings) as engine:
        source = _from_store(engine)
        return _inputs(asked, source, [_policy(x, engine) for x in asked.policies], engine)


def _inputs(
    asked: Asked, source: _Source, named: Sequence[NamedPolicy], engine: Engine | None
) -> Inputs:
    left_out: list[LeftOut] = []
    notes: list[str] = []
    data: OlistData | None = None
    promised: dict[str, datetime] = {}
    if asked.history is not None and engine is not None:
        orders = _placed(engine, asked, promised)
        products = _with_components(source, orders)
    else:
        documents = load(_orders_file(asked), asked.form, asked.limit)
        if isinstance(documents, OlistData):
            data = documents
            _add_olist(source, data, asked, notes)
        orders, products = _from_documents(documents, source, left_out)
    simulated = _simulated(orders, source, promised, left_out)
    if not simulated:
        why = f": {left_out[0].where}: {left_out[0].why}" if left_out else ""
        raise FinalError(f"there is no order to simulate{why}")
    network = compile_network(
        source.network.nodes,
        source.network.services,
        source.network.base_currency,
        source.rates,
        source.version,
    )
    start = _start(asked, source, network, products, engine, notes)
    until = simulated[-1].request.now if asked.history is None else asked.history[1]
    return Inputs(start, simulated, _numbered(named), until, left_out, notes)


def _orders_file(asked: Asked) -> Path:
    if asked.orders is None:
        raise FinalError("say which orders: --orders FILE, or --history FROM TO")
    return asked.orders


def _from_files(asked: Asked) -> _Source:
    network = load_network(asked.network or SAMPLE / "network.yaml")
    known = {x.sku: x for x in load_products(asked.catalogue or SAMPLE / "products.yaml")}
    rates = load_exchange_rates().into(network.base_currency)
    source = _Source(
        network=network,
        rates={code: str(rate) for code, rate in rates.items()},
        find_products=lambda skus: {sku: known[sku] for sku in skus if sku in known},
    )
    if asked.network is None and asked.stock is None:
        for one in load_stock():
            source.stock.setdefault(one.sku, {})[one.node_id] = one.quantity
    return source


def _from_store(engine: Engine) -> _Source:
    now = datetime.now(UTC)
    with reading(engine) as session:
        known = network_store.known_network(session)
        network = network_store.load_network(session)
        learned = delivery_dates.latest(session)
    with one_moment(engine) as connection:
        view = read_view(connection, now)

    def find_products(skus: set[str]) -> dict[str, Product]:
        return {sku: x for sku in skus if (x := view.product(sku)) is not None}

    return _Source(
        network, dict(known.exchange_rates), known.version, find_products, {}, view, learned
    )


def _add_olist(source: _Source, data: OlistData, asked: Asked, notes: list[str]) -> None:
    """The data's products; and its sellers with their stock, unless a network is named."""
    own = {x.sku: x for x in data.products()}
    find = source.find_products
    source.find_products = lambda skus: {**find(skus), **{x: own[x] for x in skus if x in own}}
    if asked.network is not None:
        return
    sellers = data.network(source.network.base_currency)
    known = {node.node_id for node in source.network.nodes}
    added = tuple(node for node in sellers.nodes if node.node_id not in known)
    nodes = (*source.network.nodes, *added)
    source.network = source.network.model_copy(update={"nodes": nodes})
    source.version = ""
    if asked.stock is None:
        source.view = None
        for one in data.arrivals():
            there = source.stock.setdefault(one.sku, {})
            there[one.node_id] = there.get(one.node_id, 0) + one.quantity
        notes.append(
            "each Olist seller is a node that holds from the start what these orders bought of it"
        )


def _placed(engine: Engine, asked: Asked, promised: dict[str, datetime]) -> list[Order]:
    assert asked.history is not None  # noqa: S101 (only called for a history)
    orders: list[Order] = []
    with reading(engine) as session:
        for one in orders_placed(session, *asked.history):
            if len(orders) == asked.limit:
                break
            orders.append(one.order)
            if one.promised is not None:
                promised[one.order.order_id] = one.promised
    return orders


def _with_components(source: _Source, orders: Iterable[Order]) -> dict[str, Product]:
    return _components(source, {line.sku for order in orders for line in order.lines})


def _components(source: _Source, skus: set[str]) -> dict[str, Product]:
    """The products of these SKUs, and all that the kits among them are made of."""
    found: dict[str, Product] = {}
    wanted = set(skus)
    while wanted:
        read = source.find_products(wanted)
        found |= read
        wanted = {part.sku for x in read.values() for part in x.components} - found.keys()
        wanted &= source.find_products(wanted).keys()
    return found


def _from_documents(
    documents: Iterable[LoadedOrder], source: _Source, left_out: list[LeftOut]
) -> tuple[list[Order], dict[str, Product]]:
    """Orders as intake would keep them: checked, in base units, without kits."""
    nodes: Mapping[str, Node] = {node.node_id: node for node in source.network.nodes}
    products: dict[str, Product] = {}
    orders: list[Order] = []
    seen: set[str] = set()
    for loaded in documents:
        where = f"line {loaded.line_number}"
        if loaded.document is None:
            left_out.append(LeftOut(where, loaded.error or "no order"))
            continue
        try:
            order = check_order(loaded.document)
            fresh = {line.sku for line in order.lines if line.sku not in products}
            products |= _components(source, fresh)
            order = normalise(order, products, nodes)
        except InvalidDocumentError as error:
            first = error.errors[0]
            left_out.append(LeftOut(where, f"{first.path}: {first.message}".removeprefix(": ")))
            continue
        if order.order_id in seen:
            left_out.append(LeftOut(where, f"order '{order.order_id}' stands on an earlier line"))
            continue
        seen.add(order.order_id)
        orders.append(order)
    return orders, products


def _simulated(
    orders: Iterable[Order],
    source: _Source,
    promised: Mapping[str, datetime],
    left_out: list[LeftOut],
) -> list[SimulatedOrder]:
    base, rates = source.network.base_currency, source.rates
    found: list[SimulatedOrder] = []
    for order in orders:
        committed = order.committed.deliver_by if order.committed else None
        wanted = Wanted(
            request_id=order.order_id,
            purpose=Purpose.ROUTE,
            units={line.line_id: line.quantity for line in order.lines},
            promised_deliver_by=committed or promised.get(order.order_id),
        )
        try:
            request = decision_request(order, wanted, order.placed_at, base, rates)
            revenue = tuple(_revenue(line, order.currency, base, rates) for line in order.lines)
        except NoRateError as error:
            left_out.append(LeftOut(f"order '{order.order_id}'", str(error)))
            continue
        found.append(SimulatedOrder(request, revenue))
    return sorted(found, key=lambda x: (x.request.now, x.request.request_id))


def _revenue(line: OrderLine, currency: str, base: str, rates: Mapping[str, str]) -> int:
    net = line.unit_price * line.quantity - line.discount
    return int(to_base(net, currency, base, rates) * MICROS)


def _start(
    asked: Asked,
    source: _Source,
    network: NetworkFacts,
    products: Mapping[str, Product],
    engine: Engine | None,
    notes: list[str],
) -> Start:
    skus = set(needed_skus(products, products))
    changes: tuple[StockChange, ...] = ()
    capacity: Mapping[str, DayCapacity] = {}
    kept: Kept = {}
    view = source.view
    if asked.stock is not None:
        units = _stock_file(asked.stock, network, notes)
        stock = {sku: _stock(network, units[sku], products.get(sku)) for sku in units}
    elif asked.history is not None and engine is not None and view is not None:
        stock, changes = _as_of(engine, asked.history, network, products, view)
        notes.append(
            "stock is what the ledger says could be sold at the beginning; what came and went"
            " since for other reasons than these orders does so again"
        )
    elif view is not None:
        now = datetime.now(UTC)
        stock = {sku: view.stock_of(sku, "", now) for sku in skus}
        capacity, kept = view.capacity, _kept(view, skus, now)
        changes = tuple(
            StockChange(x.due, x.node_id, sku, x.quantity, is_announced=True)
            for sku in sorted(skus)
            for x in view.inbound_of(sku, "", now)
        )
        notes.append("stock, inbound supply and used capacity are those of now")
    else:
        stock = {sku: _stock(network, x, products.get(sku)) for sku, x in source.stock.items()}
    asked_for = {sku: x for sku, x in stock.items() if sku in skus}
    return Start(network, asked_for, products, capacity, changes, kept, source.learned)


def _kept(view: AvailabilityView, skus: Iterable[str], now: datetime) -> Kept:
    """Units that channels have on top of what is open to all."""
    found: dict[str, dict[str, dict[int, int]]] = {}
    for sku in skus:
        for channel in view.own.get(sku, {}):
            there = view.stock_of(sku, "", now)
            every = dict(zip(there.nodes.tolist(), there.units.tolist(), strict=True))
            own = view.stock_of(sku, channel, now)
            found.setdefault(sku, {})[channel] = {
                node: units - every.get(node, 0)
                for node, units in zip(own.nodes.tolist(), own.units.tolist(), strict=True)
                if units > every.get(node, 0)
            }
    return found


def _stock(network: NetworkFacts, by_node: Mapping[str, int], product: Product | None) -> SkuStock:
    """Sorted arrays; nodes without units only of products that need none."""
    carries_empty = product is not None and is_made_to_order(product)
    rows = sorted(
        (network.index[node_id], units)
        for node_id, units in by_node.items()
        if node_id in network.index and (units > 0 or carries_empty)
    )
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return SkuStock(table[:, 0].astype(np.int32), np.ascontiguousarray(table[:, 1]))


def _stock_file(path: Path, network: NetworkFacts, notes: list[str]) -> Units:
    """Usable units. Raises UnreadableInputError for a line that cannot be read."""
    units: Units = {}
    unknown: set[str] = set()
    for line in read_stock(path):
        if line.row is None:
            raise UnreadableInputError(f"{path}: line {line.number}: {line.error}")
        row = line.row
        if row.get("condition", "usable") != "usable":
            continue
        if row["node_id"] not in network.index:
            unknown.add(row["node_id"])
            continue
        units.setdefault(row["sku"], {})[row["node_id"]] = row["quantity"]
    if unknown:
        some = ", ".join(sorted(unknown)[:3])
        notes.append(f"stock of {len(unknown)} nodes that the network lacks is left out: {some}")
    return units


def _as_of(
    engine: Engine,
    history: Period,
    network: NetworkFacts,
    products: Mapping[str, Product],
    view: AvailabilityView,
) -> tuple[dict[str, SkuStock], tuple[StockChange, ...]]:
    units: Units = {}
    with reading(engine) as session:
        for one in sellable_as_of(session, *history):
            units.setdefault(one.sku, {})[one.node_id] = one.units
        changes = tuple(
            StockChange(x.at, x.node_id, x.sku, x.units)
            for x in other_changes(session, *history)
            if x.sku in products
        )
    if not units and not changes:
        raise FinalError(
            f"the ledger knows of no stock before {history[1].isoformat()}: give --stock FILE"
        )
    stock = {sku: _stock(network, x, products.get(sku)) for sku, x in units.items()}
    for sku, product in products.items():
        # Who carries a product that needs no stock is known as of now alone.
        if is_made_to_order(product):
            stock[sku] = view.stock_of(sku, "", datetime.now(UTC))
    return stock, changes


def _policy_file(named: str, groups: Sequence[DistributionGroup]) -> NamedPolicy:
    """A baseline, or the policy in that file. Raises FinalError."""
    if named in BASELINES:
        return NamedPolicy(named, None)
    path = Path(named)
    if not _is_file(named):
        known = ", ".join(BASELINES)
        raise FinalError(
            f"no policy '{named}': name a YAML file or one of {known}; published versions are in"
            " the database, which --sample and --network do without"
        )
    policy = load_policy(path, "routing").policy
    if not isinstance(policy, RoutingPolicy):
        raise FinalError(f"{named}: only routing policies can be simulated")
    own = tuple(x for x in groups if x.group_id in policy.group_names)
    return NamedPolicy(path.stem, policy.model_copy(update={"sourced_from": own}))


def _policy(named: str, engine: Engine) -> NamedPolicy:
    """As `_policy_file`, or a published version."""
    with reading(engine) as session:
        if named in BASELINES or _is_file(named):
            groups = tuple(network_store.distribution_groups(session).values())
            return _policy_file(named, groups)
        return NamedPolicy(named, policies.routing_policy(session, named))


def _is_file(named: str) -> bool:
    """What looks like a path is a file, whether it is there or not."""
    path = Path(named)
    return path.is_file() or "/" in named or path.suffix in {".yaml", ".yml"}


def _numbered(named: Sequence[NamedPolicy]) -> list[NamedPolicy]:
    """Each under a name of its own, so that a policy may be compared with itself."""
    times: dict[str, int] = {}
    found: list[NamedPolicy] = []
    for label, policy in named:
        times[label] = times.get(label, 0) + 1
        again = times[label] > 1
        found.append(NamedPolicy(f"{label} ({times[label]})" if again else label, policy))
    return found
