"""Writing promises behind the answers: each can be had at once, and none is in another's way."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from domain.errors import UnknownReferenceError
from domain.orders import Order
from domain.planning import Wanted, decision_request
from domain.routing.decision import Purpose
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_on
from starter.promise_records import UNUSED_KEPT, PromiseRecords
from starter.promising import Decided, Promise
from store import decisions
from store.engine import reading
from store.following import Following
from tests.integration.api.conftest import NOW, order_document

POLICY = RoutingPolicy(name="standard")


def made(engine: Engine, promise_id: str) -> Promise:
    """What a cart is promised: two decisions."""
    view = Following(engine, lambda: NOW).view()
    facts = view.facts(["TEE"], "web", NOW)
    order = Order.model_validate(order_document())
    decided: list[Decided] = []
    for decision_id in (promise_id, f"{promise_id}-1"):
        wanted = Wanted(request_id=decision_id, purpose=Purpose.CART, units={"1": 2})
        request = decision_request(order, wanted, NOW, "USD", {})
        decided.append(Decided(decision_id, request, facts, decide_on(request, facts, POLICY)))
    return Promise(
        promise_id=promise_id,
        policy_version="1",
        policy=POLICY,
        decided=tuple(decided),
        offers=(),
        chosen=None,
        now=NOW,
        kernel_seconds=0.0,
        kit_of={},
    )


def is_kept(engine: Engine, decision_id: str) -> bool:
    with reading(engine) as session:
        try:
            decisions.load_choice(session, decision_id)
        except UnknownReferenceError:
            return False
        return True


def test_a_promise_that_is_needed_is_written_at_once_whatever_else_waits(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    write_at_last = PromiseRecords._write_at_last

    def write_later(records: PromiseRecords, batch: list[Promise]) -> None:
        assert may_write.wait(60)
        write_at_last(records, batch)

    monkeypatch.setattr(PromiseRecords, "_write_at_last", write_later)
    records = PromiseRecords(filled, lambda: NOW)
    other, needed = made(filled, "promise-a"), made(filled, "promise-b")
    records.start()
    try:
        assert records.put(other)
        assert records.put(needed)

        records.settle(needed.decided[-1].decision_id)
        records.settle("promise-of-another-process")

        assert all(is_kept(filled, one.decision_id) for one in needed.decided)
        assert not is_kept(filled, other.promise_id)
    finally:
        may_write.set()
        records.stop()
    assert is_kept(filled, other.promise_id)
    assert records._unwritten == {}


def test_a_promise_the_full_queue_refused_is_its_callers_alone(filled: Engine) -> None:
    records = PromiseRecords(filled, lambda: NOW, most_waiting=1)
    records._thread = threading.Thread()  # one that never takes anything
    first, second = made(filled, "promise-a"), made(filled, "promise-b")

    taken = [records.put(first), records.put(second)]
    records.settle(second.promise_id)

    assert taken == [True, False]
    assert not is_kept(filled, second.promise_id)


def test_a_promise_that_cannot_be_packed_keeps_no_other_from_being_written(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = decisions.packed

    def fail(decision_id: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        if decision_id == "promise-bad":
            raise ValueError("cannot be packed")
        return packed(decision_id, *arguments, **named)

    monkeypatch.setattr(decisions, "packed", fail)
    records = PromiseRecords(filled, lambda: NOW)
    names = ("promise-a", "promise-bad", "promise-b")
    promises = [made(filled, name) for name in names]
    records.start()
    try:
        assert all(records.put(promise) for promise in promises)
    finally:
        records.stop()

    assert [is_kept(filled, name) for name in names] == [True, False, True]
    assert (records.waiting, records._unwritten) == (0, {})


def test_all_old_promises_are_forgotten_however_many(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starter.promise_records.FORGOTTEN_AT_ONCE", 1)
    records = PromiseRecords(filled, lambda: NOW + UNUSED_KEPT + timedelta(seconds=1))
    names = ("promise-a", "promise-b", "promise-c")
    records.write([made(filled, name) for name in names])

    records.start()
    try:
        ends = time.monotonic() + 20
        while any(is_kept(filled, name) or is_kept(filled, f"{name}-1") for name in names):
            assert time.monotonic() < ends
    finally:
        records.stop()
