"""The change feed: nothing committed is ever passed over, in whatever order commits finish."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from domain.catalogue import Product
from domain.routing.policy import RoutingPolicy
from store import changes, holds, inventory, ledger, network, policies, reservations
from store.capacity import take_capacity
from store.changes import Change, Pruner, delete_before, has_passed, news_since, place_of
from store.engine import reading, transaction
from store.holds import HoldItem
from tests.integration.store.builders import DATE, NOW, a_network, a_node, a_world, at


@contextmanager
def looking(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one snapshot throughout."""
    options = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def now_at(engine: Engine) -> str:
    with looking(engine) as connection:
        return place_of(connection)


def named_since(engine: Engine, place: str) -> set[Change]:
    with looking(engine) as connection:
        news = news_since(connection, place)
    assert news.changes is not None
    return set(news.changes)


def receive(engine: Engine, node_id: str, sku: str, key: str) -> None:
    with transaction(engine) as session:
        inventory.receive(session, node_id, sku, 5, key=key, now=NOW)


def test_each_kind_of_input_is_named_when_it_changes(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    place = now_at(engine)
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 5, key="k", now=NOW)
        take_capacity(session, [{("B", DATE): 2}])
        reservations.cool_off(session, "B", "Y", at(60), "refused")
        supply = inventory.Expected(supply_id="PO-1", node_id="A", sku="Y", quantity=4, due=at(60))
        inventory.expect_supply(session, [supply])
        network.import_network(session, a_network(a_node("A")), [Product(sku="NEW")], NOW)
        document = RoutingPolicy(name="r").model_dump(mode="json")
        version = policies.publish(session, "routing", document, NOW)
        policies.activate(session, version, {}, NOW)
    assert named_since(engine, place) == {
        Change("positions", "X", "A"),
        Change("capacity", "", "B"),
        Change("cool_offs", "Y", "B"),
        Change("supply", "Y", "A"),
        Change("products", "NEW", ""),
        Change("network_state", "", ""),
        Change("policy_activations", "", ""),
    }


def test_what_leaves_the_sellable_units_as_they_were_is_no_news(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    place = now_at(engine)
    with transaction(engine) as session:
        session.execute(text("UPDATE positions SET damaged = 3 WHERE sku = 'X'"))
        session.execute(text("UPDATE positions SET reserved = 2, usable = 7 WHERE sku = 'X'"))
    assert named_since(engine, place) == set()


def test_an_empty_position_is_news_when_it_comes_or_goes(engine: Engine) -> None:
    """Its node carries the product from then on, which matters where no stock is needed."""
    a_world(engine)
    place = now_at(engine)
    with transaction(engine) as session:
        ledger.open_positions(session, [("A", "Y")])
    opened = now_at(engine)
    assert named_since(engine, place) == {Change("positions", "Y", "A")}
    with transaction(engine) as session:
        session.execute(text("DELETE FROM positions WHERE sku = 'Y'"))
    assert named_since(engine, opened) == {Change("positions", "Y", "A")}


def test_a_deleted_row_and_a_hold_that_ends_are_news(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5})
    with transaction(engine) as session:
        item = HoldItem(line_id="1", node_id="A", sku="X", quantity=1)
        holds.hold(session, "cart", [item], lasting=timedelta(minutes=1), now=NOW)
    place = now_at(engine)
    with transaction(engine) as session:
        holds.release(session, "cart", now=NOW)
        session.execute(text("DELETE FROM positions WHERE node_id = 'B'"))
    assert named_since(engine, place) == {
        Change("positions", "X", "A"),
        Change("positions", "X", "B"),
    }


