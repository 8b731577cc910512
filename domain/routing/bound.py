"""A lower bound of a group's cost, and the rows no better plan can use (Lagrangian relaxation).

Each atom's demand gets a price instead of a constraint; then each row decides alone. For any
prices the sum is a bound (Geoffrion 1974); subgradient steps raise it. A row whose opening would
lift the bound above a known plan's cost is in no better plan.
"""

from typing import NamedTuple

import numpy as np

from domain.routing.compiled import compiled
from domain.routing.facts import Flags, Floats

STEPS = 150
_PATIENCE = 8
_FLAT = 1e-12
_SLACK = 2.0
"""Micros by which rounded weights may lower a cost."""


class Relaxation(NamedTuple):
    """The group as the bound sees it: costs in micros, at best."""

    fixed: Floats
    """By row."""
    costs: Floats
    """(row, atom): of the whole atom."""
    shares: Floats
    """(row, atom): how much of the atom the row can serve, 0 to 1."""
    targets: Floats
    """By atom: how much of it is served."""


class Bound(NamedTuple):
    """No plan costs less; no plan cheaper than the one known uses another row."""

    cost: float
    rows: Flags


def bound_of(relaxation: Relaxation, known_cost: int) -> Bound:
    """The bound, given a plan that serves the targets at the known cost."""
    per_row = np.empty(len(relaxation.fixed), dtype=np.float64)
    best = raise_bound(*relaxation, float(known_cost), per_row)
    return Bound(best, best + np.maximum(per_row, 0) <= known_cost + _SLACK)


@compiled
def raise_bound(
    fixed: Floats,
    costs: Floats,
    shares: Floats,
    targets: Floats,
    known_cost: float,
    best_per_row: Floats,
) -> float:
    """The best bound found; fills what opening each row would add to it, negative if used."""
    prices = first_atom_prices(fixed, costs, shares, targets)
    best, step, waited = -np.inf, 1.0, 0
    per_row = np.empty(len(fixed))
    for _ in range(STEPS):
        gradient = targets.copy()
        bound = (prices * targets).sum() + row_worths(
            fixed, costs, shares, prices, per_row, gradient
        )
        waited += 1
        if bound > best:
            best, waited = bound, 0
            best_per_row[:] = per_row
        if waited >= _PATIENCE:
            step, waited = step / 2, 0
        length = (gradient * gradient).sum()
        if length < _FLAT or best >= known_cost:
            break
        move = step * max(known_cost - bound, 1.0) / length
        prices = np.maximum(prices + move * gradient, 0.0)
    return float(best)


@compiled
def first_atom_prices(fixed: Floats, costs: Floats, shares: Floats, targets: Floats) -> Floats:
    """For each atom what it costs where a node serves all it can."""
    prices = np.zeros(len(targets))
    for atom in range(len(targets)):
        for row in range(len(fixed)):
            if shares[row, atom] > 0:
                price = costs[row, atom] + fixed[row] / shares[row].sum()
                if prices[atom] == 0.0 or price < prices[atom]:
                    prices[atom] = price
    return prices


@compiled
def row_worths(
    fixed: Floats, costs: Floats, shares: Floats, prices: Floats, per_row: Floats, gradient: Floats
) -> float:
    """The sum of what rows are worth opening for; takes what they would serve off the gradient."""
    total = 0.0
    for row in range(len(fixed)):
        worth = fixed[row]
        for atom in range(len(prices)):
            if costs[row, atom] < prices[atom]:
                worth += shares[row, atom] * (costs[row, atom] - prices[atom])
        per_row[row] = worth
        if worth < 0:
            total += worth
            for atom in range(len(prices)):
                if costs[row, atom] < prices[atom]:
                    gradient[atom] -= shares[row, atom]
    return total
