import pytest
from sqlalchemy import Engine

from domain.errors import ConflictError, ShortageError, UnknownReferenceError
from domain.plans import Plan
from domain.routing.decision import Exclusion
from store import holds, inventory, reservations
from store.engine import reading, transaction
from tests.integration.store.builders import (
    DATE,
    NOW,
    a_count,
    a_plan,
    a_world,
    at,
    everything,
    filled,
    fulfillments_of_plan,
    release,
    released_order,
    reserve,
    used_capacity,
)


def used(engine: Engine, node_id: str, date: str = DATE) -> tuple[int, int]:
    with reading(engine) as session:
        return used_capacity(session, node_id, date)


def state(engine: Engine, order_id: str, version: int = 1) -> str:
    with reading(engine) as session:
        return reservations.plan_state(session, order_id, version)


def free(engine: Engine, order_id: str, *units: reservations.Units, key: str = "free") -> None:
    with transaction(engine) as session:
        reservations.free_reserved(session, order_id, units, key=key, now=NOW)


def sound(engine: Engine) -> bool:
    with reading(engine) as session:
        return inventory.unexplained(session) == [] and inventory.oversold(session) == []


def test_a_plan_takes_its_stock_and_capacity_at_every_node(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("A", "Y"): 5, ("B", "X"): 5})
    plan = a_plan(("A", "1", "X", 2), ("A", "2", "Y", 1), ("B", "3", "X", 4))
    assert reserve(engine, "W-1", plan) == "W-1-r1"
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 2}
    assert filled(engine, "A", "Y") == {"usable": 5, "reserved": 1}
    assert filled(engine, "B", "X") == {"usable": 5, "reserved": 4}
    assert used(engine, "A") == (3, 1)
    assert used(engine, "B") == (4, 1)
    with reading(engine) as session:
        assert reservations.load_plan(session, "W-1", 1) == plan
    assert state(engine, "W-1") == "reserved"


def test_a_plan_is_taken_whole_or_not_at_all_and_every_refusal_is_named(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 1, ("NARROW", "X"): 50})
    plan = a_plan(
        ("A", "1", "X", 2), ("B", "2", "X", 2), ("B", "3", "Y", 1), ("NARROW", "4", "X", 6)
    )
    before = everything(engine)
    with pytest.raises(ShortageError) as raised:
        reserve(engine, "W-1", plan)
    assert raised.value.short == (("B", "X"), ("B", "Y"), ("NARROW", ""))
    assert str(raised.value) == "not enough: X at B, Y at B, capacity of NARROW"
    assert everything(engine) == before


def test_two_lines_of_one_sku_at_one_node_are_taken_together(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    before = everything(engine)
    with pytest.raises(ShortageError):
        reserve(engine, "W-1", a_plan(("A", "1", "X", 3), ("A", "2", "X", 3)))
    assert everything(engine) == before
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3), ("A", "2", "X", 2)))
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 5}


def test_a_node_without_a_row_in_the_network_has_no_capacity(engine: Engine) -> None:
    a_world(engine)
    with pytest.raises(ShortageError) as raised:
        reserve(engine, "W-1", a_plan(("NOWHERE", "1", "ENDLESS", 1)))
    assert raised.value.short == (("NOWHERE", ""),)


def test_capacity_is_limited_in_units_and_in_orders(engine: Engine) -> None:
    a_world(engine, {("NARROW", "X"): 50})
    reserve(engine, "W-1", a_plan(("NARROW", "1", "X", 3)))
    with pytest.raises(ShortageError):
        reserve(engine, "W-2", a_plan(("NARROW", "1", "X", 3)))
    reserve(engine, "W-2", a_plan(("NARROW", "1", "X", 1)))
    assert used(engine, "NARROW") == (4, 2)
    with pytest.raises(ShortageError):
        reserve(engine, "W-3", a_plan(("NARROW", "1", "X", 1)))
    reserve(engine, "W-3", a_plan(("NARROW", "1", "X", 5), work_date="2026-03-03"))
    assert used(engine, "NARROW", "2026-03-03") == (5, 1)


