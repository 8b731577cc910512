import threading
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from domain.errors import UnknownReferenceError
from store import backlog, inbox, outbox
from store.engine import reading, transaction
from store.messages import LEASE, let_go_messages
from tests.integration.store.builders import NOW, at, everything


def put(engine: Engine, name: str, stream: str | None = None, minutes: float = 0) -> int:
    with transaction(engine) as session:
        message_id, is_new = inbox.put(
            session, kind="signal", name=name, stream=stream, workflow_id=stream, now=at(minutes)
        )
    assert is_new
    return message_id


def claim(engine: Engine, minutes: float = 0, limit: int = 10) -> list[str]:
    with transaction(engine) as session:
        return [row.name for row in inbox.claim(session, limit, at(minutes))]


def test_a_row_comes_back_with_all_that_was_put_in(engine: Engine) -> None:
    with transaction(engine) as session:
        message_id, is_new = inbox.put(
            session,
            kind="webhook",
            name="order.picked",
            stream="fulfillment-W-1-1",
            workflow_id="fulfillment-W-1-1",
            payload={"a": [1, None]},
            body=b"\x00{raw}",
            headers={"webhook-id": "e-1"},
            connection_id="wms-1",
            event_id="e-1",
            now=NOW,
        )
        (row,) = inbox.claim(session, 10, NOW)
    assert is_new
    assert row == inbox.InboxRow(
        id=message_id,
        kind="webhook",
        name="order.picked",
        stream="fulfillment-W-1-1",
        workflow_id="fulfillment-W-1-1",
        payload={"a": [1, None]},
        body=b"\x00{raw}",
        headers={"webhook-id": "e-1"},
        connection_id="wms-1",
        event_id="e-1",
        attempts=0,
        received_at=NOW,
    )


def test_an_event_counts_once_per_connection_and_a_key_once_at_all(engine: Engine) -> None:
    def event(connection_id: str, event_id: str) -> tuple[int, bool]:
        with transaction(engine) as session:
            return inbox.put(
                session,
                kind="webhook",
                connection_id=connection_id,
                event_id=event_id,
                now=NOW,
            )

    first, is_new = event("wms-1", "e-1")
    assert is_new
    before = everything(engine)
    assert event("wms-1", "e-1") == (first, False)
    assert everything(engine) == before
    assert event("wms-2", "e-1")[1]
    assert event("wms-1", "e-2")[1]
    with transaction(engine) as session:
        one = inbox.put(session, kind="signal", key="k", now=NOW)
        assert inbox.put(session, kind="signal", key="k", now=NOW) == (one[0], False)
        assert outbox.send(session, "w", "s", {}, key="k", now=NOW)


def test_rows_of_one_stream_come_in_order_and_none_while_an_earlier_one_is_away(
    engine: Engine,
) -> None:
    a1, a2 = put(engine, "a1", "a"), put(engine, "a2", "a")
    put(engine, "a3", "a"), put(engine, "free")
    assert claim(engine, limit=2) == ["a1", "a2"]
    assert claim(engine) == ["free"]
    with transaction(engine) as session:
        inbox.done(session, [a1], at(1))
        inbox.done(session, [], at(1))
    assert claim(engine, 0.1) == []
    with transaction(engine) as session:
        inbox.done(session, [a2], at(1))
    assert claim(engine, 0.1) == ["a3"]


def test_a_row_behind_one_that_must_come_again_is_let_go_and_waits_for_it(engine: Engine) -> None:
    first, second = put(engine, "a1", "a"), put(engine, "a2", "a")
    assert claim(engine) == ["a1", "a2"]
    with transaction(engine) as session:
        inbox.retry_later(session, first, "Temporal is away", at(10))
        let_go_messages(session, [second])
    assert claim(engine, 9) == []
    with transaction(engine) as session:
        rows = inbox.claim(session, 10, at(10))
    assert [(row.name, row.attempts) for row in rows] == [("a1", 1), ("a2", 0)]


def test_the_oldest_come_first_and_at_most_so_many(engine: Engine) -> None:
    for name in ("1", "2", "3"):
        put(engine, name, f"stream-{name}")
    assert claim(engine, limit=2) == ["1", "2"]
    assert claim(engine, limit=2) == ["3"]


def test_a_killed_dispatchers_rows_come_back_when_its_lease_is_over(engine: Engine) -> None:
    put(engine, "a", "a")
    assert claim(engine) == ["a"]
    lease = LEASE / timedelta(minutes=1)
    assert claim(engine, lease - 0.01) == []
    assert claim(engine, lease) == ["a"]


