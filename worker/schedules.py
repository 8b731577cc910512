"""What Temporal starts by itself at fixed times."""

from datetime import timedelta

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

from config.settings import Settings
from domain.values import MICROS
from workflows import learn_dates
from workflows.brokering import BROKERING, BrokeringInput, BrokeringWorkflow
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


def brokering_of(settings: Settings) -> Schedule:
    """Plans unreleased orders again every few minutes; a run that takes longer is not overtaken."""
    start = BrokeringInput(
        min_gain_micros=int(settings.brokering_min_gain * MICROS),
        margin=timedelta(seconds=settings.brokering_margin_seconds),
        most_orders=settings.brokering_orders,
    )
    every = timedelta(minutes=settings.brokering_minutes)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            BrokeringWorkflow.run, start, id=BROKERING, task_queue=settings.orders_task_queue
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )


async def make_schedules(client: Client, settings: Settings) -> None:
    """Make doms's schedules, or bring them up to date. May be done again. Raises RPCError."""
    await _make(client, EXPIRE_HOLDS, hold_expiry(settings.orders_task_queue))
    await _make(client, LEARN_DATES, date_learning(settings.orders_task_queue))
    await _make(client, BROKERING, brokering_of(settings))


async def _make(client: Client, schedule_id: str, wanted: Schedule) -> None:
    try:
        await client.create_schedule(schedule_id, wanted)
    except ScheduleAlreadyRunningError:

        def updated(found: ScheduleUpdateInput) -> ScheduleUpdate:
            # Whether a person has paused it stays as it is.
            wanted.state = found.description.schedule.state
            return ScheduleUpdate(schedule=wanted)

        await client.get_schedule_handle(schedule_id).update(updated)
