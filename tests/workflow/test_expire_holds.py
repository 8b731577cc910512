"""A schedule of Temporal ends what carts hold too long, also while no process of doms runs."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import Worker

from activities.reserve import HOLDS_AT_ONCE
from config.settings import Settings
from store import holds
from store.engine import open_engine, reading, transaction
from store.holds import HoldItem
from tests.integration.api.conftest import until
from tests.integration.store.builders import a_world, filled
from tests.workflow.server import TEMPORAL, development_server
from worker.composition import context_of, order_activities
from worker.schedules import make_schedules
from workflows.expire_holds import EVERY, EXPIRE_HOLDS, ExpireHolds

HOLDS = HOLDS_AT_ONCE + 5


def hold_long_ago(engine: Engine) -> None:
    """More holds than one batch ends, over since long."""
    item = HoldItem(line_id="1", node_id="A", sku="X", quantity=1)
    past = datetime.now(UTC) - timedelta(hours=1)
    with transaction(engine) as session:
        for number in range(HOLDS):
            lasting = timedelta(minutes=1)
            holds.hold(session, f"cart-{number}", [item], lasting=lasting, now=past)
        later = timedelta(hours=4)
        holds.hold(session, "cart-now", [item], lasting=later, now=datetime.now(UTC))


async def test_the_schedule_ends_every_hold_that_is_over_and_may_be_made_again(
    sqlite_template: Path, tmp_path: Path
) -> None:
    # given
    if not TEMPORAL.exists():
        pytest.skip(f"no {TEMPORAL}: run make install")
    path = tmp_path / "doms.db"
    shutil.copyfile(sqlite_template, path)
    engine = open_engine(f"sqlite:///{path}")
    a_world(engine, {("A", "X"): HOLDS + 10})
    hold_long_ago(engine)
    settings = Settings(_env_file=None, database_url=f"sqlite:///{path}")
    async with development_server() as server:
        # when
        await make_schedules(server.client, settings)
        await make_schedules(server.client, settings)
        handle = server.client.get_schedule_handle(EXPIRE_HOLDS)
        described = await handle.describe()
        await handle.trigger()
        with ThreadPoolExecutor(2) as threads:
            async with Worker(
                server.client,
                task_queue=settings.orders_task_queue,
                workflows=[ExpireHolds],
                activities=order_activities(context_of(engine, settings)),
                activity_executor=threads,
            ):
                await until(lambda: filled(engine, "A", "X").get("held") == 1)
                found = [
                    x.status
                    async for x in server.client.list_workflows("WorkflowType = 'ExpireHolds'")
                ]
    # then
    [every] = described.schedule.spec.intervals
    assert every.every == EVERY
    assert WorkflowExecutionStatus.FAILED not in found
    with reading(engine) as session:
        assert holds.load(session, "cart-0").ended == "expired"
        assert holds.load(session, "cart-now").ended is None
    engine.dispose()
