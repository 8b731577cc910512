"""Measures over simulated orders, by policy and compared, with intervals.

Every measure is a ratio of two sums over orders, as FIELD's table of measures has them. Intervals
are the middle 95 % of a bootstrap (Efron 1979) over blocks of orders: a day's orders, which share
stock, or single orders. All policies are resampled alike, so differences are paired: what makes an
order dear for both does not blur them, and a policy differs from itself by exactly nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.routing.facts import Ints
from domain.routing_simulation import COLUMNS
from domain.values import MICROS

Floats = NDArray[np.float64]
Form = Literal["share", "money", "number"]

SHARE = 0.95
_SECONDS_PER_DAY = 86_400


class Measure(NamedTuple):
    """Sum of the column `over`, divided by `scale`, to the sum of the column `per`."""

    key: str
    label: str
    over: str
    per: str
    form: Form
    scale: int = 1


MEASURES = (
    Measure("order_fill_rate", "orders filled at once", "filled", "orders", "share"),
    Measure("line_fill_rate", "lines filled at once", "lines_filled", "lines", "share"),
    Measure("unit_fill_rate", "units filled at once", "units_filled", "units", "share"),
    Measure("served_rate", "units served, also later", "units_served", "units", "share"),
    Measure("backorder_rate", "orders with units backordered", "backordered", "orders", "share"),
    Measure("backorder_units", "units backordered an order", "units_missing", "orders", "number"),
    Measure("split_rate", "orders split", "split", "shipped", "share"),
    Measure("shipments_per_order", "shipments an order", "shipments", "shipped", "number"),
    Measure("cost_per_order", "cost an order", "cost", "shipped", "money", MICROS),
    Measure("shipping_per_order", "  shipping", "shipping", "shipped", "money", MICROS),
    Measure("handling_per_order", "  handling", "handling", "shipped", "money", MICROS),
    Measure("cost_per_unit", "cost a unit served", "cost", "units_served", "money", MICROS),
    Measure(
        "policy_cost_per_order",
        "by the policy's prices",
        "policy_cost",
        "shipped",
        "money",
        MICROS,
    ),
    Measure("margin_per_order", "margin an order", "margin", "orders", "money", MICROS),
    Measure("distance_km", "km a shipment", "km", "shipments", "number"),
    Measure("on_time_rate", "on time, of orders with a date", "on_time", "due", "share"),
    Measure(
        "promise_days",
        "days to delivery",
        "promise_seconds",
        "shipped",
        "number",
        _SECONDS_PER_DAY,
    ),
    Measure("capacity_use", "capacity used", "units_served", "capacity", "share"),
)
"""Orders that nothing was sent for have no cost, splits or days; they count in fill and margin."""

_COLUMNS = (*COLUMNS, "capacity")
_OVER = [_COLUMNS.index(x.over) for x in MEASURES]
_PER = [_COLUMNS.index(x.per) for x in MEASURES]
_SCALE = np.array([x.scale for x in MEASURES], dtype=np.float64)


class Estimate(NamedTuple):
    """A value with its 95 % interval; None where there is nothing to measure."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Comparison(NamedTuple):
    """By policy and measure (`MEASURES`)."""

    values: tuple[tuple[Estimate, ...], ...]
    differences: tuple[tuple[Estimate, ...], ...]
    """Of each policy from the first, paired."""


def compare(
    columns: Sequence[Ints], blocks: Ints, capacity: float, resamples: Iterable[Ints]
) -> Comparison:
    """Every measure of each policy, and how policies differ from the first.

    `columns` has (order, `COLUMNS`) for each policy, `blocks` the block of each order, from 0;
    `capacity` is units that the network could have handled in all that time. A resample says how
    often each block is drawn.
    """
    sums = np.stack([_block_sums(one, blocks, capacity) for one in columns])
    found = _ratios(sums.sum(axis=1))
    drawn = [_ratios(np.tensordot(sums, times, axes=(1, 0))) for times in resamples]
    spread = np.array(drawn).reshape(len(drawn), *found.shape)
    policies = range(len(columns))
    return Comparison(
        values=tuple(_estimates(found[n], spread[:, n]) for n in policies),
        differences=tuple(
            _estimates(found[n] - found[0], spread[:, n] - spread[:, 0]) for n in policies
        ),
    )


def _block_sums(columns: Ints, blocks: Ints, capacity: float) -> Floats:
    """(block, column), capacity shared out evenly over the blocks."""
    count = int(blocks.max(initial=-1)) + 1
    sums = np.zeros((count, len(_COLUMNS)))
    for number in range(columns.shape[1]):
        sums[:, number] = np.bincount(blocks, columns[:, number], minlength=count)
    sums[:, -1] = capacity / max(1, count)
    return sums


def _ratios(sums: Floats) -> Floats:
    """(policy, measure) of (policy, column); NaN where there is nothing to divide by."""
    over, per = sums[:, _OVER] / _SCALE, sums[:, _PER]
    found = np.full(over.shape, np.nan)
    np.divide(over, per, out=found, where=per != 0)
    return found


def _estimates(found: Floats, spread: Floats) -> tuple[Estimate, ...]:
    ends = [(1 - SHARE) / 2, (1 + SHARE) / 2]
    estimates = []
    for number, value in enumerate(found.tolist()):
        known = spread[:, number][~np.isnan(spread[:, number])]
        if np.isnan(value):
            estimates.append(Estimate(None))
        elif not len(known):
            estimates.append(Estimate(value))
        else:
            low, high = np.quantile(known, ends).tolist()
            estimates.append(Estimate(value, low, high))
    return tuple(estimates)
