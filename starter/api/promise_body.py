"""What a caller may ask of promises."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from domain.money import CurrencyCode
from domain.orders import Address, Method, OrderType, ServiceLevel
from domain.routing.decision import Purpose
from domain.values import DerivedId, Id, Model, PositiveMoney, Quantity, Text, UtcTime

MOST_ITEMS = 1_000
MOST_STORES = 20
LONGEST_HOLD_SECONDS = 4 * 3_600
"""Of a cart, however it was asked for."""


class PromiseItem(Model):
    """Units wanted, in `ordered_uom`; `unit_price` matters only to value rules of the policy."""

    line_id: Id | None = None
    sku: Id
    quantity: Quantity = 1
    ordered_uom: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,8}$")] = "EA"
    ship_group: Id = "1"
    keep_together: Id | None = None
    unit_price: PositiveMoney = Decimal(0)


class PromiseGroup(Model):
    """Where items go and how. Of an address only the facts of its place are used and kept.

    A pick-up without `node_id` is offered at the nearest stores to `destination`.
    """

    id: Id = "1"
    method: Method = Method.SHIP
    destination: Address | None = None
    node_id: Id | None = None
    service_level: ServiceLevel = ServiceLevel.STANDARD
    not_before: UtcTime | None = None
    deliver_by: UtcTime | None = None
    ship_complete: bool = False


class HoldBody(Model):
    """Keep an option's units for the shopper: for so many seconds, of the chosen one by default.

    With a `reservation_id` of the caller's own, the same checkout sent again is answered as the
    first and holds nothing more.
    """

    expires_in: Annotated[int, Field(strict=True, ge=1, le=LONGEST_HOLD_SECONDS)] = 900
    option_id: Text = ""
    reservation_id: DerivedId | None = None


class PromiseBody(Model):
    """Items in; `destination` and `service_level` alone stand for one shipped group '1'.

    In that short form every way to get the items is offered: `methods` says which.
    """

    purpose: Purpose = Purpose.CART
    items: Annotated[tuple[PromiseItem, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    destination: Address | None = None
    service_level: ServiceLevel = ServiceLevel.STANDARD
    methods: tuple[Method, ...] = (Method.SHIP, Method.PICKUP, Method.SHIP_TO_STORE)
    ship_groups: Annotated[tuple[PromiseGroup, ...], Field(max_length=MOST_ITEMS)] = ()
    stores: Annotated[int, Field(strict=True, ge=0, le=MOST_STORES)] = 3
    """How many of the nearest stores are offered for pick-up."""
    order_type: OrderType = OrderType.B2C
    channel: Id = "web"
    brand: Id = "default"
    region: Id = "default"
    currency: CurrencyCode | None = None
    tier: Text = ""
    customer_id: Text = ""
    """Draws the customer's policy where one is active for a share; it is not kept."""
    allow_split: bool = True
    allow_backorder: bool = True
    hold: HoldBody | None = None

    @model_validator(mode="after")
    def _says_where_to(self) -> Self:
        if not self.ship_groups and self.destination is None:
            raise ValueError("destination: say where to (destination), or give ship_groups")
        if not self.methods:
            raise ValueError("methods: name at least one")
        if self.purpose not in {Purpose.PRODUCT_PAGE, Purpose.CART, Purpose.CHECKOUT}:
            raise ValueError("purpose: must be product_page, cart or checkout")
        if self.hold is not None and self.purpose is not Purpose.CHECKOUT:
            raise ValueError("hold: units are held at checkout: set purpose to checkout")
        self._check_groups({group.id for group in self.groups})
        return self

    def _check_groups(self, groups: set[str]) -> None:
        if len(groups) != len(self.groups):
            raise ValueError("ship_groups: an id stands more than once")
        for position, item in enumerate(self.items):
            if item.ship_group not in groups:
                raise ValueError(f"items.{position}.ship_group: no ship group '{item.ship_group}'")
        for position, group in enumerate(self.ship_groups):
            if group.method is Method.SHIP and group.destination is None:
                raise ValueError(f"ship_groups.{position}.destination: a shipment needs one")
            if group.method is not Method.SHIP and not (group.node_id or group.destination):
                raise ValueError(f"ship_groups.{position}.node_id: name the store, or a place")

    @property
    def groups(self) -> tuple[PromiseGroup, ...]:
        """The ship groups; in the short form the one it stands for."""
        if self.ship_groups:
            return self.ship_groups
        destination, level = self.destination, self.service_level
        return (
            PromiseGroup.model_construct(
                method=self.methods[0], destination=destination, service_level=level
            ),
        )
