from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from domain.errors import ConflictError, UnknownReferenceError
from store import fulfillments, inventory, network, operations, outbox, reservations
from store.engine import reading, transaction
from store.inventory import Expected, Grant, StockCount
from store.supply import supply_of
from tests.integration.store.builders import (
    NOW,
    a_count,
    a_network,
    a_node,
    a_plan,
    a_world,
    at,
    everything,
    filled,
    position,
    released_order,
    reserve,
)
from tests.integration.store.test_fulfillments import a_view


def count(engine: Engine, *rows: StockCount, key: str = "count-1", now: float = 0) -> None:
    with transaction(engine) as session:
        inventory.set_stock(session, rows, key=key, now=at(now))


def wait_for(
    engine: Engine,
    order_id: str,
    quantity: int,
    *,
    demand_class: str = "b",
    promise: float | None = None,
    now: float = 0,
    line_id: str = "1",
) -> None:
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            order_id,
            [(line_id, "X", quantity)],
            demand_class=demand_class,
            promise_at=None if promise is None else at(promise),
            key=f"{order_id}/backorder/{line_id}",
            now=at(now),
        )


def receive(
    engine: Engine, quantity: int, *, key: str = "delivery", node: str = "A"
) -> list[Grant]:
    with transaction(engine) as session:
        return list(inventory.receive(session, node, "X", quantity, key=key, now=NOW))


def test_only_what_nobody_has_and_nothing_keeps_back_is_sellable(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 20})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    reserve(engine, "W-2", a_plan(("A", "1", "X", 2)))
    with transaction(engine) as session:
        inventory.keep_back(
            session, "A", "X", safety_stock=4, protected={"web": 1}, key="levels", now=NOW
        )
    assert filled(engine, "A", "X") == {
        "usable": 20,
        "released": 3,
        "reserved": 2,
        "safety_stock": 4,
        "protected": 1,
    }
    assert position(engine, "A", "X").sellable == 10
    with reading(engine) as session:
        assert inventory.availability(session, ["X", "Y"]) == {"X": {"A": 10}, "Y": {}}
        assert inventory.availability(session, []) == {}


def test_a_position_that_never_was_is_empty(engine: Engine) -> None:
    a_world(engine, {("B", "X"): 2, ("A", "Y"): 9})
    with reading(engine) as session:
        assert inventory.position(session, "B", "X").usable == 2
        assert inventory.position(session, "B", "Y").usable == 0


def test_a_count_replaces_what_is_there_and_keeps_reservations(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 4)))
    count(engine, a_count("A", "X", 7, 5), a_count("A", "X", 2, 5, "damaged"), now=6)
    assert filled(engine, "A", "X") == {"usable": 7, "damaged": 2, "reserved": 4}


def test_moves_after_the_time_of_a_count_stand_on_top_of_it(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 5, key="before", now=at(10))
        inventory.receive(session, "A", "X", 2, key="after", now=at(30))
        reservations.consume(session, "W-1-1", [("1", 3)], key="gone", now=at(40))
    # Counted at minute 20: 16 lay there. Since then 2 came and 3 left.
    count(engine, a_count("A", "X", 16, 20), now=60)
    assert filled(engine, "A", "X") == {"usable": 15}


def test_a_count_of_the_same_moment_does_not_see_the_moves_of_that_moment_twice(
    engine: Engine,
) -> None:
    a_world(engine)
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 5, key="came", now=at(10))
    count(engine, a_count("A", "X", 5, 10), now=11)
    assert filled(engine, "A", "X") == {"usable": 5}


def test_a_late_count_is_corrected_by_what_happened_since_and_an_older_one_ignored(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10})
    count(engine, a_count("A", "X", 8, 20), key="second", now=25)
    count(engine, a_count("A", "X", 99, 19), key="older", now=30)
    assert filled(engine, "A", "X") == {"usable": 8}
    with transaction(engine) as session:
        inventory.adjust(session, "A", "X", "usable", 1, key="found", now=at(40), reason="found")
    # The count at 35 comes in at 50: the correction of the count at 20 is no move.
    count(engine, a_count("A", "X", 6, 35), key="third", now=50)
    assert filled(engine, "A", "X") == {"usable": 7}


