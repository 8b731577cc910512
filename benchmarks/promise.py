"""Promises over HTTP against a running API, on a large network, while orders flow through doms.

Requests are sent when they are due (open loop), so a slow answer delays no later request and hides
no wait; a latency counts from that moment. The last line printed is one JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import re
import socket
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks import promise_world as world
from benchmarks.lifecycle import SCALE, document
from benchmarks.open_loop import Answers, Poster, send_at_rate
from benchmarks.processes import cpu_by_name, used
from config.settings import Settings
from starter.commands.stack import Stack
from starter.supervisor import Program, Supervisor
from store.engine import open_engine, reading
from store.order_pages import orders_by_stage

WARM_REQUESTS = 20


def bodies(items: int, skus: int, number: int, methods: list[str]) -> list[bytes]:
    """So many requests of as many items each, to places all over the country."""
    chance = random.Random(world.SEED + items)  # noqa: S311 (a generated load, no secret)
    places = world.places(chance)
    return [
        json.dumps(
            {
                "purpose": "cart",
                "methods": methods,
                "items": [
                    {
                        "sku": world.sku_name(chance.randrange(skus)),
                        "quantity": chance.choice((1, 1, 1, 2)),
                    }
                    for _ in range(items)
                ],
                "destination": next(places).model_dump(exclude_defaults=True),
            }
        ).encode()
        for _ in range(number)
    ]


class OrderFlow:
    """Orders that come at a rate all the while."""

    def __init__(self, url: str, rate: float, skus: int) -> None:
        """Nothing is sent yet."""
        self._poster = Poster(f"{url}/v1/orders")
        self._rate = rate
        self._skus = skus
        self._numbers = count(1)
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Send orders until `end`."""
        begun, chance = time.perf_counter(), random.Random(world.SEED)  # noqa: S311
        while not self._ended.is_set():
            number = next(self._numbers)
            order = document(number, world.sku_name(chance.randrange(self._skus)))
            await self._poster.post(json.dumps(order).encode())
            due = begun + number / self._rate
            try:
                async with asyncio.timeout(max(0.0, due - time.perf_counter())):
                    await self._ended.wait()
            except TimeoutError:
                continue
        await self._poster.close()

    def end(self) -> None:
        """Send no more."""
        self._ended.set()


def closed_orders(database: str) -> int:
    """How many orders have ended."""
    engine = open_engine(database)
    with reading(engine) as session:
        stages = orders_by_stage(session)
    engine.dispose()
    return sum(stages.get(stage, 0) for stage in ("completed", "delivered"))


async def measure(
    asked: str, api: str, arguments: argparse.Namespace, database: str
) -> dict[str, Any]:
    """Both sizes of request, one after the other, while orders flow through `api`."""
    url = f"{asked}/v1/promises"
    flow = OrderFlow(api, arguments.orders_rate, arguments.skus)
    flowing = asyncio.create_task(flow.run())
    sizes = {10: arguments.rate, 100: arguments.rate_100}
    found: dict[int, Answers] = {}
    for items in sizes:
        await send_at_rate(url, bodies(items, arguments.skus, WARM_REQUESTS, arguments.methods), 5)
    before, begun = await asyncio.to_thread(closed_orders, database), time.perf_counter()
    for items, rate in sizes.items():
        number = max(1, round(arguments.seconds * rate))
        sent = bodies(items, arguments.skus, number + WARM_REQUESTS, arguments.methods)
        found[items] = await send_at_rate(url, sent[WARM_REQUESTS:], rate)
        print(f"{items} items: {described(found[items])}", file=sys.stderr)
    seconds = time.perf_counter() - begun
    after = await asyncio.to_thread(closed_orders, database)
    flow.end()
    await flowing
    return {
        **figures(found),
        "orders_per_second_meanwhile": round((after - before) / seconds, 2),
    }


def described(answers: Answers) -> str:
    """One line for a person."""
    if not answers.milliseconds:
        return f"no answer: {answers.failed[:1]}"
    p50, p90, p99 = np.percentile(answers.milliseconds, [50, 90, 99])
    kernel = float(np.percentile(answers.kernel, 50))
    return (
        f"p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms,"
        f" kernel p50 {kernel:.1f} ms, {len(answers.failed)} failed"
    )


