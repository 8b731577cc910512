"""Facts that come late, and more units leaving than were believed to be there."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from store import feeds, fulfillments, inventory, reporting, reservations
from store.engine import reading, transaction
from tests.conftest import empty
from tests.integration.store.builders import a_count, a_world, at, filled, released_order
from tests.integration.store.test_feeds import count, listed
from tests.integration.store.test_fulfillments import a_view


def hand_over(
    engine: Engine, quantity: int, occurred: float | None, told: float, key: str = "gone"
) -> None:
    with transaction(engine) as session:
        reservations.consume(
            session,
            "W-1-1",
            [("1", quantity)],
            key=key,
            now=at(told),
            occurred_at=None if occurred is None else at(occurred),
        )


def all_is_explained(engine: Engine) -> None:
    with reading(engine) as session:
        assert inventory.unexplained(session) == []
        figures = reporting.consistency(session)
        figures.pop("oversold_units")
        assert set(figures.values()) == {0}


def test_a_late_count_does_not_find_units_again_that_were_set_aside_unbelieved(
    engine: Engine,
) -> None:
    # given: two released, of which a count believes in one; both are then reported broken
    a_world(engine, {("A", "X"): 2})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    count(engine, 1, 1)
    with transaction(engine) as session:
        facts: list[tuple[str, int, reservations.Effect]] = [("1", 2, "damaged")]
        reservations.free_released(session, "W-1-1", facts, key="broken", now=at(5))
    assert filled(engine, "A", "X") == {"damaged": 1}
    # when: a later count, that comes in last, says that both were there before
    count(engine, 2, 3, now=6, key="late")
    # then
    assert filled(engine, "A", "X") == {"damaged": 1}
    all_is_explained(engine)


def test_units_put_back_on_the_shelf_are_there_for_a_late_count(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    with transaction(engine) as session:
        facts: list[tuple[str, int, reservations.Effect]] = [("1", 1, "shelf"), ("1", 2, "damaged")]
        reservations.free_released(session, "W-1-1", facts, key="back", now=at(5))
    count(engine, 3, 3, now=6, key="late")
    assert filled(engine, "A", "X") == {"usable": 1, "damaged": 2}
    all_is_explained(engine)


def test_a_hand_over_told_after_a_count_that_had_seen_it_takes_nothing_off_again(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10})
    released_order(engine, "W-1", ("A", "1", "X", 4))
    count(engine, 9, 20)
    hand_over(engine, 1, occurred=10, told=30)
    assert filled(engine, "A", "X") == {"usable": 9, "released": 3}
    # The rest leaves after the count.
    hand_over(engine, 3, occurred=25, told=31, key="rest")
    assert filled(engine, "A", "X") == {"usable": 6}
    # A count of between, that comes in last, agrees.
    count(engine, 9, 22, now=40, key="between")
    assert filled(engine, "A", "X") == {"usable": 6}
    all_is_explained(engine)


def test_a_hand_over_that_does_not_say_when_is_one_of_the_moment_it_is_told(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10})
    released_order(engine, "W-1", ("A", "1", "X", 4))
    count(engine, 10, 20)
    hand_over(engine, 1, occurred=None, told=30)
    # Nor is one that claims a time to come later than that.
    hand_over(engine, 1, occurred=99, told=31, key="ahead")
    assert filled(engine, "A", "X") == {"usable": 8, "released": 2}
    count(engine, 8, 40, key="agrees")
    assert listed(engine) == []


@pytest.mark.parametrize("told_first", [True, False], ids=["in order", "late"])
def test_a_net_feed_means_the_same_whenever_the_hand_over_is_told(
    engine: Engine, told_first: bool
) -> None:
    # given: ten there, four released, one of those leaves at 10; the node says 6 at 20
    a_world(engine, {("NET", "X"): 10})
    released_order(engine, "W-1", ("NET", "1", "X", 4))
    if told_first:
        hand_over(engine, 1, occurred=10, told=11)
    count(engine, 6, 20, node="NET")
    if not told_first:
        hand_over(engine, 1, occurred=10, told=30)
    # then
    assert filled(engine, "NET", "X") == {"usable": 9, "released": 3}
    all_is_explained(engine)


@pytest.mark.parametrize("told_first", [True, False], ids=["in order", "late"])
@pytest.mark.parametrize(("node", "by_people"), [("ATPICK", False), ("A", True)])
def test_a_count_without_what_is_picked_means_the_same_whenever_the_hand_over_is_told(
    engine: Engine, node: str, by_people: bool, told_first: bool
) -> None:
    # given: ten there; three of four are picked at 5, two of those leave at 10
    a_world(engine, {(node, "X"): 10})
    released_order(engine, "W-1", (node, "1", "X", 4))
    with transaction(engine) as session:
        view = a_view("W-1", 1, {"1": {"picked": 3}})
        fulfillments.record_fulfillment(session, view, at(5))
    if told_first:
        hand_over(engine, 2, occurred=10, told=11)
    # when: seven are left on the shelf, one is picked and still there
    count(engine, 7, 20, node=node, by_people=by_people)
    if not told_first:
        hand_over(engine, 2, occurred=10, told=30)
    # then
    assert filled(engine, node, "X") == {"usable": 8, "released": 2}
    all_is_explained(engine)


def test_units_that_a_late_hand_over_sets_free_go_to_orders_that_wait(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    released_order(engine, "W-1", ("A", "1", "X", 3))
    count(engine, 1, 20)
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-2", [("1", "X", 1)], demand_class="", promise_at=None, key="b", now=at(21)
        )
    # Three left before the one that was counted: it is nobody's.
    hand_over(engine, 3, occurred=10, told=30)
    assert filled(engine, "A", "X") == {"usable": 1, "claimed": 1}
    all_is_explained(engine)


@dataclass
class Shelf:
    """What really lies on one shelf, and what was told of it."""

    usable: int
    minute: int = 1
    past: dict[int, int] = field(default_factory=dict)
    """Minute -> usable units then."""

    def move(self, units: int) -> int:
        """Units come or go; when."""
        self.past[self.minute] = self.usable
        self.minute += 2
        self.usable += units
        self.past[self.minute - 1] = self.usable
        return self.minute - 1


Happening = tuple[str, int]
happenings = st.lists(
    st.tuples(
        st.sampled_from(("wrong", "damaged", "suspect", "leaves", "sold", "shelf", "arrives")),
        st.integers(1, 4),
    ),
    min_size=3,
    max_size=12,
)


@given(sequence=happenings, back=st.integers(0, 12))
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_after_a_true_count_however_late_what_is_believed_is_what_is_there(
    engine: Engine, sequence: list[Happening], back: int
) -> None:
    """Wrong counts made doms believe in fewer units than left; the true one mends that exactly."""
    empty(engine)
    a_world(engine, {("A", "X"): 8})
    released_order(engine, "W-1", ("A", "1", "X", 8))
    shelf, left, last_wrong = Shelf(8), 8, 0
    for number, (what, wanted) in enumerate(sequence):
        going = min(wanted, shelf.usable)
        if what in {"leaves", "damaged", "suspect", "shelf"}:
            going = min(going, left)
            left -= going
        if going == 0:
            continue
        key = f"{number}/{what}"
        when = shelf.move({"arrives": going, "shelf": 0, "wrong": 0}.get(what, -going))
        with transaction(engine) as session:
            if what == "arrives":
                inventory.receive(session, "A", "X", going, key=key, now=at(when))
            elif what == "sold":
                sale = feeds.TillSale(node_id="A", sku="X", quantity=going, sold_at=at(when))
                feeds.sell_at_till(session, sale, key=key, now=at(when))
            elif what == "leaves":
                reservations.consume(session, "W-1-1", [("1", going)], key=key, now=at(when))
            elif what == "wrong":
                rows = [a_count("A", "X", max(0, shelf.usable - 2 * going), when)]
                inventory.set_stock(session, rows, key=key, now=at(when))
                last_wrong = when
            else:
                fact: tuple[str, int, reservations.Effect] = ("1", going, what)  # type: ignore[assignment]
                reservations.free_released(session, "W-1-1", [fact], key=key, now=at(when))
    times = [when for when in sorted(shelf.past) if when >= last_wrong] or [0]
    then = times[-1 - back % len(times)]
    true = shelf.past.get(then, 8)
    now = shelf.minute + 1
    with transaction(engine) as session:
        inventory.set_stock(session, [a_count("A", "X", true, then)], key="true", now=at(now))
    found = filled(engine, "A", "X")
    assert found.get("usable", 0) == shelf.usable
    all_is_explained(engine)
