"""The exact core: which nodes serve which sets of atoms at the least cost.

The cheapest node of each set, then a dynamic program over the ways to part the set (3^n), gives
the optimum unless it uses one node twice, which would break that node's stock or capacity. Then
best-first branching on (node, atom) finds the optimum that uses each node once.
"""

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from domain.routing.compiled import compiled
from domain.routing.facts import Flags, Indexes, Ints, ServiceArrays
from domain.routing.pricing import IMPOSSIBLE, Sets, Sites, best_sets
from domain.routing.timetable import Times

MOST_WORK = 400_000_000
"""Prices and sums looked at before branching gives up: about a second."""


class Partition(NamedTuple):
    """Sets of atoms with the rows of the nodes that serve them."""

    units: int
    cost: int
    parts: tuple[tuple[int, int], ...]
    """(row, set), rows ascending."""


NOTHING = Partition(0, 0, ())


class Priced(NamedTuple):
    """All that decides what a row asks for a set."""

    sites: Sites
    times: Times
    services: ServiceArrays
    sets: Sets
    weights: Ints
    """(service, set): the part of its tariff that grows with weight; last row: none."""
    alone: Flags | None = None
    """By set: whether it may only be a plan's one part; None: no set is so small."""


@dataclass(slots=True)
class _Branch:
    """A part of the search: what each row must not or must serve, and the best plan under that."""

    forbidden: Ints
    required: Ints
    plan: Partition

    @property
    def worth(self) -> tuple[int, int, int, int]:
        atoms = sum(part for _, part in self.plan.parts)
        return -self.plan.units, self.plan.cost, len(self.plan.parts), atoms


def cheapest_partition(
    priced: Priced, most_parts: int, without: int | None = None
) -> Partition | None:
    """The partition that covers most units, then costs least, then has fewest parts.

    Each row is used at most once; row `without` not at all. Equal plans: the earlier rows. None:
    branching would take more than `MOST_WORK`.
    """
    rows = len(priced.sites.km)
    forbidden = np.zeros(rows, dtype=np.int64)
    if without is not None:
        forbidden[without] = -1
    first = _Branch(forbidden, np.zeros(rows, dtype=np.int64), NOTHING)
    first.plan = _relaxed(priced, first, most_parts)
    work = each = _work(priced)
    queue = [(first.worth, 0, first)]
    number = 0
    while work <= MOST_WORK:
        branch = heapq.heappop(queue)[2]
        twice = _used_twice(branch.plan)
        if twice is None:
            return branch.plan
        for child in _children(branch, *twice):
            child.plan = _relaxed(priced, child, most_parts)
            number += 1
            work += each
            heapq.heappush(queue, (child.worth, number, child))
    return None


