"""A Shopify order as one of doms: almost any field of it may be missing but id, lines and money."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.money import CountryCode, CurrencyCode
from domain.network import Connection
from domain.orders import Order
from domain.values import Id, UtcTime
from integrations.capture.port import captured_order_id
from integrations.errors import NothingToDoError, QuarantineError
from integrations.reading import json_object, quarantined

_PAID = frozenset({"paid", "partially_refunded"})
_AUTHORIZED = frozenset({"authorized"})
_EXACT_SECONDS = 500_000
"""An order's first 500,000 seconds are counted one by one, later ones by the minute."""
_LAST_VERSION = 1_000_000


class ShopifySettings(BaseModel):
    """A capture connection's `settings`."""

    model_config = ConfigDict(extra="forbid")
    token_env: str = "SHOPIFY_TOKEN"  # noqa: S105 (a variable's name)
    version: str = "2026-04"
    country: CountryCode = "US"
    """Where an order goes that does not say so."""
    channel: Id = "web"
    brand: Id = "default"
    region: Id = "default"


class _Shown(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Amount(_Shown):
    amount: Decimal = Decimal(0)


class _Tax(_Shown):
    price: Decimal = Decimal(0)


class _LineItem(_Shown):
    id: int
    sku: str | None = None
    variant_id: int | None = None
    quantity: int = Field(ge=0)
    current_quantity: int | None = None
    price: Decimal
    requires_shipping: bool | None = None
    discount_allocations: list[_Amount] | None = None
    tax_lines: list[_Tax] | None = None

    @property
    def units(self) -> int:
        """Units after edits and refunds, where Shopify tells them."""
        return self.quantity if self.current_quantity is None else self.current_quantity

    def share(self, amounts: Iterable[Decimal]) -> Decimal:
        """Of an amount for all units, what falls on those that are left, to the cent."""
        total = sum(amounts, Decimal(0))
        if self.units == self.quantity or not self.quantity:
            return total
        return (total * self.units / self.quantity).quantize(Decimal("0.01"))


class _Address(_Shown):
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    province: str | None = None
    province_code: str | None = None
    zip: str | None = None
    country_code: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class _Customer(_Shown):
    first_name: str | None = None
    last_name: str | None = None
    default_address: _Address | None = None


class _ShippingLine(_Shown):
    title: str | None = None
    price: Decimal = Decimal(0)


class _Shop(_Shown):
    """An order."""

    id: int
    name: str | None = None
    currency: CurrencyCode
    created_at: UtcTime
    updated_at: UtcTime | None = None
    cancelled_at: UtcTime | None = None
    financial_status: str | None = None
    email: str | None = None
    phone: str | None = None
    line_items: list[_LineItem] = Field(min_length=1)
    shipping_address: _Address | None = None
    billing_address: _Address | None = None
    customer: _Customer | None = None
    shipping_lines: list[_ShippingLine] | None = None

    @property
    def version(self) -> int:
        """Higher for a later state of the order, whenever and however often it is sent."""
        age = ((self.updated_at or self.created_at) - self.created_at).total_seconds()
        seconds = max(0, int(age))
        later = max(0, seconds - _EXACT_SECONDS) // 60
        return min(1 + min(seconds, _EXACT_SECONDS) + later, _LAST_VERSION)


def translate(connection: Connection, raw: bytes) -> dict[str, Any]:
    """See capture.port.Translate. NothingToDoError for documents of topics that tell no order."""
    settings = quarantined(lambda: ShopifySettings.model_validate(connection.settings))
    body = json_object(raw)
    if "line_items" not in body or "currency" not in body or "order_number" not in body:
        raise NothingToDoError("the document is no order: subscribe to topics of orders only")
    shown = quarantined(lambda: _Shop.model_validate(body))
    if shown.cancelled_at is not None:
        raise QuarantineError("cancelled_at: the shop cancelled it: cancel it here too, if it is")
    made = quarantined(lambda: _order(connection, settings, shown))
    quarantined(lambda: Order.model_validate(made))
    return made


def _order(connection: Connection, settings: ShopifySettings, shown: _Shop) -> dict[str, Any]:
    lines = [_line(number, item) for number, item in enumerate(_sent(shown), 1)]
    if not lines:
        raise NothingToDoError("line_items: nothing is to be sent")
    return {
        "order_id": captured_order_id(connection.connection_id, str(shown.id)),
        "source": connection.connection_id,
        "external_id": str(shown.id),
        "version": shown.version,
        "channel": settings.channel,
        "brand": settings.brand,
        "region": settings.region,
        "currency": shown.currency,
        "placed_at": shown.created_at,
        "customer": {
            "name": _name(shown.shipping_address, shown.customer),
            "email": shown.email,
            "phone": shown.phone,
        },
        "ship_groups": [{"id": "1", "address": _address(shown, settings.country)}],
        "lines": lines,
        "charges": [
            {"type": "shipping", "amount": line.price}
            for line in shown.shipping_lines or ()
            if line.price
        ],
        "payment": {"status": _payment(shown.financial_status), "reference": shown.name},
    }


def _sent(shown: _Shop) -> list[_LineItem]:
    """Lines of goods that are still wanted; a gift card or service is sent by the shop itself."""
    return [x for x in shown.line_items if x.units > 0 and x.requires_shipping is not False]


def _line(number: int, item: _LineItem) -> dict[str, Any]:
    return {
        "line_id": str(number),
        "external_line_id": str(item.id),
        "sku": item.sku or f"shopify-{item.variant_id or item.id}",
        "quantity": item.units,
        "unit_price": item.price,
        "discount": item.share(x.amount for x in item.discount_allocations or ()),
        "tax": item.share(x.price for x in item.tax_lines or ()),
    }


def _address(shown: _Shop, country: str) -> dict[str, Any]:
    """Where it goes: the first address there is; without any, people are asked for one later."""
    customer = shown.customer
    known = (
        shown.shipping_address,
        shown.billing_address,
        customer.default_address if customer else None,
    )
    place = next((x for x in known if x is not None), _Address())
    return {
        "name": _name(place, customer),
        "line1": place.address1,
        "line2": place.address2,
        "city": place.city,
        "region": place.province_code or place.province,
        "postal_code": place.zip,
        "country": place.country_code or country,
        "latitude": place.latitude,
        "longitude": place.longitude,
    }


def _name(place: _Address | None, customer: _Customer | None) -> str | None:
    if place is not None and place.name:
        return place.name
    who = place if place is not None and (place.first_name or place.last_name) else customer
    if who is None:
        return None
    return " ".join(filter(None, (who.first_name, who.last_name))) or None


def _payment(status: str | None) -> str:
    if status in _PAID:
        return "paid"
    return "authorized" if status in _AUTHORIZED else "pending"
