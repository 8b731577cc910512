"""Inputs, results and messages of the workflows (DESIGN section 6).

Every message has an id: a second one of the same id changes nothing. Free text is kept in the store
under that id: `reason`, `comment` and `correction` hold a code or nothing (older messages: text).
"""

from typing import Annotated, Any

from pydantic import Field

from domain.events import CancelAnswer, CarrierEvent, FulfillmentProgress, LineProgress, NodeEvent
from domain.events import Replanned as ReplannedEvent
from domain.events import SupplyGranted as SupplyGrantedEvent
from domain.fulfillments import FulfillmentOrder, FulfillmentStatus
from domain.network import ConnectionClass
from domain.orders import OrderType
from domain.plans import NodeChoice, OrderView, TimelineEntry
from domain.process_policy import Timings
from domain.stages import Choice, Stage
from domain.values import Count, DerivedId, Id, Model, Quantity, Text, UtcTime

RequestId = Annotated[str, Field(min_length=1, max_length=200)]

CURRENT_BEHAVIOR = 6
"""What an order that starts now behaves as. A change of what a workflow commands, or in which
order, holds for this number and above; orders under way go on as they began. It costs no event."""

Behavior = Annotated[int, Field(ge=1)]


class PolicyPins(Model):
    """The policy versions an order is handled under until a recorded event changes them."""

    routing: DerivedId
    process: DerivedId


class OrderInput(Model):
    """What starts an order workflow. Every wait's length is in `timings`."""

    order_id: Id
    version: Annotated[int, Field(ge=1)] = 1
    order_type: OrderType = OrderType.B2C
    pins: PolicyPins
    timings: Timings = Timings()
    behavior: Behavior = 1
    """Kept for the order's whole life; a history without it was recorded under the first."""
    state: dict[str, Any] | None = None
    """Carried over a continue-as-new; None at the start."""


class OrderResult(Model):
    """How an order ended."""

    order_id: Id
    stage: Stage
    delivered_units: Count
    cancelled_units: Count


class Vote(Model):
    """An approver's answer. `role` and `approver` are stamped by the edge."""

    request_id: RequestId
    approver: Text
    role: Id
    level: Annotated[int, Field(ge=1)]
    comment: Text = ""
    key_name: Text | None = None
    """Whose API key it came with; None from this machine's own people. An activity checks the key's
    roles again."""


class CancelLine(Model):
    """So many units of a line to cancel."""

    line_id: Id
    quantity: Quantity


class Cancel(Model):
    """Cancel lines, or all that can still be cancelled when `lines` is None."""

    request_id: RequestId
    lines: tuple[CancelLine, ...] | None = None
    reason: Text = ""
    actor: Text = ""


class PlaceHold(Model):
    """Stop an order from moving on."""

    request_id: RequestId
    type: Id = "support"
    owner: Text = ""
    reason: Text = ""
    expires_at: UtcTime | None = None


class ReleaseHold(Model):
    """Let an order move on: lifts every hold of that type."""

    request_id: RequestId
    type: Id = "support"
    actor: Text = ""


class Resume(Model):
    """A person's answer to a step that waits."""

    request_id: RequestId
    park_id: DerivedId
    choice: Choice
    correction: Text = ""
    actor: Text = ""


class ChangeAddress(Model):
    """Send a ship group elsewhere; the address itself was stored at the edge under `address_id`."""

    request_id: RequestId
    address_id: DerivedId
    ship_group: Id = "1"
    actor: Text = ""


class ChooseNode(Model):
    """Force, forbid or prefer a node for what is not released; without a choice all are lifted."""

    request_id: RequestId
    choice: NodeChoice | None = None
    node_id: Id | None = None
    reason: Text = ""
    actor: Text = ""


class Amend(Model):
    """A changed document was accepted as that version."""

    request_id: RequestId
    version: Annotated[int, Field(ge=2)]


class Answer(Model):
    """What became of a request."""

    request_id: RequestId
    done: bool
    text: str


class OrderReport(Model):
    """The `status` query's answer."""

    view: OrderView
    fulfillments: dict[DerivedId, FulfillmentStatus]
    details: str


class Timeline(Model):
    """The `timeline` query's answer: the latest entries, oldest first."""

    entries: tuple[TimelineEntry, ...]


class FulfillmentInput(Model):
    """What starts a fulfillment workflow."""

    order: FulfillmentOrder
    node_place: Text = ""
    connection_id: Id | None = None
    connection_kind: ConnectionClass = ConnectionClass.NONE
    carrier_connection_id: Id | None = None
    carrier: Text = ""
    timings: Timings = Timings()
    behavior: Behavior = 1
    """Its order's."""

    @property
    def task_queue(self) -> str | None:
        """The queue of calls to the node's own system; None when its people work in doms."""
        if self.connection_id is None:
            return None
        return f"doms-{self.connection_kind}-{self.connection_id}"


class FulfillmentResult(Model):
    """How a fulfillment ended; the order takes it like any other progress."""

    progress: FulfillmentProgress


class FulfillmentCancel(Model):
    """The order asks for units back; None means all."""

    request_id: RequestId
    lines: tuple[CancelLine, ...] | None = None
    reason: Text = ""


class FulfillmentReport(Model):
    """The `status` query's answer of a fulfillment."""

    fulfillment_id: DerivedId
    status: FulfillmentStatus
    lines: tuple[LineProgress, ...]
    details: str


__all__ = [
    "Amend",
    "Answer",
    "Cancel",
    "CancelAnswer",
    "CancelLine",
    "CarrierEvent",
    "ChangeAddress",
    "ChooseNode",
    "FulfillmentCancel",
    "FulfillmentInput",
    "FulfillmentProgress",
    "FulfillmentReport",
    "FulfillmentResult",
    "NodeEvent",
    "OrderInput",
    "OrderReport",
    "OrderResult",
    "PlaceHold",
    "PolicyPins",
    "ReleaseHold",
    "ReplannedEvent",
    "Resume",
    "SupplyGrantedEvent",
    "Timeline",
    "Vote",
]
