"""How exact, how fast and how good routing is: `make bench-routing`.

Prints each figure as it is known; the last line is one JSON object.
"""

import argparse
import json
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import routing_baskets, routing_batch
from benchmarks.routing_cases import Geography, case, invented_geography, network, read_geography
from benchmarks.routing_oracle import as_json, optimum_by_highs, problem_of
from domain.routing import group as group_planner
from domain.routing import partition, solve
from domain.routing.facts import NetworkFacts, snapshot_of
from domain.routing.policy import RoutingPolicy

POLICY = RoutingPolicy(name="bench", max_shipments=20)
LATENCY = ((50, 5), (500, 5), (500, 10), (2_000, 5), (2_000, 10), (2_000, 14))
# (nodes, share of the orders): most where the second solver answers in milliseconds.
SIZES = ((20, 0.40), (60, 0.35), (200, 0.20), (500, 0.04), (2_000, 0.01))
_ROUNDING = 25
"""Micros by which the oracle's sums of rounded parts may differ."""


def main() -> None:
    arguments = _arguments()
    geography = read_geography(arguments.data) if arguments.data else invented_geography()
    solve.warm()
    figures: dict[str, float | int | None] = {}
    figures |= exactness(geography, arguments.orders, arguments.cp_sat)
    figures |= latency(geography, arguments.repeats)
    figures |= routing_batch.figures(geography, arguments.batch_orders)
    if arguments.seeds:
        figures |= routing_baskets.figures(geography, arguments.seeds, arguments.baskets)
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of store_sites.csv, zip_population.csv")
    parser.add_argument("--orders", type=int, default=10_000, help="orders checked against HiGHS")
    parser.add_argument("--cp-sat", type=int, default=300, help="of these checked by CP-SAT too")
    parser.add_argument("--repeats", type=int, default=400, help="decisions timed for each size")
    parser.add_argument("--batch-orders", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=10, help="of the real baskets; 0: leave out")
    parser.add_argument("--baskets", type=int, default=2_000, help="for each seed")
    return parser.parse_args()


def exactness(geography: Geography, orders: int, by_cp_sat: int) -> dict[str, float | int | None]:
    """Generated orders of 1 to 10 lines against solvers that see the problem written anew."""
    instances = suboptimal = 0
    sample: list[str] = []
    costs: list[int] = []
    began = time.perf_counter()
    for nodes, share in SIZES:
        facts = network(geography, nodes, random.Random(nodes))  # noqa: S311 (no secret)
        for number in range(max(1, round(orders * share))):
            request, known = case(geography, facts, 1 + number % 10, nodes * 100_000 + number)
            plan = solve.decide_on(request, known, POLICY).plan
            problem = problem_of(request, known, POLICY)
            best = optimum_by_highs(problem)
            if plan is None or plan.missing or best is None:
                # Lines no node has: full plans alone compare, both must find that there is none.
                suboptimal += (best is None) != (plan is None or bool(plan.missing))
                instances += 1
                continue
            instances += 1
            suboptimal += abs(plan.cost_micros - best) > _ROUNDING
            if len(sample) < by_cp_sat and number % 7 == 0:
                sample.append(as_json(problem))
                costs.append(plan.cost_micros)
        print(f"exact: {nodes} nodes done, {instances} orders, {suboptimal} dearer", flush=True)
    wrong = _by_cp_sat(sample, costs)
    print(
        f"exactness: {instances} orders against HiGHS, {suboptimal} not optimal; {len(sample)} "
        f"against CP-SAT, {wrong} not optimal; {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    return {"instances": instances, "suboptimal": suboptimal + wrong}


def _by_cp_sat(sample: list[str], costs: list[int]) -> int:
    if not sample:
        return 0
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.routing_oracle"],
        input="\n".join(sample),
        capture_output=True,
        text=True,
        check=True,
    )
    best = [json.loads(row) for row in answer.stdout.splitlines()]
    return sum(x is None or abs(x - cost) > _ROUNDING for x, cost in zip(best, costs, strict=True))


def latency(geography: Geography, repeats: int) -> dict[str, float | int | None]:
    """Milliseconds by nodes and lines: the exact core alone, and from arrays to the decision.

    Of this thread's CPU: the kernel waits for nothing, so other work on the machine does not count.
    """
    found: dict[str, float | int | None] = {}
    for nodes, lines in LATENCY:
        facts = network(geography, nodes, random.Random(nodes))  # noqa: S311 (no secret)
        solved, whole, sizes = _timed(geography, facts, lines, repeats)
        print(
            f"{nodes} x {lines}: solve {_text(solved)} ms, build and solve {_text(whole)} ms, "
            f"record {np.median(sizes) / 1_000:.1f} KB",
            flush=True,
        )
        found[f"p99_ms_{nodes}x{lines}"] = float(np.percentile(solved, 99))
        found[f"p99_ms_build_and_solve_{nodes}x{lines}"] = float(np.percentile(whole, 99))
    return {
        "p99_ms_500x5": found["p99_ms_500x5"],
        "p99_ms_2000x10": found["p99_ms_2000x10"],
        "p99_ms_build_and_solve_2000x10": found["p99_ms_build_and_solve_2000x10"],
    }


def _timed(
    geography: Geography, facts: NetworkFacts, lines: int, repeats: int
) -> tuple[list[float], list[float], list[int]]:
    solved: list[float] = []
    whole: list[float] = []
    sizes: list[int] = []
    core = partition.cheapest_partition
    vars(group_planner)["cheapest_partition"] = _watched(core, solved)
    try:
        for seed in range(repeats):
            request, known = case(geography, facts, lines, seed)
            began = time.thread_time()
            decision = solve.decide_on(request, known, POLICY)
            whole.append((time.thread_time() - began) * 1_000)
            snapshot = snapshot_of(known, request)
            texts = (
                request.model_dump_json(exclude_defaults=True),
                snapshot.model_dump_json(exclude_defaults=True, exclude={"nodes", "services"}),
                POLICY.model_dump_json(),
                decision.model_dump_json(exclude_defaults=True),
            )
            sizes.append(len(zlib.compress("".join(texts).encode(), level=4)))
    finally:
        vars(group_planner)["cheapest_partition"] = core
    # The first decision works out the day's timetable, once for a network and day.
    return solved[1:], whole[1:], sizes


def _watched(core: Callable[..., object], milliseconds: list[float]) -> Callable[..., object]:
    def timed(*arguments: object, **named: object) -> object:
        began = time.thread_time()
        found = core(*arguments, **named)
        milliseconds.append((time.thread_time() - began) * 1_000)
        return found

    return timed


def _text(milliseconds: list[float]) -> str:
    return f"{np.median(milliseconds):.2f} / {np.percentile(milliseconds, 99):.2f}"


if __name__ == "__main__":
    main()
