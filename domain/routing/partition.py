"""The exact core: which nodes serve which sets of lines at the least cost.

`costs[node, mask]` holds what a node would cost for each set of lines (a bit each). The cheapest
node of each set, then a dynamic program over the ways to part the set (3^n), gives the optimum
unless it uses one node twice, which would break that node's stock or capacity; then a second
program goes node by node, so that each is used at most once, with its fixed cost paid once.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.int64]
IMPOSSIBLE = 1 << 60
"""Dearer than any plan; two of them still fit 64 bits."""


class Partition(NamedTuple):
    """Sets of lines with the rows of the nodes that serve them."""

    units: int
    cost: int
    parts: tuple[tuple[int, int], ...]
    """(row, mask), rows ascending."""


class _Splits(NamedTuple):
    """For each mask from 1 up: its parts, what is left of it, and where its stretch begins."""

    parts: NDArray[np.intp]
    rests: NDArray[np.intp]
    starts: NDArray[np.intp]

    def of(self, mask: int) -> slice:
        end = self.starts[mask] if mask < len(self.starts) else len(self.parts)
        return slice(int(self.starts[mask - 1]), int(end))


def _submasks(mask: int) -> list[int]:
    """All subsets, the largest first, the empty one last."""
    subsets = [mask]
    while subsets[-1]:
        subsets.append((subsets[-1] - 1) & mask)
    return subsets


@lru_cache(maxsize=32)
def _splits(size: int, *, with_lowest: bool) -> _Splits:
    """All ways to part a set from each mask; `with_lowest`: the part has the mask's lowest bit."""
    parts: list[int] = []
    rests: list[int] = []
    starts: list[int] = []
    for mask in range(1, 1 << size):
        starts.append(len(parts))
        lowest = mask & -mask
        if with_lowest:
            chosen = [subset | lowest for subset in _submasks(mask ^ lowest)]
        else:
            chosen = _submasks(mask)[:-1]
        parts += chosen
        rests += [mask ^ part for part in chosen]
    return _Splits(*(np.array(column, dtype=np.intp) for column in (parts, rests, starts)))


def cheapest_partition(costs: Costs, units: NDArray[np.int64], most_parts: int) -> Partition:
    """The partition that covers most units, and of those the cheapest, with at most so many parts.

    `costs` has shape (nodes, 2^lines) with IMPOSSIBLE where a node cannot serve the set; `units`
    has one entry per mask. Each node is used at most once. Equal costs: fewer parts, then the
    earlier rows.
    """
    if costs.shape[0] == 0:
        return Partition(0, 0, ())
    size = costs.shape[1].bit_length() - 1
    found = _any_nodes(costs, units, min(most_parts, size), _splits(size, with_lowest=True))
    rows = [row for row, _ in found.parts]
    if len(set(rows)) == len(rows):
        return found
    return _distinct_nodes(costs, units, min(most_parts, size), _splits(size, with_lowest=False))


def _fullest(final: Costs, units: NDArray[np.int64]) -> int:
    """The reachable mask with most units, then least cost, then lowest number."""
    reachable = np.flatnonzero(final < IMPOSSIBLE)
    order = np.lexsort((final[reachable], -units[reachable]))
    return int(reachable[order[0]])


def _any_nodes(
    costs: Costs, units: NDArray[np.int64], most_parts: int, splits: _Splits
) -> Partition:
    """The optimum if a node could be used again and again: a lower bound of the true one."""
    cheapest = costs.min(axis=0)
    by_parts = [np.full(costs.shape[1], IMPOSSIBLE, dtype=np.int64)]
    by_parts[0][0] = 0
    for _ in range(most_parts):
        previous = by_parts[-1]
        following = previous.copy()
        sums = cheapest[splits.parts] + previous[splits.rests]
        np.minimum(following[1:], np.minimum.reduceat(sums, splits.starts), out=following[1:])
        by_parts.append(following)
    mask = _fullest(by_parts[-1], units)
    covered, cost = int(units[mask]), int(by_parts[-1][mask])
    parts: list[tuple[int, int]] = []
    for count in range(most_parts, 0, -1):
        value = by_parts[count][mask]
        if value == by_parts[count - 1][mask]:
            continue
        stretch = splits.of(mask)
        rests = splits.rests[stretch]
        sums = cheapest[splits.parts[stretch]] + by_parts[count - 1][rests]
        equal = splits.parts[stretch][sums == value]
        nodes = costs[:, equal].argmin(axis=0)
        row, part = int(nodes.min()), int(equal[nodes.argmin()])
        parts.append((row, part))
        mask ^= part
    return Partition(covered, cost, tuple(sorted(parts)))


def _distinct_nodes(
    costs: Costs, units: NDArray[np.int64], most_parts: int, splits: _Splits
) -> Partition:
    """The true optimum: nodes are taken one after another, each once or not at all."""
    size = costs.shape[1].bit_length() - 1
    # An optimum has at most `size` parts, so for each set one of its `size` cheapest nodes is free.
    ranked = np.argsort(costs, axis=0, kind="stable")[:size, 1:]
    rows = [int(row) for row in np.unique(ranked)]
    table = np.full((most_parts + 1, costs.shape[1]), IMPOSSIBLE, dtype=np.int64)
    table[:, 0] = 0
    tables = [table]
    for row in rows:
        sums = costs[row][splits.parts] + tables[-1][:-1, splits.rests]
        table = tables[-1].copy()
        best = np.minimum.reduceat(sums, splits.starts, axis=1)
        np.minimum(table[1:, 1:], best, out=table[1:, 1:])
        tables.append(table)
    mask = _fullest(tables[-1][most_parts], units)
    covered, cost = int(units[mask]), int(tables[-1][most_parts][mask])
    count = int(np.argmax(tables[-1][:, mask] == cost))
    parts: list[tuple[int, int]] = []
    for position in range(len(rows), 0, -1):
        before, value = tables[position - 1], tables[position][count, mask]
        if value == before[count, mask]:
            continue
        stretch = splits.of(mask)
        sums = costs[rows[position - 1]][splits.parts[stretch]]
        sums = sums + before[count - 1, splits.rests[stretch]]
        part = int(splits.parts[stretch][int(np.argmax(sums == value))])
        parts.append((rows[position - 1], part))
        mask ^= part
        count -= 1
    return Partition(covered, cost, tuple(sorted(parts)))
