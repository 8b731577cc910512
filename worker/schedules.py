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

from workflows.expire_holds import EVERY, EXPIRE_HOLDS, ExpireHolds


def hold_expiry(task_queue: str) -> Schedule:
    """Ends carts' holds every minute; a run that takes longer is not overtaken."""
    return Schedule(
        action=ScheduleActionStartWorkflow(ExpireHolds.run, id=EXPIRE_HOLDS, task_queue=task_queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )


async def make_schedules(client: Client, task_queue: str) -> None:
    """Make doms's schedules, or bring them up to date. May be done again. Raises RPCError."""
    wanted = hold_expiry(task_queue)
    try:
        await client.create_schedule(EXPIRE_HOLDS, wanted)
    except ScheduleAlreadyRunningError:

        def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
            # Whether a person has paused it stays as it is.
            wanted.state = found.description.schedule.state
            return ScheduleUpdate(schedule=wanted)

        await client.get_schedule_handle(EXPIRE_HOLDS).update(updated)