def figures(found: dict[int, Answers]) -> dict[str, Any]:
    """What is reported of both sizes. Raises RuntimeError when an answer was no promise."""
    named: dict[str, Any] = {}
    for items, answers in found.items():
        if answers.failed:
            raise RuntimeError(f"{len(answers.failed)} requests failed: {answers.failed[0]}")
        p50, p99 = np.percentile(answers.milliseconds, [50, 99])
        named[f"p99_ms_{items}_items"] = round(float(p99), 2)
        named[f"p50_ms_{items}_items"] = round(float(p50), 2)
        share = sum(answers.kernel) / sum(answers.milliseconds)
        named[f"kernel_share_{items}_items"] = round(share, 3)
    named["kernel_share"] = named["kernel_share_10_items"]
    return named


def metric(api: str, name: str) -> float:
    """A gauge of the API's metrics."""
    text = httpx.get(f"{api}/metrics", timeout=30).text
    found = re.search(rf"^{name} ([\d.e+-]+)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the API has no metric {name}")
    return float(found.group(1))


def resident_megabytes(pid: int) -> float:
    """Memory of a process as the operating system counts it (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000, 1)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def promises_only(settings: Settings, url: str) -> Program:
    """An API process that delivers nothing, to be asked for promises only."""
    environment = {
        "DOMS_HOME": str(settings.home.absolute()),
        "DOMS_DATABASE_URL": settings.database,
        "DOMS_API_PORT": url.rpartition(":")[2],
        "DOMS_API_DELIVERS": "false",
    }
    command = (sys.executable, "-m", "starter.api.main")
    return Program("promises", command, environment, is_ready=lambda: answers(url))


def answers(url: str) -> bool:
    """Whether the process is ready."""
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.HTTPError:
        return False


def run(home: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the world, start doms on it, measure, stop."""
    settings = Settings(home=home, timings_scale=SCALE, database_url=arguments.database)
    engine = open_engine(settings.database)
    begun = time.perf_counter()
    positions = world.fill(engine, arguments.nodes, arguments.skus)
    engine.dispose()
    print(f"{positions} positions in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    with Supervisor(home) as supervisor:
        stack = Stack(settings, supervisor, keeps_temporal=False)
        stack.start()
        addresses = stack.addresses
        asked = addresses.api
        if arguments.own_process:
            asked = f"http://127.0.0.1:{free_port()}"
            supervisor.start(promises_only(settings, asked))
        for url in addresses.simulators.values():
            httpx.put(f"{url}/knobs", json={"time_scale": 0}).raise_for_status()
        part = "promises" if arguments.own_process else "api"
        before = cpu_by_name(supervisor.pids())
        measured = asyncio.run(measure(asked, addresses.api, arguments, settings.database))
        cpu = used(before, cpu_by_name(supervisor.pids()))
        print("cpu seconds", json.dumps({x: round(y, 1) for x, y in cpu.items()}), file=sys.stderr)
        return {
            **measured,
            "view_megabytes": round(metric(asked, "doms_view_megabytes"), 1),
            "view_differences": int(metric(asked, "doms_view_differences")),
            "resident_megabytes": resident_megabytes(supervisor.pids()[part]),
            "positions": positions,
        }


def main() -> None:
    """Measure, and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--skus", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=30, help="of each size of request")
    parser.add_argument("--rate", type=float, default=20, help="requests/s with 10 items")
    parser.add_argument("--rate-100", type=float, default=5, help="requests/s with 100 items")
    parser.add_argument("--orders-rate", type=float, default=1, help="orders/s all the while")
    parser.add_argument("--methods", nargs="+", default=["ship", "pickup", "ship_to_store"])
    parser.add_argument(
        "--own-process", action="store_true", help="ask an API process that delivers nothing"
    )
    parser.add_argument("--database", default="", help="URL of an empty database; else SQLite")
    arguments = parser.parse_args()
    os.environ.pop("DOMS_HOME", None)
    with tempfile.TemporaryDirectory(prefix="doms-bench-") as folder:
        measured = run(Path(folder) / "doms", arguments)
    sizes = {name: getattr(arguments, name) for name in ("nodes", "skus", "seconds", "rate")}
    measured |= {**sizes, "rate_100": arguments.rate_100, "orders_rate": arguments.orders_rate}
    measured["own_process"] = arguments.own_process
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
