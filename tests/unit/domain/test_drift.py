from datetime import UTC, datetime, timedelta

import pytest

from domain.drift import Drift, drift_between
from domain.orders import Method, ServiceLevel
from domain.routing.decision import Assignment, Option, PlannedShipment

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def plan(
    units: dict[str, int], *, later: timedelta = timedelta(0), cost: int = 5_000_000
) -> Option:
    """One line's units by node, shipped at noon and delivered a day later."""
    at = NOON + later
    shipments = tuple(
        PlannedShipment(
            node_id=node_id,
            ship_group="1",
            method=Method.SHIP,
            assignments=(Assignment(line_id="1", sku="X", quantity=quantity),),
            work_date="2026-03-02",
            ship_at=at,
            deliver_at=at + timedelta(days=1),
            order_by=at,
            cost_micros=cost,
        )
        for node_id, quantity in units.items()
    )
    return Option(
        service_level=ServiceLevel.STANDARD,
        shipments=shipments,
        cost_micros=cost,
        ship_at=at,
        deliver_at=at + timedelta(days=1),
    )


def test_a_plan_that_is_what_was_promised_has_no_drift() -> None:
    drift = drift_between(plan({"A": 2}), plan({"A": 2}, later=timedelta(hours=3)))
    assert drift == Drift()
    assert drift.is_none


@pytest.mark.parametrize(
    ("routed", "drift"),
    [
        (plan({"A": 1, "B": 1}), Drift(units_moved=1)),
        (plan({"B": 2}), Drift(units_moved=2)),
        (plan({"A": 1}), Drift(units_moved=1)),
        (plan({"A": 2}, later=timedelta(days=3)), Drift(ship_days=3, delivery_days=3)),
        (plan({"A": 2}, later=timedelta(days=-1)), Drift(ship_days=-1, delivery_days=-1)),
        (plan({"A": 2}, cost=4_000_000), Drift(cost_micros=-1_000_000)),
        (
            Option(service_level=ServiceLevel.STANDARD),
            Drift(units_moved=2, cost_micros=-5_000_000),
        ),
    ],
)
def test_each_difference_is_counted_by_itself(routed: Option, drift: Drift) -> None:
    found = drift_between(plan({"A": 2}), routed)
    assert found == drift
    assert not found.is_none
