from datetime import timedelta
from typing import Any

import pytest

from domain import kpis
from domain.kpis import LineOutcome, OrderOutcome
from tests.unit.domain.builders import MONDAY


def outcome(*lines: LineOutcome, **facts: Any) -> OrderOutcome:
    return OrderOutcome(order_id="W-1", placed_at=MONDAY, lines=lines, **facts)


def after(hours: int) -> Any:
    return MONDAY + timedelta(hours=hours)


FULL = LineOutcome(ordered=2, delivered=2)
PERFECT = outcome(
    FULL,
    shipped_at=after(10),
    delivered_at=after(48),
    promised_deliver_by=after(50),
    packages=1,
)
LATE = outcome(
    FULL,
    LineOutcome(ordered=2, delivered=2, assigned_nodes=3, rejected_by_nodes=2),
    shipped_at=after(30),
    delivered_at=after(60),
    promised_deliver_by=after(56),
    packages=3,
    packages_over_sla=2,
    backordered=True,
)
PARTIAL = outcome(
    FULL,
    LineOutcome(ordered=2, delivered=0),
    shipped_at=after(20),
    delivered_at=after(48),
    packages=1,
    cancelled_for_supply=True,
)
OPEN = outcome(LineOutcome(ordered=4))
ORDERS = (PERFECT, LATE, PARTIAL, OPEN)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (kpis.order_fill_rate, 2 / 4),
        (kpis.line_fill_rate, 4 / 6),
        (kpis.unit_fill_rate, 8 / 14),
        (kpis.perfect_order_rate, 1 / 4),
        (kpis.on_time_in_full_rate, 1 / 4),
        (kpis.split_rate, 1 / 3),
        (kpis.packages_per_order, 5 / 3),
        (kpis.cancel_rate, 1 / 4),
        (kpis.backorder_rate, 1 / 4),
        (kpis.node_rejection_rate, 2 / 8),
        (kpis.reroute_depth, 8 / 6),
        (kpis.hours_to_ship, 20.0),
        (kpis.hours_to_deliver, 52.0),
        (kpis.over_sla_rate, 2 / 5),
        (kpis.promise_accuracy_hours, 1.0),
    ],
)
def test_a_measure_follows_its_definition_and_is_unknown_without_orders(
    measure: Any, expected: float
) -> None:
    assert measure(ORDERS) == pytest.approx(expected)
    assert measure(()) is None


def test_a_perfect_order_is_also_undamaged_with_the_right_documents() -> None:
    orders = [PERFECT.model_copy(update=x) for x in ({"damaged": True}, {"documents_right": False})]

    assert kpis.perfect_order_rate(orders) == 0
    assert kpis.on_time_in_full_rate(orders) == 1
