"""The port to a carrier, or to one account that stands for many carriers."""

from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from domain.events import CarrierEvent
from domain.money import CurrencyCode
from domain.network import Place
from domain.orders import Address, ServiceLevel
from domain.values import Count, DerivedId, Id, Model, PositiveMoney, Text


class ServiceOption(Model):
    """A service the shipper may use, at the account's agreed tariff where it has one.

    cost = base + per_kg x kilograms + per_km x kilometres, in the request's currency.
    """

    service_id: Id
    level: ServiceLevel = ServiceLevel.STANDARD
    base: PositiveMoney | None = None
    per_kg: PositiveMoney | None = None
    per_km: PositiveMoney | None = None


class ShipmentRequest(Model):
    """One package to send. Weight in grams, size in millimetres, distance in kilometres.

    `reference` names the package in the carrier's own pages; the carrier's events carry
    `fulfillment_id`.
    """

    reference: Annotated[str, Field(min_length=1, max_length=200)]
    fulfillment_id: DerivedId
    node_id: Id
    ship_from: Place | None = None
    ship_to: Address | None
    weight_grams: Count
    length_mm: Count = 0
    width_mm: Count = 0
    height_mm: Count = 0
    distance_km: Count | None = None
    currency: CurrencyCode = "USD"
    options: tuple[ServiceOption, ...] = ()
    """The services to choose from; none: whatever the carrier offers."""


class Rate(Model):
    """What one service costs for one package, and how many calendar days it takes."""

    service: Id
    level: ServiceLevel
    carrier: Text
    cost: PositiveMoney
    currency: CurrencyCode
    delivery_days: Count | None = None
    """None: the carrier does not say."""
    shipment_id: str | None = None
    """The carrier's own id of the offer, where buying completes it: stored before it is bought."""


class LabelImage(Model):
    """A label as the carrier sent it, where it gives no address to fetch it from."""

    media_type: str
    content: bytes


class Label(Model):
    """A bought label: it costs money until it is voided."""

    shipment_id: str
    tracking_number: str
    carrier: Text
    service: Text
    label_url: str
    """Empty where the carrier sent the `image` itself."""
    cost: PositiveMoney | None = None
    """None: a label that was found again, whose price the carrier does not repeat."""
    currency: CurrencyCode
    image: LabelImage | None = None


class VoidOutcome(StrEnum):
    """Whether a label's money comes back."""

    VOIDED = "voided"
    TOO_LATE = "too_late"


class Carrier(Protocol):
    """One connection's carrier. All raise OutsideUnavailableError or RefusedError."""

    def rates(self, request: ShipmentRequest) -> tuple[Rate, ...]:
        """Prices of one package, cheapest first."""
        ...

    def buy(
        self, request: ShipmentRequest, service: str, key: str, shipment_id: str | None = None
    ) -> Label:
        """Buy a label, once per key; `shipment_id` is the one of the rate that was chosen.

        A carrier that cannot tell a repeat by its key is asked by `find_label` first.
        """
        ...

    def find_label(
        self, request: ShipmentRequest, key: str, shipment_id: str | None = None
    ) -> Label | None:
        """The label that an earlier `buy`, whose answer was lost, bought; None: there is none.

        None, too, from a carrier whose `buy` itself answers a repeat with the first label.
        """
        ...

    def void(self, shipment_id: str, key: str) -> VoidOutcome:
        """Give a label back; too late once the carrier has the parcel."""
        ...

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """A parcel's events so far, oldest first. Raises UnknownReferenceError."""
        ...

    def check(self) -> str:
        """Ask for something harmless with the account's key; a few words on what answered."""
        ...
