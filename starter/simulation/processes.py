"""Runs each policy over all orders, in a process of its own where there is more than one core."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from domain.errors import FinalError
from domain.routing_baselines import BASELINES
from domain.routing_simulation import (
    Made,
    Outcome,
    Planner,
    SimulatedOrder,
    Simulation,
    by_policy,
)
from domain.simulated_world import Start
from starter.differences import money
from starter.simulation.named_policies import NamedPolicy
from starter.times import utc_text

_TELL_EVERY = 200
_LOOK_SECONDS = 0.2

Progress = Callable[[int, int], None]
"""Told (number of the policy, orders done)."""


def run_policies(
    start: Start,
    orders: Sequence[SimulatedOrder],
    policies: Sequence[NamedPolicy],
    until: datetime,
    decisions: Path | None,
    progress: Progress,
    *,
    cores: int | None = None,
) -> list[Outcome]:
    """What each policy makes of the orders, which are in time order, and of supply until then.

    `decisions` gets a line of JSON for each decision. Raises FinalError when a run fails.
    """
    parts = [
        None if decisions is None else decisions.with_name(f"{decisions.name}.{number}.part")
        for number in range(len(policies))
    ]
    jobs = [
        _Job(number, start, orders, one, until, part)
        for number, (one, part) in enumerate(zip(policies, parts, strict=True))
    ]
    at_once = min(len(jobs), cores or os.cpu_count() or 1)
    try:
        if at_once == 1:
            outcomes = [job.run(partial(progress, job.number)) for job in jobs]
        else:
            outcomes = _side_by_side(jobs, at_once, progress)
        if decisions is not None:
            _join(decisions, [part for part in parts if part is not None])
    except OSError as error:
        raise FinalError(f"{decisions}: cannot be written: {error}") from error
    finally:
        for part in parts:
            if part is not None:
                part.unlink(missing_ok=True)
    return outcomes


class _Job:
    """One policy's run."""

    def __init__(
        self,
        number: int,
        start: Start,
        orders: Sequence[SimulatedOrder],
        policy: NamedPolicy,
        until: datetime,
        decisions: Path | None,
    ) -> None:
        self.number = number
        self._start = start
        self._orders = orders
        self._policy = policy
        self._until = until
        self._decisions = decisions

    def run(self, tell: Callable[[int], None]) -> Outcome:
        """Place every order."""
        simulation = Simulation(self._start, planner_of(self._policy))
        with ExitStack() as stack:
            file: IO[str] | None = None
            if self._decisions is not None:
                file = stack.enter_context(self._decisions.open("w", encoding="utf-8"))
            for done, order in enumerate(self._orders, start=1):
                self._write(file, simulation.place(order))
                if done % _TELL_EVERY == 0:
                    tell(done)
            self._write(file, simulation.pass_time(self._until))
        tell(len(self._orders))
        return simulation.outcome()

    def _write(self, file: IO[str] | None, made: Iterable[Made]) -> None:
        for one in made if file is not None else ():
            row = decision_row(self._policy.label, one)
            print(json.dumps(row, separators=(",", ":")), file=file)

    def run_in_process(self, pipe: Connection) -> None:
        """As `run`, telling all through the pipe."""
        try:
            outcome = self.run(pipe.send)
        except KeyboardInterrupt:
            return
        except Exception as error:
            # Whatever it is, a person must get to know of it from the first process.
            pipe.send(f"{self._policy.label}: {str(error) or type(error).__name__}")
        else:
            pipe.send(outcome)


def planner_of(named: NamedPolicy) -> Planner:
    """How a policy, or a baseline of that name, plans."""
    if named.policy is not None:
        return by_policy(named.policy)
    return BASELINES[named.label.partition(" ")[0]]


def decision_row(label: str, made: Made) -> dict[str, Any]:
    """A decision as a line of the drill-down."""
    return {
        "policy": label,
        "order_id": made.request.order_id,
        "at": utc_text(made.request.now),
        "waited": made.waited,
        "cost": money(made.served.cost_micros),
        "nodes": [
            {
                "node_id": x.node_id,
                "ship_group": x.ship_group,
                "service_id": x.service_id,
                "units": {one.line_id: one.quantity for one in x.assignments},
                "km": x.distance_km,
                "cost": money(x.cost_micros),
                "work_date": x.work_date,
                "ship_at": utc_text(x.ship_at),
                "deliver_at": utc_text(x.deliver_at),
            }
            for x in made.served.shipments
        ],
        "missing": [
            {"line_id": x.line_id, "sku": x.sku, "quantity": x.quantity, "reason": x.reason}
            for x in made.served.missing
        ],
    }


def _side_by_side(jobs: Sequence[_Job], at_once: int, progress: Progress) -> list[Outcome]:
    # A forked process has the orders already; where there is no fork they are sent to it.
    forks = "fork" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork") if forks else multiprocessing.get_context("spawn")
    waiting = list(reversed(jobs))
    running: dict[Any, tuple[_Job, BaseProcess]] = {}
    outcomes: dict[int, Outcome] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                begun = context.Process(target=job.run_in_process, args=(theirs,), daemon=True)
                begun.start()
                theirs.close()
                running[ours] = job, begun
            for pipe in wait(list(running), timeout=_LOOK_SECONDS):
                job, process = running[pipe]
                told = _received(pipe)
                if isinstance(told, int):
                    progress(job.number, told)
                    continue
                del running[pipe]
                process.join()
                if not isinstance(told, Outcome):
                    raise FinalError(str(told))
                outcomes[job.number] = told
    finally:
        for _, still in running.values():
            still.terminate()
            still.join()
    return [outcomes[job.number] for job in jobs]


def _received(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return "a simulation ended without an answer: too little memory?"


def _join(path: Path, parts: Sequence[Path]) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