def test_reserving_again_under_the_same_key_answers_the_same_and_takes_nothing(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5})
    first = reserve(engine, "W-1", a_plan(("A", "1", "X", 3)), key="k")
    before = everything(engine)
    assert reserve(engine, "W-1", a_plan(("A", "1", "X", 3)), key="k") == first
    assert everything(engine) == before


def test_a_plan_version_is_reserved_once_even_under_another_key(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3)), key="k")
    before = everything(engine)
    with pytest.raises(ConflictError):
        reserve(engine, "W-1", a_plan(("A", "1", "X", 3)), key="other")
    assert everything(engine) == before


def test_a_plan_kept_without_stock_can_be_reserved_later(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    plan = a_plan(("A", "1", "X", 3))
    with transaction(engine) as session:
        reservations.save_plan(session, "W-1", plan, now=NOW)
    assert state(engine, "W-1") == "planned"
    assert filled(engine, "A", "X") == {"usable": 9}
    assert not release(engine, "W-1", plan)
    reserve(engine, "W-1", plan)
    assert state(engine, "W-1") == "reserved"
    with pytest.raises(ConflictError), transaction(engine) as session:
        reservations.save_plan(session, "W-1", plan, now=NOW)


def test_products_without_counted_stock_take_capacity_only(engine: Engine) -> None:
    a_world(engine)
    released_order(engine, "W-1", ("A", "1", "ENDLESS", 4))
    assert filled(engine, "A", "ENDLESS") == {}
    assert used(engine, "A") == (4, 1)
    with transaction(engine) as session:
        gone = reservations.consume(session, "W-1-1", [("1", 3)], key="gone", now=NOW)
        back = reservations.free_released(
            session, "W-1-1", [("1", 1, "shelf")], key="back", now=NOW
        )
    assert (gone, back) == ([("1", 3)], [("1", 1)])
    assert filled(engine, "A", "ENDLESS") == {}
    assert used(engine, "A") == (3, 1)


def test_freed_units_and_capacity_can_be_used_again(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3), ("B", "2", "X", 2)))
    free(engine, "W-1", (1, "A", "1", 1), key="one")
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 2}
    assert used(engine, "A") == (2, 1)
    assert state(engine, "W-1") == "reserved"
    free(engine, "W-1", ("W-1-r1", "A", "1", 2), (1, "B", "2", 2), key="rest")
    assert filled(engine, "A", "X") == {"usable": 5}
    assert used(engine, "A") == used(engine, "B") == (0, 0)
    assert state(engine, "W-1") == "freed"
    reserve(engine, "W-1", a_plan(("A", "1", "X", 5), version=2))


def free_for_next_plan(engine: Engine, order_id: str, *units: reservations.Units) -> None:
    with transaction(engine) as session:
        reservations.free_reserved(
            session, order_id, units, key=f"{order_id}/free/1", now=NOW, kept_until=at(15)
        )


def test_units_freed_for_an_orders_next_plan_are_nobody_elses_until_it_is_taken(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3), ("A", "2", "X", 2)))
    # when: twice, as an attempt whose answer was lost
    for _ in range(2):
        free_for_next_plan(engine, "W-1", (1, "A", "1", 3), (1, "A", "2", 2))
    # then
    assert filled(engine, "A", "X") == {"usable": 5, "held": 5}
    assert used(engine, "A") == (0, 0)
    assert state(engine, "W-1") == "freed"
    with reading(engine) as session:
        assert holds.own_units(session, "W-1") == {"X": {"A": 5}}
    before = everything(engine)
    with pytest.raises(ShortageError):
        reserve(engine, "W-2", a_plan(("A", "1", "X", 1)))
    assert everything(engine) == before
    # when: the next plan needs fewer of them
    reserve(engine, "W-1", a_plan(("A", "1", "X", 2), ("B", "2", "X", 1), version=2))
    # then
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 2}
    assert filled(engine, "B", "X") == {"usable": 5, "reserved": 1}
    assert reserve(engine, "W-2", a_plan(("A", "1", "X", 3))) == "W-2-r1"
    assert sound(engine)


def test_units_kept_for_a_next_plan_that_never_comes_are_sellable_after_a_while(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 5)))
    free_for_next_plan(engine, "W-1", (1, "A", "1", 2))
    assert filled(engine, "A", "X") == {"usable": 5, "held": 2, "reserved": 3}
    # when
    with transaction(engine) as session:
        assert holds.expire(session, now=at(14)) == 0
        assert holds.expire(session, now=at(15)) == 1
    # then
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 3}
    assert sound(engine)


