"""An API over a fresh database with a small network, called as a person on this machine would."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, func, select, table, text

from config.settings import Settings
from domain.catalogue import Product
from domain.fulfillments import FulfillmentLine, FulfillmentOrder
from domain.network import (
    CarrierService,
    Connection,
    ConnectionClass,
    Network,
    Node,
    NodeKind,
    Place,
)
from domain.orders import ServiceLevel
from domain.policy_rollout import Scope
from domain.process_policy import ProcessPolicy
from domain.routing.policy import RoutingPolicy
from starter.api.app import create_app
from store import fulfillments, inventory, network, policies
from store.engine import transaction
from store.inventory import StockCount

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
TABLES = ("orders", "order_versions", "order_lines", "messages", "addresses", "operations")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, by: timedelta) -> None:
        self.now += by


NETWORK = Network(
    base_currency="USD",
    connections=(
        Connection(connection_id="wms-a", kind=ConnectionClass.WMS, vendor="reference"),
        Connection(connection_id="wms-b", kind=ConnectionClass.WMS, vendor="reference"),
        Connection(connection_id="carrier-a", kind=ConnectionClass.CARRIER, vendor="reference"),
        Connection(connection_id="shop-eu", kind=ConnectionClass.CAPTURE, vendor="generic"),
    ),
    services=(
        CarrierService(
            service_id="ground",
            connection_id="carrier-a",
            carrier="Parcel",
            level=ServiceLevel.STANDARD,
            base=Decimal("5.00"),
        ),
    ),
    nodes=(
        Node(
            node_id="dc-1",
            kind=NodeKind.DC,
            place=Place(country="US", region="NJ", postal_code="07114"),
            services=("ground",),
            connection_id="wms-a",
        ),
        Node(
            node_id="store-1",
            kind=NodeKind.STORE,
            place=Place(country="US", region="NY", postal_code="10001"),
            services=("ground",),
            offers_pickup=True,
        ),
    ),
)
PRODUCTS = (
    Product(sku="TEE", units={"EA": 1, "CS": 12, "PL": 480_000}, weight_grams=200),
    Product(sku="MUG", weight_grams=350),
)

ORDER: dict[str, Any] = {
    "order_id": "W-1",
    "source": "shop",
    "external_id": "1001",
    "currency": "USD",
    "placed_at": "2026-03-02T14:00:00Z",
    "customer": {"customer_id": "C-7", "name": "Ada Example", "email": "ada@example.com"},
    "ship_groups": [
        {
            "id": "1",
            "address": {
                "name": "Ada Example",
                "line1": "1 Main St",
                "region": "NY",
                "postal_code": "10001",
                "country": "US",
            },
        }
    ],
    "lines": [{"line_id": "1", "sku": "TEE", "quantity": 2, "unit_price": "19.90"}],
}


def order_document(**changes: Any) -> dict[str, Any]:
    """A valid order with top-level fields changed."""
    return {**copy.deepcopy(ORDER), **changes}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        _env_file=None, database_url=database_url, webhook_secret=SECRET, hash_secret="pepper"
    )


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """The database with network, catalogue, 100 units of each product and active policies."""
    with transaction(engine) as session:
        network.import_network(session, NETWORK, PRODUCTS, NOW)
        rows = [
            StockCount(node_id=node.node_id, sku=product.sku, quantity=100, counted_at=NOW)
            for node in NETWORK.nodes
            for product in PRODUCTS
        ]
        inventory.set_stock(session, rows, key="first", now=NOW)
        for kind, policy in (
            ("routing", RoutingPolicy(name="standard")),
            ("process", ProcessPolicy(name="standard")),
        ):
            version = policies.publish(session, kind, policy.model_dump(mode="json"), NOW)
            policies.activate(session, version, Scope(), NOW)
    return engine


@pytest.fixture
def app(settings: Settings, filled: Engine, clock: Clock) -> FastAPI:
    return create_app(settings, filled, clock=clock)


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Calls as the person on this machine, without a key."""
    async with calling(app) as client:
        yield client


def calling(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    """A client on this machine that sends those headers with every call."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


def rows_of(engine: Engine) -> dict[str, int]:
    """How many rows each table that an order can touch has."""
    with engine.connect() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table(name))).scalar_one()
            for name in TABLES
        }


def messages_of(engine: Engine) -> list[dict[str, Any]]:
    """Every message, oldest first."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM messages ORDER BY id")).mappings()
        return [dict(row) for row in found]


def release_fulfillment(
    engine: Engine, fulfillment_id: str = "W-1-1", node_id: str = "dc-1", method: str = "ship"
) -> FulfillmentOrder:
    """A fulfillment of 2 TEE for order W-1, as if just released to its node."""
    order = FulfillmentOrder(
        fulfillment_id=fulfillment_id,
        order_id="W-1",
        node_id=node_id,
        ship_group="1",
        method=method,
        service_id="ground",
        lines=(FulfillmentLine(line_id="1", sku="TEE", quantity=2),),
    )
    with transaction(engine) as session:
        fulfillments.add_fulfillments(session, 1, [order], NOW)
    return order


async def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for the condition to give something true, and give that."""
    async with asyncio.timeout(seconds):
        while True:
            found = await asyncio.to_thread(condition)
            if found:
                return found
            await asyncio.sleep(0.02)
