"""A group's shipments as linear ways: a row, a day with room, a carrier's tariff.

Most rows have one or two ways. Where costs add up so, plans are searched and bounded on flat
arrays (search.py); what is found is priced as any other plan is.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from domain.routing.candidates import Candidates
from domain.routing.compiled import compiled
from domain.routing.demand import Demand
from domain.routing.facts import Flags, Floats, Indexes, Ints, ServiceArrays
from domain.routing.pricing import Sites, by_weight, leg, room_on
from domain.routing.timetable import Times


class Ways(NamedTuple):
    """One entry for each way; those of a row follow one another."""

    row: Indexes
    begin: Indexes
    """The moment (class) from which the row works on the shipment."""
    fixed: Ints
    """Micros of the shipment besides its load."""
    per_kg: Ints
    room: Ints
    """Units that the day takes."""


class Problem(NamedTuple):
    """A group's plan as a problem of flat arrays; costs in micros.

    Way w serves the atoms `atom[start[w]:start[w + 1]]`.
    """

    row: Indexes
    fixed: Floats
    room: Ints
    start: Indexes
    atom: Indexes
    cost: Floats
    """By entry, of the whole atom."""
    share: Floats
    """By entry: how much of the atom the way can serve, more than 0, at most 1."""
    units: Ints
    """By atom."""
    need_start: Indexes
    """Atom a takes `need_units[need_start[a]:need_start[a + 1]]` of the SKUs `need_sku[...]`: only
    SKUs that several atoms ask for."""
    need_sku: Indexes
    need_units: Ints
    stock: Ints
    """(row, such SKU)."""
    penalty: float
    """Micros of a unit that is not served: more than any plan costs."""


def problem_of(
    demand: Demand, candidates: Candidates, services: ServiceArrays, pieces: Flags, rooms: Ints
) -> Problem:
    """The group as flat arrays.

    `pieces`: atoms whose units may come from several nodes; `rooms`: (row, atom) units of them that
    the row's stock allows.
    """
    sites, times = candidates.sites, candidates.times
    nothing = _empty_ways(0)
    count = fill_ways(sites, times, services, candidates.turns, demand.units, *nothing)
    ways = _empty_ways(count)
    fill_ways(sites, times, services, candidates.turns, demand.units, *ways)
    units = np.array([atom.units for atom in demand.atoms], dtype=np.int64)
    grams = np.array([atom.grams for atom in demand.atoms], dtype=np.int64)
    largest = count * len(units)
    start = np.zeros(count + 1, dtype=np.int32)
    atom = np.empty(largest, dtype=np.int32)
    cost = np.empty(largest, dtype=np.float64)
    share = np.empty(largest, dtype=np.float64)
    size = fill_entries(
        sites, ways, candidates.covers, pieces, rooms, units, grams, start, atom, cost, share
    )
    need_start, need_sku, need_units = _needs(demand)
    dearest = float(cost[:size].max(initial=0.0)) + float(ways.fixed.max(initial=0))
    return Problem(
        row=ways.row,
        fixed=ways.fixed.astype(np.float64),
        room=ways.room,
        start=start,
        atom=atom[:size],
        cost=cost[:size],
        share=share[:size],
        units=units,
        need_start=need_start,
        need_sku=need_sku,
        need_units=need_units,
        stock=sites.shared,
        penalty=1.0 + dearest * len(units),
    )


def _empty_ways(count: int) -> Ways:
    return Ways(
        row=np.empty(count, dtype=np.int32),
        begin=np.empty(count, dtype=np.int32),
        fixed=np.empty(count, dtype=np.int64),
        per_kg=np.empty(count, dtype=np.int64),
        room=np.empty(count, dtype=np.int64),
    )


def _needs(demand: Demand) -> tuple[Indexes, Indexes, Ints]:
    users = Counter(sku for atom in demand.atoms for sku, _ in atom.needs)
    shared = [sku for sku in range(len(demand.skus)) if users[sku] > 1]
    position = {sku: number for number, sku in enumerate(shared)}
    found = [[(position[x], y) for x, y in atom.needs if x in position] for atom in demand.atoms]
    start = np.cumsum([0, *(len(x) for x in found)]).astype(np.int32)
    flat = np.array([pair for pairs in found for pair in pairs], dtype=np.int64).reshape(-1, 2)
    return start, flat[:, 0].astype(np.int32), np.ascontiguousarray(flat[:, 1])


@compiled
def fill_ways(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    turns: Indexes,
    units: int,
    row_of: Indexes,
    begins: Indexes,
    fixed: Ints,
    per_kg: Ints,
    rooms: Ints,
) -> int:
    """Fills the ways, as far as there is place; returns how many there are."""
    count = 0
    for row in range(len(sites.km)):
        if sites.is_plain[row] and _services_able(sites, row) == 1:
            if count < len(row_of):
                way = np.argmax(sites.amounts[row])
                service = sites.services[row, way]
                row_of[count], begins[count], rooms[count] = row, 0, units
                fixed[count] = sites.amounts[row, way]
                per_kg[count] = services.per_kg[service] if service >= 0 else 0
            count += 1
        elif sites.is_plain[row]:
            count = _fill_day(
                sites, times, services, row, 0, turns[row], units,
                count, row_of, begins, fixed, per_kg, rooms,
            )  # fmt: skip
        else:
            count = _fill_days(
                sites, times, services, row, units,
                count, row_of, begins, fixed, per_kg, rooms,
            )  # fmt: skip
    return count


@compiled
def _fill_days(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    row: int,
    units: int,
    count: int,
    row_of: Indexes,
    begins: Indexes,
    fixed: Ints,
    per_kg: Ints,
    rooms: Ints,
) -> int:
    """The days with more room than any before, from each moment the row can begin."""
    last = 0
    for atom in range(sites.classes.shape[1]):
        last = max(last, sites.classes[row, atom])
    for begin in range(last + 1):
        if begin and not (sites.classes[row] == begin).any():
            continue
        most = 0
        for turn in range(times.work.shape[2]):
            day = times.work[begin, sites.calendar[row], turn]
            if day < 0 or most >= units:
                break
            room = room_on(sites, row, day)
            if room > most:
                most = room
                count = _fill_day(
                    sites, times, services, row, begin, turn, room,
                    count, row_of, begins, fixed, per_kg, rooms,
                )  # fmt: skip
    return count


@compiled
def _services_able(sites: Sites, row: int) -> int:
    """How many services could take a shipment of the row's first day."""
    able = 0
    for way in range(sites.services.shape[1]):
        able += sites.amounts[row, way] >= 0
    return able