@pytest.mark.parametrize(
    ("units", "error"),
    [
        ([(1, "A", "1", 2), (1, "B", "2", 3)], ConflictError),
        ([(1, "A", "1", 2), (1, "B", "9", 1)], UnknownReferenceError),
        ([("W-2-r1", "A", "1", 1)], UnknownReferenceError),
        ([(1, "A", "1", 0)], ValueError),
        ([(1, "A", "1", -1)], ValueError),
    ],
)
def test_freeing_what_is_not_reserved_is_refused_and_changes_nothing(
    engine: Engine, units: list[reservations.Units], error: type[Exception]
) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5})
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3), ("B", "2", "X", 2)))
    reserve(engine, "W-2", a_plan(("A", "1", "X", 1)))
    before = everything(engine)
    with pytest.raises(error):
        free(engine, "W-1", *units)
    assert everything(engine) == before


def test_a_new_plan_uses_the_units_of_the_one_it_replaces(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("NARROW", "X"): 5})
    old = reserve(engine, "W-1", a_plan(("A", "1", "X", 5), ("NARROW", "2", "X", 5)))
    new = a_plan(("A", "1", "X", 4), ("A", "2", "X", 1), ("NARROW", "3", "X", 5), version=2)
    with transaction(engine) as session:
        reservations.reserve_plan(session, "W-1", new, key="k", now=NOW, replaces=[old])
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 5}
    assert used(engine, "NARROW") == (5, 1)
    assert (state(engine, "W-1", 1), state(engine, "W-1", 2)) == ("freed", "reserved")
    assert sound(engine)


def test_a_new_plan_that_is_refused_leaves_the_old_one_as_it_was(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 1})
    old = reserve(engine, "W-1", a_plan(("A", "1", "X", 5)))
    before = everything(engine)
    new = a_plan(("B", "1", "X", 5), version=2)
    with pytest.raises(ShortageError), transaction(engine) as session:
        reservations.reserve_plan(session, "W-1", new, key="k", now=NOW, replaces=[old])
    assert everything(engine) == before


def test_a_grant_becomes_a_plan_without_its_units_being_sellable_in_between(
    engine: Engine,
) -> None:
    a_world(engine)
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-1", [("1", "X", 2)], demand_class="", promise_at=None, key="b", now=NOW
        )
        (grant,) = inventory.receive(session, "A", "X", 2, key="came", now=NOW)
    with transaction(engine) as session:
        reservations.reserve_plan(
            session,
            "W-1",
            a_plan(("A", "1", "X", 2)),
            key="k",
            now=NOW,
            replaces=[grant.reservation_id],
        )
        assert reservations.take_grant(session, "W-1", grant.reservation_id) == []
    assert filled(engine, "A", "X") == {"usable": 2, "reserved": 2}
    assert used(engine, "A") == (2, 1)
    assert sound(engine)


def test_release_moves_the_units_and_makes_the_fulfillments(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "Y"): 5})
    plan = a_plan(("A", "1", "X", 2), ("B", "2", "Y", 1))
    reserve(engine, "W-1", plan)
    assert release(engine, "W-1", plan)
    assert filled(engine, "A", "X") == {"usable": 5, "released": 2}
    assert filled(engine, "B", "Y") == {"usable": 5, "released": 1}
    assert state(engine, "W-1") == "released"
    before = everything(engine)
    assert release(engine, "W-1", plan)
    assert everything(engine) == before


def test_a_plan_may_be_released_in_parts(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "Y"): 5})
    plan = a_plan(("A", "1", "X", 2), ("B", "2", "Y", 1))
    reserve(engine, "W-1", plan)
    parts = fulfillments_of_plan("W-1", plan)
    for number, part in enumerate(parts):
        assert state(engine, "W-1") == "reserved"
        with transaction(engine) as session:
            assert reservations.claim_release(session, "W-1", 1, [part], key=f"{number}", now=NOW)
    assert state(engine, "W-1") == "released"


