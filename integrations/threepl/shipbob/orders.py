"""An order as ShipBob shows it, and what that tells in doms's terms.

ShipBob splits an order into shipments by itself. What it shipped is told by SKU; which lines that
are is read from the order's own tags.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.events import CarrierEvent, CarrierStatus, LineFact, NodeEvent, NodeEventType
from domain.fulfillments import Package, PackageLine
from integrations.threepl.shipbob.requests import LINE_TAG, TAG_SEPARATOR

CANCELLED = "Cancelled"
SHIPPED = "Completed"
_LABELLED = frozenset({"LabeledCreated", SHIPPED})
_AWAITS_A_PERSON = "ImportReview"
_GRAMS_PER_OUNCE = Decimal("28.349523125")
_MILLIMETRES_PER_INCH = Decimal("25.4")
_LONGEST_TEXT = 256
_LONGEST_TRACKING_NUMBER = 64

Units = dict[str, int]
"""Units by line id."""


class _Shown(BaseModel):
    """ShipBob says more than doms reads, and leaves out almost anything."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Tag(_Shown):
    name: str
    value: str


class _InventoryItem(_Shown):
    quantity: int = 0


class _Product(_Shown):
    reference_id: str | None = None
    sku: str | None = None
    inventory_items: list[_InventoryItem] | None = None


class _Tracking(_Shown):
    carrier: str | None = None
    carrier_service: str | None = None
    tracking_number: str | None = None


class _Measurements(_Shown):
    length_in: Decimal = Decimal(0)
    width_in: Decimal = Decimal(0)
    depth_in: Decimal = Decimal(0)
    total_weight_oz: Decimal = Decimal(0)


class Shipment(_Shown):
    """A part of an order that travels together."""

    id: int
    status: str
    created_date: datetime | None = None
    last_update_at: datetime | None = None
    actual_fulfillment_date: datetime | None = None
    delivery_date: datetime | None = None
    products: list[_Product] | None = None
    tracking: _Tracking | None = None
    measurements: _Measurements | None = None

    @property
    def tracking_number(self) -> str | None:
        """The carrier's number, where there is one that can be used."""
        number = self.tracking.tracking_number if self.tracking else None
        return number if number and len(number) <= _LONGEST_TRACKING_NUMBER else None

    @property
    def is_cancelled(self) -> bool:
        """Whether it will not leave."""
        return self.status == CANCELLED

    @property
    def has_left(self) -> bool:
        """Whether it is packed, labelled and on its way."""
        return self.status == SHIPPED or self.delivery_date is not None

    def changed_at(self) -> datetime:
        """When it became what it is, as near as ShipBob tells."""
        dates = (self.actual_fulfillment_date, self.last_update_at, self.created_date)
        return utc(next((x for x in dates if x is not None), datetime.fromtimestamp(0, UTC)))


class ShownOrder(_Shown):
    """An order and its shipments."""

    id: int
    reference_id: str
    status: str
    created_date: datetime
    tags: list[_Tag] | None = None
    shipments: list[Shipment] = Field(default_factory=list)

    def open_shipments(self) -> list[Shipment]:
        """Those that may still be stopped or sent elsewhere."""
        return [x for x in self.shipments if not x.is_cancelled and not x.has_left]

    def contents(self) -> dict[int, Units]:
        """Units by line of each shipment.

        Shipments are taken by age, cancelled ones last: units of a SKU that several lines want go
        to the lines in order. Nothing counts twice: what a later shipment took over from a
        cancelled one is not the cancelled one's any more.
        """
        left = list(self._lines())
        found: dict[int, Units] = {}
        for shipment in sorted(self.shipments, key=lambda x: (x.is_cancelled, x.id)):
            found[shipment.id] = _taken_from(left, shipment)
        return found

    def _lines(self) -> Iterator[tuple[str, str, int]]:
        for tag in self.tags or ():
            parts = tag.value.split(TAG_SEPARATOR)
            if tag.name.startswith(LINE_TAG) and len(parts) == 3 and parts[2].isdigit():
                yield parts[0], parts[1], int(parts[2])


