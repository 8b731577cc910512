"""What a node asks for a set of atoms: the tariff on arrays, compiled.

cost = shipment + kind + distance + node's order cost + node's unit cost x units
     + carrier (base + per km + per kg) + lateness per day begun + price of scarce stock
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.routing.compiled import compiled
from domain.routing.facts import Flags, Indexes, Ints, ServiceArrays
from domain.routing.timetable import ONE_DAY, Times

IMPOSSIBLE = 1 << 60
"""Dearer than any plan; two of them still fit 64 bits."""
COUNTER = -2
"""In place of a service: the customer collects at this very node."""
NO_SERVICE = -1


class Sites(NamedTuple):
    """One row for each node that may serve the group, by node id."""

    calendar: Indexes
    km: Ints
    fixed: Ints
    """Micros of a shipment before its carrier."""
    per_unit: Ints
    services: Indexes
    """(row, position): index of a service, COUNTER or NO_SERVICE."""
    room: Ints
    """(row, day): units that may still be worked on; the last column: any other day."""
    first_day: int
    """Ordinal of the first column of `room`."""
    classes: NDArray[np.int16]
    """(row, atom): from which moment the node can work on the atom."""
    cover: Ints
    """Atoms the node has whole, each looked at alone, as bits; 0 beyond 62 atoms."""
    is_plain: Flags
    """Whether the first work day takes all the group's atoms at once."""
    shared: Ints
    """(row, SKU that several atoms ask for): units."""
    prices: Ints
    """(row, atom): price of scarce stock in micros; no columns: none."""


class Sets(NamedTuple):
    """By set of atoms, as bits."""

    units: Ints
    grams: Ints
    shared: Ints
    """(SKU that several atoms ask for, set): units."""


@compiled
def by_weight(per_kg: int, grams: int) -> int:
    """The part of a carrier's tariff that grows with weight, rounded to the nearest micro."""
    return (per_kg * grams + 500) // 1_000


@compiled
def room_on(sites: Sites, row: int, day: int) -> int:
    """Units the row's node can still take on that day."""
    last = sites.room.shape[1] - 1
    column = day - sites.first_day
    if column < 0 or column > last:
        column = last
    return int(sites.room[row, column])


