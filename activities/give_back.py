"""Giving back: what a node does not send, with what that says about its shelf."""

from typing import Literal

from temporalio import activity

from activities.context import Context
from activities.recording import FulfillmentRecord, now, write_fulfillment
from domain.events import CancelOutcome
from domain.fulfillments import PackageLine
from domain.values import DerivedId, Id, Model, Quantity, Text, UtcTime
from store import network, reservations
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


class GiveBackActivities:
    """Only units the node confirmed are freed."""

    def __init__(self, context: Context) -> None:
        """Keep the engine and the node systems."""
        self._engine = context.engine
        self._systems = context.node_systems

    @activity.defn(name="give_back")
    def give_back(self, task: GiveBackTask) -> None:
        """Free the units in the store, set the cool-off, and record the fulfillment."""
        facts = [(unit.line_id, unit.quantity, unit.effect) for unit in task.units]
        with transaction(self._engine) as session:
            reservations.free_released(session, task.fulfillment_id, facts, key=task.key, now=now())
            if task.cool_off_until is not None:
                for sku in sorted({unit.sku for unit in task.units}):
                    reservations.cool_off(
                        session, task.node_id, sku, task.cool_off_until, task.reason
                    )
            write_fulfillment(session, task)

    @activity.defn(name="request_cancel")
    def request_cancel(self, task: CancelTask) -> CancelReplied:
        """Ask the node to cancel: cancelled, too late, unknown, or it will tell later."""
        with reading(self._engine) as session:
            connection = network.connections(session)[task.connection_id]
        reply = self._systems.get(connection).request_cancel(
            task.fulfillment_id, task.request_id, task.lines, task.reason
        )
        if reply.outcome == "pending":
            return CancelReplied()
        return CancelReplied(outcome=CancelOutcome(reply.outcome), lines=reply.lines)
