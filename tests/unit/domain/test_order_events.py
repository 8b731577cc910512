"""What others are told is derived from what the read model said before and says now."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.fulfillments import FulfillmentStatus, Package, PackageStatus
from domain.order_events import (
    VOCABULARY,
    Fact,
    FulfillmentSeen,
    OrderSeen,
    covers,
    fulfillment_facts,
    order_facts,
)
from domain.plans import FulfillmentView, OrderView
from domain.quantities import LineQuantities
from domain.stages import Attention, Choice, Hold, Stage

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 5, 9, 0, tzinfo=UTC)
FRAUD = Hold(hold_id="h-1", type="fraud-check", owner="support")


def seen(**changes: Any) -> OrderSeen:
    before = OrderSeen(
        stage=Stage.RECEIVED, holds={}, park_id=None, promise_at=None, closed=False, lines={}
    )
    return before._replace(**changes)


def view(stage: Stage = Stage.RECEIVED, **changes: Any) -> OrderView:
    facts = {"order_id": "W-1", "revision": 2, "stage": stage, "displayed": "", "lines": {}}
    return OrderView(**{**facts, **changes})


def line(**buckets: int) -> LineQuantities:
    return LineQuantities(ordered=sum(buckets.values()), **buckets)


def asked(park_id: str) -> Attention:
    return Attention(
        park_id=park_id, step="pick", reason="silent", choices=(Choice.RETRY,), since=NOW
    )


def types(facts: list[Fact]) -> list[str]:
    return [fact.type for fact in facts]


def test_where_nothing_changed_nothing_is_told() -> None:
    lines = {"1": line(reserved=2)}
    before = seen(
        stage=Stage.RESERVED, holds={"h-1": "x"}, park_id="p-1", promise_at=NOW, lines=lines
    )
    now = view(
        Stage.RESERVED,
        lines=lines,
        promise_at=NOW,
        holds=(FRAUD,),
        attention=asked("p-1"),
    )
    assert order_facts(before, now) == []


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        (Stage.RECEIVED, Stage.PENDING_APPROVAL, ["order.approval_asked"]),
        (Stage.PENDING_APPROVAL, Stage.PENDING_APPROVAL, []),
        (Stage.PENDING_APPROVAL, Stage.PROMISED, ["order.approved"]),
        (Stage.PENDING_APPROVAL, Stage.REJECTED, []),
        (Stage.PENDING_APPROVAL, Stage.CANCELLED, []),
        (Stage.RECEIVED, Stage.PROMISED, []),
    ],
)
def test_approval_is_told_when_it_is_asked_and_when_it_is_given(
    was: Stage, now: Stage, told: list[str]
) -> None:
    assert types(order_facts(seen(stage=was), view(now))) == told


def test_a_promise_is_told_when_its_date_is_new() -> None:
    assert types(order_facts(seen(), view(promise_at=NOW))) == ["order.promised"]
    assert types(order_facts(seen(promise_at=NOW), view(promise_at=LATER))) == ["order.promised"]
    assert order_facts(seen(promise_at=NOW), view()) == []


def test_a_hold_is_told_when_it_comes_and_when_it_goes() -> None:
    assert order_facts(seen(), view(holds=(FRAUD,))) == [Fact("order.held", {"hold": FRAUD.type})]
    assert order_facts(seen(holds={"h-0": "payment"}), view(holds=(FRAUD,))) == [
        Fact("order.held", {"hold": "fraud-check"}),
        Fact("order.hold_lifted", {"hold": "payment"}),
    ]


def test_units_are_told_where_they_came_to_line_by_line() -> None:
    before = seen(lines={"1": line(open=5), "2": line(open=1)})
    now = view(lines={"1": line(reserved=2, backordered=2, cancelled=1), "2": line(reserved=1)})
    assert order_facts(before, now) == [
        Fact("order.reserved", {"units": {"1": 2, "2": 1}}),
        Fact("order.backordered", {"units": {"1": 2}}),
        Fact("order.lines_cancelled", {"units": {"1": 1}}),
    ]


def test_reserved_units_that_go_on_are_released_and_not_reserved_again() -> None:
    before = seen(lines={"1": line(reserved=2)})
    assert order_facts(before, view(lines={"1": line(picked=1, released=1)})) == [
        Fact("order.released", {"units": {"1": 2}})
    ]


def test_units_that_passed_two_places_at_once_are_told_of_in_both() -> None:
    before = seen(lines={"1": line(open=2)})
    assert types(order_facts(before, view(lines={"1": line(released=2)}))) == [
        "order.reserved",
        "order.released",
    ]


def test_units_that_a_node_gave_back_are_reserved_once_more() -> None:
    before = seen(lines={"1": line(released=3)})
    now = view(lines={"1": line(reserved=2, released=1)})
    assert order_facts(before, now) == [Fact("order.reserved", {"units": {"1": 2}})]


def test_lines_an_amendment_added_count_from_nothing() -> None:
    assert order_facts(seen(), view(lines={"9": line(reserved=1)})) == [
        Fact("order.reserved", {"units": {"9": 1}})
    ]


def test_a_question_is_told_when_it_is_asked_changed_and_settled() -> None:
    question = {"park_id": "p-2", "step": "pick", "choices": ["retry"]}
    assert order_facts(seen(), view(attention=asked("p-2"))) == [
        Fact("order.attention", {"attention": question})
    ]
    assert order_facts(seen(park_id="p-1"), view(attention=asked("p-2"))) == [
        Fact("order.attention_over", {"attention": {"park_id": "p-1"}}),
        Fact("order.attention", {"attention": question}),
    ]
    assert types(order_facts(seen(park_id="p-2"), view())) == ["order.attention_over"]


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (Stage.COMPLETED, ["order.completed"]),
        (Stage.CANCELLED, ["order.cancelled"]),
        (Stage.REJECTED, ["order.rejected"]),
        (Stage.RELEASED, []),
    ],
)
def test_the_end_is_told_once_when_the_order_closes(stage: Stage, told: list[str]) -> None:
    assert types(order_facts(seen(), view(stage, closed=True))) == told
    assert order_facts(seen(closed=True), view(stage, closed=True)) == []
    assert order_facts(seen(), view(stage)) == []


def part(status: FulfillmentStatus, *packages: Package, **changes: Any) -> FulfillmentView:
    facts = {"fulfillment_id": "W-1-1", "order_id": "W-1", "revision": 2, "status": status}
    return FulfillmentView(**{**facts, "packages": packages, **changes})


def a_package(number: int, status: PackageStatus) -> Package:
    return Package(package_id=f"P-{number}", status=status)


def test_parcels_are_told_on_their_way_and_before_the_whole() -> None:
    before = FulfillmentSeen(FulfillmentStatus.PACKED, None, {"P-1": PackageStatus.SHIPPED})
    now = part(
        FulfillmentStatus.SHIPPED,
        a_package(1, PackageStatus.DELIVERED),
        a_package(2, PackageStatus.SHIPPED),
        a_package(3, PackageStatus.LABELLED),
    )
    assert fulfillment_facts(before, now) == [
        Fact("package.delivered", {"package_id": "P-1"}),
        Fact("package.shipped", {"package_id": "P-2"}),
        Fact("fulfillment.shipped", {}),
    ]


def test_a_fulfillment_that_stands_where_it_stood_tells_only_its_question() -> None:
    before = FulfillmentSeen(FulfillmentStatus.PICKING, None, {})
    assert fulfillment_facts(before, part(FulfillmentStatus.PICKING)) == []
    parked = part(FulfillmentStatus.PICKING, attention=asked("p-1"))
    assert types(fulfillment_facts(before, parked)) == ["order.attention"]
    assert fulfillment_facts(before, part(FulfillmentStatus.CREATED)) == []


def test_a_pattern_covers_its_type_its_group_or_all() -> None:
    assert covers("order.held", "order.held")
    assert not covers("order.held", "order.hold_lifted")
    assert covers("package.*", "package.lost")
    assert not covers("package.*", "order.held")
    assert covers("*", "order.held")


def test_every_status_a_parcel_or_fulfillment_can_reach_is_in_the_vocabulary() -> None:
    for status in set(FulfillmentStatus) - {FulfillmentStatus.CREATED}:
        [fact] = fulfillment_facts(
            FulfillmentSeen(FulfillmentStatus.CREATED, None, {}), part(status)
        )
        assert fact.type in VOCABULARY
    assert [x for x in VOCABULARY if x.startswith("package.")] == [
        "package.shipped",
        "package.out_for_delivery",
        "package.delivered",
        "package.exception",
        "package.lost",
        "package.returned",
    ]
