"""The Olist data set as a history of shipments: one an order, by the seller of its first item.

Nothing is taken that was not known when the order was placed, but the two times to be learned. The
order's status, which tells the end, is not read. The marketplace's promised date is kept apart: it
is what forecasts are compared with, never what they learn from.
"""

import csv
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import holidays
import numpy as np

from domain.delivery_history import Floats, History, Ints
from domain.geo import EARTH_RADIUS_KM

FACTS = (
    "customer latitude",
    "customer longitude",
    "seller latitude",
    "seller longitude",
    "distance",
    "weight",
    "price",
    "freight",
    "items",
    "days for the hand-over",
)
_NAN = float("nan")
Row = dict[str, str]


@dataclass(frozen=True)
class Marketplace:
    """The history, and what the marketplace promised: whole days from the day of the order."""

    history: History
    promised: Floats


def load(folder: Path) -> Marketplace:
    """Read the files. Cells that are empty or unreadable are unknown, not zero."""
    items: dict[str, list[Row]] = defaultdict(list)
    for row in _read(folder, "order_items"):
        items[row["order_id"]].append(row)
    customers = {row["customer_id"]: row for row in _read(folder, "customers")}
    sellers = {row["seller_id"]: row for row in _read(folder, "sellers")}
    products = {row["product_id"]: row for row in _read(folder, "products")}
    points: dict[int, tuple[float, float]] = {}
    for row in _read(folder, "geolocation"):
        place = _number(row["geolocation_lat"]), _number(row["geolocation_lng"])
        points.setdefault(_prefix(row["geolocation_zip_code_prefix"]), place)
    rows = []
    for order in _read(folder, "orders"):
        ordered = day_number(order["order_purchase_timestamp"])
        promised = day_number(order["order_estimated_delivery_date"])
        if order["order_id"] not in items or np.isnan(ordered) or np.isnan(promised):
            continue
        its = items[order["order_id"]]
        customer = customers.get(order["customer_id"], {})
        seller = sellers.get(its[0]["seller_id"], {})
        rows.append(
            {
                "ordered": ordered,
                "promised": np.floor(promised) - np.floor(ordered),
                "handed_over": day_number(order["order_delivered_carrier_date"]),
                "delivered": day_number(order["order_delivered_customer_date"]),
                "node": its[0]["seller_id"],
                "origin": seller.get("seller_state", ""),
                "destination": customer.get("customer_state", ""),
                "area": _prefix(customer.get("customer_zip_code_prefix", "")) // 100,
                "facts": _facts(order, its, products, points, customer, seller),
            }
        )
    rows.sort(key=lambda one: one["ordered"])
    return Marketplace(_history(rows), np.array([row["promised"] for row in rows]))


def brazilian_holidays(first: int, last: int) -> frozenset[int]:
    """Day numbers of Brazil's national holidays, a year more at both ends."""
    years = range(1970 + first // 366 - 1, 1970 + last // 365 + 2)
    return frozenset(
        (day - _EPOCH.date()).days for day in holidays.country_holidays("BR", years=years)
    )


def day_number(text: str) -> float:
    """Days since 1970-01-01; NaN for an empty cell. Copies write some dates as 3/31/2018 23:59."""
    for form in ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M"):
        try:
            return (
                datetime.strptime(text, form).replace(tzinfo=UTC) - _EPOCH
            ).total_seconds() / 86400
        except ValueError:
            continue
    return _NAN


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _facts(
    order: Row,
    items: list[Row],
    products: dict[str, Row],
    points: dict[int, tuple[float, float]],
    customer: Row,
    seller: Row,
) -> list[float]:
    unknown = (_NAN, _NAN)
    to = points.get(_prefix(customer.get("customer_zip_code_prefix", "")), unknown)
    origin = points.get(_prefix(seller.get("seller_zip_code_prefix", "")), unknown)
    limit = max(day_number(item["shipping_limit_date"]) for item in items)
    weights = [
        _number(products.get(item["product_id"], {}).get("product_weight_g", "")) for item in items
    ]
    return [
        *to,
        *origin,
        _kilometres(to, origin),
        sum(weights),
        sum(_number(item["price"]) for item in items),
        sum(_number(item["freight_value"]) for item in items),
        len(items),
        # Counted from the approval: how long a payment takes is not known when ordering.
        limit - day_number(order["order_approved_at"]),
    ]


def _history(rows: list[dict[str, Any]]) -> History:
    def column(name: str) -> Floats:
        return np.array([row[name] for row in rows], dtype=np.float64)

    states: dict[Hashable, int] = {}
    return History(
        ordered=column("ordered"),
        handed_over=column("handed_over"),
        delivered=column("delivered"),
        node=_codes([row["node"] for row in rows]),
        origin=_codes([row["origin"] for row in rows], states),
        destination=_codes([row["destination"] for row in rows], states),
        lane=_codes([(row["origin"], row["destination"]) for row in rows]),
        area=_codes([row["area"] for row in rows]),
        facts=np.array([row["facts"] for row in rows]).reshape(len(rows), len(FACTS)),
    )


def _codes(keys: list[Any], known: dict[Hashable, int] | None = None) -> Ints:
    known = {} if known is None else known
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)


def _kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    north, east, to_north, to_east = np.radians((*one, *other))
    half = np.sin((to_north - north) / 2) ** 2
    half += np.cos(north) * np.cos(to_north) * np.sin((to_east - east) / 2) ** 2
    return float(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half)))


def _prefix(text: str) -> int:
    number = _number(text)
    return -1 if np.isnan(number) else int(number)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return _NAN


def _read(folder: Path, name: str) -> Iterator[Row]:
    with (folder / f"olist_{name}_dataset.csv").open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)