def _work(priced: Priced) -> int:
    sets = 1 << np.bitwise_count(priced.sites.cover).astype(np.int64)
    atoms = len(priced.sets.units).bit_length() - 1
    return int(sets.sum()) + int(3**atoms // 2)


def _used_twice(plan: Partition) -> tuple[int, int] | None:
    """The first row with two sets, and the lowest atom of one of them."""
    for (row, atoms), (other, _) in zip(plan.parts, plan.parts[1:], strict=False):
        if row == other:
            return row, atoms & -atoms
    return None


def _children(branch: _Branch, row: int, atom: int) -> tuple[_Branch, _Branch]:
    """Either that row alone may serve the atom, and nothing without it, or it may not."""
    only = _Branch(branch.forbidden | atom, branch.required.copy(), NOTHING)
    only.forbidden[row] &= ~atom
    only.required[row] |= atom
    never = _Branch(branch.forbidden.copy(), branch.required, NOTHING)
    never.forbidden[row] |= atom
    return only, never


def _relaxed(priced: Priced, branch: _Branch, most_parts: int) -> Partition:
    """The optimum if a row could be used again and again."""
    units = priced.sets.units
    costs, rows = best_sets(*priced[:5], branch.forbidden, branch.required)
    if priced.alone is None:
        return _parted(costs, rows, units, most_parts)
    single = _single(costs, rows, units)
    costs[priced.alone] = IMPOSSIBLE
    several = _parted(costs, rows, units, most_parts)
    return min(single, several, key=lambda x: (-x.units, x.cost, len(x.parts)))


def _single(costs: Ints, rows: Indexes, units: Ints) -> Partition:
    """The set with most units that one row serves, then the cheapest; of equals the lowest."""
    able = np.flatnonzero(costs[1:] < IMPOSSIBLE) + 1
    if not len(able):
        return NOTHING
    best = int(able[np.lexsort((costs[able], -units[able]))[0]])
    return Partition(int(units[best]), int(costs[best]), ((int(rows[best]), best),))


def _parted(costs: Ints, rows: Indexes, units: Ints, most_parts: int) -> Partition:
    table = np.empty(len(units), dtype=np.int64)
    counts = np.empty(len(units), dtype=np.int32)
    choices = np.empty(len(units), dtype=np.int32)
    mask = part_sets(costs, rows, units, table, counts, choices)
    if counts[mask] <= most_parts:
        return _read(mask, table, choices, rows, units)
    tables = np.empty((most_parts + 1, len(units)), dtype=np.int64)
    steps = np.empty((most_parts + 1, len(units)), dtype=np.int32)
    mask = part_sets_within(costs, rows, units, tables, steps)
    return _read_within(mask, most_parts, tables, steps, rows, units)


def _read(mask: int, table: Ints, choices: Indexes, rows: Indexes, units: Ints) -> Partition:
    parts: list[tuple[int, int]] = []
    left = mask
    while left:
        part = int(choices[left])
        parts.append((int(rows[part]), part))
        left ^= part
    return Partition(int(units[mask]), int(table[mask]), tuple(sorted(parts)))


def _read_within(
    mask: int, most_parts: int, tables: Ints, steps: Indexes, rows: Indexes, units: Ints
) -> Partition:
    parts: list[tuple[int, int]] = []
    left, count = mask, most_parts
    while left:
        part = int(steps[count, left])
        if part:
            parts.append((int(rows[part]), part))
            left ^= part
        count -= 1
    return Partition(int(units[mask]), int(tables[most_parts, mask]), tuple(sorted(parts)))


@compiled
def part_sets(
    costs: Ints, rows: Indexes, units: Ints, table: Ints, counts: Indexes, choices: Indexes
) -> int:
    """The cheapest way to part each set, with fewest parts; returns the set with most units.

    Of equals the one whose lowest atom goes to the earliest row.
    """
    table[0], counts[0], choices[0] = 0, 0, 0
    fullest = 0
    for mask in range(1, len(costs)):
        lowest = mask & -mask
        rest = mask ^ lowest
        best, fewest, chosen = IMPOSSIBLE, 0, 0
        others = rest
        while True:
            part = others | lowest
            cost = costs[part] + table[mask ^ part]
            if cost <= best and costs[part] < IMPOSSIBLE:
                count = counts[mask ^ part] + 1
                if cost < best or count < fewest or (count == fewest and rows[part] < rows[chosen]):
                    best, fewest, chosen = cost, count, part
            if others == 0:
                break
            others = (others - 1) & rest
        table[mask], counts[mask], choices[mask] = best, fewest, chosen
        if best < IMPOSSIBLE and (
            units[mask] > units[fullest]
            or (
                units[mask] == units[fullest]
                and (best < table[fullest] or (best == table[fullest] and fewest < counts[fullest]))
            )
        ):
            fullest = mask
    return fullest


@compiled
def part_sets_within(costs: Ints, rows: Indexes, units: Ints, tables: Ints, steps: Indexes) -> int:
    """As `part_sets`, for each number of parts, which is axis 0 of the tables."""
    size = len(costs)
    for mask in range(size):
        tables[0, mask] = IMPOSSIBLE
        steps[0, mask] = 0
    tables[0, 0] = 0
    fullest = 0
    for count in range(1, tables.shape[0]):
        tables[count, 0], steps[count, 0] = 0, 0
        for mask in range(1, size):
            lowest = mask & -mask
            rest = mask ^ lowest
            best, chosen = tables[count - 1, mask], 0
            others = rest
            while True:
                part = others | lowest
                cost = costs[part] + tables[count - 1, mask ^ part]
                if cost < best or (cost == best and chosen and rows[part] < rows[chosen]):
                    best, chosen = cost, part
                if others == 0:
                    break
                others = (others - 1) & rest
            tables[count, mask], steps[count, mask] = best, chosen
    last = tables.shape[0] - 1
    for mask in range(1, size):
        if tables[last, mask] < IMPOSSIBLE and (
            units[mask] > units[fullest]
            or (units[mask] == units[fullest] and tables[last, mask] < tables[last, fullest])
        ):
            fullest = mask
    return fullest