def test_the_answer_names_the_rows_that_are_too_old_to_count_also_when_repeated(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10, ("B", "X"): 10})
    count(engine, a_count("A", "X", 8, 20), key="second", now=25)
    before = everything(engine)["stock_counts"]

    def late() -> inventory.StockTaken:
        rows = [a_count("A", "X", 99, 19), a_count("B", "X", 7, 19), a_count("A", "Y", 1, 19)]
        with transaction(engine) as session:
            return inventory.set_stock(session, rows, key="older", now=at(30))

    first = late()
    assert first == inventory.StockTaken(
        ignored_rows=1,
        ignored=(
            inventory.IgnoredCount(
                node_id="A",
                sku="X",
                condition="usable",
                counted_at=at(19),
                last_counted_at=at(20),
            ),
        ),
    )
    assert filled(engine, "A", "X") == {"usable": 8}
    assert filled(engine, "B", "X") == {"usable": 7}
    assert set(before) < set(everything(engine)["stock_counts"])
    assert late() == first


def test_of_many_rows_too_old_to_count_only_the_first_are_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "MOST_NAMED", 1)
    a_world(engine)
    count(engine, a_count("A", "X", 8, 20), a_count("B", "X", 8, 20), now=25)
    with transaction(engine) as session:
        rows = [a_count("A", "X", 9, 19), a_count("B", "X", 9, 19)]
        taken = inventory.set_stock(session, rows, key="older", now=at(30))
    assert taken.ignored_rows == 2
    assert [row.node_id for row in taken.ignored] == ["A"]


def test_a_count_kept_by_an_earlier_release_answers_its_grants(engine: Engine) -> None:
    a_world(engine)
    kept = {
        "reservation_id": "W-1-g1",
        "order_id": "W-1",
        "line_id": "1",
        "sku": "X",
        "node_id": "A",
        "quantity": 2,
    }
    with transaction(engine) as session:
        operations.claim(session, "old", "set_stock", NOW, [kept])
        taken = inventory.set_stock(session, [a_count("A", "X", 8, 1)], key="old", now=at(1))
    assert taken == inventory.StockTaken(grants=(inventory.Grant.model_validate(kept),))
    assert filled(engine, "A", "X") == {}


def test_the_same_feed_twice_changes_nothing_even_under_another_key(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    count(engine, a_count("A", "X", 7, 5), key="feed", now=6)
    before = everything(engine)
    count(engine, a_count("A", "X", 7, 5), key="feed", now=7)
    assert everything(engine) == before
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 1, key="later", now=at(8))
    count(engine, a_count("A", "X", 7, 5), key="feed again", now=9)
    assert filled(engine, "A", "X") == {"usable": 8}


