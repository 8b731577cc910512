"""Carts hold units for a while; an order takes its cart's hold over without a gap."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from domain.errors import ConflictError, ShortageError, UnknownReferenceError
from store import holds, inventory, reporting, reservations, timeline
from store.engine import reading, transaction
from store.holds import CartHold, HoldItem
from store.tables.stock import ExclusionRow
from tests.integration.store.builders import (
    NOW,
    a_plan,
    a_world,
    at,
    everything,
    filled,
    reserve,
)

Asked = tuple[str, str, int]
"""(node id, SKU, quantity) of one line."""


def hold(
    engine: Engine,
    hold_id: str,
    *asked: Asked,
    minutes: float = 15,
    now_minutes: float = 0,
    channel: str = "",
    partial: bool = False,
) -> CartHold:
    items = [
        HoldItem(line_id=str(number), node_id=node_id, sku=sku, quantity=quantity)
        for number, (node_id, sku, quantity) in enumerate(asked, start=1)
    ]
    with transaction(engine) as session:
        return holds.hold(
            session,
            hold_id,
            items,
            lasting=timedelta(minutes=minutes),
            now=at(now_minutes),
            channel=channel,
            partial=partial,
        )


def bind(engine: Engine, hold_id: str, order_id: str, minutes: float = 1) -> str:
    """Bind, and what the order's timeline says of it."""
    with transaction(engine) as session:
        holds.bind(session, hold_id, order_id, now=at(minutes))
        said = timeline.timeline(session, order_id)
    return said[-1].text if said else ""


def protect(engine: Engine, node_id: str, sku: str, channel: str, quantity: int) -> None:
    """Keep units for a channel, as the stock rules do."""
    with transaction(engine) as session:
        inventory.keep_back(
            session,
            node_id,
            sku,
            safety_stock=0,
            protected={channel: quantity},
            key=f"protect/{node_id}/{sku}/{channel}",
            now=NOW,
        )


def protected(engine: Engine, node_id: str, sku: str, channel: str) -> int:
    with reading(engine) as session:
        own = {"node_id": node_id, "sku": sku, "channel": channel}
        sql = (
            "SELECT quantity FROM protections WHERE node_id = :node_id AND sku = :sku"
            " AND channel = :channel"
        )
        return int(session.execute(text(sql), own).scalar_one())


def held(found: CartHold) -> list[tuple[str, int, int]]:
    return [(line.line_id, line.wanted, line.quantity) for line in found.lines]


def sound(engine: Engine) -> None:
    with reading(engine) as session:
        assert set(reporting.consistency(session).values()) == {0}


def test_a_hold_keeps_units_for_a_cart_all_or_none(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 1})
    got = hold(engine, "cart-1", ("A", "X", 2), ("A", "X", 1), ("B", "X", 1))
    assert held(got) == [("1", 2, 2), ("2", 1, 1), ("3", 1, 1)]
    assert got.expires_at == at(15)
    assert filled(engine, "A", "X") == {"usable": 5, "held": 3}
    before = everything(engine)
    with pytest.raises(ShortageError) as raised:
        hold(engine, "cart-2", ("A", "X", 2), ("B", "X", 1))
    assert raised.value.short == (("B", "X"),)
    assert everything(engine) == before
    sound(engine)


