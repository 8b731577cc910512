"""ShipBob's tracking in doms's one vocabulary."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from domain.events import CarrierEvent, CarrierStatus
from integrations.threepl.shipbob.orders import carrier_event, utc

STATUSES: Mapping[str, CarrierStatus | None] = {
    "PreTransit": CarrierStatus.PRE_TRANSIT,
    "InTransit": CarrierStatus.IN_TRANSIT,
    "Available for Pickup": CarrierStatus.OUT_FOR_DELIVERY,
    "Delivered": CarrierStatus.DELIVERED,
    "Delivery attempt Failed": CarrierStatus.EXCEPTION,
    "DeliveryException": CarrierStatus.EXCEPTION,
    "Exception": CarrierStatus.EXCEPTION,
    "Failed": CarrierStatus.EXCEPTION,
    "Return to sender": CarrierStatus.RETURNED,
    "Cancelled": None,
}
"""ShipBob's statuses; None, and one that is not listed, tells nothing of where the parcel is."""

_OUT_FOR_DELIVERY = "outfordelivery"


class _Step(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    status: str | None = None
    substatus: str | None = None
    timestamp: datetime


class _Parcel(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    tracking_id: str | None = None
    carrier_tracking_number: str | None = None
    status: str | None = None
    substatus: str | None = None
    last_updated: datetime | None = None
    history: list[_Step] | None = None


def names(parcel: Mapping[str, Any], tracking_number: str) -> bool:
    """Whether that answer is about that parcel."""
    return tracking_number in (parcel.get("tracking_id"), parcel.get("carrier_tracking_number"))


def parcel_events(
    parcel: Mapping[str, Any], fulfillment_id: str, tracking_number: str
) -> tuple[CarrierEvent, ...]:
    """A parcel's steps, oldest first, ending with its present status.

    Raises pydantic.ValidationError for what is no parcel.
    """
    told = _Parcel.model_validate(parcel)
    steps = [(x.status, x.substatus, utc(x.timestamp)) for x in told.history or ()]
    if told.last_updated is not None:
        steps.append((told.status, told.substatus, utc(told.last_updated)))
    seen: list[CarrierStatus] = []
    events = []
    for status, substatus, at in sorted(steps, key=lambda x: x[2]):
        meant = meaning(status, substatus)
        if meant is not None and seen[-1:] != [meant]:
            seen.append(meant)
            events.append(
                carrier_event(fulfillment_id, tracking_number, meant, at, seen.count(meant))
            )
    return tuple(events)


def meaning(status: str | None, substatus: str | None) -> CarrierStatus | None:
    """Where the parcel is; on its last way is told by the finer status only."""
    meant = STATUSES.get(status or "")
    finer = "".join(x for x in (substatus or "").lower() if x.isalpha())
    if meant is CarrierStatus.IN_TRANSIT and finer == _OUT_FOR_DELIVERY:
        return CarrierStatus.OUT_FOR_DELIVERY
    return meant
