"""Threads that reserve at the same time share a transaction, and nothing else."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from domain.errors import ConflictError, RetryableError, ShortageError
from store import holds, reporting
from store.driver import fetch, given
from store.engine import reading, transaction
from store.holds import HoldItem
from store.reserver import Reserver
from store.reserving import Ask, reserve_plans
from tests.integration.store.builders import (
    DATE,
    NOW,
    PlanRow,
    a_plan,
    a_world,
    at,
    everything,
    filled,
    reserve,
    used_capacity,
)


def ask(order_id: str, *rows: PlanRow, key: str = "", version: int = 1) -> Ask:
    plan = a_plan(*rows, version=version)
    return Ask(order_id, plan, key or f"{order_id}/reserve/{version}", NOW)


def take(engine: Engine, *asks: Ask) -> list[str]:
    """What each ask came to: the reservation, or what was short."""
    with transaction(engine) as session:
        outcomes = reserve_plans(session, asks)
    return [str(outcome) for outcome in outcomes]


def sound(engine: Engine) -> None:
    with reading(engine) as session:
        assert set(reporting.consistency(session).values()) == {0}


def test_many_plans_are_taken_one_after_the_other_until_there_is_no_more(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5, ("A", "Y"): 5})
    outcomes = take(
        engine,
        ask("W-1", ("A", "1", "X", 3), ("A", "2", "Y", 1)),
        ask("W-2", ("A", "1", "X", 3)),
        ask("W-3", ("A", "1", "X", 2)),
    )
    assert outcomes == ["W-1-r1", "not enough: X at A", "W-3-r1"]
    assert filled(engine, "A", "X") == {"usable": 5, "reserved": 5}
    assert filled(engine, "A", "Y") == {"usable": 5, "reserved": 1}
    with reading(engine) as session:
        assert used_capacity(session, "A", DATE) == (6, 2)
    sound(engine)


def test_the_days_capacity_is_shared_out_in_the_same_way(engine: Engine) -> None:
    a_world(engine, {("NARROW", "X"): 50})
    outcomes = take(
        engine,
        ask("W-1", ("NARROW", "1", "X", 3)),
        ask("W-2", ("NARROW", "1", "X", 3)),
        ask("W-3", ("NARROW", "1", "X", 2)),
        ask("W-4", ("NARROW", "1", "X", 1)),
    )
    full = "not enough: capacity of NARROW"
    assert outcomes == ["W-1-r1", full, "W-3-r1", full]
    with reading(engine) as session:
        assert used_capacity(session, "NARROW", DATE) == (5, 2)


def test_a_repeat_in_the_same_batch_or_a_later_one_is_answered_like_the_first(
    engine: Engine,
) -> None:
    a_world(engine, {("A", "X"): 5})
    one, other = ask("W-1", ("A", "1", "X", 3)), ask("W-2", ("A", "1", "X", 3))
    first = take(engine, one, one, other, other)
    before = everything(engine)
    again = take(engine, other, one)
    assert first == ["W-1-r1", "W-1-r1", "not enough: X at A", "not enough: X at A"]
    assert again == ["not enough: X at A", "W-1-r1"]
    assert everything(engine) == before


def test_what_was_refused_may_be_asked_again_under_its_key(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 1})
    refused = take(engine, ask("W-1", ("A", "1", "X", 2)))
    served = take(engine, ask("W-1", ("A", "1", "X", 1)))
    assert (refused, served) == (["not enough: X at A"], ["W-1-r1"])


def test_an_empty_batch_does_nothing(engine: Engine) -> None:
    a_world(engine)
    before = everything(engine)
    assert take(engine) == []
    assert everything(engine) == before


def test_a_plan_that_is_replaced_must_be_the_orders_own(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    old = reserve(engine, "W-1", a_plan(("A", "1", "X", 3)))
    before = everything(engine)
    stolen = Ask("W-2", a_plan(("A", "1", "X", 3)), "k", NOW, replaces=(old,))
    with pytest.raises(Exception, match="is no reservation of order 'W-2'"):
        take(engine, stolen)
    assert everything(engine) == before


def together(engine: Engine, jobs: list[tuple[Ask, Callable[[Session], None]]]) -> list[object]:
    """Let threads ask while another write keeps the first of them waiting, so that they meet."""
    reserver = Reserver(engine)

    def run(job: tuple[Ask, Callable[[Session], None]]) -> object:
        try:
            return reserver.reserve(*job)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        with transaction(engine) as session:
            session.execute(text("UPDATE positions SET usable = usable"))
            futures = [pool.submit(run, job) for job in jobs]
            met = threading.Event()
            met.wait(0.2)
        return [future.result(30) for future in futures]


def note(order_id: str) -> Callable[[Session], None]:
    """Write a row in the reservation's own transaction."""

    def write(session: Session) -> None:
        session.execute(
            text("INSERT INTO grants (order_id, granted_at) VALUES (:order_id, :at)"),
            {"order_id": order_id, "at": "2026-03-02 09:00:00.000000"},
        )

    return write


