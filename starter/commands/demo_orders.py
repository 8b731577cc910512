"""The sample orders of the demo: one situation each, with how it should end."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starter.bulk.loaded import Document

PENDING, HELD, PARKED = "pending_approval", "hold", "attention"
"""Ends that leave something for a person to do."""


@dataclass(frozen=True)
class DemoOrder:
    """An order document and how it should end: a final stage, or what it then waits for."""

    situation: str
    document: Document
    ends: str = "completed"

    @property
    def order_id(self) -> str:
        """The order's id, which names its situation."""
        value: str = self.document["order_id"]
        return value


_CITIES: tuple[tuple[str, str, str, float, float], ...] = (
    ("Boston", "MA", "02108", 42.3570, -71.0637),
    ("Philadelphia", "PA", "19103", 39.9529, -75.1740),
    ("Washington", "DC", "20005", 38.9044, -77.0316),
    ("Charlotte", "NC", "28202", 35.2272, -80.8431),
    ("Miami", "FL", "33130", 25.7679, -80.2045),
    ("Nashville", "TN", "37203", 36.1490, -86.7900),
    ("Detroit", "MI", "48226", 42.3317, -83.0479),
    ("Minneapolis", "MN", "55401", 44.9855, -93.2697),
    ("St. Louis", "MO", "63103", 38.6316, -90.2150),
    ("Houston", "TX", "77002", 29.7566, -95.3653),
    ("Austin", "TX", "78701", 30.2713, -97.7426),
    ("Phoenix", "AZ", "85004", 33.4519, -112.0707),
    ("Salt Lake City", "UT", "84111", 40.7551, -111.8824),
    ("Las Vegas", "NV", "89101", 36.1722, -115.1223),
    ("Los Angeles", "CA", "90013", 34.0448, -118.2434),
    ("San Diego", "CA", "92101", 32.7185, -117.1593),
    ("Sacramento", "CA", "95814", 38.5804, -121.4922),
    ("Boise", "ID", "83702", 43.6322, -116.2050),
)
_NAMES = ("Ada Moreno", "Ben Okafor", "Chloe Tran", "Dev Patel", "Ella Novak", "Finn Larsen")
_PRICES = {
    "TEE-BLACK-M": "14.90",
    "TEE-WHITE-L": "14.90",
    "HOODIE-GREY-M": "49.00",
    "JEANS-BLUE-32": "59.00",
    "SOCKS-3PACK": "9.90",
    "CAP-NAVY": "18.00",
    "SNEAKER-42": "89.00",
    "SANDAL-39": "39.00",
    "HEADPHONES-BT": "119.00",
    "EARBUDS-2": "69.00",
    "SPEAKER-MINI": "79.00",
    "CHARGER-65W": "34.90",
    "CABLE-USBC-2M": "9.90",
    "KEYBOARD-US": "99.00",
    "MONITOR-27": "329.00",
    "LAPTOP-14": "1149.00",
    "SCANNER-HAND": "349.00",
    "TABLET-11": "599.00",
    "MUG-BLUE": "8.90",
    "PAN-28": "44.00",
    "KETTLE-STEEL": "54.00",
    "TOWEL-BATH": "19.90",
    "VASE-GLASS": "29.00",
    "PUZZLE-1000": "19.90",
    "PLUSH-BEAR": "24.90",
    "GAME-BOARD": "39.90",
    "COFFEE-1KG": "18.90",
    "TEA-GREEN": "8.90",
    "DESK-OAK": "399.00",
    "CHAIR-OFFICE": "249.00",
    "CONSOLE-RETRO": "249.00",
    "TENT-2P": "179.00",
    "BACKPACK-30L": "79.00",
    "BOTTLE-STEEL": "19.90",
}
_ONE_LINE = (
    *("TEE-BLACK-M", "HOODIE-GREY-M", "JEANS-BLUE-32", "SOCKS-3PACK", "CAP-NAVY", "SNEAKER-42"),
    *("SANDAL-39", "HEADPHONES-BT", "EARBUDS-2", "SPEAKER-MINI", "CHARGER-65W", "CABLE-USBC-2M"),
    *("KEYBOARD-US", "MONITOR-27", "MUG-BLUE", "PAN-28", "KETTLE-STEEL", "TOWEL-BATH"),
    *("VASE-GLASS", "PUZZLE-1000", "COFFEE-1KG", "TEA-GREEN", "TEE-WHITE-L", "PLUSH-BEAR"),
)


class _Maker:
    """Numbers the orders of each situation and spreads customers over the country."""

    def __init__(self, placed_at: datetime) -> None:
        self._placed_at = placed_at
        self._made = 0
        self._by_situation: dict[str, int] = {}

    def address(self) -> Document:
        city, region, postal_code, latitude, longitude = _CITIES[self._made % len(_CITIES)]
        return {
            "name": _NAMES[self._made % len(_NAMES)],
            "line1": f"{100 + self._made} Main Street",
            "city": city,
            "region": region,
            "postal_code": postal_code,
            "country": "US",
            "latitude": latitude,
            "longitude": longitude,
        }

    def order(
        self,
        situation: str,
        *items: tuple[str, int] | tuple[str, int, str],
        ends: str = "completed",
        pickup_at: str | None = None,
        **changes: Any,
    ) -> DemoOrder:
        """An order of these (sku, quantity[, ship group]); groups `1` shipped, `2` picked up."""
        number = self._by_situation.get(situation, 0) + 1
        self._by_situation[situation] = number
        order_id = f"D-{situation}-{number}"
        address = self.address()
        groups = {item[2] if len(item) > 2 else "1" for item in items}
        available = {"1": {"id": "1", "address": address}}
        if pickup_at is not None:
            available["2"] = {"id": "2", "method": "pickup", "node_id": pickup_at}
        document: Document = {
            "order_id": order_id,
            "source": "demo-shop",
            "external_id": order_id,
            "brand": "acme",
            "region": f"US-{address['region']}",
            "currency": "USD",
            "placed_at": self._placed_at.isoformat(),
            "customer": {"customer_id": f"C-{self._made % 40:03d}", "name": address["name"]},
            "ship_groups": [available[group] for group in sorted(groups)],
            "lines": [_line(position, item) for position, item in enumerate(items, start=1)],
            "charges": [{"type": "shipping", "amount": "4.90"}],
            **changes,
        }
        self._made += 1
        return DemoOrder(situation, document, ends)


