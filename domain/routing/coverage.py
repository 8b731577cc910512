"""Beyond the exact size: pick nodes one by one, then improve.

Two greedy starts (cheapest per unit covered; most units covered) are improved by moving single
lines to nodes already used, closing a node whose lines others can take, and swapping a node for a
cheaper unused one. The better result stands. The gap to the optimum is not bounded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.routing.candidates import Candidate, GroupTask
from domain.routing.partition import Partition

IMPROVEMENT_ROUNDS = 2
Floats = NDArray[np.float64]


@dataclass(slots=True)
class _Load:
    """What one used node serves, and what that costs."""

    atoms: set[int]
    units: int
    grams: int
    cost: int


class CoverageSearch:
    """One group's search; rows and atoms are numbered as in the task."""

    def __init__(self, task: GroupTask, rows: list[Candidate]) -> None:
        """Reads the rows into matrices once."""
        self._task = task
        self._rows = rows
        self._units = np.array([atom.units for atom in task.atoms], dtype=np.float64)
        self._grams = np.array([atom.grams for atom in task.atoms], dtype=np.float64)
        skus = [index for atom in task.atoms for index, _ in atom.needs]
        # With one SKU in several atoms, stock that suffices for each may not suffice for all.
        self._sums_matter = len(set(skus)) < len(skus)
        atoms = range(len(task.atoms))
        self._covers = np.array(
            [[bool(row.cover >> atom & 1) for atom in atoms] for row in rows], dtype=np.bool_
        ).reshape(len(rows), len(task.atoms))
        self._fixed = np.array([self._first_leg(row, 0) for row in rows], dtype=np.float64)
        self._per_kg = np.array([self._first_leg(row, 1) for row in rows], dtype=np.float64)
        self._per_unit = np.array([row.per_unit for row in rows], dtype=np.float64)

    @staticmethod
    def _first_leg(row: Candidate, column: int) -> float:
        """Of the leg with the smallest fixed part: an estimate to rank nodes by, never a price."""
        legs = row.first_legs()
        if not legs:
            return float("inf")
        cheapest = min(legs, key=lambda leg: leg.amount)
        return float(cheapest.per_kg if column else cheapest.amount)

    def best(self, most_parts: int) -> Partition:
        """The better of the two starts after improvement; masks are sets of atoms as bits."""
        found = [
            self._improved(self._greedy(score, most_parts))
            for score in (_cheapest_per_unit, _most_units)
        ]
        results = [self._partition(loads) for loads in found]
        return min(results, key=lambda x: (-x.units, x.cost, x.parts))

    def _partition(self, loads: dict[int, _Load]) -> Partition:
        atoms = self._task.atoms
        units = sum(atoms[x].units for load in loads.values() for x in load.atoms)
        parts = sorted((row, sum(1 << x for x in load.atoms)) for row, load in loads.items())
        return Partition(units, sum(load.cost for load in loads.values()), tuple(parts))

    def _load(self, row: int, atoms: set[int]) -> _Load | None:
        """That node serving those atoms; None when it cannot."""
        cost = price_of_atoms(self._task, self._rows[row], sorted(atoms))
        if cost is None:
            return None
        chosen = [self._task.atoms[x] for x in atoms]
        return _Load(atoms, sum(x.units for x in chosen), sum(x.grams for x in chosen), cost)

    def _cost_with(self, row: int, load: _Load, number: int) -> int | None:
        """What the node would cost with one atom more."""
        if self._sums_matter or self._rows[row].leads:
            return price_of_atoms(self._task, self._rows[row], sorted({*load.atoms, number}))
        atom = self._task.atoms[number]
        price = self._rows[row].price(load.units + atom.units, load.grams + atom.grams, 0)
        return None if price is None else price.cost

    def _cost_without(self, row: int, load: _Load, number: int) -> int:
        """What the node would cost with one atom less; as much as before when that is unknown."""
        if self._rows[row].leads:
            rest = sorted(load.atoms - {number})
            cost = price_of_atoms(self._task, self._rows[row], rest)
            return load.cost if cost is None else cost
        atom = self._task.atoms[number]
        price = self._rows[row].price(load.units - atom.units, load.grams - atom.grams, 0)
        return load.cost if price is None else price.cost

    def _added(self, load: _Load, number: int, cost: int) -> _Load:
        atom = self._task.atoms[number]
        return _Load({*load.atoms, number}, load.units + atom.units, load.grams + atom.grams, cost)

    def _removed(self, load: _Load, number: int, cost: int) -> _Load:
        atom = self._task.atoms[number]
        return _Load(load.atoms - {number}, load.units - atom.units, load.grams - atom.grams, cost)

    def _greedy(
        self, score: Callable[[Floats, Floats], Floats], most_parts: int
    ) -> dict[int, _Load]:
        open_atoms = np.ones(len(self._units), dtype=np.bool_)
        usable = np.isfinite(self._fixed)
        loads: dict[int, _Load] = {}
        while len(loads) < most_parts and open_atoms.any():
            covers = (self._covers & open_atoms).astype(np.float64)
            units = covers @ self._units
            reach = usable & (units > 0)
            if not reach.any():
                break
            grams = covers @ self._grams
            cost = self._fixed + self._per_unit * units + self._per_kg * grams / 1_000
            row = int(np.argmin(np.where(reach, score(cost, np.maximum(units, 1)), np.inf)))
            usable[row] = False
            load = self._fill(row, [int(x) for x in np.flatnonzero(covers[row])])
            if load is not None:
                loads[row] = load
                open_atoms[list(load.atoms)] = False
        return loads

    def _fill(self, row: int, wanted: list[int]) -> _Load | None:
        """As many of the wanted atoms as stock and the fullest day's capacity allow."""
        whole = self._load(row, set(wanted))
        if whole is not None:
            return whole
        load = _Load(set(), 0, 0, 0)
        for atom in wanted:
            cost = self._cost_with(row, load, atom)
            if cost is not None:
                load = self._added(load, atom, cost)
        return load if load.atoms else None

    def _improved(self, loads: dict[int, _Load]) -> dict[int, _Load]:
        for _ in range(IMPROVEMENT_ROUNDS):
            moved = self._move_single_atoms(loads)
            closed = self._close_nodes(loads)
            swapped = self._swap_nodes(loads)
            if not (moved or closed or swapped):
                break
        return loads

    def _move_single_atoms(self, loads: dict[int, _Load]) -> bool:
        changed = False
        for source in sorted(loads):
            for atom in sorted(loads[source].atoms):
                # A node's last atom is for `_close_nodes`.
                if len(loads[source].atoms) > 1:
                    changed = self._move(loads, source, atom) or changed
        return changed

    def _move(self, loads: dict[int, _Load], source: int, atom: int) -> bool:
        cost_left = self._cost_without(source, loads[source], atom)
        best: tuple[int, int, int] | None = None
        for other in sorted(loads):
            if other == source or not self._covers[other, atom]:
                continue
            cost = self._cost_with(other, loads[other], atom)
            if cost is None:
                continue
            change = cost_left + cost - loads[source].cost - loads[other].cost
            if change < 0 and (best is None or (change, other, cost) < best):
                best = (change, other, cost)
        if best is None:
            return False
        _, target, cost_target = best
        loads[source] = self._removed(loads[source], atom, cost_left)
        loads[target] = self._added(loads[target], atom, cost_target)
        return True

    def _close_nodes(self, loads: dict[int, _Load]) -> bool:
        changed = False
        for source in sorted(loads):
            others = {row: load for row, load in loads.items() if row != source}
            trial = self._spread(others, sorted(loads[source].atoms))
            if trial is not None and _total(trial) < _total(loads):
                loads.clear()
                loads.update(trial)
                changed = True
        return changed

    def _spread(self, loads: dict[int, _Load], atoms: list[int]) -> dict[int, _Load] | None:
        """Each atom to the used node that takes it at the least extra cost; None: one fits none."""
        trial = dict(loads)
        for atom in atoms:
            offers: list[tuple[int, int, int]] = []
            for row in sorted(trial):
                if self._covers[row, atom]:
                    cost = self._cost_with(row, trial[row], atom)
                    if cost is not None:
                        offers.append((cost - trial[row].cost, row, cost))
            if not offers:
                return None
            _, row, cost = min(offers)
            trial[row] = self._added(trial[row], atom, cost)
        return trial

    def _swap_nodes(self, loads: dict[int, _Load]) -> bool:
        changed = False
        for source in sorted(loads):
            load = best = loads[source]
            able = self._covers[:, sorted(load.atoms)].all(axis=1)
            target = source
            for row in (int(x) for x in np.flatnonzero(able)):
                other = None if row in loads else self._load(row, load.atoms)
                if other is not None and other.cost < best.cost:
                    target, best = row, other
            if target != source:
                del loads[source]
                loads[target] = best
                changed = True
        return changed


def _cheapest_per_unit(cost: Floats, units: Floats) -> Floats:
    return cost / units


def _most_units(cost: Floats, units: Floats) -> Floats:
    """Units first; the cost only parts equals."""
    return -units + cost / (1 + float(np.max(cost, initial=0.0, where=np.isfinite(cost)))) / 2


def _total(loads: dict[int, _Load]) -> int:
    return sum(load.cost for load in loads.values())


def price_of_atoms(task: GroupTask, row: Candidate, atoms: list[int]) -> int | None:
    """What the node asks for those atoms together; None when stock or capacity do not suffice."""
    units = grams = 0
    needed: dict[int, int] = {}
    for position in atoms:
        atom = task.atoms[position]
        units += atom.units
        grams += atom.grams
        for index, quantity in atom.needs:
            needed[index] = needed.get(index, 0) + quantity
    have = row.have
    for index, quantity in needed.items():
        if have[index] < quantity:
            return None
    lead = row.lead_days(needed) if row.leads else 0
    price = row.price(units, grams, lead)
    return None if price is None else price.cost
