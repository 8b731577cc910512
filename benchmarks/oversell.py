"""Processes that all want the same units, repeat themselves and are killed: what is granted then.

`prove` starts them, kills them at random moments and starts them again where they were, so that
what a killed one had under way is asked a second time. Run as a process this module is one of them.
"""

import itertools
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, text

from domain.catalogue import Product
from domain.errors import ShortageError
from domain.network import Network, Node, NodeKind, Place
from domain.orders import Method
from domain.plans import Plan, PlanLine, PlannedFulfillment
from store import inventory, network, reporting
from store.engine import open_engine, reading, transaction
from store.inventory import StockCount
from store.reserver import Reserver
from store.reserving import Ask

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DATE = "2026-03-02"
PLENTY = 1_000_000_000
THREADS = 32


@dataclass(frozen=True)
class Contest:
    """`orders` want one unit each of one of the `skus`, each is asked for `copies` times."""

    orders: int
    skus: int = 5
    stock: int = 1_000
    """Units of each SKU."""
    copies: int = 2
    seed: int = 1
    chunk: int = 1_000
    """Attempts between two notes of how far a process is; a killed one repeats what came after."""

    @property
    def attempts(self) -> list[int]:
        """Order numbers in the sequence they are asked for; repeats stand anywhere."""
        numbers = [number for number in range(self.orders) for _ in range(self.copies)]
        random.Random(self.seed).shuffle(numbers)  # noqa: S311 (the same shuffle in every process)
        return numbers


@dataclass(frozen=True)
class Proof:
    """What came of a contest; all of the last five must be 0."""

    attempts: int
    kills: int
    granted: int
    seconds: float
    oversold_units: int
    units_not_granted: int
    """Units left although more were wanted."""
    unexplained: int
    positions_unlike_reservations: int
    granted_twice: int

    @property
    def is_sound(self) -> bool:
        """Whether exactly the stock was granted, and the books say so."""
        faults = (
            self.oversold_units,
            self.units_not_granted,
            self.unexplained,
            self.positions_unlike_reservations,
            self.granted_twice,
        )
        return not any(faults)


def a_plan(*rows: tuple[str, str, int], version: int = 1) -> Plan:
    """A plan of (node id, SKU, quantity), a line each."""
    by_node: dict[str, list[PlanLine]] = {}
    for number, (node_id, sku, quantity) in enumerate(rows, start=1):
        line = PlanLine(line_id=str(number), sku=sku, quantity=quantity)
        by_node.setdefault(node_id, []).append(line)
    return Plan(
        decision_id=f"D-{version}",
        plan_version=version,
        fulfillments=tuple(
            PlannedFulfillment(
                node_id=node_id,
                ship_group="1",
                method=Method.SHIP,
                service_id="ground",
                lines=tuple(lines),
                work_date=DATE,
                ship_by=NOW,
                deliver_by=NOW,
                order_by=NOW,
            )
            for node_id, lines in by_node.items()
        ),
    )


def fill(engine: Engine, node_ids: list[str], stock: dict[str, int]) -> None:
    """Nodes without a limit, each with so many units of every SKU."""
    nodes = tuple(
        Node(
            node_id=node_id,
            kind=NodeKind.DC,
            place=Place(country="US", region="CA"),
            daily_units=PLENTY,
            daily_orders=PLENTY,
        )
        for node_id in node_ids
    )
    products = [Product(sku=sku) for sku in stock]
    counts = [
        StockCount(node_id=node_id, sku=sku, quantity=quantity, counted_at=NOW)
        for node_id in node_ids
        for sku, quantity in stock.items()
    ]
    with transaction(engine) as session:
        network.import_network(session, Network(base_currency="USD", nodes=nodes), products, NOW)
        inventory.set_stock(session, counts, key="first", now=NOW)


