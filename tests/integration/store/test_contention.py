"""Many threads want the same few units: exactly what is there is given, once."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from domain.errors import ShortageError
from domain.plans import Plan
from store import inventory, reporting, reservations
from store.engine import reading, transaction
from tests.integration.store.builders import (
    DATE,
    NOW,
    a_plan,
    a_world,
    at,
    filled,
    position,
    release,
    reserve,
    used_capacity,
)

THREADS = 8


def in_threads(jobs: list[Callable[[], object]]) -> list[object]:
    """Run the jobs in several threads; what each returned, or raised."""

    def run(job: Callable[[], object]) -> object:
        try:
            return job()
        except Exception as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, jobs))


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 (the same shuffle in every run)


def only_shortages(results: list[object]) -> int:
    """How many were refused for want of stock; every other error fails the test."""
    errors = [result for result in results if isinstance(result, Exception)]
    assert [error for error in errors if not isinstance(error, ShortageError)] == []
    return len(errors)


def sound(engine: Engine) -> None:
    with reading(engine) as session:
        assert set(reporting.consistency(session).values()) == {0}


@pytest.mark.parametrize("units", [1, 2])
def test_few_units_wanted_by_many_with_every_request_twice_are_given_exactly_once(
    engine: Engine, units: int
) -> None:
    stock, orders = 40, 60
    a_world(engine, {("A", "X"): stock})

    def job(number: int) -> Callable[[], object]:
        return lambda: reserve(engine, f"W-{number}", a_plan(("A", "1", "X", units)))

    numbers = [n for n in range(orders) for _ in range(2)]
    rng(1).shuffle(numbers)
    results = in_threads([job(number) for number in numbers])
    refused = only_shortages(results)
    granted = {str(result) for result in results if isinstance(result, str)}
    assert len(granted) == stock // units
    # A repeat of a granted request is answered like the first; a refused one is refused again.
    assert refused == 2 * (orders - len(granted))
    assert filled(engine, "A", "X") == {"usable": stock, "reserved": stock}
    sound(engine)


def test_orders_over_several_nodes_in_any_order_neither_deadlock_nor_take_a_part(
    engine: Engine,
) -> None:
    stock = 12
    places = [("A", "X"), ("A", "Y"), ("B", "X"), ("B", "Y")]
    a_world(engine, dict.fromkeys(places, stock))
    chance = rng(2)

    def job(number: int) -> Callable[[], object]:
        chosen = chance.sample(places, 3)
        rows = [(node, str(n), sku, 1) for n, (node, sku) in enumerate(chosen)]
        return lambda: reserve(engine, f"W-{number}", a_plan(*rows))

    results = in_threads([job(number) for number in range(60)])
    granted = len(results) - only_shortages(results)
    taken = sum(position(engine, node, sku).reserved for node, sku in places)
    assert taken == 3 * granted
    # Nobody else could have been served: at most two of the four places have units left.
    assert sum(position(engine, *place).sellable > 0 for place in places) <= 2
    sound(engine)


def test_the_last_capacity_of_a_day_is_given_once(engine: Engine) -> None:
    a_world(engine, {("NARROW", "X"): 100})
    jobs: list[Callable[[], object]] = [
        lambda n=n: reserve(engine, f"W-{n}", a_plan(("NARROW", "1", "X", 2)))  # type: ignore[misc]
        for n in range(12)
    ]
    results = in_threads(jobs)
    assert len(results) - only_shortages(results) == 2
    with reading(engine) as session:
        assert used_capacity(session, "NARROW", DATE) == (4, 2)
    assert position(engine, "NARROW", "X").reserved == 4


def test_plans_replaced_crosswise_at_once_never_deadlock_or_lose_a_unit(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10, ("B", "X"): 10})
    for number in range(8):
        node = "A" if number % 2 else "B"
        reserve(engine, f"W-{number}", a_plan((node, "1", "X", 2)))

    def swap(number: int, version: int) -> Callable[[], object]:
        node = "A" if (number + version) % 2 else "B"
        plan = a_plan((node, "1", "X", 2), version=version)

        def run() -> object:
            with transaction(engine) as session:
                return reservations.reserve_plan(
                    session,
                    f"W-{number}",
                    plan,
                    key=f"W-{number}/reserve/{version}",
                    now=NOW,
                    replaces=[f"W-{number}-r{other}" for other in range(1, version)],
                )

        return run

    for version in range(2, 6):
        only_shortages(in_threads([swap(number, version) for number in range(8)]))
    total = position(engine, "A", "X").reserved + position(engine, "B", "X").reserved
    assert total == 16
    sound(engine)


def test_a_cancel_and_a_release_at_once_leave_every_unit_in_one_place(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 20})
    plans: dict[str, Plan] = {}
    for number in range(10):
        plans[f"W-{number}"] = a_plan(("A", "1", "X", 2))
        reserve(engine, f"W-{number}", plans[f"W-{number}"])

    def free(order_id: str) -> object:
        with transaction(engine) as session:
            reservations.free_reserved(
                session, order_id, [(1, "A", "1", 2)], key=f"{order_id}/free", now=NOW
            )
        return "freed"

    jobs: list[Callable[[], object]] = []
    for order_id, plan in plans.items():
        jobs.append(lambda o=order_id: free(o))  # type: ignore[misc]
        jobs.append(lambda o=order_id, p=plan: release(engine, o, p))  # type: ignore[misc]
    results = in_threads(jobs)
    for freed, released in zip(results[::2], results[1::2], strict=True):
        assert (freed == "freed") != (released is True)
    released_units = 2 * sum(result is True for result in results)
    assert position(engine, "A", "X").released == released_units
    assert position(engine, "A", "X").sellable == 20 - released_units
    sound(engine)


def test_arrivals_and_buyers_at_once_serve_the_waiting_first_and_sell_nothing_twice(
    engine: Engine,
) -> None:
    a_world(engine)
    with transaction(engine) as session:
        for number in range(10):
            reservations.add_backorder(
                session,
                f"B-{number}",
                [("1", "X", 2)],
                demand_class="",
                promise_at=None,
                key=f"B-{number}",
                now=at(number),
            )

    def receive(number: int) -> object:
        with transaction(engine) as session:
            return inventory.receive(session, "A", "X", 3, key=f"in/{number}", now=NOW)

    jobs: list[Callable[[], object]] = []
    for number in range(10):
        # Each arrival is reported twice, as feeds do.
        jobs += [lambda n=number: receive(n)] * 2  # type: ignore[misc]
        jobs.append(lambda n=number: reserve(engine, f"W-{n}", a_plan(("A", "1", "X", 1))))  # type: ignore[misc]
    rng(3).shuffle(jobs)
    results = in_threads(jobs)
    only_shortages(results)
    held = position(engine, "A", "X")
    assert (held.usable, held.claimed) == (30, 20)
    assert held.reserved <= 10
    sound(engine)


def test_a_line_of_a_kit_that_another_changes_right_now_keeps_the_others_waiting(
    engine: Engine,
) -> None:
    # given: an order waits for two parts that must come together
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer, so nothing changes at the same moment")
    a_world(engine)
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            "W-1",
            [("1", "X", 1), ("2", "Y", 1)],
            demand_class="",
            promise_at=None,
            key="W-1",
            now=NOW,
            bundles={"1": "set", "2": "set"},
        )
    # when: one part arrives while an arrival elsewhere looks at the other's line
    of_another = text("SELECT 1 FROM backorders WHERE line_id = '2' FOR UPDATE")
    with engine.connect() as another:
        another.execute(of_another)
        with transaction(engine) as session:
            assert inventory.receive(session, "A", "X", 1, key="x", now=NOW) == ()
        another.rollback()
    # then: both are granted once they lie at one node
    assert position(engine, "A", "X").claimed == 0
    with transaction(engine) as session:
        grants = inventory.receive(session, "A", "Y", 1, key="y", now=NOW)
    assert [(x.line_id, x.node_id) for x in grants] == [("1", "A"), ("2", "A")]
    sound(engine)


def test_a_hand_over_reported_many_times_at_once_takes_the_units_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    plan = a_plan(("A", "1", "X", 4))
    reserve(engine, "W-1", plan)
    release(engine, "W-1", plan)
    start = threading.Barrier(THREADS)

    def hand_over(key: str) -> object:
        start.wait()
        with transaction(engine) as session:
            return reservations.consume(session, "W-1-1", [("1", 3)], key=key, now=NOW)

    results = in_threads([lambda n=n: hand_over(f"k{n % 2}") for n in range(THREADS)])  # type: ignore[misc]
    # Two different events of 3 units each for 4 released ones: never more than 4.
    assert sorted(map(str, results)) == ["[('1', 1)]"] * 4 + ["[('1', 3)]"] * 4
    assert filled(engine, "A", "X") == {"usable": 6}
    sound(engine)


def test_a_new_plan_waits_for_a_days_capacity_without_keeping_another_days(engine: Engine) -> None:
    # given: somebody has the day of A, and a plan moves from B to A
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer, so nobody waits for rows")
    a_world(engine, {("A", "X"): 5, ("B", "X"): 5})
    reserve(engine, "W-0", a_plan(("A", "1", "X", 1)))
    old = reserve(engine, "W-1", a_plan(("B", "1", "X", 1)))
    on_day = text("SELECT 1 FROM capacity WHERE node_id = :node_id FOR UPDATE NOWAIT")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def move() -> None:
        with transaction(engine) as session:
            plan = a_plan(("A", "1", "X", 1), version=2)
            reservations.reserve_plan(session, "W-1", plan, key="k", now=NOW, replaces=[old])

    with ThreadPoolExecutor(1) as pool:
        with engine.connect() as holder:
            holder.execute(on_day, {"node_id": "A"})
            moved = pool.submit(move)
            with engine.connect() as looker:
                while not looker.execute(waiting).scalar_one():
                    assert not moved.done()
            # then: days are locked in one order, so whoever has A may go on to B
            holder.execute(on_day, {"node_id": "B"})
            holder.rollback()
        moved.result(30)
    with reading(engine) as session:
        assert used_capacity(session, "A", DATE) == (2, 2)
        assert used_capacity(session, "B", DATE) == (0, 0)
    sound(engine)
