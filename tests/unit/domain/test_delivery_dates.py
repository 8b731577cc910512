"""Delivery dates learned from shipments: only from what was known, censored ones included."""

from dataclasses import replace

import numpy as np
import pytest

from domain.delivery_dates import (
    Deviations,
    Forecasts,
    best_days,
    chance_by_day,
    days_at,
    deviations,
    forecast,
)
from domain.delivery_history import (
    CONDITION_GROUPS,
    DeliveryCalendar,
    Floats,
    History,
    calendar_of,
    conditions,
    features,
    learn_calendar,
)

MONDAY = 18_262 - 2
"""30 December 2019."""


def shipments(count: int = 3_000, days: int = 150, seed: int = 1) -> History:
    """Orders to a near region (about 3 days) and a far one (about 9); node 1 is slow to ship."""
    random = np.random.default_rng(seed)
    ordered = np.sort(MONDAY + random.random(count) * days)
    far = random.integers(0, 2, count)
    node = random.integers(0, 2, count)
    handed_over = ordered + (1 + 2 * node) * random.lognormal(0, 0.2, count)
    transit = np.where(far == 1, 9.0, 3.0) * random.lognormal(0, 0.3, count)
    zeros = np.zeros(count, dtype=np.int64)
    return History(
        ordered=ordered,
        handed_over=handed_over,
        delivered=handed_over + transit,
        node=node,
        origin=zeros,
        destination=far,
        lane=far,
        area=far,
        facts=np.column_stack([np.where(far == 1, 900.0, 90.0), np.full(count, np.nan)]),
    )


def every_day(first: int = MONDAY, days: int = 200) -> DeliveryCalendar:
    return calendar_of(np.ones(7), frozenset(), first - 400, first + days + 400)


@pytest.fixture(scope="module")
def history() -> History:
    return shipments()


@pytest.fixture(scope="module")
def made(history: History) -> Forecasts:
    return forecast(history, every_day(), MONDAY + 150.0)


def test_the_calendar_counts_weekdays_by_deliveries_and_holidays_as_sundays() -> None:
    sunday, holiday = MONDAY + 6, MONDAY + 8
    # given deliveries on each weekday alike but none on Sundays
    delivered = np.array([MONDAY + k + 0.5 for k in range(70) if k % 7 != 6] + [np.nan])
    calendar = learn_calendar(delivered, frozenset({holiday}), MONDAY, MONDAY + 70)
    # then a Sunday counts 1/11 of a weekday, and so does the holiday
    morning, evening = calendar.at(np.array([float(sunday), sunday + 1.0]))
    assert evening - morning == pytest.approx(1 / 11)
    whole = calendar.between(np.array([MONDAY + 0.9]), np.array([MONDAY + 9.1]))
    assert whole[0] == pytest.approx(6 + 1 / 11 + 1 + 1 / 11 + 0.5)
    assert np.isnan(calendar.at(np.array([np.nan]))[0])


def test_something_delivered_at_once_still_took_half_a_day() -> None:
    at = np.array([MONDAY + 0.5])
    assert every_day().between(at, at - 3)[0] == 0.5
    assert every_day().by_days(at, 3).tolist() == [[1.0, 2.0, 3.0]]


def test_before_a_time_later_orders_are_gone_and_later_events_have_not_happened(
    history: History,
) -> None:
    known = history.before(MONDAY + 60.0)
    assert known.ordered[-1] < MONDAY + 60
    assert np.nanmax(known.delivered) < MONDAY + 60
    assert np.isnan(known.delivered).sum() > 20
    assert len(history.before(MONDAY - 1.0)) == 0


def test_nothing_that_happens_later_changes_what_was_forecast(
    history: History, made: Forecasts
) -> None:
    # given the same shipments, with everything after day 100 gone otherwise
    slower = np.where(history.delivered > MONDAY + 100, history.delivered + 30, history.delivered)
    other = replace(history, delivered=slower)
    # when both are forecast
    again = forecast(other, every_day(), MONDAY + 150.0)
    # then they agree until then, and only until then
    early = history.ordered < MONDAY + 100
    assert np.array_equal(again.centre[early], made.centre[early], equal_nan=True)
    assert np.array_equal(again.spread[early], made.spread[early], equal_nan=True)
    assert not np.array_equal(again.centre[~early], made.centre[~early])


def test_forecasts_know_the_far_region_and_the_slow_node(made: Forecasts) -> None:
    late = made.history.ordered > MONDAY + 100
    history = made.history

    def days(destination: int, node: int) -> float:
        chosen = late & (history.destination == destination) & (history.node == node)
        return float(np.exp(made.centre[chosen].mean()))

    assert days(0, 0) == pytest.approx(4.5, abs=1.2)
    assert days(0, 1) - days(0, 0) == pytest.approx(2.0, abs=1.2)
    assert days(1, 0) - days(0, 0) == pytest.approx(6.3, abs=1.8)


