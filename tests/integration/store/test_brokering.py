"""Moving reserved plans: all of a group or none, and never what is released."""

import multiprocessing
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from domain.brokering import Standing
from domain.errors import ConflictError, FinalError, ShortageError
from domain.plans import Plan
from domain.routing.decision import Decision as Decided
from domain.routing.decision import DecisionRequest, Exclusion, Option, Purpose, Snapshot
from domain.routing.policy import RoutingPolicy
from store import brokering, decisions, moves, order_intake, outbox, reporting, reservations
from store.brokering import Move
from store.columns import statement
from store.engine import open_engine, reading, transaction
from tests.conftest import empty
from tests.integration.store.builders import (
    DATE,
    NOW,
    PlanRow,
    a_plan,
    a_world,
    an_order,
    at,
    everything,
    filled,
    fulfillments_of_plan,
    release,
    reserve,
    used_capacity,
)
from tests.integration.store.test_any_sequence import (
    ORDERS_UNLIKE_RESERVATIONS,
)
from tests.integration.store.test_contention import in_threads


def an_intake(engine: Engine, order_id: str) -> None:
    order = an_order(order_id)
    with transaction(engine) as session:
        order_intake.accept_order(
            session,
            order,
            content_hash=order_intake.content_hash(order),
            entered_by="shop",
            now=NOW,
        )


def reserved(engine: Engine, order_id: str, *rows: PlanRow, version: int = 1) -> Plan:
    an_intake(engine, order_id)
    plan = a_plan(*rows, version=version)
    reserve(engine, order_id, plan)
    return plan


def a_move(order_id: str, before: Plan, *rows: PlanRow) -> Move:
    version = before.plan_version + 1
    request = DecisionRequest(
        request_id=f"{order_id}-d{version}", purpose=Purpose.REROUTE, now=NOW, lines=(), groups=()
    )
    return Move(
        standing=Standing(order_id, request, before),
        plan=a_plan(*rows, version=version).model_copy(update={"decision_id": request.request_id}),
        option=Option(service_level="standard"),
        decision={
            "decision_id": request.request_id,
            "order_id": order_id,
            "saved_at": NOW,
            "record": b"",
        },
        before=5_000_000,
        why="a test",
    )


def move(engine: Engine, *group: Move, run_id: str = "run-1") -> None:
    with transaction(engine) as session:
        brokering.move_together(session, run_id, group, NOW)


def free(engine: Engine, order_id: str, *units: reservations.Units, key: str) -> None:
    """What a workflow does that knows only the plan before."""
    with transaction(engine) as session:
        now_at = moves.followed(session, order_id, units)
        reservations.free_reserved(session, order_id, now_at, key=key, now=NOW)


def books_are_right(engine: Engine) -> None:
    with reading(engine) as session:
        found = reporting.consistency(session)
        assert {name: units for name, units in found.items() if units} == {}
        assert session.execute(ORDERS_UNLIKE_RESERVATIONS).all() == []


def test_two_orders_swap_units_of_which_none_is_free(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 2, ("B", "X"): 2})
    first = reserved(engine, "W-1", ("A", "1", "X", 2))
    second = reserved(engine, "W-2", ("B", "1", "X", 2))
    # when
    move(
        engine,
        a_move("W-1", first, ("B", "1", "X", 2)),
        a_move("W-2", second, ("A", "1", "X", 2)),
    )
    # then
    assert filled(engine, "A", "X") == filled(engine, "B", "X") == {"usable": 2, "reserved": 2}
    with reading(engine) as session:
        assert used_capacity(session, "A", DATE) == (2, 1)
        assert [moves.current_plan(session, x, 1).plan_version for x in ("W-1", "W-2")] == [2, 2]
        assert reservations.plan_state(session, "W-1", 1) == "freed"
        assert reservations.plan_state(session, "W-1", 2) == "reserved"
        told = outbox.counts(session)
        kept = brokering.moves_of(session, "run-1")
    assert told["waiting"] == 2
    assert [(x.order_id, x.from_version, x.to_version, x.why) for x in kept] == [
        ("W-1", 1, 2, "a test"),
        ("W-2", 1, 2, "a test"),
    ]
    books_are_right(engine)


