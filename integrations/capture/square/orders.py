"""A till's order as one of doms: what is to be sent or collected; what was carried out is noted.

A line of the till may go to several places: it becomes a line for each, and what no fulfillment
names the customer carried out. Such units are the till's sale, and lower its stock there.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.money import CountryCode, CurrencyCode, minor_units
from domain.network import Connection
from domain.orders import Order
from domain.values import Id, UtcTime
from integrations.capture.port import captured_order_id
from integrations.errors import NothingToDoError, QuarantineError
from integrations.pos.square.requests import SOURCE
from integrations.reading import json_object, quarantined
from integrations.settings import settings_of

_ENDED = frozenset({"CANCELED", "FAILED"})
_STATES = frozenset({"OPEN", "COMPLETED"})
_METHODS = {"SHIPMENT": "ship", "DELIVERY": "ship", "PICKUP": "pickup"}
_LEVELS = {"DELIVERY": "same_day"}


class SquareCaptureSettings(BaseModel):
    """A capture connection's `settings`."""

    model_config = ConfigDict(extra="forbid")
    token_env: str = "SQUARE_TOKEN"  # noqa: S105 (a variable's name)
    locations: dict[Id, str] = Field(min_length=1)
    """Square's location of each node that has a till."""
    webhook_url: str = ""
    version: str = "2025-08-20"
    channel: Id = "store"
    brand: Id = "default"
    region: Id = "default"


