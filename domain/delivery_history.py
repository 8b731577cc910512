"""What past shipments say about the next one, using only what was known at the time.

Times are days since 1970-01-01 in one local time, as fractions; NaN is unknown or not happened yet.
Durations are counted in **delivery days**: a calendar day counts as much as deliveries happen on
such a day (a Sunday little, a holiday less), so that a weekend in between is not a delay.

What is known at midnight about nodes, lanes and places is kept as means in which old shipments
fade, and as **pace**: how many deliveries came in the last days against how many were to be
expected of the shipments that were open, in logarithms. Open shipments count there (they are
censored, not unknown), so that a slow-down is seen before the late ones arrive.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOST_AFTER_DAYS = 45.0
"""An undelivered shipment older than that says nothing more about delivery times."""
LEAST_DELIVERY_DAYS = 0.5
_MARGIN_DAYS = 400
_FADING_DAYS = 120.0
_TYPICAL_SPREAD = 1.6
"""From the mean logarithm of absolute deviations to the scale of a logistic distribution."""


@dataclass(frozen=True)
class DeliveryCalendar:
    """Share of a full delivery day on each calendar day from `first` on, and its running sum."""

    first: int
    weights: Floats
    running: Floats
    shares: Floats
    """By weekday, 0 Monday: how much it counts when it is no holiday."""

    def at(self, times: Floats) -> Floats:
        """Delivery days passed at those times; NaN stays NaN."""
        unknown = np.isnan(times)
        safe = np.where(unknown, self.first, times)
        whole = np.floor(safe)
        day = self._index(whole)
        passed = self.running[day] + self.weights[day] * (safe - whole)
        return np.where(unknown, np.nan, passed)

    def between(self, starts: Floats, ends: Floats) -> Floats:
        """Delivery days from the morning of the start's day to the middle of the end's day."""
        middle = np.floor(ends) + 0.5
        return np.maximum(self.at(middle) - self.at(np.floor(starts)), LEAST_DELIVERY_DAYS)

    def by_days(self, starts: Floats, days: int) -> Floats:
        """(start, k): delivery days until the end of the k-th calendar day after the start's."""
        mornings = np.floor(starts)
        evenings = mornings[:, None] + np.arange(1.0, days + 1)
        passed: Floats = self.at(evenings) - self.at(mornings)[:, None]
        return np.maximum(passed, 1e-3)

    def _index(self, days: Floats) -> Ints:
        return np.clip(days.astype(np.int64) - self.first, 0, len(self.weights) - 1)


def learn_calendar(
    delivered: Floats, holidays: frozenset[int], first: int, last: int
) -> DeliveryCalendar:
    """The calendar over days `first` to `last`, from the days on which things were delivered.

    The busiest weekday counts 1. A holiday (a day number) counts as little as a Sunday.
    """
    days = np.floor(delivered[~np.isnan(delivered)]).astype(np.int64)
    counts = np.bincount((days + 3) % 7, minlength=7) + 1.0
    shares = counts / counts.max()
    return calendar_of(shares, holidays, first - _MARGIN_DAYS, last + _MARGIN_DAYS)


def calendar_of(
    shares: Floats, holidays: frozenset[int], first: int, last: int
) -> DeliveryCalendar:
    """The calendar from what each weekday counts (0 Monday)."""
    every = np.arange(first, last + 1)
    weights = shares[(every + 3) % 7]
    is_holiday = np.isin(every, np.array(sorted(holidays), dtype=np.int64))
    weights = np.where(is_holiday, np.minimum(weights, shares[6]), weights)
    return DeliveryCalendar(first, weights, np.concatenate([[0.0], np.cumsum(weights)]), shares)