def test_a_group_of_which_one_was_released_stays_whole(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 2, ("B", "X"): 2})
    first = reserved(engine, "W-1", ("A", "1", "X", 2))
    second = reserved(engine, "W-2", ("B", "1", "X", 2))
    assert release(engine, "W-2", second)
    before = everything(engine)
    # when
    with pytest.raises(ConflictError, match="W-2' was released or changed"):
        move(
            engine,
            a_move("W-1", first, ("B", "1", "X", 2)),
            a_move("W-2", second, ("A", "1", "X", 2)),
        )
    # then
    assert everything(engine) == before


def test_a_move_to_what_others_took_changes_nothing(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 2, ("B", "X"): 1, ("NARROW", "X"): 9})
    first = reserved(engine, "W-1", ("A", "1", "X", 2))
    for number in (3, 4):
        reserved(engine, f"W-{number}", ("NARROW", "1", "X", 1))
    before = everything(engine)
    # when
    for node_id, short in (("B", ("B", "X")), ("NARROW", ("NARROW", ""))):
        with pytest.raises(ShortageError) as refusal:
            move(engine, a_move("W-1", first, (node_id, "1", "X", 2)))
        # then
        assert refusal.value.short == (short,)
        assert everything(engine) == before


def test_a_move_that_is_sent_twice_moves_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 2, ("B", "X"): 2})
    first = reserved(engine, "W-1", ("A", "1", "X", 2))
    one = a_move("W-1", first, ("B", "1", "X", 2))
    move(engine, one)
    before = everything(engine)

    move(engine, one)

    assert everything(engine) == before


def test_units_that_are_partly_freed_meanwhile_are_not_moved(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 2, ("B", "X"): 2})
    first = reserved(engine, "W-1", ("A", "1", "X", 2))
    free(engine, "W-1", (1, "A", "1", 1), key="f-1")
    before = everything(engine)

    with pytest.raises(ConflictError):
        move(engine, a_move("W-1", first, ("B", "1", "X", 2)))

    assert everything(engine) == before


def test_who_knows_the_plan_before_frees_and_cannot_release_it(engine: Engine) -> None:
    # given a plan that was moved twice
    a_world(engine, {("A", "X"): 3, ("B", "X"): 3, ("B", "Y"): 1, ("A", "Y"): 1})
    first = reserved(engine, "W-1", ("A", "1", "X", 3), ("A", "2", "Y", 1))
    one = a_move("W-1", first, ("B", "1", "X", 3), ("B", "2", "Y", 1))
    move(engine, one)
    other = a_move("W-1", one.plan, ("A", "1", "X", 1), ("B", "1", "X", 2), ("B", "2", "Y", 1))
    move(engine, other, run_id="run-2")
    # when
    free(engine, "W-1", ("W-1-r1", "A", "1", 2), key="f-1")
    # then those at the node that it knows come first
    assert filled(engine, "A", "X") == {"usable": 3}
    assert filled(engine, "B", "X") == {"usable": 3, "reserved": 1}
    with reading(engine) as session:
        plan = moves.current_plan(session, "W-1", 1)
        assert moves.moved_to(session, "W-1", 1) == moves.moved_to(session, "W-1", 2) == 3
    assert (plan.plan_version, plan.replaces) == (3, (1, 2))
    assert [(x.node_id, [y.quantity for y in x.lines]) for x in plan.fulfillments] == [
        ("B", [1, 1])
    ]
    # when
    assert not release(engine, "W-1", first)
    with transaction(engine) as session:
        given_up = moves.unknown(session, "W-1", ["W-1-r1", "W-1-r3"], [2])
        orders = fulfillments_of_plan("W-1", plan)
        assert reservations.claim_release(session, "W-1", 3, orders, key="r", now=NOW)
    # then
    assert given_up == ("W-1-r1",)
    assert filled(engine, "B", "X") == {"usable": 3, "released": 1}
    with pytest.raises(ConflictError):
        free(engine, "W-1", ("W-1-r1", "A", "1", 1), key="f-2")
    free(engine, "W-1", key="f-3")
    books_are_right(engine)


def test_what_a_grant_reserves_is_freed_where_it_is(engine: Engine) -> None:
    with transaction(engine) as session:
        assert moves.followed(session, "W-1", [("W-1-g7", "A", "1", 2)]) == [
            ("W-1-g7", "A", "1", 2)
        ]


