"""Ends what carts hold too long. A Temporal Schedule starts it, so it outlives every process."""

from datetime import timedelta

from temporalio import workflow

from workflows.reactor import DATABASE_RETRIES, DATABASE_TIMEOUT

with workflow.unsafe.imports_passed_through():
    from activities.reserve import ReserveActivities

EXPIRE_HOLDS = "expire-holds"
"""The id of the schedule, and what the ids of its workflows begin with."""
EVERY = timedelta(minutes=1)
"""How long a hold may be over before it is ended. Who takes stock ends it on the spot."""


@workflow.defn(name="ExpireHolds")
class ExpireHolds:
    """One run: batch after batch until no hold is over."""

    @workflow.run
    async def run(self) -> int:
        """End them; how many."""
        ended = 0
        while True:
            batch = await workflow.execute_activity_method(
                ReserveActivities.expire_holds,
                start_to_close_timeout=DATABASE_TIMEOUT,
                retry_policy=DATABASE_RETRIES,
                summary="End what carts held too long",
            )
            ended += batch.ended
            if not batch.has_more:
                return ended
