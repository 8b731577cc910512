import numpy as np
import pytest

from domain.routing.facts import Ints
from domain.routing_simulation import COLUMNS
from domain.simulation_measures import MEASURES, Comparison, Estimate, compare


def orders(*rows: dict[str, int]) -> Ints:
    table = [[row.get(name, 0) for name in COLUMNS] for row in rows]
    return np.array(table, dtype=np.int64).reshape(len(rows), len(COLUMNS))


def of(found: Comparison, key: str, policy: int = 0) -> Estimate:
    return found.values[policy][[x.key for x in MEASURES].index(key)]


def difference(found: Comparison, key: str, policy: int = 1) -> Estimate:
    return found.differences[policy][[x.key for x in MEASURES].index(key)]


def blocks(*numbers: int) -> Ints:
    return np.array(numbers, dtype=np.int64)


SENT = {
    "orders": 1,
    "filled": 1,
    "lines": 2,
    "lines_filled": 2,
    "units": 3,
    "units_filled": 3,
    "units_served": 3,
    "shipped": 1,
    "shipments": 1,
    "km": 100,
    "shipping": 8_000_000,
    "handling": 2_000_000,
    "cost": 10_000_000,
    "policy_cost": 11_500_000,
    "due": 1,
    "on_time": 1,
    "promise_seconds": 2 * 86_400,
    "margin": 5_000_000,
}
SPLIT = {
    "orders": 1,
    "backordered": 1,
    "lines": 2,
    "lines_filled": 1,
    "units": 5,
    "units_filled": 3,
    "units_missing": 2,
    "units_served": 5,
    "shipped": 1,
    "split": 1,
    "shipments": 3,
    "km": 200,
    "shipping": 20_000_000,
    "handling": 4_000_000,
    "cost": 24_000_000,
    "policy_cost": 30_000_000,
    "due": 1,
    "promise_seconds": 4 * 86_400,
    "margin": -1_000_000,
}
LOST = {"orders": 1, "backordered": 1, "lines": 1, "units": 2, "units_missing": 2}


def test_every_measure_is_its_sum_over_its_sum() -> None:
    found = compare([orders(SENT, SPLIT, LOST)], blocks(0, 1, 2), 80.0, [])

    assert {x.key: of(found, x.key) for x in MEASURES} == {
        "order_fill_rate": (1 / 3, None, None),
        "line_fill_rate": (3 / 5, None, None),
        "unit_fill_rate": (6 / 10, None, None),
        "served_rate": (8 / 10, None, None),
        "backorder_rate": (2 / 3, None, None),
        "backorder_units": (4 / 3, None, None),
        "split_rate": (1 / 2, None, None),
        "shipments_per_order": (2.0, None, None),
        "cost_per_order": (17.0, None, None),
        "shipping_per_order": (14.0, None, None),
        "handling_per_order": (3.0, None, None),
        "cost_per_unit": (34 / 8, None, None),
        "policy_cost_per_order": (20.75, None, None),
        "margin_per_order": (pytest.approx(4 / 3), None, None),
        "distance_km": (75.0, None, None),
        "on_time_rate": (1 / 2, None, None),
        "promise_days": (3.0, None, None),
        "capacity_use": (pytest.approx(0.1), None, None),
    }


def test_a_measure_that_nothing_can_be_divided_by_is_unknown() -> None:
    found = compare([orders(LOST)], blocks(0), 0.0, [blocks(1)])

    assert of(found, "cost_per_order") == Estimate(None)
    assert of(found, "on_time_rate") == Estimate(None)
    assert of(found, "capacity_use") == Estimate(None)
    assert of(found, "order_fill_rate") == Estimate(0.0, 0.0, 0.0)


def test_the_interval_is_the_middle_of_what_the_resamples_give() -> None:
    first, second = blocks(2, 0), blocks(0, 2)
    # 39 of the first and 1 of the second: the upper 2.5 % lie where the second stands.
    resamples = [first] * 39 + [second]

    found = compare([orders(SENT, SPLIT)], blocks(0, 1), 10.0, resamples)

    assert of(found, "cost_per_order") == pytest.approx((17.0, 10.0, 10.0 + 14.0 * 0.025))


def test_differences_are_taken_resample_by_resample() -> None:
    dear = {**SENT, "cost": 13_000_000}
    dearest = {**SPLIT, "cost": 27_000_000}

    found = compare(
        [orders(SENT, SPLIT), orders(dear, dearest)],
        blocks(0, 1),
        10.0,
        [blocks(2, 0), blocks(0, 2), blocks(1, 1)],
    )

    # Each order costs 3 more, whichever are drawn, though costs themselves lie far apart.
    assert difference(found, "cost_per_order") == pytest.approx((3.0, 3.0, 3.0))
    assert of(found, "cost_per_order", 1).low == pytest.approx(13.0 + 0.05 * 7.0)
    assert difference(found, "cost_per_order", 0) == (0.0, 0.0, 0.0)


def test_a_block_is_drawn_whole() -> None:
    found = compare([orders(SENT, SPLIT, SENT)], blocks(0, 0, 1), 10.0, [blocks(1, 0)])

    assert of(found, "cost_per_order") == pytest.approx((44 / 3, 17.0, 17.0))


def test_resamples_without_anything_to_divide_by_are_left_out() -> None:
    found = compare(
        [orders(SENT, LOST)], blocks(0, 1), 10.0, [blocks(0, 2), blocks(2, 0), blocks(1, 1)]
    )
    only_lost = compare([orders(SENT, LOST)], blocks(0, 1), 10.0, [blocks(0, 2)])

    assert of(found, "cost_per_order") == (10.0, 10.0, 10.0)
    assert of(only_lost, "cost_per_order") == (10.0, None, None)


def test_no_orders_leave_every_measure_unknown() -> None:
    found = compare([orders()], blocks(), 10.0, [])

    assert found.values[0][:-1] == (Estimate(None),) * (len(MEASURES) - 1)
    assert of(found, "capacity_use") == Estimate(None)
