"""The routing problem written down a second time, for other solvers.

A problem is plain lists: for each node the fixed cost and the cost per line in micros of the lines
it can serve. It knows nothing of the kernel's sets, arrays or search.

`python -m benchmarks.routing_oracle` reads problems as JSON lines and answers with CP-SAT's optimum
of each: `ortools` and `highspy` cannot live in one process.
"""

import json
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from domain.geo import haversine_km
from domain.routing.decision import DecisionRequest
from domain.routing.facts import KernelFacts
from domain.routing.policy import RoutingPolicy


@dataclass(frozen=True)
class Problem:
    """Serve every line from one node; each node used costs its fixed part once."""

    fixed: list[int]
    serves: list[dict[str, int]]
    """By node: line's position (as text) -> micros."""
    lines: int


def problem_of(request: DecisionRequest, facts: KernelFacts, policy: RoutingPolicy) -> Problem:
    """Reads requests of one group, without due time, whose days all have room; ground only.

    Such a node's cheapest service is the same for each set of lines, so costs add up.
    """
    network = facts.network
    place = request.groups[0].destination
    if place is None or place.latitude is None or place.longitude is None:
        raise ValueError("the order needs a place with coordinates")
    stock = {
        sku: dict(zip(x.nodes.tolist(), x.units.tolist(), strict=True))
        for sku, x in facts.stock.items()
    }
    ground = next(x for x in network.services if x.service_id == "ground")
    fixed: list[int] = []
    serves: list[dict[str, int]] = []
    for number, node in enumerate(network.nodes):
        lines = {
            str(position): line
            for position, line in enumerate(request.lines)
            if stock.get(line.sku, {}).get(number, 0) >= line.quantity
        }
        if not lines:
            continue
        km = round(
            haversine_km(
                node.place.latitude or 0, node.place.longitude or 0, place.latitude, place.longitude
            )
        )
        cost = policy.shipment_cost + node.cost_per_order + ground.base + ground.per_km * km
        fixed.append(int(cost * 1_000_000))
        serves.append(
            {
                position: int(
                    line.quantity
                    * (
                        node.cost_per_unit
                        + ground.per_kg * facts.products[line.sku].weight_grams / 1_000
                    )
                    * 1_000_000
                )
                for position, line in lines.items()
            }
        )
    return Problem(fixed, serves, len(request.lines))


def optimum_by_highs(problem: Problem) -> int | None:
    """The least cost in micros by HiGHS, every node in the model; None: no full plan."""
    import highspy

    highs = _run(problem, 120.0)
    if highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return None
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS did not finish: {highs.getModelStatus()}")
    return round(float(highs.getInfo().objective_function_value) * 1e6)


def bound_by_highs(problem: Problem, seconds: float) -> int:
    """No full plan costs less, as far as HiGHS gets in that time: its optimum where it ends."""
    return round(float(_run(problem, seconds).getInfo().mip_dual_bound) * 1e6)


def _run(problem: Problem, seconds: float) -> Any:
    """HiGHS after it looked for the optimum for so long."""
    import highspy
    import numpy as np

    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {
        "output_flag": False,
        "threads": 1,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 1e-7,
        "time_limit": seconds,
    }.items():
        highs.setOptionValue(name, value)
    costs = [x / 1e6 for x in problem.fixed]
    starts, columns, weights, lows, highs_ = [0], [], [], [], []
    by_line: dict[str, list[int]] = {str(x): [] for x in range(problem.lines)}
    for node, lines in enumerate(problem.serves):
        for line, cost in lines.items():
            column = len(costs)
            costs.append(cost / 1e6)
            by_line[line].append(column)
            columns += [column, node]
            weights += [1.0, -1.0]
            starts.append(len(columns))
            lows.append(-highspy.kHighsInf)
            highs_.append(0.0)
    for found in by_line.values():
        columns += found
        weights += [1.0] * len(found)
        starts.append(len(columns))
        lows.append(1.0)
        highs_.append(1.0)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(costs), len(lows)
    model.col_cost_ = np.array(costs)
    model.col_lower_, model.col_upper_ = np.zeros(len(costs)), np.ones(len(costs))
    model.row_lower_, model.row_upper_ = np.array(lows), np.array(highs_)
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.array(starts, dtype=np.int32)
    model.a_matrix_.index_ = np.array(columns, dtype=np.int32)
    model.a_matrix_.value_ = np.array(weights)
    # Whole nodes suffice: with those fixed, each line goes whole to its cheapest one.
    opened, sent = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    nodes = len(problem.fixed)
    model.integrality_ = [opened] * nodes + [sent] * (len(costs) - nodes)
    highs.passModel(model)
    highs.run()
    return highs


def optimum_by_cp_sat(problem: Problem) -> int | None:
    """The least cost in micros by CP-SAT; None: no full plan."""
    # Installed for benchmarks only.
    cp_model = import_module("ortools.sat.python.cp_model")
    model = cp_model.CpModel()
    opened = [model.new_bool_var(f"n{node}") for node in range(len(problem.fixed))]
    terms = [cost * x for cost, x in zip(problem.fixed, opened, strict=True)]
    by_line: dict[str, list[Any]] = {str(x): [] for x in range(problem.lines)}
    for node, lines in enumerate(problem.serves):
        for line, cost in lines.items():
            sent = model.new_bool_var(f"n{node}l{line}")
            model.add_implication(sent, opened[node])
            by_line[line].append(sent)
            terms.append(cost * sent)
    for found in by_line.values():
        model.add_exactly_one(found)
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = 120
    status = solver.status_name(solver.solve(model))
    if status == "INFEASIBLE":
        return None
    if status != "OPTIMAL":
        raise RuntimeError(f"CP-SAT did not finish: {status}")
    return round(float(solver.objective_value))


def main() -> None:
    for row in sys.stdin:
        print(json.dumps(optimum_by_cp_sat(Problem(**json.loads(row)))), flush=True)


def as_json(problem: Problem) -> str:
    """One line for the other process."""
    return json.dumps(asdict(problem))


if __name__ == "__main__":
    main()