def test_a_partial_hold_gets_what_is_there_line_by_line(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    got = hold(engine, "cart-1", ("A", "X", 4), ("A", "X", 3), ("B", "X", 2), partial=True)
    assert held(got) == [("1", 4, 4), ("2", 3, 1), ("3", 2, 0)]
    assert [line.missing for line in got.lines] == [0, 2, 2]
    assert filled(engine, "A", "X") == {"usable": 5, "held": 5}
    before = everything(engine)
    with pytest.raises(ShortageError):
        hold(engine, "cart-2", ("A", "X", 1), partial=True)
    assert everything(engine) == before
    sound(engine)


def test_a_hold_of_endless_supply_takes_no_stock(engine: Engine) -> None:
    a_world(engine)
    got = hold(engine, "cart-1", ("A", "ENDLESS", 7))
    assert held(got) == [("1", 7, 7)]
    assert filled(engine, "A", "ENDLESS") == {}
    with transaction(engine) as session:
        holds.release(session, "cart-1", now=at(1))
    sound(engine)


def test_the_same_hold_again_changes_nothing_and_other_content_is_refused(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    first = hold(engine, "cart-1", ("A", "X", 2))
    before = everything(engine)
    assert hold(engine, "cart-1", ("A", "X", 2), now_minutes=3) == first
    for other in (("A", "X", 3), ("B", "X", 2)):
        with pytest.raises(ConflictError):
            hold(engine, "cart-1", other)
    with pytest.raises(ConflictError):
        hold(engine, "cart-1", ("A", "X", 2), channel="web")
    assert everything(engine) == before


def test_a_hold_ends_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    hold(engine, "cart-1", ("A", "X", 3))
    with transaction(engine) as session:
        holds.release(session, "cart-1", now=at(1))
    before = everything(engine)
    assert filled(engine, "A", "X") == {"usable": 5}
    with transaction(engine) as session:
        holds.release(session, "cart-1", now=at(2))
    with pytest.raises(UnknownReferenceError), transaction(engine) as session:
        holds.release(session, "cart-9", now=at(2))
    assert everything(engine) == before
    assert hold(engine, "cart-1", ("A", "X", 3)).ended == "released"


def test_holds_end_by_themselves_when_their_time_is_over(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    hold(engine, "cart-1", ("A", "X", 1), minutes=10)
    hold(engine, "cart-2", ("A", "X", 2), minutes=20)
    with transaction(engine) as session:
        assert holds.expire(session, now=at(9)) == 0
        assert holds.expire(session, now=at(10)) == 1
        assert holds.expire(session, now=at(10)) == 0
        assert holds.load(session, "cart-1").ended == "expired"
    assert filled(engine, "A", "X") == {"usable": 5, "held": 2}
    sound(engine)


def test_many_past_holds_end_in_batches(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    for number in range(5):
        hold(engine, f"cart-{number}", ("A", "X", 1), ("A", "X", 1), partial=True)
    with transaction(engine) as session:
        ended = [holds.expire(session, now=at(15), limit=2) for _ in range(4)]
    assert ended == [2, 2, 1, 0]
    assert filled(engine, "A", "X") == {"usable": 9}
    sound(engine)


def test_a_hold_is_extended_while_it_lasts(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    hold(engine, "cart-1", ("A", "X", 1), minutes=10)
    with transaction(engine) as session:
        longer = holds.extend(session, "cart-1", lasting=timedelta(minutes=20), now=at(9))
    assert longer.expires_at == at(29)
    before = everything(engine)
    with pytest.raises(ConflictError), transaction(engine) as session:
        holds.extend(session, "cart-1", lasting=timedelta(minutes=20), now=at(29))
    with pytest.raises(UnknownReferenceError), transaction(engine) as session:
        holds.extend(session, "cart-9", lasting=timedelta(minutes=20), now=at(1))
    assert everything(engine) == before


def test_a_past_hold_costs_nobody_an_order_or_a_cart(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5})
    hold(engine, "cart-1", ("A", "X", 4), ("B", "X", 1), minutes=-1)
    hold(engine, "cart-2", ("A", "X", 1), minutes=-1)
    reserve(engine, "W-1", a_plan(("A", "1", "X", 3)))
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 3}
    assert filled(engine, "B", "X") == {"usable": 5, "held": 1}
    hold(engine, "cart-3", ("B", "X", 5))
    assert filled(engine, "B", "X") == {"usable": 5, "held": 5}
    with transaction(engine) as session:
        assert holds.expire(session, now=NOW) == 2
    assert filled(engine, "B", "X") == {"usable": 5, "held": 5}
    sound(engine)


def test_an_order_takes_over_its_carts_hold_without_a_gap(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 4})
    hold(engine, "cart-1", ("A", "X", 3))
    said = bind(engine, "cart-1", "W-1")
    assert said == "The cart's reservation is kept for this order"
    with transaction(engine) as session:
        assert holds.expire(session, now=at(10_000)) == 0
        assert holds.own_units(session, "W-1") == {"X": {"A": 3}}
        assert holds.own_units(session, "W-2") == {}
    reserve(engine, "W-1", a_plan(("A", "1", "X", 4)))
    assert filled(engine, "A", "X") == {"usable": 4, "reserved": 4}
    with reading(engine) as session:
        assert holds.load(session, "cart-1").ended == "used"
        assert holds.own_units(session, "W-1") == {}
    sound(engine)


def test_held_units_the_plan_does_not_use_are_free_in_the_same_moment(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 4, ("B", "X"): 4})
    hold(engine, "cart-1", ("A", "X", 3), ("B", "X", 1))
    bind(engine, "cart-1", "W-1")
    reserve(engine, "W-1", a_plan(("A", "1", "X", 1), ("B", "2", "X", 4)))
    assert filled(engine, "A", "X") == {"usable": 4, "reserved": 1}
    assert filled(engine, "B", "X") == {"usable": 4, "reserved": 4}
    sound(engine)


def test_an_order_that_is_refused_keeps_its_carts_hold(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 4})
    hold(engine, "cart-1", ("A", "X", 3))
    bind(engine, "cart-1", "W-1")
    before = everything(engine)
    with pytest.raises(ShortageError):
        reserve(engine, "W-1", a_plan(("A", "1", "X", 5)))
    assert everything(engine) == before