def test_a_chance_is_kept_as_often_as_it_says(history: History, made: Forecasts) -> None:
    shape = deviations(made, MONDAY + 124.0, 60.0)
    assert shape is not None
    # given shipments later than all that the shape was taken from
    rows = np.flatnonzero(history.ordered > MONDAY + 124)
    chances = chance_by_day(made, rows, shape)
    # when the first day with a chance of 90 % is promised to each
    promised = days_at(chances, 0.9)
    took = np.floor(history.delivered[rows]) - np.floor(history.ordered[rows])
    # then about 90 % arrive by then
    assert 0.86 < (took <= promised).mean() < 0.97
    assert (np.diff(chances, axis=1) >= 0).all()


def test_a_dearer_late_order_gets_a_later_date() -> None:
    chances = np.array([[0.0, 0.5, 0.8, 0.95, 0.99, 1.0], [0.9, 0.9, 0.9, 0.9, 0.9, 0.9]])
    assert best_days(chances, 1.0).tolist() == [0, 0]
    assert best_days(chances, 8.0).tolist() == [3, 0]
    assert best_days(chances, 1_000.0).tolist() == [5, 0]


def test_a_level_that_is_never_reached_is_promised_for_the_last_day() -> None:
    chances = np.array([[0.2, 0.95, 0.99], [0.1, 0.2, 0.3]])
    assert days_at(chances, 0.9).tolist() == [1, 2]


def test_too_few_deliveries_teach_nothing() -> None:
    few = forecast(shipments(150), every_day(), MONDAY + 150.0)
    assert few.learned is None
    assert np.isnan(few.centre).all()
    assert deviations(few, MONDAY + 150.0, 60.0) is None


def test_a_shop_without_orders_learns_nothing() -> None:
    none = forecast(shipments(), every_day(), float(MONDAY - 1))
    assert len(none.centre) == 0
    assert none.learned is None


def test_the_same_shipments_are_forecast_the_same_way_again(history: History) -> None:
    one, other = (forecast(history, every_day(), MONDAY + 60.0) for _ in range(2))
    assert np.array_equal(one.centre, other.centre, equal_nan=True)


def test_pace_falls_when_what_is_due_does_not_come(history: History) -> None:
    # given a lane whose deliveries all stop on day 90
    stopped = (history.delivered > MONDAY + 90) & (history.destination == 1)
    halted = replace(history, delivered=np.where(stopped, np.nan, history.delivered))

    def pace(of: History) -> Floats:
        assert CONDITION_GROUPS[9] == "destination"
        return conditions(of, every_day(), MONDAY + 100.0)[9]

    usual, now = pace(history), pace(halted)
    assert now[1] < usual[1] - 1
    assert now[0] == pytest.approx(usual[0], abs=0.05)


def test_nothing_known_is_missing_in_means_and_even_in_pace(history: History) -> None:
    at = conditions(history, every_day(), float(MONDAY))
    assert [len(values) for values in at] == [history.sizes[kind] for kind in CONDITION_GROUPS]
    assert np.isnan(at[0]).all()
    assert at[7].tolist() == [0.0]


def test_features_have_a_row_a_shipment_with_its_own_groups(history: History) -> None:
    rows = np.array([0, 1, 2])
    at = conditions(history, every_day(), MONDAY + 80.0)
    found = features(history, every_day(), rows, at)
    assert found.shape == (3, 2 + 5 + len(CONDITION_GROUPS))
    assert np.array_equal(found[:, 7], at[0][history.node[rows]])
    assert (found[:, 2] == (np.floor(history.ordered[rows]) + 3) % 7).all()


def test_chances_follow_the_shape_between_its_values() -> None:
    history = shipments(3)
    made = Forecasts(history, every_day(), np.zeros((3, 1)), np.log([2.0, 2.0, 4.0]), np.ones(3))
    shape = Deviations(np.array([0.0, np.log(2.0)]), np.array([0.25, 0.75]))
    chances = chance_by_day(made, np.array([0, 2]), shape)
    assert chances[0, :4].tolist() == pytest.approx([0.0, 0.25, 0.25 + 0.5 * np.log2(1.5), 0.75])
    assert chances[1, :3].tolist() == [0.0, 0.0, 0.0]
    assert chances[1, 3] == pytest.approx(0.25)
    assert chances[1, 8] == 1.0