def test_a_count_of_usable_units_settles_suspect_ones_found_missing_before_it(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    with transaction(engine) as session:
        reservations.free_released(session, "W-1-1", [("1", 2, "suspect")], key="short", now=at(10))
    assert filled(engine, "A", "X") == {"usable": 8, "suspect": 2, "released": 1}
    count(engine, a_count("A", "X", 9, 20), now=21)
    assert filled(engine, "A", "X") == {"usable": 9, "released": 1}


def test_suspect_units_found_missing_after_a_count_stay_suspect(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    with transaction(engine) as session:
        reservations.free_released(session, "W-1-1", [("1", 2, "suspect")], key="short", now=at(10))
    count(engine, a_count("A", "X", 10, 5), now=21)
    assert filled(engine, "A", "X") == {"usable": 8, "suspect": 2, "released": 1}


def test_a_net_feed_leaves_out_what_was_released_at_its_time(engine: Engine) -> None:
    a_world(engine, {("NET", "X"): 10})
    released_order(engine, "W-1", ("NET", "1", "X", 4))
    # The node itself says 6 are left: it counts the 4 as gone already.
    count(engine, a_count("NET", "X", 6, 5), now=6)
    assert filled(engine, "NET", "X") == {"usable": 10, "released": 4}
    # Before the release it said 10; that was physical stock then and still is.
    count(engine, a_count("NET", "X", 10, -1), key="earlier", now=7)
    assert filled(engine, "NET", "X") == {"usable": 10, "released": 4}


def test_a_node_that_counts_down_at_pick_leaves_out_what_is_picked_and_still_there(
    engine: Engine,
) -> None:
    a_world(engine, {("ATPICK", "X"): 10})
    released_order(engine, "W-1", ("ATPICK", "1", "X", 4))
    with transaction(engine) as session:
        view = a_view("W-1", 1, {"1": {"picked": 3}})
        fulfillments.record_fulfillment(session, view, at(10))
    count(engine, a_count("ATPICK", "X", 7, 20), key="picked", now=21)
    assert filled(engine, "ATPICK", "X") == {"usable": 10, "released": 4}
    with transaction(engine) as session:
        reservations.consume(session, "W-1-1", [("1", 3)], key="gone", now=at(30))
    assert filled(engine, "ATPICK", "X") == {"usable": 7, "released": 1}
    # A count taken between pick and hand-over that comes in only now says the same.
    count(engine, a_count("ATPICK", "X", 7, 25), key="late", now=40)
    assert filled(engine, "ATPICK", "X") == {"usable": 7, "released": 1}
    # So does one taken after the hand-over, and one taken before the pick that comes too late.
    count(engine, a_count("ATPICK", "X", 7, 35), key="after", now=41)
    count(engine, a_count("ATPICK", "X", 10, 5), key="before", now=42)
    assert filled(engine, "ATPICK", "X") == {"usable": 7, "released": 1}


def test_a_count_below_what_orders_have_shows_as_oversold_and_sells_nothing(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 6)))
    count(engine, a_count("A", "X", 4, 5), now=6)
    assert position(engine, "A", "X").sellable == -2
    with reading(engine) as session:
        assert [x.node_id for x in inventory.oversold(session)] == ["A"]
        assert inventory.availability(session, ["X"]) == {"X": {}}
        assert inventory.unexplained(session) == []