@dataclass(frozen=True)
class History:
    """Shipments by the time they were ordered, one array entry each.

    Codes are small integers from 0. `lane` is origin region, destination region and carrier
    service together; `area` is finer than the destination's region (a postal prefix).
    """

    ordered: Floats
    handed_over: Floats
    delivered: Floats
    node: Ints
    origin: Ints
    destination: Ints
    lane: Ints
    area: Ints
    facts: Floats
    """(shipment, fact): distance, weight, value and what else is known when ordering."""

    def __len__(self) -> int:
        """How many shipments."""
        return len(self.ordered)

    @cached_property
    def groups(self) -> Mapping[str, Ints]:
        """Codes by kind of group; `all` has one group."""
        return {
            "all": np.zeros(len(self), dtype=np.int64),
            "node": self.node,
            "origin": self.origin,
            "destination": self.destination,
            "lane": self.lane,
            "area": self.area,
        }

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """How many groups of each kind."""
        return {kind: int(codes.max(initial=0)) + 1 for kind, codes in self.groups.items()}

    def before(self, time: float) -> "History":
        """What was known then: later orders are gone, later events have not happened yet."""
        count = int(np.searchsorted(self.ordered, time))
        known = {name: getattr(self, name)[:count] for name in self.__dataclass_fields__}
        for name in ("handed_over", "delivered"):
            known[name] = np.where(known[name] < time, known[name], np.nan)
        return replace(self, **known)


_MEANS = (
    # of what, by which group, half-life in days, weight of the next wider mean
    ("handling", "node", 45.0, 3.0),
    ("total", "node", 45.0, 3.0),
    ("transit", "destination", 30.0, 5.0),
    ("transit", "lane", 30.0, 8.0),
    ("transit", "area", 90.0, 5.0),
    ("transit", "all", 7.0, 1e-6),
    ("handling", "all", 4.0, 1e-6),
)
_DELIVERY_PACE = tuple(
    (kind, days) for kind in ("all", "destination", "lane", "origin", "node") for days in (7, 21)
)
_HANDLING_PACE = tuple((kind, days) for kind in ("all", "node") for days in (4, 14))
_VOLUMES = (("all", 5.0), ("node", 2.0), ("destination", 4.0))
_EFFECTS = (
    # group, weight of the prior that it makes no difference
    ("all", 1e-6),
    ("destination", 20.0),
    ("lane", 30.0),
    ("area", 20.0),
    ("node", 6.0),
)


def conditions(history: History, calendar: DeliveryCalendar, midnight: float) -> list[Floats]:
    """What was known at that midnight, by group code: one array for each column of `features`.

    `history` may hold more than was known; groups without anything known get what wider ones say.
    """
    known = history.before(midnight)
    sizes = history.sizes
    durations = _durations(known, calendar)
    found = [
        _fading_mean(known, durations[of], midnight, kind, sizes[kind], half_life, prior)
        for of, kind, half_life, prior in _MEANS
    ]
    expected, spread = _expected(known, durations["total"], midnight, sizes)
    recent = int(np.searchsorted(known.ordered, midnight - LOST_AFTER_DAYS - 21))
    opened = _slice(known, recent)
    pace = _Pace(opened, calendar, midnight, opened.delivered, expected[recent:], spread, 5.0)
    found += [pace.of(kind, days, sizes[kind]) for kind, days in _DELIVERY_PACE]
    usual = np.nan_to_num(found[0])[opened.node]
    pace = _Pace(opened, calendar, midnight, opened.handed_over, usual, 0.6, 3.0)
    found += [pace.of(kind, days, sizes[kind]) for kind, days in _HANDLING_PACE]
    found += [_volume(known, midnight, kind, sizes[kind], prior) for kind, prior in _VOLUMES]
    return found


CONDITION_GROUPS = (
    *(kind for _, kind, _, _ in _MEANS),
    *(kind for kind, _ in _DELIVERY_PACE),
    *(kind for kind, _ in _HANDLING_PACE),
    *(kind for kind, _ in _VOLUMES),
)
"""The kind of group of each array of `conditions`."""


def features(history: History, calendar: DeliveryCalendar, rows: Ints, at: list[Floats]) -> Floats:
    """(row, column): all that is known about those shipments when they are ordered."""
    ordered = history.ordered[rows]
    day = np.floor(ordered)
    passed = calendar.at(day)
    columns = [
        *history.facts[rows].T,
        (day + 3) % 7,
        (ordered - day) * 24,
        calendar.at(day + 7) - passed,
        calendar.at(day + 14) - passed,
        (history.origin[rows] == history.destination[rows]).astype(np.float64),
    ]
    columns += [
        values[history.groups[kind][rows]]
        for kind, values in zip(CONDITION_GROUPS, at, strict=True)
    ]
    return np.column_stack(columns)


def _slice(history: History, start: int) -> History:
    return replace(
        history, **{name: getattr(history, name)[start:] for name in history.__dataclass_fields__}
    )