def as_reserved(engine: Engine, order_id: str, **changes: object) -> None:
    """What the workflow writes of a reserved order."""
    facts = {"stage": "reserved", "release_at": at(60), "routing_policy": "p@1", **changes}
    sets = ", ".join(f"{name} = :{name}" for name in facts)
    write = statement(f"UPDATE orders SET {sets} WHERE order_id = :order_id", "orders")  # noqa: S608 (own names)
    with transaction(engine) as session:
        session.execute(write, {**facts, "order_id": order_id})


def a_decision(engine: Engine, order_id: str) -> None:
    """The record of the plan that `a_plan` names, with exclusions."""
    request = DecisionRequest.model_validate(
        {
            "request_id": "D-1",
            "purpose": "route",
            "now": NOW,
            "lines": [
                {"line_id": "1", "sku": "X", "quantity": 3},
                {"line_id": "2", "sku": "Y", "quantity": 1, "ship_group": "2"},
            ],
            "groups": [{"group_id": "1"}, {"group_id": "2"}],
            "exclusions": [
                {"node_id": "NET", "reason": "refused at reserve"},
                {"node_id": "OFF", "reason": "forbidden for this order by a person"},
            ],
        }
    )
    with transaction(engine) as session:
        decided = Decided(
            request_id="D-1", policy_version="p@1", snapshot_id="s", options=(), chosen=None
        )
        snapshot = Snapshot(availability={}, nodes=())
        policy = RoutingPolicy(name="p")
        decisions.save_decision(session, "D-1", order_id, request, snapshot, policy, decided, NOW)


def looked_at(engine: Engine, run_id: str = "run-1") -> list[Standing]:
    after = at(10)
    with transaction(engine) as session:
        batches = brokering.start(session, run_id, release_after=after, most=10, now=NOW)
        return [
            standing
            for batch in batches
            for standing in brokering.standings(
                session, run_id, batch, release_after=after, now=at(5)
            )
        ]


def test_a_run_sees_the_units_that_are_still_reserved_under_the_orders_own_noes(
    engine: Engine,
) -> None:
    # given an order of which a part was freed
    a_world(engine, {("A", "X"): 3, ("A", "Y"): 1})
    reserved(engine, "W-1", ("A", "1", "X", 3), ("A", "2", "Y", 1))
    as_reserved(engine, "W-1", plan_version=4)
    a_decision(engine, "W-1")
    free(engine, "W-1", (1, "A", "1", 1), (1, "A", "2", 1), key="f-1")
    # when
    [standing] = looked_at(engine)
    # then
    assert standing.places == {("A", "1"): 2}
    assert (standing.is_whole, standing.next_version) == (False, 5)
    request = standing.request
    assert [(x.line_id, x.quantity) for x in request.lines] == [("1", 2)]
    assert [x.group_id for x in request.groups] == ["1"]
    assert request.exclusions == (
        Exclusion(node_id="OFF", reason="forbidden for this order by a person"),
    )
    assert (request.now, request.purpose) == (at(5), Purpose.REROUTE)
    assert request.request_id.startswith("W-1-d5-")
    with reading(engine) as session:
        assert brokering.run(session, "run-1").looked_at == 1


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "released"},
        {"closed": True},
        {"needs_attention": True},
        {"routing_policy": None},
        {"release_at": at(9)},
        {"release_at": None},
        {"holds": [{"type": "support"}]},
    ],
)
def test_orders_that_may_not_be_moved_are_not_looked_at(
    engine: Engine, change: dict[str, object]
) -> None:
    a_world(engine, {("A", "X"): 3})
    reserved(engine, "W-1", ("A", "1", "X", 3))
    a_decision(engine, "W-1")
    as_reserved(engine, "W-1")
    assert [x.order_id for x in looked_at(engine)] == ["W-1"]

    as_reserved(engine, "W-1", **change)

    assert looked_at(engine, "run-2") == []


def test_an_order_that_changes_after_it_was_chosen_is_left_out(engine: Engine) -> None:
    # given
    a_world(engine, {("A", "X"): 9})
    for order_id in ("W-1", "W-2", "W-3", "W-4"):
        reserved(engine, order_id, ("A", "1", "X", 1))
        as_reserved(engine, order_id)
    a_decision(engine, "W-1")
    with transaction(engine) as session:
        [batch] = brokering.start(session, "run-1", release_after=NOW, most=10, now=NOW)
    # when one is held, one is released and one is pinned to another policy
    as_reserved(engine, "W-2", holds=[{"type": "support"}])
    assert release(engine, "W-3", a_plan(("A", "1", "X", 1)))
    as_reserved(engine, "W-4", routing_policy="p@2")
    # then
    with reading(engine) as session:
        found = brokering.standings(session, "run-1", batch, release_after=NOW, now=NOW)
    assert [x.order_id for x in found] == ["W-1"]