def test_a_change_that_was_rolled_back_is_no_news(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    place = now_at(engine)

    def fail() -> None:
        with transaction(engine) as session:
            inventory.receive(session, "A", "X", 5, key="k", now=NOW)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert named_since(engine, place) == set()


def test_a_number_still_in_flight_is_not_passed_over(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: its commits finish in the order of their numbers")
    a_world(engine)
    place = now_at(engine)
    may_commit, wrote = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction(engine) as session:
            inventory.receive(session, "A", "X", 5, key="slow", now=NOW)
            wrote.set()
            assert may_commit.wait(30)

    early = threading.Thread(target=slow)
    early.start()
    assert wrote.wait(30)
    receive(engine, "B", "Y", "quick")  # a later number that commits first
    with looking(engine) as connection:
        first = news_since(connection, place)
    may_commit.set()
    early.join()
    with looking(engine) as connection:
        second = news_since(connection, first.place)

    assert first.changes == frozenset({Change("positions", "Y", "B")})
    assert second.changes == frozenset({Change("positions", "X", "A")})
    assert named_since(engine, second.place) == set()


def test_a_change_in_a_savepoint_belongs_to_its_transaction(engine: Engine) -> None:
    a_world(engine)
    place = now_at(engine)
    with transaction(engine) as session:
        with session.begin_nested():
            inventory.receive(session, "A", "X", 5, key="kept", now=NOW)
        inner = session.begin_nested()
        inventory.receive(session, "B", "Y", 5, key="dropped", now=NOW)
        inner.rollback()
    assert named_since(engine, place) == {Change("positions", "X", "A")}


def test_more_changes_than_are_worth_naming_are_not_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_CHANGES", 1)
    a_world(engine)
    place = now_at(engine)
    receive(engine, "A", "X", "1")
    with looking(engine) as connection:
        assert news_since(connection, place).changes == frozenset({Change("positions", "X", "A")})
    receive(engine, "A", "Y", "2")
    with looking(engine) as connection:
        news = news_since(connection, place)
    assert news.changes is None
    assert news.place == now_at(engine)


def test_a_later_place_has_passed_an_earlier_one_and_not_the_other_way(engine: Engine) -> None:
    a_world(engine)
    before = now_at(engine)
    receive(engine, "A", "X", "1")
    after = now_at(engine)
    assert has_passed(after, before)
    assert has_passed(after, after)
    assert not has_passed(before, after)


@pytest.mark.parametrize(
    ("place", "other", "passed"),
    [
        ("10:12:10", "10:12:10", True),
        ("11:12:", "10:12:10", True),
        ("10:13:10", "11:13:", False),
        ("10:13:10,12", "10:12:10", True),
        ("10:12:", "10:13:", False),
    ],
)
def test_a_place_has_passed_another_once_it_saw_all_its_transactions(
    place: str, other: str, passed: bool
) -> None:
    assert has_passed(place, other) is passed


def test_old_changes_are_deleted_and_the_feed_goes_on_from_any_place(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    pruner = Pruner(kept_seconds=600)
    pruner.remember(now_at(engine), 0.0)
    receive(engine, "A", "X", "young")
    place = now_at(engine)

    early = pruner.prune(engine, 599.0)
    old = rows(engine)
    deleted = pruner.prune(engine, 600.0)

    assert (early, deleted) == (0, old - 1)
    assert rows(engine) == 1
    delete_before(engine, place)
    assert rows(engine) == 0
    receive(engine, "B", "Y", "later")
    assert named_since(engine, place) == {Change("positions", "Y", "B")}


def test_who_is_behind_what_was_deleted_is_told_so_and_nobody_else(engine: Engine) -> None:
    a_world(engine)
    behind = now_at(engine)
    receive(engine, "A", "X", "1")
    place = now_at(engine)
    receive(engine, "A", "Y", "2")
    ahead = now_at(engine)

    for _ in range(2):  # the second finds nothing to delete and forgets nothing
        delete_before(engine, place)
        with looking(engine) as connection:
            missed = news_since(connection, behind)
        assert missed.changes is None
        assert missed.place == now_at(engine)
        assert named_since(engine, place) == {Change("positions", "Y", "A")}
        assert named_since(engine, ahead) == set()

    delete_before(engine, now_at(engine))
    with looking(engine) as connection:
        assert news_since(connection, behind).changes is None
        assert news_since(connection, place).changes is None
    assert marks(engine) == 1


def rows(engine: Engine) -> int:
    with reading(engine) as session:
        sql = text("SELECT count(*) FROM changes WHERE topic <> 'pruned'")
        return int(session.execute(sql).scalar_one())


def marks(engine: Engine) -> int:
    with reading(engine) as session:
        sql = text("SELECT count(*) FROM changes WHERE topic = 'pruned'")
        return int(session.execute(sql).scalar_one())
