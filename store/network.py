"""The fulfillment network, the catalogue and exchange rates."""

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import Session

from domain.catalogue import Product
from domain.errors import UnknownReferenceError
from domain.network import CarrierService, Connection, DistributionGroup, Network, Node
from domain.values import Model
from store.columns import query, statement

_NO_VERSION = "0"


def _upsert(table: str, key: str, *columns: str) -> tuple[Any, Any]:
    every = (key, *columns, "content_hash", "document")
    updates = ", ".join(f"{column} = excluded.{column}" for column in every[1:])
    values = ", ".join(f":{column}" for column in every)
    return (
        statement(
            f"INSERT INTO {table} ({', '.join(every)}) VALUES ({values})"  # noqa: S608 (own names)
            f" ON CONFLICT ({key}) DO UPDATE SET {updates}",
            table,
        ),
        query(f"SELECT {key}, content_hash FROM {table}", table),  # noqa: S608 (own names)
    )


_NODES = _upsert("nodes", "node_id", "daily_units", "daily_orders", "connection_id", "active")
_CONNECTIONS = _upsert("connections", "connection_id", "kind")
_GROUPS = _upsert("distribution_groups", "group_id")
_SERVICES = _upsert("services", "service_id", "connection_id", "carrier")
_PRODUCTS = _upsert("products", "sku", "supply_mode")
_STATE = query("SELECT version, base_currency FROM network_state WHERE id = 1", "network_state")
_SET_STATE = statement(
    "INSERT INTO network_state (id, version, base_currency, changed_at)"
    " VALUES (1, :version, :base_currency, :changed_at)"
    " ON CONFLICT (id) DO UPDATE SET version = excluded.version,"
    " base_currency = excluded.base_currency, changed_at = excluded.changed_at",
    "network_state",
)
_SET_RATE = statement(
    "INSERT INTO exchange_rates (currency, rate) VALUES (:currency, :rate)"
    " ON CONFLICT (currency) DO UPDATE SET rate = excluded.rate",
    "exchange_rates",
)
_RATES = query("SELECT currency, rate FROM exchange_rates ORDER BY currency", "exchange_rates")
_ALL_NODES = query("SELECT document FROM nodes ORDER BY node_id", "nodes")
_ALL_CONNECTIONS = query("SELECT document FROM connections ORDER BY connection_id", "connections")
_ALL_GROUPS = query(
    "SELECT document FROM distribution_groups ORDER BY group_id", "distribution_groups"
)
_ALL_SERVICES = query("SELECT document FROM services ORDER BY service_id", "services")
_ONE_NODE = query("SELECT document FROM nodes WHERE node_id = :node_id", "nodes")
_ONE_CONNECTION = query(
    "SELECT document FROM connections WHERE connection_id = :connection_id", "connections"
)
_SOME_PRODUCTS = query(
    "SELECT sku, document FROM products WHERE sku IN :skus", "products", lists=["skus"]
)
_LOCK = statement("SELECT pg_advisory_xact_lock(7237)")


def import_network(
    session: Session, network: Network, products: Iterable[Product], now: datetime
) -> str:
    """Add or replace connections, services, nodes, groups and products; the version afterwards.

    What the import does not name stays. An import that changes nothing keeps the version.
    """
    _one_at_a_time(session)
    changes = [
        *_put(session, _CONNECTIONS, "connection_id", network.connections, _connection_columns),
        *_put(session, _SERVICES, "service_id", network.services, _service_columns),
        *_put(session, _NODES, "node_id", network.nodes, _node_columns),
        *_put(session, _GROUPS, "group_id", network.groups, lambda x: {"group_id": x.group_id}),
        *_put(session, _PRODUCTS, "sku", products, _product_columns),
    ]
    version, currency = _state(session)
    if network.base_currency != currency:
        changes.append(network.base_currency)
    return _next_version(session, version, network.base_currency, changes, now)


