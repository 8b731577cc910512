"""Stock against fill rate: the base-stock rule by hand, and what pooling saves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.stock_simulation import (
    Curve,
    Demand,
    comparable,
    curves,
    interval,
    saving,
    simulate,
)

MANY = tuple(float(factor) for factor in np.linspace(-1, 4, 21))


def demand_of(rows: list[tuple[int, int, int, int]]) -> Demand:
    """Rows of (day, node, sku, quantity)."""
    columns: Any = np.array(rows, dtype=np.int64).reshape(len(rows), 4).T
    return Demand(*columns)


def market(seed: int, skus: int = 12, nodes: int = 6, days: int = 120) -> Demand:
    random = np.random.default_rng(seed)
    sold = random.poisson(0.4, (days, nodes, skus))
    day, node, sku = np.nonzero(sold)
    return Demand(day, node, sku, sold[day, node, sku])


def test_what_is_sold_comes_back_after_the_lead_time() -> None:
    # given one unit a day in the first two days, then one on each of days 2, 3 and 4
    demand = demand_of([(day, 0, 0, 1) for day in range(5)])
    # when a lead of one day needs two units and no safety stock
    outcome = simulate(demand, learn_days=2, lead_days=1, factors=(0.0,))
    # then all three are served, and one unit is left on day 2, none on the days after
    assert outcome.wanted.tolist() == [3]
    assert outcome.served.tolist() == [[[3]], [[3]]]
    assert outcome.stock[0, 0, 0] == pytest.approx((1 + 0 + 0) / 3)


def test_what_is_not_there_is_lost() -> None:
    # given a unit every other day while learning, then four at once
    demand = demand_of([(0, 0, 0, 1), (2, 0, 0, 1), (4, 0, 0, 4), (5, 0, 0, 1)])
    # when the level without safety stock is ceil(0.5 x 1) = 1
    outcome = simulate(demand, learn_days=4, lead_days=0, factors=(0.0, 6.0))
    # then one of the four is served; by that evening the level is ceil((1 + 4) / 4) = 2
    assert outcome.served[0, :, 0].tolist() == [2, 5]
    assert outcome.wanted[0] == 5


def test_the_level_follows_the_sales_of_the_days_before() -> None:
    # given one unit a day, then three a day from day 4 on
    demand = demand_of([(day, 0, 0, 1 if day < 4 else 3) for day in range(10)])
    outcome = simulate(demand, learn_days=2, lead_days=0, factors=(0.0,))
    # then 1, 1, 1 and 2 are served before the mean of two days is three, and 3 a day from then on
    assert outcome.served[0, 0, 0] == 1 + 1 + 1 + 1 + 2 + 3 + 3 + 3


def test_pooled_stock_serves_a_node_that_never_sold_before() -> None:
    demand = demand_of([(0, 0, 0, 1), (1, 0, 0, 1), (2, 1, 0, 1)])
    outcome = simulate(demand, learn_days=2, lead_days=0, factors=(0.0,))
    assert outcome.served[:, 0, 0].tolist() == [0, 1]


def test_pooling_needs_less_stock_for_the_same_fill_rate() -> None:
    outcome = simulate(market(1), learn_days=60, lead_days=5, factors=MANY)
    apart, pooled = curves(outcome)
    assert pooled.stock_for(0.95) < 0.8 * apart.stock_for(0.95)
    assert saving(outcome, 0.95) == pytest.approx(
        1 - pooled.stock_for(0.95) / apart.stock_for(0.95)
    )


def test_the_interval_covers_the_saving_and_repeats_with_its_resamples() -> None:
    outcome = simulate(market(2), learn_days=60, lead_days=5, factors=MANY)
    resamples = np.random.default_rng(7).integers(0, 12, (200, 12))
    found = interval(outcome, 0.95, resamples)
    assert found is not None
    assert found[0] < saving(outcome, 0.95) < found[1]
    assert interval(outcome, 0.95, resamples) == found


def test_a_fill_rate_that_is_never_reached_has_no_stock_saving_or_interval() -> None:
    outcome = simulate(market(3), learn_days=60, lead_days=5, factors=(0.0,))
    assert np.isnan(curves(outcome)[0].stock_for(0.9999))
    assert np.isnan(saving(outcome, 0.9999))
    assert interval(outcome, 0.9999, np.zeros((3, 2), dtype=np.int64)) is None


def test_a_fill_rate_out_of_reach_is_replaced_by_what_the_usual_factor_gives() -> None:
    outcome = simulate(market(3), learn_days=60, lead_days=5, factors=(0.0, 1.0, 2.0))
    assert comparable(outcome, 0.5, usual=1) == 0.5
    assert comparable(outcome, 0.9999, usual=1) == min(
        curve.fill_rate[1] for curve in curves(outcome)
    )


def test_stock_is_read_between_two_factors_in_a_straight_line() -> None:
    assert Curve(np.array([0.8, 0.9]), np.array([10.0, 20.0])).stock_for(0.85) == pytest.approx(15)


def test_only_the_busiest_products_are_kept_and_numbered_anew() -> None:
    demand = demand_of([(0, 0, 0, 5), (0, 0, 1, 1), (1, 1, 2, 4), (1, 0, 2, 4), (2, 0, 1, 90)])
    kept = demand.busiest(2, days=2)
    assert kept.sku.tolist() == [0, 1, 1]
    assert kept.quantity.tolist() == [5, 4, 4]
    assert (kept.days, kept.nodes) == (2, 2)
    assert demand.busiest(1, days=3).quantity.tolist() == [1, 90]


@pytest.mark.parametrize("learn_days", [0, 3, 9])
def test_a_history_without_days_after_the_learning_is_refused(learn_days: int) -> None:
    demand = demand_of([(0, 0, 0, 1), (2, 0, 0, 1)])
    with pytest.raises(ValueError, match="3 days of sales leave none"):
        simulate(demand, learn_days=learn_days, lead_days=1, factors=(0.0,))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_never_more_is_served_than_wanted_and_more_safety_never_serves_less(
    seed: int, lead_days: int
) -> None:
    outcome = simulate(
        market(seed, skus=3, nodes=3, days=40),
        learn_days=20,
        lead_days=lead_days,
        factors=(-1.0, 0.0, 1.0, 2.0),
    )
    assert (outcome.served <= outcome.wanted + 1e-9).all()
    assert (np.diff(outcome.served, axis=1) >= -1e-9).all()
    assert (outcome.stock >= 0).all()
