from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.catalogue import Product, UnknownUnitError, to_base_units
from domain.errors import IllegalTransitionError, RetryableError, ShortageError
from domain.network import Connection, ConnectionClass, Node
from domain.orders import Method
from domain.plans import Plan, PlannedFulfillment
from domain.quantities import Bucket, LineQuantities
from domain.stages import (
    Attention,
    Choice,
    Hold,
    Progress,
    Stage,
    displayed,
    line_stage,
    order_stage,
)
from tests.unit.domain.builders import at, node

NOTHING = Progress()


def line(**units: int) -> LineQuantities:
    return LineQuantities(ordered=sum(units.values()), **units)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from(Bucket), st.sampled_from(Bucket), st.integers(-1, 8))),
)
def test_whatever_moves_each_unit_stays_in_exactly_one_place(
    ordered: int, moves: list[tuple[Bucket, Bucket, int]]
) -> None:
    quantities = LineQuantities.of_new_line(ordered)
    for source, target, units in moves:
        before = quantities
        try:
            quantities = quantities.move(source, target, units)
        except IllegalTransitionError:
            assert quantities is before
        assert sum(quantities.at(bucket) for bucket in Bucket) == ordered
        assert source not in (Bucket.DELIVERED, Bucket.CANCELLED) or quantities is before
        LineQuantities.model_validate(quantities.model_dump())


def test_units_move_only_along_legal_ways_and_only_if_they_are_there() -> None:
    quantities = LineQuantities.of_new_line(3).move(Bucket.OPEN, Bucket.RESERVED, 2)

    assert (quantities.open, quantities.reserved, quantities.unfinished) == (1, 2, 3)
    with pytest.raises(IllegalTransitionError, match="do not move from open to shipped"):
        quantities.move(Bucket.OPEN, Bucket.SHIPPED, 1)
    with pytest.raises(IllegalTransitionError, match="cannot move 3 units from reserved: 2"):
        quantities.move(Bucket.RESERVED, Bucket.RELEASED, 3)


def test_quantities_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValidationError, match="1 units are placed of 2 ordered"):
        LineQuantities(ordered=2, open=1)
    with pytest.raises(ValidationError, match="2 units returned of 1 delivered"):
        LineQuantities(ordered=1, delivered=1, returned=2)


@pytest.mark.parametrize(
    ("lines", "progress", "stage"),
    [
        ([line(open=1, shipped=1)], NOTHING, Stage.RECEIVED),
        ([line(open=1)], Progress(promised=True), Stage.PROMISED),
        ([line(open=1)], Progress(awaits_approval=True, promised=True), Stage.PENDING_APPROVAL),
        ([line(backordered=1), line(shipped=1)], NOTHING, Stage.BACKORDERED),
        ([line(reserved=1), line(picked=1)], NOTHING, Stage.RESERVED),
        ([line(released=1, delivered=1)], NOTHING, Stage.RELEASED),
        ([line(picked=1, shipped=1)], NOTHING, Stage.PICKING),
        ([line(shipped=1, delivered=1)], NOTHING, Stage.SHIPPED),
        ([line(delivered=1, cancelled=1)], NOTHING, Stage.COMPLETED),
        ([line(cancelled=1)], NOTHING, Stage.CANCELLED),
        ([line(cancelled=1)], Progress(rejected=True), Stage.REJECTED),
    ],
)
def test_the_least_advanced_unit_gives_the_stage(
    lines: list[LineQuantities], progress: Progress, stage: Stage
) -> None:
    assert order_stage(lines, progress) is stage


def test_a_delivered_line_is_delivered_and_an_order_completed() -> None:
    assert line_stage(line(delivered=1), NOTHING) is Stage.DELIVERED
    assert line_stage(line(picked=1), NOTHING) is Stage.PICKING


def test_attention_is_shown_before_a_hold_before_the_stage() -> None:
    hold = Hold(hold_id="h", type="fraud", owner="ann")
    park = Attention(
        park_id="p", step="label", reason="refused", choices=(Choice.RETRY,), since=at(9)
    )

    assert displayed(Stage.RELEASED, [hold], park) == "attention: label"
    assert displayed(Stage.RELEASED, [hold], None) == "hold: fraud"
    assert displayed(Stage.RELEASED, [], None) == "released"


def test_a_case_of_twelve_is_twelve() -> None:
    product = Product(sku="A", units={"EA": 1, "CS": 12})

    assert to_base_units(product, 2, "CS") == 24
    assert to_base_units(Product(sku="A", units={}), 2, "EA") == 2
    with pytest.raises(UnknownUnitError, match="'A' has no unit 'PAL'; it is sold in CS, EA"):
        to_base_units(product, 1, "PAL")


def test_a_plan_arrives_with_its_last_shipment() -> None:
    def part(day: int) -> PlannedFulfillment:
        return PlannedFulfillment(
            node_id="N1",
            ship_group="1",
            method=Method.SHIP,
            lines=(),
            work_date="2026-03-02",
            ship_by=at(17),
            deliver_by=at(20, day=day),
            order_by=at(14),
        )

    plan = Plan(decision_id="d", plan_version=1, fulfillments=(part(5), part(4)))
    assert plan.deliver_by == datetime(2026, 3, 5, 20, tzinfo=UTC)
    assert Plan(decision_id="d", plan_version=1).deliver_by is None


def test_errors_carry_what_the_caller_needs() -> None:
    assert RetryableError("busy", retry_after=3.0).retry_after == 3.0
    assert ShortageError("short", short=(("N1", "A"),)).short == (("N1", "A"),)


def test_a_connection_has_its_task_queue_and_a_node_its_zone() -> None:
    wms = Connection(connection_id="east", kind=ConnectionClass.WMS, vendor="reference")

    assert wms.task_queue == "doms-wms-east"
    assert node("N1", time_zone="Europe/Rome").zone.key == "Europe/Rome"
    with pytest.raises(ValidationError, match="'Mars/Base' is no IANA time zone"):
        Node.model_validate({**node("N1").model_dump(), "time_zone": "Mars/Base"})
