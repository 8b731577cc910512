"""A fulfillment: one node, one ship group, some units, and the packages they leave in."""

from enum import StrEnum

from domain.values import Count, DerivedId, Id, Model, Quantity, Text, UtcTime


class FulfillmentStatus(StrEnum):
    """Where a fulfillment stands, derived from its packages once there are any."""

    CREATED = "created"
    RELEASED = "released"
    ACKNOWLEDGED = "acknowledged"
    PICKING = "picking"
    PACKED = "packed"
    READY_FOR_PICKUP = "ready_for_pickup"
    SHIPPED = "shipped"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELIVERED = "delivered"
    COLLECTED = "collected"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXCEPTION = "exception"
    PICKUP_EXPIRED = "pickup_expired"
    RETURNED = "returned"


CLOSED_FULFILLMENTS = frozenset(
    {
        FulfillmentStatus.DELIVERED,
        FulfillmentStatus.COLLECTED,
        FulfillmentStatus.REJECTED,
        FulfillmentStatus.CANCELLED,
        FulfillmentStatus.PICKUP_EXPIRED,
        FulfillmentStatus.RETURNED,
    }
)


class PackageStatus(StrEnum):
    """Where a package is."""

    PACKED = "packed"
    LABELLED = "labelled"
    SHIPPED = "shipped"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELIVERED = "delivered"
    EXCEPTION = "exception"
    LOST = "lost"
    RETURNED = "returned"
    VOIDED = "voided"
    """Its label was given back before it left; only the read model keeps it."""


ON_THE_WAY = frozenset(
    {
        PackageStatus.SHIPPED,
        PackageStatus.OUT_FOR_DELIVERY,
        PackageStatus.DELIVERED,
        PackageStatus.EXCEPTION,
        PackageStatus.LOST,
        PackageStatus.RETURNED,
    }
)
"""Statuses of a package that has left its node."""


class PackageLine(Model):
    """Units of one line in one package."""

    line_id: Id
    quantity: Quantity


class Package(Model):
    """A box: contents, weight (grams), size (millimetres), label and tracking."""

    package_id: DerivedId
    lines: tuple[PackageLine, ...] = ()
    weight_grams: Count = 0
    length_mm: Count = 0
    width_mm: Count = 0
    height_mm: Count = 0
    sscc: str | None = None
    carrier: Text | None = None
    service: Text | None = None
    tracking_number: str | None = None
    shipment_id: str | None = None
    label_url: str | None = None
    cost: str | None = None
    status: PackageStatus = PackageStatus.PACKED


class FulfillmentLine(Model):
    """Units of one order line asked of the node."""

    line_id: Id
    sku: Id
    quantity: Quantity


class FulfillmentOrder(Model):
    """What a node is asked to do. No name or address: those are loaded where they are needed."""

    fulfillment_id: DerivedId
    order_id: Id
    node_id: Id
    ship_group: Id
    method: str
    service_id: str | None = None
    lines: tuple[FulfillmentLine, ...]
    ship_by: UtcTime | None = None
    deliver_by: UtcTime | None = None
