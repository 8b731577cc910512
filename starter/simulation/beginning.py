"""What lies where before a simulation's first order: by a file, by the ledger, or as it is now."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from domain.catalogue import Product
from domain.errors import FinalError
from domain.routing.facts import (
    DayCapacity,
    NetworkFacts,
    SkuStock,
    is_made_to_order,
    needed_skus,
)
from domain.simulated_world import Kept, Start, StockChange
from starter.bulk.loaded import UnreadableInputError
from starter.bulk.stock_lines import read_stock
from starter.simulation.asked import Asked, Period
from starter.simulation.sources import Source, Units
from store.engine import reading
from store.stock_history import other_changes, sellable_as_of
from store.view import AvailabilityView


def start_of(
    asked: Asked,
    source: Source,
    products: Mapping[str, Product],
    engine: Engine | None,
    notes: list[str],
) -> Start:
    """The stock, supply and capacity of the first moment; `notes` gets what was assumed.

    Raises FinalError when stock cannot be read.
    """
    network = source.facts()
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
