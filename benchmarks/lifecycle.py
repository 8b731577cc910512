"""Orders per second of the whole life of a one-shipment order, against an empty pair of workflows.

Both run on the same kind of development server, one after the other: first the empty order-and-
child pair with as many activities and signals (the floor), then doms with everything it does:
HTTP intake, kernel, stock, simulators over HTTP in their own processes, signed webhooks, read
model. The last line printed is one JSON object.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from benchmarks.floor import Shape, drive
from benchmarks.processes import child_named, cpu_by_name, used
from config.samples import load_sample
from config.settings import Settings
from starter.commands.stack import DATA_FILE, ONE_MACHINE, Addresses, Stack
from starter.supervisor import Supervisor
from store import inventory
from store.engine import open_engine, reading, transaction
from worker.plugin import doms_plugin

DC = "dc-reno"
SCALE = 0.0005
"""Waits of the process policy are shortened to this share: the remorse window becomes 5 ms."""
AT_ONCE = 40
"""Orders open at a time, in both runs."""
SHAPE = Shape(
    order_activities=3,
    order_bookkeeping=2,
    order_signals=1,
    child_activities=3,
    child_bookkeeping=1,
    child_signals=5,
)
"""The six stages; bookkeeping at release, hand-over and the end; what nodes and carrier report."""


def document(number: int, sku: str) -> dict[str, Any]:
    """A one-line order that one distribution center serves."""
    return {
        "order_id": f"B-{number}",
        "source": "bench",
        "external_id": str(number),
        "currency": "USD",
        "placed_at": datetime.now(UTC).isoformat(),
        "customer": {"name": "Bench Mark"},
        "ship_groups": [
            {
                "id": "1",
                "address": {
                    "line1": "1 Test Street",
                    "country": "US",
                    "region": "CA",
                    "postal_code": "94105",
                    "latitude": 37.77,
                    "longitude": -122.42,
                },
            }
        ],
        "lines": [{"line_id": "1", "sku": sku, "quantity": 1, "unit_price": "19.90"}],
    }


class Doms:
    """The whole stack in a folder of its own."""

    def __init__(self, home: Path, *, file: bool) -> None:
        """Nothing is started."""
        self.settings = Settings(home=home, timings_scale=SCALE, database_url="")
        self.engine = open_engine(self.settings.database)
        self.supervisor = Supervisor(home)
        self.file = file
        self.addresses: Addresses | None = None

    def __enter__(self) -> "Doms":
        """Start everything and fill the shelves."""
        self.supervisor.__enter__()
        stack = Stack(self.settings, self.supervisor, keeps_temporal=self.file)
        stack.start()
        self.addresses = stack.addresses
        for url in stack.addresses.simulators.values():
            httpx.put(f"{url}/knobs", json={"time_scale": 0}).raise_for_status()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop everything."""
        self.engine.dispose()
        self.supervisor.__exit__(None, None, None)

    @property
    def api(self) -> str:
        """Where the API listens."""
        if self.addresses is None:
            raise RuntimeError("not started")
        return self.addresses.api

    def pids(self) -> dict[str, int]:
        """Process id of each part."""
        return self.supervisor.pids()

    def fill(self, skus: list[str], units: int) -> None:
        """Put that many units of each SKU on one shelf."""
        now = datetime.now(UTC)
        with transaction(self.engine) as session:
            for sku in skus:
                key = f"bench/{sku}"
                inventory.receive(session, DC, sku, units, key=key, now=now)

    def closed(self) -> int:
        """How many orders have ended."""
        with reading(self.engine) as session:
            sql = text("SELECT count(*) FROM orders WHERE closed")
            found: int = session.execute(sql).scalar_one()
        return found


