from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import IllegalTransitionError
from domain.events import (
    CarrierEvent,
    CarrierStatus,
    LineFact,
    NodeEvent,
    NodeEventType,
    Shortfall,
    ShortReason,
)
from domain.fulfillment_actions import apply_cancel, attach_labels, expire_pickup, give_up_packages
from domain.fulfillment_effects import Effects
from domain.fulfillment_reports import apply_carrier_event, apply_node_event
from domain.fulfillment_state import FulfillmentState, progress_of, view_of
from domain.fulfillments import (
    CLOSED_FULFILLMENTS,
    FulfillmentLine,
    FulfillmentOrder,
    FulfillmentStatus,
    Package,
    PackageLine,
    PackageStatus,
)
from domain.stages import Choice
from tests.unit.domain.builders import MONDAY

Status = FulfillmentStatus
Type = NodeEventType


def order(method: str = "ship", **asked: int) -> FulfillmentOrder:
    lines = asked or {"a": 4, "b": 2}
    return FulfillmentOrder(
        fulfillment_id="W-1-1",
        order_id="W-1",
        node_id="N1",
        ship_group="1",
        method=method,
        lines=tuple(
            FulfillmentLine(line_id=x, sku=x.upper(), quantity=q) for x, q in lines.items()
        ),
    )


def new(method: str = "ship", **asked: int) -> FulfillmentState:
    return FulfillmentState.of(order(method, **asked))


def node_event(what: NodeEventType, event_id: str = "", **facts: Any) -> NodeEvent:
    return NodeEvent(
        event_id=event_id or what.value,
        occurred_at=MONDAY,
        fulfillment_id="W-1-1",
        type=what,
        **facts,
    )


def scan(
    status: CarrierStatus, number: str = "T1", *, hour: int = 0, event_id: str = ""
) -> CarrierEvent:
    return CarrierEvent(
        event_id=event_id or f"{number}-{status.value}",
        occurred_at=MONDAY + timedelta(hours=hour),
        fulfillment_id="W-1-1",
        tracking_number=number,
        status=status,
    )


def package(package_id: str, number: str | None = None, **units: int) -> Package:
    lines = tuple(PackageLine(line_id=x, quantity=q) for x, q in units.items())
    return Package(package_id=package_id, lines=lines, tracking_number=number)


def told(
    state: FulfillmentState, *events: NodeEvent | CarrierEvent
) -> tuple[FulfillmentState, list[Effects]]:
    seen = []
    for event in events:
        if isinstance(event, NodeEvent):
            state, effects = apply_node_event(state, event)
        else:
            state, effects = apply_carrier_event(state, event)
        seen.append(effects)
    return state, seen


def units(state: FulfillmentState) -> dict[str, tuple[int, int, int, int, int]]:
    """Line id -> picked, shipped, delivered, cancelled, given back."""
    return {
        x.line_id: (x.picked, x.shipped, x.delivered, x.cancelled, x.returned_to_order)
        for x in progress_of(state).lines
    }


def test_a_new_fulfillment_is_released_with_everything_expected() -> None:
    state = FulfillmentState.of(
        order().model_copy(update={"lines": (*order().lines, order().lines[0])})
    )

    assert state.status is Status.RELEASED
    assert units(state) == {"a": (0, 0, 0, 0, 0), "b": (0, 0, 0, 0, 0)}
    assert [line.asked for line in state.lines] == [8, 2]
    assert not state.handed_over
    assert not state.is_closed


