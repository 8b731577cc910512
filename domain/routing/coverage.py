"""Beyond the exact size: pick nodes one by one, then improve.

Two greedy starts (cheapest per unit covered; most units covered) are improved by moving single
atoms to nodes already used, closing a node whose atoms others can take, and swapping a node for a
cheaper unused one. The better result stands; bound.py tells how far from the optimum it may be.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from domain.routing.facts import Floats
from domain.routing.plans import GroupPricer, first_prices

IMPROVEMENT_ROUNDS = 2
Loads = dict[int, tuple[int, ...]]
"""Row -> the atoms it serves."""


@dataclass(slots=True)
class _Load:
    """What one used node serves, and what that costs."""

    atoms: set[int]
    units: int
    grams: int
    cost: int


class CoverageSearch:
    """One group's search; rows and atoms are numbered as in its candidates."""

    def __init__(self, pricer: GroupPricer) -> None:
        """Reads what ranks the rows into matrices once."""
        self._pricer = pricer
        candidates, demand = pricer.candidates, pricer.demand
        self._atoms = demand.atoms
        self._units = np.array([atom.units for atom in demand.atoms], dtype=np.float64)
        self._grams = np.array([atom.grams for atom in demand.atoms], dtype=np.float64)
        # With one SKU in several atoms, stock that suffices for each may not suffice for all.
        self._sums_matter = candidates.sites.shared.shape[1] > 0
        self._waits = candidates.sites.classes.max(axis=1, initial=0)
        self._covers = candidates.covers
        self._weights = candidates.covers.astype(np.float64, order="F")
        self._fixed = np.empty(len(candidates.nodes), dtype=np.float64)
        self._per_gram = np.empty(len(candidates.nodes), dtype=np.float64)
        first_prices(
            candidates.sites, candidates.times, pricer.services, self._fixed, self._per_gram
        )
        self._per_unit = candidates.sites.per_unit.astype(np.float64)

    def best(self, most_parts: int) -> Loads:
        """The better of the two starts after improvement."""
        found = [
            self._improved(self._greedy(score, most_parts))
            for score in (_cheapest_per_unit, _most_units)
        ]
        best = min(found, key=self._worth)
        return {row: tuple(sorted(best[row].atoms)) for row in sorted(best)}

    @staticmethod
    def _worth(loads: dict[int, _Load]) -> tuple[int, int, list[int]]:
        return -sum(load.units for load in loads.values()), _total(loads), sorted(loads)

    def _load(self, row: int, atoms: set[int]) -> _Load | None:
        """That node serving those atoms; None when it cannot."""
        chosen = [self._atoms[x] for x in atoms]
        units, grams = sum(x.units for x in chosen), sum(x.grams for x in chosen)
        cost = self._cost(row, atoms, units, grams)
        return None if cost is None else _Load(atoms, units, grams, cost)

    def _cost(self, row: int, atoms: set[int], units: int, grams: int) -> int | None:
        if self._sums_matter or self._waits[row]:
            price = self._pricer.price(row, {x: self._atoms[x].units for x in sorted(atoms)})
        else:
            price = self._pricer.price_of(row, units, grams, 0)
        return None if price is None else price.cost

    def _cost_with(self, row: int, load: _Load, number: int) -> int | None:
        """What the node would cost with one atom more."""
        atom = self._atoms[number]
        atoms = load.atoms | {number} if self._sums_matter or self._waits[row] else load.atoms
        return self._cost(row, atoms, load.units + atom.units, load.grams + atom.grams)

    def _cost_without(self, row: int, load: _Load, number: int) -> int:
        """What the node would cost with one atom less; as much as before when that is unknown."""
        atom = self._atoms[number]
        atoms = load.atoms - {number} if self._sums_matter or self._waits[row] else load.atoms
        cost = self._cost(row, atoms, load.units - atom.units, load.grams - atom.grams)
        return load.cost if cost is None else cost

    def _added(self, load: _Load, number: int, cost: int) -> _Load:
        atom = self._atoms[number]
        return _Load({*load.atoms, number}, load.units + atom.units, load.grams + atom.grams, cost)

    def _removed(self, load: _Load, number: int, cost: int) -> _Load:
        atom = self._atoms[number]
        return _Load(load.atoms - {number}, load.units - atom.units, load.grams - atom.grams, cost)

    def _greedy(
        self, score: Callable[[Floats, Floats], Floats], most_parts: int
    ) -> dict[int, _Load]:
        open_atoms = np.ones(len(self._units), dtype=np.bool_)
        usable = np.isfinite(self._fixed)
        loads: dict[int, _Load] = {}
        units = self._weights @ self._units
        grams = self._weights @ self._grams
        while len(loads) < most_parts and open_atoms.any():
            reach = usable & (units > 0)
            if not reach.any():
                break
            weight = np.where(reach, self._per_gram, 0.0) * grams
            cost = self._fixed + self._per_unit * units + weight
            row = int(np.argmin(np.where(reach, score(cost, np.maximum(units, 1)), np.inf)))
            usable[row] = False
            load = self._fill(row, np.flatnonzero(self._covers[row] & open_atoms).tolist())
            if load is not None:
                loads[row] = load
                done = sorted(load.atoms)
                open_atoms[done] = False
                units = units - self._weights[:, done] @ self._units[done]
                grams = grams - self._weights[:, done] @ self._grams[done]
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
        others = [x for x in sorted(loads) if x != source and self._covers[x, atom]]
        if not others:
            return False
        cost_left = self._cost_without(source, loads[source], atom)
        best: tuple[int, int, int] | None = None
        for other in others:
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
            for row in np.flatnonzero(able).tolist():
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