async def run_orders(doms: Doms, documents: list[dict[str, Any]], done_before: int) -> None:
    """Send the orders, so many open at once, and wait until all have ended."""
    give_up = time.monotonic() + 600
    sent, done = 0, 0
    async with httpx.AsyncClient(base_url=doms.api, timeout=30) as client:
        while done < len(documents):
            for order in documents[sent : done + AT_ONCE]:
                (await client.post("/v1/orders", json=order)).raise_for_status()
                sent += 1
            done = await asyncio.to_thread(doms.closed) - done_before
            doms.supervisor.tend()
            print(f"\r{done}/{len(documents)}", end="", file=sys.stderr, flush=True)
            if time.monotonic() > give_up:
                raise RuntimeError(f"only {done} of {len(documents)} orders ended in 10 minutes")
            await asyncio.sleep(0.1)
    print("\r", end="", file=sys.stderr)


async def events_of(client: Client, workflow_id: str) -> Counter[str]:
    """The history's events by type."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return Counter(EventType.Name(event.event_type) for event in history.events)


async def measure_doms(home: Path, orders: int, *, file: bool) -> dict[str, Any]:
    """Full lives a second, CPU by process, events of an order and its child."""
    with Doms(home, file=file) as doms:
        skus = [product.sku for product in load_sample().products if not product.components][:20]
        doms.fill(skus, orders + 100)
        warm = AT_ONCE
        documents = [document(n, skus[n % len(skus)]) for n in range(warm + orders)]
        await run_orders(doms, documents[:warm], 0)
        before = cpu_by_name(doms.pids())
        begun = time.perf_counter()
        await run_orders(doms, documents[warm:], warm)
        seconds = time.perf_counter() - begun
        cpu = used(before, cpu_by_name(doms.pids()))
        if doms.addresses is None:
            raise RuntimeError("not started")
        client = await Client.connect(doms.addresses.temporal, plugins=[doms_plugin()])
        order = await events_of(client, f"order-B-{warm}")
        child = await events_of(client, f"fulfillment-B-{warm}-1")
    return {
        "orders_per_second": round(orders / seconds, 2),
        "events_order": dict(order),
        "events_child": dict(child),
        "events_per_order": order.total() + child.total(),
        "cpu_ms_per_order": {name: round(1000 * x / orders, 1) for name, x in cpu.items()},
    }


async def measure_floor(folder: Path, orders: int, *, file: bool) -> dict[str, Any]:
    """The empty pair on a server of the same kind."""
    binary = Path(sys.executable).parent / "temporal"
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(binary),
        dev_server_database_filename=str(folder / "floor.db") if file else None,
        dev_server_log_level="error",
        dev_server_extra_args=[*ONE_MACHINE, *(DATA_FILE if file else ())],
        plugins=[doms_plugin()],
    ) as environment:
        server = child_named(binary.name)
        rate, cpu = await drive(environment.client, SHAPE, orders, AT_ONCE, server)
        order = await events_of(environment.client, "floor-0")
        child = await events_of(environment.client, "child-floor-0")
    return {
        "floor_orders_per_second": round(rate, 2),
        "floor_cpu_ms_per_order": {name: round(1000 * x, 1) for name, x in cpu.items()},
        "floor_events_per_order": order.total() + child.total(),
    }


async def main() -> None:
    """Measure, print the parts, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--file", action="store_true", help="Temporal keeps its data in a file")
    arguments = parser.parse_args()
    os.environ.pop("DOMS_HOME", None)
    with tempfile.TemporaryDirectory(prefix="doms-bench-") as folder:
        home = Path(folder)
        floor = await measure_floor(home, arguments.orders, file=arguments.file)
        doms = await measure_doms(home / "doms", arguments.orders, file=arguments.file)
    for part in ("events_order", "events_child", "cpu_ms_per_order"):
        print(part, json.dumps(doms.pop(part)))
    print("floor_cpu_ms_per_order", json.dumps(floor.pop("floor_cpu_ms_per_order")))
    figures = {
        **doms,
        **floor,
        "ratio": round(doms["orders_per_second"] / floor["floor_orders_per_second"], 3),
        "orders": arguments.orders,
        "temporal": "file" if arguments.file else "memory",
        "activities": SHAPE.order_activities + SHAPE.child_activities,
        "bookkeeping": SHAPE.order_bookkeeping + SHAPE.child_bookkeeping,
        "signals": SHAPE.order_signals + SHAPE.child_signals,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main())