def test_a_row_that_could_not_be_delivered_waits_and_makes_its_stream_wait(engine: Engine) -> None:
    first = put(engine, "a1", "a")
    put(engine, "a2", "a")
    claim(engine, limit=1)
    with transaction(engine) as session:
        inbox.retry_later(session, first, "Temporal is away", at(10))
    assert claim(engine, 9) == []
    with transaction(engine) as session:
        (row, _) = inbox.claim(session, 10, at(10))
    assert (row.name, row.attempts) == ("a1", 1)


def test_a_quarantined_row_stands_aside_with_its_reason_until_it_is_released(
    engine: Engine,
) -> None:
    first = put(engine, "a1", "a")
    put(engine, "a2", "a")
    claim(engine, limit=1)
    with transaction(engine) as session:
        inbox.quarantine(session, first, "no such order")
    assert claim(engine, 5) == ["a2"]
    with reading(engine) as session:
        assert inbox.counts(session) == {"waiting": 1, "done": 0, "quarantined": 1}
        (row,) = inbox.quarantined(session)
        assert (row.id, row.error) == (first, "no such order")
        assert [(x.direction, x.waiting, x.quarantined) for x in backlog.backlogs(session)] == [
            ("in", 1, 1),
            ("out", 0, 0),
        ]
    with transaction(engine) as session:
        inbox.release_quarantined(session, first)
    assert claim(engine, 5) == ["a1"]


def test_only_a_quarantined_row_can_be_released_and_a_done_one_stays_done(engine: Engine) -> None:
    first = put(engine, "a1", "a")
    with transaction(engine) as session:
        inbox.done(session, [first], at(1))
    before = everything(engine)
    with transaction(engine) as session:
        inbox.retry_later(session, first, "late", at(2))
        inbox.quarantine(session, first, "late")
        inbox.done(session, [first], at(9))
    with (
        pytest.raises(UnknownReferenceError, match=f"no quarantined message {first}"),
        transaction(engine) as session,
    ):
        inbox.release_quarantined(session, first)
    assert everything(engine) == before


def test_a_signal_is_sent_once_per_key_in_order_for_each_workflow(engine: Engine) -> None:
    def send(workflow_id: str, number: int, key: str) -> bool:
        with transaction(engine) as session:
            return outbox.send(session, workflow_id, "progress", {"n": number}, key=key, now=NOW)

    assert send("order-1", 1, "k1")
    assert not send("order-1", 9, "k1")
    assert send("order-1", 2, "k2")
    assert send("order-2", 3, "k3")
    with transaction(engine) as session:
        rows = outbox.claim(session, 10, NOW)
        assert [(x.workflow_id, x.name, x.payload) for x in rows] == [
            ("order-1", "progress", {"n": 1}),
            ("order-1", "progress", {"n": 2}),
            ("order-2", "progress", {"n": 3}),
        ]
        assert inbox.claim(session, 10, NOW) == []
        outbox.done(session, [rows[0].id], NOW)
        outbox.retry_later(session, rows[1].id, "away", at(5))
        outbox.quarantine(session, rows[2].id, "the workflow is closed")
        assert outbox.counts(session) == {"waiting": 1, "done": 1, "quarantined": 1}


def test_several_dispatchers_deliver_every_row_once_and_each_stream_in_order(
    engine: Engine,
) -> None:
    streams, each = 6, 8
    with transaction(engine) as session:
        for number in range(each):
            for stream in range(streams):
                inbox.put(
                    session,
                    kind="signal",
                    name=str(number),
                    stream=f"s{stream}",
                    key=f"{stream}/{number}",
                    now=NOW,
                )
    delivered: list[tuple[str | None, int]] = []

    def dispatch() -> None:
        while True:
            with transaction(engine) as session:
                rows = inbox.claim(session, 3, at(1))
                waiting = inbox.counts(session)["waiting"]
            delivered.extend((row.stream, int(row.name)) for row in rows)
            with transaction(engine) as session:
                inbox.done(session, [row.id for row in rows], at(1))
            if not waiting:
                return

    threads = [threading.Thread(target=dispatch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(delivered) == streams * each
    for stream in range(streams):
        in_order = [number for name, number in delivered if name == f"s{stream}"]
        assert in_order == list(range(each))