class _Shown(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Money(_Shown):
    amount: int = 0
    currency: CurrencyCode

    @property
    def value(self) -> Decimal:
        return Decimal(self.amount).scaleb(-minor_units(self.currency))


class _LineItem(_Shown):
    uid: str
    quantity: Decimal
    catalog_object_id: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    base_price_money: _Money
    total_discount_money: _Money | None = None
    total_tax_money: _Money | None = None


class _Address(_Shown):
    address_line_1: str | None = None
    address_line_2: str | None = None
    locality: str | None = None
    administrative_district_level_1: str | None = None
    postal_code: str | None = None
    country: CountryCode


class _Recipient(_Shown):
    display_name: str | None = None
    address: _Address | None = None


class _Details(_Shown):
    recipient: _Recipient | None = None


class _Entry(_Shown):
    line_item_uid: str
    quantity: Decimal


class _Fulfillment(_Shown):
    type: str
    state: str
    entries: list[_Entry] | None = None
    pickup_details: _Details | None = None
    shipment_details: _Details | None = None
    delivery_details: _Details | None = None

    @property
    def recipient(self) -> _Recipient:
        details = self.shipment_details or self.delivery_details or self.pickup_details
        return (details.recipient if details else None) or _Recipient()


class _Charge(_Shown):
    name: str | None = None
    total_money: _Money | None = None


class _Source(_Shown):
    name: str | None = None


class _TillOrder(_Shown):
    id: str = Field(min_length=1)
    location_id: str
    version: int = 1
    state: str = "OPEN"
    created_at: UtcTime
    source: _Source | None = None
    customer_id: str | None = None
    line_items: list[_LineItem] = Field(min_length=1)
    fulfillments: list[_Fulfillment] = Field(default_factory=list)
    service_charges: list[_Charge] = Field(default_factory=list)
    net_amount_due_money: _Money | None = None

    def wanted(self) -> list[_Fulfillment]:
        """What is still to be done."""
        return [x for x in self.fulfillments if x.state not in _ENDED]


class _Document(_Shown):
    """An order, and the SKUs of the catalogue's variations that it names."""

    order: _TillOrder
    skus: dict[str, str] = Field(default_factory=dict)


def translate(connection: Connection, raw: bytes) -> dict[str, Any]:
    """See capture.port.Translate. NothingToDoError for what was carried out whole."""
    try:
        settings = settings_of(connection, SquareCaptureSettings)
    except ValueError as wrong:
        raise QuarantineError(str(wrong)) from wrong
    body = json_object(raw)
    document = body if "order" in body else {"order": body}
    told = quarantined(lambda: _Document.model_validate(document))
    _check(told.order)
    made = quarantined(lambda: _order(connection, settings, told))
    quarantined(lambda: Order.model_validate(made))
    return made


def _check(order: _TillOrder) -> None:
    if order.source is not None and order.source.name == SOURCE:
        raise NothingToDoError("source: doms put this order there itself")
    if order.state not in _STATES:
        raise NothingToDoError(f"state: an order that is {order.state[:32]} is none")
    if not order.wanted():
        raise NothingToDoError("fulfillments: nothing is to be sent or collected")
    strange = [x.type for x in order.wanted() if x.type not in _METHODS]
    if strange:
        raise QuarantineError(f"fulfillments: doms does no {strange[0][:32]}")


def _order(
    connection: Connection, settings: SquareCaptureSettings, told: _Document
) -> dict[str, Any]:
    order, nodes = told.order, {place: node for node, place in settings.locations.items()}
    node_id = nodes.get(order.location_id)
    if node_id is None:
        raise ValueError(f"location_id: no node is Square's {order.location_id[:64]}")
    left = {item.uid: _whole(item.quantity, item.uid) for item in order.line_items}
    groups, lines = [], []
    for number, work in enumerate(order.wanted(), 1):
        groups.append(_group(str(number), work, node_id))
        lines += list(_lines(str(number), work, told, left))
    due = order.net_amount_due_money
    return {
        "order_id": captured_order_id(connection.connection_id, order.id),
        "source": connection.connection_id,
        "external_id": order.id,
        "version": order.version,
        "channel": settings.channel,
        "brand": settings.brand,
        "region": settings.region,
        "currency": order.line_items[0].base_price_money.currency,
        "placed_at": order.created_at,
        "customer": {"name": order.wanted()[0].recipient.display_name},
        "ship_groups": groups,
        "lines": _priced(lines, order),
        "charges": [
            {"type": charge.name or "service", "amount": charge.total_money.value}
            for charge in order.service_charges
            if charge.total_money is not None
        ],
        "payment": {
            "status": "pending" if due is not None and due.amount > 0 else "paid",
            "reference": order.id,
        },
        "attributes": {
            "sold_at": node_id,
            "carried_out": [
                {"sku": _sku(item, told.skus), "quantity": left[item.uid]}
                for item in order.line_items
                if left[item.uid]
            ],
        },
    }


def _group(number: str, work: _Fulfillment, node_id: str) -> dict[str, Any]:
    method = _METHODS[work.type]
    group: dict[str, Any] = {"id": number, "method": method}
    if method == "pickup":
        return {**group, "node_id": node_id}
    address = work.recipient.address
    if address is None:
        raise ValueError(f"fulfillments.{number}: has no address to send to")
    return {
        **group,
        "service_level": _LEVELS.get(work.type, "standard"),
        "address": {
            "name": work.recipient.display_name,
            "line1": address.address_line_1,
            "line2": address.address_line_2,
            "city": address.locality,
            "region": address.administrative_district_level_1,
            "postal_code": address.postal_code,
            "country": address.country,
        },
    }


def _lines(
    group: str, work: _Fulfillment, told: _Document, left: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """The group's lines, whose units then are nobody else's."""
    items = {item.uid: item for item in told.order.line_items}
    entries = work.entries or [
        _Entry(line_item_uid=uid, quantity=Decimal(units)) for uid, units in left.items() if units
    ]
    for entry in entries:
        item = items.get(entry.line_item_uid)
        if item is None:
            raise ValueError(f"fulfillments.{group}: names a line that the order has not")
        units = _whole(entry.quantity, item.uid)
        if units > left[item.uid]:
            raise ValueError(f"fulfillments.{group}: more of a line than was sold")
        left[item.uid] -= units
        yield {
            "external_line_id": item.uid,
            "ship_group": group,
            "sku": _sku(item, told.skus),
            "quantity": units,
            "unit_price": item.base_price_money.value,
        }


def _priced(lines: list[dict[str, Any]], order: _TillOrder) -> list[dict[str, Any]]:
    """The lines numbered, each with its share of its till line's discount and tax, to the cent."""
    items = {item.uid: item for item in order.line_items}
    done = dict.fromkeys(items, 0)
    found = []
    for number, line in enumerate(lines, 1):
        item = items[line["external_line_id"]]
        before = done[item.uid]
        done[item.uid] += line["quantity"]
        shares = {
            name: _share(money, item.quantity, before, done[item.uid])
            for name, money in (
                ("discount", item.total_discount_money),
                ("tax", item.total_tax_money),
            )
        }
        found.append({"line_id": str(number), **line, **shares})
    return found


def _share(money: _Money | None, quantity: Decimal, before: int, after: int) -> Decimal:
    """What of an amount falls on the units from `before` to `after`, in whole minor units."""
    if money is None:
        return Decimal(0)
    upto = [int(money.amount * units / quantity) for units in (before, after)]
    return Decimal(upto[1] - upto[0]).scaleb(-minor_units(money.currency))


def _sku(item: _LineItem, skus: Mapping[str, str]) -> str:
    found = skus.get(item.catalog_object_id or "") or item.metadata.get("sku")
    if found is None:
        raise ValueError(f"line_items: no SKU is known of {(item.catalog_object_id or item.uid)}")
    return found


def _whole(quantity: Decimal, uid: str) -> int:
    if quantity != quantity.to_integral_value() or quantity < 0:
        raise ValueError(f"line_items: {uid[:64]} is sold in parts of a unit")
    return int(quantity)
