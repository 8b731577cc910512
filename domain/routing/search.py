"""Beyond the exact size: a plan by local search, and a bound that no plan can beat.

The search (moves.py) opens, closes and swaps ways, each atom going to the cheapest open one. It
starts from what the bound's prices find worth opening. The bound is Lagrangian: each atom's
demand gets a price instead of a constraint, then each row decides alone (Geoffrion 1974);
subgradient steps raise it. Both stop after so many steps, never after so much time.
"""

from typing import NamedTuple

import numpy as np

from domain.routing.compiled import compiled
from domain.routing.facts import Flags, Floats, Indexes
from domain.routing.moves import LEAST_GAIN, UNSERVED, local_search
from domain.routing.ways import Problem

_PATIENCE = 6
_FLAT = 1e-12


class Effort(NamedTuple):
    """How long is looked for a plan."""

    steps: int
    """Of the bound."""
    starts_every: int
    """So many steps of the bound between two starts of the search."""
    work: int
    """Entries looked at before no more plans are tried beside the best."""


QUICK = Effort(steps=50, starts_every=25, work=0)
THOROUGH = Effort(steps=240, starts_every=24, work=40_000_000)


class Found(NamedTuple):
    """The best plan found; `ways` by atom, -1: not served."""

    ways: Indexes
    bound: float
    """Micros: no plan that serves as much costs less."""


def search(problem: Problem, most_parts: int, effort: Effort) -> Found:
    """The plan that serves most units, then costs least, as far as the search finds it."""
    ways = np.full(len(problem.units), UNSERVED, dtype=np.int32)
    bound = searched(problem, most_parts, effort, ways)
    return Found(ways, float(bound))


@compiled
def searched(problem: Problem, most_parts: int, effort: Effort, best: Indexes) -> float:
    """Fills the way of each atom in the best plan; returns the bound."""
    atoms, count = len(problem.units), len(problem.row)
    most = min(most_parts, atoms, count)
    banned = np.zeros(count, dtype=np.bool_)
    chosen = np.empty(most + 1, dtype=np.int32)
    served = np.empty(atoms, dtype=np.int32)
    targets = _targets(problem)
    prices = first_atom_prices(problem)
    worths = np.empty(count)
    highest, least, step, waited = -np.inf, np.inf, 1.0, 0
    for number in range(effort.steps):
        gradient = targets.copy()
        bound = _product(prices, targets) + way_worths(problem, prices, worths, gradient)
        waited += 1
        if bound > highest:
            highest, waited = bound, 0
        if waited >= _PATIENCE:
            step, waited = step / 2, 0
        if number % effort.starts_every == 0:
            size = _worth_opening(problem, worths, most, chosen)
            _, value, _ = local_search(problem, banned, chosen, size, most, served)
            if value < least:
                least = value
                best[:] = served
        length = _product(gradient, gradient)
        if length < _FLAT or highest > least - 1:
            return highest
        aim = min(least, 1.1 * highest + 1)
        prices = np.maximum(prices + step * max(aim - bound, 1.0) / length * gradient, 0.0)
    _without_some(problem, most, effort.work, best, least)
    return highest


@compiled
def _without_some(problem: Problem, most: int, most_work: int, best: Indexes, least: float) -> None:
    """Searches beside the best plan: without one of its ways, then without two, then with all.

    A better plan is taken, and the search goes on beside that.
    """
    banned = np.zeros(len(problem.row), dtype=np.bool_)
    trial = np.empty(most + 1, dtype=np.int32)
    served = np.empty(len(best), dtype=np.int32)
    used = _used(best)
    work, first, second = 0, 0, 0
    while work < most_work and second < len(used):
        banned[used[first]] = banned[used[second]] = True
        size = _opened(used, banned, trial)
        size, _, before = local_search(problem, banned, trial, size, most, served)
        banned[:] = False
        _, value, after = local_search(problem, banned, trial, size, most, served)
        work += before + after
        if value < least - LEAST_GAIN:
            least, first, second = value, 0, 0
            best[:] = served
            used = _used(best)
        else:
            first, second = _next_pair(first, second, len(used))


@compiled
def _next_pair(first: int, second: int, count: int) -> tuple[int, int]:
    """Each one with itself, then each pair; second = count: no more."""
    if first == second:
        return (first + 1, second + 1) if first + 1 < count else (0, 1)
    if second + 1 < count:
        return first, second + 1
    return (first + 1, first + 2) if first + 2 < count else (first, count)


@compiled
def _opened(used: Indexes, banned: Flags, trial: Indexes) -> int:
    """Opens the ways that are not banned; returns how many."""
    size = 0
    for way in used:
        if not banned[way]:
            trial[size] = way
            size += 1
    return size


@compiled
def _used(served: Indexes) -> Indexes:
    """The ways of a plan."""
    found = np.unique(served)
    return found[found >= 0]


@compiled
def _product(some: Floats, others: Floats) -> float:
    """The sum of products, added one by one so that it is the same everywhere."""
    total = 0.0
    for number in range(len(some)):
        total += some[number] * others[number]
    return total


@compiled
def _targets(problem: Problem) -> Floats:
    """By atom: how much of it can be served at all, by the best way of each row."""
    reach = np.zeros(len(problem.units))
    for way in range(len(problem.row)):
        for entry in range(problem.start[way], problem.start[way + 1]):
            reach[problem.atom[entry]] += problem.share[entry]
    return np.minimum(reach, 1.0)


@compiled
def first_atom_prices(problem: Problem) -> Floats:
    """For each atom what it costs where a way serves all it can."""
    start, atoms, costs = problem.start, problem.atom, problem.cost
    prices = np.zeros(len(problem.units))
    for way in range(len(problem.row)):
        fixed = problem.fixed[way] / max(1, start[way + 1] - start[way])
        for entry in range(start[way], start[way + 1]):
            atom = atoms[entry]
            if prices[atom] == 0.0 or costs[entry] + fixed < prices[atom]:
                prices[atom] = costs[entry] + fixed
    return prices


@compiled
def way_worths(problem: Problem, prices: Floats, worths: Floats, gradient: Floats) -> float:
    """The sum of what rows are worth opening for, each by its best way.

    Fills the worth of each way; takes what the rows would serve off the gradient.
    """
    row, start, atoms, costs = problem.row, problem.start, problem.atom, problem.cost
    shares, fixed = problem.share, problem.fixed
    total, best = 0.0, -1
    for way in range(len(row)):
        worth = fixed[way]
        for entry in range(start[way], start[way + 1]):
            saved = costs[entry] - prices[atoms[entry]]
            if saved < 0:
                worth += shares[entry] * saved
        worths[way] = worth
        if best < 0 or row[way] != row[best] or worth < worths[best]:
            if best >= 0 and row[way] == row[best]:
                worths[best] = 0.0
            best = way
        else:
            worths[way] = 0.0
        is_last = way + 1 == len(row) or row[way + 1] != row[way]
        if is_last and worths[best] < 0:
            total += worths[best]
            for entry in range(start[best], start[best + 1]):
                if costs[entry] < prices[atoms[entry]]:
                    gradient[atoms[entry]] -= shares[entry]
    return total


@compiled
def _worth_opening(problem: Problem, worths: Floats, most: int, chosen: Indexes) -> int:
    """The ways of most worth, `most` at most; `worths` has one for each row."""
    order = np.argsort(worths, kind="mergesort")
    size = 0
    for way in order[:most]:
        if worths[way] < 0:
            chosen[size] = way
            size += 1
    return size
