"""The worker process: one worker for orders, one per connection with its own rate limit."""

import asyncio
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta

import uvloop
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, PollerBehaviorSimpleMaximum, Worker

from activities.context import Context
from config.settings import Settings, load_settings
from domain.network import Connection, ConnectionClass
from domain.routing.solve import warm
from store import network
from store.engine import migrate, reading
from worker.composition import (
    connect,
    context_of,
    engine_of,
    order_activities,
    outside_activities,
)
from worker.deployment import deployment_config
from worker.interceptors import WordsApart
from worker.process import prepare_process, runtime_of
from workflows.brokering import BrokeringWorkflow
from workflows.expire_holds import ExpireHolds
from workflows.fulfillment import FulfillmentWorkflow
from workflows.learn_dates import LearnDeliveryDates
from workflows.order import OrderWorkflow

log = logging.getLogger("doms.worker")

ACTIVITY_THREADS = 8
GRACE = timedelta(seconds=10)
CONNECTION_CHECK_SECONDS = 5.0


def orders_worker(
    client: Client, settings: Settings, context: Context, threads: ThreadPoolExecutor
) -> Worker:
    """The worker of the orders' queue: workflows and the steps that only touch the store."""
    return Worker(
        client,
        task_queue=settings.orders_task_queue,
        workflows=[
            OrderWorkflow,
            FulfillmentWorkflow,
            ExpireHolds,
            LearnDeliveryDates,
            BrokeringWorkflow,
        ],
        activities=order_activities(context),
        activity_executor=threads,
        interceptors=[WordsApart(context.engine)],
        max_concurrent_activities=ACTIVITY_THREADS,
        max_concurrent_workflow_tasks=32,
        max_cached_workflows=2_000,
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(maximum=10),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(initial=4, maximum=8),
        graceful_shutdown_timeout=GRACE,
        deployment_config=deployment_config(settings),
    )


def connection_worker(
    client: Client, connection: Connection, context: Context, threads: ThreadPoolExecutor
) -> Worker:
    """The worker of one connection's queue; the queue's limit holds over all workers."""
    return Worker(
        client,
        task_queue=connection.task_queue,
        activities=outside_activities(context),
        activity_executor=threads,
        interceptors=[WordsApart(context.engine)],
        max_concurrent_activities=ACTIVITY_THREADS,
        max_task_queue_activities_per_second=connection.calls_per_second,
        activity_task_poller_behavior=PollerBehaviorAutoscaling(initial=1, maximum=4),
        graceful_shutdown_timeout=GRACE,
    )


class Connections:
    """Workers for every connection the network has, also for those added while running."""

    def __init__(self, client: Client, engine: Engine, context: Context) -> None:
        """Nothing runs yet."""
        self._client = client
        self._engine = engine
        self._context = context
        self._version = ""
        self._running: set[str] = set()
        self.workers: list[Worker] = []

    async def start_new(self, stack: AsyncExitStack) -> None:
        """Start a worker for each connection that has none.

        Each has threads of its own: a system that hangs holds up no call but those to itself.
        """
        try:
            changed = await asyncio.to_thread(self._changed)
        except SQLAlchemyError as error:
            log.warning("new connections are looked for again, the database is away: %s", error)
            return
        for connection in changed:
            outside = connection.kind not in {ConnectionClass.NONE, ConnectionClass.CAPTURE}
            if outside and connection.connection_id not in self._running:
                threads = stack.enter_context(ThreadPoolExecutor(ACTIVITY_THREADS))
                worker = connection_worker(self._client, connection, self._context, threads)
                await stack.enter_async_context(worker)
                self.workers.append(worker)
                self._running.add(connection.connection_id)
                log.info("worker started on %s", connection.task_queue)

    def _changed(self) -> list[Connection]:
        with reading(self._engine) as session:
            version = network.network_version(session)
            if version == self._version:
                return []
            found = list(network.connections(session).values())
            self._version = version
            return found


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; then finish what runs, within the grace time."""
    engine = engine_of(settings)
    await asyncio.to_thread(migrate, engine)
    await asyncio.to_thread(warm)
    client = await connect(settings, runtime=runtime_of(settings))
    context = context_of(engine, settings)
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(ACTIVITY_THREADS))
        orders = orders_worker(client, settings, context, threads)
        await stack.enter_async_context(orders)
        log.info("worker started on %s", settings.orders_task_queue)
        connections = Connections(client, engine, context)
        while not stop.is_set():
            await connections.start_new(stack)
            try:
                await asyncio.wait_for(stop.wait(), CONNECTION_CHECK_SECONDS)
            except TimeoutError:
                continue
        # At once, so that all together take the grace time and not each its own.
        await asyncio.gather(*(worker.shutdown() for worker in (orders, *connections.workers)))
    engine.dispose()


async def _serve() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(load_settings(), stop)


def main() -> None:
    """Run the worker process until it is told to stop."""
    prepare_process(load_settings())
    # Its wake-ups from other threads, several for each activity, cost a fraction of asyncio's.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
