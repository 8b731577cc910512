"""Events are kept in the transaction that changes an order, for whoever subscribed."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError

from domain.errors import UnknownReferenceError
from domain.events import LineProgress
from domain.fulfillments import FulfillmentStatus, Package, PackageLine, PackageStatus
from domain.plans import FulfillmentView, OrderView
from domain.quantities import LineQuantities
from domain.stages import Attention, Choice, Hold, Stage
from store import (
    event_deliveries,
    fulfillments,
    order_events,
    order_recording,
    recovery,
    subscriptions,
)
from store.engine import reading, transaction
from store.event_deliveries import DeliveryState, EventBacklog
from store.order_intake import accept_order, content_hash
from store.subscriptions import LEASE, Secret, Subscription, SubscriptionState
from tests.integration.store.builders import (
    NOW,
    a_world,
    an_order,
    at,
    everything,
    released_order,
)

SECRET = Secret(value="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def subscribe(engine: Engine, *types: str, **scope: Any) -> str:
    with transaction(engine) as session:
        return subscriptions.add(
            session,
            "https://example.com/hooks",
            types or ("*",),
            SECRET,
            created_by="ada",
            now=NOW,
            **scope,
        )


def accept(engine: Engine, order_id: str = "W-1", **changes: Any) -> None:
    order = an_order(order_id, **changes)
    with transaction(engine) as session:
        accept_order(session, order, content_hash=content_hash(order), entered_by="x", now=NOW)


def record(engine: Engine, revision: int, stage: Stage, **changes: Any) -> bool:
    facts = {"order_id": "W-1", "revision": revision, "stage": stage, "displayed": "", "lines": {}}
    with transaction(engine) as session:
        view = OrderView(**{**facts, **changes})
        return order_recording.record_order(session, view, at(revision))


def told(engine: Engine, subscription_id: str) -> list[dict[str, Any]]:
    with reading(engine) as session:
        due = event_deliveries.due(session, subscription_id, at(600), 100)
    return [x.document for x in due]


def types_told(engine: Engine, subscription_id: str) -> list[str]:
    return [x["type"] for x in told(engine, subscription_id)]


def test_an_accepted_order_is_told_with_its_lines_and_nothing_personal(engine: Engine) -> None:
    subscription = subscribe(engine)
    accept(engine, brand="acme", channel="web")

    [document] = told(engine, subscription)

    assert document == {
        "type": "order.accepted",
        "timestamp": "2026-03-02T09:00:00Z",
        "data": {
            "order_id": "W-1",
            "source": "shop",
            "external_id": "ext-W-1",
            "version": 1,
            "order_type": "b2c",
            "channel": "web",
            "brand": "acme",
            "promised_by": None,
            "stage": "received",
            "lines": [{"line_id": "1", "sku": "X", "quantity": 2}],
        },
    }
    assert "Ada" not in json.dumps(document)


def test_a_later_version_is_told_and_the_same_document_again_is_not(engine: Engine) -> None:
    subscription = subscribe(engine)
    accept(engine)
    accept(engine)
    accept(engine, version=2, lines=(("1", "X", 3),))

    amended = told(engine, subscription)[1:]

    assert [x["type"] for x in amended] == ["order.amended"]
    assert amended[0]["data"]["version"] == 2
    assert amended[0]["data"]["lines"] == [{"line_id": "1", "sku": "X", "quantity": 3}]


def test_each_step_of_an_order_is_told_once_in_its_order(engine: Engine) -> None:
    subscription = subscribe(engine, "order.*")
    accept(engine)
    hold = Hold(hold_id="h-1", type="payment", owner="doms", reason="code")
    promised = {"promise_at": at(6000)}
    two = LineQuantities
    record(engine, 1, Stage.PROMISED, holds=(hold,), **promised)
    record(engine, 2, Stage.RESERVED, lines={"1": two(ordered=2, reserved=2)}, **promised)
    assert not record(engine, 2, Stage.RELEASED, lines={"1": two(ordered=2, released=2)})
    record(engine, 3, Stage.RELEASED, lines={"1": two(ordered=2, released=2)}, **promised)
    done = {"1": two(ordered=2, delivered=1, cancelled=1)}
    record(engine, 4, Stage.COMPLETED, lines=done, closed=True, **promised)

    events = told(engine, subscription)

    assert [x["type"] for x in events] == [
        "order.accepted",
        "order.promised",
        "order.held",
        "order.hold_lifted",
        "order.reserved",
        "order.released",
        "order.lines_cancelled",
        "order.completed",
    ]
    assert events[1]["data"]["promised_by"] == "2026-03-06T13:00:00Z"
    assert events[2]["data"]["hold"] == "payment"
    assert events[4]["data"]["lines"] == [{"line_id": "1", "sku": "X", "quantity": 2}]
    assert events[6]["data"]["lines"] == [{"line_id": "1", "sku": "X", "quantity": 1}]
    assert events[7]["data"]["stage"] == "completed"
    assert events[7]["data"]["lines"] == [
        {"line_id": "1", "sku": "X", "ordered": 2, "delivered": 1, "cancelled": 1}
    ]


def a_part(revision: int, status: FulfillmentStatus, **changes: Any) -> FulfillmentView:
    facts = {
        "fulfillment_id": "W-1-1",
        "order_id": "W-1",
        "revision": revision,
        "status": status,
        "lines": (LineProgress(line_id="1", picked=2, shipped=2),),
    }
    return FulfillmentView(**{**facts, **changes})


def write_part(engine: Engine, view: FulfillmentView) -> bool:
    with transaction(engine) as session:
        return fulfillments.record_fulfillment(session, view, at(view.revision))


def a_parcel(status: PackageStatus, tracking_number: str | None = None) -> Package:
    return Package(
        package_id="P-1",
        lines=(PackageLine(line_id="1", quantity=2),),
        tracking_number=tracking_number,
        status=status,
    )


def test_a_parcel_is_told_with_the_number_its_label_has_whatever_the_view_knows(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5})
    accept(engine)
    released_order(engine, "W-1", ("A", "1", "X", 2))
    subscription = subscribe(engine, "package.*", "fulfillment.*")
    with transaction(engine) as session:
        labelled = a_parcel(PackageStatus.LABELLED, "T-1")
        fulfillments.save_label(session, "W-1-1", labelled, "k")
    write_part(engine, a_part(1, FulfillmentStatus.PACKED, packages=(labelled,)))
    sent = a_part(2, FulfillmentStatus.SHIPPED, packages=(a_parcel(PackageStatus.SHIPPED),))
    assert write_part(engine, sent)
    assert not write_part(engine, sent)

    packed, parcel, shipped = told(engine, subscription)

    assert [x["type"] for x in (packed, parcel, shipped)] == [
        "fulfillment.packed",
        "package.shipped",
        "fulfillment.shipped",
    ]
    assert parcel["data"] == {
        "order_id": "W-1",
        "source": "shop",
        "external_id": "ext-W-1",
        "version": 1,
        "order_type": "b2c",
        "channel": "web",
        "brand": "default",
        "promised_by": None,
        "fulfillment_id": "W-1-1",
        "node_id": "A",
        "method": "ship",
        "ship_group": "1",
        "package": {
            "package_id": "P-1",
            "status": "shipped",
            "carrier": None,
            "service": None,
            "tracking_number": "T-1",
            "lines": [{"line_id": "1", "sku": "X", "quantity": 2}],
        },
    }
    assert shipped["data"]["packages"] == [parcel["data"]["package"]]
    assert shipped["data"]["lines"][0]["shipped"] == 2


def test_a_question_of_a_fulfillment_is_told_without_the_words_of_its_reason(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    subscription = subscribe(engine, "order.attention")
    question = Attention(
        park_id="p-1", step="pick", reason="Ada is away", choices=(Choice.RETRY,), since=NOW
    )
    write_part(engine, a_part(1, FulfillmentStatus.PICKING, attention=question))

    [document] = told(engine, subscription)

    assert document["data"]["attention"] == {
        "park_id": "p-1",
        "step": "pick",
        "choices": ["retry"],
    }
    assert document["data"]["fulfillment_id"] == "W-1-1"
    assert "Ada" not in json.dumps(document)


def test_a_question_the_sweeper_asks_is_told_once_and_when_it_is_over(engine: Engine) -> None:
    accept(engine)
    subscription = subscribe(engine, "order.attention", "order.attention_over")
    question = Attention(park_id="stopped", step="workflow", reason="x", choices=(), since=NOW)
    for _ in range(2):
        with transaction(engine) as session:
            recovery.note_stopped(session, "W-1", question, NOW)
    record(engine, 1, Stage.PROMISED)

    asked, over = told(engine, subscription)

    assert (asked["type"], over["type"]) == ("order.attention", "order.attention_over")
    assert asked["data"]["attention"] == {"park_id": "stopped", "step": "workflow", "choices": []}
    assert over["data"]["attention"] == {"park_id": "stopped"}


def test_a_subscription_is_told_only_what_it_asked_for(engine: Engine) -> None:
    by_type = subscribe(engine, "order.completed", "package.*")
    by_brand = subscribe(engine, brand="acme")
    by_channel = subscribe(engine, channel="pos")
    both = subscribe(engine, brand="acme", channel="web")
    accept(engine, brand="acme", channel="web")
    accept(engine, "W-2", brand="other", channel="web")

    ids = {x["data"]["order_id"] for x in told(engine, by_brand)}

    assert ids == {"W-1"}
    assert types_told(engine, both) == ["order.accepted"]
    assert told(engine, by_type) == told(engine, by_channel) == []


def test_what_nobody_listens_to_is_not_kept_and_costs_one_statement(engine: Engine) -> None:
    accept(engine)
    ran: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *x: ran.append(x[2]))

    record(engine, 1, Stage.RESERVED, lines={"1": LineQuantities(ordered=2, reserved=2)})

    about_events = [sql for sql in ran if "subscriptions" in sql or "event" in sql]
    assert len(about_events) == 1
    with reading(engine) as session:
        assert session.execute(text("SELECT count(*) FROM order_events")).scalar_one() == 0


def test_events_of_a_transaction_that_fails_never_were(engine: Engine) -> None:
    subscription = subscribe(engine)
    broken = text("INSERT INTO exchange_rates (currency, rate) VALUES (NULL, NULL)")

    def fail() -> None:
        order = an_order()
        with transaction(engine) as session:
            accept_order(session, order, content_hash=content_hash(order), entered_by="x", now=NOW)
            session.execute(broken)

    with pytest.raises(IntegrityError):
        fail()

    assert told(engine, subscription) == []


def claimed(engine: Engine, subscription: str, owner: str, minutes: float) -> Subscription | None:
    with transaction(engine) as session:
        return subscriptions.claim(session, subscription, owner, at(minutes))


def test_one_process_at_a_time_tells_a_subscription_until_its_lease_ends(engine: Engine) -> None:
    subscription = subscribe(engine)
    accept(engine)
    with reading(engine) as session:
        assert subscriptions.due(session, NOW) == [subscription]

    assert claimed(engine, subscription, "one", 0) is not None
    assert claimed(engine, subscription, "two", 0) is None
    with reading(engine) as session:
        assert subscriptions.due(session, NOW) == []
    assert claimed(engine, subscription, "two", LEASE.total_seconds() / 60) is not None
    with transaction(engine) as session:
        subscriptions.let_go(session, subscription, "one")
    assert claimed(engine, subscription, "three", LEASE.total_seconds() / 60) is None


def test_a_subscription_that_pauses_is_not_due_before_its_time(engine: Engine) -> None:
    subscription = subscribe(engine)
    accept(engine)
    claimed(engine, subscription, "one", 0)
    with transaction(engine) as session:
        subscriptions.let_go(session, subscription, "one", failures=3, not_before=at(5))

    with reading(engine) as session:
        assert subscriptions.due(session, at(4)) == []
        assert subscriptions.due(session, at(5)) == [subscription]
    taken = claimed(engine, subscription, "one", 5)
    assert taken is not None
    assert taken.failures == 3


def due_ids(engine: Engine, subscription: str, minutes: float) -> list[str]:
    with reading(engine) as session:
        found = event_deliveries.due(session, subscription, at(minutes), 100)
    return [x.order_id for x in found]


def test_an_event_that_must_wait_holds_up_only_later_ones_of_its_order(engine: Engine) -> None:
    subscription = subscribe(engine)
    accept(engine)
    accept(engine, "W-2")
    record(engine, 1, Stage.PROMISED, promise_at=at(60))
    with transaction(engine) as session:
        first, second, third = event_deliveries.due(session, subscription, at(2), 100)
        event_deliveries.retry_later(session, first.id, "answered 500", at(10))

    assert [first.order_id, second.order_id, third.order_id] == ["W-1", "W-2", "W-1"]
    assert due_ids(engine, subscription, 9) == ["W-2"]
    assert due_ids(engine, subscription, 10) == ["W-1", "W-2", "W-1"]


def states(engine: Engine) -> list[str]:
    """How each delivery stands, oldest first."""
    with reading(engine) as session:
        return [x.state.value for x in event_deliveries.deliveries(session)]


def backlog(engine: Engine) -> EventBacklog:
    with reading(engine) as session:
        return event_deliveries.backlog(session)


def test_what_waits_and_what_was_given_up_is_counted(engine: Engine) -> None:
    empty = EventBacklog(waiting=0, dead=0, oldest=None)
    assert backlog(engine) == empty
    subscription = subscribe(engine)
    accept(engine)
    assert backlog(engine) == EventBacklog(waiting=1, dead=0, oldest=NOW)
    set_state(engine, subscription, SubscriptionState.DISABLED)
    assert backlog(engine) == empty
    with transaction(engine) as session:
        event_deliveries.give_up_all(session, subscription, "gone", at(1))
    assert backlog(engine) == EventBacklog(waiting=0, dead=1, oldest=None)


def test_what_was_given_up_is_listed_with_its_error_and_told_again_on_request(
    engine: Engine,
) -> None:
    subscription = subscribe(engine)
    accept(engine)
    with transaction(engine) as session:
        [due] = event_deliveries.due(session, subscription, NOW, 100)
        event_deliveries.give_up(session, due.id, "answered 500: no", at(1))

    with reading(engine) as session:
        [dead] = event_deliveries.deliveries(session, state=DeliveryState.DEAD)
    assert (dead.error, dead.attempts, dead.event_type) == (
        "answered 500: no",
        1,
        "order.accepted",
    )
    assert told(engine, subscription) == []
    assert states(engine) == ["dead"]
    with transaction(engine) as session:
        event_deliveries.again(session, dead.id, at(2))
    with reading(engine) as session:
        [back] = event_deliveries.due(session, subscription, at(2), 100)
    assert (back.event_id, back.attempts) == (due.event_id, 0)


def test_replays_choose_by_state_time_and_subscription(engine: Engine) -> None:
    one, two = subscribe(engine), subscribe(engine)
    accept(engine)
    for subscription in (one, two):
        with transaction(engine) as session:
            [due] = event_deliveries.due(session, subscription, NOW, 100)
            event_deliveries.told(session, [due.id], at(1))

    def again(**chosen: Any) -> int:
        with transaction(engine) as session:
            return event_deliveries.again_all(session, now=at(5), **chosen)

    assert again(state=DeliveryState.DEAD) == 0
    assert again(since=at(1)) == 0
    assert again(since=NOW, subscription_id=one) == 1
    assert sorted(states(engine)) == ["done", "waiting"]


def test_a_replay_of_nothing_is_refused_and_changes_nothing(engine: Engine) -> None:
    before = everything(engine)
    with (
        pytest.raises(UnknownReferenceError, match="no delivery 7"),
        transaction(engine) as session,
    ):
        event_deliveries.again(session, 7, NOW)
    assert everything(engine) == before


def set_state(engine: Engine, subscription: str, state: SubscriptionState, why: str = "") -> None:
    with transaction(engine) as session:
        subscriptions.set_state(session, subscription, state, why)


def test_a_disabled_subscription_hears_nothing_new_and_an_enabled_one_does(engine: Engine) -> None:
    subscription = subscribe(engine)
    set_state(engine, subscription, SubscriptionState.DISABLED, "410")
    accept(engine)
    with reading(engine) as session:
        assert subscriptions.subscription(session, subscription).why == "410"
        assert subscriptions.active(session) == []
    set_state(engine, subscription, SubscriptionState.ACTIVE)
    accept(engine, "W-2")

    assert [x["data"]["order_id"] for x in told(engine, subscription)] == ["W-2"]


def test_a_removed_subscription_is_gone_with_its_secret(engine: Engine) -> None:
    subscription = subscribe(engine)
    set_state(engine, subscription, SubscriptionState.REMOVED)

    with reading(engine) as session:
        assert subscriptions.subscriptions(session) == {}
        stored = session.execute(text("SELECT CAST(secrets AS TEXT) FROM subscriptions"))
        assert stored.scalar_one() == "[]"
    with pytest.raises(UnknownReferenceError, match="no subscription"):
        set_state(engine, subscription, SubscriptionState.ACTIVE)


def test_an_old_secret_signs_beside_the_new_one_until_its_time(engine: Engine) -> None:
    subscription = subscribe(engine)
    new = Secret(variable="EVENTS_SECRET_SHOP")
    with transaction(engine) as session:
        subscriptions.change_secret(session, subscription, new, keep_until=at(60), now=NOW)

    with reading(engine) as session:
        kept = subscriptions.subscription(session, subscription).secrets

    assert kept == (new, SECRET.model_copy(update={"until": at(60)}))
    assert [x.signs(at(59)) for x in kept] == [True, True]
    assert [x.signs(at(60)) for x in kept] == [True, False]


def test_what_was_told_long_ago_is_forgotten_and_what_waits_is_not(engine: Engine) -> None:
    subscription = subscribe(engine)
    accept(engine)
    accept(engine, "W-2")
    with transaction(engine) as session:
        first, _ = event_deliveries.due(session, subscription, NOW, 100)
        event_deliveries.told(session, [first.id], NOW)
        assert event_deliveries.forget(session, NOW) == 0
        assert event_deliveries.forget(session, NOW + timedelta(seconds=1)) == 1

    assert due_ids(engine, subscription, 1) == ["W-2"]
    with reading(engine) as session:
        assert session.execute(text("SELECT count(*) FROM order_events")).scalar_one() == 1


def test_telling_of_an_order_that_is_not_there_tells_nothing(engine: Engine) -> None:
    subscribe(engine)
    with reading(engine) as session:
        assert order_events.order_before(session, "W-9") is None
        assert order_events.fulfillment_before(session, "W-9-1") is None
