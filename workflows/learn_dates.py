"""Learns delivery dates anew from what was delivered. A Temporal Schedule starts it each day."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.learn_dates import LearnDatesActivities, LearnedSummary

LEARN_DATES = "learn-delivery-dates"
"""The id of the schedule, and what the ids of its workflows begin with."""
EVERY = timedelta(days=1)
_TIMEOUT = timedelta(minutes=30)


@workflow.defn(name="LearnDeliveryDates")
class LearnDeliveryDates:
    """One run; a failed one is tried three times, then the next day's run does it."""

    @workflow.run
    async def run(self) -> LearnedSummary:
        """Learn; from how many shipments, for how many lanes."""
        return await workflow.execute_activity_method(
            LearnDatesActivities.learn_delivery_dates,
            start_to_close_timeout=_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=3),
            summary="Learn delivery dates from delivered shipments",
        )
