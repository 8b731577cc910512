import threading
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from domain.errors import UnknownReferenceError
from domain.orders import Address, Order
from domain.plans import NODES_AT_WORK, OrderView, TimelineEntry
from domain.quantities import LineQuantities
from domain.stages import Attention, Choice, Hold, Stage
from store import (
    addresses,
    fulfillments,
    inbox,
    network,
    order_intake,
    order_pages,
    order_recording,
    orders,
    reporting,
    timeline,
)
from store.engine import reading, transaction
from store.order_intake import Acceptance, Outcome
from tests.integration.store.builders import (
    NOW,
    a_world,
    an_order,
    at,
    everything,
    released_order,
)
from tests.integration.store.test_fulfillments import a_view as a_fulfillment_view


def accept(engine: Engine, order: Order, minutes: float = 0) -> Acceptance:
    with transaction(engine) as session:
        return order_intake.accept_order(
            session,
            order,
            content_hash=order_intake.content_hash(order),
            entered_by="shop",
            now=at(minutes),
        )


def a_view(revision: int, order_id: str = "W-1", **changes: Any) -> OrderView:
    facts: dict[str, Any] = {
        "order_id": order_id,
        "revision": revision,
        "stage": Stage.RESERVED,
        "displayed": "reserved",
        "lines": {"1": LineQuantities(ordered=2, reserved=2)},
    }
    return OrderView(**{**facts, **changes})


def record(engine: Engine, view: OrderView, minutes: float = 0) -> bool:
    with transaction(engine) as session:
        return order_recording.record_order(session, view, at(minutes))


def page(engine: Engine, order_id: str = "W-1") -> order_pages.OrderPage:
    with reading(engine) as session:
        return order_pages.order_page(session, order_id)


def inbox_rows(engine: Engine) -> list[tuple[str, str, Any]]:
    """(kind, name, payload) of all rows in the order they are delivered."""
    rows = []
    with transaction(engine) as session:
        while found := inbox.claim(session, 10, at(10_000)):
            rows += [(row.kind, row.name, row.payload) for row in found]
            inbox.done(session, [row.id for row in found], NOW)
    return rows


def test_a_new_order_is_stored_and_its_start_waits_in_the_inbox(engine: Engine) -> None:
    order = an_order()
    assert accept(engine, order) == Acceptance(
        outcome=Outcome.NEW, order_id="W-1", version=1, workflow_id="order-W-1"
    )
    with reading(engine) as session:
        assert orders.load_order(session, "W-1") == order
        assert orders.entered_by(session, "W-1") == "shop"
    assert inbox_rows(engine) == [("start", "start", {"order_id": "W-1", "version": 1})]
    shown = page(engine)
    assert (shown.stage, shown.displayed, shown.total) == (Stage.RECEIVED, "received", "20.00")
    assert shown.lines[0].quantities == LineQuantities.of_new_line(2)


def test_the_same_content_again_is_the_same_order_and_changes_nothing(engine: Engine) -> None:
    accept(engine, an_order())
    before = everything(engine)
    again = accept(engine, an_order(), 5)
    renumbered = accept(engine, an_order(version=2), 6)
    assert (again.outcome, again.version) == (Outcome.SAME, 1)
    assert (renumbered.outcome, renumbered.version) == (Outcome.SAME, 1)
    assert everything(engine) == before


def test_a_later_version_is_an_amendment_that_the_workflow_is_told_of_once(engine: Engine) -> None:
    first, second = an_order(), an_order(lines=[("1", "X", 3)], version=2)
    accept(engine, first)
    result = accept(engine, second, 5)
    assert (result.outcome, result.version) == (Outcome.AMENDMENT, 2)
    before = everything(engine)
    assert accept(engine, second, 6).outcome is Outcome.SAME
    # The shop repeats its first document late: that is no news either.
    late = accept(engine, first, 7)
    assert (late.outcome, late.version) == (Outcome.SAME, 2)
    assert everything(engine) == before
    with reading(engine) as session:
        assert orders.load_order(session, "W-1") == second
        assert orders.load_order(session, "W-1", 1) == first
    assert page(engine).total == "30.00"
    assert inbox_rows(engine) == [
        ("start", "start", {"order_id": "W-1", "version": 1}),
        ("signal", "amend", {"request_id": "amend-2", "version": 2}),
    ]


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (an_order(lines=[("1", "X", 9)], version=3), "the stored version is 3"),
        (an_order(lines=[("1", "X", 9)], version=2), "send a change as version 4"),
        (an_order("W-2", external_id="ext-W-1"), "sent external_id 'ext-W-1' before as order"),
        (an_order(external_id="ext-other"), "belongs to external_id 'ext-W-1' of source 'shop'"),
        (an_order(source="till"), "belongs to external_id 'ext-W-1' of source 'shop'"),
    ],
)
def test_a_contradicting_document_is_a_conflict_with_its_reason_and_changes_nothing(
    engine: Engine, order: Order, reason: str
) -> None:
    accept(engine, an_order())
    accept(engine, an_order(lines=[("1", "X", 3)], version=3))
    before = everything(engine)
    result = accept(engine, order)
    assert result.outcome is Outcome.CONFLICT
    assert reason in result.reason
    assert (result.order_id, result.version) == ("W-1", 3)
    assert everything(engine) == before


