"""A third-party warehouse that is asked: its work and its stock, on a real database."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from domain.events import CarrierEvent, NodeEvent
from domain.network import FeedMeaning
from integrations.registry import NodeSystems
from integrations.vendor import NewsOf, NewsOfOrder, NewsOfStock
from starter.deliveries import REPORTED, TRACKED
from starter.node_poll import NodePoll
from starter.stock_poll import StockPoll
from store import inbox, inventory, network
from store.engine import transaction
from store.inbox import InboxRow
from tests.contract import square_account
from tests.contract.shipbob_account import ADDRESS, CONNECTION, SECRETS, Account, handover
from tests.contract.test_shipbob import parcel, stocked
from tests.integration.api.conftest import until
from tests.integration.store.builders import (
    NOW,
    PRODUCTS,
    a_network,
    a_node,
    a_plan,
    at,
    everything,
    fulfillments_of_plan,
    position,
    release,
    reserve,
)

STORE = square_account.CONNECTION.model_copy(
    update={"settings": {"locations": {"3PL-1": "L1"}, "webhook_url": square_account.URL}}
)
ROW = ("3PL-1", "1", "X", 3)


class World:
    """A node that ShipBob runs, with one released fulfillment, `W-1-1`, of three X."""

    def __init__(self, engine: Engine, meaning: FeedMeaning = FeedMeaning.PHYSICAL) -> None:
        self.engine = engine
        self.account = Account()
        self.now = NOW
        self.woken = 0
        nodes = [
            a_node("3PL-1", connection_id="shipbob-1", feed_meaning=meaning),
            a_node("A"),
        ]
        plain = a_network(*nodes)
        connections = (*plain.connections, CONNECTION)
        with transaction(engine) as session:
            network.import_network(
                session, plain.model_copy(update={"connections": connections}), PRODUCTS, NOW
            )

    def clock(self) -> datetime:
        return self.now

    def wake(self) -> None:
        self.woken += 1

    def nodes(self) -> NodePoll:
        systems = NodeSystems(SECRETS, client=self.account.client)
        return NodePoll(self.engine, systems, self.wake, self.clock)

    def stock(self) -> StockPoll:
        systems = NodeSystems(SECRETS, client=self.account.client)
        return StockPoll(self.engine, systems, self.wake, self.clock)

    def count(self, *places: tuple[int, int, int]) -> int:
        self.account.stock = [stocked("X", *places)]
        self.now += timedelta(minutes=5)
        return self.stock().poll()

    def release(self) -> None:
        plan = a_plan(ROW)
        reserve(self.engine, "W-1", plan)
        assert release(self.engine, "W-1", plan)
        (order,) = fulfillments_of_plan("W-1", plan)
        self.account.warehouse().release(handover(("1", "X", 3), **dict(order)))

    def kept(self) -> list[InboxRow]:
        with transaction(self.engine) as session:
            return inbox.claim(session, 100, at(60 * 24))


@pytest.fixture
def world(engine: Engine) -> World:
    world = World(engine)
    world.count((10, 10, 10))
    world.woken = 0
    world.release()
    return world


def events(rows: list[InboxRow]) -> Iterator[NodeEvent | CarrierEvent]:
    for row in rows:
        if row.name == TRACKED:
            yield CarrierEvent.model_validate(row.payload)
        else:
            assert row.name == REPORTED
            yield NodeEvent.model_validate(row.payload)


def test_what_shipbob_did_is_asked_for_and_each_step_is_kept_once_in_its_stream(
    world: World,
) -> None:
    poll = world.nodes()
    first = poll.poll()
    world.account.ship(0, "9400")
    world.account.parcels = [parcel("9400", ("InTransit", "", "2026-05-02T10:00:00Z"))]

    news = [poll.poll(), poll.poll()]

    assert (first, news, world.woken) == (1, [2, 0], 2)
    rows = world.kept()
    assert [x.event_id for x in events(rows)] == [
        "shipbob/1000/order/acknowledged",
        "shipbob/1000/10000/handed_over",
        "shipbob/9400/in_transit/1",
    ]
    assert {row.stream for row in rows} == {"fulfillment-W-1-1"}


def test_a_node_that_is_away_or_does_not_know_the_work_tells_nothing(world: World) -> None:
    world.account.orders.clear()
    unknown = world.nodes().poll()
    world.account.lose = lambda _: True

    assert (unknown, world.nodes().poll(), world.kept()) == (0, 0, [])


def test_news_are_asked_for_at_once_and_only_of_that_nodes_open_work(world: World) -> None:
    poll = world.nodes()
    asked_before = len(world.account.requests)
    poll.heard_of("shipbob-1", NewsOf("W-404-1"))
    strange = poll.ask_for_news()
    asked_for_strange = len(world.account.requests) - asked_before
    poll.heard_of("shipbob-1", NewsOf("W-1-1"))

    assert (strange, asked_for_strange) == (0, 0)
    assert (poll.ask_for_news(), poll.ask_for_news()) == (1, 0)


def test_an_order_told_by_the_vendors_own_id_is_asked_whose_it_is(engine: Engine) -> None:
    world = World(engine)
    store = square_account.Account()
    with transaction(engine) as session:
        known = a_network(a_node("3PL-1", connection_id="square-1"))
        connections = (*known.connections, STORE)
        network.import_network(
            session, known.model_copy(update={"connections": connections}), PRODUCTS, NOW
        )
        inventory.receive(session, "3PL-1", "X", 10, key="first", now=at(-60))
    reserve(engine, "W-1", a_plan(ROW))
    assert release(engine, "W-1", a_plan(ROW))
    store.till(STORE).release(square_account.handover(node_id="3PL-1"))
    store.become("RESERVED")
    systems = NodeSystems(square_account.SECRETS, client=store.client)
    poll = NodePoll(engine, systems, world.wake, world.clock)
    for external_id in ("O404", "O1"):
        poll.heard_of("square-1", NewsOfOrder(external_id))
    poll.heard_of("nobody", NewsOfOrder("O1"))
    poll.heard_of("square-1", NewsOfStock())

    assert (poll.ask_for_news(), poll.ask_for_news()) == (1, 0)
    assert [x.event_id for x in events(world.kept())] == ["square/O1/acknowledged"]


async def test_the_running_poll_hears_of_news_before_its_next_round(world: World) -> None:
    poll = world.nodes()
    task = asyncio.create_task(poll.run())
    await until(lambda: world.woken == 1)
    world.account.ship(0, "9400")

    poll.heard_of("shipbob-1", NewsOf("W-1-1"))

    try:
        await until(lambda: world.woken == 2)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert len(world.kept()) == 2


def test_stock_is_taken_over_by_what_the_nodes_feed_means(engine: Engine) -> None:
    world = World(engine, FeedMeaning.NET)

    assert world.count((10, 9, 7), (11, 4, 4)) == 1
    assert position(engine, "3PL-1", "X").usable == 7


def test_a_count_while_orders_are_worked_on_leaves_what_they_have(world: World) -> None:
    assert world.count((10, 12, 9)) == 1

    place = position(world.engine, "3PL-1", "X")
    assert (place.usable, place.released) == (12, 3)


def test_stock_is_read_at_once_where_a_webhook_tells_that_it_changed(world: World) -> None:
    world.account.stock = [stocked("X", (10, 9, 6))]
    world.now += timedelta(minutes=1)
    poll = world.stock()
    poll.heard_of("shipbob-1", NewsOf("W-1-1"))
    none = poll.ask_for_news()
    poll.heard_of("shipbob-1", NewsOfStock())

    assert (none, poll.ask_for_news(), poll.ask_for_news()) == (0, 1, 0)
    assert position(world.engine, "3PL-1", "X").usable == 9


def test_the_same_stock_at_the_same_moment_changes_nothing(world: World) -> None:
    world.stock().poll()
    before = everything(world.engine)

    world.stock().poll()

    assert everything(world.engine) == before


def test_products_unknown_here_and_more_promised_than_there_is_do_no_harm(engine: Engine) -> None:
    world = World(engine, FeedMeaning.NET)
    world.account.stock = [
        stocked("NOBODY", (10, 5, 5)),
        stocked("no sku!", (10, 5, 5)),
        stocked("X", (10, 1, -4)),
    ]

    assert world.stock().poll() == 1
    assert position(engine, "3PL-1", "X").usable == 0


def test_stock_that_cannot_be_read_changes_nothing(world: World) -> None:
    before = everything(world.engine)
    world.account.lose = lambda _: True

    assert world.stock().poll() == 0
    assert everything(world.engine) == before


def test_the_address_of_the_builders_is_one_shipbob_takes(world: World) -> None:
    sent = json.loads(world.account.requests[-1].content)

    assert sent["recipient"]["address"]["address1"] == ADDRESS.line1