def test_the_usual_life_ends_delivered() -> None:
    box = package("BOX", a=4, b=2)
    state, effects = told(
        new(),
        node_event(Type.ACKNOWLEDGED),
        node_event(Type.PICKING),
        node_event(Type.PICKED),
        node_event(Type.PACKED, packages=(box,)),
    )
    assert state.status is Status.PACKED
    assert [x.needs_labels for x in effects] == [False, False, False, True]
    assert [x.package_id for x in state.unlabelled] == ["BOX"]

    state = attach_labels(state, [package("BOX", "T1").model_copy(update={"carrier": "Acme"})])
    assert state.packages[0].status is PackageStatus.LABELLED
    assert state.packages[0].lines == box.lines
    assert state.unlabelled == ()

    state, effects = told(
        state,
        node_event(Type.HANDED_OVER),
        scan(CarrierStatus.PRE_TRANSIT),
        scan(CarrierStatus.OUT_FOR_DELIVERY, hour=1),
        scan(CarrierStatus.DELIVERED, hour=2),
    )
    assert effects[0].handed_over_lines == (("a", 4), ("b", 2))
    assert effects[3].delivered_lines == (("a", 4), ("b", 2))
    assert effects[3].closed
    assert state.status is Status.DELIVERED
    assert units(state) == {"a": (4, 4, 4, 0, 0), "b": (2, 2, 2, 0, 0)}
    assert progress_of(state, revision=7).revision == 7
    assert progress_of(state).carriers == ("Acme",)


def test_each_step_shows_its_status() -> None:
    state = new(a=2)
    seen = []
    for event in (
        node_event(Type.ACKNOWLEDGED),
        node_event(Type.PICKING),
        node_event(Type.PACKED, packages=(package("B", "T1", a=2),)),
        node_event(Type.HANDED_OVER),
        scan(CarrierStatus.EXCEPTION, hour=1),
        scan(CarrierStatus.IN_TRANSIT, hour=2),
        scan(CarrierStatus.OUT_FOR_DELIVERY, hour=3),
        scan(CarrierStatus.DELIVERED, hour=4),
    ):
        state, _ = told(state, event)
        seen.append(state.status)

    assert seen == [
        Status.ACKNOWLEDGED,
        Status.PICKING,
        Status.PACKED,
        Status.SHIPPED,
        Status.EXCEPTION,
        Status.SHIPPED,
        Status.OUT_FOR_DELIVERY,
        Status.DELIVERED,
    ]


def test_a_repeated_report_changes_nothing() -> None:
    short = node_event(Type.PICKED, lines=(LineFact(line_id="a", picked=3, short=1),))
    state, _ = told(new(), short, scan(CarrierStatus.IN_TRANSIT))

    again, effects = told(state, short, scan(CarrierStatus.IN_TRANSIT))

    assert again == state
    assert effects == [Effects(duplicate=True), Effects(duplicate=True)]


def test_a_short_pick_returns_its_units_with_the_reason() -> None:
    facts = (
        LineFact(line_id="a", picked=3, short=1, reason=ShortReason.DAMAGED),
        LineFact(line_id="b", picked=0, short=2),
        LineFact(line_id="unknown", short=2),
    )

    state, (effects,) = told(new(), node_event(Type.PICKED, lines=facts))

    assert effects.shortfalls == (
        Shortfall(line_id="a", quantity=1, reason="damaged"),
        Shortfall(line_id="b", quantity=2, reason="other"),
    )
    assert state.status is Status.PICKING
    assert units(state) == {"a": (3, 0, 0, 0, 1), "b": (0, 0, 0, 0, 2)}


def test_packed_without_picked_counts_its_units_as_picked() -> None:
    state, _ = told(new(), node_event(Type.PACKED))

    assert state.packages == (package("P1", a=4, b=2),)
    assert units(state) == {"a": (4, 0, 0, 0, 0), "b": (2, 0, 0, 0, 0)}


def test_packed_lines_without_packages_become_one_package() -> None:
    state, _ = told(new(), node_event(Type.PACKED, lines=(LineFact(line_id="a", picked=3),)))

    assert state.packages == (package("P1", a=3),)
    assert state.status is Status.PICKING

    state, _ = told(state, node_event(Type.PACKED, "2", packages=(package("BOX", b=2),)))

    assert state.packages == (package("P1", a=3), package("BOX", b=2))


