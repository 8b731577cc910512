"""The worker process: systems that hang hold up nobody but those who wait for them."""

import asyncio
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker import Worker

from activities.pick import NodeTask
from store.engine import open_engine
from tests.workflow.server import TEMPORAL, development_server
from tests.workflow.world import World, settings_for
from worker.deployment import set_current
from worker.main import ACTIVITY_THREADS, Connections, orders_worker
from workflows.expire_holds import ExpireHolds

pytestmark = pytest.mark.skipif(not TEMPORAL.exists(), reason=f"no {TEMPORAL}: run make install")
HANGING = {"wms": "doms-wms-wms", "pos": "doms-pos-pos", "threepl": "doms-threepl-threepl"}


class Hanging:
    """A node's system that answers no call until it is let go."""

    def __init__(self) -> None:
        self.calls = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def remind(self, _: str) -> None:
        self.calls.release()
        self.may_answer.wait()


@workflow.defn(name="Remind", sandboxed=False)
class Remind:
    """Reminds the node of one connection, as a fulfillment does."""

    @workflow.run
    async def run(self, task: NodeTask) -> None:
        await workflow.execute_activity(
            "remind",
            task,
            task_queue=HANGING[task.connection_id],
            start_to_close_timeout=timedelta(seconds=60),
        )


async def test_systems_that_hang_do_not_hold_up_the_orders_own_steps(
    sqlite_template: Path, tmp_path: Path
) -> None:
    # given: three systems that hang, with as many calls to each as its worker takes
    shutil.copyfile(sqlite_template, tmp_path / "doms.db")
    settings = settings_for(tmp_path)
    engine = open_engine(settings.database)
    hanging = Hanging()
    async with development_server() as server, AsyncExitStack() as stack:
        world = World(server, engine, settings)
        world.wms = world.pos = world.threepl = hanging  # type: ignore[assignment]
        world.prepare()
        client = server.client
        threads = stack.enter_context(ThreadPoolExecutor(ACTIVITY_THREADS))
        await stack.enter_async_context(orders_worker(client, settings, world.context, threads))
        await Connections(client, engine, world.context).start_new(stack)
        await set_current(client, settings)
        calls = stack.enter_context(ThreadPoolExecutor(1))
        await stack.enter_async_context(
            Worker(client, task_queue="reminders", workflows=[Remind], activity_executor=calls)
        )
        stack.callback(hanging.may_answer.set)
        reminders = [
            await client.start_workflow(
                Remind.run, task_of(name, number), id=f"{name}-{number}", task_queue="reminders"
            )
            for name in HANGING
            for number in range(ACTIVITY_THREADS)
        ]
        # when
        for _ in reminders:
            assert await asyncio.to_thread(hanging.calls.acquire, timeout=20)
        expired: Any = client.execute_workflow(
            ExpireHolds.run, id="expire", task_queue=settings.orders_task_queue
        )
        # then
        assert await asyncio.wait_for(expired, 20) == 0
        hanging.may_answer.set()
        await asyncio.gather(*(x.result() for x in reminders))
    engine.dispose()


async def test_a_database_that_is_away_does_not_end_the_worker(
    sqlite_template: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # given: a network that a running worker is to look at, in a database that cannot be read
    settings = settings_for(tmp_path)
    engine = open_engine(settings.database)
    async with development_server() as server, AsyncExitStack() as stack:
        world = World(server, engine, settings)
        connections = Connections(server.client, engine, world.context)
        # when
        await connections.start_new(stack)
        # then
        assert "the database is away" in caplog.text
        # when: it is there again
        engine.dispose()
        shutil.copyfile(sqlite_template, tmp_path / "doms.db")
        world.prepare()
        caplog.set_level("INFO", "doms.worker")
        await connections.start_new(stack)
        # then
        for queue in HANGING.values():
            assert f"worker started on {queue}" in caplog.text
    engine.dispose()


def task_of(connection_id: str, number: int) -> NodeTask:
    return NodeTask(
        order_id="W-1",
        ship_group="1",
        fulfillment_id=f"W-1-{number}",
        connection_id=connection_id,
    )
