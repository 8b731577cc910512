"""Reading the inputs of the availability view: all of them, or those of some SKUs and nodes."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from domain.routing.facts import DayCapacity, NetworkFacts, SkuStock, compile_network
from store.columns import ByPairs, query, statement
from store.ledger import SELLABLE
from store.network import known_network
from store.view import WESTERNMOST, Closed, CoolOff

_ROWS_AT_ONCE = 20_000
_MADE_TO_ORDER = "SELECT sku FROM products WHERE supply_mode <> 'stocked'"
# Where a product needs no stock, a node that has none of it still carries it.
_POSITIONS = (
    f"SELECT sku, node_id, {SELLABLE} FROM positions"  # noqa: S608 (own names)
    f" WHERE ({SELLABLE} > 0 OR sku IN ({_MADE_TO_ORDER}))"
)
_ALL_POSITIONS = statement(_POSITIONS)
_POSITIONS_OF = statement(f"{_POSITIONS} AND sku IN :skus", "positions", lists=["skus"])
_SOME_POSITIONS = ByPairs(
    f"t.sku, t.node_id, {SELLABLE} AS ats,"
    f" CASE WHEN t.sku IN ({_MADE_TO_ORDER}) THEN 1 ELSE 0 END AS endless",
    "positions",
    "",
)
_OWN = (
    f"SELECT channel, sku, node_id, {SELLABLE} + quantity FROM protections"  # noqa: S608 (own names)
    " JOIN positions USING (sku, node_id) WHERE quantity > 0"
)
_ALL_OWN = statement(_OWN)
_OWN_OF = statement(f"{_OWN} AND sku IN :skus", "protections", lists=["skus"])
_PRODUCTS = "SELECT sku, CAST(document AS TEXT) FROM products"
_ALL_PRODUCTS = statement(_PRODUCTS)
_PRODUCTS_OF = statement(f"{_PRODUCTS} WHERE sku IN :skus", "products", lists=["skus"])
_CAPACITY = (
    "SELECT node_id, work_date, units_used, orders_used FROM capacity WHERE work_date >= :work_date"
)
_ALL_CAPACITY = statement(_CAPACITY, "capacity")
_CAPACITY_OF = statement(f"{_CAPACITY} AND node_id IN :node_ids", "capacity", lists=["node_ids"])
_COOL_OFFS = query("SELECT node_id, sku, until, reason FROM cool_offs", "cool_offs")
_CLOSED = query("SELECT sku, node_id, until FROM exclusions", "exclusions")
_VERSION = statement("SELECT max(id) FROM ledger")
_SKUS_AFTER = statement(
    "SELECT sku FROM products WHERE sku > :sku ORDER BY sku LIMIT :most", "products"
)

Capacity = dict[str, dict[int, tuple[int, int]]]
"""Local work date -> node index -> units and orders left."""
Own = dict[str, dict[str, dict[int, int]]]
"""SKU -> channel -> node index -> units."""

_compiled: dict[str, NetworkFacts] = {}


def read_network(connection: Connection) -> NetworkFacts:
    """The whole network, compiled once per process and version."""
    with Session(bind=connection) as session:
        known = known_network(session)
    network = _compiled.get(known.version)
    if network is None:
        network = compile_network(
            known.nodes, known.services, known.base_currency, known.exchange_rates, known.version
        )
        _compiled.clear()
        _compiled[known.version] = network
    return network


def read_version(connection: Connection) -> str:
    """The last ledger row: what decisions record as the version of availability."""
    return str(connection.execute(_VERSION).scalar_one() or 0)


def read_all_stock(connection: Connection, index: Mapping[str, int]) -> dict[str, SkuStock]:
    """Every SKU's sellable units. Millions of rows: read in pieces, kept in two long arrays."""
    codes: dict[str, int] = {}
    pieces: list[NDArray[np.int64]] = [np.empty((0, 3), dtype=np.int64)]
    for rows in _streamed(connection, _ALL_POSITIONS):
        piece = [
            (codes.setdefault(sku, len(codes)), index.get(node_id, -1), max(0, ats))
            for sku, node_id, ats in rows
        ]
        pieces.append(np.array(piece, dtype=np.int64))
    table = np.concatenate(pieces)
    table = table[table[:, 1] >= 0]
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    nodes, units = table[:, 1].astype(np.int32), np.ascontiguousarray(table[:, 2])
    ends = np.searchsorted(table[:, 0], np.arange(len(codes)), side="right").tolist()
    return {
        sku: SkuStock(nodes[start:end], units[start:end])
        for sku, start, end in zip(codes, [0, *ends], ends, strict=False)
        if end > start
    }


def read_stock_of(
    connection: Connection, skus: Iterable[str], index: Mapping[str, int]
) -> dict[str, SkuStock]:
    """All sellable units of these SKUs; those that no node has are left out."""
    found: dict[str, list[tuple[int, int]]] = {}
    for sku, node_id, ats in connection.execute(_POSITIONS_OF, {"skus": sorted(skus)}):
        if node_id in index:
            found.setdefault(sku, []).append((index[node_id], max(0, ats)))
    return {sku: _stock_of_rows(rows) for sku, rows in found.items()}


