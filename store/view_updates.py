"""Making an availability view, whole or of some SKUs, and moving one along the change feed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine

from domain.routing.facts import DayCapacity, NetworkFacts
from store import view_reading as reading
from store.changes import Change, place_of
from store.view import NO_NETWORK, NO_STOCK, WESTERNMOST, AvailabilityView, changed_stock
from store.view_inbound import read_inbound

Keys = set[tuple[str, str]]
"""(node id, SKU) of changed rows."""
Parts = dict[str, Any]
"""Fields of a view with their new values."""


@contextmanager
def one_moment(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one snapshot of the database until it is given back."""
    # SQLite's transactions do so by themselves.
    options = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def read_view(connection: Connection, now: datetime) -> AvailabilityView:
    """Every input as this connection's snapshot has it. Seconds for a million positions."""
    network = reading.read_network(connection)
    return AvailabilityView(
        place=place_of(connection),
        availability_version=reading.read_version(connection),
        network=network,
        stock=reading.read_all_stock(connection, network.index),
        own=reading.read_own(connection, network.index),
        products=reading.read_products(connection),
        inbound=read_inbound(connection),
        **small_parts(connection, network, now),
    )


def view_of(connection: Connection, skus: Iterable[str], now: datetime) -> AvailabilityView:
    """Like `read_view`, of these SKUs and kits' parts only: cheap to read for one order."""
    products = reading.read_products(connection, skus)
    known = AvailabilityView("", "", NO_NETWORK, products=products)
    wanted = known.needed(skus)
    if len(wanted) > len(products):
        products |= reading.read_products(connection, set(wanted) - products.keys())
    network = reading.read_network(connection)
    return AvailabilityView(
        place=place_of(connection),
        availability_version=reading.read_version(connection),
        network=network,
        stock=reading.read_stock_of(connection, wanted, network.index),
        own=reading.read_own(connection, network.index, wanted),
        products=products,
        inbound=read_inbound(connection, wanted),
        **small_parts(connection, network, now),
    )


def small_parts(connection: Connection, network: NetworkFacts, now: datetime) -> Parts:
    """What is small enough to be read whole each time: capacity, closed nodes, cool-offs."""
    left = reading.read_capacity(connection, network, now)
    return {
        "capacity": {day: reading.day_of(rows) for day, rows in left.items()},
        "closed": reading.read_closed(connection),
        "cool_offs": reading.read_cool_offs(connection, now),
    }


def moved(
    connection: Connection,
    view: AvailabilityView,
    place: str,
    changes: Iterable[Change],
    now: datetime,
) -> AvailabilityView:
    """The view with the changed rows read anew; `connection` must see exactly that place."""
    by_topic: dict[str, Keys] = {}
    for change in changes:
        by_topic.setdefault(change.topic, set()).add((change.node_id, change.sku))
    if "network_state" in by_topic:
        network = reading.read_network(connection)
        if network.index != view.network.index:
            return read_view(connection, now)
        view = replace(view, network=network)
        # Daily limits may have changed.
        by_topic.setdefault("capacity", set()).update((node_id, "") for node_id in network.index)
    for topic, keys in by_topic.items():
        if topic in _READ_ANEW:
            view = replace(view, **_READ_ANEW[topic](connection, view, keys, now))
    return view.at(place, reading.read_version(connection))


def _positions(connection: Connection, view: AvailabilityView, keys: Keys, _: datetime) -> Parts:
    stock = dict(view.stock)
    for sku, units in reading.read_positions(connection, keys, view.network.index).items():
        following = changed_stock(stock.get(sku, NO_STOCK), units)
        if following.nodes.size:
            stock[sku] = following
        else:
            stock.pop(sku, None)
    skus = {sku for _, sku in keys}
    return {
        "stock": stock,
        **_own(connection, view, view.own.keys() & skus),
        **_inbound(connection, view, view.inbound.keys() & skus),
    }


