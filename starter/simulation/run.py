"""`doms simulate` of orders under several policies: read, run, compare, show."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from config.settings import Settings
from domain.routing.facts import Ints
from domain.routing.solve import policy_id, warm
from domain.routing_simulation import Outcome, SimulatedOrder
from domain.simulated_world import Start
from domain.simulation_measures import Comparison, compare
from starter.cli_common import print_json
from starter.simulation.asked import Asked
from starter.simulation.inputs import Inputs, read_inputs
from starter.simulation.named_policies import NamedPolicy
from starter.simulation.plot import draw
from starter.simulation.processes import run_policies
from starter.simulation.shown import measures_json, print_answer
from starter.times import utc_text

RESAMPLES = 1_000
ENOUGH_DAYS = 20
"""From so many days on, days are drawn in the bootstrap, else orders."""


@dataclass(frozen=True)
class Output:
    """Where results go, and the seed of the bootstrap."""

    plot: Path | None
    decisions: Path | None
    seed: int
    as_json: bool


def run_routing(settings: Settings, asked: Asked, output: Output) -> int:
    """Simulate and show. Raises FinalError when something cannot be read, run or written."""
    console = Console(stderr=True, highlight=False)
    with console.status("reading orders, network and stock"):
        inputs = read_inputs(settings, asked)
        warm()
    began = time.monotonic()
    outcomes = _run(inputs, output.decisions, console)
    seconds = time.monotonic() - began
    blocks, is_by_day = blocks_of(inputs.orders)
    capacity = capacity_of(inputs.start, inputs.orders)
    with console.status("resampling"):
        comparison = compare(
            [x.columns for x in outcomes], blocks, capacity, resamples(blocks, output.seed)
        )
    if output.plot is not None:
        labels = [one.label for one in inputs.policies]
        currency = inputs.start.network.base_currency
        draw(output.plot, labels, outcomes, comparison, currency)
    answer = {
        **_facts(inputs),
        "resampled": "days" if is_by_day else "orders",
        "resamples": RESAMPLES,
        "seed": output.seed,
        "seconds": round(seconds, 1),
        "plot": None if output.plot is None else str(output.plot),
        "decisions": None if output.decisions is None else str(output.decisions),
        "policies": [
            _policy_json(named, outcome, comparison, number)
            for number, (named, outcome) in enumerate(zip(inputs.policies, outcomes, strict=True))
        ],
    }
    if output.as_json:
        print_json(answer)
    else:
        print_answer(answer, comparison)
    return 0


def blocks_of(orders: Sequence[SimulatedOrder]) -> tuple[Ints, bool]:
    """The block of each order, from 0: its day in UTC where there are enough, else itself."""
    days = np.array([x.request.now.toordinal() for x in orders], dtype=np.int64)
    distinct, numbers = np.unique(days, return_inverse=True)
    if len(distinct) >= ENOUGH_DAYS:
        return numbers.astype(np.int64), True
    return np.arange(len(orders), dtype=np.int64), False


def resamples(blocks: Ints, seed: int) -> Iterator[Ints]:
    """How often each block is drawn, with replacement, as many as there are."""
    chance, count = np.random.default_rng(seed), int(blocks.max()) + 1
    for _ in range(RESAMPLES):
        yield np.bincount(chance.integers(0, count, count), minlength=count)


def capacity_of(start: Start, orders: Sequence[SimulatedOrder]) -> float:
    """Units that all active nodes can handle on all days from the first order to the last."""
    first, last = orders[0].request.now.date(), orders[-1].request.now.date()
    days = (last - first) // timedelta(days=1) + 1
    arrays = start.network.node
    return float(arrays.daily_units[arrays.active].sum()) * days


def _run(inputs: Inputs, decisions: Path | None, console: Console) -> list[Outcome]:
    # Without a thread of its own: processes are forked while it is shown.
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
    ) as bar:
        tasks = [bar.add_task(x.label, total=len(inputs.orders)) for x in inputs.policies]

        def progress(number: int, done: int) -> None:
            bar.update(tasks[number], completed=done, refresh=True)

        return run_policies(
            inputs.start, inputs.orders, inputs.policies, inputs.until, decisions, progress
        )


def _facts(inputs: Inputs) -> dict[str, Any]:
    return {
        "orders": len(inputs.orders),
        "first_order": utc_text(inputs.orders[0].request.now),
        "last_order": utc_text(inputs.orders[-1].request.now),
        "nodes": len(inputs.start.network.nodes),
        "currency": inputs.start.network.base_currency,
        "left_out": [{"where": x.where, "why": x.why} for x in inputs.left_out],
        "notes": inputs.notes,
    }


def _policy_json(
    named: NamedPolicy, outcome: Outcome, comparison: Comparison, number: int
) -> dict[str, Any]:
    return {
        "label": named.label,
        "policy": None if named.policy is None else policy_id(named.policy),
        "measures": measures_json(comparison.values[number]),
        "difference_from_first": measures_json(comparison.differences[number]) if number else None,
        "missing": outcome.reasons,
        "nodes": [
            {
                "node_id": x.node_id,
                "shipments": x.shipments,
                "units": x.units,
                "busiest_use": round(x.busiest_use, 4),
                "mean_use": round(x.mean_use, 4),
            }
            for x in outcome.loads
        ],
    }