def read_positions(
    connection: Connection, pairs: Iterable[tuple[str, str]], index: Mapping[str, int]
) -> dict[str, dict[int, int | None]]:
    """SKU -> node index -> sellable units of these (node id, SKU); None: none, and not carried."""
    asked = set(pairs)
    found: dict[str, dict[int, int | None]] = {}
    for node_id, sku in asked:
        if node_id in index:
            found.setdefault(sku, {})[index[node_id]] = None
    with Session(bind=connection) as session:
        for row in _SOME_POSITIONS.rows(session, asked):
            if row.node_id in index and (row.ats > 0 or row.endless):
                found[row.sku][index[row.node_id]] = max(0, row.ats)
    return found


def read_own(
    connection: Connection, index: Mapping[str, int], skus: Iterable[str] | None = None
) -> Own:
    """What channels may take where units are protected for them, of these SKUs or of all."""
    sql, parameters = _of_some(_ALL_OWN, _OWN_OF, skus)
    found: Own = {}
    for channel, sku, node_id, units in connection.execute(sql, parameters):
        if node_id in index:
            there = found.setdefault(sku, {}).setdefault(channel, {})
            there[index[node_id]] = max(0, units)
    return found


def read_closed(connection: Connection) -> dict[str, tuple[Closed, ...]]:
    """Nodes whose units are not promised, by SKU; empty SKU: for all."""
    found: dict[str, list[Closed]] = {}
    for row in connection.execute(_CLOSED):
        found.setdefault(row.sku, []).append(Closed(row.node_id, row.until))
    return {sku: tuple(sorted(rows, key=lambda x: x.node_id)) for sku, rows in found.items()}


def read_products(connection: Connection, skus: Iterable[str] | None = None) -> dict[str, bytes]:
    """Documents of these products, or of all."""
    sql, parameters = _of_some(_ALL_PRODUCTS, _PRODUCTS_OF, skus)
    return {
        sku: document.encode()
        for rows in _streamed(connection, sql, parameters)
        for sku, document in rows
    }


def read_capacity(
    connection: Connection,
    network: NetworkFacts,
    now: datetime,
    node_ids: Iterable[str] | None = None,
) -> Capacity:
    """What is left of days from now on that are used already, at these nodes or at all."""
    # The earliest date it still is anywhere, so that no node's "today" is left out.
    parameters: dict[str, Any] = {"work_date": (now - WESTERNMOST).date().isoformat()}
    sql = _ALL_CAPACITY
    if node_ids is not None:
        sql, parameters["node_ids"] = _CAPACITY_OF, sorted(node_ids)
    left: Capacity = {}
    for node_id, day, units, orders in connection.execute(sql, parameters):
        number = network.index.get(node_id)
        if number is not None:
            node = network.nodes[number]
            there = (node.daily_units - units, node.daily_orders - orders)
            left.setdefault(day, {})[number] = there
    return left


def day_of(rows: Mapping[int, tuple[int, int]]) -> DayCapacity:
    """One day's capacity as arrays."""
    numbers = sorted(rows)
    left = np.array([rows[x] for x in numbers], dtype=np.int64).reshape(-1, 2)
    return DayCapacity(
        np.array(numbers, dtype=np.int32),
        np.ascontiguousarray(left[:, 0]),
        np.ascontiguousarray(left[:, 1]),
    )


def read_cool_offs(connection: Connection, now: datetime) -> dict[str, tuple[CoolOff, ...]]:
    """Nodes that cool off, by SKU; those that are over are left out."""
    found: dict[str, list[CoolOff]] = {}
    for row in connection.execute(_COOL_OFFS):
        if row.until > now:
            one = CoolOff(row.node_id, row.sku, row.until, row.reason)
            found.setdefault(row.sku, []).append(one)
    return {sku: tuple(sorted(rows)) for sku, rows in found.items()}


def skus_after(connection: Connection, sku: str, most: int) -> list[str]:
    """The next SKUs of the catalogue in its order; empty at its end."""
    rows = connection.execute(_SKUS_AFTER, {"sku": sku, "most": most})
    return list(rows.scalars())


def _of_some(all_rows: Any, some: Any, skus: Iterable[str] | None) -> tuple[Any, dict[str, Any]]:
    return (all_rows, {}) if skus is None else (some, {"skus": sorted(skus)})


def _stock_of_rows(rows: list[tuple[int, int]]) -> SkuStock:
    table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 2)
    return SkuStock(table[:, 0].astype(np.int32), np.ascontiguousarray(table[:, 1]))


def _streamed(
    connection: Connection, sql: Any, parameters: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    streaming = {"stream_results": True, "yield_per": _ROWS_AT_ONCE}
    return connection.execute(sql, parameters, execution_options=streaming).partitions()
