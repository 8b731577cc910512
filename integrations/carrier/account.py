"""What every carrier's account is configured with: its key, who sends, and its services' names."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import RefusedError
from domain.events import CarrierEvent, CarrierStatus
from domain.money import CountryCode
from domain.orders import Address, ServiceLevel
from domain.values import Id, Text
from integrations.carrier.port import ShipmentRequest

_GRAMS_PER_OUNCE = Decimal("28.349523125")
_MILLIMETRES_PER_INCH = Decimal("25.4")


class Sender(BaseModel):
    """Who stands on the label as the sender: a carrier wants a street and a telephone."""

    model_config = ConfigDict(extra="forbid")
    name: Text
    line1: Text
    line2: Text = ""
    city: Text
    region: Text = ""
    postal_code: Text = ""
    country: CountryCode
    phone: Text = ""


class CarrierSettings(BaseModel):
    """A carrier connection's `settings`."""

    model_config = ConfigDict(extra="forbid")
    sender: Sender | None = None
    """Who sends from every node that `senders` does not name."""
    senders: dict[Id, Sender] = Field(default_factory=dict)
    services: dict[Id, str] = Field(default_factory=dict)
    """The carrier's name of each of the network's services."""

    def sender_of(self, node_id: str) -> Sender:
        """The sender of a node's parcels. Raises RefusedError where none is configured."""
        found = self.senders.get(node_id, self.sender)
        if found is None:
            raise RefusedError(
                f"nobody sends from {node_id}: give the carrier's connection settings.sender,"
                f" or settings.senders.{node_id}"
            )
        return found


def receiver_of(request: ShipmentRequest) -> Address:
    """Where the parcel goes. Raises RefusedError when nobody said."""
    if request.ship_to is None or not request.ship_to.line1:
        raise RefusedError("ship_to: a carrier needs a street: correct the order's address")
    return request.ship_to


def level_of(request: ShipmentRequest, service_id: str) -> ServiceLevel:
    """How fast a service of the node's counts as; standard for one it does not list."""
    levels = {option.service_id: option.level for option in request.options}
    return levels.get(service_id, ServiceLevel.STANDARD)


def own_names(services: Mapping[str, str]) -> dict[str, str]:
    """The network's service ids by the carrier's own names."""
    return {theirs: own for own, theirs in services.items()}


def ounces(grams: int) -> Decimal:
    """Rounded up to a tenth; at least a tenth, for a carrier weighs nothing as an error."""
    return _up(Decimal(grams) / _GRAMS_PER_OUNCE)


def inches(millimetres: int) -> Decimal:
    """Rounded up to a tenth."""
    return _up(Decimal(millimetres) / _MILLIMETRES_PER_INCH)


def _up(number: Decimal) -> Decimal:
    tenth = Decimal("0.1")
    return max(tenth, number.quantize(tenth, rounding="ROUND_UP"))


def amount(value: Any) -> Decimal:
    """An amount sent as a string or as a JSON number, to the digit. Raises ValueError."""
    try:
        return Decimal(str(value))
    except ArithmeticError as bad:
        raise ValueError(f"'{str(value)[:32]}' is no amount") from bad


def parcel_event(
    tracking_number: str, status: CarrierStatus, at: datetime, detail: str
) -> CarrierEvent:
    """One step of a parcel, with the same id whether a webhook or a poll tells of it.

    These carriers do not say whose parcel it is: the id in `fulfillment_id` is no fulfillment's,
    keeps a parcel's events in order, and doms finds the fulfillment by tracking number.
    """
    step = sha256(f"{tracking_number}|{status}|{at.isoformat()}".encode()).hexdigest()[:32]
    parcel = sha256(tracking_number.encode()).hexdigest()[:32]
    return CarrierEvent(
        event_id=f"parcel/{step}",
        occurred_at=at,
        fulfillment_id=f"parcel.{parcel}",
        tracking_number=tracking_number,
        status=status,
        detail=detail,
    )


def without_repeats(events: list[CarrierEvent]) -> tuple[CarrierEvent, ...]:
    """Oldest first, each step once."""
    found: dict[str, CarrierEvent] = {}
    for event in sorted(events, key=lambda x: x.occurred_at):
        found.setdefault(event.event_id, event)
    return tuple(found.values())