def test_handed_over_without_packed_ships_one_implied_package() -> None:
    state, (effects,) = told(new(), node_event(Type.HANDED_OVER))

    assert [x.package_id for x in state.packages] == ["P1"]
    assert effects.handed_over_lines == (("a", 4), ("b", 2))
    assert state.status is Status.SHIPPED
    assert state.handed_over

    after, (again,) = told(state, node_event(Type.HANDED_OVER, "told again"))

    assert (after.packages, again.handed_over_lines) == (state.packages, ())


def test_a_late_description_takes_over_units_of_the_implied_package() -> None:
    state, effects = told(
        new(a=4),
        node_event(Type.HANDED_OVER),
        node_event(Type.PACKED, packages=(package("BOX", "T1", a=3),)),
    )

    assert [(x.package_id, x.lines[0].quantity) for x in state.packages] == [("P1", 1), ("BOX", 3)]
    assert effects[1].handed_over_lines == ()
    assert units(state) == {"a": (4, 4, 0, 0, 0)}

    state, _ = told(state, node_event(Type.PACKED, "more", packages=(package("B2", a=1),)))

    assert [x.package_id for x in state.packages] == ["BOX", "B2"]
    assert {x.status for x in state.packages} == {PackageStatus.SHIPPED}


def test_a_supplier_may_ship_in_several_parts() -> None:
    state, effects = told(
        new(a=4).model_copy(update={"ships_itself": True}),
        node_event(Type.HANDED_OVER, "1", packages=(package("B1", "T1", a=1),)),
        scan(CarrierStatus.DELIVERED, "T1"),
    )
    assert state.status is Status.PICKING
    assert not state.handed_over
    assert not effects[0].needs_labels

    state, _ = told(state, node_event(Type.PACKED, packages=(package("B2", a=3),)))
    assert state.status is Status.PACKED

    state, _ = told(state, node_event(Type.HANDED_OVER, "2", packages=(package("B2", "T2"),)))
    assert state.status is Status.SHIPPED
    assert state.packages[1].tracking_number == "T2"

    state, _ = told(state, scan(CarrierStatus.DELIVERED, "T2"))
    assert state.status is Status.DELIVERED


def test_packages_without_contents_share_what_is_not_packed() -> None:
    boxes = (package("B1"), package("B2"))

    state, _ = told(new(a=4), node_event(Type.HANDED_OVER, packages=boxes))

    assert [x.lines for x in state.packages] == [package("B1", a=4).lines, ()]
    assert state.handed_over


def test_a_second_implied_package_gets_the_next_free_number() -> None:
    some = node_event(Type.PACKED, "1", lines=(LineFact(line_id="a", picked=1),))

    state, _ = told(new(a=4), some, node_event(Type.PACKED, "2"), node_event(Type.PACKED, "3"))

    assert [(x.package_id, x.lines[0].quantity) for x in state.packages] == [("P1", 1), ("P2", 3)]


def test_a_late_short_takes_only_what_has_not_left() -> None:
    state, _ = told(
        new(a=4),
        node_event(Type.HANDED_OVER, packages=(package("B1", "T1", a=3),)),
    )

    state, (effects,) = told(
        state, node_event(Type.PICKED, lines=(LineFact(line_id="a", picked=2, short=2),))
    )

    assert effects.shortfalls == (Shortfall(line_id="a", quantity=1, reason="other"),)
    assert state.status is Status.SHIPPED
    assert units(state) == {"a": (3, 3, 0, 0, 1)}


def test_a_short_after_packing_is_taken_out_of_the_last_packages() -> None:
    boxes = (package("B1", a=2), package("B2", a=1, b=1), package("B3", a=1, b=1))
    state, _ = told(new(), node_event(Type.PACKED, packages=boxes))

    state, _ = told(state, node_event(Type.PICKING, lines=(LineFact(line_id="a", short=2),)))
    assert state.packages == (package("B1", a=2), package("B2", b=1), package("B3", b=1))

    state, _ = told(state, node_event(Type.PICKING, "b", lines=(LineFact(line_id="b", short=1),)))
    assert state.packages == (package("B1", a=2), package("B2", b=1))
    assert state.status is Status.PACKED


