"""The port to whatever runs a node: a WMS, a store's POS, a supplier or a third-party warehouse."""

from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import Field

from domain.events import CarrierEvent, NodeEvent
from domain.fulfillments import FulfillmentOrder, Package, PackageLine
from domain.orders import Address
from domain.values import Count, Id, Model, Text


class Handover(Model):
    """What a node needs to start: the work, and the personal facts loaded just for this call.

    `weights` are grams per unit by SKU, for systems that weigh packages by sum.
    """

    order: FulfillmentOrder
    ship_to: Address | None = None
    customer_name: Text | None = None
    weights: dict[Id, Count] = Field(default_factory=dict)


class HandoverReceipt(Model):
    """The node's system has the order.

    `acknowledged`: it will do it; False: a person has yet to accept (a webhook says so later).
    `ships_itself`: it buys its own labels and reports its own tracking.
    """

    external_id: str
    acknowledged: bool
    ships_itself: bool


class CancelReplyOutcome(StrEnum):
    """A node's answer to a cancel request; `pending` is answered later by webhook."""

    CANCELLED = "cancelled"
    TOO_LATE = "too_late"
    PENDING = "pending"
    UNKNOWN = "unknown"


class CancelReply(Model):
    """The answer and, when cancelled, exactly the units that will not be shipped."""

    outcome: CancelReplyOutcome
    lines: tuple[PackageLine, ...] = ()


class NodeSystem(Protocol):
    """One connection's node system. Every call may be repeated and does its work once.

    All raise OutsideUnavailableError when the system cannot be reached and RefusedError with its
    own words when it says no.
    """

    def release(self, handover: Handover) -> HandoverReceipt:
        """Hand an order over, keyed by its fulfillment id: a repeat returns the first receipt."""
        ...

    def update_address(self, fulfillment_id: str, address: Address) -> bool:
        """Send it elsewhere; False when it is too late."""
        ...

    def request_cancel(
        self,
        fulfillment_id: str,
        request_id: str,
        lines: tuple[PackageLine, ...] | None,
        reason: str,
    ) -> CancelReply:
        """Ask to stop all of it (`lines` None) or some units; keyed by the request id."""
        ...

    def remind(self, fulfillment_id: str) -> None:
        """Ask for the acknowledgement that has not come."""
        ...

    def attach_labels(self, fulfillment_id: str, packages: tuple[Package, ...]) -> None:
        """Give the node the labels of packed packages, so that it may hand them over."""
        ...

    def pickup_expired(self, fulfillment_id: str) -> None:
        """Nobody came: ask to put it back on the shelf."""
        ...

    def events_of(self, fulfillment_id: str) -> tuple[NodeEvent, ...]:
        """All the node has reported of an order so far, oldest first: for webhooks that got lost.

        Raises UnknownReferenceError when the node does not know the order.
        """
        ...

    def reports(self, fulfillment_id: str) -> tuple[NodeEvent | CarrierEvent, ...]:
        """`events_of`, and where the node ships itself its parcels' steps, each by the same id.

        Raises UnknownReferenceError when the node does not know the order.
        """
        ...

    def check(self) -> str:
        """Ask for something harmless with the account's key; a few words on what answered."""
        ...


@runtime_checkable
class NamesOrders(Protocol):
    """A node system whose webhooks name orders by an id of its own."""

    def fulfillment_of(self, external_id: str) -> str | None:
        """The fulfillment that it is; None: an order that doms did not put there."""
        ...