def set_exchange_rates(session: Session, rates: Mapping[str, Decimal], now: datetime) -> str:
    """Set units of the base currency for one unit of each currency; the network version after."""
    _one_at_a_time(session)
    known = exchange_rates(session)
    rows = [
        {"currency": currency, "rate": str(rate)}
        for currency, rate in sorted(rates.items())
        if known.get(currency) != str(rate)
    ]
    if rows:
        session.execute(_SET_RATE, rows)
    version, currency = _state(session)
    return _next_version(session, version, currency, [str(row) for row in rows], now)


def exchange_rates(session: Session) -> dict[str, str]:
    """Currency -> units of the base currency for one unit of it, as a decimal string."""
    return {row.currency: row.rate for row in session.execute(_RATES)}


def network_version(session: Session) -> str:
    """Changes whenever a node, service, connection, product or exchange rate does."""
    return _state(session)[0]


def load_network(session: Session) -> Network:
    """The whole network as it is now."""
    _, currency = _state(session)
    return Network(
        base_currency=currency,
        connections=tuple(
            Connection.model_validate(row.document) for row in session.execute(_ALL_CONNECTIONS)
        ),
        services=tuple(
            CarrierService.model_validate(row.document) for row in session.execute(_ALL_SERVICES)
        ),
        nodes=tuple(Node.model_validate(row.document) for row in session.execute(_ALL_NODES)),
        groups=tuple(distribution_groups(session).values()),
    )


def distribution_groups(session: Session) -> dict[str, DistributionGroup]:
    """Every distribution group by id."""
    rows = session.execute(_ALL_GROUPS).scalars()
    groups = (DistributionGroup.model_validate(document) for document in rows)
    return {group.group_id: group for group in groups}


