"""Support staff force, forbid or prefer a node for an order that is not released."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from activities import kernel, nodes
from store import decisions, network, reservations, words
from store.engine import reading, transaction
from tests.workflow.world import PRODUCTS, World, document, sample_network
from workflows.messages import Answer, ChooseNode
from workflows.order import OrderWorkflow


async def choose(
    order: Any, choice: str | None = None, node: str | None = None, request_id: str = "n-1"
) -> Answer:
    command = ChooseNode.model_validate(
        {"request_id": request_id, "choice": choice, "node_id": node, "actor": "ada"}
    )
    answer: Answer = await order.execute_update(
        OrderWorkflow.choose_node_and_answer, command, id=request_id
    )
    return answer


async def test_a_forced_node_serves_at_once_and_is_shown(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    # when
    with transaction(world.engine) as session:
        words.keep(
            session,
            "W-1",
            words.of_request("n-1"),
            "the customer asked for it",
            about="force dc-2",
            said_by="ada",
            at=world.now(),
        )
    answer = await choose(order, "force", "dc-2")
    # then
    assert (answer.done, answer.text) == (True, "dc-2 is forced by ada")
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    await world.until(lambda: bool(world.page().overrides), "it is shown")
    page = world.page()
    [chosen] = page.overrides
    assert (chosen.choice, chosen.node_id, chosen.actor) == ("force", "dc-2", "ada")
    assert chosen.reason == "the customer asked for it"
    assert page.plan_version == 2
    assert "dc-2 is forced by ada" in world.story()
    assert (await order.query(OrderWorkflow.explain)).startswith(
        "Chosen by people: dc-2 forced. dc-2 sends 2 x TEA"
    )
    assert "**Nodes chosen by people:** dc-2: force" in (await world.report(order)).details
    with reading(world.engine) as session:
        request, decision = decisions.load_choice(session, str(page.decision_id))
    assert request.forced_nodes == ("dc-2",)
    assert "dc-1" in decision.excluded["not a forced node"]
    # when its time comes
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_node_that_cannot_serve_is_refused_and_nothing_changes(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document(allow_backorder=False))
    # when
    forced = await choose(order, "force", "dc-2", "n-1")
    forbidden = await choose(order, "forbid", "dc-1", "n-2")
    # then
    for answer in (forced, forbidden):
        assert not answer.done
        assert answer.text.startswith("Nothing changed: these units would have no node; 2 x TEA: ")
    assert world.sellable() == {"dc-1": 3}
    assert world.page().overrides == ()
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_forbidden_node_is_left_at_once_and_when_planned_again(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5, threepl_1__TEA=5)
    order = await world.reserved(document())
    # when
    await choose(order, "forbid", "dc-1")
    assert world.sellable() == {"dc-1": 5, "dc-2": 5, "threepl-1": 3}
    # when the next one rejects it, then it still does not go to the first
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "rejected")
    await world.sent_again("W-1-2", plan=3)
    # then
    assert [x.node_id for x in world.page().fulfillments] == ["threepl-1", "dc-2"]
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_a_preferred_node_serves_where_it_can_in_time(world: World) -> None:
    # given: store-1 is the nearest, dc-2 has too little, the 3PL is too far to come in time
    world.prepare()
    world.stock(store_1__TEA=5, dc_1__TEA=5, dc_2__TEA=1, threepl_1__TEA=5)
    order = await world.reserved(document())
    at_first = {"store-1": 3, "dc-1": 5, "dc-2": 1, "threepl-1": 5}
    assert world.sellable() == at_first
    # when
    for number, node in enumerate(("dc-2", "threepl-1"), 1):
        answer = await choose(order, "prefer", node, f"n-{number}")
        # then another serves
        assert answer.done
        assert world.sellable() == at_first
    # when
    await choose(order, "prefer", "dc-1", "n-3")
    # then
    assert world.sellable() == {**at_first, "store-1": 5, "dc-1": 3}
    await world.until(lambda: len(world.page().overrides) == 3, "all are shown")


async def test_choices_that_are_lifted_let_the_order_be_planned_freely(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    nothing = await choose(order, request_id="n-0")
    assert (nothing.done, nothing.text) == (False, "No node was chosen for the order")
    await choose(order, "force", "dc-2", "n-1")
    # when
    answer = await choose(order, request_id="n-2")
    # then
    assert (answer.done, answer.text) == (True, "The choice of nodes is lifted by ada")
    assert world.sellable() == {"dc-1": 3, "dc-2": 5}
    await world.until(lambda: world.page().plan_version == 3, "it is shown")
    assert world.page().overrides == ()


async def test_a_released_order_has_no_nodes_to_choose(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.at_node(document())
    # when
    answer = await choose(order, "force", "dc-2")
    # then
    assert (answer.done, answer.text) == (False, "Too late: all of it is released already")
    assert world.sellable() == {"dc-1": 3, "dc-2": 5}


async def test_a_forced_node_that_rejects_is_not_asked_again(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    await choose(order, "force", "dc-2")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    # when
    await world.node_says("W-1-1", "rejected")
    # then
    await world.sent_again("W-1-2", plan=3)
    assert [x.node_id for x in world.page().fulfillments] == ["dc-2", "dc-1"]
    assert await world.result(order) == ("completed", 2, 0)


async def test_a_run_leaves_an_order_at_its_forced_node(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    await choose(order, "force", "dc-2")
    await world.until(lambda: world.page().plan_version == 2, "it is shown")
    # when
    run = await world.brokering()
    # then
    assert (run.looked_at, run.moved) == (1, 0)
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}


async def test_the_same_choice_sent_twice_plans_once(world: World) -> None:
    # given: an answer to the first attempt that is lost
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    world.loses_answers = True
    # when
    first = await choose(order, "force", "dc-2")
    again = await choose(order, "force", "dc-2")
    # then
    assert first == again
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    await world.until(lambda: world.page().plan_version == 2, "it is shown")
    world.books_are_right()


async def test_a_node_that_is_full_of_the_order_itself_may_keep_it(world: World) -> None:
    # given: the order takes all that dc-1 can do on each day there is
    world.prepare()
    narrow = sample_network()
    nodes = tuple(x.model_copy(update={"daily_orders": 1}) for x in narrow.nodes)
    with transaction(world.engine) as session:
        smaller = narrow.model_copy(update={"nodes": nodes})
        network.import_network(session, smaller, PRODUCTS, world.now())
    world.stock(dc_1__TEA=2, dc_2__TEA=5)
    order = await world.reserved(document())
    before = world.page().promise_at
    # when
    answer = await choose(order, "forbid", "dc-2")
    # then: it stays, and on the same day
    assert answer.done
    assert world.sellable() == {"dc-2": 5}
    with reading(world.engine) as session:
        plan = reservations.load_plan(session, "W-1", 2)
    assert plan.deliver_by == before
    world.books_agree()


async def test_an_order_that_is_moved_between_two_attempts_loses_no_unit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5, dc_2__TEA=5)
    order = await world.reserved(document())
    loop = asyncio.get_running_loop()
    attempts = 0
    moved = 0

    @contextmanager
    def moved_before_the_second(engine: Engine) -> Iterator[Session]:
        nonlocal attempts, moved
        attempts += 1
        if attempts == 2:
            world.stock(threepl_1__TEA=5)
            run = asyncio.run_coroutine_threadsafe(world.brokering(), loop).result(60)
            moved = run.moved
        with transaction(engine) as session:
            yield session

    monkeypatch.setattr(nodes, "transaction", moved_before_the_second)
    # when the answer to the first attempt is lost, and a run moves what it reserved
    world.loses_answers = True
    answer = await choose(order, "forbid", "dc-1")
    world.loses_answers = False
    # then
    assert answer.done
    assert (attempts, moved) == (2, 1)
    sellable = world.sellable()
    assert sellable["dc-1"] == 5
    assert sum(sellable.values()) == 13


async def test_many_lines_are_decided_while_others_write_and_again_when_they_were_moved(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an order at dc-2, and then there is some at dc-1
    world.prepare()
    world.stock(dc_2__TEA=5)
    order = await world.reserved(document())
    world.stock(dc_1__TEA=5)
    monkeypatch.setattr(nodes, "MOST_LINES_AT_ONCE", 0)
    loop, real, moved = asyncio.get_running_loop(), kernel.decide_on_chosen, list[int]()

    def decide(*arguments: Any) -> Any:
        decided = real(*arguments)
        run = world.brokering(f"run-{len(moved)}")
        moved.append(asyncio.run_coroutine_threadsafe(run, loop).result(60).moved)
        return decided

    monkeypatch.setattr(nodes, "decide_on_chosen", decide)
    # when a run moves it to dc-1 while that is being forbidden
    answer = await choose(order, "forbid", "dc-1")
    # then
    assert answer.done
    assert moved == [1, 0]
    assert world.sellable() == {"dc-1": 5, "dc-2": 3}
    await world.until(lambda: world.page().plan_version == 3, "the page shows it")
