"""Delivery dates learned from delivered shipments: how likely a date is to hold, which to promise.

The logarithm of delivery days (`domain/delivery_history.py`) of a shipment is taken as

    centre(what is known when ordering) + spread(the same) x a common deviation

Centre and spread are boosted trees (`domain/boosting.py`), learned again every two weeks from
what was known then; open shipments enter with the duration to be expected of one that has waited so
long (Buckley and James 1979). The deviations are those of real forecasts made before, never of the
shipments learned from, so that their distribution tells how wrong such forecasts are lately.

The date promised is the one at which a day more no longer pays: days + late cost x chance of being
late is least. That gives the shortest dates on average for a given share of late ones.
"""

from dataclasses import dataclass, field
from math import erf, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from domain.boosting import Forest, Settings, learn, predict
from domain.delivery_history import (
    DeliveryCalendar,
    Floats,
    History,
    Ints,
    conditions,
    features,
)

LEARN_EVERY_DAYS = 14
LEAST_DELIVERED = 200
"""Delivered shipments below which nothing is learned."""
LEAST_FORECASTS = 400
"""Forecasts with a known outcome below which no spread is learned, so no chance is known."""
FARTHEST_DAYS = 90
_FADING_DAYS = 180.0
_MATURE_DAYS = 30.0
"""After that nearly all is delivered: spreads learned earlier would see the fast ones only."""
_SEEDS = (0, 1, 2)
_CENTRE = Settings()
_SPREAD = Settings(trees=60, depth=3, leaf_prior=200.0)
_FIRST_SPREAD = 0.5
_LEAST_SPREAD = 0.03


@dataclass(frozen=True)
class Learned:
    """Trees learned at one time; several of each, whose mean counts."""

    centre: tuple[Forest, ...]
    spread: tuple[tuple[Forest, Forest], ...]
    """By seed: the usual logarithm of an overshoot, and the mean overshoot."""
    unit: float = 1.0
    """Makes the mean overshoot one spread, so that spreads learned at other times compare."""

    def centres(self, x: Floats) -> Floats:
        """Expected logarithm of delivery days, for each row of features."""
        means: Floats = np.mean([predict(forest, x) for forest in self.centre], axis=0)
        return means

    def spreads(self, x: Floats) -> Floats:
        """How far above the centre a late one lies; NaN while that is not learned."""
        if not self.spread:
            return np.full(len(x), np.nan)
        return _spreads(self.spread, x) * self.unit


def _spreads(forests: tuple[tuple[Forest, Forest], ...], x: Floats) -> Floats:
    """Between the usual and the mean overshoot."""
    usual = np.mean([predict(one, x) for one, _ in forests], axis=0)
    mean = np.mean([predict(other, x) for _, other in forests], axis=0)
    found: Floats = np.exp((usual + np.log(np.maximum(mean, _LEAST_SPREAD))) / 2)
    return found


@dataclass
class Forecasts:
    """For each shipment of a history, what was forecast when it was ordered; NaN: nothing was."""

    history: History
    calendar: DeliveryCalendar
    features: Floats
    centre: Floats
    spread: Floats
    learned: Learned | None = field(default=None)

    @property
    def actual(self) -> Floats:
        """Logarithm of delivery days; NaN for what was not delivered."""
        days = self.calendar.between(self.history.ordered, self.history.delivered)
        return np.log(days)


def forecast(history: History, calendar: DeliveryCalendar, until: float) -> Forecasts:
    """Forecast every shipment ordered before `until`, in time order, from what was known then.

    Deterministic. Shipments before the first time that enough was delivered stay NaN.
    """
    history = history.before(until)
    made = Forecasts(
        history=history,
        calendar=calendar,
        features=_all_features(history, calendar),
        centre=np.full(len(history), np.nan),
        spread=np.full(len(history), np.nan),
    )
    if not len(history):
        return made
    time = float(np.floor(history.ordered[0])) + LEARN_EVERY_DAYS
    while time < until:
        learned = _learn(made, time)
        if learned is not None:
            made.learned = learned
            rows = _ordered_between(history, time, min(time + LEARN_EVERY_DAYS, until))
            made.centre[rows] = learned.centres(made.features[rows])
            made.spread[rows] = learned.spreads(made.features[rows])
        time += LEARN_EVERY_DAYS
    return made


def _all_features(history: History, calendar: DeliveryCalendar) -> Floats:
    days = np.floor(history.ordered)
    blocks = []
    for day in np.unique(days):
        rows = np.flatnonzero(days == day)
        at = conditions(history, calendar, float(day))
        blocks.append(features(history, calendar, rows, at))
    return np.concatenate(blocks) if blocks else np.zeros((0, 0))


def _ordered_between(history: History, start: float, stop: float) -> Ints:
    first, last = np.searchsorted(history.ordered, [start, stop])
    return np.arange(first, last)