def test_a_package_of_units_that_are_gone_is_not_added() -> None:
    state, _ = apply_cancel(new(a=4), None)

    state, _ = told(state, node_event(Type.PACKED, packages=(package("B1", a=4, zz=1),)))

    assert state.packages == ()
    assert state.status is Status.CANCELLED


def test_a_rejection_returns_everything_or_the_named_lines() -> None:
    state, (effects,) = told(new(), node_event(Type.REJECTED, "1", lines=(LineFact(line_id="b"),)))
    assert effects.shortfalls == (Shortfall(line_id="b", quantity=2, reason="rejected"),)
    assert state.status is Status.RELEASED

    state, (effects,) = told(state, node_event(Type.REJECTED, "2"))
    assert effects.shortfalls == (Shortfall(line_id="a", quantity=4, reason="rejected"),)
    assert effects.closed
    assert state.status is Status.REJECTED


def test_cancelled_units_leave_and_a_repeat_of_the_request_changes_nothing() -> None:
    state, effects = apply_cancel(new(), [("a", 3)], request_id="C-1")
    assert effects.cancelled == (("a", 3),)

    same, (repeated,) = told(
        state,
        node_event(
            Type.CANCELLED, "late", lines=(LineFact(line_id="a", short=3),), request_id="C-1"
        ),
    )
    assert (same, repeated.duplicate) == (state, True)
    assert apply_cancel(state, [("a", 3)], request_id="C-1") == (same, Effects(duplicate=True))

    state, (effects,) = told(
        state, node_event(Type.CANCELLED, lines=(LineFact(line_id="a", short=1),))
    )
    assert effects.cancelled == (("a", 1),)
    state, (effects,) = told(state, node_event(Type.CANCELLED, "all"))
    assert effects.cancelled == (("b", 2),)
    assert state.status is Status.CANCELLED


def test_units_that_left_are_not_cancelled_and_a_refusal_changes_no_unit() -> None:
    state, _ = told(
        new(), node_event(Type.HANDED_OVER), node_event(Type.CANCEL_REFUSED, request_id="C-1")
    )

    after, effects = apply_cancel(state, None)

    assert effects == Effects()
    assert units(after) == units(state) == {"a": (4, 4, 0, 0, 0), "b": (2, 2, 0, 0, 0)}


def test_a_pickup_is_ready_then_collected() -> None:
    state, effects = told(new("pickup"), node_event(Type.PICKED), node_event(Type.READY_FOR_PICKUP))
    assert state.status is Status.READY_FOR_PICKUP
    assert not any(x.needs_labels for x in effects)

    state, (effects_of_collection,) = told(state, node_event(Type.COLLECTED))

    assert state.status is Status.COLLECTED
    assert effects_of_collection.handed_over_lines == (("a", 4), ("b", 2))
    assert effects_of_collection.delivered_lines == (("a", 4), ("b", 2))


def test_a_pickup_nobody_collects_expires_and_its_units_are_cancelled() -> None:
    state, _ = told(new("pickup"), node_event(Type.READY_FOR_PICKUP))

    state, effects = expire_pickup(state)

    assert effects.cancelled == (("a", 4), ("b", 2))
    assert effects.closed
    assert state.status is Status.PICKUP_EXPIRED


def test_a_carrier_report_before_its_package_counts_once_the_package_is_known() -> None:
    state, (early,) = told(new(a=4), scan(CarrierStatus.OUT_FOR_DELIVERY))
    assert (early, state.status) == (Effects(), Status.RELEASED)

    state, (effects,) = told(state, node_event(Type.PACKED, packages=(package("B", "T1", a=4),)))

    assert effects.handed_over_lines == (("a", 4),)
    assert state.status is Status.OUT_FOR_DELIVERY
    assert state.early == ()


