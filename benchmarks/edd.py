"""Delivery dates learned from history against a marketplace's own promised dates.

    make bench-edd ARGS="--data DIR --test-from 2018-01-01"

How the comparison is kept honest:

- Every shipment is forecast from what was known when it was ordered, in time order.
- One thing is chosen by numbers: how fast old deviations fade (`HALF_LIVES`). The choice looks at
  shipments ordered before --test-from and delivered by then.
- Both keys come from a curve over the test months: `LATE_COSTS`, fixed in advance, each give mean
  promised days and a late rate; between neighbours it is read off straight lines.
- What a shop would have got is told beside it: with the late cost that came nearest to the
  marketplace's late rate on what was known before the test, held through the test months.

A shipment is late when it comes on a later calendar day than promised. Only delivered ones count.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.olist_history import Marketplace, brazilian_holidays, load
from domain.delivery_dates import (
    Forecasts,
    best_days,
    chance_by_day,
    days_at,
    deviations,
    forecast,
)
from domain.delivery_history import Floats, Ints, learn_calendar

DATA = Path(__file__).parents[2] / "shared/data/olist"
TEST_FROM = date(2018, 1, 1)
LATE_COSTS = tuple(float(cost) for cost in np.geomspace(5, 2_000, 40))
LEVELS = (
    0.5,
    0.6,
    0.7,
    0.75,
    0.8,
    0.84,
    0.87,
    0.9,
    0.92,
    0.94,
    0.95,
    0.96,
    0.97,
    0.98,
    0.99,
    0.995,
)
HALF_LIVES = (15.0, 30.0, 60.0, 120.0)
CHOICE_DAYS = 210
KNOWN_AFTER_DAYS = 30
WEEK = 7


@dataclass(frozen=True)
class Promises:
    """Promised days of some shipments under each late cost and each level."""

    rows: Ints
    by_cost: Ints
    by_level: Ints


@dataclass(frozen=True)
class Compared:
    """Against the marketplace on the same shipments, as fractions; negative is better."""

    days_change: float
    late_change: float


def compare(actual: Floats, promised: Floats, ours: Ints) -> Compared:
    """`ours` (shipment, setting) traces the curve that is read at the marketplace's two figures."""
    late, days = float((actual > promised).mean()), float(promised.mean())
    lates, means = (actual[:, None] > ours).mean(axis=0), ours.mean(axis=0)
    order = np.argsort(means)
    # Later dates can only be late less often, so lateness falls along this order.
    same_late = float(np.interp(-late, -lates[order], means[order]))
    same_days = float(np.interp(days, means[order], lates[order]))
    return Compared(same_late / days - 1, same_days / late - 1)


def promise(made: Forecasts, half_life: float, start: float, stop: float) -> Promises:
    """Promises of all shipments ordered in that time; deviations are looked at anew each week."""
    parts = [_promises(rows, chances) for rows, chances in _weeks(made, half_life, start, stop)]
    if not parts:
        raise SystemExit("too little was delivered before --test-from: choose a later day")
    return Promises(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.by_cost for part in parts]),
        np.concatenate([part.by_level for part in parts]),
    )


def _promises(rows: Ints, chances: Floats) -> Promises:
    by_cost = np.column_stack([best_days(chances, cost) for cost in LATE_COSTS])
    by_level = np.column_stack([days_at(chances, level) for level in LEVELS])
    return Promises(rows, by_cost, by_level)


def _weeks(
    made: Forecasts, half_life: float, start: float, stop: float
) -> Iterator[tuple[Ints, Floats]]:
    for monday in np.arange(start, stop, WEEK):
        first, last = np.searchsorted(made.history.ordered, [monday, min(monday + WEEK, stop)])
        rows = np.arange(first, last)
        shape = deviations(made, float(monday), half_life)
        if shape is not None and len(rows):
            rows = rows[~np.isnan(made.spread[rows])]
            yield rows, chance_by_day(made, rows, shape)


