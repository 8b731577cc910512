"""An order as Square shows it, and what its store's people did with it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.events import NodeEvent, NodeEventType
from domain.fulfillments import Package
from integrations.pos.square.requests import FULFILLMENT_UID, OURS

ENDED = frozenset({"CANCELED", "FAILED"})
COMPLETED = "COMPLETED"
PICKUP, SHIPMENT = "PICKUP", "SHIPMENT"
_LONGEST_TEXT = 256
_LONGEST_TRACKING_NUMBER = 64

# A state implies the earlier ones, so only the newest is told.
_MEANINGS: dict[tuple[str, str], tuple[NodeEventType, tuple[str, ...]]] = {
    (PICKUP, "RESERVED"): (NodeEventType.ACKNOWLEDGED, ("accepted_at",)),
    (PICKUP, "PREPARED"): (NodeEventType.READY_FOR_PICKUP, ("ready_at",)),
    (PICKUP, COMPLETED): (NodeEventType.COLLECTED, ("picked_up_at",)),
    (PICKUP, "CANCELED"): (NodeEventType.CANCELLED, ("canceled_at",)),
    (PICKUP, "FAILED"): (NodeEventType.REJECTED, ("rejected_at", "expired_at")),
    (SHIPMENT, "RESERVED"): (NodeEventType.ACKNOWLEDGED, ("in_progress_at",)),
    (SHIPMENT, "PREPARED"): (NodeEventType.PACKED, ("packaged_at",)),
    (SHIPMENT, COMPLETED): (NodeEventType.HANDED_OVER, ("shipped_at",)),
    (SHIPMENT, "CANCELED"): (NodeEventType.CANCELLED, ("canceled_at",)),
    (SHIPMENT, "FAILED"): (NodeEventType.REJECTED, ("failed_at",)),
}


class _Shown(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Details(_Shown):
    """Of a pick-up or a shipment."""

    accepted_at: datetime | None = None
    ready_at: datetime | None = None
    picked_up_at: datetime | None = None
    rejected_at: datetime | None = None
    expired_at: datetime | None = None
    in_progress_at: datetime | None = None
    packaged_at: datetime | None = None
    shipped_at: datetime | None = None
    failed_at: datetime | None = None
    canceled_at: datetime | None = None
    cancel_reason: str | None = None
    failure_reason: str | None = None
    carrier: str | None = None
    tracking_number: str | None = None


class _Fulfillment(_Shown):
    uid: str = ""
    type: str
    state: str
    pickup_details: _Details | None = None
    shipment_details: _Details | None = None

    @property
    def details(self) -> _Details:
        return self.pickup_details or self.shipment_details or _Details()


class _LineItem(_Shown):
    quantity: str
    catalog_object_id: str | None = None


class ShownOrder(_Shown):
    """An order that doms put there."""

    id: str
    location_id: str
    version: int = 1
    state: str = "OPEN"
    updated_at: datetime
    metadata: dict[str, str] = Field(default_factory=dict)
    line_items: list[_LineItem] = Field(default_factory=list)
    fulfillments: list[_Fulfillment] = Field(min_length=1)

    @property
    def fulfillment_id(self) -> str | None:
        """The fulfillment of doms that it is."""
        return self.metadata.get(OURS)

    @property
    def work(self) -> _Fulfillment:
        """What the store's people do; they may have added others."""
        named = [x for x in self.fulfillments if x.uid == FULFILLMENT_UID]
        return (named or self.fulfillments)[0]

    def variations(self) -> dict[str, str]:
        """Units, as Square tells quantities, by variation of the catalogue."""
        units: dict[str, Decimal] = {}
        for line in self.line_items:
            name = line.catalog_object_id
            if name is not None:
                units[name] = units.get(name, Decimal(0)) + Decimal(line.quantity)
        return {name: str(quantity) for name, quantity in units.items()}


def events_of(order: ShownOrder) -> tuple[NodeEvent, ...]:
    """What became of the work; a state is told by the same id however often it is read."""
    work = order.work
    meaning = _MEANINGS.get((work.type, work.state))
    if meaning is None or order.fulfillment_id is None:
        return ()
    kind, times = meaning
    moments = [getattr(work.details, name) for name in times]
    at = next((x for x in moments if x is not None), order.updated_at)
    facts: dict[str, Any] = {}
    if kind is NodeEventType.HANDED_OVER and work.details.tracking_number:
        facts["packages"] = (_package(work.details),)
    reason = work.details.failure_reason or work.details.cancel_reason or ""
    return (
        NodeEvent(
            event_id=f"square/{order.id}/{kind}",
            occurred_at=at if at.tzinfo else at.replace(tzinfo=UTC),
            fulfillment_id=order.fulfillment_id,
            type=kind,
            reason=reason[:_LONGEST_TEXT] if work.state in ENDED else "",
            **facts,
        ),
    )


def _package(details: _Details) -> Package:
    """The one parcel of it; doms names parcels that nobody described in the same way."""
    return Package(
        package_id="P1",
        carrier=(details.carrier or "")[:_LONGEST_TEXT] or None,
        tracking_number=(details.tracking_number or "")[:_LONGEST_TRACKING_NUMBER] or None,
    )