def test_an_old_exception_does_not_undo_a_newer_report_but_implies_the_hand_over() -> None:
    packed, _ = told(new(a=4), node_event(Type.PACKED, packages=(package("B", "T1", a=4),)))

    state, _ = told(
        packed, scan(CarrierStatus.OUT_FOR_DELIVERY, hour=3), scan(CarrierStatus.EXCEPTION, hour=1)
    )
    assert state.status is Status.OUT_FOR_DELIVERY

    state, _ = told(
        packed, scan(CarrierStatus.PRE_TRANSIT, hour=3), scan(CarrierStatus.EXCEPTION, hour=1)
    )
    assert state.status is Status.SHIPPED

    state, _ = told(
        packed, scan(CarrierStatus.EXCEPTION, hour=3), scan(CarrierStatus.IN_TRANSIT, hour=1)
    )
    assert state.status is Status.EXCEPTION


@pytest.mark.parametrize(
    ("choice", "status", "expected"),
    [
        (Choice.RESHIP, Status.RETURNED, (0, 0, 0, 0, 4)),
        (Choice.CANCEL, Status.RETURNED, (0, 0, 0, 4, 0)),
        (Choice.SKIP, Status.DELIVERED, (4, 4, 4, 0, 0)),
    ],
)
def test_a_person_settles_a_lost_package(
    choice: Choice, status: FulfillmentStatus, expected: tuple[int, ...]
) -> None:
    state, effects = told(
        new(a=4),
        node_event(Type.HANDED_OVER, packages=(package("B", "T1", a=4),)),
        scan(CarrierStatus.LOST),
    )
    assert effects[1].needs_attention == "package B lost"
    assert state.status is Status.EXCEPTION

    state, effects_of_choice = give_up_packages(state, choice, "lost")

    assert state.status is status
    assert units(state) == {"a": expected}
    assert effects_of_choice.closed
    same, _ = told(state, node_event(Type.PACKED, "late", packages=(package("B", "T1", a=4),)))
    assert units(same) == {"a": expected}


def test_only_lost_packages_are_given_up_while_there_are_any() -> None:
    boxes = (package("B1", "T1", a=1), package("B2", "T2", a=3))
    state, _ = told(
        new(a=4), node_event(Type.HANDED_OVER, packages=boxes), scan(CarrierStatus.RETURNED, "T1")
    )

    state, effects = give_up_packages(state, Choice.RESHIP, "returned")
    assert effects.shortfalls == (Shortfall(line_id="a", quantity=1, reason="returned"),)
    assert state.status is Status.SHIPPED

    state, effects = give_up_packages(state, Choice.RESHIP, "not delivered in time")
    assert effects.shortfalls == (
        Shortfall(line_id="a", quantity=3, reason="not delivered in time"),
    )
    with pytest.raises(IllegalTransitionError, match="retry"):
        give_up_packages(state, Choice.RETRY, "")


def test_labels_for_unknown_or_shipped_packages_do_not_turn_back_the_status() -> None:
    state, _ = told(new(a=4), node_event(Type.HANDED_OVER))

    state = attach_labels(state, [package("P1", "T1"), package("P9", "T9")])

    assert state.packages == (
        package("P1", "T1", a=4).model_copy(update={"status": PackageStatus.SHIPPED}),
    )


def test_the_view_shows_what_the_read_model_keeps() -> None:
    state, _ = told(new(a=4), node_event(Type.HANDED_OVER))

    view = view_of(state, revision=3, awaits="delivery")

    assert (view.fulfillment_id, view.order_id, view.revision) == ("W-1-1", "W-1", 3)
    assert (view.status, view.awaits, view.closed) == (Status.SHIPPED, "delivery", False)
    assert view.lines == progress_of(state).lines
    assert view_of(state).revision == state.revision


