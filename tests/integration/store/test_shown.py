"""What lists show of an order follows its fulfillments, without the order's workflow."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from domain.events import LineProgress
from domain.fulfillments import FulfillmentLine, FulfillmentOrder, FulfillmentStatus
from domain.orders import Method, Order
from domain.plans import FulfillmentView, OrderView
from domain.quantities import LineQuantities
from domain.stages import Attention, Choice, Stage
from store import fulfillments, order_intake, order_pages, order_recording
from store.engine import reading, transaction

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
LOST = Attention(
    park_id="deliver-1", step="deliver", reason="lost", choices=(Choice.RESHIP,), since=NOW
)


@pytest.fixture
def released(engine: Engine) -> Engine:
    """An order of three units, all with one node."""
    order = Order.model_validate(
        {
            "order_id": "W-1",
            "source": "shop",
            "external_id": "1",
            "currency": "USD",
            "placed_at": "2026-03-02T09:00:00Z",
            "ship_groups": [{"id": "1", "address": {"country": "US"}}],
            "lines": [{"line_id": "1", "sku": "TEA", "quantity": 3}],
        }
    )
    view = OrderView(
        order_id="W-1",
        revision=1,
        stage=Stage.RELEASED,
        displayed="released",
        lines={"1": LineQuantities(ordered=3, released=3)},
    )
    asked = FulfillmentOrder(
        fulfillment_id="W-1-1",
        order_id="W-1",
        node_id="dc-1",
        ship_group="1",
        method=Method.SHIP,
        lines=(FulfillmentLine(line_id="1", sku="TEA", quantity=3),),
    )
    with transaction(engine) as session:
        digest = order_intake.content_hash(order)
        order_intake.accept_order(session, order, content_hash=digest, entered_by="shop", now=NOW)
        fulfillments.add_fulfillments(session, 1, [asked], NOW)
        order_recording.record_order(session, view, NOW)
    return engine


def report(
    engine: Engine, revision: int, *, attention: Attention | None = None, **units: int
) -> None:
    view = FulfillmentView(
        fulfillment_id="W-1-1",
        order_id="W-1",
        revision=revision,
        status=FulfillmentStatus.SHIPPED,
        lines=(LineProgress(line_id="1", **units),),
        attention=attention,
    )
    with transaction(engine) as session:
        fulfillments.record_fulfillment(session, view, NOW)


def shown(engine: Engine) -> tuple[str, str, bool]:
    with reading(engine) as session:
        (order,) = order_pages.list_orders(session)
    return order.stage, order.displayed, order.needs_attention


def test_a_list_shows_the_least_advanced_stage_that_fulfillments_report(released: Engine) -> None:
    assert shown(released) == ("released", "released", False)
    report(released, 2, picked=2)
    assert shown(released) == ("released", "released", False)
    report(released, 3, picked=3)
    assert shown(released) == ("picking", "picking", False)
    report(released, 4, picked=3, shipped=3)
    assert shown(released) == ("shipped", "shipped", False)


def test_a_parked_fulfillment_shows_its_order_as_needing_a_person(released: Engine) -> None:
    # when
    report(released, 2, picked=3, shipped=3, attention=LOST)
    # then
    assert shown(released) == ("shipped", "attention: deliver", True)
    with reading(released) as session:
        assert [x.order_id for x in order_pages.list_orders(session, needs_attention=True)] == [
            "W-1"
        ]
    # when the person has answered
    report(released, 3, picked=3, shipped=3)
    # then
    assert shown(released) == ("shipped", "shipped", False)


def test_the_orders_own_report_does_not_hide_a_parked_fulfillment(released: Engine) -> None:
    # given
    report(released, 2, picked=3, shipped=3, attention=LOST)
    view = OrderView(
        order_id="W-1",
        revision=2,
        stage=Stage.RELEASED,
        displayed="released",
        lines={"1": LineQuantities(ordered=3, released=3)},
    )
    # when
    with transaction(released) as session:
        order_recording.record_order(session, view, NOW)
    # then
    assert shown(released) == ("shipped", "attention: deliver", True)
