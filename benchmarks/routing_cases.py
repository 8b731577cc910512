"""Networks at real store sites, and generated orders with stock, as the kernel's facts."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np

from domain.catalogue import Product
from domain.network import CarrierService, Node, NodeKind, Place, WorkingHours
from domain.orders import ServiceLevel
from domain.routing.decision import DecisionRequest, Purpose, RequestGroup, RequestLine
from domain.routing.facts import (
    DayCapacity,
    KernelFacts,
    NetworkFacts,
    SkuStock,
    compile_network,
)

NOW = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)
NODES_PER_DC = 25
DC_HAS, STORE_HAS = 0.75, 0.30
_SHOPS = WorkingHours(days=(0, 1, 2, 3, 4, 5), opens=time(9), closes=time(20), cutoff=time(15))
_SERVICES = (
    CarrierService(
        service_id="ground",
        connection_id="carrier",
        carrier="Ground",
        level=ServiceLevel.STANDARD,
        base=Decimal("4.20"),
        per_kg=Decimal("0.45"),
        per_km=Decimal("0.0016"),
        transit_days=1,
        km_per_day=700,
    ),
    CarrierService(
        service_id="air",
        connection_id="carrier",
        carrier="Air",
        level=ServiceLevel.EXPRESS,
        base=Decimal("11.50"),
        per_kg=Decimal("1.90"),
        per_km=Decimal("0.0011"),
        transit_days=1,
        km_per_day=4_000,
    ),
)


@dataclass(frozen=True)
class Geography:
    """Where stores stand, and where people live."""

    sites: tuple[tuple[float, float], ...]
    homes: tuple[tuple[float, float, str], ...]
    people: tuple[int, ...]


def read_geography(folder: Path) -> Geography:
    """Reads `store_sites.csv` and `zip_population.csv` of the folder."""
    with (folder / "store_sites.csv").open() as file:
        sites = tuple((float(x["lat"]), float(x["lon"])) for x in csv.DictReader(file))
    with (folder / "zip_population.csv").open() as file:
        rows = list(csv.DictReader(file))
    homes = tuple((float(x["latitude"]), float(x["longitude"]), x["zip"]) for x in rows)
    return Geography(sites, homes, tuple(int(x["population"]) for x in rows))


def invented_geography(seed: int = 1) -> Geography:
    """Places spread evenly over the contiguous states: for machines without the real ones."""
    chance = random.Random(seed)  # noqa: S311 (repeatable cases, no secret)
    places = [(chance.uniform(30, 47), chance.uniform(-122, -72)) for _ in range(6_000)]
    homes = tuple((x, y, f"{n:05d}") for n, (x, y) in enumerate(places[:3_000]))
    return Geography(tuple(places[3_000:]), homes, (1,) * 3_000)


def _zone(longitude: float) -> str:
    if longitude < -115:
        return "America/Los_Angeles"
    if longitude < -102:
        return "America/Denver"
    return "America/Chicago" if longitude < -87 else "America/New_York"


def network(
    geography: Geography, count: int, chance: random.Random, *, daily_orders: int = 500
) -> NetworkFacts:
    """So many nodes at real sites, one DC for each `NODES_PER_DC`."""
    nodes: list[Node] = []
    for number, (latitude, longitude) in enumerate(chance.sample(geography.sites, count)):
        is_dc = number % NODES_PER_DC == 0
        nodes.append(
            Node(
                node_id=f"N{number:04d}",
                kind=NodeKind.DC if is_dc else NodeKind.STORE,
                place=Place(latitude=latitude, longitude=longitude, country="US"),
                time_zone=_zone(longitude),
                hours=WorkingHours() if is_dc else _SHOPS,
                processing_minutes=120 if is_dc else 180,
                cost_per_order=Decimal(chance.randint(80, 120) if is_dc else 0) / 100
                + (0 if is_dc else Decimal(chance.randint(180, 320)) / 100),
                cost_per_unit=Decimal(chance.randint(30, 60)) / 100,
                services=("ground", "air") if is_dc else ("ground",),
                daily_orders=daily_orders,
                daily_units=4 * daily_orders,
            )
        )
    return compile_network(nodes, _SERVICES, version="bench")


@dataclass(frozen=True)
class Tightness:
    """How scarce things are in a generated case."""

    has: tuple[float, float] = (DC_HAS, STORE_HAS)
    most_units: int = 12
    busy_share: float = 0.0
    """Of the nodes, so many have a nearly full day."""
    sku_repeats: bool = False
    same_shelf: bool = False


def stock_of(
    facts: NetworkFacts, skus: Sequence[str], noise: np.random.Generator, tightness: Tightness
) -> dict[str, SkuStock]:
    """Units by node: DCs have more of the range than stores."""
    kind = facts.node.kind == 0
    shares = np.where(kind, tightness.has[0], tightness.has[1])
    stock: dict[str, SkuStock] = {}
    for sku in skus:
        nodes = np.flatnonzero(noise.random(len(kind)) < shares).astype(np.int32)
        units = noise.integers(1, tightness.most_units + 1, len(nodes)).astype(np.int64)
        stock[sku] = SkuStock(nodes, units * np.where(kind[nodes], 20, 1))
    return stock


def order(
    geography: Geography, chance: random.Random, lines: int, *, repeats: bool = False
) -> DecisionRequest:
    """An order of so many lines to a home chosen by population."""
    latitude, longitude, postal = chance.choices(geography.homes, geography.people)[0]
    skus = [f"S{n:03d}" for n in range(lines)]
    if repeats:
        skus = [chance.choice(skus[: max(1, lines // 2)]) for _ in skus]
    return DecisionRequest(
        request_id=f"R-{chance.randrange(10**9)}",
        purpose=Purpose.ROUTE,
        now=NOW,
        lines=tuple(
            RequestLine(line_id=f"{n}", sku=sku, quantity=1 + (chance.random() < 0.2))
            for n, sku in enumerate(skus)
        ),
        groups=(
            RequestGroup(
                group_id="1",
                destination=Place(
                    latitude=latitude, longitude=longitude, postal_code=postal, country="US"
                ),
            ),
        ),
    )


def case(
    geography: Geography,
    nodes: NetworkFacts,
    lines: int,
    seed: int,
    tightness: Tightness | None = None,
) -> tuple[DecisionRequest, KernelFacts]:
    """A request with the facts it is decided on."""
    tightness = tightness or Tightness()
    chance = random.Random(seed)  # noqa: S311 (repeatable cases, no secret)
    noise = np.random.default_rng(seed)
    request = order(geography, chance, lines, repeats=tightness.sku_repeats)
    skus = sorted({line.sku for line in request.lines})
    products = {sku: Product(sku=sku, weight_grams=chance.randint(100, 4_000)) for sku in skus}
    capacity: dict[str, DayCapacity] = {}
    if tightness.busy_share:
        busy = np.flatnonzero(noise.random(len(nodes.nodes)) < tightness.busy_share)
        left = noise.integers(0, 4, len(busy)).astype(np.int64)
        capacity["2026-03-02"] = DayCapacity(busy.astype(np.int32), left, np.ones_like(left))
    stock = stock_of(nodes, skus, noise, tightness)
    return request, KernelFacts(nodes, stock, products, capacity, availability_version="bench")
