"""Automation rules of a process policy: what happens by itself in an order's life."""

from typing import Any

from sqlalchemy import text

from domain.stages import Choice
from store import subscriptions
from store.engine import reading, transaction
from tests.workflow.world import World, document
from workflows.messages import ReleaseHold

AT_ONCE = {"timings": {"remorse": "PT0S"}}


def prepared(world: World, *rules: dict[str, Any], **process: Any) -> None:
    world.prepare(process={"automation": list(rules), **process})
    world.stock(dc_1__TEA=5)


def told(world: World, kind: str) -> list[str]:
    return [entry.text for entry in world.page().timeline if entry.kind == kind]


async def test_a_rule_holds_an_order_before_it_is_released_until_somebody_lifts_the_hold(
    world: World,
) -> None:
    # given
    rule = {"name": "look-first", "event": "reserved", "do": "hold", "hold": "fraud"}
    prepared(world, rule, **AT_ONCE)
    # when
    order = await world.submit(document())
    await world.until_shown(order, "hold: fraud")
    await world.until(lambda: world.page().displayed == "hold: fraud", "the books say so")
    # then
    (hold,) = world.page().holds
    assert (hold.owner, hold.reason) == ("automation", "look-first")
    assert world.wms.released == {}
    assert world.sellable() == {"dc-1": 3}
    # when
    await order.signal("release_hold", ReleaseHold(request_id="r-1", type="fraud"))
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")


async def test_a_hold_of_a_rule_ends_by_itself_when_its_time_is_over(world: World) -> None:
    # given
    rule = {"name": "wait", "event": "accepted", "do": "hold", "expires_after": "PT2H"}
    prepared(world, rule, **AT_ONCE)
    order = await world.submit(document())
    await world.until_shown(order, "hold: automation")
    # when
    await world.skip(minutes=119)
    # then
    assert world.wms.released == {}
    # when
    await world.skip(minutes=2)
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")


async def test_a_rule_tells_the_story_and_whoever_listens_once(world: World) -> None:
    # given
    rules = (
        {"name": "greet", "event": "accepted", "do": "notify", "text": "a good customer"},
        {"name": "wait", "event": "backordered", "do": "notify", "text": "ask the supplier"},
    )
    prepared(world, *rules)
    with transaction(world.engine) as session:
        subscriptions.add(
            session,
            "https://listener.example/hook",
            ["order.notice"],
            subscriptions.Secret(variable="LISTENER_SECRET"),
            created_by="test",
            now=world.now(),
        )
    # when
    order = await world.reserved(document())
    await world.skip(minutes=31)
    await world.ship_and_deliver("W-1-1")
    await world.result(order)
    # then
    assert told(world, "notice") == ["greet: a good customer"]
    with reading(world.engine) as session:
        kept = session.execute(text("SELECT event_type, document FROM order_events")).all()
    assert [row.event_type for row in kept] == ["order.notice"]
    assert "greet: a good customer" in str(kept[0].document)


async def test_a_rule_asks_a_person_to_look_while_the_order_goes_on(world: World) -> None:
    # given
    rule = {"name": "vip", "event": "accepted", "do": "attention", "text": "add a card"}
    prepared(world, rule, **AT_ONCE)
    # when
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    report = await world.until_shown(order, "attention: rule-vip")
    # then
    asked = report.view.attention
    assert asked is not None
    assert (asked.reason, asked.choices) == ("add a card", (Choice.SKIP,))
    assert report.view.awaits == "a person: rule-vip (add a card); choose skip"
    # when
    await world.choose(order, asked.park_id, "skip")
    # then
    await world.until_shown(order, "released")
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert told(world, "automation") == [
        "vip: a person is asked to look",
        "vip: a person has looked",
    ]


async def test_what_a_rule_asks_needs_no_answer_once_the_order_is_over(world: World) -> None:
    # given
    prepared(world, {"name": "vip", "event": "accepted", "do": "attention"}, **AT_ONCE)
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.page().attention is None


async def test_rules_see_that_units_wait_and_that_a_node_gave_them_back(world: World) -> None:
    # given
    rules = (
        {"name": "again", "event": "rerouted", "do": "notify"},
        {"name": "waits", "event": "backordered", "do": "notify"},
    )
    prepared(world, *rules, **AT_ONCE)
    order = await world.submit(document())
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert told(world, "notice") == []
    # when
    await world.node_says("W-1-1", "rejected", reason="closed")
    await world.until_shown(order, "backordered")
    # then
    await world.until(lambda: len(told(world, "notice")) == 2, "both are told")
    assert told(world, "notice") == ["again: again", "waits: waits"]


async def test_an_order_that_does_not_meet_the_condition_is_left_alone(world: World) -> None:
    # given
    rule = {"name": "big", "event": "accepted", "do": "hold", "when": {"min_total": "1000000"}}
    prepared(world, rule, **AT_ONCE)
    # when
    await world.submit(document())
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert world.page().holds == ()
