"""EasyPost's trackers in doms's one vocabulary, and its signed webhooks."""

import hmac
import unicodedata
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from domain.events import CarrierEvent, CarrierStatus
from domain.network import Connection
from domain.values import UtcTime
from integrations.carrier.account import parcel_event, without_repeats
from integrations.errors import BadSignatureError, QuarantineError
from integrations.reading import json_object, quarantined
from integrations.vendor import Event, Headers

STATUSES: Mapping[str, CarrierStatus | None] = {
    "unknown": None,
    "pre_transit": CarrierStatus.PRE_TRANSIT,
    "in_transit": CarrierStatus.IN_TRANSIT,
    "out_for_delivery": CarrierStatus.OUT_FOR_DELIVERY,
    "available_for_pickup": CarrierStatus.OUT_FOR_DELIVERY,
    "delivered": CarrierStatus.DELIVERED,
    "return_to_sender": CarrierStatus.RETURNED,
    "failure": CarrierStatus.EXCEPTION,
    "cancelled": None,
    "error": None,
}
"""EasyPost's tracker statuses; None tells nothing of where the parcel is."""

_DETAILS = {"lost": CarrierStatus.LOST}
"""Details that say more than their status does."""

_SIGNATURE = "x-hmac-signature"
_SIGNED = "hmac-sha256-hex="
_TRACKER_EVENTS = "tracker."
_LONGEST_ID = 200
_TIME: TypeAdapter[Any] = TypeAdapter(UtcTime)


class _Detail(BaseModel):
    model_config = ConfigDict(extra="ignore")
    status: str | None = None
    status_detail: str | None = None
    datetime: Any = None


class _Tracker(BaseModel):
    model_config = ConfigDict(extra="ignore")
    tracking_code: str = Field(min_length=1, max_length=64)
    status: str
    status_detail: str | None = None
    updated_at: UtcTime
    tracking_details: list[_Detail] | None = None


def tracker_events(tracker: dict[str, Any]) -> tuple[CarrierEvent, ...]:
    """A tracker's steps, oldest first, ending with its present status.

    A step without a time tells of nothing that could be put in order, and is left out. Raises
    ValueError or pydantic.ValidationError for what is no tracker.
    """
    told = _Tracker.model_validate(tracker)
    number = told.tracking_code
    events = []
    for step in told.tracking_details or ():
        status, at = _status(step.status, step.status_detail), _time(step.datetime)
        if status is not None and at is not None:
            events.append(parcel_event(number, status, at, step.status_detail or ""))
    steps = without_repeats(events)
    present = _status(told.status, told.status_detail)
    if present is None or (steps and steps[-1].status is present):
        return steps
    return (*steps, parcel_event(number, present, told.updated_at, told.status_detail or ""))


def translate(body: dict[str, Any]) -> tuple[Event, ...]:
    """A webhook: a tracker's present step; nothing for the rest EasyPost tells of.

    EasyPost sends every kind of event to every webhook, so other kinds are no mistake.
    """
    description = body.get("description")
    if not isinstance(description, str) or not description:
        raise QuarantineError("description: says not what the event tells of")
    if not description.startswith(_TRACKER_EVENTS):
        return ()
    tracker = body.get("result")
    if not isinstance(tracker, dict):
        raise QuarantineError("result: is no tracker")
    return quarantined(lambda: tracker_events(tracker))[-1:]


def verify(_: Connection, secret: str, headers: Headers, raw: bytes) -> str:
    """Check `X-Hmac-Signature` and return the event's id. Raises BadSignatureError.

    EasyPost signs with the secret in its compatibility form (NFKD) and sends no time.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    signature = lowered.get(_SIGNATURE, "")
    key = unicodedata.normalize("NFKD", secret).encode()
    expected = _SIGNED + hmac.new(key, raw, sha256).hexdigest()
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise BadSignatureError("X-Hmac-Signature is missing, or not made with our secret")
    return _event_id(raw)


def _event_id(raw: bytes) -> str:
    """The event's own id; of a body that has none, its hash: it is kept, and once."""
    try:
        found = json_object(raw).get("id")
    except QuarantineError:
        found = None
    if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID:
        return found
    return sha256(raw).hexdigest()


def _status(status: str | None, detail: str | None) -> CarrierStatus | None:
    if status is not None and status not in STATUSES:
        raise ValueError(f"status: '{status[:64]}' is no status of an EasyPost tracker")
    return _DETAILS.get(detail or "") or STATUSES[status or "unknown"]


def _time(value: Any) -> Any:
    try:
        return _TIME.validate_python(value)
    except ValidationError:
        return None