Change = Callable[[Session], object]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda s: inventory.set_stock(
                s, [a_count("A", "X", 3, 1), a_count("Z", "X", 1, 1)], key="k", now=NOW
            ),
            UnknownReferenceError,
        ),
        (
            lambda s: inventory.set_stock(
                s, [a_count("A", "X", 3, 1), a_count("A", "X", 4, 1)], key="k", now=NOW
            ),
            ConflictError,
        ),
        (
            lambda s: inventory.adjust(s, "A", "X", "usable", -11, key="k", now=NOW, reason="lost"),
            ConflictError,
        ),
        (
            lambda s: inventory.adjust(s, "A", "X", "broken", 1, key="k", now=NOW, reason="?"),
            ValueError,
        ),
        (
            lambda s: inventory.adjust(s, "Z", "X", "usable", 1, key="k", now=NOW, reason="?"),
            UnknownReferenceError,
        ),
        (lambda s: inventory.receive(s, "A", "X", 0, key="k", now=NOW), ValueError),
        (lambda s: inventory.receive(s, "Z", "X", 1, key="k", now=NOW), UnknownReferenceError),
        (
            lambda s: inventory.keep_back(
                s, "A", "X", safety_stock=-1, protected={}, key="k", now=NOW
            ),
            ValueError,
        ),
        (
            lambda s: inventory.keep_back(
                s, "Z", "X", safety_stock=1, protected={}, key="k", now=NOW
            ),
            UnknownReferenceError,
        ),
        (
            lambda s: inventory.expect_supply(
                s, [Expected(supply_id="PO", node_id="Z", sku="X", quantity=1, due=NOW)]
            ),
            UnknownReferenceError,
        ),
        # A key belongs to one kind of operation.
        (lambda s: inventory.receive(s, "A", "X", 1, key="used", now=NOW), ConflictError),
    ],
)
def test_a_refused_stock_change_changes_nothing(
    engine: Engine, change: Change, error: type[Exception]
) -> None:
    a_world(engine, {("A", "X"): 10})
    with transaction(engine) as session:
        inventory.adjust(session, "A", "Y", "usable", 1, key="used", now=NOW, reason="found")
    before = everything(engine)
    with pytest.raises(error), transaction(engine) as session:
        change(session)
    assert everything(engine) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda s: inventory.adjust(s, "A", "X", "usable", 4, key="k", now=NOW, reason="found"),
        lambda s: inventory.receive(s, "A", "X", 4, key="k", now=NOW),
        lambda s: inventory.set_stock(s, [a_count("A", "X", 14, 1)], key="k", now=NOW).grants,
        lambda s: inventory.keep_back(s, "A", "X", safety_stock=0, protected={}, key="k", now=NOW),
    ],
    ids=["adjust", "receive", "set_stock", "keep_back"],
)
def test_a_repeated_stock_change_answers_the_same_and_changes_nothing(
    engine: Engine, change: Change
) -> None:
    a_world(engine, {("A", "X"): 10})
    with transaction(engine) as session:
        inventory.keep_back(session, "A", "X", safety_stock=10, protected={}, key="l", now=NOW)
    wait_for(engine, "W-1", 3)
    with transaction(engine) as session:
        first = change(session)
    assert [grant.quantity for grant in first] == [3]  # type: ignore[attr-defined]
    before = everything(engine)
    with transaction(engine) as session:
        assert change(session) == first
    assert everything(engine) == before


def test_arriving_units_go_to_backorders_before_they_are_sellable(engine: Engine) -> None:
    a_world(engine)
    wait_for(engine, "W-1", 3)
    (grant,) = receive(engine, 5)
    assert (grant.order_id, grant.line_id, grant.quantity) == ("W-1", "1", 3)
    assert grant.reservation_id.startswith("W-1-g")
    assert filled(engine, "A", "X") == {"usable": 5, "claimed": 3}
    assert position(engine, "A", "X").sellable == 2
    with transaction(engine) as session:
        taken = reservations.take_grant(session, "W-1", grant.reservation_id)
        (signal,) = outbox.claim(session, 10, NOW)
        left = session.execute(text("SELECT count(*) FROM backorders")).scalar_one()
    assert taken == [("A", "1", "X", 3)]
    assert left == 0
    assert (signal.workflow_id, signal.name) == ("order-W-1", "supply_granted")
    assert signal.payload == {
        "request_id": grant.reservation_id,
        "reservation_id": grant.reservation_id,
    }


def test_backorders_are_served_by_class_then_promise_then_age(engine: Engine) -> None:
    a_world(engine)
    wait_for(engine, "PLAIN-OLD", 1, now=1)
    wait_for(engine, "PLAIN-NEW", 1, now=2)
    wait_for(engine, "PROMISED-LATE", 1, promise=900, now=3)
    wait_for(engine, "PROMISED-SOON", 1, promise=800, now=4)
    wait_for(engine, "FIRST-CLASS", 1, demand_class="a", now=5)
    served = [grant.order_id for n in range(5) for grant in receive(engine, 1, key=f"d{n}")]
    assert served == ["FIRST-CLASS", "PROMISED-SOON", "PROMISED-LATE", "PLAIN-OLD", "PLAIN-NEW"]


def test_a_backorder_may_be_served_in_parts_from_several_arrivals(engine: Engine) -> None:
    a_world(engine)
    wait_for(engine, "W-1", 5)
    wait_for(engine, "W-2", 1, now=1)
    (first,) = receive(engine, 2, key="d1")
    second = receive(engine, 4, key="d2", node="B")
    assert first.quantity == 2
    assert [(x.order_id, x.quantity) for x in second] == [("W-1", 3), ("W-2", 1)]
    assert len({first.reservation_id, *(x.reservation_id for x in second)}) == 3


