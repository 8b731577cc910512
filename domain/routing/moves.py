"""Local search over open ways: each move opens one, closes one, or swaps two.

One pass over the entries values all moves (Resende and Werneck 2007); the best are carried out to
see, as room and stock may make them worth less.
"""

import numpy as np

from domain.routing.compiled import compiled
from domain.routing.facts import Flags, Floats, Indexes, Ints
from domain.routing.ways import Problem

LEAST_GAIN = 0.5
"""Micros."""
UNSERVED = -1
_TRIED = 6
"""Of the moves that look best, so many are carried out to see."""


@compiled
def local_search(
    problem: Problem, banned: Flags, chosen: Indexes, size: int, most: int, served: Indexes
) -> tuple[int, float, int]:
    """Improves the open ways move by move; returns how many there are, the plan's cost, and work.

    Fills the way of each atom. Units that are not served cost the penalty; ways that are banned are
    not opened.
    """
    atoms, ways = len(problem.units), len(problem.row)
    table = np.empty((most + 1, atoms))
    trial = np.empty(most + 1, dtype=np.int32)
    places = np.empty(atoms, dtype=np.int32)
    tried = np.empty(atoms, dtype=np.int32)
    gains = np.empty(ways + most)
    partners = np.empty(ways + most, dtype=np.int32)
    cost = assigned(problem, chosen, size, table, places)
    work, is_better = 0, True
    while is_better:
        size = _without_idle(chosen, size, places)
        value_moves(problem, banned, chosen, size, most, table, places, gains, partners)
        work += len(problem.atom) + ways * (size + 1)
        is_better = False
        for move in _best_moves(gains):
            length = _moved(chosen, size, move, partners[move], ways, trial)
            value = assigned(problem, trial, length, table, tried)
            work += 4 * atoms * length
            if value < cost - LEAST_GAIN:
                is_better = True
                cost, size = value, length
                chosen[:length] = trial[:length]
                places[:] = tried
                break
    for atom in range(atoms):
        served[atom] = chosen[places[atom]] if places[atom] >= 0 else UNSERVED
    return size, cost, work


@compiled
def _best_moves(gains: Floats) -> Ints:
    """The moves that promise a gain, the best first, a few at most."""
    found = np.empty(_TRIED, dtype=np.int64)
    count = 0
    for move in range(len(gains)):
        gain = gains[move]
        if gain <= LEAST_GAIN or (count == _TRIED and gain <= gains[found[count - 1]]):
            continue
        place = count if count < _TRIED else _TRIED - 1
        while place > 0 and gains[found[place - 1]] < gain:
            found[place] = found[place - 1]
            place -= 1
        found[place] = move
        count = min(count + 1, _TRIED)
    return found[:count]


@compiled
def _moved(chosen: Indexes, size: int, move: int, partner: int, ways: int, trial: Indexes) -> int:
    """The open ways after a move: (way, -1) opens, (way, place) swaps, (ways + place) closes."""
    trial[:size] = chosen[:size]
    if move >= ways:
        trial[move - ways] = trial[size - 1]
        return size - 1
    if partner >= 0:
        trial[partner] = move
        return size
    trial[size] = move
    return size + 1


@compiled
def _without_idle(chosen: Indexes, size: int, places: Indexes) -> int:
    """Closes ways that serve nothing, which no plan pays for."""
    used = np.zeros(size, dtype=np.bool_)
    for place in places:
        if place >= 0:
            used[place] = True
    renamed = np.empty(size, dtype=np.int32)
    kept = 0
    for place in range(size):
        renamed[place] = kept
        if used[place]:
            chosen[kept] = chosen[place]
            kept += 1
    if kept < size:
        for atom in range(len(places)):
            if places[atom] >= 0:
                places[atom] = renamed[places[atom]]
    return kept


@compiled
def fill_table(problem: Problem, chosen: Indexes, size: int, table: Floats) -> None:
    """(place, atom): what the atom costs there; infinite: it is not served there."""
    start, atoms, costs, shares = problem.start, problem.atom, problem.cost, problem.share
    for place in range(size):
        table[place] = np.inf
        for entry in range(start[chosen[place]], start[chosen[place] + 1]):
            if shares[entry] >= 1.0:
                table[place, atoms[entry]] = costs[entry]


@compiled
def assigned(problem: Problem, chosen: Indexes, size: int, table: Floats, places: Indexes) -> float:
    """Each atom to the cheapest of the open ways that has room and stock; returns the cost."""
    fill_table(problem, chosen, size, table)
    units = problem.units
    loads = np.zeros(size, dtype=np.int64)
    is_tight = False
    for atom in range(len(units)):
        best = -1
        for place in range(size):
            if table[place, atom] < np.inf and (best < 0 or table[place, atom] < table[best, atom]):
                best = place
        places[atom] = best
        if best >= 0:
            loads[best] += units[atom]
            is_tight |= loads[best] > problem.room[chosen[best]]
    if is_tight or (len(problem.need_sku) and _is_overdrawn(problem, chosen, size, places)):
        _assign_within(problem, chosen, size, table, places)
    used = np.zeros(size, dtype=np.bool_)
    total = 0.0
    for atom in range(len(units)):
        place = places[atom]
        if place < 0:
            total += problem.penalty * units[atom]
        else:
            total += table[place, atom]
            used[place] = True
    for place in range(size):
        if used[place]:
            total += problem.fixed[chosen[place]]
    return total


@compiled
def _is_overdrawn(problem: Problem, chosen: Indexes, size: int, places: Indexes) -> bool:
    taken = np.zeros((size, problem.stock.shape[1]), dtype=np.int64)
    for atom in range(len(places)):
        place = places[atom]
        if place >= 0 and not _take(problem, problem.row[chosen[place]], atom, taken[place]):
            return True
    return False