def test_an_order_whose_decision_is_not_known_is_left_alone(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    reserved(engine, "W-1", ("A", "1", "X", 1))
    as_reserved(engine, "W-1")
    assert looked_at(engine) == []


def test_an_order_planned_in_two_parts_is_left_alone(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9})
    reserved(engine, "W-1", ("A", "1", "X", 1))
    reserve(engine, "W-1", a_plan(("A", "1", "X", 1), version=2))
    as_reserved(engine, "W-1")
    assert looked_at(engine) == []


def test_a_release_and_a_move_never_both_have_the_units(engine: Engine) -> None:
    """Whoever comes second changes nothing, however they meet."""
    # given
    count = 24
    a_world(engine, {("A", "X"): count, ("B", "X"): count})
    plans = {f"W-{n}": reserved(engine, f"W-{n}", ("A", "1", "X", 1)) for n in range(count)}
    jobs: list[Callable[[], object]] = []
    for n in range(0, count, 2):
        pair = [f"W-{n}", f"W-{n + 1}"]
        group = [a_move(x, plans[x], ("B", "1", "X", 1)) for x in pair]
        jobs.append(partial(move, engine, *group))
        jobs += [partial(release, engine, x, plans[x]) for x in pair]
    random.Random(5).shuffle(jobs)  # noqa: S311 (the same shuffle in every run)
    # when
    results = in_threads(jobs)
    # then
    errors = [x for x in results if isinstance(x, Exception)]
    assert all(isinstance(x, ConflictError) for x in errors), errors
    with reading(engine) as session:
        states = [
            {v: reservations.plan_state(session, f"W-{n}", v) for v in (1, 2) if v == 1 or moved}
            for n in range(count)
            for moved in [moves.moved_to(session, f"W-{n}", 1) == 2]
        ]
        moved = [x.order_id for x in brokering.moves_of(session, "run-1")]
    assert all(x in ({1: "released"}, {1: "freed", 2: "reserved"}) for x in states)
    pairs = {int(x.removeprefix("W-")) // 2 for x in moved}
    assert len(moved) == 2 * len(pairs)
    released = sum(x == {1: "released"} for x in states)
    at_a = filled(engine, "A", "X")
    assert at_a.get("released", 0) == released
    assert filled(engine, "B", "X").get("reserved", 0) == len(moved) == count - released
    books_are_right(engine)


def test_runs_that_move_the_same_orders_move_each_once(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 8, ("B", "X"): 8})
    plans = {f"W-{n}": reserved(engine, f"W-{n}", ("A", "1", "X", 1)) for n in range(8)}

    def run(number: int) -> None:
        # Each run pairs the orders in another way, so that they wait for each other's rows.
        names = [f"W-{(number * 3 + n) % 8}" for n in range(8)]
        for first, second in zip(names[::2], names[1::2], strict=True):
            group = [a_move(x, plans[x], ("B", "1", "X", 1)) for x in (first, second)]
            try:
                move(engine, *group, run_id=f"run-{number}")
            except ConflictError:
                continue

    results = in_threads([partial(run, n) for n in range(4)])

    assert [x for x in results if x is not None] == []
    books_are_right(engine)
    with reading(engine) as session:
        moved = [x.order_id for n in range(4) for x in brokering.moves_of(session, f"run-{n}")]
    assert len(moved) == len(set(moved))
    assert filled(engine, "B", "X").get("reserved", 0) == len(moved)


def _groups() -> list[list[Move]]:
    plan = a_plan(("A", "1", "X", 1))
    pairs = [(f"W-{n}", f"W-{n + 1}") for n in range(0, 40, 2)]
    return [[a_move(x, plan, ("B", "1", "X", 1)) for x in pair] for pair in pairs]


def _move_all(url: str) -> None:
    """A process that makes every move that can still be made."""
    engine = open_engine(url)
    for group in _groups():
        with suppress(ConflictError):
            move(engine, *group)
    engine.dispose()