def _learn(made: Forecasts, time: float) -> Learned | None:
    known = made.history.before(time)
    is_delivered = ~np.isnan(known.delivered)
    if is_delivered.sum() < LEAST_DELIVERED:
        return None
    x = made.features[: len(known)]
    rows, durations = _with_open_ones(made, known, time)
    weights = 0.5 ** ((time - known.ordered[rows]) / _FADING_DAYS)
    centre = tuple(learn(x[rows], durations, weights, _CENTRE, seed) for seed in _SEEDS)
    seen = is_delivered & (known.ordered < time - _MATURE_DAYS)
    seen &= ~np.isnan(made.centre[: len(known)])
    if seen.sum() < LEAST_FORECASTS:
        return Learned(centre, ())
    return _with_spread(centre, x[seen], (made.actual - made.centre)[: len(known)][seen])


def _with_spread(centre: tuple[Forest, ...], x: Floats, over: Floats) -> Learned:
    """From forecasts whose outcome is known: how far they were exceeded."""
    is_above = over > 0
    above, usual = x[is_above], np.log(over[is_above] + 0.05)
    mean = np.maximum(over, 0.0)
    spread = tuple(
        (
            learn(above, usual, np.ones(len(above)), _SPREAD, seed),
            learn(x, mean, np.ones(len(x)), _SPREAD, seed),
        )
        for seed in _SEEDS
    )
    return Learned(centre, spread, float(np.mean(mean / _spreads(spread, x))))


_OPEN_DAYS = 30.0


def _with_open_ones(made: Forecasts, known: History, time: float) -> tuple[Ints, Floats]:
    """Shipments to learn from and their logarithms of delivery days, the open ones' expected.

    For those a normal distribution is taken, whose mean overshoot is its deviation / sqrt(2 pi).
    """
    is_delivered = ~np.isnan(known.delivered)
    rows = np.flatnonzero(is_delivered | (known.ordered > time - _OPEN_DAYS))
    centre, spread = made.centre[rows], made.spread[rows]
    durations = np.log(made.calendar.between(known.ordered[rows], known.delivered[rows]))
    middle = np.nanmean(durations)
    centre = np.where(np.isnan(centre), middle, centre)
    spread = np.where(np.isnan(spread), _FIRST_SPREAD, spread * sqrt(2 * pi))
    waited = made.calendar.at(np.full(len(rows), time)) - made.calendar.at(
        np.floor(known.ordered[rows])
    )
    beyond = (np.log(np.maximum(waited, 0.5)) - centre) / spread
    still = centre + spread * _mean_beyond(beyond)
    return rows, np.where(is_delivered[rows], durations, still)


def _mean_beyond(limits: Floats) -> Floats:
    """Mean of a standard normal number above each limit."""
    height = np.exp(-(limits**2) / 2) / sqrt(2 * pi)
    above = np.array([(1 - erf(limit / sqrt(2))) / 2 for limit in limits])
    mean: Floats = np.where(limits > 5, limits, height / np.maximum(above, 1e-9))
    return mean


@dataclass(frozen=True)
class Deviations:
    """The distribution of (actual - centre) / spread of earlier forecasts: values and weights."""

    values: Floats
    """Ascending."""
    running: Floats
    """Share at or below each value, ascending, within 0 and 1."""


def deviations(made: Forecasts, time: float, half_life: float) -> Deviations | None:
    """Deviations of the forecasts whose outcome was known then, older ones fading.

    None when fewer than LEAST_DELIVERED are known.
    """
    known = made.history.before(time)
    count = len(known)
    rows = np.flatnonzero(~np.isnan(known.delivered) & ~np.isnan(made.spread[:count]))
    if len(rows) < LEAST_DELIVERED:
        return None
    apart = (made.actual[rows] - made.centre[rows]) / made.spread[rows]
    order = np.argsort(apart, kind="stable")
    weights = 0.5 ** ((time - known.ordered[rows][order]) / half_life)
    running = (np.cumsum(weights) - weights / 2) / weights.sum()
    return Deviations(apart[order], running)


def chance_by_day(made: Forecasts, rows: Ints, shape: Deviations) -> Floats:
    """(row, k): chance that the shipment is there k calendar days after its order's day."""
    passed = np.log(made.calendar.by_days(made.history.ordered[rows], FARTHEST_DAYS))
    apart = (passed - made.centre[rows, None]) / made.spread[rows, None]
    return np.interp(apart, shape.values, shape.running, left=0.0, right=1.0)


def best_days(chances: Floats, late_cost: float) -> NDArray[np.int64]:
    """For each row of chances by day, the days at which days + late_cost x lateness is least."""
    days = np.arange(chances.shape[1])
    found: NDArray[np.int64] = np.argmin(days + late_cost * (1 - chances), axis=1)
    return found


def days_at(chances: Floats, level: float) -> NDArray[np.int64]:
    """For each row of chances by day, the first day whose chance reaches the level."""
    reached = chances >= level
    last = chances.shape[1] - 1
    found: NDArray[np.int64] = np.where(reached.any(axis=1), reached.argmax(axis=1), last)
    return found
