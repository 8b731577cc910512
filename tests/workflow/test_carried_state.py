"""What an order remembers survives as one JSON document, and a continue-as-new in its middle."""

from datetime import UTC, datetime

import pytest
from temporalio import workflow

from domain.events import FulfillmentProgress, LineProgress
from domain.fulfillments import FulfillmentLine, FulfillmentOrder, FulfillmentStatus
from domain.order_book import OrderBook
from domain.plans import LineFacts, Plan
from domain.routing.decision import Exclusion
from domain.stages import Hold
from tests.workflow.world import World, document
from workflows.messages import Answer, PolicyPins
from workflows.order_state import AskedApproval, OrderState, PendingPlan, WaitingBackorder

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def busy_state() -> OrderState:
    book = OrderBook.of([LineFacts(line_id="1", sku="TEA", quantity=5, ship_group="1")])
    own = book.lines["1"]
    own.open, own.reserved, own.backordered, own.cancel_wanted = 0, 4, 1, 1
    fulfillment = FulfillmentOrder(
        fulfillment_id="W-1-1",
        order_id="W-1",
        node_id="dc-1",
        ship_group="1",
        method="ship",
        lines=(FulfillmentLine(line_id="1", sku="TEA", quantity=2),),
    )
    book.release(fulfillment)
    book.tracks["W-1-1"].cancel_wanted["1"] = 1
    book.apply(
        FulfillmentProgress(
            fulfillment_id="W-1-1",
            revision=3,
            status=FulfillmentStatus.SHIPPED,
            lines=(LineProgress(line_id="1", picked=2, shipped=1),),
        )
    )
    state = OrderState(order_id="W-1", version=2, pins=PolicyPins(routing="r", process="p"))
    state.book = book
    state.holds = [Hold(hold_id="h-1", type="fraud", owner="support", expires_at=NOON)]
    state.approval = AskedApproval(position=1, asked_at=NOON, voters=["mia"])
    state.backorder = WaitingBackorder(since=NOON, until=NOON, look_at=NOON)
    state.answers = {"c-1": Answer(request_id="c-1", done=True, text="1 unit cancelled")}
    state.exclusions = [Exclusion(node_id="dc-2", sku="TEA", reason="rejected")]
    plan = Plan(decision_id="W-1-d2", plan_version=2)
    state.pending = {2: PendingPlan(plan=plan, reservation_id="W-1-r2", release_at=NOON)}
    state.note(NOON, "reserved", "Reserved at dc-1")
    return state


def test_an_order_s_memory_is_the_same_after_a_round_trip_through_json() -> None:
    # given
    state = busy_state()
    # when
    carried = OrderState.model_validate(state.model_dump(mode="json"))
    # then
    assert carried == state
    freed = [("W-1-r2/dc-1/1", 1)]
    assert carried.key_of("free", freed) == state.key_of("free", freed)
    assert carried.stage is state.stage


async def test_an_order_goes_on_after_it_continued_as_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: every first run is told that its history is long, once it waits with nothing open
    def is_first_run(info: workflow.Info) -> bool:
        return info.continued_run_id is None

    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", is_first_run)
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document())
    await world.until_planned()
    await world.until_continued(order)
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert len(world.wms.handovers) == 1
    assert world.sellable() == {"dc-1": 3}
    assert world.story().count("Reserved at dc-1") == 1
    world.nothing_is_astray()