def test_an_order_id_of_one_and_an_external_id_of_another_order_is_a_conflict(
    engine: Engine,
) -> None:
    accept(engine, an_order("W-1"))
    accept(engine, an_order("W-2"))
    before = everything(engine)
    result = accept(engine, an_order("W-2", external_id="ext-W-1"))
    assert result.outcome is Outcome.CONFLICT
    assert everything(engine) == before


def test_a_closed_order_cannot_be_amended(engine: Engine) -> None:
    accept(engine, an_order())
    record(engine, a_view(1, stage=Stage.CANCELLED, closed=True))
    before = everything(engine)
    result = accept(engine, an_order(lines=[("1", "X", 3)], version=2))
    assert (result.outcome, result.reason) == (
        Outcome.CONFLICT,
        "the order is closed and cannot be changed",
    )
    assert everything(engine) == before


def _at_once(engine: Engine, documents: list[Order]) -> list[Acceptance]:
    results: list[Acceptance] = []
    barrier = threading.Barrier(len(documents))

    def run(order: Order) -> None:
        barrier.wait()
        results.append(accept(engine, order))

    threads = [threading.Thread(target=run, args=(order,)) for order in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_an_order_that_arrives_many_times_at_once_starts_once(engine: Engine) -> None:
    results = _at_once(engine, [an_order()] * 8)
    assert sorted(x.outcome for x in results) == [Outcome.NEW] + [Outcome.SAME] * 7
    assert len(inbox_rows(engine)) == 1


def test_of_two_documents_at_once_with_one_id_only_one_is_taken(engine: Engine) -> None:
    results = _at_once(
        engine,
        [an_order(), an_order(lines=[("1", "X", 9)]), an_order("W-2", external_id="ext-W-1")],
    )
    assert sorted(x.outcome for x in results) == [Outcome.CONFLICT, Outcome.CONFLICT, Outcome.NEW]
    assert len(inbox_rows(engine)) == 1


def test_an_amendment_that_arrives_many_times_at_once_is_told_once(engine: Engine) -> None:
    accept(engine, an_order())
    results = _at_once(engine, [an_order(lines=[("1", "X", 3)], version=2)] * 6)
    assert sorted(x.outcome for x in results) == [Outcome.AMENDMENT] + [Outcome.SAME] * 5
    assert [name for _, name, _ in inbox_rows(engine)] == ["start", "amend"]


def test_an_unknown_order_is_named(engine: Engine) -> None:
    accept(engine, an_order())
    with reading(engine) as session:
        with pytest.raises(UnknownReferenceError, match="no order 'W-9'"):
            orders.load_order(session, "W-9")
        with pytest.raises(UnknownReferenceError, match="no order 'W-1' version 2"):
            orders.load_order(session, "W-1", 2)
        with pytest.raises(UnknownReferenceError, match="no order 'W-9'"):
            order_pages.order_page(session, "W-9")
        with pytest.raises(UnknownReferenceError, match="no order 'W-9'"):
            orders.entered_by(session, "W-9")
    with pytest.raises(UnknownReferenceError, match="no order 'W-9'"):
        record(engine, a_view(1, "W-9"))


def test_a_view_is_written_only_if_it_is_newer(engine: Engine) -> None:
    accept(engine, an_order())
    hold = Hold(hold_id="h-1", type="fraud", owner="risk", expires_at=at(60))
    attention = Attention(
        park_id="p-1", step="route", reason="nothing fits", choices=(Choice.RETRY,), since=NOW
    )
    view = a_view(
        3,
        displayed="attention: route",
        holds=(hold,),
        attention=attention,
        promise_at=at(600),
        decision_id="D-1",
        plan_version=1,
        awaits="a person",
    )
    assert record(engine, view, 5)
    before = everything(engine)
    assert not record(engine, a_view(3), 6)
    assert not record(engine, a_view(2, lines={"1": LineQuantities.of_new_line(2)}), 7)
    assert everything(engine) == before
    shown = page(engine)
    assert (shown.holds, shown.attention, shown.promise_at) == ((hold,), attention, at(600))
    assert (shown.decision_id, shown.plan_version, shown.awaits) == ("D-1", 1, "a person")
    assert (shown.needs_attention, shown.updated_at) == (True, at(5))
    assert shown.lines[0].quantities == LineQuantities(ordered=2, reserved=2)
    assert record(engine, a_view(4))
    assert (page(engine).attention, page(engine).needs_attention) == (None, False)


def test_a_line_that_an_amendment_added_appears_once_the_workflow_has_taken_it_over(
    engine: Engine,
) -> None:
    accept(engine, an_order())
    record(engine, a_view(1))
    accept(engine, an_order(lines=[("1", "X", 1), ("2", "Y", 4)], version=2))
    assert [line.line_id for line in page(engine).lines] == ["1"]
    lines = {
        "1": LineQuantities(ordered=2, reserved=1, cancelled=1),
        "2": LineQuantities(ordered=4, open=3, backordered=1),
    }
    record(engine, a_view(2, lines=lines))
    assert {x.line_id: x.quantities for x in page(engine).lines} == lines
    assert [(x.line_id, x.sku) for x in page(engine).lines] == [("1", "X"), ("2", "Y")]


def total_units(engine: Engine) -> dict[str, int]:
    with reading(engine) as session:
        units: dict[str, int] = reporting.summary(session)["units"]
    return units


def test_a_page_and_the_totals_show_what_fulfillments_know_already(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    accept(engine, an_order(lines=[("1", "X", 6)]))
    released_order(engine, "W-1", ("A", "1", "X", 5))
    lines = {"1": LineQuantities(ordered=6, open=1, released=4, picked=1)}
    record(engine, a_view(1, lines=lines, stage=Stage.RELEASED))
    assert page(engine).lines[0].quantities == lines["1"]
    with transaction(engine) as session:
        progress = {"1": {"picked": 4, "shipped": 3, "delivered": 1, "returned_to_order": 1}}
        view = a_fulfillment_view("W-1", 1, progress)
        fulfillments.record_fulfillment(session, view, NOW)
    assert page(engine).lines[0].quantities == LineQuantities(
        ordered=6, open=1, released=1, picked=1, shipped=2, delivered=1
    )
    assert total_units(engine) == page(engine).lines[0].quantities.model_dump()
    (shown,) = page(engine).fulfillments
    assert (shown.fulfillment_id, shown.node_id) == ("W-1-1", "A")


@pytest.mark.parametrize(
    ("awaits", "own"),
    [
        ("supply for backordered units", "supply for backordered units; "),
        ("supply; A to do its part (fulfillment-W-1-1); B to", "supply; "),
        (NODES_AT_WORK, ""),
    ],
)
def test_a_page_names_the_nodes_that_are_at_work_and_none_that_is_done(
    engine: Engine, awaits: str, own: str
) -> None:
    a_world(engine, {("A", "X"): 9, ("B", "X"): 9})
    accept(engine, an_order(lines=[("1", "X", 6)]))
    released_order(engine, "W-1", ("A", "1", "X", 3), ("B", "1", "X", 3))
    record(engine, a_view(1, awaits=awaits))
    both = "A to do its part (W-1-1); B to do its part (W-1-2)"
    assert page(engine).awaits == f"{own}{both}"
    # when
    with transaction(engine) as session:
        view = a_fulfillment_view("W-1", 1, closed=True)
        fulfillments.record_fulfillment(session, view, NOW)
    # then
    assert page(engine).awaits == f"{own}B to do its part (W-1-2)"
    # when
    with transaction(engine) as session:
        lost = Attention(
            park_id="p", step="deliver", reason="lost", choices=(Choice.RESHIP,), since=NOW
        )
        view = a_fulfillment_view("W-1", 1, fulfillment_id="W-1-2", attention=lost)
        fulfillments.record_fulfillment(session, view, NOW)
    # then
    assert page(engine).awaits == f"{own}a person at 'deliver' (W-1-2)"


def test_a_page_shows_no_unit_as_shipped_that_its_order_took_back(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    accept(engine, an_order(lines=[("1", "X", 2)]))
    released_order(engine, "W-1", ("A", "1", "X", 2))
    with transaction(engine) as session:
        view = a_fulfillment_view("W-1", 1, {"1": {"picked": 2, "shipped": 2}})
        fulfillments.record_fulfillment(session, view, NOW)
        lost = {"1": LineQuantities(ordered=2, open=1, shipped=1)}
        order_recording.record_order(session, a_view(1, lines=lost), NOW)
    assert page(engine).lines[0].quantities == lost["1"]
    assert total_units(engine) == lost["1"].model_dump()


def test_the_totals_are_the_sum_of_all_orders_pages(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 20, ("B", "X"): 20})
    asked = {"W-1": (3, 0, 2), "W-2": (3, 0, 2), "W-3": (1, 3, 3)}
    for order_id, (at_a, at_b, shipped) in asked.items():
        accept(engine, an_order(order_id, lines=[("1", "X", at_a + at_b)]))
        parts = [("A", "1", "X", at_a)] + ([("B", "1", "X", at_b)] if at_b else [])
        released_order(engine, order_id, *parts)
        released = {"1": LineQuantities(ordered=at_a + at_b, released=at_a + at_b)}
        record(engine, a_view(1, order_id, lines=released))
        with transaction(engine) as session:
            number = 2 if at_b else 1
            view = a_fulfillment_view(
                order_id, 1, {"1": {"shipped": shipped}}, fulfillment_id=f"{order_id}-{number}"
            )
            fulfillments.record_fulfillment(session, view, NOW)
    with transaction(engine) as session:
        ended = {"1": LineQuantities(ordered=3, shipped=1, delivered=2)}
        completed = a_view(2, "W-2", lines=ended, stage=Stage.COMPLETED, closed=True)
        order_recording.record_order(session, completed, NOW)
    pages = [page(engine, order_id).lines[0].quantities.model_dump() for order_id in asked]
    total = {name: sum(one[name] for one in pages) for name in LineQuantities.model_fields}
    assert total_units(engine) == total
    assert (total["released"], total["shipped"], total["delivered"]) == (2, 6, 2)


def test_the_story_of_an_order_is_told_in_order_and_each_thing_once(engine: Engine) -> None:
    accept(engine, an_order())
    entries = [
        TimelineEntry(key="b", at=at(2), kind="reserved", text="Reserved at A"),
        TimelineEntry(key="a", at=at(1), kind="promised", text="Promised for Tuesday"),
    ]
    with transaction(engine) as session:
        timeline.note(session, "W-1", entries)
        timeline.note(session, "W-1", [])
        again = entries[0].model_copy(update={"text": "other words"})
        timeline.note(session, "W-1", [again, *entries])
        timeline.note(session, "W-2", [again])
    assert page(engine).timeline == (entries[1], entries[0])


def listed(engine: Engine, **wanted: Any) -> list[str]:
    with reading(engine) as session:
        return [order.order_id for order in order_pages.list_orders(session, **wanted)]


def test_orders_are_listed_newest_first_page_by_page_and_by_what_is_asked(engine: Engine) -> None:
    for number in range(5):
        brand = "acme" if number % 2 else "other"
        accept(engine, an_order(f"W-{number}", brand=brand), minutes=min(number, 3))
    attention = Attention(park_id="p", step="pick", reason="r", choices=(), since=NOW)
    record(engine, a_view(1, "W-1", attention=attention))
    assert listed(engine) == ["W-4", "W-3", "W-2", "W-1", "W-0"]
    assert listed(engine, limit=2) == ["W-4", "W-3"]
    assert listed(engine, limit=2, after="W-4") == ["W-3", "W-2"]
    assert listed(engine, after="W-1") == ["W-0"]
    assert listed(engine, after="W-9") == []
    assert listed(engine, brand="acme") == ["W-3", "W-1"]
    assert listed(engine, stage="reserved") == ["W-1"]
    assert listed(engine, needs_attention=True) == ["W-1"]
    assert listed(engine, needs_attention=False, brand="acme") == ["W-3"]
    assert listed(engine, region="default", order_type="b2b") == []


def test_open_orders_are_those_older_than_a_time_and_not_closed(engine: Engine) -> None:
    for number in range(4):
        accept(engine, an_order(f"W-{number}"), minutes=number)
    record(engine, a_view(1, "W-1", stage=Stage.CANCELLED, closed=True))
    with reading(engine) as session:
        found = order_pages.open_orders(session, at(3))
        assert [(x.order_id, x.workflow_id) for x in found] == [
            ("W-0", "order-W-0"),
            ("W-2", "order-W-2"),
        ]
        assert order_pages.open_orders(session, at(3), most=1) == found[:1]
        assert order_pages.open_orders(session, at(3), after=found[0]) == found[1:]
        assert order_pages.orders_by_stage(session) == {"received": 3, "cancelled": 1}


HOME = Address(name="Ada", line1="2 Other St", city="LA", country="US")
OFFICE = Address(name="Ada", line1="3 Office Park", city="LA", country="US")


def save(engine: Engine, address: Address, order_id: str = "W-1", group: str = "1") -> str:
    with transaction(engine) as session:
        return addresses.save_address(session, order_id, group, address)


def use(engine: Engine, address_id: str, minutes: float, order_id: str = "W-1") -> None:
    with transaction(engine) as session:
        addresses.use_address(session, order_id, address_id, at(minutes))


def address(engine: Engine) -> Address | None:
    with reading(engine) as session:
        return addresses.address_of(session, "W-1", "1")


def test_a_saved_address_is_used_only_once_told_and_the_document_stays(engine: Engine) -> None:
    order = an_order()
    accept(engine, order)
    home, office = save(engine, HOME), save(engine, OFFICE)
    assert save(engine, HOME) == home
    assert address(engine) == order.ship_groups[0].address
    use(engine, home, 1)
    assert address(engine) == HOME
    use(engine, office, 2)
    assert address(engine) == OFFICE
    use(engine, home, 3)
    assert address(engine) == HOME
    with reading(engine) as session:
        assert orders.load_order(session, "W-1") == order


def test_an_amendment_overrides_a_changed_address_only_if_it_changes_the_address_itself(
    engine: Engine,
) -> None:
    accept(engine, an_order())
    use(engine, save(engine, HOME), 1)
    accept(engine, an_order(lines=[("1", "X", 3)], version=2))
    assert address(engine) == HOME
    groups = [{"id": "1", "address": OFFICE.model_dump()}]
    accept(engine, an_order(lines=[("1", "X", 3)], version=3, ship_groups=groups))
    assert address(engine) == OFFICE


def test_an_address_of_another_order_or_group_is_refused(engine: Engine) -> None:
    accept(engine, an_order())
    accept(engine, an_order("W-2"))
    home = save(engine, HOME)
    before = everything(engine)
    with pytest.raises(UnknownReferenceError, match="has no address"):
        use(engine, home, 1, "W-2")
    with pytest.raises(UnknownReferenceError, match="no ship group '2'"):
        save(engine, HOME, group="2")
    with (
        pytest.raises(UnknownReferenceError, match="no ship group '2'"),
        reading(engine) as session,
    ):
        addresses.address_of(session, "W-1", "2")
    assert everything(engine) == before


def test_open_terms_are_the_other_open_orders_on_terms_in_the_base_currency(
    engine: Engine,
) -> None:
    a_world(engine)
    account, terms = {"account_id": "ACC"}, {"status": "terms"}
    accept(engine, an_order("W-1", customer=account, payment=terms))
    accept(engine, an_order("W-2", customer=account, payment=terms))
    accept(engine, an_order("W-3", customer=account, payment=terms, currency="EUR"))
    accept(engine, an_order("W-4", customer=account))
    accept(engine, an_order("W-5", customer={"account_id": "OTHER"}, payment=terms))
    accept(engine, an_order("W-6", customer=account, payment=terms))
    record(engine, a_view(1, "W-6", closed=True))
    with reading(engine) as session, pytest.raises(UnknownReferenceError, match="EUR"):
        orders.open_terms(session, "ACC", "W-1")
    with transaction(engine) as session:
        network.set_exchange_rates(session, {"EUR": Decimal("1.5")}, NOW)
        assert orders.open_terms(session, "ACC", "W-1") == Decimal("50.00")
        assert orders.open_terms(session, "NONE", "W-1") == 0


def test_the_hash_is_of_the_content_and_not_of_its_version() -> None:
    assert order_intake.content_hash(an_order()) == order_intake.content_hash(an_order(version=2))
    assert order_intake.content_hash(an_order()) != order_intake.content_hash(
        an_order(channel="app")
    )