def events_of(order: ShownOrder) -> tuple[NodeEvent | CarrierEvent, ...]:
    """All an order tells so far, oldest first; each step has one id however often it is read."""
    contents = order.contents()
    events: list[NodeEvent | CarrierEvent] = []
    if order.status not in {_AWAITS_A_PERSON, CANCELLED}:
        events.append(_node_event(order, "order", NodeEventType.ACKNOWLEDGED, order.created_date))
    for shipment in sorted(order.shipments, key=lambda x: x.id):
        events += _shipment_events(order, shipment, contents[shipment.id])
    return tuple(sorted(events, key=lambda x: x.occurred_at))


def _shipment_events(
    order: ShownOrder, shipment: Shipment, units: Units
) -> Iterator[NodeEvent | CarrierEvent]:
    name, at = str(shipment.id), shipment.changed_at()
    if shipment.is_cancelled:
        if units:
            lines = tuple(LineFact(line_id=x, short=n) for x, n in units.items())
            yield _node_event(order, name, NodeEventType.CANCELLED, at, lines=lines)
        return
    if not units and sum(not x.is_cancelled for x in order.shipments) > 1:
        return  # Nothing of ours is in it, and only the one parcel of an order can hold the rest.
    if shipment.has_left or shipment.status in _LABELLED:
        kind = NodeEventType.HANDED_OVER if shipment.has_left else NodeEventType.PACKED
        package = _package(order, shipment, units)
        yield _node_event(order, name, kind, at, packages=(package,))
    if shipment.delivery_date is not None and shipment.tracking_number is not None:
        yield carrier_event(
            order.reference_id,
            shipment.tracking_number,
            CarrierStatus.DELIVERED,
            shipment.delivery_date,
        )


def carrier_event(
    fulfillment_id: str, tracking_number: str, status: CarrierStatus, at: datetime, nth: int = 1
) -> CarrierEvent:
    """The nth time that a parcel got to that status, whoever tells of it and at what hour."""
    return CarrierEvent(
        event_id=f"shipbob/{tracking_number}/{status}/{nth}",
        occurred_at=utc(at),
        fulfillment_id=fulfillment_id,
        tracking_number=tracking_number,
        status=status,
    )


def _node_event(
    order: ShownOrder, name: str, kind: NodeEventType, at: datetime, **facts: Any
) -> NodeEvent:
    return NodeEvent(
        event_id=f"shipbob/{order.id}/{name}/{kind}",
        occurred_at=utc(at),
        fulfillment_id=order.reference_id,
        type=kind,
        **facts,
    )


def _package(order: ShownOrder, shipment: Shipment, units: Mapping[str, int]) -> Package:
    sizes = shipment.measurements or _Measurements()
    tracking = shipment.tracking or _Tracking()
    return Package(
        package_id=f"SB{shipment.id}",
        lines=tuple(PackageLine(line_id=x, quantity=n) for x, n in units.items()),
        weight_grams=_whole(sizes.total_weight_oz * _GRAMS_PER_OUNCE),
        length_mm=_whole(sizes.length_in * _MILLIMETRES_PER_INCH),
        width_mm=_whole(sizes.width_in * _MILLIMETRES_PER_INCH),
        height_mm=_whole(sizes.depth_in * _MILLIMETRES_PER_INCH),
        carrier=(tracking.carrier or "")[:_LONGEST_TEXT] or None,
        service=(tracking.carrier_service or "")[:_LONGEST_TEXT] or None,
        tracking_number=shipment.tracking_number,
        shipment_id=str(shipment.id),
    )


def _taken_from(left: list[tuple[str, str, int]], shipment: Shipment) -> Units:
    """The shipment's units by line, which then are left to no other shipment."""
    units: Units = {}
    for sku, quantity in _quantities(shipment):
        wanted = quantity
        for position, (line_id, line_sku, unsent) in enumerate(left):
            taken = min(wanted, unsent) if line_sku == sku else 0
            if taken:
                left[position] = (line_id, line_sku, unsent - taken)
                units[line_id] = units.get(line_id, 0) + taken
                wanted -= taken
    return units


def _quantities(shipment: Shipment) -> Sequence[tuple[str, int]]:
    """(SKU, units) of each product; a lot of it is an entry of its own."""
    return [
        (product.reference_id or product.sku or "", item.quantity)
        for product in shipment.products or ()
        for item in product.inventory_items or ()
    ]


def _whole(number: Decimal) -> int:
    return max(0, int(number.to_integral_value(rounding="ROUND_UP")))


def utc(moment: datetime) -> datetime:
    """ShipBob's clock runs on UTC, also where it does not say so."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
