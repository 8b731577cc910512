"""A generated network with sparse stock, written straight into a database: a million positions."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import Engine, text

from config.samples import load_exchange_rates, load_sample
from domain.catalogue import Product
from domain.network import Network, Node, NodeKind, Place
from starter.commands.preparation import activate_policy
from store import network
from store.engine import migrate, transaction

SEED = 7
NODES_OF_A_SKU = 21
"""Nodes that hold a SKU on average."""
_DC_SHARE = 0.02
_ROWS_AT_ONCE = 20_000
_CITIES = (
    ("CA", 34.05, -118.24),
    ("CA", 37.77, -122.42),
    ("NY", 40.71, -74.01),
    ("IL", 41.88, -87.63),
    ("TX", 29.76, -95.37),
    ("TX", 32.78, -96.80),
    ("AZ", 33.45, -112.07),
    ("PA", 39.95, -75.17),
    ("FL", 25.76, -80.19),
    ("GA", 33.75, -84.39),
    ("WA", 47.61, -122.33),
    ("CO", 39.74, -104.99),
    ("MA", 42.36, -71.06),
    ("OH", 39.96, -83.00),
    ("MN", 44.98, -93.27),
    ("NV", 39.53, -119.81),
)
_POSITION = text(
    "INSERT INTO positions (sku, node_id, usable, damaged, quarantine, suspect, held, reserved,"
    " released, claimed, safety_stock, protected)"
    " VALUES (:sku, :node_id, :units, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
)
_LEDGER = text(
    "INSERT INTO ledger (key, at, node_id, sku, bucket, delta, kind)"
    " VALUES ('bench/stock', :at, :node_id, :sku, 'usable', :units, 'receive')"
)


def sku_name(number: int) -> str:
    """The SKU of that number."""
    return f"SKU-{number:06}"


def places(chance: random.Random) -> Iterator[Place]:
    """Places around large cities, without end."""
    while True:
        region, latitude, longitude = chance.choice(_CITIES)
        yield Place(
            country="US",
            region=region,
            latitude=round(latitude + chance.gauss(0, 1), 4),
            longitude=round(longitude + chance.gauss(0, 1), 4),
        )


def nodes_like_the_sample(count: int) -> list[Node]:
    """So many nodes: distribution centres and stores of the sample, all over the country."""
    sample = load_sample().network.nodes
    center = next(x for x in sample if x.kind is NodeKind.DC)
    store = next(x for x in sample if x.kind is NodeKind.STORE)
    chance = random.Random(SEED)  # noqa: S311 (a generated world, no secret)
    centers = max(1, round(_DC_SHARE * count))
    return [
        (center if number < centers else store).model_copy(
            update={
                "node_id": f"dc-{number:04}" if number < centers else f"store-{number:04}",
                "place": place,
                "daily_units": 100_000 if number < centers else 2_000,
                "daily_orders": 50_000 if number < centers else 1_000,
            }
        )
        for number, place in enumerate(islice(places(chance), count))
    ]


def stock_rows(nodes: list[Node], skus: int) -> Iterator[dict[str, Any]]:
    """Sparse stock: each SKU in an eighth of the centres and in some stores."""
    chance = random.Random(SEED + 1)  # noqa: S311 (a generated world, no secret)
    centers = [x.node_id for x in nodes if x.kind is NodeKind.DC]
    stores = [x.node_id for x in nodes if x.kind is not NodeKind.DC]
    of_centers = max(1, len(centers) // 8)
    of_stores = min(len(stores), NODES_OF_A_SKU - of_centers)
    for number in range(skus):
        sku = sku_name(number)
        for node_id in chance.sample(centers, of_centers):
            yield {"sku": sku, "node_id": node_id, "units": chance.randint(200, 2_000)}
        for node_id in chance.sample(stores, of_stores):
            yield {"sku": sku, "node_id": node_id, "units": chance.randint(1, 20)}


def fill(engine: Engine, nodes: int, skus: int) -> int:
    """Migrate the database and write the world into it; how many positions it has."""
    migrate(engine)
    now = datetime.now(UTC)
    sample = load_sample()
    generated = nodes_like_the_sample(nodes)
    products = [Product(sku=sku_name(n), weight_grams=100 + n % 900) for n in range(skus)]
    whole = Network(
        base_currency=sample.network.base_currency,
        connections=sample.network.connections,
        services=sample.network.services,
        nodes=tuple(generated),
    )
    with transaction(engine) as session:
        network.import_network(session, whole, products, now)
        rates = load_exchange_rates().into(whole.base_currency)
        network.set_exchange_rates(session, rates, now)
        for policy in sample.policies:
            activate_policy(session, policy, now)
    written = 0
    rows = stock_rows(generated, skus)
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        with transaction(engine) as session:
            session.execute(_POSITION, chunk)
            at = now.replace(tzinfo=None) if engine.dialect.name == "sqlite" else now
            session.execute(_LEDGER, [{**row, "at": at} for row in chunk])
        written += len(chunk)
    # What was loaded before anyone looks need not be told one by one.
    with transaction(engine) as session:
        session.execute(text("DELETE FROM changes"))
    return written
