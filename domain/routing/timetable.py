"""When each calendar works, packs and hands over: arrays of one day, shared by all decisions on it.

Times are microseconds since 1970 in UTC, days are proleptic ordinals of the local date; -1: never.
The rules are those of domain/calendars.py, read once for a stretch of days.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, cast

import numpy as np

from domain.calendars import DELIVERED_BY, Calendar
from domain.routing.compiled import compiled
from domain.routing.facts import EPOCH, Flags, Indexes, Ints, NetworkFacts, microseconds

ONE_DAY = 86_400_000_000
COLLECTED_EVERY = 900_000_000
"""What is collected at a counter is promised for a full quarter of an hour, and never for one that
would leave less than a quarter to order: that it is asked again a moment later changes nothing."""
NO_DUE_TIME = 1 << 62
_MIDNIGHT = time(0)
_DAYS_BEFORE = 2
_DAYS = 64
_MOST_DAYS = 512
"""A calendar without work in so many days never works."""
_MOST_STRETCHES = 24


class Stretch(NamedTuple):
    """Each calendar on consecutive days: shape (calendars, days) unless said otherwise."""

    first: int
    """Ordinal of the first day."""
    works: Flags
    opens: Ints
    closes: Ints
    midnight: Ints
    delivered: Ints
    """When a parcel of that day counts as delivered."""
    pickups: Ints
    """Shape (pick-up times, calendars, days)."""
    processing: Ints
    """By calendar."""


class Times(NamedTuple):
    """The dates of one ship group. Classes are moments from which units may be worked on."""

    first: Ints
    """By class: ordinal of the first day of its stretch."""
    work: Indexes
    """(class, calendar, turn): ordinal of each work day within the horizon."""
    counter: Ints
    """(class, calendar, turn): from when what is worked on that day waits at the counter."""
    ship: Ints
    """(class, pick-up time, calendar, turn): when the carrier takes it."""
    ship_day: Indexes
    """(class, pick-up time, calendar, turn): day of that collection, counted in the stretch."""
    delivered: Ints
    """(class, calendar, day of the stretch)."""
    due: int
    late_cost: int
    """Micros for each day begun after `due`."""
    start: int = 0
    day_cost: int = 0
    """Micros for each day begun after `start`."""


def times_of(
    network: NetworkFacts,
    releases: list[datetime],
    horizon: int,
    most_transit: int,
    due: datetime | None,
    late_cost: int,
) -> Times:
    """The dates of goods that may be worked on from each of `releases` (classes, ascending)."""
    days = _DAYS
    limit = NO_DUE_TIME if due is None else microseconds(due)
    while True:
        times, is_complete = _tried(network, releases, horizon, days, limit)
        needed = int(times.ship_day.max(initial=0)) + most_transit + 1
        if needed <= days and (is_complete or days >= _MOST_DAYS):
            return times._replace(late_cost=late_cost)
        days = max(_MOST_DAYS, needed)


def _tried(
    network: NetworkFacts, releases: list[datetime], horizon: int, days: int, due: int
) -> tuple[Times, bool]:
    classes, calendars = len(releases), len(network.calendars)
    pickups = len(network.pickup_times)
    times = Times(
        first=np.empty(classes, dtype=np.int64),
        work=np.full((classes, calendars, horizon), -1, dtype=np.int32),
        counter=np.full((classes, calendars, horizon), -1, dtype=np.int64),
        ship=np.full((classes, pickups, calendars, horizon), -1, dtype=np.int64),
        ship_day=np.full((classes, pickups, calendars, horizon), -1, dtype=np.int32),
        delivered=np.empty((classes, calendars, days), dtype=np.int64),
        due=due,
        late_cost=0,
    )
    is_complete = True
    for number, release in enumerate(releases):
        first = release.astimezone(UTC).date().toordinal() - _DAYS_BEFORE
        stretch = _stretch(network, first, days)
        times.first[number] = first
        times.delivered[number] = stretch.delivered
        first_days = _first_days(network, release, first)
        is_complete &= fill_times(
            stretch,
            microseconds(release),
            due,
            first_days,
            times.work[number],
            times.counter[number],
            times.ship[number],
            times.ship_day[number],
        )
    return times, is_complete


def _first_days(network: NetworkFacts, release: datetime, first: int) -> Indexes:
    """The earliest day, counted from `first`, each calendar may work on what is released then."""
    locals_: dict[object, datetime] = {}
    days: list[int] = []
    for calendar in network.calendars:
        local = locals_.get(calendar.zone)
        if local is None:
            local = locals_[calendar.zone] = release.astimezone(calendar.zone)
        is_late = local.time() > calendar.last_release
        days.append(local.toordinal() - first + is_late)
    return np.array(days, dtype=np.int32)


def _stretch(network: NetworkFacts, first: int, days: int) -> Stretch:
    key = ("stretch", first, days)
    found = network.cache.get(key)
    if found is None:
        if len(network.cache) >= _MOST_STRETCHES:
            network.cache.clear()
        found = network.cache[key] = _worked_out(network, first, days)
    return cast(Stretch, found)


def _worked_out(network: NetworkFacts, first: int, days: int) -> Stretch:
    dates = [date.fromordinal(first + day) for day in range(days)]
    shape = (len(network.calendars), days)
    windows = [[x.window(day) for day in dates] for x in network.calendars]

    def at(clock: time) -> Ints:
        moments = [microseconds(x.at(day, clock)) for x in network.calendars for day in dates]
        return np.array(moments, dtype=np.int64).reshape(shape)

    def edge(which: int) -> Ints:
        moments = [microseconds(pair[which]) for row in windows for pair in row]
        return np.array(moments, dtype=np.int64).reshape(shape)

    pickups = [at(clock) for clock in network.pickup_times]
    works = [[x.is_work_day(day) for day in dates] for x in network.calendars]
    processing = [x.processing // timedelta(microseconds=1) for x in network.calendars]
    return Stretch(
        first=first,
        works=np.array(works, dtype=np.bool_).reshape(shape),
        opens=edge(0),
        closes=edge(1),
        midnight=at(_MIDNIGHT),
        delivered=at(DELIVERED_BY),
        pickups=np.array(pickups, dtype=np.int64).reshape(len(pickups), *shape),
        processing=np.array(processing, dtype=np.int64),
    )


@compiled
def fill_times(
    stretch: Stretch,
    release: int,
    due: int,
    first_days: Indexes,
    work: Indexes,
    counter: Ints,
    ship: Ints,
    ship_day: Indexes,
) -> bool:
    """Fills the tables of one class; False when the stretch is too short to be sure."""
    calendars, days = stretch.works.shape
    is_complete = True
    for calendar in range(calendars):
        day = first_days[calendar]
        for turn in range(work.shape[1]):
            while day < days and not stretch.works[calendar, day]:
                day += 1
            if day >= days:
                is_complete = False
                break
            work[calendar, turn] = stretch.first + day
            packed, closes = _ready_at(stretch, calendar, day, release)
            if packed < 0:
                is_complete = False
            else:
                counter[calendar, turn] = _collected_from(packed, closes, due)
                for pickup in range(ship.shape[0]):
                    collected = _collection_day(stretch, calendar, pickup, day, packed)
                    if collected < 0:
                        is_complete = False
                    else:
                        ship[pickup, calendar, turn] = stretch.pickups[pickup, calendar, collected]
                        ship_day[pickup, calendar, turn] = collected
            day += 1
    return is_complete


@compiled
def _ready_at(stretch: Stretch, calendar: int, day: int, release: int) -> tuple[int, int]:
    """When it is packed, and when the node closes that day; -1: not within the stretch."""
    left = stretch.processing[calendar]
    for later in range(day, stretch.works.shape[1]):
        if stretch.works[calendar, later]:
            start = max(stretch.opens[calendar, later], release)
            closes = stretch.closes[calendar, later]
            if left <= closes - start:
                return int(start + left), int(closes)
            left -= max(0, closes - start)
    return -1, -1


@compiled
def _collected_from(packed: int, closes: int, due: int) -> int:
    """A full quarter at least a quarter after it is packed; as promised where that can be kept."""
    full = -(-packed // COLLECTED_EVERY) * COLLECTED_EVERY + COLLECTED_EVERY
    collected = min(full, closes)
    return due if packed <= due < collected else collected


@compiled
def _collection_day(stretch: Stretch, calendar: int, pickup: int, day: int, packed: int) -> int:
    """The first work day, from the one it is packed on, whose collection is not too early."""
    for later in range(day, stretch.works.shape[1] - 1):
        if (
            stretch.works[calendar, later]
            and stretch.midnight[calendar, later + 1] > packed
            and stretch.pickups[pickup, calendar, later] >= packed
        ):
            return later
    return -1


def moment(microseconds_: int) -> datetime:
    """The time as UTC."""
    return EPOCH + timedelta(microseconds=microseconds_)


def calendar_of(network: NetworkFacts, node: int) -> Calendar:
    """The calendar of the node with that index."""
    return network.calendars[int(network.node.calendar[node])]
