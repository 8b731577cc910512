"""Release: freeze a plan, so that nothing re-plans it while its fulfillments start."""

from temporalio import activity

from activities.context import Context
from activities.recording import OrderRecord, now, write_order
from domain.fulfillments import FulfillmentOrder
from domain.values import Model
from store import moves, reservations
from store.engine import transaction


class ClaimTask(OrderRecord):
    """The plan version to freeze and the fulfillments it becomes."""

    plan_version: int
    fulfillments: tuple[FulfillmentOrder, ...]


class Claimed(Model):
    """Whether the plan still reserved all its units.

    If not, either `moved_to` is the plan that a brokering run put in its place, or what it did
    reserve was given back.
    """

    claimed: bool
    given_back: bool = False
    moved_to: int | None = None


class ReleaseActivities:
    """The release of a plan to its nodes."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="claim_release", no_thread_cancel_exception=True)
    def claim_release(self, task: ClaimTask) -> Claimed:
        """Move the plan's units from reserved to released and create its fulfillments."""
        with transaction(self._engine) as session:
            claimed = reservations.claim_release(
                session,
                task.order_id,
                task.plan_version,
                list(task.fulfillments),
                key=f"{task.order_id}/release/{task.plan_version}",
                now=now(task),
            )
            if claimed:
                write_order(session, task)
                return Claimed(claimed=True)
            moved_to = moves.moved_to(session, task.order_id, task.plan_version)
            if moved_to != task.plan_version:
                return Claimed(claimed=False, moved_to=moved_to)
            reservations.give_back_plan(
                session,
                task.order_id,
                task.plan_version,
                key=f"{task.order_id}/release/{task.plan_version}/given-back",
                now=now(task),
            )
            return Claimed(claimed=False, given_back=True)