@pytest.mark.parametrize("spoiled", ["freed", "replanned", "one unit freed", "unknown"])
def test_a_plan_that_is_not_reserved_as_it_was_is_not_released_and_nothing_changes(
    engine: Engine, spoiled: str
) -> None:
    a_world(engine, {("A", "X"): 5})
    plan = a_plan(("A", "1", "X", 2))
    old = reserve(engine, "W-1", plan)
    if spoiled == "freed":
        free(engine, "W-1", (1, "A", "1", 2))
    elif spoiled == "one unit freed":
        free(engine, "W-1", (1, "A", "1", 1))
    elif spoiled == "replanned":
        with transaction(engine) as session:
            new = a_plan(("A", "1", "X", 2), version=2)
            reservations.reserve_plan(session, "W-1", new, key="k", now=NOW, replaces=[old])
    else:
        plan = a_plan(("A", "1", "X", 2), version=7)
    before = everything(engine)
    assert not release(engine, "W-1", plan)
    assert everything(engine) == before


def test_a_fulfillment_is_made_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    plan = a_plan(("A", "1", "X", 2), version=2)
    reserve(engine, "W-1", plan)
    before = everything(engine)
    with pytest.raises(ConflictError, match="'W-1-1' exists already"):
        release(engine, "W-1", plan)
    assert everything(engine) == before


@pytest.mark.parametrize(
    ("effect", "stock", "capacity_left"),
    [
        ("shelf", {"usable": 5, "released": 1}, (1, 1)),
        ("suspect", {"usable": 3, "suspect": 2, "released": 1}, (3, 1)),
        ("damaged", {"usable": 3, "damaged": 2, "released": 1}, (3, 1)),
    ],
)
def test_what_a_node_does_not_send_goes_where_its_reason_says(
    engine: Engine,
    effect: reservations.Effect,
    stock: dict[str, int],
    capacity_left: tuple[int, int],
) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 3))

    def give_back() -> list[tuple[str, int]]:
        with transaction(engine) as session:
            return reservations.free_released(
                session, "W-1-1", [("1", 2, effect)], key="k", now=NOW
            )

    assert give_back() == [("1", 2)]
    assert filled(engine, "A", "X") == stock
    assert used(engine, "A") == capacity_left
    before = everything(engine)
    assert give_back() == [("1", 2)]
    assert everything(engine) == before


def test_a_node_gets_its_order_back_with_the_last_unit(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("A", "Y"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 3), ("A", "2", "Y", 1))
    with transaction(engine) as session:
        facts: list[tuple[str, int, reservations.Effect]] = [
            ("1", 3, "shelf"),
            ("2", 1, "shelf"),
        ]
        reservations.free_released(session, "W-1-1", facts, key="k", now=NOW)
    assert used(engine, "A") == (0, 0)


def test_ship_groups_of_one_order_at_one_node_give_their_order_back_once(engine: Engine) -> None:
    # given: two parcels of one order are worked on at one node, on one day
    a_world(engine, {("A", "X"): 5})
    whole = a_plan(("A", "1", "X", 1), ("A", "2", "X", 1))
    [both] = whole.fulfillments
    parts = [both.model_copy(update={"ship_group": x.line_id, "lines": (x,)}) for x in both.lines]
    plan = whole.model_copy(update={"fulfillments": tuple(parts)})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 1)))
    reserve(engine, "W-1", plan)
    assert used(engine, "A") == (3, 2)
    assert release(engine, "W-1", plan)
    # when: the node sends neither; then: one order less with the last of them
    for number, left in ((1, (2, 2)), (2, (1, 1))):
        with transaction(engine) as session:
            reservations.free_released(
                session, f"W-1-{number}", [(str(number), 1, "shelf")], key=f"k{number}", now=NOW
            )
        assert used(engine, "A") == left
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 1}


