"""What is known of one fulfillment, as a state that reports and actions change.

Units are counted once, whatever the order or repetition of the reports: each asked unit is given
back (short, rejected, lost), cancelled, or still expected; the status follows from the packages.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Self

from pydantic import Field

from domain.events import CarrierEvent, EventId, FulfillmentProgress, LineProgress
from domain.fulfillments import (
    CLOSED_FULFILLMENTS,
    ON_THE_WAY,
    FulfillmentOrder,
    FulfillmentStatus,
    Package,
    PackageStatus,
)
from domain.orders import Method
from domain.plans import FulfillmentView
from domain.stages import Attention
from domain.values import Count, DerivedId, Id, Model, UtcTime

REJECTED = "rejected"


class LineState(Model):
    """Units of one line. `reported_picked` is what the node said, before what packing implies."""

    line_id: Id
    asked: Count
    reported_picked: Count = 0
    cancelled: Count = 0
    given_back: dict[str, Count] = Field(default_factory=dict)
    """Reason (not_found, damaged, rejected, lost, ...) -> units that returned to the order."""

    @property
    def expected(self) -> int:
        """Units that are still to reach the customer, or have reached them."""
        return self.asked - self.cancelled - sum(self.given_back.values())


_OF_PACKAGE = {
    PackageStatus.PACKED: FulfillmentStatus.PACKED,
    PackageStatus.LABELLED: FulfillmentStatus.PACKED,
    PackageStatus.EXCEPTION: FulfillmentStatus.EXCEPTION,
    PackageStatus.LOST: FulfillmentStatus.EXCEPTION,
    PackageStatus.RETURNED: FulfillmentStatus.EXCEPTION,
    PackageStatus.SHIPPED: FulfillmentStatus.SHIPPED,
    PackageStatus.OUT_FOR_DELIVERY: FulfillmentStatus.OUT_FOR_DELIVERY,
    PackageStatus.DELIVERED: FulfillmentStatus.DELIVERED,
}
"""Least advanced first; a lost or returned package is an exception until a person gives it up."""
_LEAST_FIRST = tuple(_OF_PACKAGE)
AT_NODE = (
    FulfillmentStatus.RELEASED,
    FulfillmentStatus.ACKNOWLEDGED,
    FulfillmentStatus.PICKING,
    FulfillmentStatus.PACKED,
    FulfillmentStatus.READY_FOR_PICKUP,
)


class FulfillmentState(Model):
    """All that is known of a fulfillment; every change makes a new one, one revision on."""

    order: FulfillmentOrder
    lines: tuple[LineState, ...]
    packages: tuple[Package, ...] = ()
    node_status: FulfillmentStatus = FulfillmentStatus.RELEASED
    """How far the node said it is, before packages leave."""
    ships_itself: bool = False
    """The node buys its own labels (suppliers, 3PLs)."""
    collected: bool = False
    pickup_expired: bool = False
    implied: tuple[DerivedId, ...] = ()
    """Packages whose contents were inferred; a later report of contents takes units over."""
    given_up: tuple[DerivedId, ...] = ()
    last_scans: dict[str, UtcTime] = Field(default_factory=dict)
    """Package id -> when its newest carrier report occurred."""
    early: tuple[CarrierEvent, ...] = ()
    """Carrier reports on tracking numbers that no package has yet."""
    seen: tuple[EventId, ...] = ()
    revision: Count = 0

    @classmethod
    def of(cls, order: FulfillmentOrder) -> Self:
        """A new fulfillment: everything asked, nothing done. Lines of one id are added up."""
        asked: dict[str, int] = {}
        for line in order.lines:
            asked[line.line_id] = asked.get(line.line_id, 0) + line.quantity
        lines = tuple(LineState(line_id=x, asked=quantity) for x, quantity in asked.items())
        return cls(order=order, lines=lines)

    # By line at once: an order has up to 1,000 lines, each of them in a package of as many.

    @property
    def packed(self) -> Counter[str]:
        """Line id -> units in any package."""
        return _units(self.packages)

    @property
    def shipped(self) -> Counter[str]:
        """Line id -> units that left the node and were not given up."""
        return _units(x for x in self.packages if x.status in ON_THE_WAY)

    @property
    def delivered(self) -> Counter[str]:
        """Line id -> units that reached the customer."""
        return _units(x for x in self.packages if x.status is PackageStatus.DELIVERED)

    @property
    def picked(self) -> dict[str, int]:
        """Line id -> units picked, as reported or as packing implies."""
        packed = self.packed
        return {
            x.line_id: min(max(x.reported_picked, packed[x.line_id]), x.expected)
            for x in self.lines
        }

    @property
    def expected(self) -> int:
        """Units of all lines that are still to reach the customer, or have."""
        return sum(line.expected for line in self.lines)

    @property
    def handed_over(self) -> bool:
        """Whether all that is left of it has left the node."""
        shipped = self.shipped
        left = all(line.expected == shipped[line.line_id] for line in self.lines)
        return left and self.expected > 0

    @property
    def status(self) -> FulfillmentStatus:
        """Derived: the least advanced of what is left; once nothing is, how it ended."""
        if self.expected == 0:
            return self._end_without_units()
        if self.handed_over:
            status = self._least_advanced_package()
            arrived = status is FulfillmentStatus.DELIVERED
            return FulfillmentStatus.COLLECTED if self.collected and arrived else status
        if self.node_status is FulfillmentStatus.READY_FOR_PICKUP:
            return self.node_status
        packed = self.packed
        if all(line.expected == packed[line.line_id] for line in self.lines):
            return self._least_advanced_package()
        if any(self.picked.values()):
            return FulfillmentStatus.PICKING
        return min(self.node_status, FulfillmentStatus.PICKING, key=AT_NODE.index)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.status in CLOSED_FULFILLMENTS

    @property
    def unlabelled(self) -> tuple[Package, ...]:
        """Packed packages that wait for a label of ours."""
        if self.ships_itself or self.order.method == Method.PICKUP:
            return ()
        return tuple(
            x for x in self.packages if x.status not in ON_THE_WAY and x.tracking_number is None
        )

    def _end_without_units(self) -> FulfillmentStatus:
        if self.pickup_expired:
            return FulfillmentStatus.PICKUP_EXPIRED
        if self.given_up:
            return FulfillmentStatus.RETURNED
        if any(line.cancelled for line in self.lines):
            return FulfillmentStatus.CANCELLED
        return FulfillmentStatus.REJECTED

    def _least_advanced_package(self) -> FulfillmentStatus:
        statuses = [package.status for package in self.packages]
        return _OF_PACKAGE[min(statuses, key=_LEAST_FIRST.index)]


def progress_of(state: FulfillmentState, *, revision: int | None = None) -> FulfillmentProgress:
    """What the order is told; `revision` where the caller counts its own."""
    return FulfillmentProgress(
        fulfillment_id=state.order.fulfillment_id,
        revision=state.revision if revision is None else revision,
        status=state.status,
        lines=_line_progress(state),
        carriers=tuple(sorted({x.carrier for x in state.packages if x.carrier})),
    )


def view_of(
    state: FulfillmentState,
    *,
    revision: int | None = None,
    attention: Attention | None = None,
    awaits: str = "",
) -> FulfillmentView:
    """What the read model shows."""
    return FulfillmentView(
        fulfillment_id=state.order.fulfillment_id,
        order_id=state.order.order_id,
        revision=state.revision if revision is None else revision,
        status=state.status,
        lines=_line_progress(state),
        packages=state.packages,
        attention=attention,
        awaits=awaits,
        closed=state.is_closed,
    )


def _line_progress(state: FulfillmentState) -> tuple[LineProgress, ...]:
    picked, shipped, delivered = state.picked, state.shipped, state.delivered
    return tuple(
        LineProgress(
            line_id=line.line_id,
            picked=picked[line.line_id],
            shipped=shipped[line.line_id],
            delivered=delivered[line.line_id],
            cancelled=line.cancelled,
            returned_to_order=sum(line.given_back.values()),
        )
        for line in state.lines
    )


def _units(packages: Iterable[Package]) -> Counter[str]:
    """Line id -> units in those packages."""
    units: Counter[str] = Counter()
    for package in packages:
        for line in package.lines:
            units[line.line_id] += line.quantity
    return units
