"""Real orders: the files of the "Brazilian E-Commerce Public Dataset by Olist", as downloaded.

Rules:

- **Which orders**: those with at least one item row, in the file's sequence, except `canceled` and
  `unavailable` ones: their goods never left a seller.
- **Order**: `order_id` as it is; brand `olist`, channel `marketplace`, region the customer's state,
  currency BRL; placed when bought, in Sao Paulo's time. Item rows of the same product, seller and
  price become one line with that quantity; all freight becomes one shipping charge.
- **Address**: the customer's city, state and postal prefix, at the prefix's coordinates. The public
  file has many rows for a prefix: the first one counts. A prefix that is not there takes the
  coordinates of the numerically nearest one, since Brazilian prefixes run by area; it is reported.
- **Network**: each seller of the chosen orders becomes a node of kind `supplier` at its prefix's
  coordinates, run by the sample's WMS connection. The data says nothing of capacity: it is large.
- **Carriage**: by the service `standard` of the network already loaded; the freight the customer
  paid is the real one.
- **Stock**: for each order, the units its lines name arrive at the sellers that sold them, so that
  every order can be filled and nothing more is there.
- **Products**: weight and size as given (centimetres become millimetres), 0 where there is none.
"""

import csv
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from domain.catalogue import Product
from domain.network import Network, Node, NodeKind, Place, WorkingHours
from starter.bulk.loaded import Document, LoadedOrder, UnreadableInputError

ZONE = "America/Sao_Paulo"
WMS_CONNECTION = "wms-main"
SERVICE = "standard"
_NEVER_SHIPPED = frozenset({"canceled", "unavailable"})
_ORDERS = "olist_orders_dataset.csv"
_ITEMS = "olist_order_items_dataset.csv"
_CUSTOMERS = "olist_customers_dataset.csv"
_GEOLOCATION = "olist_geolocation_dataset.csv"
_SELLERS = "olist_sellers_dataset.csv"
_PRODUCTS = "olist_products_dataset.csv"
FILES = (_ORDERS, _ITEMS, _CUSTOMERS, _GEOLOCATION, _SELLERS, _PRODUCTS)

Row = Mapping[str, str]


@dataclass(frozen=True)
class Arrival:
    """Units of one product that one order needs, arriving at the seller that sold them."""

    order_id: str
    node_id: str
    sku: str
    quantity: int

    @property
    def key(self) -> str:
        """The business key that makes a repeated load change nothing."""
        return f"olist/{self.order_id}/{self.node_id}/{self.sku}"


@dataclass
class OlistReport:
    """What was left out or guessed, for the person who loads the data."""

    orders_never_shipped: int = 0
    customers_without_prefix: set[str] = field(default_factory=set)
    sellers_without_prefix: set[str] = field(default_factory=set)
    products_without_facts: set[str] = field(default_factory=set)


class Geography:
    """Coordinates by postal prefix (an integer; the first row of a prefix counts)."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Read rows of the geolocation file."""
        self._points: dict[int, tuple[float, float]] = {}
        for row in rows:
            prefix = _number(row, "geolocation_zip_code_prefix")
            if prefix not in self._points:
                self._points[prefix] = (
                    float(row["geolocation_lat"]),
                    float(row["geolocation_lng"]),
                )
        if not self._points:
            raise UnreadableInputError(f"{_GEOLOCATION}: there are no rows")
        self._sorted = sorted(self._points)

    def knows(self, prefix: int) -> bool:
        """Whether the file has that very prefix."""
        return prefix in self._points

    def at(self, prefix: int) -> tuple[float, float]:
        """Latitude and longitude of the prefix, or of the numerically nearest one."""
        if prefix in self._points:
            return self._points[prefix]
        position = bisect_left(self._sorted, prefix)
        around = self._sorted[max(0, position - 1) : position + 1]
        return self._points[min(around, key=lambda known: (abs(known - prefix), known))]


