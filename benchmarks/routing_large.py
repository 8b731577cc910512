"""Orders of many lines: CPU time of a decision, and how far its plan is from the optimum.

`python -m benchmarks.routing_large`; the last line is one JSON object. With `--exact N` the first N
orders of each size are solved by HiGHS too, which may take minutes each.
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.routing_cases import (
    Geography,
    Tightness,
    case,
    invented_geography,
    network,
    read_geography,
)
from benchmarks.routing_oracle import bound_by_highs, problem_of
from domain.routing import solve
from domain.routing.policy import RoutingPolicy

POLICY = RoutingPolicy(name="bench", max_shipments=20)
AMPLE = Tightness()
SCARCE = Tightness(has=(0.30, 0.03), most_units=3)
BUSY = Tightness(has=(0.30, 0.03), most_units=3, busy_share=0.5, sku_repeats=True)
"""Full days and several lines of one product: no other solver is asked."""
_LONGEST = 300.0
SIZES = ((30, 300), (100, 300), (100, 2_000), (1_000, 300))


class _Measured(NamedTuple):
    milliseconds: list[float]
    gaps: list[float]
    """Proven by the kernel itself."""
    exact_gaps: list[float]
    """Against HiGHS, or the bound it reached."""
    incomplete: int


def figures(geography: Geography, repeats: int, exact: int) -> dict[str, float]:
    """Figures by lines, nodes and stock."""
    found: dict[str, float] = {}
    for lines, nodes in SIZES:
        facts = network(geography, nodes, random.Random(nodes))  # noqa: S311 (no secret)
        for name, stock in (("ample", AMPLE), ("scarce", SCARCE), ("busy", BUSY)):
            count = max(5, repeats // 10) if lines >= 1_000 else repeats
            measured = _measured(geography, facts, lines, stock, count, exact)
            key = f"{lines}x{nodes}_{name}"
            print(f"{key}: {_text(measured)}", flush=True)
            found[f"p99_ms_{key}"] = round(float(np.percentile(measured.milliseconds, 99)), 1)
            found[f"proven_gap_{key}"] = _mean(measured.gaps)
            found[f"exact_gap_{key}"] = _mean(measured.exact_gaps)
    return found


def _measured(
    geography: Geography, facts: object, lines: int, stock: Tightness, repeats: int, exact: int
) -> _Measured:
    measured = _Measured([], [], [], 0)
    for seed in range(repeats + 1):
        request, known = case(geography, facts, lines, seed, stock)  # type: ignore[arg-type]
        began = time.thread_time()
        decision = solve.decide_on(request, known, POLICY)
        spent = (time.thread_time() - began) * 1_000
        plan = decision.plan
        if plan is None or not seed:
            # The first decision works out the day's timetable, once for a network and day.
            continue
        measured.milliseconds.append(spent)
        if plan.missing:
            measured = measured._replace(incomplete=measured.incomplete + 1)
            continue
        if decision.bound_micros:
            measured.gaps.append(plan.cost_micros / decision.bound_micros - 1)
        if seed <= exact and stock is not BUSY:
            least = bound_by_highs(problem_of(request, known, POLICY), _LONGEST)
            measured.exact_gaps.append(plan.cost_micros / least - 1)
    return measured


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 5) if values else -1.0


def _text(measured: _Measured) -> str:
    p50, p99 = np.percentile(measured.milliseconds, [50, 99])
    gaps = measured.gaps or [float("nan")]
    exact = measured.exact_gaps or [float("nan")]
    return (
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; above the bound {100 * np.mean(gaps):.2f} % on "
        f"average, {100 * max(gaps):.2f} % at most; above HiGHS {100 * np.mean(exact):.3f} %, "
        f"{100 * max(exact):.3f} % at most; {measured.incomplete} lack units"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of store_sites.csv, zip_population.csv")
    parser.add_argument("--repeats", type=int, default=100, help="decisions of each size")
    parser.add_argument("--exact", type=int, default=0, help="of these solved by HiGHS")
    arguments = parser.parse_args()
    geography = read_geography(arguments.data) if arguments.data else invented_geography()
    solve.warm()
    print(json.dumps(figures(geography, arguments.repeats, arguments.exact)))


if __name__ == "__main__":
    main()
