"""How much stock a fill rate takes, when each node has its own and when all share it.

Each product at each place follows a base-stock rule: every evening what is missing up to the level
is ordered and arrives `lead_days` later; an order that finds nothing is lost. The level is what is
expected in the lead time and the day itself, and as safety stock so many standard deviations of it
(the factor):

    level = ceil(mean x (lead + 1) + factor x deviation x sqrt(lead + 1))

Mean and deviation are those of the `learn_days` before, so that the level follows the sales.
Pooled, one level covers the demand of all nodes: the stock that network-wide visibility needs.
Eppen (1979, "Effects of centralization on expected costs in a multi-location newsboy problem")
shows why it is less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Demand:
    """Units sold, one entry each: codes from 0 of day, node and product."""

    day: Ints
    node: Ints
    sku: Ints
    quantity: Ints

    @property
    def days(self) -> int:
        """How many days, the first to the last with a sale."""
        return int(self.day.max(initial=-1)) + 1

    @property
    def nodes(self) -> int:
        """How many nodes."""
        return int(self.node.max(initial=-1)) + 1

    def busiest(self, count: int, days: int) -> "Demand":
        """Only the products that sold most in the first days, numbered anew; ties by their code."""
        sold = np.bincount(self.sku, np.where(self.day < days, self.quantity, 0))
        chosen = np.sort(np.argsort(-sold, kind="stable")[:count])
        kept = np.isin(self.sku, chosen)
        return Demand(
            self.day[kept],
            self.node[kept],
            np.searchsorted(chosen, self.sku[kept]),
            self.quantity[kept],
        )


@dataclass(frozen=True)
class Outcome:
    """What happened in the days after the learning, by product."""

    factors: Floats
    wanted: Floats
    """(sku)."""
    served: Floats
    """(way, factor, sku): units sold at once; way 0 is node by node, way 1 pooled."""
    stock: Floats
    """(way, factor, sku): mean units on hand over the days."""


def simulate(
    demand: Demand, *, learn_days: int, lead_days: int, factors: Sequence[float]
) -> Outcome:
    """Run every product both ways for each safety factor. Raises ValueError without days to run."""
    if not 0 < learn_days < demand.days:
        raise ValueError(f"{demand.days} days of sales leave none to simulate after {learn_days}")
    skus = int(demand.sku.max()) + 1
    wanted = np.zeros(skus)
    served, stock = np.zeros((2, len(factors), skus)), np.zeros((2, len(factors), skus))
    order = np.argsort(demand.sku, kind="stable")
    bounds = np.searchsorted(demand.sku[order], np.arange(skus + 1))
    for sku in range(skus):
        rows = order[bounds[sku] : bounds[sku + 1]]
        by_node = np.zeros((demand.nodes, demand.days))
        np.add.at(by_node, (demand.node[rows], demand.day[rows]), demand.quantity[rows])
        wanted[sku] = by_node[:, learn_days:].sum()
        for way, series in enumerate((by_node, by_node.sum(axis=0, keepdims=True))):
            levels = _levels(series, learn_days, lead_days, np.asarray(factors))
            sold, held = _run(series[:, learn_days:], levels, lead_days)
            served[way, :, sku], stock[way, :, sku] = sold, held
    return Outcome(np.asarray(factors, dtype=np.float64), wanted, served, stock)


def _levels(series: Floats, learn_days: int, lead_days: int, factors: Floats) -> Floats:
    """(day after the learning, factor, series): the level on that morning."""
    windows = np.lib.stride_tricks.sliding_window_view(series, learn_days, axis=1)[:, :-1]
    cover = lead_days + 1
    mean = windows.mean(axis=2).T * cover
    deviation = windows.std(axis=2).T * np.sqrt(cover)
    wanted = mean[:, None] + factors[:, None] * deviation[:, None]
    levels: Floats = np.ceil(np.maximum(wanted, 0.0) - 1e-9)
    return levels


def _run(series: Floats, levels: Floats, lead_days: int) -> tuple[Floats, Floats]:
    """By factor: units served, and mean units on hand at the end of a day, over all series."""
    days = series.shape[1]
    arriving = np.zeros((days + lead_days + 1, *levels.shape[1:]))
    on_hand, ordered = levels[0].copy(), np.zeros(levels.shape[1:])
    served, held = np.zeros(len(on_hand)), np.zeros(len(on_hand))
    for day in range(days):
        on_hand += arriving[day]
        ordered -= arriving[day]
        sold = np.minimum(on_hand, series[:, day])
        on_hand -= sold
        missing = np.maximum(levels[day] - on_hand - ordered, 0.0)
        arriving[day + lead_days + 1] = missing
        ordered += missing
        served += sold.sum(axis=1)
        held += on_hand.sum(axis=1)
    return served, held / days


@dataclass(frozen=True)
class Curve:
    """Fill rate and stock of one way by safety factor."""

    fill_rate: Floats
    stock: Floats

    def stock_for(self, fill_rate: float) -> float:
        """Units on hand it takes, between neighbours in a straight line; NaN beyond the ends."""
        rates = np.maximum.accumulate(self.fill_rate)
        found = np.interp(fill_rate, rates, self.stock, left=np.nan, right=np.nan)
        return float(found)


def curves(outcome: Outcome, skus: Ints | None = None) -> tuple[Curve, Curve]:
    """Node by node and pooled; over those products only, repeated ones counted each time."""
    chosen = np.arange(len(outcome.wanted)) if skus is None else skus
    wanted = max(float(outcome.wanted[chosen].sum()), 1e-9)
    served = outcome.served[:, :, chosen].sum(axis=2) / wanted
    stock = outcome.stock[:, :, chosen].sum(axis=2)
    return Curve(served[0], stock[0]), Curve(served[1], stock[1])


def comparable(outcome: Outcome, fill_rate: float, usual: int) -> float:
    """That fill rate if both ways reach it, else the one both reach with the `usual` factor."""
    both = curves(outcome)
    if all(curve.fill_rate.max() >= fill_rate for curve in both):
        return fill_rate
    return min(float(curve.fill_rate[usual]) for curve in both)


def saving(outcome: Outcome, fill_rate: float, skus: Ints | None = None) -> float:
    """Share of the stock that pooling saves at that fill rate; NaN where one way misses it."""
    apart, pooled = curves(outcome, skus)
    return 1 - pooled.stock_for(fill_rate) / max(apart.stock_for(fill_rate), 1e-9)


def interval(
    outcome: Outcome, fill_rate: float, resamples: Ints, share: float = 0.95
) -> tuple[float, float] | None:
    """Where the saving lies in that share of the resamples (each a row of product codes).

    The bootstrap over products (Efron 1979). None when no resample reaches the fill rate both ways.
    """
    found = np.array([saving(outcome, fill_rate, skus) for skus in resamples])
    known = found[~np.isnan(found)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