def test_facts_beyond_what_is_released_change_nothing_more(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    with transaction(engine) as session:
        assert reservations.consume(
            session, "W-1-1", [("1", 2), ("1", 2), ("9", 1)], key="a", now=NOW
        ) == [("1", 3)]
        assert reservations.consume(session, "W-1-1", [("1", 1)], key="b", now=NOW) == []
        assert (
            reservations.free_released(session, "W-1-1", [("1", 1, "shelf")], key="c", now=NOW)
            == []
        )
        assert reservations.consume(session, "NONE", [("1", 1)], key="d", now=NOW) == []
    assert filled(engine, "A", "X") == {"usable": 6}
    assert sound(engine)


def test_handed_over_units_leave_stock_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    released_order(engine, "W-1", ("A", "1", "X", 3))

    def hand_over() -> list[tuple[str, int]]:
        with transaction(engine) as session:
            return reservations.consume(session, "W-1-1", [("1", 2)], key="k", now=NOW)

    assert hand_over() == [("1", 2)]
    before = everything(engine)
    assert hand_over() == [("1", 2)]
    assert everything(engine) == before
    assert filled(engine, "A", "X") == {"usable": 7, "released": 1}


def test_units_that_a_count_no_longer_found_can_still_be_handed_over(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 3), ("A", "2", "X", 2))
    with transaction(engine) as session:
        inventory.set_stock(session, [a_count("A", "X", 2, 1)], key="count", now=at(2))
        assert reservations.consume(session, "W-1-1", [("1", 3), ("2", 1)], key="k", now=at(3)) == [
            ("1", 3),
            ("2", 1),
        ]
        reservations.free_released(session, "W-1-1", [("2", 1, "damaged")], key="f", now=at(4))
    assert filled(engine, "A", "X") == {}
    assert sound(engine)


def test_a_dropped_backorder_waits_no_longer(engine: Engine) -> None:
    a_world(engine)
    with transaction(engine) as session:
        for number in (1, 2):
            reservations.add_backorder(
                session,
                "W-1",
                [("1", "X", 3), ("2", "Y", 1)],
                demand_class="",
                promise_at=None,
                key=f"add/{number}",
                now=NOW,
            )
        # The first key again adds nothing.
        reservations.add_backorder(
            session, "W-1", [("1", "X", 3)], demand_class="", promise_at=None, key="add/1", now=NOW
        )
        inventory.receive(session, "A", "X", 2, key="came", now=NOW)

    def drop() -> list[tuple[str, int]]:
        with transaction(engine) as session:
            return reservations.drop_backorder(
                session, "W-1", [("1", "X", 6), ("9", "X", 1)], key="drop", now=NOW
            )

    # Of 6 that waited 2 were granted: 4 could be dropped.
    assert drop() == [("1", 4)]
    before = everything(engine)
    assert drop() == [("1", 4)]
    assert everything(engine) == before
    with transaction(engine) as session:
        assert inventory.receive(session, "A", "X", 9, key="more", now=NOW) == ()
        (grant,) = inventory.receive(session, "A", "Y", 9, key="other", now=NOW)
    assert (grant.line_id, grant.quantity) == ("2", 2)


def test_a_node_cools_off_for_one_sku_or_for_all_until_its_time(engine: Engine) -> None:
    with transaction(engine) as session:
        reservations.cool_off(session, "A", "X", at(10), "rejected")
        reservations.cool_off(session, "A", "X", at(5), "shorter")
        reservations.cool_off(session, "B", None, at(20), "offline")
        reservations.cool_off(session, "B", "Y", at(20), "not asked for")
    with reading(engine) as session:
        assert reservations.cool_offs(session, ["X"], at(9)) == [
            Exclusion(node_id="A", sku="X", reason="rejected"),
            Exclusion(node_id="B", sku=None, reason="offline"),
        ]
        assert reservations.cool_offs(session, ["X"], at(10)) == [
            Exclusion(node_id="B", sku=None, reason="offline")
        ]
        assert reservations.cool_offs(session, ["X"], at(20)) == []


def test_a_plan_with_one_line_at_one_node_on_two_dates_is_refused(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    one, two = a_plan(("A", "1", "X", 1)), a_plan(("A", "1", "X", 1), work_date="2026-03-03")
    both = Plan(decision_id="D", plan_version=1, fulfillments=one.fulfillments + two.fulfillments)
    before = everything(engine)
    with pytest.raises(ConflictError, match="two work dates"):
        reserve(engine, "W-1", both)
    assert everything(engine) == before


def test_an_empty_plan_reserves_nothing_and_can_be_released(engine: Engine) -> None:
    a_world(engine)
    plan = a_plan()
    assert reserve(engine, "W-1", plan) == "W-1-r1"
    assert release(engine, "W-1", plan)
