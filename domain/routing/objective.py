"""What a shipment costs, in whole micros of the base currency, and when it arrives.

cost = shipment + kind + distance + node's order cost + node's unit cost x units
     + carrier (base + per km + per kg) + lateness per day begun
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from domain.calendars import Calendar
from domain.network import CarrierService

GRAMS_PER_KG = 1_000
_ONE_DAY = timedelta(days=1)


def by_weight(per_kg_micros: int, grams: int) -> int:
    """The part of a carrier's tariff that grows with weight, rounded to the nearest micro."""
    return (per_kg_micros * grams + GRAMS_PER_KG // 2) // GRAMS_PER_KG


def days_late(deliver_at: datetime, due: datetime | None) -> int:
    """Days begun after the due time."""
    if due is None or deliver_at <= due:
        return 0
    return -((due - deliver_at) // _ONE_DAY)


class Leg(NamedTuple):
    """One way to send a shipment: `amount` is all that does not depend on units or weight."""

    amount: int
    per_kg: int
    service: CarrierService | None
    ship_at: datetime
    deliver_at: datetime


class Price(NamedTuple):
    """A shipment's cost, its way, and the local date whose capacity it uses."""

    cost: int
    leg: Leg
    work_date: date


Way = tuple[Calendar, int, date, time, int]
"""Calendar, days of lead time, work date, hour of the carrier's pick-up, days of transit."""


class Timetable:
    """The dates of one ship group, computed once for all nodes with equal calendars.

    Days of lead time are calendar days before the node can begin.
    """

    def __init__(self, start: datetime, due: datetime | None, late_cost: int, horizon: int) -> None:
        """Work may begin at `start`; each day after `due` costs `late_cost` micros."""
        # Wall-clock arithmetic in another zone would lose the hour of a clock change.
        self._start = start.astimezone(UTC)
        self._due = due
        self._late_cost = late_cost
        self._horizon = horizon
        self._dates: dict[tuple[Calendar, int], list[tuple[date, str]]] = {}
        self._ready: dict[tuple[Calendar, int, date], datetime | None] = {}
        self._arrivals: dict[Way, tuple[datetime, datetime, int] | None] = {}

    def work_dates(self, calendar: Calendar, lead_days: int) -> list[tuple[date, str]]:
        """The work dates within the horizon, first one first, each also as ISO text."""
        key = (calendar, lead_days)
        dates = self._dates.get(key)
        if dates is None:
            release = self._start + timedelta(days=lead_days)
            days = calendar.work_dates(release, self._horizon)
            dates = self._dates[key] = [(day, day.isoformat()) for day in days]
        return dates

    def ready_at(self, calendar: Calendar, lead_days: int, work_date: date) -> datetime | None:
        """When a shipment worked on that date is packed."""
        key = (calendar, lead_days, work_date)
        if key not in self._ready:
            release = self._start + timedelta(days=lead_days)
            self._ready[key] = calendar.ready_at(work_date, release)
        return self._ready[key]

    def arrival(self, way: Way) -> tuple[datetime, datetime, int] | None:
        """When the carrier collects, when it delivers, and the micros its lateness costs."""
        if way not in self._arrivals:
            self._arrivals[way] = self._arrival(way)
        return self._arrivals[way]

    def _arrival(self, way: Way) -> tuple[datetime, datetime, int] | None:
        calendar, lead_days, work_date, pickup_at, transit = way
        ready = self.ready_at(calendar, lead_days, work_date)
        ship_at = None if ready is None else calendar.pickup_after(ready, pickup_at)
        if ship_at is None:
            return None
        deliver_at = calendar.delivered_at(ship_at, transit)
        return ship_at, deliver_at, self.lateness(deliver_at)

    def lateness(self, deliver_at: datetime) -> int:
        """What being delivered then costs, in micros."""
        return days_late(deliver_at, self._due) * self._late_cost
