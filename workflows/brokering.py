"""Plans unreleased orders again, together. A Temporal Schedule starts it every few minutes."""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from workflows.reactor import DATABASE_RETRIES, DATABASE_TIMEOUT

with workflow.unsafe.imports_passed_through():
    from activities.brokering import BatchTask, BrokeringActivities, RunTask
    from domain.brokering_runs import BrokeringRun
    from domain.values import Count, Model

BROKERING = "brokering"
"""The id of the schedule, and what the ids of its workflows begin with."""
_PLANNING = timedelta(minutes=10)
_SIGN_OF_LIFE = timedelta(minutes=2)
"""Planning a thousand orders takes seconds; after this a killed worker's batch is taken up."""


class BrokeringInput(Model):
    """What a run is set to."""

    min_gain_micros: Count = 100_000
    """What moving an order must save, in micros of the base currency."""
    margin: timedelta = timedelta(minutes=1)
    """Orders that are released sooner than this are left alone."""
    most_orders: Count = 1_000


@workflow.defn(name="Brokering")
class BrokeringWorkflow:
    """One run: choose orders, plan and move them batch after batch, note what it did."""

    @workflow.run
    async def run(self, start: BrokeringInput) -> BrokeringRun:
        """Plan again; what became of it."""
        task = RunTask(run_id=_run_id(), **start.model_dump())
        chosen = await workflow.execute_activity_method(
            BrokeringActivities.start_brokering,
            task,
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=DATABASE_RETRIES,
            summary="Choose orders that are reserved and not released yet",
        )
        for batch in chosen.batches:
            # What keeps one batch from being planned must not keep the others.
            with suppress(ActivityError):
                await workflow.execute_activity_method(
                    BrokeringActivities.rebroker,
                    BatchTask(**task.model_dump(), batch=batch),
                    start_to_close_timeout=_PLANNING,
                    heartbeat_timeout=_SIGN_OF_LIFE,
                    retry_policy=RetryPolicy(maximum_attempts=5),
                    summary=f"Plan {len(batch.order_ids)} orders again, {batch.policy}"[:190],
                )
        return await workflow.execute_activity_method(
            BrokeringActivities.finish_brokering,
            task,
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=DATABASE_RETRIES,
            summary="Note what the run did",
        )


def _run_id() -> str:
    """The workflow's id, as an id of doms: a schedule adds the time to it, with colons."""
    return workflow.info().workflow_id.replace(":", "")[:90]