def test_a_second_order_with_the_same_reservation_gets_nothing_of_it(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 3))
    bind(engine, "cart-1", "W-1")
    said = bind(engine, "cart-1", "W-2")
    assert said == ("The cart's reservation belongs to another order: the order goes on without it")
    with pytest.raises(ShortageError):
        reserve(engine, "W-2", a_plan(("A", "1", "X", 1)))
    assert reserve(engine, "W-1", a_plan(("A", "1", "X", 3))) == "W-1-r1"
    sound(engine)


@pytest.mark.parametrize(
    ("hold_id", "minutes", "why"),
    [
        ("cart-1", 15, "has expired"),
        ("cart-2", 1, "was given back"),
        ("cart-9", 1, "is not known"),
    ],
)
def test_an_order_goes_on_without_a_hold_that_is_over_or_unknown(
    engine: Engine, hold_id: str, minutes: float, why: str
) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    hold(engine, "cart-2", ("A", "X", 1))
    with transaction(engine) as session:
        holds.release(session, "cart-2", now=NOW)
    said = bind(engine, hold_id, "W-1", minutes)
    assert said == f"The cart's reservation {why}: the order goes on without it"
    with reading(engine) as session:
        assert holds.own_units(session, "W-1") == {}


def test_binding_again_to_the_same_order_changes_nothing(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    bind(engine, "cart-1", "W-1")
    before = everything(engine)
    bind(engine, "cart-1", "W-1", minutes=20)
    assert everything(engine) == before


def test_a_hold_that_an_order_has_cannot_be_given_back_or_extended(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    bind(engine, "cart-1", "W-1")
    before = everything(engine)
    with pytest.raises(ConflictError), transaction(engine) as session:
        holds.release(session, "cart-1", now=at(2))
    with pytest.raises(ConflictError), transaction(engine) as session:
        holds.extend(session, "cart-1", lasting=timedelta(minutes=5), now=at(2))
    assert everything(engine) == before


def test_a_hold_that_an_order_has_used_cannot_be_given_back_or_extended(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    bind(engine, "cart-1", "W-1")
    reserve(engine, "W-1", a_plan(("A", "1", "X", 2)))
    before = everything(engine)
    with pytest.raises(ConflictError, match="'W-1': cancel that"), transaction(engine) as session:
        holds.release(session, "cart-1", now=at(2))
    with pytest.raises(ConflictError, match="'W-1': cancel that"), transaction(engine) as session:
        holds.extend(session, "cart-1", lasting=timedelta(minutes=5), now=at(2))
    assert everything(engine) == before


def test_a_hold_that_its_order_gave_back_is_given_back_again_without_a_change(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    bind(engine, "cart-1", "W-1")
    with transaction(engine) as session:
        holds.free_bound(session, "W-1", now=at(2))
    before = everything(engine)
    with transaction(engine) as session:
        holds.release(session, "cart-1", now=at(3))
    assert everything(engine) == before


def test_a_hold_past_its_time_is_seen_as_expired_whether_it_was_ended_or_not(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    with reading(engine) as session:
        held = holds.load(session, "cart-1")
    assert held.expires_at is not None
    assert held.as_of(held.expires_at - timedelta(seconds=1)) == held
    past = held.as_of(held.expires_at)
    with transaction(engine) as session:
        assert holds.expire(session, now=held.expires_at) == 1
        ended = holds.load(session, "cart-1")
    assert past == ended == ended.as_of(held.expires_at)
    assert (past.ended, past.lines) == ("expired", ())


def test_a_hold_named_by_a_change_of_an_order_can_be_given_back_once_it_is_over(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    with transaction(engine) as session:
        holds.bind(session, "cart-1", "W-1", now=at(1), expires=True)
    with pytest.raises(ConflictError), transaction(engine) as session:
        holds.release(session, "cart-1", now=at(2))
    with transaction(engine) as session:
        holds.release(session, "cart-1", now=at(10_000))
    assert filled(engine, "A", "X") == {"usable": 3}


def test_a_hold_named_by_a_change_of_an_order_still_ends_when_its_time_is_over(
    engine: Engine,
) -> None:
    # given
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    with transaction(engine) as session:
        holds.bind(session, "cart-1", "W-1", now=at(1), expires=True)
    before = everything(engine)
    # when: it is over, and the order itself wants more than there is
    with pytest.raises(ShortageError), transaction(engine) as session:
        reservations.reserve_plan(
            session, "W-1", a_plan(("A", "1", "X", 4)), key="k", now=at(10_000)
        )
    assert everything(engine) == before
    with transaction(engine) as session:
        assert holds.expire(session, now=at(10_000)) == 1
    # then
    assert filled(engine, "A", "X") == {"usable": 3}
    sound(engine)


def test_an_order_that_ends_unreserved_gives_its_hold_back(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    hold(engine, "cart-1", ("A", "X", 2))
    bind(engine, "cart-1", "W-1")
    with transaction(engine) as session:
        holds.free_bound(session, "W-2", now=at(2))
        holds.free_bound(session, "W-1", now=at(2))
    assert filled(engine, "A", "X") == {"usable": 3}
    before = everything(engine)
    with transaction(engine) as session:
        holds.free_bound(session, "W-1", now=at(3))
    assert everything(engine) == before
    sound(engine)


def test_a_channel_takes_what_all_may_have_first_and_then_what_is_kept_for_it(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 10})
    protect(engine, "A", "X", "store", 4)
    before = everything(engine)
    with pytest.raises(ShortageError):
        hold(engine, "cart-web", ("A", "X", 7), channel="web")
    assert everything(engine) == before
    hold(engine, "cart-1", ("A", "X", 5), channel="store")
    assert protected(engine, "A", "X", "store") == 4
    with transaction(engine) as session:
        reservations.reserve_plan(
            session, "W-1", a_plan(("A", "1", "X", 3)), key="k", now=NOW, channel="store"
        )
    assert protected(engine, "A", "X", "store") == 2
    assert filled(engine, "A", "X") == {
        "usable": 10,
        "held": 5,
        "reserved": 3,
        "protected": 2,
    }
    with pytest.raises(ShortageError), transaction(engine) as session:
        reservations.reserve_plan(
            session, "W-2", a_plan(("A", "1", "X", 3)), key="l", now=NOW, channel="store"
        )
    with pytest.raises(ShortageError):
        reserve(engine, "W-3", a_plan(("A", "1", "X", 1)))
    sound(engine)


def test_what_is_given_back_is_open_to_all(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 4})
    protect(engine, "A", "X", "store", 4)
    hold(engine, "cart-1", ("A", "X", 3), channel="store")
    with transaction(engine) as session:
        holds.release(session, "cart-1", now=NOW)
    assert filled(engine, "A", "X") == {"usable": 4, "protected": 1}
    assert protected(engine, "A", "X", "store") == 1
    sound(engine)


@pytest.mark.parametrize("sku", ["X", ""])
@pytest.mark.parametrize(("until", "is_refused"), [(None, True), (5, True), (0, False)])
def test_units_of_an_excluded_node_are_neither_held_nor_reserved(
    engine: Engine, sku: str, until: float | None, is_refused: bool
) -> None:
    a_world(engine, {("A", "X"): 4})
    exclude(engine, "A", sku, until)
    if not is_refused:
        hold(engine, "cart-1", ("A", "X", 1))
        reserve(engine, "W-1", a_plan(("A", "1", "X", 1)))
        return
    before = everything(engine)
    with pytest.raises(ShortageError) as raised:
        reserve(engine, "W-1", a_plan(("A", "1", "X", 1)))
    assert raised.value.short == (("A", "X"),)
    with pytest.raises(ShortageError):
        hold(engine, "cart-1", ("A", "X", 1))
    assert everything(engine) == before


def exclude(engine: Engine, node_id: str, sku: str, until: float | None) -> None:
    row = {
        "sku": sku,
        "node_id": node_id,
        "until": None if until is None else at(until),
        "reason": "flood",
    }
    with transaction(engine) as session:
        session.add(ExclusionRow.model_validate(row))
