"""What Temporal starts by itself at fixed times."""

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from workflows import learn_dates
from workflows.expire_holds import EVERY, EXPIRE_HOLDS, ExpireHolds
from workflows.learn_dates import LEARN_DATES, LearnDeliveryDates


def hold_expiry(task_queue: str) -> Schedule:
    """Ends carts' holds every minute; a run that takes longer is not overtaken."""
    return Schedule(
        action=ScheduleActionStartWorkflow(ExpireHolds.run, id=EXPIRE_HOLDS, task_queue=task_queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )


def date_learning(task_queue: str) -> Schedule:
    """Learns delivery dates once a day; a run that takes longer is not overtaken."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            LearnDeliveryDates.run, id=LEARN_DATES, task_queue=task_queue
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=learn_dates.EVERY)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )


async def make_schedules(client: Client, task_queue: str) -> None:
    """Make doms's schedules, or bring them up to date. May be done again. Raises RPCError."""
    await _make(client, EXPIRE_HOLDS, hold_expiry(task_queue))
    await _make(client, LEARN_DATES, date_learning(task_queue))


async def _make(client: Client, schedule_id: str, wanted: Schedule) -> None:
    try:
        await client.create_schedule(schedule_id, wanted)
    except ScheduleAlreadyRunningError:

        def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
            # Whether a person has paused it stays as it is.
            wanted.state = found.description.schedule.state
            return ScheduleUpdate(schedule=wanted)

        await client.get_schedule_handle(schedule_id).update(updated)