class OlistData:
    """The public files in `folder`, and the first `limit` orders that can be submitted.

    Raises UnreadableInputError when a file or column is missing.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        """Read everything but the products of other orders."""
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise UnreadableInputError(f"{folder}: '{missing[0]}' of the Olist data set is missing")
        self.folder = folder
        self.report = OlistReport()
        self.geography = Geography(_read(folder / _GEOLOCATION, "geolocation_zip_code_prefix"))
        items = _items_by_order(folder)
        self._orders = list(islice(self._shippable(items), limit))
        chosen = {order["order_id"] for _, order in self._orders}
        self._items = {order_id: rows for order_id, rows in items.items() if order_id in chosen}
        customers = {order["customer_id"] for _, order in self._orders}
        self._customers = {
            row["customer_id"]: row
            for row in _read(folder / _CUSTOMERS, "customer_id")
            if row["customer_id"] in customers
        }

    def __len__(self) -> int:
        """How many orders there are to submit."""
        return len(self._orders)

    def __iter__(self) -> Iterator[LoadedOrder]:
        """The chosen orders, each with its line in the orders' file."""
        for line_number, order in self._orders:
            yield self._loaded(line_number, order)

    def _shippable(self, items: Mapping[str, list[Row]]) -> Iterator[tuple[int, Row]]:
        for line_number, order in enumerate(_read(self.folder / _ORDERS, "order_id"), start=2):
            if order["order_id"] not in items or order["order_status"] in _NEVER_SHIPPED:
                self.report.orders_never_shipped += 1
            else:
                yield line_number, order

    def _loaded(self, line_number: int, order: Row) -> LoadedOrder:
        customer = self._customers.get(order["customer_id"])
        if customer is None:
            return LoadedOrder(line_number, error=f"customer_id: not in {_CUSTOMERS}")
        try:
            document = self._document(order, customer)
        except (ValueError, ArithmeticError, UnreadableInputError) as error:
            return LoadedOrder(line_number, error=f"order '{order['order_id']}': {error}")
        return LoadedOrder(line_number, document=document)

    def _document(self, order: Row, customer: Row) -> Document:
        items = self._items[order["order_id"]]
        freight = sum((_money(row["freight_value"]) for row in items), Decimal(0))
        bought = datetime.fromisoformat(order["order_purchase_timestamp"])
        return {
            "order_id": order["order_id"],
            "source": "olist",
            "external_id": order["order_id"],
            "channel": "marketplace",
            "brand": "olist",
            "region": customer["customer_state"],
            "currency": "BRL",
            "placed_at": bought.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC).isoformat(),
            "customer": {"customer_id": customer["customer_unique_id"]},
            "ship_groups": [{"id": "1", "address": self._address(customer)}],
            "lines": [_line(number, line) for number, line in enumerate(_lines(items), start=1)],
            "charges": [{"type": "shipping", "amount": str(freight)}],
            "payment": {"status": "paid"},
            "attributes": {"olist_status": order["order_status"]},
        }

    def _address(self, customer: Row) -> Document:
        prefix = _number(customer, "customer_zip_code_prefix")
        if not self.geography.knows(prefix):
            self.report.customers_without_prefix.add(f"{prefix:05d}")
        latitude, longitude = self.geography.at(prefix)
        return {
            "city": customer["customer_city"],
            "region": customer["customer_state"],
            "postal_code": f"{prefix:05d}",
            "country": "BR",
            "latitude": latitude,
            "longitude": longitude,
        }

    def arrivals(self) -> list[Arrival]:
        """The stock the chosen orders need, by the rule above."""
        return [
            Arrival(order["order_id"], node_id(seller), product, quantity)
            for _, order in self._orders
            for (product, seller), quantity in Counter(
                (row["product_id"], row["seller_id"]) for row in self._items[order["order_id"]]
            ).items()
        ]

    def products(self) -> tuple[Product, ...]:
        """The products of the chosen orders."""
        wanted = {row["product_id"] for rows in self._items.values() for row in rows}
        found = {
            row["product_id"]: _product(row)
            for row in _read(self.folder / _PRODUCTS, "product_id")
            if row["product_id"] in wanted
        }
        self.report.products_without_facts = wanted - set(found)
        return tuple(found.get(sku) or Product(sku=sku) for sku in sorted(wanted))

    def network(self, base_currency: str = "USD") -> Network:
        """The sellers of the chosen orders as nodes, without connections or services of their own.

        Raises UnreadableInputError when a seller is in no row of the sellers' file.
        """
        wanted = {row["seller_id"] for rows in self._items.values() for row in rows}
        sellers = {
            row["seller_id"]: row
            for row in _read(self.folder / _SELLERS, "seller_id")
            if row["seller_id"] in wanted
        }
        if wanted - set(sellers):
            raise UnreadableInputError(
                f"{_SELLERS}: seller '{min(wanted - set(sellers))}' of an item row is missing"
            )
        nodes = tuple(self._node(sellers[seller]) for seller in sorted(sellers))
        return Network(base_currency=base_currency, nodes=nodes)

    def _node(self, seller: Row) -> Node:
        prefix = _number(seller, "seller_zip_code_prefix")
        if not self.geography.knows(prefix):
            self.report.sellers_without_prefix.add(seller["seller_id"])
        latitude, longitude = self.geography.at(prefix)
        return Node(
            node_id=node_id(seller["seller_id"]),
            kind=NodeKind.SUPPLIER,
            name=f"Seller in {seller['seller_city'].title()}, {seller['seller_state']}",
            place=Place(
                latitude=latitude,
                longitude=longitude,
                region=seller["seller_state"],
                country="BR",
                postal_code=f"{prefix:05d}",
            ),
            time_zone=ZONE,
            hours=WorkingHours(days=(0, 1, 2, 3, 4, 5, 6), opens=time(0), closes=time(23, 59)),
            daily_units=1_000_000,
            daily_orders=1_000_000,
            currency="BRL",
            services=(SERVICE,),
            connection_id=WMS_CONNECTION,
        )