def noted(engine: Engine) -> list[str]:
    with reading(engine) as session:
        rows = session.execute(text("SELECT order_id FROM grants ORDER BY order_id"))
        return [str(order_id) for order_id in rows.scalars()]


def test_threads_at_the_same_time_each_get_their_own_answer(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 6})
    jobs = [(ask(f"W-{n}", ("A", "1", "X", 1)), note(f"W-{n}")) for n in range(9)]
    results = together(engine, jobs)
    granted = sorted(result for result in results if isinstance(result, str))
    assert len(granted) == 6
    assert sum(isinstance(result, ShortageError) for result in results) == 3
    assert noted(engine) == [reservation.removesuffix("-r1") for reservation in granted]
    assert filled(engine, "A", "X") == {"usable": 6, "reserved": 6}
    sound(engine)


def test_one_that_fails_does_not_take_the_others_along(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 20})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 1)))

    def fail(_session: Session) -> None:
        raise RuntimeError("the disk is full")

    jobs = [(ask(f"W-{n}", ("A", "1", "X", 1)), note(f"W-{n}")) for n in range(1, 6)]
    jobs.append((ask("W-0", ("A", "1", "X", 1), key="other"), note("W-0")))
    jobs.append((ask("W-9", ("A", "1", "X", 1)), fail))
    results = together(engine, jobs)
    assert results[:5] == [f"W-{n}-r1" for n in range(1, 6)]
    assert isinstance(results[5], ConflictError)
    assert str(results[6]) == "the disk is full"
    assert noted(engine) == [f"W-{n}" for n in range(1, 6)]
    assert filled(engine, "A", "X") == {"usable": 20, "reserved": 6}
    sound(engine)


def test_a_statement_that_fails_is_an_error_like_any_other_of_the_database(engine: Engine) -> None:
    bad = given("SELECT w.sku FROM {given} CROSS JOIN no_such_table", {"sku": "text"})
    with pytest.raises(DBAPIError) as raised, transaction(engine) as session:
        fetch(session, (bad, [{"sku": "private"}]))
    assert "no_such_table" in str(raised.value)
    assert "private" not in str(raised.value)


def test_a_hold_given_up_in_a_batch_serves_its_own_order_only(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 3})
    with transaction(engine) as session:
        item = HoldItem(line_id="1", node_id="A", sku="X", quantity=3)
        holds.hold(session, "cart", [item], lasting=timedelta(minutes=5), now=NOW)
        holds.bind(session, "cart", "W-2", now=at(1))
    outcomes = take(engine, ask("W-1", ("A", "1", "X", 1)), ask("W-2", ("A", "1", "X", 2)))
    assert outcomes == ["not enough: X at A", "W-2-r1"]
    assert filled(engine, "A", "X") == {"usable": 3, "reserved": 2}
    sound(engine)


