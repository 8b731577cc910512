"""Giving back: what a node does not send, with what that says about its shelf."""

from typing import Literal

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.recording import FulfillmentRecord, last_word, now, write_fulfillment
from domain.events import CancelOutcome, FulfillmentProgress, LineProgress
from domain.fulfillments import FulfillmentStatus, PackageLine
from domain.plans import FulfillmentView
from domain.values import DerivedId, Id, Model, Quantity, Text, UtcTime
from store import fulfillments, network, reservations, words
from store.engine import reading, transaction


class GivenBack(Model):
    """Units of a line and where they lie now: on the `shelf`, or `suspect`, or `damaged`."""

    line_id: Id
    sku: Id
    quantity: Quantity
    effect: Literal["shelf", "suspect", "damaged"]


class GiveBackTask(FulfillmentRecord):
    """Units to give back. `cool_off_until` keeps the node from getting these SKUs again at once."""

    fulfillment_id: DerivedId
    node_id: Id
    key: str
    units: tuple[GivenBack, ...]
    cool_off_until: UtcTime | None = None
    reason: Text = ""


class CancelTask(Model):
    """A request to the node to stop; None lines means all of it."""

    fulfillment_id: DerivedId
    connection_id: Id
    request_id: str
    lines: tuple[PackageLine, ...] | None = None
    reason: Text = ""


class CancelReplied(Model):
    """The node's answer; `pending` means it will tell by an event."""

    outcome: CancelOutcome | None = None
    """None: pending."""
    lines: tuple[PackageLine, ...] = ()


class EndTask(Model):
    """A fulfillment whose workflow was ended from outside: its node sends no more of it."""

    fulfillment_id: DerivedId
    target: Literal["reroute", "cancel"]
    """What becomes of the units that have not left; those that have count as delivered."""


class GiveBackActivities:
    """Only units the node confirmed are freed."""

    def __init__(self, context: Context) -> None:
        """Keep the engine and the node systems."""
        self._engine = context.engine
        self._systems = context.node_systems

    @activity.defn(name="give_back", no_thread_cancel_exception=True)
    def give_back(self, task: GiveBackTask) -> None:
        """Free the units in the store, set the cool-off, and record the fulfillment."""
        facts = [(unit.line_id, unit.quantity, unit.effect) for unit in task.units]
        with transaction(self._engine) as session:
            # First the cool-off: what a node gives back must not go to the next order there.
            if task.cool_off_until is not None:
                for sku in sorted({unit.sku for unit in task.units}):
                    reservations.cool_off(
                        session, task.node_id, sku, task.cool_off_until, task.reason
                    )
            reservations.free_released(session, task.fulfillment_id, facts, key=task.key, now=now())
            write_fulfillment(session, task)

    @activity.defn(name="end_fulfillment", no_thread_cancel_exception=True)
    def end_fulfillment(self, task: EndTask) -> FulfillmentProgress:
        """Free what has not left the node and close the fulfillment's rows."""
        with transaction(self._engine) as session:
            known = fulfillments.load_fulfillment(session, task.fulfillment_id)
            if known.view.closed:
                return last_word(known.view)  # the answer to an earlier attempt was lost
            view = _ended(known, task.target)
            shelf: reservations.Effect = "shelf"
            units = [(x.line_id, _unsent(known, x.line_id), shelf) for x in view.lines]
            reservations.free_released(
                session,
                task.fulfillment_id,
                [unit for unit in units if unit[1]],
                key=f"{task.fulfillment_id}/ended",
                now=now(),
            )
            fulfillments.record_fulfillment(session, view, now())
            return last_word(view)

    @activity.defn(name="request_cancel", no_thread_cancel_exception=True)
    def request_cancel(self, task: CancelTask) -> CancelReplied:
        """Ask the node to cancel: cancelled, too late, unknown, or it will tell later."""
        with reading(self._engine) as session:
            connection = network.connections(session)[task.connection_id]
            reason = task.reason or _reason_given(session, task)
        reply = self._systems.get(connection).request_cancel(
            task.fulfillment_id, task.request_id, task.lines, reason
        )
        if reply.outcome == "pending":
            return CancelReplied()
        return CancelReplied(outcome=CancelOutcome(reply.outcome), lines=reply.lines)


def _reason_given(session: Session, task: CancelTask) -> str:
    """What was said when the cancel was asked for; the workflow does not know it."""
    order_id = fulfillments.load_fulfillment(session, task.fulfillment_id).order.order_id
    return words.text_of(session, order_id, words.of_request(task.request_id))


def _unsent(known: fulfillments.FulfillmentRecord, line_id: str) -> int:
    asked = sum(x.quantity for x in known.order.lines if x.line_id == line_id)
    gone = (
        x.shipped + x.cancelled + x.returned_to_order
        for x in known.view.lines
        if x.line_id == line_id
    )
    return asked - sum(gone)


def _ended(known: fulfillments.FulfillmentRecord, target: str) -> FulfillmentView:
    """The fulfillment with its unsent units given back or cancelled, and the others delivered."""
    lines = []
    for line in known.view.lines:
        unsent = _unsent(known, line.line_id)
        back, cancelled = (unsent, 0) if target == "reroute" else (0, unsent)
        lines.append(
            LineProgress(
                line_id=line.line_id,
                picked=line.shipped,
                shipped=line.shipped,
                delivered=line.shipped,
                cancelled=line.cancelled + cancelled,
                returned_to_order=line.returned_to_order + back,
            )
        )
    status = FulfillmentStatus.REJECTED if target == "reroute" else FulfillmentStatus.CANCELLED
    if any(line.shipped for line in lines):
        status = FulfillmentStatus.DELIVERED
    changed = {
        "revision": known.view.revision + 1,
        "status": status,
        "lines": tuple(lines),
        "attention": None,
        "awaits": "nothing",
        "closed": True,
    }
    return known.view.model_copy(update=changed)