@compiled
def lateness(times: Times, moment: int) -> int:
    """Micros for each day begun after the due time."""
    if moment <= times.due:
        return 0
    return int(-((times.due - moment) // ONE_DAY) * times.late_cost)


@compiled
def leg(
    sites: Sites, times: Times, services: ServiceArrays, row: int, way: int, begin: int, turn: int
) -> tuple[int, int, int, int]:
    """Amount besides units and weight, micros per kg, ship and delivery time; amount -1: never."""
    calendar = sites.calendar[row]
    service = sites.services[row, way]
    if service == COUNTER:
        ready = times.ready[begin, calendar, turn]
        if ready < 0:
            return -1, 0, 0, 0
        return sites.fixed[row] + lateness(times, ready), 0, ready, ready
    if service == NO_SERVICE:
        return -1, 0, 0, 0
    pickup = services.pickup[service]
    ship = times.ship[begin, pickup, calendar, turn]
    if ship < 0:
        return -1, 0, 0, 0
    km = sites.km[row]
    transit = services.transit_days[service]
    if km > services.km_per_day[service]:
        transit += (km - 1) // services.km_per_day[service]
    day = times.ship_day[begin, pickup, calendar, turn] + transit
    deliver = max(ship, times.delivered[begin, calendar, day])
    amount = sites.fixed[row] + services.base[service] + services.per_km[service] * km
    return amount + lateness(times, deliver), services.per_kg[service], ship, deliver


@compiled
def price(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    row: int,
    units: int,
    grams: int,
    begin: int,
) -> tuple[int, int, int]:
    """Cost, turn and way on the first day that can take so much; IMPOSSIBLE: no day, or no way."""
    calendar = sites.calendar[row]
    for turn in range(times.work.shape[2]):
        day = times.work[begin, calendar, turn]
        if day < 0:
            break
        if units <= room_on(sites, row, day):
            best, chosen = IMPOSSIBLE, -1
            for way in range(sites.services.shape[1]):
                amount, per_kg, _, _ = leg(sites, times, services, row, way, begin, turn)
                if amount >= 0:
                    cost = amount + by_weight(per_kg, grams)
                    if cost < best:
                        best, chosen = cost, way
            if chosen >= 0:
                best += sites.per_unit[row] * units
            return best, turn, chosen
    return IMPOSSIBLE, -1, -1


@compiled
def first_rooms(sites: Sites, times: Times, rooms: Ints) -> None:
    """By row: units that the first day with any room takes; 0: no day does."""
    for row in range(len(rooms)):
        for turn in range(times.work.shape[2]):
            day = times.work[0, sites.calendar[row], turn]
            if day < 0:
                break
            room = room_on(sites, row, day)
            if room > 0:
                rooms[row] = room
                break


@compiled
def begin_of(sites: Sites, row: int, atoms: int) -> int:
    """The moment from which the node can work on all those atoms (bits)."""
    begin = 0
    for atom in range(sites.classes.shape[1]):
        if atoms >> atom & 1:
            begin = max(begin, sites.classes[row, atom])
    return begin


@compiled
def set_cost(
    sites: Sites, times: Times, services: ServiceArrays, sets: Sets, row: int, atoms: int
) -> int:
    """What the node asks for exactly those atoms (bits), scarce stock's price not counted."""
    for sku in range(sets.shared.shape[0]):
        if sets.shared[sku, atoms] > sites.shared[row, sku]:
            return IMPOSSIBLE
    begin = begin_of(sites, row, atoms)
    cost, _, _ = price(sites, times, services, row, sets.units[atoms], sets.grams[atoms], begin)
    return cost


@compiled
def plain_legs(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    row: int,
    units: int,
    amounts: Ints,
    rates: Ints,
) -> int:
    """Fills amount and rate per kg of each way of the first day with that room; their number."""
    ways = 0
    calendar = sites.calendar[row]
    for turn in range(times.work.shape[2]):
        if units <= room_on(sites, row, times.work[0, calendar, turn]):
            for way in range(sites.services.shape[1]):
                amount, per_kg, _, _ = leg(sites, times, services, row, way, 0, turn)
                if amount >= 0:
                    amounts[ways], rates[ways] = amount, per_kg
                    ways += 1
            break
    return ways


@compiled
def plain_cost(
    sites: Sites, sets: Sets, row: int, atoms: int, ways: int, amounts: Ints, rates: Ints
) -> int:
    """As `set_cost`, of a row whose first day takes everything."""
    for sku in range(sets.shared.shape[0]):
        if sets.shared[sku, atoms] > sites.shared[row, sku]:
            return IMPOSSIBLE
    cost = IMPOSSIBLE
    for way in range(ways):
        cost = min(cost, amounts[way] + by_weight(rates[way], sets.grams[atoms]))
    return int(cost + sites.per_unit[row] * sets.units[atoms])


@compiled
def scarcity(sites: Sites, row: int, atoms: int) -> int:
    """The price of the scarce stock those atoms would use."""
    total = 0
    for atom in range(sites.prices.shape[1]):
        if atoms >> atom & 1:
            total += sites.prices[row, atom]
    return total


@compiled
def best_sets(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    sets: Sets,
    forbidden: Ints,
    required: Ints,
    costs: Ints,
    rows: Indexes,
) -> None:
    """For each set of atoms the cheapest row, the earliest of equals.

    `forbidden` and `required`: by row, atoms (bits) that its set must not, or must, contain.
    """
    everything = len(costs) - 1
    priced = sites.prices.shape[1] > 0
    amounts = np.empty(sites.services.shape[1], dtype=np.int64)
    rates = np.empty(sites.services.shape[1], dtype=np.int64)
    for row in range(len(sites.km)):
        cover = sites.cover[row] & ~forbidden[row]
        needed = required[row]
        if cover == 0 or needed & ~cover:
            continue
        ways = 0
        if sites.is_plain[row]:
            units = sets.units[everything]
            ways = plain_legs(sites, times, services, row, units, amounts, rates)
            if ways == 0:
                continue
        atoms = cover
        while atoms > 0:
            if atoms & needed == needed:
                if ways == 0:
                    cost = set_cost(sites, times, services, sets, row, atoms)
                else:
                    cost = plain_cost(sites, sets, row, atoms, ways, amounts, rates)
                if priced:
                    cost += scarcity(sites, row, atoms)
                if cost < costs[atoms]:
                    costs[atoms] = cost
                    rows[atoms] = row
            atoms = (atoms - 1) & cover
