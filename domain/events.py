"""What other systems tell doms, normalised; and what doms's own parts tell an order."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from domain.fulfillments import FulfillmentStatus, Package
from domain.values import Count, DerivedId, Id, Model, Quantity, Text, UtcTime

EventId = Annotated[str, Field(min_length=1, max_length=200)]


class NodeEventType(StrEnum):
    """What a node (warehouse, store, supplier, 3PL) can report of a fulfillment."""

    ACKNOWLEDGED = "acknowledged"
    PICKING = "picking"
    PICKED = "picked"
    PACKED = "packed"
    READY_FOR_PICKUP = "ready_for_pickup"
    HANDED_OVER = "handed_over"
    COLLECTED = "collected"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    CANCEL_REFUSED = "cancel_refused"


class ShortReason(StrEnum):
    """Why a node found less than it was asked for; it sets the stock effect."""

    NOT_FOUND = "not_found"
    DAMAGED = "damaged"
    NO_CAPACITY = "no_capacity"
    OTHER = "other"


class LineFact(Model):
    """So many units of a line picked, and so many missing with their reason."""

    line_id: Id
    picked: Count = 0
    short: Count = 0
    reason: ShortReason | None = None


class NodeEvent(Model):
    """A node's report. Quantities in `lines` are facts of that event, counted once per event id."""

    event_id: EventId
    occurred_at: UtcTime
    fulfillment_id: DerivedId
    type: NodeEventType
    lines: tuple[LineFact, ...] = ()
    packages: tuple[Package, ...] = ()
    reason: Text = ""
    request_id: EventId | None = None
    """The cancel request that CANCELLED or CANCEL_REFUSED answers, where it answers one."""


class CarrierStatus(StrEnum):
    """doms's one vocabulary for tracking."""

    PRE_TRANSIT = "pre_transit"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELIVERED = "delivered"
    EXCEPTION = "exception"
    LOST = "lost"
    RETURNED = "returned"


class CarrierEvent(Model):
    """A carrier's report on one package."""

    event_id: EventId
    occurred_at: UtcTime
    fulfillment_id: DerivedId
    tracking_number: Annotated[str, Field(min_length=1, max_length=64)]
    status: CarrierStatus
    detail: Text = ""


class Shortfall(Model):
    """Units a fulfillment gives back to its order, and why."""

    line_id: Id
    quantity: Quantity
    reason: Text


class LineProgress(Model):
    """Units of one line of a fulfillment: picked >= shipped >= delivered.

    Units given back to the order (shorts, rejects, lost parcels) or cancelled count only there.
    """

    line_id: Id
    picked: Count = 0
    shipped: Count = 0
    delivered: Count = 0
    cancelled: Count = 0
    returned_to_order: Count = 0


class CancelOutcome(StrEnum):
    """A node's answer to a cancel, which is only ever a request."""

    CANCELLED = "cancelled"
    TOO_LATE = "too_late"
    UNKNOWN = "unknown"


class CancelAnswer(Model):
    """The answer to one cancel request."""

    request_id: EventId
    outcome: CancelOutcome


class AddressAnswer(Model):
    """Whether a fulfillment could still use a new address."""

    request_id: EventId
    taken: bool


class FulfillmentProgress(Model):
    """A fulfillment tells its order where it stands; only a higher revision changes anything."""

    fulfillment_id: DerivedId
    revision: Count
    status: FulfillmentStatus
    lines: tuple[LineProgress, ...] = ()
    # All there ever were, oldest first: a report that is overtaken loses nothing.
    shortfalls: tuple[Shortfall, ...] = ()
    cancel_answers: tuple[CancelAnswer, ...] = ()
    address_answers: tuple[AddressAnswer, ...] = ()
    carriers: tuple[str, ...] = ()


class SupplyGranted(Model):
    """Supply that arrived was reserved for an order's backorder."""

    request_id: EventId
    reservation_id: DerivedId


class Replanned(Model):
    """A brokering run moved an unreleased order to another plan."""

    request_id: EventId
    decision_id: DerivedId
    plan_version: Count
