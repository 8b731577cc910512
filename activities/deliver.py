"""Hand-over and delivery: stock leaves the books when the carrier or customer takes the goods."""

from temporalio import activity

from activities.context import Context
from activities.recording import FulfillmentRecord, last_word, now, write_fulfillment
from domain.errors import RetryableError
from domain.events import FulfillmentProgress
from domain.fulfillments import PackageLine
from domain.values import DerivedId, Model, UtcTime
from store import fulfillments, reservations
from store.engine import reading, transaction


class HandOverTask(FulfillmentRecord):
    """Units that left the node. `key` is the business key of this hand-over."""

    fulfillment_id: DerivedId
    key: str
    lines: tuple[PackageLine, ...]
    occurred_at: UtcTime | None = None
    """When they left, where who told it said so."""


class FinalTask(Model):
    """A fulfillment whose workflow the order cannot hear."""

    fulfillment_id: DerivedId


class StillOpenError(RetryableError):
    """The fulfillment goes on; asked again later."""


class DeliverActivities:
    """The last two steps of a fulfillment."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="hand_over", no_thread_cancel_exception=True)
    def hand_over(self, task: HandOverTask) -> None:
        """Consume the units' stock and record the fulfillment as on its way."""
        lines = [(line.line_id, line.quantity) for line in task.lines]
        with transaction(self._engine) as session:
            reservations.consume(
                session,
                task.fulfillment_id,
                lines,
                key=task.key,
                now=now(task),
                occurred_at=task.occurred_at,
            )
            write_fulfillment(session, task)

    @activity.defn(name="final_report", no_thread_cancel_exception=True)
    def final_report(self, task: FinalTask) -> FulfillmentProgress:
        """How the fulfillment ended, from its rows. Raises StillOpenError until it has."""
        with reading(self._engine) as session:
            view = fulfillments.load_fulfillment(session, task.fulfillment_id).view
        if not view.closed:
            raise StillOpenError(f"{view.fulfillment_id} is {view.status.value}")
        return last_word(view)

    @activity.defn(name="deliver", no_thread_cancel_exception=True)
    def deliver(self, task: FulfillmentRecord) -> None:
        """Record what arrived, or how the fulfillment ended otherwise."""
        with transaction(self._engine) as session:
            write_fulfillment(session, task)
