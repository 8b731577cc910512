"""Gradient-boosted regression trees on binned numbers: squared loss, missing values allowed.

A small form of the usual method (Friedman 2001, "Greedy function approximation: a gradient boosting
machine"): each tree is fitted to what the ones before it leave, on a random part of the rows and
columns, and adds a shrunken part of its leaf means.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.routing.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bins = NDArray[np.uint8]

MOST_BINS = 64
"""Bins of a column; bin 0 holds missing values."""


class Settings(NamedTuple):
    """How much is learned; `shrinkage` of each leaf's mean is taken."""

    trees: int = 200
    depth: int = 4
    shrinkage: float = 0.05
    leaf_prior: float = 20.0
    """Weight of the prior that a leaf adds nothing."""
    least_weight: float = 30.0
    """Least weight of the rows in a leaf."""
    rows: float = 0.5
    columns: float = 0.3


class Forest(NamedTuple):
    """What was learned: trees as complete binary trees, node k having children 2k+1 and 2k+2."""

    base: float
    shrinkage: float
    edges: tuple[Floats, ...]
    """By column: upper edges of its bins, ascending."""
    columns: NDArray[np.int32]
    """(tree, node): the column that decides, -1 in a leaf."""
    cuts: NDArray[np.int32]
    """(tree, node): the highest bin that goes left."""
    values: Floats
    """(tree, node)."""


def learn(x: Floats, y: Floats, weights: Floats, settings: Settings, seed: int) -> Forest:
    """Learn y (rows) from x (rows, columns); NaN in x is a missing value. The seed fixes all."""
    random = np.random.default_rng(seed)
    edges = tuple(_edges(x[:, column]) for column in range(x.shape[1]))
    bins = _binned(x, edges)
    nodes = 2 ** (settings.depth + 1) - 1
    columns = np.full((settings.trees, nodes), -1, dtype=np.int32)
    cuts = np.zeros((settings.trees, nodes), dtype=np.int32)
    values = np.zeros((settings.trees, nodes))
    base = float(np.average(y, weights=weights))
    fitted = np.full(len(y), base)
    for tree in range(settings.trees):
        rows = _some(random, len(y), settings.rows)
        tried = _some(random, x.shape[1], settings.columns)
        _grow(
            bins,
            weights * (y - fitted),
            weights,
            rows,
            tried,
            settings.depth,
            settings.leaf_prior,
            settings.least_weight,
            columns[tree],
            cuts[tree],
            values[tree],
        )
        _add_tree(bins, columns[tree], cuts[tree], values[tree], settings.shrinkage, fitted)
    return Forest(base, settings.shrinkage, edges, columns, cuts, values)


def predict(forest: Forest, x: Floats) -> Floats:
    """What the forest expects for each row of x."""
    bins = _binned(x, forest.edges)
    fitted = np.full(len(x), forest.base)
    for columns, cuts, values in zip(forest.columns, forest.cuts, forest.values, strict=True):
        _add_tree(bins, columns, cuts, values, forest.shrinkage, fitted)
    return fitted


def _some(random: np.random.Generator, count: int, part: float) -> Ints:
    return np.sort(random.permutation(count)[: max(1, int(part * count))])


def _edges(column: Floats) -> Floats:
    known = column[~np.isnan(column)]
    if not len(known):
        return np.zeros(0)
    return np.unique(np.quantile(known, np.linspace(0, 1, MOST_BINS)[1:-1]))


def _binned(x: Floats, edges: tuple[Floats, ...]) -> Bins:
    bins = np.zeros(x.shape, dtype=np.uint8)
    for column, limits in enumerate(edges):
        found = np.searchsorted(limits, x[:, column]) + 1
        bins[:, column] = np.where(np.isnan(x[:, column]), 0, found)
    return bins


@compiled
def _grow(
    bins: Bins,
    gradients: Floats,
    weights: Floats,
    rows: Ints,
    tried: Ints,
    depth: int,
    prior: float,
    least: float,
    columns: NDArray[np.int32],
    cuts: NDArray[np.int32],
    values: Floats,
) -> None:
    """Fill one tree, level by level, each node split where its squared error falls most."""
    place = np.zeros(len(rows), dtype=np.int32)
    for level in range(depth):
        first, count = 2**level - 1, 2**level
        sums = np.zeros((count, len(tried), MOST_BINS + 1, 2))
        for i in range(len(rows)):
            if place[i] >= first:
                row = rows[i]
                for c in range(len(tried)):
                    cell = sums[place[i] - first, c, bins[row, tried[c]]]
                    cell[0] += gradients[row]
                    cell[1] += weights[row]
        for k in range(count):
            column, cut = _best_split(sums[k], prior, least)
            if column >= 0:
                columns[first + k] = tried[column]
                cuts[first + k] = cut
        for i in range(len(rows)):
            k = place[i]
            if k >= first and columns[k] >= 0:
                right = bins[rows[i], columns[k]] > cuts[k]
                place[i] = 2 * k + 1 + right
    totals = np.zeros((len(values), 2))
    for i in range(len(rows)):
        totals[place[i], 0] += gradients[rows[i]]
        totals[place[i], 1] += weights[rows[i]]
    for k in range(len(values)):
        values[k] = totals[k, 0] / (totals[k, 1] + prior)


@compiled
def _best_split(sums: Floats, prior: float, least: float) -> tuple[int, int]:
    """(column, highest bin of the left side), or (-1, 0) when no split helps."""
    gradient, weight = sums[0, :, 0].sum(), sums[0, :, 1].sum()
    best, column, cut = gradient**2 / (weight + prior) + 1e-9, -1, 0
    for c in range(sums.shape[0]):
        left, left_weight = 0.0, 0.0
        for b in range(sums.shape[1] - 1):
            left += sums[c, b, 0]
            left_weight += sums[c, b, 1]
            right_weight = weight - left_weight
            if left_weight >= least and right_weight >= least:
                gain = left**2 / (left_weight + prior)
                gain += (gradient - left) ** 2 / (right_weight + prior)
                if gain > best:
                    best, column, cut = gain, c, b
    return column, cut


@compiled
def _add_tree(
    bins: Bins,
    columns: NDArray[np.int32],
    cuts: NDArray[np.int32],
    values: Floats,
    shrinkage: float,
    fitted: Floats,
) -> None:
    """Add what one tree says of each row."""
    for row in range(len(fitted)):
        k = 0
        while columns[k] >= 0:
            k = 2 * k + 1 + (bins[row, columns[k]] > cuts[k])
        fitted[row] += shrinkage * values[k]
