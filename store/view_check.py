"""Comparing an availability view with the database: a checksum of each SKU, a piece at a time."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection

from domain.routing.facts import SkuStock
from store import view_reading as reading
from store.view import AvailabilityView
from store.view_inbound import read_inbound
from store.view_updates import small_parts, swapped

SKUS_AT_ONCE = 100


@dataclass(frozen=True)
class Comparison:
    """Names of what differed, and the view with those parts as the database has them."""

    names: tuple[str, ...]
    mended: AvailabilityView


class Checker:
    """Goes through the catalogue round and round, so many SKUs a time, then the small parts."""

    def __init__(self, skus_at_once: int = SKUS_AT_ONCE) -> None:
        """Begins with the first SKU."""
        self._skus_at_once = skus_at_once
        self._after = ""

    def next_piece(
        self, connection: Connection, view: AvailabilityView, now: datetime
    ) -> Comparison:
        """Compare the next piece; `connection` must see exactly the view's place."""
        skus = reading.skus_after(connection, self._after, self._skus_at_once)
        self._after = skus[-1] if skus else ""
        if not skus:
            return _compare_small(connection, view, now)
        return _compare_skus(connection, view, set(skus))


def checksum(stock: SkuStock) -> int:
    """CRC-32 over the SKU's nodes and units."""
    return zlib.crc32(stock.units.tobytes(), zlib.crc32(stock.nodes.tobytes()))


def _compare_skus(connection: Connection, view: AvailabilityView, skus: set[str]) -> Comparison:
    index = view.network.index
    fresh = reading.read_stock_of(connection, skus, index)
    names = [
        f"stock {sku}"
        for sku in sorted(skus)
        if _checksum_in(view.stock, sku) != _checksum_in(fresh, sku)
    ]
    parts: dict[str, Any] = {"stock": swapped(view.stock, skus, fresh)} if names else {}
    whole: dict[str, Mapping[str, Any]] = {
        "products": reading.read_products(connection, skus),
        "inbound": read_inbound(connection, skus),
        "own": reading.read_own(connection, index, skus),
    }
    for part, rows in whole.items():
        known = getattr(view, part)
        if {sku: known[sku] for sku in skus if sku in known} != rows:
            names.append(part)
            parts[part] = swapped(known, skus, rows)
    return Comparison(tuple(names), replace(view, **parts) if parts else view)


def _compare_small(connection: Connection, view: AvailabilityView, now: datetime) -> Comparison:
    network = reading.read_network(connection)
    names = [] if network.version == view.network.version else ["network"]
    parts = small_parts(connection, network, now)
    # Days and cool-offs that are over by now are no difference.
    days = {day: x for day, x in view.capacity.items() if day in parts["capacity"]}
    if not _same_days(days, parts["capacity"]):
        names.append("capacity")
    if view.closed != parts["closed"]:
        names.append("closed")
    if view.exclusions(view.cool_offs, now) != replace(view, **parts).exclusions(
        parts["cool_offs"], now
    ):
        names.append("cool_offs")
    return Comparison(tuple(names), replace(view, network=network, **parts))


def _same_days(days: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return days.keys() == others.keys() and all(
        all(np.array_equal(x, y) for x, y in zip(days[day], others[day], strict=True))
        for day in days
    )


def _checksum_in(stock: Mapping[str, SkuStock], sku: str) -> int | None:
    return checksum(stock[sku]) if sku in stock else None
