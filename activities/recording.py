"""Read-model rows and timeline are written in the stage's own transaction, only if newer."""

from datetime import datetime

from sqlalchemy.orm import Session
from temporalio import activity

from domain.automation import NOTICE
from domain.events import FulfillmentProgress
from domain.plans import FulfillmentView, OrderView, TimelineEntry
from domain.values import Id, Model, UtcTime
from store import fulfillments, holds, order_events, order_recording, outbox, timeline


class OrderRecord(Model):
    """What an order wants written along with a step: its view once the step is done, its story."""

    order_id: Id
    view: OrderView | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    at: UtcTime | None = None
    """When it happens, for steps within a workflow task; else the step's scheduled time."""


class FulfillmentRecord(Model):
    """What a fulfillment wants written along with a step; `progress` is told to its order."""

    view: FulfillmentView
    timeline: tuple[TimelineEntry, ...] = ()
    progress: FulfillmentProgress | None = None
    at: UtcTime | None = None
    """As in OrderRecord."""


def last_word(view: FulfillmentView) -> FulfillmentProgress:
    """What the order is told of a fulfillment that ended, by its rows."""
    return FulfillmentProgress(
        fulfillment_id=view.fulfillment_id,
        revision=view.revision + 1,
        status=view.status,
        lines=view.lines,
        carriers=tuple(sorted({x.carrier for x in view.packages if x.carrier})),
    )


def now(record: OrderRecord | FulfillmentRecord | None = None) -> datetime:
    """When the step was scheduled, in the server's time: the same on every attempt."""
    if record is not None and record.at is not None:
        return record.at
    return activity.info().scheduled_time


def write_order(session: Session, record: OrderRecord) -> None:
    """Write the order's view if it is newer, and the new lines of its story."""
    if record.view is not None:
        is_newer = order_recording.record_order(session, record.view, now(record))
        notices = [entry.text for entry in record.timeline if entry.kind == NOTICE]
        if is_newer and notices:
            order_events.tell_notices(session, record.order_id, notices, now(record))
        if record.view.closed:
            # What its cart held and it never reserved.
            holds.free_bound(session, record.order_id, now=now(record))
    if record.timeline:
        timeline.note(session, record.order_id, record.timeline)


def write_fulfillment(session: Session, record: FulfillmentRecord) -> None:
    """Write the fulfillment's view if it is newer, and queue its progress for the order."""
    order_id = record.view.order_id
    fulfillments.record_fulfillment(session, record.view, now(record))
    if record.timeline:
        timeline.note(session, order_id, record.timeline)
    if record.progress is not None:
        outbox.send(
            session,
            f"order-{order_id}",
            "fulfillment_progress",
            record.progress.model_dump(mode="json"),
            key=f"{record.progress.fulfillment_id}/progress/{record.progress.revision}",
            now=now(record),
        )