@compiled
def _take(problem: Problem, row: int, atom: int, taken: Ints) -> bool:
    """Takes the SKUs that others ask for too; False, and nothing taken, where one is short."""
    first, last = problem.need_start[atom], problem.need_start[atom + 1]
    for need in range(first, last):
        sku = problem.need_sku[need]
        if taken[sku] + problem.need_units[need] > problem.stock[row, sku]:
            return False
    for need in range(first, last):
        taken[problem.need_sku[need]] += problem.need_units[need]
    return True


@compiled
def _assign_within(
    problem: Problem, chosen: Indexes, size: int, table: Floats, places: Indexes
) -> None:
    """Fills the places again where not all fits: those first that lose most by another place."""
    units = problem.units
    left = np.empty(size, dtype=np.int64)
    for place in range(size):
        left[place] = problem.room[chosen[place]]
    taken = np.zeros((size, problem.stock.shape[1]), dtype=np.int64)
    for atom in np.argsort(-_regrets(problem, size, table), kind="mergesort"):
        places[atom] = -1
        for _ in range(size):
            best = -1
            for place in range(size):
                if (
                    table[place, atom] < np.inf
                    and units[atom] <= left[place]
                    and (best < 0 or table[place, atom] < table[best, atom])
                ):
                    best = place
            if best < 0:
                break
            if _take(problem, problem.row[chosen[best]], atom, taken[best]):
                places[atom] = best
                left[best] -= units[atom]
                break
            table[best, atom] = np.inf


@compiled
def _regrets(problem: Problem, size: int, table: Floats) -> Floats:
    """By atom: what the second cheapest place costs more."""
    found = np.zeros(table.shape[1])
    for atom in range(table.shape[1]):
        first = second = problem.penalty * problem.units[atom]
        for place in range(size):
            cost = table[place, atom]
            if cost < first:
                first, second = cost, first
            elif cost < second:
                second = cost
        found[atom] = second - first
    return found


@compiled
def value_moves(
    problem: Problem,
    banned: Flags,
    chosen: Indexes,
    size: int,
    most: int,
    table: Floats,
    places: Indexes,
    gains: Floats,
    partners: Indexes,
) -> None:
    """Fills what each move gains: opening a way, alone or for an open one; closing an open one.

    Exact where room and stock suffice; else what it may gain at best.
    """
    ways, atoms = len(problem.row), len(problem.units)
    fill_table(problem, chosen, size, table)
    now, then = np.empty(atoms), np.empty(atoms)
    losses = np.zeros(size)
    _value_places(problem, chosen, size, table, places, now, then, losses)
    gains[:] = -np.inf
    partners[:] = -1
    for place in range(size):
        gains[ways + place] = -losses[place]
    place_of = _places_by_row(problem, chosen, size)
    least = 0
    for place in range(size):
        if losses[place] < losses[least]:
            least = place
    extras = np.zeros(size + 1)
    for way in range(ways):
        gain = _gain_of(problem, way, places, now, then, extras)
        own = place_of[problem.row[way]]
        if own < 0 and size < most:
            gains[way] = gain
        if own < 0 and size and gain - losses[least] > gains[way]:
            gains[way], partners[way] = gain - losses[least], least
        for entry in range(problem.start[way], problem.start[way + 1]):
            place = places[problem.atom[entry]]
            if place >= 0 and (own < 0 or own == place):
                swapped = gain - losses[place] + extras[place]
                if swapped > gains[way]:
                    gains[way], partners[way] = swapped, place
        for entry in range(problem.start[way], problem.start[way + 1]):
            extras[max(0, places[problem.atom[entry]])] = 0.0
        if banned[way] or (own >= 0 and chosen[own] == way):
            gains[way] = -np.inf


@compiled
def _value_places(
    problem: Problem,
    chosen: Indexes,
    size: int,
    table: Floats,
    places: Indexes,
    now: Floats,
    then: Floats,
    losses: Floats,
) -> None:
    """By atom its cost, and that at the next best open way; by place the loss when it closes."""
    for place in range(size):
        losses[place] = -problem.fixed[chosen[place]]
    for atom in range(len(places)):
        own = places[atom]
        now[atom] = then[atom] = problem.penalty * problem.units[atom]
        if own >= 0:
            now[atom] = table[own, atom]
            for place in range(size):
                if place != own and table[place, atom] < then[atom]:
                    then[atom] = table[place, atom]
            losses[own] += then[atom] - now[atom]


@compiled
def _gain_of(
    problem: Problem, way: int, places: Indexes, now: Floats, then: Floats, extras: Floats
) -> float:
    """What opening the way alone gains; `extras`: what more when the place of an atom closes."""
    gain = -problem.fixed[way]
    for entry in range(problem.start[way], problem.start[way + 1]):
        atom, cost = problem.atom[entry], problem.cost[entry]
        if problem.share[entry] >= 1.0 and cost < then[atom]:
            gain += max(0.0, now[atom] - cost)
            if places[atom] >= 0:
                extras[places[atom]] += then[atom] - max(cost, now[atom])
    return float(gain)


@compiled
def _places_by_row(problem: Problem, chosen: Indexes, size: int) -> Indexes:
    """Row -> the place of its open way; -1: it has none."""
    rows = problem.row[-1] + 1 if len(problem.row) else 0
    found = np.full(rows, -1, dtype=np.int32)
    for place in range(size):
        found[problem.row[chosen[place]]] = place
    return found
