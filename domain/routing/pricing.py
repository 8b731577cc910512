"""What a node asks for a set of atoms: the tariff on arrays, compiled.

cost = shipment + kind + distance + node's order cost + node's unit cost x units
     + carrier (base + per km + per kg) + lateness per day begun + price of a day to delivery
     + prices of the units (scarce stock, a strategy's criteria)
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
    amounts: Ints
    """(row, way): micros of a shipment of the first day besides its load; -1: never."""
    shared: Ints
    """(row, SKU that several atoms ask for): units."""
    prices: Ints
    """(row, atom): price of the atom's units in micros; no columns: none."""
    learned: NDArray[np.int16]
    """(row, way, weekday of the collection): calendar days until delivered; -1: not learned."""


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
    """Micros for each day begun after the due time, and for each from the start to delivery."""
    amount = 0
    if moment > times.due:
        amount = -((times.due - moment) // ONE_DAY) * times.late_cost
    days = max(0, -((times.start - moment) // ONE_DAY))
    return int(amount + days * times.day_cost)


@compiled
def leg(
    sites: Sites, times: Times, services: ServiceArrays, row: int, way: int, begin: int, turn: int
) -> tuple[int, int, int, int]:
    """Amount besides units and weight, micros per kg, ship and delivery time; amount -1: never."""
    calendar = sites.calendar[row]
    service = sites.services[row, way]
    if service == COUNTER:
        waits = times.counter[begin, calendar, turn]
        if waits < 0:
            return -1, 0, 0, 0
        return sites.fixed[row] + lateness(times, waits), 0, waits, waits
    if service == NO_SERVICE:
        return -1, 0, 0, 0
    pickup = services.pickup[service]
    ship = times.ship[begin, pickup, calendar, turn]
    if ship < 0:
        return -1, 0, 0, 0
    km = sites.km[row]
    sent = times.ship_day[begin, pickup, calendar, turn]
    transit = int(sites.learned[row, way, (times.first[begin] + sent + 6) % 7])
    if transit < 0:
        transit = services.transit_days[service]
        if km > services.km_per_day[service]:
            transit += (km - 1) // services.km_per_day[service]
    day = sent + transit
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
    """Cost, turn and way on the first day that can take so much.

    IMPOSSIBLE or more: no day, or no way.
    """
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
            return best + sites.per_unit[row] * units, turn, chosen
    return IMPOSSIBLE, -1, -1


@compiled
def first_rooms(
    calendar: Indexes, room: Ints, first_day: int, work: Indexes, rooms: Ints, turns: Indexes
) -> None:
    """By row: units that the first day with any room takes, and which turn it is; 0: no day."""
    last = room.shape[1] - 1
    for row in range(len(rooms)):
        for turn in range(work.shape[2]):
            day = work[0, calendar[row], turn]
            if day < 0:
                break
            column = day - first_day
            if column < 0 or column > last:
                column = last
            if room[row, column] > 0:
                rooms[row], turns[row] = room[row, column], turn
                break


@compiled
def is_overdrawn(needed: Ints, stock: Ints) -> bool:
    """Whether the atoms together need more of a shared SKU than there is."""
    return bool((needed > stock).any())


@compiled
def scarcity(prices: Ints, atoms: int) -> int:
    """The prices of the units of those atoms."""
    total = 0
    for atom in range(len(prices)):
        if atoms >> atom & 1:
            total += prices[atom]
    return total


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
    """What the node asks for exactly those atoms (bits), the prices of their units not counted."""
    if is_overdrawn(sets.shared[:, atoms], sites.shared[row]):
        return IMPOSSIBLE
    begin = begin_of(sites, row, atoms)
    cost, _, _ = price(sites, times, services, row, sets.units[atoms], sets.grams[atoms], begin)
    return cost


@compiled
def first_legs(
    sites: Sites, times: Times, services: ServiceArrays, turns: Indexes, amounts: Ints
) -> None:
    """Fills (row, way) with what a shipment of the row's first day costs besides its load.

    -1: never. The formula is that of `leg`, on flat arrays, as there are thousands of rows.
    """
    # Each array taken out of its tuple once: inside the loop that would cost more than the sums.
    calendars, kms, fixed, ways = sites.calendar, sites.km, sites.fixed, sites.services
    counter, ship, ship_day, delivered = times.counter, times.ship, times.ship_day, times.delivered
    due, late_cost, first, learned = times.due, times.late_cost, times.first[0], sites.learned
    start, day_cost = times.start, times.day_cost
    base, per_km, pickups = services.base, services.per_km, services.pickup
    transits, reaches = services.transit_days, services.km_per_day
    for row in range(len(kms)):
        calendar, turn, km = calendars[row], turns[row], kms[row]
        for way in range(ways.shape[1]):
            service = ways[row, way]
            amounts[row, way] = -1
            arrives = -1
            amount = fixed[row]
            if service == COUNTER:
                arrives = counter[0, calendar, turn]
            elif service != NO_SERVICE:
                sent = ship[0, pickups[service], calendar, turn]
                if sent >= 0:
                    first_day = ship_day[0, pickups[service], calendar, turn]
                    transit = int(learned[row, way, (first + first_day + 6) % 7])
                    if transit < 0:
                        transit = transits[service]
                        if km > reaches[service]:
                            transit += (km - 1) // reaches[service]
                    day = first_day + transit
                    arrives = max(sent, delivered[0, calendar, day])
                    amount += base[service] + per_km[service] * km
            if arrives >= 0:
                if arrives > due:
                    amount += -((due - arrives) // ONE_DAY) * late_cost
                amount += max(0, -((start - arrives) // ONE_DAY)) * day_cost
                amounts[row, way] = amount


@compiled
def weight_costs(rates: Ints, grams: Ints, table: Ints) -> None:
    """Fills (service, set) with the part of the tariff that grows with weight; last row: none."""
    for service in range(len(rates)):
        for atoms in range(len(grams)):
            table[service, atoms] = by_weight(rates[service], grams[atoms])
    table[len(rates)] = 0


@compiled
def best_plain_sets(
    cover: Ints,
    is_plain: Flags,
    services: Indexes,
    amounts: Ints,
    per_unit: Ints,
    stock: Ints,
    prices: Ints,
    units: Ints,
    weights: Ints,
    shared: Ints,
    forbidden: Ints,
    required: Ints,
    costs: Ints,
    rows: Indexes,
) -> None:
    """`best_sets` of the rows whose first day takes everything; flat arrays, to be fast."""
    some_shared, some_priced = shared.shape[0] > 0, prices.shape[1] > 0
    for row in range(len(cover)):
        allowed = cover[row] & ~forbidden[row]
        needed = required[row]
        if allowed == 0 or needed & ~allowed or not is_plain[row]:
            continue
        each = per_unit[row]
        atoms = allowed
        while atoms > 0:
            cost = IMPOSSIBLE
            if atoms & needed == needed:
                for way in range(amounts.shape[1]):
                    if amounts[row, way] >= 0:
                        service = max(services[row, way], -1)
                        cost = min(cost, amounts[row, way] + weights[service, atoms])
                cost += each * units[atoms]
                if some_shared and is_overdrawn(shared[:, atoms], stock[row]):
                    cost = IMPOSSIBLE
                elif some_priced:
                    cost += scarcity(prices[row], atoms)
            if cost < costs[atoms]:
                costs[atoms] = cost
                rows[atoms] = row
            atoms = (atoms - 1) & allowed


@compiled
def best_other_sets(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    sets: Sets,
    forbidden: Ints,
    required: Ints,
    costs: Ints,
    rows: Indexes,
) -> None:
    """`best_sets` for the rows whose sets may fall on different days, priced one by one."""
    for row in range(len(sites.km)):
        allowed = sites.cover[row] & ~forbidden[row]
        needed = required[row]
        if allowed == 0 or needed & ~allowed or sites.is_plain[row]:
            continue
        atoms = allowed
        while atoms > 0:
            if atoms & needed == needed:
                cost = set_cost(sites, times, services, sets, row, atoms)
                cost += scarcity(sites.prices[row], atoms)
                is_earlier = cost == costs[atoms] and row < rows[atoms]
                if cost < IMPOSSIBLE and (cost < costs[atoms] or is_earlier):
                    costs[atoms] = cost
                    rows[atoms] = row
            atoms = (atoms - 1) & allowed


def best_sets(
    sites: Sites,
    times: Times,
    services: ServiceArrays,
    sets: Sets,
    weights: Ints,
    forbidden: Ints,
    required: Ints,
) -> tuple[Ints, Indexes]:
    """For each set of atoms what the cheapest row asks, and that row, the earliest of equals.

    `forbidden` and `required`: by row, atoms (bits) that its set must not, or must, contain.
    """
    costs = np.full(len(sets.units), IMPOSSIBLE, dtype=np.int64)
    rows = np.full(len(sets.units), -1, dtype=np.int32)
    best_plain_sets(
        sites.cover,
        sites.is_plain,
        sites.services,
        sites.amounts,
        sites.per_unit,
        sites.shared,
        sites.prices,
        sets.units,
        weights,
        sets.shared,
        forbidden,
        required,
        costs,
        rows,
    )
    if not sites.is_plain.all():
        best_other_sets(sites, times, services, sets, forbidden, required, costs, rows)
    return costs, rows
