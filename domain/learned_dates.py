"""What doms learned of its own deliveries, by node, lane and carrier service: how sure a date is.

The forecasts of `domain/delivery_dates.py` are made of real shipments, from the time they were
planned to leave until they arrived, so that both a late hand-over and a slow carrier count. What
they say of shipments of the last months is kept by lane. A lane with few shipments is not relied
on; the next wider one answers: from that node to the region, from region to region, the service.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import numpy as np

from domain.delivery_dates import Deviations, Forecasts, deviations, forecast
from domain.delivery_history import (
    DeliveryCalendar,
    Floats,
    History,
    Ints,
    calendar_of,
    learn_calendar,
)
from domain.geo import haversine_km
from domain.network import Place
from domain.routing.decision import LearnedTransit, Option, RequestGroup
from domain.values import Count, Id, Model, Text, UtcTime

LEAST_IN_LANE = 20
"""Shipments below which a lane is too thin to answer."""
LATELY_DAYS = 90
_HALF_LIFE_DAYS = 60.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD_DAYS = 400
_SHARES = 201


@dataclass(frozen=True)
class Shipment:
    """A fulfillment that was shipped, or is to be; times not reached yet are None."""

    node_id: str
    service_id: str
    origin: Place
    destination: Place
    planned: datetime
    """When it was to leave the node."""
    handed_over: datetime | None
    delivered: datetime | None
    units: int = 1


class Lane(Model):
    """Where from, by which service, where to; an empty part stands for any."""

    node_id: Text = ""
    service_id: Id
    origin: Text = ""
    destination: Text = ""


class LaneDays(Model):
    """What forecasts say of a lane: the logarithm of delivery days, and the spread around it."""

    lane: Lane
    shipments: Count
    centre: float
    spread: float


class LearnedDates(Model):
    """Everything that answers how long a shipment takes, and what it was learned from."""

    learned_at: UtcTime
    shipments: Count
    first_planned: UtcTime
    weekday_shares: tuple[float, ...]
    holidays: tuple[int, ...] = ()
    """Days since 1970-01-01."""
    deviations: tuple[float, ...]
    """Quantiles, evenly from 0 to 1."""
    lanes: tuple[LaneDays, ...]

    @cached_property
    def by_lane(self) -> dict[Lane, LaneDays]:
        """The lanes by what they are."""
        return {one.lane: one for one in self.lanes}

    @cached_property
    def transits_known(self) -> dict[tuple[str, date, float], tuple[LearnedTransit, ...]]:
        """Destination, day and chance -> what was worked out of it."""
        return {}

    @cached_property
    def calendar(self) -> DeliveryCalendar:
        """Delivery days from when it was learned until a year later."""
        today = (self.learned_at - _EPOCH).days
        shares = np.array(self.weekday_shares)
        return calendar_of(shares, frozenset(self.holidays), today - 2, today + 2 * _AHEAD_DAYS)

    def lane_of(
        self, node_id: str, service_id: str, origin: Place, destination: Place
    ) -> LaneDays | None:
        """The narrowest lane that was learned; None when not even the service was."""
        for lane in _lanes(node_id, service_id, origin, destination):
            found = self.by_lane.get(lane)
            if found is not None:
                return found
        return None


def confidence(
    learned: LearnedDates, lane: LaneDays, ship_at: datetime, deliver_at: datetime
) -> float:
    """Chance, 0 to 1, that what is planned to leave then arrives on the day of `deliver_at`."""
    start, end = _days(ship_at), _days(deliver_at)
    days = int(np.floor(end) - np.floor(start))
    if days < 0:
        return 0.0
    return float(_chances(learned, lane, start, days + 1)[days])


def option_confidence(
    learned: LearnedDates,
    option: Option,
    origins: Mapping[str, Place],
    destinations: Mapping[str, Place | None],
) -> float | None:
    """Chance that every shipment of the option arrives on its day; by node and ship group.

    None when one has no service or destination (it is collected), or nothing was learned of it.
    """
    chance = 1.0
    for shipment in option.shipments:
        destination = destinations.get(shipment.ship_group)
        if shipment.service_id is None or destination is None:
            return None
        origin = origins[shipment.node_id]
        lane = learned.lane_of(shipment.node_id, shipment.service_id, origin, destination)
        if lane is None:
            return None
        chance *= confidence(learned, lane, shipment.ship_at, shipment.deliver_at)
    return chance if option.shipments else None


def transit_days(
    learned: LearnedDates, lane: LaneDays, ship_at: datetime, level: float
) -> int | None:
    """Calendar days after the day of leaving until that chance is reached; None: not in a year."""
    start = _days(ship_at)
    chances = _chances(learned, lane, start, _AHEAD_DAYS)
    reached = np.flatnonzero(chances >= level)
    return int(reached[0]) if len(reached) else None


def destinations_of(
    groups: Iterable[RequestGroup], stores: Mapping[str, Place]
) -> list[Place | None]:
    """Where parcels of these groups may go: addresses, and the groups' stores by node id."""
    found: list[Place | None] = []
    for group in groups:
        found += [group.destination, stores.get(group.node_id or "")]
    return found


def transits(
    learned: LearnedDates, destinations: Iterable[Place | None], now: datetime, level: float
) -> tuple[LearnedTransit, ...]:
    """What the kernel looks at: days until that chance is reached, of lanes to these places.

    Lanes whose chance is not reached in a year are left out.
    """
    regions = {_region(place) for place in destinations if place is not None}
    found = [
        transit
        for region in ("", *sorted(regions))
        for transit in _transits_to(learned, region, now.date(), level)
    ]
    return tuple(found)


