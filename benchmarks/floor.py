"""The reference: an empty order-and-child pair with the same activities and signals, nothing else.

Run as a process it is the pair's worker; `drive` starts the orders and sends the signals.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from benchmarks.processes import cpu_by_name, used
from worker.plugin import doms_plugin

QUEUE = "floor"
TIMEOUT = timedelta(seconds=10)
READY = "floor worker ready"


class Shape(BaseModel):
    """How many activities and signals the order and its child have."""

    order_activities: int
    order_signals: int
    child_activities: int
    child_signals: int
    order_bookkeeping: int = 0
    child_bookkeeping: int = 0
    """Of the activities, how many are local: bookkeeping within a workflow task."""


class Nothing(BaseModel):
    """An argument as small as can be."""

    number: int = 0


@activity.defn
def nothing(argument: Nothing) -> Nothing:
    """Do nothing."""
    return argument


class _Counting:
    def __init__(self) -> None:
        self.heard = 0

    async def step(self, *, local: bool = False) -> None:
        if local:
            await workflow.execute_local_activity(
                nothing, Nothing(), start_to_close_timeout=TIMEOUT, summary="nothing"
            )
        else:
            await workflow.execute_activity(
                nothing, Nothing(), start_to_close_timeout=TIMEOUT, summary="nothing"
            )

    async def signals(self, count: int) -> None:
        await workflow.wait_condition(lambda: self.heard >= count)


@workflow.defn
class FloorChild(_Counting):
    """Signals and activities in turn, as a fulfillment has them."""

    @workflow.run
    async def run(self, shape: Shape) -> Nothing:
        """Wait for each signal, do an activity."""
        steps = [False] * shape.child_activities + [True] * shape.child_bookkeeping
        for number in range(shape.child_signals):
            await self.signals(number + 1)
            if steps:
                await self.step(local=steps.pop(0))
        for local in steps:
            await self.step(local=local)
        return Nothing()

    @workflow.signal
    def event(self, _: Nothing) -> None:
        """Count a signal."""
        self.heard += 1


@workflow.defn
class FloorOrder(_Counting):
    """Activities, a child, signals, as an order has them."""

    @workflow.run
    async def run(self, shape: Shape) -> Nothing:
        """Do all but the last step, run the child, do the last."""
        steps = [False] * shape.order_activities + [True] * shape.order_bookkeeping
        for local in steps[:-1]:
            await self.step(local=local)
        child = await workflow.start_child_workflow(
            FloorChild.run, shape, id=f"child-{workflow.info().workflow_id}"
        )
        await self.signals(shape.order_signals)
        await child
        await self.step(local=steps[-1])
        return Nothing()

    @workflow.signal
    def event(self, _: Nothing) -> None:
        """Count a signal."""
        self.heard += 1


async def drive(
    client: Client, shape: Shape, orders: int, at_once: int, server: int
) -> tuple[float, dict[str, float]]:
    """Run that many pairs, so many at once; orders a second, and CPU seconds an order by process.

    `server` is the process id of the Temporal server.
    """
    worker = await _start_worker(client)
    try:
        await asyncio.gather(*(_one(client, shape, f"warm-{n}") for n in range(at_once)))
        room = asyncio.Semaphore(at_once)

        async def limited(number: int) -> None:
            async with room:
                await _one(client, shape, f"floor-{number}")

        pids = {"temporal": server, "worker": worker.pid}
        before = cpu_by_name(pids)
        begun = time.perf_counter()
        await asyncio.gather(*(limited(number) for number in range(orders)))
        seconds = time.perf_counter() - begun
        cpu = used(before, cpu_by_name(pids))
        return orders / seconds, {name: x / orders for name, x in cpu.items()}
    finally:
        worker.terminate()
        await worker.wait()


async def _start_worker(client: Client) -> asyncio.subprocess.Process:
    address = client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.floor",
        address,
        stdout=subprocess.PIPE,
    )
    if process.stdout is None:
        raise RuntimeError("the floor's worker has no output to read")
    line = await process.stdout.readline()
    if READY not in line.decode():
        raise RuntimeError("the floor's worker did not start")
    return process


async def _one(client: Client, shape: Shape, name: str) -> None:
    order = await client.start_workflow(FloorOrder.run, shape, id=name, task_queue=QUEUE)
    child = client.get_workflow_handle(f"child-{name}")
    await _until_there(child)
    for _ in range(shape.child_signals):
        await child.signal("event", Nothing())
    for _ in range(shape.order_signals):
        await order.signal(FloorOrder.event, Nothing())
    await order.result()


async def _until_there(handle: WorkflowHandle[Any, Any]) -> None:
    while True:
        try:
            await handle.describe()
        except RPCError:
            await asyncio.sleep(0.05)
        else:
            return


async def _work(address: str) -> None:
    client = await Client.connect(address, plugins=[doms_plugin()])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with ThreadPoolExecutor(32) as threads:
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[FloorOrder, FloorChild],
            activities=[nothing],
            activity_executor=threads,
        ):
            os.write(1, f"{READY}\n".encode())
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
