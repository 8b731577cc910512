"""Nodes, connections, services and products: documents with the few columns SQL itself needs."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field, SQLModel

from store.tables.types import UtcDateTime


class NodeRow(SQLModel, table=True):
    """A node. `daily_units` and `daily_orders` are the limits a reservation checks."""

    __tablename__ = "nodes"
    node_id: str = Field(primary_key=True)
    daily_units: int
    daily_orders: int
    connection_id: str | None = None
    active: bool
    content_hash: str
    document: dict[str, Any] = Field(sa_type=JSON)


class DistributionGroupRow(SQLModel, table=True):
    """A named set of nodes."""

    __tablename__ = "distribution_groups"
    group_id: str = Field(primary_key=True)
    content_hash: str
    document: dict[str, Any] = Field(sa_type=JSON)


class ConnectionRow(SQLModel, table=True):
    """An account at an outside system."""

    __tablename__ = "connections"
    connection_id: str = Field(primary_key=True)
    kind: str
    content_hash: str
    document: dict[str, Any] = Field(sa_type=JSON)


class ServiceRow(SQLModel, table=True):
    """A carrier's service."""

    __tablename__ = "services"
    service_id: str = Field(primary_key=True)
    connection_id: str
    carrier: str
    content_hash: str
    document: dict[str, Any] = Field(sa_type=JSON)


class ProductRow(SQLModel, table=True):
    """A product."""

    __tablename__ = "products"
    sku: str = Field(primary_key=True)
    supply_mode: str
    content_hash: str
    document: dict[str, Any] = Field(sa_type=JSON)


class ExchangeRateRow(SQLModel, table=True):
    """Units of the base currency for one unit of `currency`, as a decimal string."""

    __tablename__ = "exchange_rates"
    currency: str = Field(primary_key=True)
    rate: str


class NetworkStateRow(SQLModel, table=True):
    """One row (id 1): `version` changes whenever anything of the network or catalogue does."""

    __tablename__ = "network_state"
    id: int = Field(primary_key=True)
    version: str
    base_currency: str
    changed_at: datetime = Field(sa_type=UtcDateTime)


class NetworkVersionRow(SQLModel, table=True):
    """Nodes and services of a version that decisions looked at, as compressed JSON."""

    __tablename__ = "network_versions"
    version: str = Field(primary_key=True)
    record: bytes