def test_two_lines_of_an_order_come_in_one_grant(engine: Engine) -> None:
    a_world(engine)
    wait_for(engine, "W-1", 1, line_id="1")
    wait_for(engine, "W-1", 2, line_id="2")
    grants = receive(engine, 3)
    assert len({grant.reservation_id for grant in grants}) == 1
    with transaction(engine) as session:
        assert len(outbox.claim(session, 10, NOW)) == 1
        taken = reservations.take_grant(session, "W-1", grants[0].reservation_id)
        assert taken == [("A", "1", "X", 1), ("A", "2", "X", 2)]
        assert reservations.take_grant(session, "W-2", grants[0].reservation_id) == []


def test_units_that_are_owed_or_kept_back_are_not_granted(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 3)))
    count(engine, a_count("A", "X", 1, 1))
    with transaction(engine) as session:
        inventory.keep_back(session, "A", "X", safety_stock=1, protected={}, key="l", now=NOW)
    wait_for(engine, "W-1", 9)
    assert receive(engine, 3, key="d1") == []
    (grant,) = receive(engine, 1, key="d2")
    assert grant.quantity == 1


def test_nothing_is_granted_at_a_node_that_is_not_active(engine: Engine) -> None:
    a_world(engine)
    wait_for(engine, "W-1", 1)
    assert receive(engine, 1, node="OFF") == []
    assert filled(engine, "OFF", "X") == {"usable": 1}


def test_an_arrival_takes_its_units_off_the_expected_supply(engine: Engine) -> None:
    a_world(engine)
    orders = [
        Expected(supply_id="PO-2", node_id="B", sku="X", quantity=7, due=at(200)),
        Expected(supply_id="PO-1", node_id="A", sku="X", quantity=5, due=at(100)),
    ]
    with transaction(engine) as session:
        inventory.expect_supply(session, orders)
        inventory.receive(session, "A", "X", 2, key="first", now=NOW, supply_id="PO-1")
    with reading(engine) as session:
        coming = [(x.node_id, x.quantity, x.due) for x in supply_of(session, ["X"])]
    assert coming == [("A", 3, at(100)), ("B", 7, at(200))]
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 9, key="rest", now=NOW, supply_id="PO-1")
        inventory.expect_supply(
            session, [Expected(supply_id="PO-2", node_id="B", sku="X", quantity=4, due=at(300))]
        )
    with reading(engine) as session:
        assert [(x.node_id, x.quantity) for x in supply_of(session, ["X"])] == [("B", 4)]
        assert supply_of(session, ["Y"]) == []


def test_a_bucket_changed_behind_the_ledgers_back_is_found(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    with transaction(engine) as session:
        session.execute(text("UPDATE positions SET usable = 4 WHERE sku = 'X'"))
    with reading(engine) as session:
        (found,) = inventory.unexplained(session)
    assert (found.node_id, found.sku, found.bucket) == ("A", "X", "usable")
    assert (found.holds, found.ledger) == (4, 3)


def test_a_feed_larger_than_one_chunk_is_taken_over_whole(engine: Engine) -> None:
    with transaction(engine) as session:
        nodes = [a_node(f"N{n}") for n in range(9)]
        network.import_network(session, a_network(*nodes), (), NOW)
    rows = [a_count(f"N{n}", f"S{sku}", n + sku, 0) for n in range(9) for sku in range(100)]
    count(engine, *rows)
    with reading(engine) as session:
        found = inventory.availability(session, ["S0", "S99"])
        assert inventory.unexplained(session) == []
    assert found == {
        "S0": {f"N{n}": n for n in range(1, 9)},
        "S99": {f"N{n}": n + 99 for n in range(9)},
    }