def test_a_run_that_is_killed_in_its_middle_is_finished_by_another(
    engine: Engine, database_url: str
) -> None:
    # given
    a_world(engine, {("A", "X"): 40, ("B", "X"): 40})
    for n in range(40):
        reserved(engine, f"W-{n}", ("A", "1", "X", 1))
    # when a process is killed as soon as it has moved something
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=_move_all, args=(database_url,))
    first.start()
    while first.is_alive() and not moved_by(engine):
        first.join(0.001)
    first.kill()
    first.join()
    half = moved_by(engine)
    books_are_right(engine)
    # and another one does the same
    second = context.Process(target=_move_all, args=(database_url,))
    second.start()
    second.join()
    # then each was moved once, with its partner
    assert half
    assert len(half) % 2 == 0
    assert sorted(moved_by(engine)) == sorted(f"W-{n}" for n in range(40))
    assert filled(engine, "A", "X") == {"usable": 40}
    assert filled(engine, "B", "X") == {"usable": 40, "reserved": 40}
    with reading(engine) as session:
        assert outbox.counts(session)["waiting"] == 40
    books_are_right(engine)


def moved_by(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return [x.order_id for x in brokering.moves_of(session, "run-1")]


Step = tuple[str, int, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["move", "move", "swap", "release", "free", "reserve"]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    min_size=5,
    max_size=30,
)
NODE_IDS = ("A", "B", "NARROW")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
def test_no_unit_is_lost_or_made_whatever_moves_are_made_between_the_orders_own_steps(
    engine: Engine, taken: Sequence[Step]
) -> None:
    empty(engine)
    a_world(engine, {(node_id, "X"): 4 for node_id in NODE_IDS})
    orders = _Orders(engine)
    for number, step in enumerate(taken):
        try:
            orders.do(number, step)
        except FinalError:
            continue
        finally:
            books_are_right(engine)
    orders.units_are_where_they_were_put()


class _Orders:
    """Three orders whose workflows know only their first plan, and runs that move them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.known: dict[str, Plan] = {}
        self.held: dict[str, int] = {}
        self.released: dict[str, int] = {}
        for number in range(3):
            an_intake(engine, f"W-{number}")

    def do(self, number: int, step: Step) -> None:
        what, which, where, units = step
        order_id, node_id = f"W-{which}", NODE_IDS[where]
        if what == "reserve" and order_id not in self.known:
            plan = a_plan((node_id, "1", "X", units))
            reserve(self.engine, order_id, plan)
            self.known[order_id], self.held[order_id] = plan, units
        elif what == "move":
            self._move(number, {order_id: node_id})
        elif what == "swap":
            other = f"W-{(which + 1) % 3}"
            at_nodes = {x: self._current(x) for x in (order_id, other)}
            if all(x is not None and x.fulfillments for x in at_nodes.values()):
                first, second = (x.fulfillments[0].node_id for x in at_nodes.values() if x)
                self._move(number, {order_id: second, other: first})
        elif what == "free" and self.held.get(order_id):
            known = self.known[order_id].fulfillments[0].node_id
            quantity = min(units, self.held[order_id])
            free(self.engine, order_id, (1, known, "1", quantity), key=f"free-{number}")
            self.held[order_id] -= quantity
        elif what == "release" and self.held.get(order_id):
            self._release(order_id)

    def _current(self, order_id: str) -> Plan | None:
        if order_id not in self.known:
            return None
        with reading(self.engine) as session:
            found = moves.current_plan(session, order_id, 1)
        return Plan.model_validate(found.model_dump(exclude={"replaces"}))

    def _move(self, number: int, to: dict[str, str]) -> None:
        group = []
        for order_id, node_id in to.items():
            plan = self._current(order_id)
            if plan is None or not plan.fulfillments:
                return
            units = sum(x.quantity for f in plan.fulfillments for x in f.lines)
            group.append(a_move(order_id, plan, (node_id, "1", "X", units)))
        move(self.engine, *group, run_id=f"run-{number}")

    def _release(self, order_id: str) -> None:
        """As the workflow does: the plan it knows first, then what it became."""
        plan = self._current(order_id)
        assert plan is not None
        if plan.plan_version > 1:
            assert not release(self.engine, order_id, self.known[order_id])
        assert release(self.engine, order_id, plan)
        self.released[order_id], self.held[order_id] = self.held[order_id], 0

    def units_are_where_they_were_put(self) -> None:
        with reading(self.engine) as session:
            row = session.execute(
                text("SELECT sum(usable), sum(reserved), sum(released) FROM positions")
            ).one()
        assert tuple(row) == (12, sum(self.held.values()), sum(self.released.values()))
