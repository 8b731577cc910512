"""A workflow that is reset takes its steps again, perhaps with other messages between them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from domain.events import LineFact, ShortReason
from tests.workflow.world import World, document
from workflows.step_keys import entry_key, revision_after, step_key

AT_ONCE = {"timings": {"remorse": "PT0S"}}
TWO_LINES = [
    {"line_id": "1", "sku": "TEA", "quantity": 2},
    {"line_id": "2", "sku": "CUP", "quantity": 3},
]


async def reset_to_before(world: World, handle: WorkflowHandle[Any, Any], signal: str) -> None:
    """Reset to before the first signal of that name; neither it nor a later one comes again."""
    history: Any = await handle.fetch_history()
    task = 0
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            task = event.event_id
        signalled = event.workflow_execution_signaled_event_attributes
        if signalled.signal_name == signal:
            break
    # Revisions count in seconds: who resets by hand is slower than that, a test is not.
    later = datetime.now(UTC) + timedelta(seconds=2)
    await world.until(lambda: datetime.now(UTC) > later, "time has passed the revisions so far")
    described = await handle.describe()
    await world.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=described.run_id),
            reason="a test",
            workflow_task_finish_event_id=task,
            request_id=f"reset-{handle.id}",
            reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_NONE,
        )
    )


async def test_a_reset_order_frees_what_it_is_asked_to_in_another_order(dev_world: World) -> None:
    # given: an order of which a unit of line 1 was freed
    world = dev_world
    world.prepare()
    world.stock(dc_1__TEA=5, dc_1__CUP=5)
    order = await world.reserved(document(lines=TWO_LINES))
    await world.cancel(order, "c-1", {"1": 1})
    await world.answer(order, "1 unit cancelled")
    await world.until(lambda: world.sellable("TEA") == {"dc-1": 4}, "it is freed")
    # when: it is reset to before that, and now asked for line 2 first
    await reset_to_before(world, order, "cancel")
    await world.cancel(order, "c-2", {"2": 2})
    await world.until(lambda: world.sellable("CUP") == {"dc-1": 4}, "they are freed")
    await world.cancel(order, "c-3", {"1": 1})
    await world.answer(order, "1 unit cancelled")
    # then
    await world.until(lambda: world.quantities()["1"] == {"reserved": 1, "cancelled": 1}, "shown")
    assert world.quantities()["2"] == {"reserved": 1, "cancelled": 2}
    assert world.sellable("TEA") == {"dc-1": 4}
    world.books_are_right()


async def test_an_order_reset_to_before_units_were_freed_reserves_them_again(
    dev_world: World,
) -> None:
    # given: an order of two units, of which one was freed
    world = dev_world
    world.prepare(process={"timings": {"remorse": "PT6S"}})
    world.stock(dc_1__TEA=5)
    lines = [{"line_id": "1", "sku": "TEA", "quantity": 2}]
    order = await world.reserved(document(lines=lines))
    await world.cancel(order, "c-1", {"1": 1})
    await world.until(lambda: world.sellable("TEA") == {"dc-1": 4}, "a unit is freed")
    # when: it is reset to before that, so that it believes in two reserved units
    await reset_to_before(world, order, "cancel")
    # then: at its release it plans again, and both go out
    told = "Not released: no longer all reserved; planned again"
    await world.until(lambda: any(told in x for x in world.story()), "it plans again")
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert world.position("dc-1").released == 2
    assert world.sellable("TEA") == {"dc-1": 3}
    world.books_are_right()


async def test_a_reset_fulfillment_gives_back_in_another_order(dev_world: World) -> None:
    # given: a node gave back a unit of line 1
    world = dev_world
    world.prepare(process=AT_ONCE)
    world.stock(dc_1__TEA=2, dc_1__CUP=3)
    order = await world.submit(document(lines=TWO_LINES))
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "picked", lines=(short("1", 1),))
    await world.until(lambda: world.position("dc-1").suspect == 1, "it is suspect")
    # when: the fulfillment is reset to before that, and the node now tells of line 2 first
    await reset_to_before(world, world.child("W-1-1"), "node_event")
    await world.node_says("W-1-1", "picked", lines=(short("2", 1),))
    await world.until(lambda: world.position("dc-1", "CUP").suspect == 1, "it is suspect")
    await world.node_says("W-1-1", "picked", lines=(short("1", 1),))
    await world.ship_and_deliver("W-1-1")
    # then
    await world.until(lambda: world.statuses().get("W-1-1") == "delivered", "it is delivered")
    assert world.position("dc-1").released == world.position("dc-1", "CUP").released == 0
    assert world.position("dc-1").suspect == 1
    world.books_are_right()
    report = await world.until_shown(order, "backordered")
    assert report.view.attention is None


def short(line_id: str, units: int) -> LineFact:
    return LineFact(line_id=line_id, short=units, reason=ShortReason.NOT_FOUND)


def test_a_step_s_key_says_how_many_units_it_has_moved() -> None:
    done: dict[str, int] = {}
    assert step_key("W-1", "free", done, [("1", 1), ("2", 2), ("1", 1)]) == "W-1/free/1=2,2=2"
    assert step_key("W-1", "free", done, [("1", 2)]) == "W-1/free/1=4"
    assert step_key("W-1", "backorder", done, [("1", 2)]) == "W-1/backorder/1=2"


def test_the_key_of_a_thousand_lines_stays_short_and_its_own() -> None:
    many = [(str(line), 1) for line in range(1000)]
    first = step_key("W-1", "free", {}, many)
    assert len(first) < 60
    assert first == step_key("W-1", "free", {}, many)
    assert first != step_key("W-1", "free", {}, [*many[:-1], ("999", 2)])


def test_another_text_under_a_number_is_another_line_of_the_story() -> None:
    assert entry_key("order", 3, "Reserved at dc-1") == entry_key("order", 3, "Reserved at dc-1")
    assert entry_key("order", 3, "Reserved at dc-1") != entry_key("order", 3, "Held: fraud")


def test_a_revision_is_above_those_before_a_reset() -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    before = 1
    for _ in range(5):
        before = revision_after(before, noon)
    assert revision_after(1, noon + timedelta(minutes=1)) > before
    assert revision_after(before, noon) == before + 1


async def test_a_reset_order_that_is_changed_otherwise_makes_another_plan(
    dev_world: World,
) -> None:
    # given: a changed order, planned again for 4 units
    world = dev_world
    world.prepare()
    world.stock(dc_1__TEA=9)
    tea = TWO_LINES[0]
    order = await world.reserved(document(lines=[tea]))
    await world.submit(document(version=2, lines=[{**tea, "quantity": 4}]))
    await world.until_planned(version=2)
    await world.until(lambda: world.sellable() == {"dc-1": 5}, "4 units are reserved")
    first = world.page().decision_id
    # when: it is reset to before that, and then changed to 3 units
    await reset_to_before(world, order, "amend")
    await world.submit(document(version=3, lines=[{**tea, "quantity": 3}]))
    # then: the plan for 3 units has a number and a decision of its own, and 4 are given up for it
    await world.until_planned(version=3)
    await world.until(lambda: world.quantities() == {"1": {"reserved": 3}}, "3 are reserved")
    assert world.sellable() == {"dc-1": 6}
    assert str(first).startswith("W-1-d2-")
    assert str(world.page().decision_id).startswith("W-1-d3-")
    await world.cancel(order)
    assert await world.result(order) == ("cancelled", 0, 3)
    world.nothing_is_astray()
