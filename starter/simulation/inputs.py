"""What a simulation runs on: orders, each as the kernel is asked for it, and all they meet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from config.settings import Settings
from domain.catalogue import Product
from domain.errors import FinalError
from domain.network import Node
from domain.orders import Order, OrderLine
from domain.planning import NoRateError, Wanted, decision_request, to_base
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
from store.stock_history import orders_placed


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
    left_out: list[LeftOut] = []
    notes: list[str] = []
    promised: dict[str, datetime] = {}
    if asked.history is not None and engine is not None:
        orders = _placed(engine, asked, promised)
        products = source.products({line.sku for order in orders for line in order.lines})
    else:
        documents = load(_orders_file(asked), asked.form, asked.limit)
        if isinstance(documents, OlistData):
            add_olist(source, documents, asked, notes)
        orders, products = _from_documents(documents, source, left_out)
    simulated = _simulated(orders, source, promised, left_out)
    if not simulated:
        why = f": {left_out[0].where}: {left_out[0].why}" if left_out else ""
        raise FinalError(f"there is no order to simulate{why}")
    start = start_of(asked, source, products, engine, notes)
    until = simulated[-1].request.now if asked.history is None else asked.history[1]
    return Inputs(start, simulated, named, until, left_out, notes)


def _orders_file(asked: Asked) -> Path:
    if asked.orders is None:
        raise FinalError("say which orders: --orders FILE, or --history FROM TO")
    return asked.orders


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


def _from_documents(
    documents: Iterable[LoadedOrder], source: Source, left_out: list[LeftOut]
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
            products |= source.products(fresh)
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
    source: Source,
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
