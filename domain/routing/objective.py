"""Measures made least one after another, as one whole number that every part of the kernel adds up.

Each measure belongs to a shipment (one, its days late, its days to delivery, its kilometres), and
comes before cost. It is weighed by more than all that follows it can be in any plan, so that the
least weighed sum is the least first measure, of those plans the least second, and so on. Where the
weights would not fit 64 bits they are cut, and no plan counts as proven.
"""

from typing import NamedTuple

import numpy as np

from domain.routing.compiled import compiled
from domain.routing.facts import Indexes, Ints, ServiceArrays
from domain.routing.pricing import Sites, leg
from domain.routing.strategy import Measure
from domain.routing.task import GroupTask
from domain.routing.timetable import ONE_DAY, Times

MOST_PACKED = 1 << 58
"""A plan's packed cost stays below: a quarter of what stands for the impossible."""


class Measures(NamedTuple):
    """Of one shipment, or at most of any."""

    shipments: int
    lateness: int
    """Days begun after the due time."""
    delivery: int
    """Days begun from the start to delivery."""
    distance: int
    """Kilometres."""


class Packing(NamedTuple):
    """What a shipment's measures weigh beside its cost."""

    order: tuple[Measure, ...]
    """The measures before cost."""
    weights: Measures
    is_exact: bool
    """Whether the weights are what they must be."""

    def weighs(self, found: Measures) -> int:
        """The part of a packed cost that is no cost."""
        return sum(x * y for x, y in zip(self.weights, found, strict=True))


def packed(
    task: GroupTask, sites: Sites, times: Times, services: ServiceArrays, turns: Indexes
) -> tuple[Sites, Times, Packing]:
    """The sites and times with the measures before cost weighed into their costs."""
    order = tuple(x for x in task.policy.objective if x != "cost")
    most = np.zeros(3, dtype=np.int64)
    worst_legs(sites, times, services, turns, most)
    late, days, amount = most.tolist()
    shipments = max(1, min(task.most_shipments, len(sites.km), task.demand.units))
    limits = Measures(1, late, days, int(sites.km.max(initial=0)))
    packing = _weights(order, limits, shipments, _dearest(task, sites, services, amount, shipments))
    weights = packing.weights
    sites = sites._replace(fixed=sites.fixed + weights.shipments + weights.distance * sites.km)
    times = times._replace(
        late_cost=times.late_cost + weights.lateness, day_cost=times.day_cost + weights.delivery
    )
    return sites, times, packing


def _dearest(
    task: GroupTask, sites: Sites, services: ServiceArrays, amount: int, shipments: int
) -> int:
    """No plan costs more: micros."""
    grams = sum(atom.grams for atom in task.demand.atoms)
    by_weight = int(services.per_kg.max(initial=0)) * grams // 1_000 + shipments
    units = int(sites.per_unit.max(initial=0)) * task.demand.units
    prices = sum(int(x) for x in sites.prices.max(axis=0, initial=0))
    return shipments * amount + by_weight + units + prices


def _weights(order: tuple[Measure, ...], limits: Measures, shipments: int, dearest: int) -> Packing:
    """Each weight is more than all that follows can be, of `shipments` at most."""
    found = dict.fromkeys(Measures._fields, 0)
    reach = dearest
    for measure in reversed(order):
        found[measure] = reach + 1
        reach += found[measure] * shipments * getattr(limits, measure)
    is_exact = reach < MOST_PACKED
    if not is_exact:
        room = max(1, MOST_PACKED - dearest)
        found = {name: weight * room // reach for name, weight in found.items()}
    return Packing(order, Measures(**found), is_exact)


@compiled
def worst_legs(
    sites: Sites, times: Times, services: ServiceArrays, turns: Indexes, most: Ints
) -> None:
    """Fills the most days late, days to delivery and micros of any shipment besides its load."""
    for row in range(len(sites.km)):
        for way in range(sites.services.shape[1]):
            for begin in range(times.work.shape[0]):
                for turn in range(times.work.shape[2]):
                    is_used = not sites.is_plain[row] or (begin == 0 and turn == turns[row])
                    if is_used and times.work[begin, sites.calendar[row], turn] >= 0:
                        amount, _, _, arrives = leg(sites, times, services, row, way, begin, turn)
                        if amount >= 0:
                            late = max(0, -((times.due - arrives) // ONE_DAY))
                            days = max(0, -((times.start - arrives) // ONE_DAY))
                            most[0] = max(most[0], late)
                            most[1] = max(most[1], days)
                            most[2] = max(most[2], amount)


def measures_of(times: Times, km: int, arrives: int) -> Measures:
    """Of a shipment that arrives then (microseconds since 1970)."""
    late = max(0, -((times.due - arrives) // ONE_DAY))
    return Measures(1, late, max(0, -((times.start - arrives) // ONE_DAY)), km)
