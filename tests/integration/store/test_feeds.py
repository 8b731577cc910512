import threading

from sqlalchemy import Engine

from domain.errors import RetryableError
from domain.network import Decrement
from domain.supply import SupplyType
from store import exclusions, feeds, fulfillments, inventory, reservations
from store.engine import reading, transaction
from store.feeds import Sold, TillSale
from store.supply import Expected, expect_supply, supply_of
from tests.integration.store.builders import (
    NODES,
    NOW,
    a_count,
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


def sell(
    engine: Engine, quantity: int, sold: float, *, now: float | None = None, key: str = "till-1"
) -> Sold:
    with transaction(engine) as session:
        sale = TillSale(node_id="A", sku="X", quantity=quantity, sold_at=at(sold))
        return feeds.sell_at_till(session, sale, key=key, now=at(sold if now is None else now))


def count(
    engine: Engine,
    quantity: int,
    counted: float,
    *,
    now: float | None = None,
    key: str = "count",
    node: str = "A",
    by_people: bool = False,
) -> None:
    with transaction(engine) as session:
        inventory.set_stock(
            session,
            [a_count(node, "X", quantity, counted)],
            key=key,
            now=at(counted if now is None else now),
            by_people=by_people,
        )


def listed(engine: Engine) -> list[tuple[str, str, int, int]]:
    with reading(engine) as session:
        return [(x.kind, x.condition, x.expected, x.found) for x in feeds.discrepancies(session)]


def all_is_explained(engine: Engine) -> None:
    with reading(engine) as session:
        assert inventory.unexplained(session) == []


def test_a_till_sale_takes_units_off_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    first = sell(engine, 2, 1)
    assert first == Sold(taken=2, unexpected=0, owed=0)
    before = everything(engine)
    assert sell(engine, 2, 1) == first
    assert everything(engine) == before
    assert position(engine, "A", "X").usable == 3
    assert listed(engine) == []


def test_a_till_sells_even_what_orders_have_and_those_are_listed(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    reserve(engine, "W-2", a_plan(("A", "1", "X", 3)))
    assert sell(engine, 4, 1) == Sold(taken=4, unexpected=0, owed=4)
    with reading(engine) as session:
        (short,) = feeds.oversold_positions(session)
        assert feeds.oversold_positions(session, node_id="B") == []
        assert feeds.oversold_positions(session, sku="Y") == []
    assert (short.node_id, short.usable, short.promised, short.owed) == ("A", 1, 5, 4)
    # What the node does not work on yet is short first: it can still go elsewhere.
    assert [(x.order_id, x.quantity, x.released) for x in short.orders] == [
        ("W-2", 3, False),
        ("W-1", 1, True),
    ]
    all_is_explained(engine)


def test_a_sale_of_units_nobody_believed_in_is_a_discrepancy(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 1})
    assert sell(engine, 3, 1) == Sold(taken=1, unexpected=2, owed=0)
    assert filled(engine, "A", "X") == {}
    assert listed(engine) == [("till_sale", "usable", 1, 3)]
    all_is_explained(engine)


def test_a_late_sale_that_a_count_has_seen_changes_nothing(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    count(engine, 3, 10)
    assert sell(engine, 2, 9, now=20) == Sold(taken=0, unexpected=0, owed=0)
    assert position(engine, "A", "X").usable == 3


def test_a_late_count_does_not_see_a_sale_twice(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    sell(engine, 2, 9, now=12)
    count(engine, 3, 10, now=15)
    assert position(engine, "A", "X").usable == 3
    assert listed(engine) == []
    count(engine, 5, 8, now=16, key="older")
    assert position(engine, "A", "X").usable == 3


def test_a_late_count_also_misses_units_that_were_sold_and_nobody_believed_in(
    engine: Engine,
) -> None:
    # given: three sold where one was believed, and one more where none was
    a_world(engine, {("A", "X"): 1})
    sell(engine, 3, 2)
    sell(engine, 1, 3, key="till-2")
    # when: five were there before
    count(engine, 5, 1, now=4)
    # then
    assert position(engine, "A", "X").usable == 1
    count(engine, 7, 2.5, now=5, key="between")
    assert position(engine, "A", "X").usable == 6
    count(engine, 9, 3, now=6, key="after")
    assert position(engine, "A", "X").usable == 9
    all_is_explained(engine)


def test_a_late_count_also_misses_a_unit_that_left_though_a_count_had_not_found_it(
    engine: Engine,
) -> None:
    # given: a released unit that the node hands over, though a count says there is none
    a_world(engine, {("A", "X"): 2})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    count(engine, 1, 1)
    with transaction(engine) as session:
        reservations.consume(session, "W-1-1", [("1", 2)], key="handover", now=at(5))
    assert filled(engine, "A", "X") == {}
    # when: both were there before
    count(engine, 2, 3, now=6, key="late")
    # then
    assert filled(engine, "A", "X") == {}
    count(engine, 4, 5, now=7, key="after")
    assert filled(engine, "A", "X") == {"usable": 4}
    all_is_explained(engine)


def test_a_late_adjustment_or_arrival_that_a_count_has_seen_changes_nothing(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5})
    with transaction(engine) as session:
        expect_supply(
            session, [Expected(supply_id="PO", node_id="A", sku="X", quantity=9, due=at(99))]
        )
    count(engine, 8, 10)
    with transaction(engine) as session:
        inventory.adjust(
            session, "A", "X", "usable", -9, key="a", now=at(20), reason="lost", occurred_at=at(9)
        )
        inventory.receive(
            session, "A", "X", 4, key="r", now=at(20), supply_id="PO", occurred_at=at(9)
        )
    assert position(engine, "A", "X").usable == 8
    with reading(engine) as session:
        assert [row.quantity for row in supply_of(session, ["X"])] == [5]


def test_any_order_of_the_same_reports_ends_in_the_same_stock(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10, ("B", "X"): 10})
    # One sold at 1, three found at 4, seven counted at 5, one sold at 6.
    for node, reports in (("A", "sale1 found count sale6"), ("B", "sale6 count found sale1")):
        for number, report in enumerate(reports.split()):
            with transaction(engine) as session:
                now, key = at(20 + number), f"{node}/{report}"
                if report == "count":
                    inventory.set_stock(session, [a_count(node, "X", 7, 5)], key=key, now=now)
                elif report == "found":
                    inventory.adjust(
                        session,
                        node,
                        "X",
                        "usable",
                        3,
                        key=key,
                        now=now,
                        reason="found",
                        occurred_at=at(4),
                    )
                else:
                    sale = TillSale(
                        node_id=node, sku="X", quantity=1, sold_at=at(float(report[-1]))
                    )
                    feeds.sell_at_till(session, sale, key=key, now=now)
    assert position(engine, "A", "X").usable == 6
    assert position(engine, "B", "X").usable == 6
    all_is_explained(engine)


def test_a_first_count_is_news_a_later_one_that_differs_a_discrepancy(engine: Engine) -> None:
    a_world(engine)
    count(engine, 5, 1, key="first")
    assert listed(engine) == []
    count(engine, 5, 2, key="agrees")
    assert listed(engine) == []
    count(engine, 3, 3, key="differs")
    with transaction(engine) as session:
        rows = [a_count("A", "X", 1, 4, "damaged"), a_count("A", "X", 3, 4)]
        inventory.set_stock(session, rows, key="broken", now=at(4))
    assert listed(engine) == [("count", "usable", 5, 3)]
    with reading(engine) as session:
        assert feeds.discrepancies(session, node_id="B") == []
        assert feeds.discrepancies(session, sku="Y") == []
        (found,) = feeds.discrepancies(session, sku="X", node_id="A")
        assert feeds.discrepancies(session, before=found.id) == []
    assert (found.key, found.occurred_at, found.noted_at) == ("differs", at(3), at(3))


def test_a_cycle_count_settles_suspect_units_and_leaves_out_what_is_picked(
    engine: Engine,
) -> None:
    net = next(node for node in NODES if node.node_id == "NET")
    assert net.decrement is Decrement.AT_SHIP
    a_world(engine, {("NET", "X"): 10})
    plan = released_order(engine, "W-1", ("NET", "1", "X", 4))
    with transaction(engine) as session:
        view = a_view("W-1", 2, {"1": {"picked": 3}})
        fulfillments.record_fulfillment(session, view, at(1))
        reservations.free_released(session, "W-1-1", [("1", 1, "suspect")], key="short", now=at(1))
    assert plan.plan_version == 1
    assert filled(engine, "NET", "X") == {"usable": 9, "suspect": 1, "released": 3}
    # On the shelf lie six; three more are picked and stand at the door.
    count(engine, 6, 2, node="NET", by_people=True)
    assert filled(engine, "NET", "X") == {"usable": 9, "released": 3}
    assert listed(engine) == []
    count(engine, 5, 3, node="NET", by_people=True, key="again")
    assert listed(engine) == [("cycle_count", "usable", 9, 8)]
    all_is_explained(engine)


def test_the_newest_word_on_supply_stands_and_what_arrived_since_is_not_expected(
    engine: Engine,
) -> None:
    a_world(engine)

    def expect(quantity: int, as_of: float | None, **changes: object) -> None:
        facts: dict[str, object] = {
            "supply_id": "PO",
            "node_id": "A",
            "sku": "X",
            "quantity": quantity,
            "due": at(500),
            "as_of": None if as_of is None else at(as_of),
        }
        with transaction(engine) as session:
            expect_supply(session, [Expected.model_validate({**facts, **changes})])

    def open_units() -> list[int]:
        with reading(engine) as session:
            return [row.quantity for row in supply_of(session, ["X"])]

    expect(10, 5, supply_type="in_transit")
    expect(99, 4)
    assert open_units() == [10]
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 4, key="r", now=at(7), supply_id="PO")
    assert open_units() == [6]
    expect(10, 6)
    assert open_units() == [6]
    expect(0, 8)
    assert open_units() == []
    expect(3, None, condition="quarantine", supply_type=SupplyType.PLANNED)
    with reading(engine) as session:
        (row,) = supply_of(session, ["X"])
    assert (row.condition, row.supply_type) == ("quarantine", SupplyType.PLANNED)