def _durations(known: History, calendar: DeliveryCalendar) -> dict[str, Floats]:
    """Logarithms of delivery days; NaN while not known."""
    handed_over, delivered = calendar.at(known.handed_over), calendar.at(known.delivered)
    ordered = calendar.at(known.ordered)
    return {
        "handling": np.log(np.maximum(handed_over - ordered, 0.1)),
        "transit": np.log(np.maximum(delivered - handed_over, 0.2)),
        "total": np.log(calendar.between(known.ordered, known.delivered)),
    }


def _fading_mean(
    known: History,
    values: Floats,
    midnight: float,
    kind: str,
    size: int,
    half_life: float,
    prior: float,
) -> Floats:
    """By group, the mean of what is known, drawn towards the mean of all; NaN when nothing is."""
    since = np.where(np.isnan(known.delivered), known.handed_over, known.delivered)
    rows = np.flatnonzero(~np.isnan(values))
    if not len(rows):
        return np.full(size, np.nan)
    weights = 0.5 ** ((midnight - since[rows]) / half_life)
    overall = np.average(values[rows], weights=weights)
    codes = known.groups[kind][rows]
    sums = np.bincount(codes, weights * values[rows], size)
    return (sums + prior * overall) / (np.bincount(codes, weights, size) + prior)


def _expected(
    known: History, total: Floats, midnight: float, sizes: Mapping[str, int]
) -> tuple[Floats, float]:
    """The expected logarithm of delivery days of every known shipment, and the spread around it.

    One effect after another is taken from what is left, coarse to fine, each drawn towards none.
    """
    rows = np.flatnonzero(~np.isnan(total))
    expected = np.zeros(len(known))
    if not len(rows):
        return expected, 1.0
    weights = 0.5 ** ((midnight - known.ordered[rows]) / _FADING_DAYS)
    for kind, prior in _EFFECTS:
        codes, size = known.groups[kind], sizes[kind]
        left = weights * (total[rows] - expected[rows])
        sums = np.bincount(codes[rows], left, size)
        expected += (sums / (np.bincount(codes[rows], weights, size) + prior))[codes]
    apart = np.abs(total[rows] - expected[rows]) + 0.05
    return expected, _TYPICAL_SPREAD * float(np.exp(np.mean(np.log(apart))))


@dataclass(frozen=True)
class _Pace:
    """Events that came in the last days against those to be expected of what was open."""

    known: History
    calendar: DeliveryCalendar
    midnight: float
    ended: Floats
    centre: Floats
    """The usual logarithm of delivery days until the event."""
    spread: float
    prior: float

    def of(self, kind: str, days: int, size: int) -> Floats:
        """By group, the logarithm of came / expected, drawn towards 0."""
        ordered = self.known.ordered
        ends = np.where(np.isnan(self.ended), np.inf, self.ended)
        lost = ordered + LOST_AFTER_DAYS
        start = np.maximum(self.midnight - days, ordered)
        stop = np.minimum(np.minimum(self.midnight, ends), lost)
        rows = np.flatnonzero(stop > start)
        due = self._risk(stop[rows], rows) - self._risk(start[rows], rows)
        came = (ends[rows] >= self.midnight - days) & (ends[rows] < lost[rows])
        codes = self.known.groups[kind][rows]
        arrived = np.bincount(codes, came.astype(np.float64), size)
        expected = np.bincount(codes, due, size)
        return np.log((arrived + self.prior) / (expected + self.prior))

    def _risk(self, times: Floats, rows: Ints) -> Floats:
        """Cumulated hazard of the event until then, of a log-logistic duration."""
        since = self.calendar.at(np.floor(self.known.ordered[rows]))
        passed = np.log(np.maximum(self.calendar.at(times) - since, 0.3))
        return np.logaddexp(0.0, 1.7 * (passed - self.centre[rows]) / self.spread)


def _volume(known: History, midnight: float, kind: str, size: int, prior: float) -> Floats:
    """By group, the logarithm of orders in the last week against the usual week of two months."""
    codes = known.groups[kind]
    week = known.ordered >= midnight - 7
    months = known.ordered >= midnight - 63
    usual = np.bincount(codes[months], minlength=size) / 9
    return np.log((np.bincount(codes[week], minlength=size) + prior) / (usual + prior))
