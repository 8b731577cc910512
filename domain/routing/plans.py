"""A ship group's plan while it is made: which row sends how much of which atom, at what cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from domain.routing.candidates import Candidates
from domain.routing.compiled import compiled
from domain.routing.demand import Demand
from domain.routing.facts import Flags, Floats, Ints, ServiceArrays
from domain.routing.objective import measures_of
from domain.routing.partition import Priced
from domain.routing.pricing import IMPOSSIBLE, Sets, Sites, leg, price, weight_costs
from domain.routing.timetable import Times

Load = Mapping[int, int]
"""Atom -> units."""


class Price(NamedTuple):
    """A shipment's cost (packed, where measures come before cost: objective.py).

    Turn, way and begin tell day and service (see pricing.py).
    """

    cost: int
    turn: int
    way: int
    begin: int


class _FirstDay(NamedTuple):
    """What a row asks on its first day: (way, micros besides the load, micros per kg)."""

    turn: int
    per_unit: int
    ways: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class GroupPricer:
    """Prices any load of a row."""

    demand: Demand
    candidates: Candidates
    least_value: int = 0
    """Micros of goods that each of several shipments has at least."""
    least_units: int = 0
    _first_days: dict[int, _FirstDay] = field(default_factory=dict)
    cache: dict[str, object] = field(default_factory=dict)
    """What is worked out once for these candidates."""

    @property
    def services(self) -> ServiceArrays:
        """The carriers' tariffs as the policy weighs them."""
        return self.candidates.services

    def price(self, row: int, load: Load) -> Price | None:
        """What the row asks for those units; None when stock, capacity or carrier do not suffice.

        Stock is looked at for all atoms together.
        """
        have = self.candidates.have[row]
        units, grams, begin = self.size_of(row, load)
        needed: dict[int, int] = {}
        for number, quantity in load.items():
            atom = self.demand.atoms[number]
            for sku, need in atom.needs:
                needed[sku] = needed.get(sku, 0) + need * quantity // atom.units
        if any(have[sku] < need for sku, need in needed.items()):
            return None
        found = self.price_of(row, units, grams, begin)
        extra = self.units_price(row, load)
        return found if found is None or not extra else found._replace(cost=found.cost + extra)

    def size_of(self, row: int, load: Load) -> tuple[int, int, int]:
        """Units, grams, and the moment (class) from which the row can work on all of it."""
        units = grams = begin = 0
        for number, quantity in load.items():
            atom = self.demand.atoms[number]
            units += quantity
            grams += atom.grams * quantity // atom.units
            begin = max(begin, int(self.candidates.sites.classes[row, number]))
        return units, grams, begin

    def units_price(self, row: int, load: Load) -> int:
        """What the units themselves cost at the row's node; of a part of an atom, its share."""
        prices = self.candidates.sites.prices
        if not prices.shape[1]:
            return 0
        atoms = self.demand.atoms
        return sum(int(prices[row, x]) * load[x] // atoms[x].units for x in load)

    def paid(self, row: int, price: Price) -> Price:
        """The price with its cost alone, without the measures that are packed before it."""
        packing = self.candidates.packing
        if packing is None:
            return price
        sites, times = self.candidates.sites, self.candidates.times
        _, _, _, arrives = leg(sites, times, self.services, row, price.way, price.begin, price.turn)
        weighed = packing.weighs(measures_of(times, int(sites.km[row]), int(arrives)))
        return price._replace(cost=price.cost - weighed)

    @property
    def has_least(self) -> bool:
        """Whether a shipment beside others must have some value or units."""
        return self.least_value > 0 or self.least_units > 0

    def is_small(self, load: Load) -> bool:
        """Whether a shipment of so little may only go alone."""
        if not self.has_least:
            return False
        quantities = self.lines_of(load)
        lines = self.demand.lines
        value = sum(lines[x].unit_price_micros * units for x, units in quantities.items())
        return value < self.least_value or sum(quantities.values()) < self.least_units

    def price_of(self, row: int, units: int, grams: int, begin: int) -> Price | None:
        """As `price`, of so many units and so much weight, stock aside."""
        sites, times = self.candidates.sites, self.candidates.times
        if sites.is_plain[row]:
            return self._plain_price(row, units, grams)
        cost, turn, way = price(sites, times, self.services, row, units, grams, begin)
        return None if way < 0 else Price(int(cost), int(turn), int(way), begin)

    def _plain_price(self, row: int, units: int, grams: int) -> Price | None:
        """As `price` (pricing.py) for a row whose first day takes all the group's units."""
        known = self._first_days.get(row)
        if known is None:
            known = self._first_days[row] = self._first_day(row)
        best, chosen = IMPOSSIBLE, -1
        for way, amount, per_kg in known.ways:
            cost = amount + (per_kg * grams + 500) // 1_000
            if cost < best:
                best, chosen = cost, way
        return None if chosen < 0 else Price(best + known.per_unit * units, known.turn, chosen, 0)

    def _first_day(self, row: int) -> _FirstDay:
        sites = self.candidates.sites
        per_kg = self.services.per_kg
        ways = tuple(
            (way, amount, int(per_kg[service]) if service >= 0 else 0)
            for way, (amount, service) in enumerate(
                zip(sites.amounts[row].tolist(), sites.services[row].tolist(), strict=True)
            )
            if amount >= 0
        )
        return _FirstDay(int(self.candidates.turns[row]), int(sites.per_unit[row]), ways)

    def room(self, row: int, begin: int) -> int:
        """Units of the row's fullest day."""
        return int(fullest_room(self.candidates.sites, self.candidates.times, row, begin))

    def priced(self) -> Priced:
        """What the exact core looks at."""
        sites = self.candidates.sites
        sets, services = sets_of(self.demand), self.services
        weights = np.empty((len(services.base) + 1, len(sets.units)), dtype=np.int64)
        weight_costs(services.per_kg, sets.grams, weights)
        alone = self._alone(sets.units)
        return Priced(sites, self.candidates.times, services, sets, weights, alone)

    def _alone(self, units: Ints) -> Flags | None:
        """By set: whether it is too little to go beside another shipment; None: no set is."""
        if not self.has_least:
            return None
        lines, atoms = self.demand.lines, self.demand.atoms
        worth = [
            sum(lines[x].unit_price_micros * lines[x].quantity for x in atom.lines)
            for atom in atoms
        ]
        # Dearer goods than the least are enough: cut so that sums fit.
        values = sums([min(value, self.least_value) for value in worth])
        found: Flags = (values < self.least_value) | (units < self.least_units)
        return found

    def lines_of(self, load: Load) -> dict[int, int]:
        """Line's position -> units."""
        found: dict[int, int] = {}
        for number, quantity in load.items():
            atom = self.demand.atoms[number]
            if quantity == atom.units:
                found |= {x: self.demand.lines[x].quantity for x in atom.lines}
            else:
                found[atom.lines[0]] = quantity
        return dict(sorted(found.items()))


def sets_of(demand: Demand) -> Sets:
    """Units, grams and shared SKUs of each set of the demand's atoms."""
    needs = demand.needs()
    shared = [sku for sku in range(needs.shape[1]) if np.count_nonzero(needs[:, sku]) > 1]
    table = np.array([sums(needs[:, sku]) for sku in shared], dtype=np.int64)
    return Sets(
        units=sums([atom.units for atom in demand.atoms]),
        grams=sums([atom.grams for atom in demand.atoms]),
        shared=table.reshape(len(shared), 1 << len(demand.atoms)),
    )


def sums(values: "list[int] | Ints") -> Ints:
    """The sum of the values of each set, by set as bits."""
    found = np.zeros(1, dtype=np.int64)
    for value in values:
        found = np.concatenate((found, found + value))
    return found


@compiled
def fullest_room(sites: Sites, times: Times, row: int, begin: int) -> int:
    """Units that the row's fullest day within the horizon takes."""
    fullest = 0
    last = sites.room.shape[1] - 1
    for turn in range(times.work.shape[2]):
        day = times.work[begin, sites.calendar[row], turn]
        if day < 0:
            break
        column = day - sites.first_day
        if column < 0 or column > last:
            column = last
        fullest = max(fullest, sites.room[row, column])
    return fullest


@compiled
def first_prices(
    sites: Sites, times: Times, services: ServiceArrays, fixed: Floats, per_gram: Floats
) -> None:
    """By row, at best: micros of a shipment besides its load, and of a gram; infinite: never."""
    for row in range(len(fixed)):
        fixed[row] = per_gram[row] = np.inf
        for way in range(sites.services.shape[1]):
            for begin in range(times.work.shape[0]):
                for turn in range(times.work.shape[2]):
                    if times.work[begin, sites.calendar[row], turn] < 0:
                        break
                    amount, per_kg, _, deliver = leg(sites, times, services, row, way, begin, turn)
                    if amount >= 0:
                        fixed[row] = min(fixed[row], float(amount))
                        per_gram[row] = min(per_gram[row], per_kg / 1_000)
                        if deliver <= times.due:
                            # What is in time costs no less on a later day.
                            break


def is_possible(cost: int) -> bool:
    """Whether a cost stands for something that can be done."""
    return cost < IMPOSSIBLE