def test_an_excluded_node_promises_nothing_and_grants_nothing_until_then(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5, ("B", "Y"): 5})
    with transaction(engine) as session:
        exclusions.exclude(session, "A", "X", until=at(10), reason="recall")
        exclusions.exclude(session, "B", None, until=None, reason="flood")
        reservations.add_backorder(
            session, "W-1", [("1", "X", 3)], demand_class="b", promise_at=None, key="b", now=NOW
        )
        assert inventory.receive(session, "A", "X", 1, key="in", now=at(5)) == ()
    with reading(engine) as session:
        assert inventory.availability(session, ["X", "Y"], at(9)) == {"X": {}, "Y": {}}
        assert inventory.availability(session, ["X"], at(10)) == {"X": {"A": 6}}
        assert [(x.node_id, x.sku) for x in exclusions.all_blocks(session, at(9))] == [
            ("A", "X"),
            ("B", None),
        ]
        assert [x.reason for x in exclusions.excluded(session, ["Y"], at(9))] == ["flood"]
    with transaction(engine) as session:
        (grant,) = inventory.receive(session, "A", "X", 1, key="in2", now=at(11))
        assert exclusions.lift(session, "B", None, at(11))
        assert not exclusions.lift(session, "B", None, at(11))
    assert grant.quantity == 3


def test_two_first_counts_at_once_leave_one_of_them_to_be_sent_again(engine: Engine) -> None:
    a_world(engine)
    start = threading.Barrier(2)
    outcomes: dict[int, str] = {}

    def feed(units: int) -> None:
        rows = [a_count(node, "X", units, units) for node in ("A", "B", "NARROW")]
        start.wait()
        try:
            with transaction(engine) as session:
                inventory.set_stock(session, rows, key=f"feed-{units}", now=at(9))
            outcomes[units] = "taken"
        except RetryableError:
            outcomes[units] = "again"

    threads = [threading.Thread(target=feed, args=(units,)) for units in (5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "taken" in outcomes.values()
    for units, outcome in outcomes.items():
        if outcome == "again":
            rows = [a_count(node, "X", units, units) for node in ("A", "B", "NARROW")]
            with transaction(engine) as session:
                inventory.set_stock(session, rows, key=f"feed-{units}", now=at(9))
    assert [position(engine, node, "X").usable for node in ("A", "B", "NARROW")] == [7, 7, 7]
    all_is_explained(engine)
