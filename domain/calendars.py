"""When a node works on an order, when its carrier collects, and when the parcel arrives.

All wall-clock rules are read in the node's own zone; all results are UTC, so an hour that daylight
saving skips or repeats is counted as it really passes.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from domain.network import Node

DELIVERED_BY = time(20)
"""Carriers promise a day, not an hour: a parcel counts as delivered by this local time."""
_SEARCHED_DAYS = 400
_ONE_DAY = timedelta(days=1)


class Calendar:
    """Work days, hours, cut-off and processing time of the nodes that share them.

    Compared by identity; `calendar_of` returns the same object for equal rules.
    """

    __slots__ = ("_closes", "_cutoff", "_days", "_holidays", "_opens", "_processing", "_zone")

    def __init__(
        self,
        zone: ZoneInfo,
        days: tuple[int, ...],
        hours: tuple[time, time, time],
        holidays: tuple[date, ...],
        processing: timedelta,
    ) -> None:
        """`hours` are opening, closing and cut-off."""
        self._zone = zone
        self._days = frozenset(days)
        self._opens, self._closes, self._cutoff = hours
        self._holidays = frozenset(holidays)
        self._processing = processing

    def is_work_day(self, day: date) -> bool:
        """Whether the node works on that local date."""
        return day.weekday() in self._days and day not in self._holidays

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which all these rules are read."""
        return self._zone

    @property
    def processing(self) -> timedelta:
        """Working time from the release to a packed parcel."""
        return self._processing

    @property
    def last_release(self) -> time:
        """The latest time of day whose orders are still worked on that day."""
        return self._cutoff if self._is_overnight else min(self._cutoff, self._closes)

    def order_by(self, ship_at: datetime) -> datetime | None:
        """The latest release that is still ready at `ship_at`, capacity aside."""
        left = self._processing
        day = ship_at.astimezone(self._zone).date()
        for _ in range(_SEARCHED_DAYS):
            if self.is_work_day(day):
                opens, closes = self.window(day)
                worked = min(ship_at, closes) - opens
                if worked >= left:
                    # The repeated hour of the clock change still counts as before the cut-off.
                    cutoff = self.at(day, self._cutoff.replace(fold=1))
                    return min(min(ship_at, closes) - left, cutoff)
                left -= max(timedelta(0), worked)
            day -= _ONE_DAY
        return None

    @property
    def _is_overnight(self) -> bool:
        return self._closes <= self._opens

    def window(self, day: date) -> tuple[datetime, datetime]:
        """When work begins and ends on that local date; an overnight shift ends on the next."""
        closing_day = day + _ONE_DAY if self._is_overnight else day
        return self.at(day, self._opens), self.at(closing_day, self._closes)

    def at(self, day: date, clock: time) -> datetime:
        """That local date and time of day in UTC."""
        return datetime.combine(day, clock, self._zone).astimezone(UTC)


@lru_cache(maxsize=8192)
def _calendar(
    time_zone: str,
    days: tuple[int, ...],
    hours: tuple[time, time, time],
    holidays: tuple[date, ...],
    processing_minutes: int,
) -> Calendar:
    processing = timedelta(minutes=processing_minutes)
    return Calendar(ZoneInfo(time_zone), days, hours, holidays, processing)


def calendar_of(node: Node) -> Calendar:
    """The node's calendar; nodes with equal rules share one object."""
    hours = node.hours
    clock = (hours.opens, hours.closes, hours.cutoff)
    return _calendar(node.time_zone, hours.days, clock, hours.holidays, node.processing_minutes)
