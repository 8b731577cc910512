"""`doms simulate --safety-stock`: what stock a fill rate takes, node by node and pooled."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from config.settings import Settings
from domain.errors import FinalError
from domain.stock_simulation import (
    Curve,
    Demand,
    Outcome,
    comparable,
    curves,
    interval,
    saving,
    simulate,
)
from starter.bulk.loaded import UnreadableInputError
from starter.bulk.olist import ZONE, OlistData, is_olist
from starter.cli_common import print_json, say, table
from starter.commands.local_store import database
from store.engine import reading
from store.sales_history import units_sold

FACTORS = tuple(float(factor) for factor in np.linspace(-1, 8, 37))
USUAL_FACTOR = 2.0
RESAMPLES = 1_000
_SHOWN_FACTORS = FACTORS[4::4]

Sale = tuple[date, str, str, int]
"""Day, node, SKU, units."""


@dataclass(frozen=True)
class Wanted:
    """What to simulate: fill rate as a fraction, days."""

    olist: Path | None
    fill_rate: float
    lead_days: int
    learn_days: int
    products: int
    seed: int
    plot: Path | None


def run_safety_stock(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    """Simulate, print, draw. Raises FinalError when the history is too short."""
    sold = list(_sales(settings, wanted.olist))
    if not sold:
        raise FinalError("there is no order history: let orders flow, or give --orders DIR")
    every = _demand(sold)
    demand = every.busiest(wanted.products, every.days)
    try:
        outcome = simulate(
            demand, learn_days=wanted.learn_days, lead_days=wanted.lead_days, factors=FACTORS
        )
    except ValueError as error:
        raise FinalError(f"the order history is too short: {error}") from error
    fill_rate = comparable(outcome, wanted.fill_rate, FACTORS.index(USUAL_FACTOR))
    found = _figures(outcome, demand, wanted, fill_rate)
    if wanted.plot is not None:
        draw(wanted.plot, outcome, fill_rate)
    if as_json:
        print_json(found)
    else:
        _print(outcome, found, wanted)
    return 0


def _sales(settings: Settings, olist: Path | None) -> Iterator[Sale]:
    if olist is not None:
        yield from _olist_sales(olist)
        return
    with database(settings) as engine, reading(engine) as session:
        yield from units_sold(session)


def _olist_sales(folder: Path) -> Iterator[Sale]:
    """Orders by the customer's state: the data names no stock but the seller's."""
    if not is_olist(folder):
        raise UnreadableInputError(f"{folder}: no orders of the Olist data set are there")
    for loaded in OlistData(folder):
        document = loaded.document
        if document is None:
            continue
        placed = datetime.fromisoformat(document["placed_at"]).astimezone(ZoneInfo(ZONE)).date()
        for line in document["lines"]:
            yield placed, document["region"], line["sku"], line["quantity"]


def _demand(sold: Iterable[Sale]) -> Demand:
    days, nodes, skus, units = zip(*sold, strict=True)
    first = min(days)
    return Demand(
        day=np.array([(day - first).days for day in days], dtype=np.int64),
        node=np.unique(nodes, return_inverse=True)[1].astype(np.int64),
        sku=np.unique(skus, return_inverse=True)[1].astype(np.int64),
        quantity=np.array(units, dtype=np.int64),
    )


def _figures(outcome: Outcome, demand: Demand, wanted: Wanted, fill_rate: float) -> dict[str, Any]:
    apart, pooled = curves(outcome)
    products = len(outcome.wanted)
    resamples = np.random.default_rng(wanted.seed).integers(0, products, (RESAMPLES, products))
    found = interval(outcome, fill_rate, resamples)
    return {
        "products": products,
        "nodes": demand.nodes,
        "days_simulated": demand.days - wanted.learn_days,
        "lead_days": wanted.lead_days,
        "units_wanted": int(outcome.wanted.sum()),
        "fill_rate_asked": wanted.fill_rate,
        "fill_rate": round(fill_rate, 4),
        "stock_node_by_node": _rounded(apart.stock_for(fill_rate)),
        "stock_pooled": _rounded(pooled.stock_for(fill_rate)),
        "saving": _rounded(saving(outcome, fill_rate)),
        "saving_interval_95": None if found is None else [round(bound, 4) for bound in found],
        "curve": [
            {
                "factor": factor,
                "node_by_node": _point(apart, position),
                "pooled": _point(pooled, position),
            }
            for position, factor in enumerate(FACTORS)
        ],
        "plot": None if wanted.plot is None else str(wanted.plot),
    }


def _point(curve: Curve, position: int) -> dict[str, float]:
    return {
        "fill_rate": round(float(curve.fill_rate[position]), 4),
        "stock": round(float(curve.stock[position]), 2),
    }


def _rounded(number: float) -> float | None:
    return None if np.isnan(number) else round(number, 4)


def _print(outcome: Outcome, found: dict[str, Any], wanted: Wanted) -> None:
    apart, pooled = curves(outcome)
    rows = [
        (
            f"{factor:.1f}",
            f"{apart.fill_rate[position]:.1%}",
            f"{apart.stock[position]:,.1f}",
            f"{pooled.fill_rate[position]:.1%}",
            f"{pooled.stock[position]:,.1f}",
        )
        for position, factor in enumerate(FACTORS)
        if factor in _SHOWN_FACTORS
    ]
    table(
        ("safety factor", "fill rate, each node", "units on hand", "fill rate, pooled", "units"),
        rows,
    )
    say(
        f"{found['products']} products, {found['nodes']} nodes, {found['units_wanted']} units"
        f" wanted in {found['days_simulated']} days"
    )
    if found["fill_rate"] < wanted.fill_rate:
        say(
            f"{wanted.fill_rate:.1%} is not reached both ways; compared at"
            f" {found['fill_rate']:.1%}, which a safety factor of {USUAL_FACTOR:g} gives"
        )
    if found["saving"] is not None and found["saving_interval_95"] is not None:
        say(
            f"At a fill rate of {found['fill_rate']:.1%}: {found['stock_node_by_node']:,.1f} units"
            f" on hand node by node, {found['stock_pooled']:,.1f} pooled"
        )
        low, high = found["saving_interval_95"]
        say(f"Saved by seeing the whole network: {found['saving']:.0%} ({low:.0%} to {high:.0%})")
    if found["plot"]:
        say(f"Drawn in {found['plot']}")


def draw(path: Path, outcome: Outcome, fill_rate: float) -> None:
    """Stock against fill rate, both ways, as a PNG. Raises FinalError when it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for curve, name in zip(curves(outcome), ("node by node", "pooled"), strict=True):
        axes.plot(100 * curve.fill_rate, curve.stock, marker=".", label=name)
    axes.axvline(100 * fill_rate, color="gray", linewidth=0.8, linestyle="--")
    axes.set_xlabel("fill rate, % of units served at once")
    axes.set_ylabel("units on hand, mean over the days")
    axes.set_title("Stock that a fill rate takes")
    axes.legend()
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise FinalError(f"{path}: cannot be written: {error}") from error