def _protections(connection: Connection, view: AvailabilityView, keys: Keys, _: datetime) -> Parts:
    skus = {sku for _, sku in keys}
    return {
        **_own(connection, view, skus),
        **_inbound(connection, view, view.inbound.keys() & skus),
    }


def _own(connection: Connection, view: AvailabilityView, skus: set[str]) -> Parts:
    if not skus:
        return {}
    fresh = reading.read_own(connection, view.network.index, skus)
    return {"own": swapped(view.own, skus, fresh)}


def _products(connection: Connection, view: AvailabilityView, keys: Keys, _: datetime) -> Parts:
    skus = {sku for _, sku in keys}
    # A product that now needs no stock is carried by nodes that have none of it.
    stock = reading.read_stock_of(connection, skus, view.network.index)
    return {
        "products": swapped(view.products, skus, reading.read_products(connection, skus)),
        "stock": swapped(view.stock, skus, stock),
    }


def _supply(connection: Connection, view: AvailabilityView, keys: Keys, _: datetime) -> Parts:
    return _inbound(connection, view, {sku for _, sku in keys})


def _backorders(connection: Connection, view: AvailabilityView, keys: Keys, _: datetime) -> Parts:
    return _inbound(connection, view, view.inbound.keys() & {sku for _, sku in keys})


def _stock_rules(connection: Connection, view: AvailabilityView, _: Keys, __: datetime) -> Parts:
    return _inbound(connection, view, set(view.inbound))


def _inbound(connection: Connection, view: AvailabilityView, skus: set[str]) -> Parts:
    if not skus:
        return {}
    return {"inbound": swapped(view.inbound, skus, read_inbound(connection, skus))}


def _capacity(connection: Connection, view: AvailabilityView, keys: Keys, now: datetime) -> Parts:
    node_ids = {node_id for node_id, _ in keys}
    changed = np.array(view.network.indexes_of(node_ids), dtype=np.int32)
    fresh = reading.read_capacity(connection, view.network, now, node_ids)
    today = (now - WESTERNMOST).date().isoformat()
    days = {day: _without(left, changed) for day, left in view.capacity.items() if day >= today}
    for day, rows in fresh.items():
        days[day] = _joined(days.get(day), reading.day_of(rows))
    return {"capacity": {day: left for day, left in days.items() if left.nodes.size}}


def _cool_offs(connection: Connection, _: AvailabilityView, __: Keys, now: datetime) -> Parts:
    return {"cool_offs": reading.read_cool_offs(connection, now)}


def _closed(connection: Connection, _: AvailabilityView, __: Keys, ___: datetime) -> Parts:
    return {"closed": reading.read_closed(connection)}


_READ_ANEW: dict[str, Callable[[Connection, AvailabilityView, Keys, datetime], Parts]] = {
    "products": _products,
    "positions": _positions,
    "protections": _protections,
    "supply": _supply,
    "backorders": _backorders,
    "stock_rules": _stock_rules,
    "capacity": _capacity,
    "cool_offs": _cool_offs,
    "exclusions": _closed,
}


def swapped(whole: Mapping[str, Any], skus: set[str], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """The whole with these SKUs as they are in `fresh`, or not at all."""
    # Copied as one and mended: going through tens of thousands of SKUs would take much longer.
    found = dict(whole)
    for sku in skus:
        found.pop(sku, None)
    found.update(fresh)
    return found


def _without(day: DayCapacity, nodes: Any) -> DayCapacity:
    out = np.isin(day.nodes, nodes)
    if not out.any():
        return day
    return DayCapacity(day.nodes[~out], day.units[~out], day.orders[~out])


def _joined(day: DayCapacity | None, other: DayCapacity) -> DayCapacity:
    if day is None:
        return other
    nodes = np.concatenate([day.nodes, other.nodes])
    order = np.argsort(nodes)
    return DayCapacity(
        nodes[order],
        np.concatenate([day.units, other.units])[order],
        np.concatenate([day.orders, other.orders])[order],
    )
