"""UPS's tracking in doms's one vocabulary."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.errors import UnknownReferenceError
from domain.events import CarrierEvent, CarrierStatus
from domain.network import Connection
from integrations.carrier.account import parcel_event, without_repeats
from integrations.carrier.ups.documents import listed
from integrations.errors import BadSignatureError, QuarantineError
from integrations.vendor import Event, Headers

TYPES: Mapping[str, CarrierStatus | None] = {
    "D": CarrierStatus.DELIVERED,
    "DD": CarrierStatus.IN_TRANSIT,
    "DO": CarrierStatus.IN_TRANSIT,
    "I": CarrierStatus.IN_TRANSIT,
    "M": CarrierStatus.PRE_TRANSIT,
    "MV": None,
    "O": CarrierStatus.OUT_FOR_DELIVERY,
    "P": CarrierStatus.IN_TRANSIT,
    "RS": CarrierStatus.RETURNED,
    "W": CarrierStatus.IN_TRANSIT,
    "X": CarrierStatus.EXCEPTION,
    "NA": None,
}
"""UPS's activity types: delivered; freight at the station of its destination or origin; in transit;
label made; label voided; out for delivery; picked up; returned; in a warehouse; exception; not
available. None, and a type that is not listed, tell nothing of where the parcel is."""


def packages_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every package that a tracking answer tells of. Raises KeyError or TypeError."""
    shipments = listed(answer["trackResponse"]["shipment"])
    return [package for shipment in shipments for package in listed(shipment.get("package") or [])]


def events_of(answer: Mapping[str, Any], tracking_number: str) -> tuple[CarrierEvent, ...]:
    """A parcel's events, oldest first.

    Raises UnknownReferenceError where UPS knows no such parcel, and ValueError, KeyError or
    TypeError for what is no tracking answer.
    """
    named = [x for x in packages_of(answer) if x.get("trackingNumber") == tracking_number]
    if not named:
        raise UnknownReferenceError(f"no parcel has the tracking number {tracking_number}")
    events = []
    for activity in named[0].get("activity") or ():
        told = _event(activity, tracking_number)
        if told is not None:
            events.append(told)
    return without_repeats(events)


def verify(_: Connection, secret: str, headers: Headers, raw: bytes) -> str:
    """UPS sends no webhooks here: nothing it seems to send is proved."""
    raise BadSignatureError("UPS is asked for its parcels and sends no webhooks")


def translate(body: dict[str, Any]) -> tuple[Event, ...]:
    """See `verify`."""
    raise QuarantineError("UPS is asked for its parcels and sends no webhooks")


def _event(activity: Mapping[str, Any], tracking_number: str) -> CarrierEvent | None:
    told = activity.get("status") or {}
    status, at = TYPES.get(str(told.get("type") or "").strip()), _time(activity)
    if status is None or at is None:
        return None
    return parcel_event(tracking_number, status, at, str(told.get("code") or ""))


def _time(activity: Mapping[str, Any]) -> datetime | None:
    """By Greenwich where UPS says it, else the place's own time with its offset, if there is one.

    An offset that is missing is taken as none: the day is right to within hours.
    """
    date, time = activity.get("gmtDate"), activity.get("gmtTime")
    if date and time:
        return _read(date, time)
    local = _read(activity.get("date"), activity.get("time") or "000000")
    return None if local is None else local - _offset(activity.get("gmtOffset") or "")


def _read(date: Any, time: Any) -> datetime | None:
    digits = "".join(x for x in f"{date}{time}" if x.isdigit())
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _offset(text: str) -> timedelta:
    sign = -1 if text.startswith("-") else 1
    hours, _, minutes = text.lstrip("+-").partition(":")
    if not hours.isdigit():
        return timedelta()
    return sign * timedelta(hours=int(hours), minutes=int(minutes) if minutes.isdigit() else 0)
