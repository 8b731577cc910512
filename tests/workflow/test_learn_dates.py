"""A schedule of Temporal learns delivery dates anew; too little delivered teaches nothing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.worker import Worker

from activities import learn_dates
from activities.learn_dates import LearnedSummary
from config.settings import Settings
from domain.learned_dates import Shipment
from domain.network import Place
from store import delivery_dates
from store.engine import open_engine, reading
from tests.workflow.server import TEMPORAL, development_server
from worker.composition import context_of, order_activities
from worker.schedules import make_schedules
from workflows.expire_holds import ExpireHolds
from workflows.learn_dates import EVERY, LEARN_DATES, LearnDeliveryDates

HOME = Place(country="US", region="CA")


def delivered(count: int, days: float = 160) -> list[Shipment]:
    """One after the other until now, each with four days on its way."""
    start = datetime.now(UTC) - timedelta(days=days)
    return [
        Shipment(
            node_id="A",
            service_id="ground",
            origin=HOME,
            destination=HOME,
            planned=(left := start + timedelta(days=days * number / count)),
            handed_over=left,
            delivered=left + timedelta(days=3 + number % 3),
        )
        for number in range(count)
    ]


async def test_the_schedule_learns_once_a_day_from_what_was_delivered(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    if not TEMPORAL.exists():
        pytest.skip(f"no {TEMPORAL}: run make install")
    path = tmp_path / "doms.db"
    shutil.copyfile(sqlite_template, path)
    engine = open_engine(f"sqlite:///{path}")
    settings = Settings(_env_file=None, database_url=f"sqlite:///{path}")
    history: list[Shipment] = []
    monkeypatch.setattr(delivery_dates, "shipments", lambda _session, _since: history)
    async with development_server() as server:
        await make_schedules(server.client, settings)
        described = await server.client.get_schedule_handle(LEARN_DATES).describe()
        with ThreadPoolExecutor(2) as threads:
            async with Worker(
                server.client,
                task_queue=settings.orders_task_queue,
                workflows=[LearnDeliveryDates, ExpireHolds],
                activities=order_activities(context_of(engine, settings)),
                activity_executor=threads,
            ):

                async def run(number: int) -> LearnedSummary:
                    return await server.client.execute_workflow(
                        LearnDeliveryDates.run,
                        id=f"learning-{number}",
                        task_queue=settings.orders_task_queue,
                    )

                # when nothing was delivered, and when much was
                nothing = await run(1)
                history.extend(delivered(1_500))
                much = await run(2)
    # then
    [every] = described.schedule.spec.intervals
    assert every.every == EVERY
    assert nothing == LearnedSummary()
    assert much.shipments > 1_400
    assert much.lanes == 3
    with reading(engine) as session:
        kept = delivery_dates.latest(session)
    assert kept is not None
    assert kept.shipments == much.shipments
    assert len(kept.holidays) > 40
    engine.dispose()


def test_holidays_count_only_where_all_goes_to_one_country() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    [one] = delivered(1)

    def to(*countries: str) -> list[Shipment]:
        return [
            Shipment(one.node_id, "s", HOME, Place(country=country), at, None, None)
            for country in countries
        ]

    new_year = (datetime(2026, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert new_year in learn_dates._holidays(to("BR", "BR"), at)
    assert learn_dates._holidays(to("BR", "US"), at) == frozenset()
    assert learn_dates._holidays([], at) == frozenset()