class Gate:
    """Keeps the thread that reserves first in the middle of its transaction, until opened."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.is_open = threading.Event()

    def __call__(self, _session: Session) -> None:
        self.is_reached.set()
        assert self.is_open.wait(30)


class Asking(threading.Thread):
    """A thread that reserves, and what came of it."""

    def __init__(
        self, reserver: Reserver, ask: Ask, then: Callable[[Session], None] | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._job = (reserver, ask, then or note(ask.order_id))
        self.result: object = None
        self.start()

    def run(self) -> None:
        reserver, ask, then = self._job
        try:
            self.result = reserver.reserve(ask, then)
        except BaseException as error:
            self.result = error

    def answer(self) -> object:
        self.join(30)
        assert not self.is_alive(), "the thread still waits"
        return self.result


def queued(reserver: Reserver, number: int) -> None:
    """Wait until so many threads wait for the one that serves."""
    give_up = time.monotonic() + 30
    while len(reserver._queue) < number:
        assert time.monotonic() < give_up
        time.sleep(0.001)


def test_what_follows_the_reservations_of_a_batch_is_written_by_order_id(engine: Engine) -> None:
    # given: one serves, and three wait that came in another order
    a_world(engine, {("A", "X"): 9})
    reserver, gate = Reserver(engine), Gate()
    first = Asking(reserver, ask("W-0", ("A", "1", "X", 1)), gate)
    assert gate.is_reached.wait(30)
    written: list[str] = []
    waiting = []
    for number, order_id in enumerate(["W-3", "W-10", "W-2"], start=1):
        then = partial(lambda name, _session: written.append(name), order_id)
        waiting.append(Asking(reserver, ask(order_id, ("A", "1", "X", 1)), then))
        queued(reserver, number)

    # when
    gate.is_open.set()

    # then
    assert first.answer() == "W-0-r1"
    assert [one.answer() for one in waiting] == ["W-3-r1", "W-10-r1", "W-2-r1"]
    assert written == ["W-10", "W-2", "W-3"]
    sound(engine)


class StoppedError(Exception):
    """Raised into a thread from outside."""


def stop(thread: threading.Thread) -> None:
    """Raise in the thread as soon as it runs again."""
    assert thread.ident is not None
    told = ctypes.c_ulong(thread.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(told, ctypes.py_object(StoppedError))


@pytest.fixture
def untraced() -> Iterator[None]:
    """Without coverage's tracer: Python 3.11 hangs where a traced thread runs while an exception
    raised from outside waits for another."""
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    yield
    sys.settrace(here)
    threading.settrace(in_threads)


@pytest.mark.usefixtures("untraced")
def test_a_thread_that_is_stopped_when_its_turn_comes_lets_the_next_one_serve(
    engine: Engine,
) -> None:
    # given: one serves, two wait
    a_world(engine, {("A", "X"): 9})
    reserver, gate = Reserver(engine), Gate()
    first = Asking(reserver, ask("W-1", ("A", "1", "X", 1)), gate)
    assert gate.is_reached.wait(30)
    second = Asking(reserver, ask("W-2", ("A", "1", "X", 1)))
    queued(reserver, 1)
    third = Asking(reserver, ask("W-3", ("A", "1", "X", 1)))
    queued(reserver, 2)
    # when: the next to serve is stopped while it waits
    stop(second)
    gate.is_open.set()
    # then
    assert first.answer() == "W-1-r1"
    assert isinstance(second.answer(), StoppedError)
    assert third.answer() == "W-3-r1"
    assert Asking(reserver, ask("W-4", ("A", "1", "X", 1))).answer() == "W-4-r1"
    assert filled(engine, "A", "X") == {"usable": 9, "reserved": 3}
    sound(engine)


def test_a_thread_that_is_stopped_while_it_serves_lets_the_others_go_on(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 9})
    reserver, gate = Reserver(engine), Gate()

    def interrupted(session: Session) -> None:
        gate(session)
        raise KeyboardInterrupt

    first = Asking(reserver, ask("W-1", ("A", "1", "X", 1)), interrupted)
    assert gate.is_reached.wait(30)
    second = Asking(reserver, ask("W-2", ("A", "1", "X", 1)))
    queued(reserver, 1)
    # when
    gate.is_open.set()
    # then
    assert isinstance(first.answer(), KeyboardInterrupt)
    assert second.answer() == "W-2-r1"
    assert filled(engine, "A", "X") == {"usable": 9, "reserved": 1}
    sound(engine)


def test_nobody_waits_for_others_without_end_and_the_same_key_tells_what_came_of_it(
    engine: Engine,
) -> None:
    # given: one serves and does not come to an end
    a_world(engine, {("A", "X"): 9})
    reserver, gate = Reserver(engine, longest_wait=0.02), Gate()
    first = Asking(reserver, ask("W-1", ("A", "1", "X", 1)), gate)
    assert gate.is_reached.wait(30)
    # when
    second = Asking(reserver, ask("W-2", ("A", "1", "X", 1)))
    # then
    assert isinstance(second.answer(), RetryableError)
    gate.is_open.set()
    assert first.answer() == "W-1-r1"
    for order_id in ("W-1", "W-2"):
        again = Asking(reserver, ask(order_id, ("A", "1", "X", 1)))
        assert again.answer() == f"{order_id}-r1"
    assert filled(engine, "A", "X") == {"usable": 9, "reserved": 2}
    sound(engine)


@pytest.mark.parametrize("healthy", [0, 1])
def test_a_database_that_is_away_is_not_asked_again_for_each(engine: Engine, healthy: int) -> None:
    # given: one serves, four wait
    a_world(engine, {("A", "X"): 9})
    reserver, gate = Reserver(engine), Gate()
    asked: list[str] = []
    first = Asking(reserver, ask("W-1", ("A", "1", "X", 1)), gate)
    assert gate.is_reached.wait(30)

    def away(_session: Session) -> None:
        asked.append("away")
        raise OperationalError("", None, Exception("database is locked"))

    def wrong(_session: Session) -> None:
        asked.append("wrong")
        raise ConflictError("no")

    # when: with a wrong one before, they are split, and it goes away then
    jobs = [wrong] * healthy + [away] * (4 - healthy)
    threads = []
    for number, job in enumerate(jobs, start=2):
        threads.append(Asking(reserver, ask(f"W-{number}", ("A", "1", "X", 1)), job))
        queued(reserver, len(threads))
    gate.is_open.set()
    # then
    assert first.answer() == "W-1-r1"
    results = [type(thread.answer()) for thread in threads]
    assert results == [ConflictError] * healthy + [OperationalError] * (4 - healthy)
    assert asked == (["wrong", "wrong", "away"] if healthy else ["away"])
    assert filled(engine, "A", "X") == {"usable": 9, "reserved": 1}


def test_a_key_stands_for_one_plan_of_one_order(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 9})
    assert take(engine, ask("W-1", ("A", "1", "X", 1), key="k")) == ["W-1-r1"]
    before = everything(engine)
    # when
    others = [
        [ask("W-2", ("A", "1", "X", 1), key="k")],
        [ask("W-1", ("A", "1", "X", 2), key="k")],
        [ask("W-1", ("A", "1", "X", 1), key="k", version=2)],
        [ask("W-3", ("A", "1", "X", 1), key="n"), ask("W-3", ("A", "1", "X", 2), key="n")],
    ]
    # then
    for asks in others:
        with pytest.raises(ConflictError, match="was used for another plan's reservation"):
            take(engine, *asks)
    assert everything(engine) == before
    assert take(engine, ask("W-1", ("A", "1", "X", 1), key="k")) == ["W-1-r1"]


def test_a_key_from_before_contents_were_kept_is_answered_as_it_was(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    take(engine, ask("W-1", ("A", "1", "X", 1), key="k"))
    with transaction(engine) as session:
        session.execute(text("UPDATE operations SET content = NULL"))
    assert take(engine, ask("W-1", ("A", "1", "X", 1), key="k", version=2)) == ["W-1-r1"]