def node(session: Session, node_id: str) -> Node:
    """One node. Raises UnknownReferenceError."""
    row = session.execute(_ONE_NODE, {"node_id": node_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(f"no node '{node_id}': import it with the network first")
    return Node.model_validate(row.document)


def connection(session: Session, connection_id: str) -> Connection:
    """One connection. Raises UnknownReferenceError."""
    row = session.execute(_ONE_CONNECTION, {"connection_id": connection_id}).one_or_none()
    if row is None:
        raise UnknownReferenceError(
            f"no connection '{connection_id}': import it with the network first"
        )
    return Connection.model_validate(row.document)


def products(session: Session, skus: Iterable[str]) -> dict[str, Product]:
    """The known ones of these products by SKU; unknown SKUs are left out."""
    rows = session.execute(_SOME_PRODUCTS, {"skus": sorted(set(skus))})
    return {row.sku: Product.model_validate(row.document) for row in rows}


def connections(session: Session) -> dict[str, Connection]:
    """Every connection by id."""
    return dict(known_network(session).connections)


def services_of(session: Session, node_id: str) -> tuple[CarrierService, ...]:
    """The carrier services a node may use, by service id. Raises UnknownReferenceError."""
    known = known_network(session)
    for one in known.nodes:
        if one.node_id == node_id:
            return tuple(x for x in known.services if x.service_id in one.services)
    raise UnknownReferenceError(f"no node '{node_id}': import it with the network first")


def base_currency(session: Session) -> str:
    """The currency that costs and values are compared in."""
    return _state(session)[1]


class KnownNetwork(Model):
    """The parsed network of one version."""

    version: str
    base_currency: str
    nodes: tuple[Node, ...]
    services: tuple[CarrierService, ...]
    connections: dict[str, Connection]
    exchange_rates: dict[str, str]
    daily_limits: dict[str, tuple[int, int]]
    """Node id -> units and orders per local work date."""
    by_id: dict[str, Node]
    groups: dict[str, frozenset[str]]
    """Distribution group -> its nodes."""
    groups_of: dict[str, frozenset[str]]
    """Node id -> the distribution groups it is in."""


class _Cache:
    """The parsed network and products of one version, shared by a process's threads.

    Versions are hashes of content, so a version means the same in every database.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._network: KnownNetwork | None = None
        self._products: dict[str, Product] = {}

    def network(self, session: Session) -> KnownNetwork:
        version = network_version(session)
        known = self._network
        if known is not None and known.version == version:
            return known
        loaded = load_network(session)
        fresh = KnownNetwork(
            version=version,
            base_currency=loaded.base_currency,
            nodes=loaded.nodes,
            services=loaded.services,
            connections={one.connection_id: one for one in loaded.connections},
            exchange_rates=exchange_rates(session),
            daily_limits={x.node_id: (x.daily_units, x.daily_orders) for x in loaded.nodes},
            by_id={x.node_id: x for x in loaded.nodes},
            groups={
                group.group_id: frozenset(x.node_id for x in loaded.nodes if group.holds(x))
                for group in loaded.groups
            },
            groups_of={
                x.node_id: frozenset(g.group_id for g in loaded.groups if g.holds(x))
                for x in loaded.nodes
            },
        )
        with self._lock:
            self._network, self._products = fresh, {}
        return fresh

    def products(self, session: Session, skus: set[str], version: str) -> dict[str, Product]:
        known = self._known_products(skus, version)
        missing = skus - known.keys()
        if missing:
            found = products(session, missing)
            known |= found
            with self._lock:
                if self._network is not None and self._network.version == version:
                    self._products |= found
        return {sku: known[sku] for sku in sorted(known)}

    def _known_products(self, skus: set[str], version: str) -> dict[str, Product]:
        with self._lock:
            if self._network is None or self._network.version != version:
                return {}
            return {sku: self._products[sku] for sku in skus & self._products.keys()}


_cache = _Cache()


def known_network(session: Session) -> KnownNetwork:
    """The network as it is now, parsed once per process and version."""
    return _cache.network(session)


def known_products(session: Session, skus: Iterable[str], version: str) -> dict[str, Product]:
    """Like `products`, parsed once per process for the network version just read."""
    return _cache.products(session, set(skus), version)


def _one_at_a_time(session: Session) -> None:
    # Versions follow one another, so imports must too; SQLite has one writer anyway.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_LOCK)


def _state(session: Session) -> tuple[str, str]:
    row = session.execute(_STATE).one_or_none()
    return (_NO_VERSION, "USD") if row is None else (row.version, row.base_currency)


def _next_version(
    session: Session, version: str, currency: str, changes: Sequence[str], now: datetime
) -> str:
    # A chain of hashes: equal imports in equal order give equal versions in every database.
    if not changes:
        return version
    following = _hash("\n".join([version, *changes]))[:24]
    session.execute(
        _SET_STATE, {"version": following, "base_currency": currency, "changed_at": now}
    )
    return following


def _put(session: Session, sql: tuple[Any, Any], key: str, items: Any, columns: Any) -> list[str]:
    upsert, known_hashes = sql
    known = {row[0]: row[1] for row in session.execute(known_hashes)}
    rows = [_row(item, columns(item)) for item in items]
    changed_rows = [row for row in rows if known.get(row[key]) != row["content_hash"]]
    if changed_rows:
        session.execute(upsert, changed_rows)
    return [f"{key} {row[key]} {row['content_hash']}" for row in changed_rows]


def _row(item: BaseModel, columns: dict[str, Any]) -> dict[str, Any]:
    document = item.model_dump(mode="json")
    content_hash = _hash(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return {**columns, "document": document, "content_hash": content_hash}


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _node_columns(item: Node) -> dict[str, Any]:
    return {
        "node_id": item.node_id,
        "daily_units": item.daily_units,
        "daily_orders": item.daily_orders,
        "connection_id": item.connection_id,
        "active": item.active,
    }


def _connection_columns(item: Connection) -> dict[str, Any]:
    return {"connection_id": item.connection_id, "kind": item.kind.value}


def _service_columns(item: CarrierService) -> dict[str, Any]:
    return {
        "service_id": item.service_id,
        "connection_id": item.connection_id,
        "carrier": item.carrier,
    }


def _product_columns(item: Product) -> dict[str, Any]:
    return {"sku": item.sku, "supply_mode": item.supply_mode.value}
