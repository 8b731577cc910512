"""The order as intake accepts it (DESIGN section 4), and the checks that need only itself."""

import re
from collections import Counter
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from domain.money import CountryCode, CurrencyCode, minor_units
from domain.values import Id, Model, Money, PositiveMoney, Quantity, Text, UtcTime

MAX_LINES = 1_000
MAX_DOCUMENT_BYTES = 1_000_000
AS_ORDERED = "as_ordered"
"""The line's attribute that keeps what was ordered, where intake changed units or broke a kit."""
_COMPONENT_ID = re.compile(r"(.+)-k[0-9]+")


class OrderType(StrEnum):
    """Who buys: a consumer or a business."""

    B2C = "b2c"
    B2B = "b2b"


class Method(StrEnum):
    """How a ship group reaches its customer."""

    SHIP = "ship"
    PICKUP = "pickup"
    SHIP_TO_STORE = "ship_to_store"


class ServiceLevel(StrEnum):
    """How fast a shopper asked for it."""

    STANDARD = "standard"
    EXPRESS = "express"
    SAME_DAY = "same_day"


class PaymentStatus(StrEnum):
    """What intake knows of the money; anything but PENDING lets an order be released."""

    AUTHORIZED = "authorized"
    PAID = "paid"
    TERMS = "terms"
    PENDING = "pending"


class Customer(Model):
    """Who ordered. Personal: never in ids, search attributes, summaries or logs."""

    customer_id: Id | None = None
    name: Text | None = None
    email: Text | None = None
    phone: Text | None = None
    account_id: Id | None = None
    tier: Text | None = None


class Address(Model):
    """Where a ship group goes. Personal but for region, country and the postal code's area."""

    name: Text | None = None
    line1: Text | None = None
    line2: Text | None = None
    city: Text | None = None
    region: Text | None = None
    postal_code: Annotated[str, StringConstraints(max_length=16)] | None = None
    country: CountryCode
    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] | None = None


class ShipGroup(Model):
    """Lines with one destination and one method."""

    id: Id
    method: Method = Method.SHIP
    address: Address | None = None
    node_id: Id | None = None
    service_level: ServiceLevel = ServiceLevel.STANDARD
    not_before: UtcTime | None = None
    deliver_by: UtcTime | None = None
    ship_complete: bool = False

    @model_validator(mode="after")
    def _has_a_destination(self) -> Self:
        if self.method is Method.SHIP and self.address is None:
            raise ValueError("a ship group with method 'ship' needs an address")
        if self.method is not Method.SHIP and self.node_id is None:
            raise ValueError(f"a ship group with method '{self.method}' needs the store's node_id")
        if self.not_before and self.deliver_by and self.deliver_by < self.not_before:
            raise ValueError("deliver_by lies before not_before")
        return self


class OrderLine(Model):
    """One product in one ship group; quantity in `ordered_uom` as sent, later in base units."""

    line_id: Id
    external_line_id: Text | None = None
    ship_group: Id = "1"
    sku: Id
    quantity: Quantity
    ordered_uom: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,8}$")] = "EA"
    unit_price: PositiveMoney = Decimal(0)
    discount: PositiveMoney = Decimal(0)
    tax: PositiveMoney = Decimal(0)
    parent_line_id: Id | None = None
    keep_together: Id | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)

    @property
    def kit_in_id(self) -> str | None:
        """The kit's line that the id names, as those of components do (`domain.kits`)."""
        named = _COMPONENT_ID.fullmatch(self.line_id)
        return None if named is None else named[1]

    @property
    def is_component(self) -> bool:
        """Whether it came from its parent, a kit's line."""
        return self.parent_line_id is not None and self.parent_line_id == self.kit_in_id


class Charge(Model):
    """An amount on the order that is no product: shipping, gift wrap, a fee."""

    type: Text
    amount: Money


class Payment(Model):
    """What intake knows of the money."""

    status: PaymentStatus = PaymentStatus.AUTHORIZED
    reference: Text | None = None


class Commitment(Model):
    """What the customer was promised."""

    ship_by: UtcTime | None = None
    deliver_by: UtcTime | None = None


class Order(Model):
    """An order document, whole. Raises pydantic.ValidationError with the path of each bad field."""

    order_id: Id
    source: Id
    external_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1
    order_type: OrderType = OrderType.B2C
    channel: Id = "web"
    brand: Id = "default"
    region: Id = "default"
    currency: CurrencyCode
    placed_at: UtcTime
    customer: Customer = Customer()
    ship_groups: Annotated[tuple[ShipGroup, ...], Field(min_length=1, max_length=MAX_LINES)]
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=MAX_LINES)]
    charges: Annotated[tuple[Charge, ...], Field(max_length=100)] = ()
    payment: Payment = Payment()
    promise_id: Id | None = None
    reservation_id: Id | None = None
    committed: Commitment | None = None
    allow_split: bool = True
    allow_backorder: bool = True
    po_number: Text | None = None
    payment_terms: Text | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        groups = [group.id for group in self.ship_groups]
        lines = [line.line_id for line in self.lines]
        _refuse_repeats("ship_groups: id", groups)
        _refuse_repeats("lines: line_id", lines)
        kits = {line.parent_line_id for line in self.lines if line.is_component}
        known_groups, known_lines = set(groups), {*lines, *kits}
        for position, line in enumerate(self.lines):
            if line.ship_group not in known_groups:
                raise ValueError(f"lines.{position}.ship_group: no ship group '{line.ship_group}'")
            if line.parent_line_id is not None and line.parent_line_id not in known_lines:
                raise ValueError(
                    f"lines.{position}.parent_line_id: no line '{line.parent_line_id}'"
                )
        return self

    @model_validator(mode="after")
    def _amounts_fit_the_currency(self) -> Self:
        places = minor_units(self.currency)
        amounts = [
            (f"lines.{position}.{field}", value)
            for position, line in enumerate(self.lines)
            for field, value in (
                ("unit_price", line.unit_price),
                ("discount", line.discount),
                ("tax", line.tax),
            )
        ]
        amounts += [(f"charges.{n}.amount", charge.amount) for n, charge in enumerate(self.charges)]
        for path, amount in amounts:
            if amount != amount.quantize(Decimal(1).scaleb(-places)):
                raise ValueError(f"{path}: {self.currency} has {places} decimal places")
        return self

    @property
    def goods_value(self) -> Decimal:
        """Price of all lines less discounts, in the order's currency, before tax and charges."""
        return sum((x.unit_price * x.quantity - x.discount for x in self.lines), Decimal(0))

    @property
    def total(self) -> Decimal:
        """What the customer owes: goods, tax and charges, in the order's currency."""
        tax = sum((line.tax for line in self.lines), Decimal(0))
        return self.goods_value + tax + sum((x.amount for x in self.charges), Decimal(0))

    def group(self, group_id: str) -> ShipGroup:
        """The ship group of that id. Raises KeyError when there is none."""
        for group in self.ship_groups:
            if group.id == group_id:
                return group
        raise KeyError(group_id)


def _refuse_repeats(path: str, ids: list[str]) -> None:
    repeated = [value for value, times in Counter(ids).items() if times > 1]
    if repeated:
        raise ValueError(f"{path} '{repeated[0]}' stands more than once")