@compiled
def _fill_day(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    row: int,
    begin: int,
    turn: int,
    room: int,
    count: int,
    row_of: Indexes,
    begins: Indexes,
    fixed: Ints,
    per_kg: Ints,
    rooms: Ints,
) -> int:
    """The services of that day that no other beats, in base and by weight."""
    positions = sites.services.shape[1]
    for way in range(positions):
        amount, rate, _, _ = leg(sites, times, services, row, way, begin, turn)
        is_best = amount >= 0
        for other in range(positions):
            if is_best and other != way:
                amount_2, rate_2, _, _ = leg(sites, times, services, row, other, begin, turn)
                beats = amount_2 >= 0 and amount_2 <= amount and rate_2 <= rate
                is_same = amount_2 == amount and rate_2 == rate
                is_best = not beats or (is_same and way < other)
        if is_best:
            if count < len(row_of):
                row_of[count], begins[count], rooms[count] = row, begin, room
                fixed[count], per_kg[count] = amount, rate
            count += 1
    return count


@compiled
def fill_entries(
    sites: Sites,
    ways: Ways,
    covers: Flags,
    pieces: Flags,
    stock: Ints,
    units: Ints,
    grams: Ints,
    start: Indexes,
    atoms: Indexes,
    costs: Floats,
    shares: Floats,
) -> int:
    """Fills which atoms each way serves, at what cost; returns how many entries there are."""
    rows, begins, rates, rooms = ways.row, ways.begin, ways.per_kg, ways.room
    classes, per_unit, prices = sites.classes, sites.per_unit, sites.prices
    some_priced = prices.shape[1] > 0
    size = 0
    for way in range(len(rows)):
        row = rows[way]
        for atom in range(len(units)):
            if classes[row, atom] > begins[way]:
                continue
            most = units[atom] if covers[row, atom] else 0
            if pieces[atom]:
                most = min(units[atom], stock[row, atom])
                most = min(most, rooms[way])
            if most <= 0 or most > rooms[way]:
                continue
            atoms[size] = atom
            costs[size] = per_unit[row] * units[atom] + by_weight(rates[way], grams[atom])
            if some_priced:
                costs[size] += prices[row, atom]
            shares[size] = most / units[atom]
            size += 1
        start[way + 1] = size
    return size