def node_id(seller_id: str) -> str:
    """The node that stands for a seller."""
    return f"seller-{seller_id}"


def is_olist(folder: Path) -> bool:
    """Whether that folder holds the data set's orders."""
    return (folder / _ORDERS).is_file()


def _items_by_order(folder: Path) -> dict[str, list[Row]]:
    items: dict[str, list[Row]] = defaultdict(list)
    for row in _read(folder / _ITEMS, "order_id"):
        items[row["order_id"]].append(row)
    return dict(items)


def _lines(items: list[Row]) -> Iterator[tuple[str, str, Decimal, int]]:
    counted = Counter((row["product_id"], row["seller_id"], _money(row["price"])) for row in items)
    for (product, seller, price), quantity in counted.items():
        yield product, seller, price, quantity


def _line(number: int, line: tuple[str, str, Decimal, int]) -> Document:
    product, seller, price, quantity = line
    return {
        "line_id": str(number),
        "sku": product,
        "quantity": quantity,
        "unit_price": str(price),
        "attributes": {"seller_id": seller},
    }


def _product(row: Row) -> Product:
    return Product(
        sku=row["product_id"],
        name=row["product_category_name"].replace("_", " "),
        category=row["product_category_name"],
        weight_grams=_number(row, "product_weight_g"),
        length_mm=10 * _number(row, "product_length_cm"),
        width_mm=10 * _number(row, "product_width_cm"),
        height_mm=10 * _number(row, "product_height_cm"),
    )


def _money(text: str) -> Decimal:
    return Decimal(text).quantize(Decimal("0.01"))


def _number(row: Row, column: str) -> int:
    """A whole number, though the file may write it as 225.0; 0 when the cell is empty."""
    text = row[column] or "0"
    try:
        return round(float(text))
    except ValueError as error:
        raise UnreadableInputError(f"{column}: '{text}' is no number") from error


def _read(path: Path, column: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if column not in (reader.fieldnames or ()):
            raise UnreadableInputError(f"{path}: the header has no column '{column}'")
        yield from reader