def choose_half_life(made: Forecasts, market: Marketplace, test_from: float) -> float:
    """The half-life with the shortest dates on what was ordered and delivered before the test."""
    actual = _actual_days(made)
    start, stop = test_from - CHOICE_DAYS, test_from - KNOWN_AFTER_DAYS
    found = {}
    for half_life in HALF_LIVES:
        ours = promise(made, half_life, start, stop)
        told = made.history.delivered[ours.rows] < test_from
        rows = ours.rows[told]
        found[half_life] = compare(actual[rows], market.promised[rows], ours.by_cost[told])
        print(f"  before the test, with a half-life of {half_life:3.0f} days: {found[half_life]}")
    return min(found, key=lambda half_life: found[half_life].days_change)


def setting_before(made: Forecasts, market: Marketplace, ours: Promises, test_from: float) -> int:
    """The late cost that came nearest to the marketplace's late rate, as known before the test."""
    actual = _actual_days(made)
    ordered, delivered = made.history.ordered[ours.rows], made.history.delivered[ours.rows]
    known = (delivered < test_from) & (ordered < test_from - KNOWN_AFTER_DAYS)
    rows = ours.rows[known]
    target = (actual[rows] > market.promised[rows]).mean()
    lates = (actual[rows, None] > ours.by_cost[known]).mean(axis=0)
    return int(np.argmin(np.abs(lates - target)))


def _actual_days(made: Forecasts) -> Floats:
    return np.floor(made.history.delivered) - np.floor(made.history.ordered)


def main() -> None:
    """Forecast, choose, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the Olist files")
    parser.add_argument("--test-from", type=date.fromisoformat, default=TEST_FROM)
    options = parser.parse_args()
    started = time.perf_counter()
    market = load(options.data)
    test_from = float((options.test_from - date(1970, 1, 1)).days)
    first, last = int(market.history.ordered[0]), int(np.nanmax(market.history.delivered)) + 1
    calendar = learn_calendar(
        market.history.before(test_from).delivered, brazilian_holidays(first, last), first, last
    )
    print(f"{len(market.history):,} orders; tested from {options.test_from} on")
    end = float(np.floor(market.history.ordered[-1])) + 1
    made = forecast(market.history, calendar, end)
    # Forecasting looks at each shipment as of its order; outcomes are judged with all that came.
    made.history = market.history
    half_life = choose_half_life(made, market, test_from)
    ours = promise(made, half_life, test_from - CHOICE_DAYS, end)
    report(made, market, ours, test_from, half_life, time.perf_counter() - started)


def report(
    made: Forecasts,
    market: Marketplace,
    ours: Promises,
    test_from: float,
    half_life: float,
    seconds: float,
) -> None:
    """Print the comparison, by month too, and the figures as JSON."""
    actual = _actual_days(made)
    tested = (made.history.ordered[ours.rows] >= test_from) & ~np.isnan(actual[ours.rows])
    rows = ours.rows[tested]
    by_cost = compare(actual[rows], market.promised[rows], ours.by_cost[tested])
    by_level = compare(actual[rows], market.promised[rows], ours.by_level[tested])
    late, days = (actual[rows] > market.promised[rows]).mean(), market.promised[rows].mean()
    setting = setting_before(made, market, ours, test_from)
    held = ours.by_cost[tested, setting]
    held_days, held_late = held.mean(), (actual[rows] > held).mean()
    print(
        f"marketplace: {days:.2f} days promised, {late:.2%} late, {actual[rows].mean():.2f} actual"
    )
    print(f"at its late rate:       {by_cost.days_change:+.1%} promised days")
    print(f"at its promised days:   {by_cost.late_change:+.1%} late orders")
    print(f"one chance for all:     {by_level.days_change:+.1%}, {by_level.late_change:+.1%} late")
    print(f"late cost chosen before: {held_days:.2f} days promised, {held_late:.2%} late")
    print(
        json.dumps(
            {
                "promised_days_change_at_equal_late_rate": round(by_cost.days_change, 4),
                "late_change_at_equal_promised_days": round(by_cost.late_change, 4),
                "one_level_days_change": round(by_level.days_change, 4),
                "one_level_late_change": round(by_level.late_change, 4),
                "chosen_before_late_cost": round(LATE_COSTS[setting], 1),
                "chosen_before_days_change": round(float(held_days / days - 1), 4),
                "chosen_before_late_change": round(float(held_late / late - 1), 4),
                "marketplace_promised_days": round(float(days), 2),
                "marketplace_late_rate": round(float(late), 4),
                "orders_tested": len(rows),
                "half_life_days": half_life,
                "seconds": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