def _line(position: int, item: tuple[Any, ...]) -> Document:
    sku, quantity, *group = item
    return {
        "line_id": str(position),
        "ship_group": group[0] if group else "1",
        "sku": sku,
        "quantity": quantity,
        "unit_price": _PRICES[sku],
    }


def demo_orders(placed_at: datetime) -> list[DemoOrder]:
    """All sample orders, in the sequence they are submitted: what takes longest comes first."""
    maker = _Maker(placed_at)
    return [*_special(maker), *_business(maker), *_everyday(maker)]


def _special(maker: _Maker) -> Iterator[DemoOrder]:
    yield maker.order("node-silent", ("KEYBOARD-US", 1))
    yield maker.order("node-rejects", ("SPEAKER-MINI", 1))
    yield maker.order("short-pick", ("PAN-28", 3))
    yield maker.order("lost-parcel", ("KETTLE-STEEL", 1))
    yield maker.order("lost-parcel", ("HEADPHONES-BT", 1), ends=PARKED)
    yield maker.order("cancelled", ("SNEAKER-42", 1), ends="cancelled")
    yield maker.order("cancel-too-late", ("COFFEE-1KG", 2))
    yield maker.order("unpaid", ("EARBUDS-2", 1), payment={"status": "pending"}, ends=HELD)
    yield maker.order("backorder", ("CONSOLE-RETRO", 2))
    yield maker.order("address-change", ("TOWEL-BATH", 2))
    yield maker.order("held-and-released", ("CAP-NAVY", 1))
    for _ in range(2):
        yield maker.order("store-staff", ("MUG-BLUE", 2, "2"), pickup_at="store-portland")


def _business(maker: _Maker) -> Iterator[DemoOrder]:
    def order(situation: str, account: str, *items: Any, ends: str = "completed") -> DemoOrder:
        return maker.order(
            situation,
            *items,
            ends=ends,
            order_type="b2b",
            channel="sales",
            customer={"account_id": account, "name": account.removeprefix("ACC-").title()},
            payment={"status": "terms"},
            payment_terms="NET30",
            po_number=f"PO-{situation}",
        )

    yield order("b2b-two-levels", "ACC-CONTOSO", ("LAPTOP-14", 25), ("MONITOR-27", 25))
    yield order("b2b-rejected", "ACC-FABRIKAM", ("TABLET-11", 60), ends="rejected")
    yield order("b2b-waiting", "ACC-NORTHWIND", ("SCANNER-HAND", 20), ends=PENDING)
    yield order("b2b-waiting", "ACC-CONTOSO", ("LAPTOP-14", 40), ends=PENDING)
    yield order("b2b-one-level", "ACC-NORTHWIND", ("TABLET-11", 12))
    cases = order("b2b-cases", "ACC-FABRIKAM", ("MUG-BLUE", 2), ("TEE-BLACK-M", 2))
    for line in cases.document["lines"]:
        line["ordered_uom"] = "CS"
        line["unit_price"] = "96.00"
    yield cases


def _everyday(maker: _Maker) -> Iterator[DemoOrder]:
    for quantity in (24, 30):
        yield maker.order("several-packages", ("BOTTLE-STEEL", quantity))
    for sku in ("TENT-2P", "BACKPACK-30L", "BOTTLE-STEEL"):
        yield maker.order("third-party", (sku, 1))
    for sku in ("DESK-OAK", "CHAIR-OFFICE"):
        yield maker.order("supplier", (sku, 1))
    yield maker.order("split", ("TENT-2P", 1), ("COFFEE-1KG", 1))
    yield maker.order("split", ("DESK-OAK", 1), ("KEYBOARD-US", 1))
    yield maker.order("split", ("GAME-BOARD", 1), ("TEA-GREEN", 3))
    yield maker.order("split", ("BACKPACK-30L", 1), ("PUZZLE-1000", 1), ("COFFEE-1KG", 2))
    for store in ("store-seattle", "store-chicago", "store-new-york"):
        yield maker.order("pickup", ("HEADPHONES-BT", 1, "2"), pickup_at=store)
        yield maker.order(
            "ship-and-pickup", ("TEE-BLACK-M", 2), ("MUG-BLUE", 1, "2"), pickup_at=store
        )
    yield maker.order("in-euros", ("VASE-GLASS", 1), currency="EUR")
    for first, second in (("HOODIE-GREY-M", "JEANS-BLUE-32"), ("PAN-28", "KETTLE-STEEL")):
        yield maker.order("two-lines", (first, 1), (second, 1))
    for position, sku in enumerate(_ONE_LINE):
        made = maker.order("one-line", (sku, 1 + position % 3))
        if position % 6 == 0:
            made.document["ship_groups"][0]["service_level"] = "express"
        yield made
