"""When a shopper may collect: the same time when asked and when ordered a moment later."""

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.drift import Drift, drift_between
from domain.network import NodeKind, WorkingHours
from domain.orders import Method, ServiceLevel
from domain.routing.decision import Option, Purpose
from domain.routing.solve import decide
from tests.unit.domain.builders import (
    EXPRESS,
    SAME_DAY,
    at,
    group,
    line,
    node,
    plan_of,
    policy,
    request,
    service,
    snapshot,
)
from tests.unit.domain.uncompiled import run_uncompiled

MOMENT = timedelta(seconds=20)
LEAST = timedelta(microseconds=1)
STORE = node(
    "S1",
    NodeKind.STORE,
    offers_pickup=True,
    services=("ground", "air", "bike"),
    hours=WorkingHours(
        days=(0, 1, 2, 3, 4, 5, 6), opens=time(8), closes=time(18, 10), cutoff=time(17)
    ),
    processing_minutes=60,
)
FACTS = snapshot((STORE,), {"A": {"S1": 1}}, services=(service(), EXPRESS, SAME_DAY))
PICKUP = group(method=Method.PICKUP, node_id="S1", destination=None)


def promised(now: datetime, **changes: object) -> Option:
    asked = request(
        line("1", "A"), **({"groups": (PICKUP,), "purpose": Purpose.CHECKOUT} | changes), now=now
    )
    return plan_of(decide(asked, FACTS, policy()))


def ordered(now: datetime, promise: Option, **changes: object) -> Option:
    asked = request(
        line("1", "A"),
        **({"groups": (PICKUP,)} | changes),
        now=now,
        promised_deliver_by=promise.deliver_at,
    )
    return plan_of(decide(asked, FACTS, policy()))


def latest(option: Option) -> datetime:
    assert option.order_by is not None
    return option.order_by


@pytest.mark.parametrize(
    ("asked", "collected"),
    [
        (at(9), at(10, 15)),
        (at(9) + LEAST, at(10, 30)),
        (at(9, 15) - LEAST, at(10, 30)),
        (at(7, 3), at(9, 15)),
        (at(16, 50), at(18, 10)),
        (at(17, 1), at(9, 15, day=3)),
    ],
)
def test_a_collection_is_promised_for_a_full_quarter_of_an_hour(
    asked: datetime, collected: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = promised(asked)
    run_uncompiled(monkeypatch)

    option = promised(asked)

    assert option == compiled
    assert option.ship_at == option.deliver_at == collected


@given(st.integers(0, 86_399_999_999))
def test_an_order_a_moment_after_its_promise_is_routed_as_promised(passed: int) -> None:
    now = at(0) + timedelta(microseconds=passed)
    promise = promised(now)

    for then in (now, min(now + MOMENT, latest(promise)), latest(promise)):
        plan = ordered(then, promise)

        assert drift_between(promise, plan) == Drift()
        assert plan.deliver_at == promise.deliver_at
        assert plan.shipments[0].cost_micros == 3_000_000


@given(st.integers(0, 86_399))
def test_an_order_after_its_promises_latest_time_comes_later(passed: int) -> None:
    promise = promised(at(0) + timedelta(seconds=passed))
    assert promise.deliver_at is not None

    plan = ordered(latest(promise) + LEAST, promise)

    assert plan.deliver_at is not None
    assert plan.deliver_at > promise.deliver_at
    assert plan.cost_micros == promise.cost_micros + 5_000_000


def test_whoever_asks_before_the_store_closes_has_a_quarter_to_order() -> None:
    option = promised(at(14, 7))

    assert latest(option) == at(14, 30)
    assert latest(promised(at(16, 59))) == at(17)


@pytest.mark.parametrize("level", list(ServiceLevel))
def test_what_a_carrier_takes_is_dated_by_its_collection(level: ServiceLevel) -> None:
    there = (group(service_level=level),)
    promise = promised(at(9, 0), groups=there)

    assert promise.service_level is level
    assert latest(promise) == at(16)
    assert drift_between(promise, ordered(at(9) + MOMENT, promise, groups=there)) == Drift()
    assert drift_between(promise, ordered(at(16), promise, groups=there)) == Drift()
    late = ordered(at(16) + LEAST, promise, groups=there)
    assert drift_between(promise, late).delivery_days == 1