def _transits_to(
    learned: LearnedDates, region: str, today: date, level: float
) -> tuple[LearnedTransit, ...]:
    """Of the week to come; worked out once a day for each region."""
    known = learned.transits_known
    key = region, today, level
    if key not in known:
        week = [
            datetime(today.year, today.month, today.day, 12, tzinfo=UTC) + timedelta(days=n)
            for n in range(7)
        ]
        week.sort(key=datetime.weekday)
        found: list[LearnedTransit] = []
        for one in learned.lanes:
            if one.lane.destination == region:
                days = [transit_days(learned, one, day, level) for day in week]
                whole = tuple(x for x in days if x is not None)
                if len(whole) == len(days):
                    found.append(LearnedTransit(**one.lane.model_dump(), days=whole))
        known[key] = tuple(found)
    return known[key]


def _chances(learned: LearnedDates, lane: LaneDays, start: float, days: int) -> Floats:
    passed = np.log(learned.calendar.by_days(np.array([start]), days)[0])
    apart = (passed - lane.centre) / lane.spread
    shares = np.linspace(0, 1, len(learned.deviations))
    chances: Floats = np.interp(apart, learned.deviations, shares)
    return chances


def learn_dates(
    shipments: Iterable[Shipment], holidays: frozenset[int], now: datetime
) -> LearnedDates | None:
    """Learn from all that was known at `now`; None while too little was delivered."""
    known = sorted(shipments, key=lambda one: one.planned)
    history = _history(known).before(_days(now))
    if not len(history):
        return None
    first = int(history.ordered[0])
    calendar = learn_calendar(history.delivered, holidays, first, int(_days(now)))
    made = forecast(history, calendar, _days(now))
    shape = deviations(made, _days(now), _HALF_LIFE_DAYS)
    if shape is None:
        return None
    return LearnedDates(
        learned_at=now,
        shipments=int((~np.isnan(history.delivered)).sum()),
        first_planned=known[0].planned,
        weekday_shares=tuple(calendar.shares.tolist()),
        holidays=tuple(sorted(holidays)),
        deviations=_quantiles(shape),
        lanes=_learned_lanes(known, made, _days(now)),
    )


def _quantiles(shape: Deviations) -> tuple[float, ...]:
    at = np.linspace(0, 1, _SHARES)
    return tuple(float(x) for x in np.round(np.interp(at, shape.running, shape.values), 6))


def _learned_lanes(known: Sequence[Shipment], made: Forecasts, now: float) -> tuple[LaneDays, ...]:
    rows: dict[Lane, list[int]] = defaultdict(list)
    recent = (made.history.ordered > now - LATELY_DAYS) & ~np.isnan(made.spread)
    for row in np.flatnonzero(recent).tolist():
        one = known[row]
        for lane in _lanes(one.node_id, one.service_id, one.origin, one.destination):
            rows[lane].append(row)
    return tuple(
        LaneDays(
            lane=lane,
            shipments=len(found),
            centre=round(float(made.centre[found].mean()), 6),
            spread=round(float(np.exp(np.log(made.spread[found]).mean())), 6),
        )
        for lane, found in rows.items()
        if len(found) >= LEAST_IN_LANE
    )


def _lanes(node_id: str, service_id: str, origin: Place, destination: Place) -> tuple[Lane, ...]:
    """Narrow to wide."""
    start, end = _region(origin), _region(destination)
    return (
        Lane(node_id=node_id, service_id=service_id, origin=start, destination=end),
        Lane(service_id=service_id, origin=start, destination=end),
        Lane(service_id=service_id),
    )


def _region(place: Place) -> str:
    return f"{place.country}-{place.region}"


def _history(known: Sequence[Shipment]) -> History:
    ends = [(_region(one.origin), _region(one.destination)) for one in known]
    regions: dict[Hashable, int] = {}
    return History(
        ordered=np.array([_days(one.planned) for one in known], dtype=np.float64),
        handed_over=np.array([_days(one.handed_over) for one in known], dtype=np.float64),
        delivered=np.array([_days(one.delivered) for one in known], dtype=np.float64),
        node=_codes([one.node_id for one in known]),
        origin=_codes([start for start, _ in ends], regions),
        destination=_codes([end for _, end in ends], regions),
        lane=_codes([(*both, one.service_id) for both, one in zip(ends, known, strict=True)]),
        area=_codes([(_region(one.destination), one.destination.postal_code[:3]) for one in known]),
        facts=np.array([_facts(one) for one in known], dtype=np.float64).reshape(len(known), 6),
    )


def _codes(keys: Sequence[Hashable], numbers: dict[Hashable, int] | None = None) -> Ints:
    numbers = {} if numbers is None else numbers
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _facts(one: Shipment) -> list[float]:
    start, end = _point(one.origin), _point(one.destination)
    is_known = not np.isnan([*start, *end]).any()
    distance = haversine_km(*start, *end) if is_known else np.nan
    return [*start, *end, distance, one.units]


def _point(place: Place) -> tuple[float, float]:
    if place.latitude is None or place.longitude is None:
        return np.nan, np.nan
    return place.latitude, place.longitude


def _days(at: datetime | None) -> float:
    return np.nan if at is None else (at - _EPOCH) / timedelta(days=1)