def prove(url: str, contest: Contest, folder: Path, *, processes: int, kills: int) -> Proof:
    """Hold the contest in an empty, migrated database; `folder` keeps how far each process is."""
    engine = open_engine(url)
    fill(engine, ["N-1"], {f"S-{n}": contest.stock for n in range(contest.skus)})
    started = time.monotonic()
    crew = [_Contestant(url, contest, folder, number, processes) for number in range(processes)]
    chance = random.Random(contest.seed)  # noqa: S311 (the same kills in every run)
    left = kills
    while any(one.works() for one in crew):
        if left and chance.random() < 0.5:
            left -= chance.choice(crew).kill()
        time.sleep(chance.uniform(0.02, 0.2))
    seconds = time.monotonic() - started
    try:
        return _judge(engine, contest, kills - left, seconds)
    finally:
        engine.dispose()


class _Contestant:
    """A process that makes every n-th attempt, started again when it was killed."""

    def __init__(self, url: str, contest: Contest, folder: Path, number: int, count: int) -> None:
        task = {"url": url, "contest": asdict(contest), "number": number, "count": count}
        self._progress = folder / f"progress-{number}"
        self._command = [
            *(sys.executable, "-m", "benchmarks.oversell"),
            *(json.dumps(task), str(self._progress)),
        ]
        self._process = subprocess.Popen(self._command)

    def works(self) -> bool:
        """Whether attempts are left; starts the process again where it was killed."""
        status = self._process.poll()
        if status is not None and status < 0:
            self._process = subprocess.Popen(self._command)
        elif status:
            raise RuntimeError(f"a contestant ended with {status}")
        return status != 0

    def kill(self) -> bool:
        """End it by force in the middle of its work; whether it was at work."""
        has_begun, is_running = self._progress.exists(), self._process.poll() is None
        if has_begun and is_running:
            self._process.kill()
            self._process.wait()
        return has_begun and is_running


def _judge(engine: Engine, contest: Contest, kills: int, seconds: float) -> Proof:
    with reading(engine) as session:
        books = reporting.consistency(session)
        found = session.execute(text("SELECT sku, reserved FROM positions"))
        taken = {row.sku: row.reserved for row in found}
        granted, orders = session.execute(
            text("SELECT count(*), count(DISTINCT order_id) FROM reservations")
        ).one()
    wanted = [contest.orders // contest.skus] * contest.skus
    for number in range(contest.orders % contest.skus):
        wanted[number] += 1
    due = {f"S-{n}": min(contest.stock, units) for n, units in enumerate(wanted)}
    return Proof(
        attempts=contest.orders * contest.copies,
        kills=kills,
        granted=granted,
        seconds=seconds,
        oversold_units=books["oversold_units"]
        + sum(max(0, units - contest.stock) for units in taken.values()),
        units_not_granted=sum(max(0, due[sku] - units) for sku, units in taken.items()),
        unexplained=books["unexplained"],
        positions_unlike_reservations=books["positions_unlike_reservations"],
        granted_twice=granted - orders,
    )


def _take_part(url: str, contest: Contest, number: int, count: int, progress: Path) -> None:
    engine = open_engine(url, pool_size=2)
    reserver = Reserver(engine)
    plans = [a_plan(("N-1", f"S-{n}", 1)) for n in range(contest.skus)]

    def attempt(order: int) -> None:
        plan = plans[order % contest.skus]
        ask = Ask(f"W-{order}", plan, f"W-{order}/reserve/1", NOW)
        try:
            reserver.reserve(ask)
        except ShortageError:
            return

    done = int(progress.read_text()) if progress.exists() else 0
    progress.write_text(str(done))
    mine = itertools.islice(contest.attempts, number, None, count)
    rest = itertools.islice(mine, done, None)
    with ThreadPoolExecutor(THREADS) as pool:
        while chunk := list(itertools.islice(rest, contest.chunk)):
            list(pool.map(attempt, chunk))
            done += len(chunk)
            aside = progress.with_suffix(".new")
            aside.write_text(str(done))
            aside.replace(progress)
    engine.dispose()


def _main() -> None:
    task = json.loads(sys.argv[1])
    contest = Contest(**task["contest"])
    _take_part(task["url"], contest, task["number"], task["count"], Path(sys.argv[2]))


if __name__ == "__main__":
    _main()