@st.composite
def stories(draw: st.DrawFn) -> tuple[FulfillmentState, list[NodeEvent | CarrierEvent]]:
    """A true story in order: shorts, packages, hand-over, scans; then shuffled and repeated."""
    asked = {"a": draw(st.integers(1, 6)), "b": draw(st.integers(1, 4))}
    short = {x: draw(st.integers(0, quantity)) for x, quantity in asked.items()}
    first = {x: draw(st.integers(0, asked[x] - short[x])) for x in asked}
    second = {x: asked[x] - short[x] - first[x] for x in asked}
    events: list[NodeEvent | CarrierEvent] = [
        node_event(Type.ACKNOWLEDGED),
        node_event(
            Type.PICKED,
            lines=tuple(
                LineFact(line_id=x, picked=asked[x] - short[x], short=short[x]) for x in asked
            ),
        ),
    ]
    for number, contents in (("T1", first), ("T2", second)):
        held = {x: quantity for x, quantity in contents.items() if quantity}
        if held:
            box = package(f"B{number}", number, **held)
            events += [
                node_event(Type.PACKED, f"pack{number}", packages=(box,)),
                node_event(Type.HANDED_OVER, f"out{number}", packages=(box,)),
                scan(CarrierStatus.EXCEPTION, number, hour=1),
                scan(CarrierStatus.OUT_FOR_DELIVERY, number, hour=2),
                scan(CarrierStatus.DELIVERED, number, hour=3),
            ]
    repeated = [*events, *draw(st.lists(st.sampled_from(events), max_size=5))]
    return new("ship", **asked), draw(st.permutations(repeated))


def assert_no_unit_is_lost(state: FulfillmentState) -> None:
    for line, progress in zip(state.lines, progress_of(state).lines, strict=True):
        still_open = line.expected - progress.delivered
        assert line.asked == (
            progress.returned_to_order + progress.cancelled + progress.delivered + still_open
        )
        assert 0 <= progress.delivered <= progress.shipped <= progress.picked <= line.expected


@settings(max_examples=120, deadline=None)
@given(stories())
def test_any_order_and_repetition_of_the_reports_ends_in_the_same_quantities(
    story: tuple[FulfillmentState, list[NodeEvent | CarrierEvent]],
) -> None:
    state, events = story
    asked = {line.line_id: line.asked for line in state.lines}
    short = {
        fact.line_id: fact.short
        for event in events
        if isinstance(event, NodeEvent) and event.type is Type.PICKED
        for fact in event.lines
    }
    consumed: dict[str, int] = dict.fromkeys(asked, 0)

    for event in events:
        state, (effects,) = told(state, event)
        assert_no_unit_is_lost(state)
        for line_id, quantity in effects.handed_over_lines:
            consumed[line_id] += quantity

    left = {x: asked[x] - short[x] for x in asked}
    assert units(state) == {x: (left[x], left[x], left[x], 0, short[x]) for x in asked}
    assert consumed == left
    assert state.status in (Status.DELIVERED, Status.REJECTED)
    assert state == FulfillmentState.model_validate_json(state.model_dump_json())


@settings(max_examples=120, deadline=None)
@given(stories(), st.data())
def test_cancels_and_lost_parcels_in_between_lose_no_unit(
    story: tuple[FulfillmentState, list[NodeEvent | CarrierEvent]], data: st.DataObject
) -> None:
    state, events = story
    given_out: dict[str, int] = {}

    for event in events:
        state, (effects,) = told(state, event)
        happening = data.draw(st.integers(0, 9))
        if happening == 0:
            state, more = apply_cancel(state, [("a", 1)])
        elif happening == 1:
            state, more = apply_node_event(state, node_event(Type.REJECTED, f"r{state.revision}"))
        elif happening == 2:
            state, more = give_up_packages(state, Choice.RESHIP, "lost")
        else:
            more = Effects()
        assert_no_unit_is_lost(state)
        for line_id, quantity in (*effects.cancelled, *more.cancelled):
            given_out[line_id] = given_out.get(line_id, 0) + quantity
        for short in (*effects.shortfalls, *more.shortfalls):
            given_out[short.line_id] = given_out.get(short.line_id, 0) + short.quantity

    assert given_out == {
        x.line_id: x.cancelled + x.returned_to_order
        for x in progress_of(state).lines
        if x.cancelled + x.returned_to_order
    }
    assert state.is_closed == (state.status in CLOSED_FULFILLMENTS)
