"""Where a simulation's network and products come from: the database, files, or Olist's data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine

from config.samples import (
    SAMPLE,
    load_exchange_rates,
    load_network,
    load_products,
    load_stock,
)
from domain.catalogue import Product
from domain.learned_dates import LearnedDates
from domain.network import Network
from domain.routing.facts import NetworkFacts, compile_network
from starter.bulk.olist import OlistData
from starter.simulation.asked import Asked
from store import delivery_dates
from store import network as network_store
from store.engine import reading
from store.view import AvailabilityView
from store.view_updates import one_moment, read_view

Units = dict[str, dict[str, int]]
"""SKU -> node id -> units."""


@dataclass
class Source:
    """Network, catalogue and stock of one origin: the database, or files."""

    network: Network
    rates: dict[str, str]
    compiled: NetworkFacts | None = None
    """The network as arrays, where it is known already."""
    find_products: Callable[[set[str]], dict[str, Product]] = lambda _: {}
    stock: Units = field(default_factory=dict)
    view: AvailabilityView | None = None
    learned: LearnedDates | None = None

    def facts(self) -> NetworkFacts:
        """The network as arrays, which indexes of `view` fit."""
        if self.compiled is None:
            network = self.network
            self.compiled = compile_network(
                network.nodes, network.services, network.base_currency, self.rates
            )
        return self.compiled

    def products(self, skus: set[str]) -> dict[str, Product]:
        """The products of these SKUs, and all that the kits among them are made of."""
        found: dict[str, Product] = {}
        wanted = set(skus)
        while wanted:
            read = self.find_products(wanted)
            found |= read
            wanted = {part.sku for x in read.values() for part in x.components} - found.keys()
            wanted &= self.find_products(wanted).keys()
        return found


def from_files(asked: Asked) -> Source:
    """The sample's network, products and stock, or those of files."""
    network = load_network(asked.network or SAMPLE / "network.yaml")
    known = {x.sku: x for x in load_products(asked.catalogue or SAMPLE / "products.yaml")}
    rates = load_exchange_rates().into(network.base_currency)
    source = Source(
        network=network,
        rates={code: str(rate) for code, rate in rates.items()},
        find_products=lambda skus: {sku: known[sku] for sku in skus if sku in known},
    )
    if asked.network is None and asked.stock is None:
        for one in load_stock():
            source.stock.setdefault(one.sku, {})[one.node_id] = one.quantity
    return source


def from_store(engine: Engine) -> Source:
    """What the database has now."""
    now = datetime.now(UTC)
    with reading(engine) as session:
        known = network_store.known_network(session)
        network = network_store.load_network(session)
        learned = delivery_dates.latest(session)
    with one_moment(engine) as connection:
        view = read_view(connection, now)

    def find_products(skus: set[str]) -> dict[str, Product]:
        return {sku: x for sku in skus if (x := view.product(sku)) is not None}

    return Source(
        network, dict(known.exchange_rates), view.network, find_products, {}, view, learned
    )


def add_olist(source: Source, data: OlistData, asked: Asked, notes: list[str]) -> None:
    """The data's products; and its sellers with their stock, unless a network is named."""
    own = {x.sku: x for x in data.products()}
    find = source.find_products
    source.find_products = lambda skus: {**find(skus), **{x: own[x] for x in skus if x in own}}
    if asked.network is not None:
        return
    base = source.network.base_currency
    if "BRL" not in {*source.rates, base}:
        source.rates["BRL"] = str(load_exchange_rates().into(base)["BRL"])
    sellers = data.network(base)
    known = {node.node_id for node in source.network.nodes}
    added = tuple(node for node in sellers.nodes if node.node_id not in known)
    nodes = (*source.network.nodes, *added)
    source.network = source.network.model_copy(update={"nodes": nodes})
    source.compiled = None
    if asked.stock is None:
        source.view = None
        for one in data.arrivals():
            there = source.stock.setdefault(one.sku, {})
            there[one.node_id] = there.get(one.node_id, 0) + one.quantity
        notes.append(
            "each Olist seller is a node that holds from the start what these orders bought of it"
        )
