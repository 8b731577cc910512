"""Shops that are asked for their orders: each is taken once, whatever got lost."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from starter.capture_poll import CapturePoll
from starter.intake import Capture, Intake, Reference
from store import inbox, network
from store.engine import reading, transaction
from tests.contract.square_account import SECRETS
from tests.contract.test_square_capture import TILL, Tills, shipment, till_order
from tests.integration.api.conftest import NETWORK, NOW, PRODUCTS, messages_of


def orders_of(engine: Engine) -> list[dict[str, Any]]:
    with reading(engine) as session:
        rows = session.execute(text("SELECT order_id, version, entered_by FROM orders"))
        return [dict(row._mapping) for row in rows]


class World:
    """An API's store with that till, and the poll that asks it."""

    def __init__(self, engine: Engine, tills: Tills) -> None:
        self.engine, self.tills = engine, tills
        self.now, self.woken = NOW, 0
        connections = {"connections": (*NETWORK.connections, TILL)}
        with transaction(engine) as session:
            network.import_network(session, NETWORK.model_copy(update=connections), PRODUCTS, NOW)
        reference = Reference()
        intake = Intake(engine, reference, self.clock)
        capture = Capture(engine, reference, intake, self.clock)
        self._poll = CapturePoll(
            engine, capture, SECRETS, self.wake, self.clock, client=tills.client
        )

    def clock(self) -> datetime:
        return self.now

    def wake(self) -> None:
        self.woken += 1

    def poll(self) -> int:
        self.now += timedelta(minutes=1)
        return self._poll.poll()


def test_the_tills_orders_are_asked_for_and_each_is_taken_once(filled: Engine) -> None:
    tills = Tills(
        till_order(id="CARRIED"),
        till_order(shipment(("a", "2"), ("b", "1"))),
        till_order(shipment(("a", "1")), id="STRANGE", location_id="L9"),
    )
    world = World(filled, tills)

    news = [world.poll(), world.poll()]

    assert (news, world.woken) == ([1, 0], 1)
    [order] = orders_of(filled)
    assert (order["order_id"], order["entered_by"]) == ("tills-O_2f1", "poll")
    states = {x["state"] for x in messages_of(filled) if x["kind"] == "capture"}
    assert states == {"done", "quarantined"}
    with reading(filled) as session:
        [aside] = inbox.quarantined(session)
    assert aside.error == "location_id: no node is Square's L9"


def test_an_order_that_changed_at_the_till_amends_the_one_taken(filled: Engine) -> None:
    tills = Tills(till_order(shipment(("a", "2"))))
    world = World(filled, tills)
    world.poll()
    tills.orders = [till_order(shipment(("a", "1")), version=7)]

    assert world.poll() == 1
    [order] = orders_of(filled)
    assert order["version"] == 7


def test_a_round_asks_from_where_the_last_good_one_began(filled: Engine) -> None:
    world = World(filled, Tills())
    world.poll()
    world.tills.is_away = True
    world.poll()
    world.tills.is_away = False
    world.poll()

    starts = [
        datetime.fromisoformat(x["query"]["filter"]["date_time_filter"]["updated_at"]["start_at"])
        for x in world.tills.asked
    ]
    assert starts == [
        NOW + timedelta(minutes=1) - timedelta(days=3, minutes=5),
        NOW + timedelta(minutes=1) - timedelta(minutes=5),
    ]
