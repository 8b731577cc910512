"""What a simulation runs on: orders, each as the kernel is asked for it, and all they meet."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from config.settings import Settings
from domain.catalogue import Product
from domain.errors import FinalError
from domain.money import NoRateError, to_base
from domain.network import Node
from domain.orders import Order, OrderLine
from domain.planning import Wanted, decision_request
from domain.routing.decision import Purpose
from domain.routing_simulation import SimulatedOrder
from domain.simulated_world import Start
from domain.values import MICROS
from starter.api.problems import InvalidDocumentError
from starter.bulk.formats import load
from starter.bulk.loaded import LoadedOrder
from starter.bulk.olist import OlistData
from starter.commands.local_store import database
from starter.intake import check_order, normalise
from starter.simulation.asked import Asked
from starter.simulation.beginning import start_of
from starter.simulation.named_policies import NamedPolicy, policies_of
from starter.simulation.sources import Source, add_olist, from_files, from_store
from store.engine import reading
from store.stock_history import PlacedOrder, orders_placed


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


def read_inputs(settings: Settings, asked: Asked) -> Inputs:
    """Read everything. Raises FinalError, which says what to do, when something cannot be read."""
    if asked.is_sample or asked.network is not None:
        if asked.history is not None:
            raise FinalError("--history reads the database: leave out --sample and --network")
        return _inputs(asked, from_files(asked), None)
    with database(settings) as engine:
        return _inputs(asked, from_store(engine), engine)


def _inputs(asked: Asked, source: Source, engine: Engine | None) -> Inputs:
    named = policies_of(asked.policies, source.network.groups, engine)
    notes: list[str] = []
    if asked.history is not None and engine is not None:
        with reading(engine) as session:
            placed = islice(orders_placed(session, *asked.history), asked.limit)
            reader = OrderReader(source)
            simulated = reader.simulated(reader.placed(placed))
    else:
        documents = load(_orders_file(asked), asked.form, asked.limit)
        if isinstance(documents, OlistData):
            add_olist(source, documents, asked, notes)
        reader = OrderReader(source)
        simulated = reader.simulated(reader.normal(documents))
    if not simulated:
        why = f": {reader.left_out[0].where}: {reader.left_out[0].why}" if reader.left_out else ""
        raise FinalError(f"there is no order to simulate{why}")
    start = start_of(asked, source, reader.products, engine, notes)
    until = simulated[-1].request.now if asked.history is None else asked.history[1]
    return Inputs(start, simulated, named, until, reader.left_out, notes)


def _orders_file(asked: Asked) -> Path:
    if asked.orders is None:
        raise FinalError("say which orders: --orders FILE, or --history FROM TO")
    return asked.orders


class OrderReader:
    """Reads orders one by one: whole documents are large, and only requests are kept."""

    def __init__(self, source: Source) -> None:
        """Against that network and catalogue."""
        self.products: dict[str, Product] = {}
        """Those that the orders read so far name."""
        self.left_out: list[LeftOut] = []
        self._source = source

    def placed(self, orders: Iterable[PlacedOrder]) -> Iterator[PlacedOrder]:
        """The database's own orders, which are as intake keeps them."""
        for one in orders:
            self._know(one.order)
            yield one

    def normal(self, documents: Iterable[LoadedOrder]) -> Iterator[PlacedOrder]:
        """Orders as intake would keep them: checked, in base units, without kits."""
        nodes: Mapping[str, Node] = {node.node_id: node for node in self._source.network.nodes}
        seen: set[str] = set()
        for loaded in documents:
            where = f"line {loaded.line_number}"
            if loaded.document is None:
                self.left_out.append(LeftOut(where, loaded.error or "no order"))
                continue
            try:
                order = check_order(loaded.document)
                self._know(order)
                order = normalise(order, self.products, nodes)
            except InvalidDocumentError as error:
                first = error.errors[0]
                why = f"{first.path}: {first.message}".removeprefix(": ")
                self.left_out.append(LeftOut(where, why))
                continue
            if order.order_id in seen:
                why = f"order '{order.order_id}' stands on an earlier line"
                self.left_out.append(LeftOut(where, why))
                continue
            seen.add(order.order_id)
            yield PlacedOrder(order, None)

    def simulated(self, orders: Iterable[PlacedOrder]) -> list[SimulatedOrder]:
        """The orders as requests, in the order of their times."""
        base, rates = self._source.network.base_currency, self._source.rates
        found: list[SimulatedOrder] = []
        for order, promised in orders:
            committed = order.committed.deliver_by if order.committed else None
            wanted = Wanted(
                request_id=order.order_id,
                purpose=Purpose.ROUTE,
                units={line.line_id: line.quantity for line in order.lines},
                promised_deliver_by=committed or promised,
            )
            try:
                request = decision_request(order, wanted, order.placed_at, base, rates)
                revenue = tuple(_revenue(x, order.currency, base, rates) for x in order.lines)
            except NoRateError as error:
                self.left_out.append(LeftOut(f"order '{order.order_id}'", str(error)))
                continue
            found.append(SimulatedOrder(request, revenue))
        return sorted(found, key=lambda x: (x.request.now, x.request.request_id))

    def _know(self, order: Order) -> None:
        fresh = {line.sku for line in order.lines if line.sku not in self.products}
        self.products |= self._source.products(fresh)


def _revenue(line: OrderLine, currency: str, base: str, rates: Mapping[str, str]) -> int:
    net = line.unit_price * line.quantity - line.discount
    return int(to_base(net, currency, base, rates) * MICROS)
