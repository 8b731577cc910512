"""An order that was refused is planned by what is there now, and not refused again and again."""

import dataclasses
import threading
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from temporalio.testing import ActivityEnvironment

from activities import route as route_stage
from activities.context import Context
from activities.reserve import GrantTask, ReserveActivities, Reserved, ReserveTask
from activities.route import REFUSED, RouteActivities, RouteTask
from domain.errors import ShortageError
from domain.network import NodeKind
from domain.plans import Plan
from domain.routing.decision import Exclusion
from store import decisions, inventory, network, order_intake, policies, reporting, reservations
from store.engine import reading, transaction
from tests.integration.store.builders import (
    NOW,
    PRODUCTS,
    a_network,
    a_node,
    a_plan,
    an_order,
    everything,
    filled,
    reserve,
)

STORES = tuple(f"S{number}" for number in range(1, 6))


@dataclasses.dataclass
class Shop:
    """Stores with few units, a DC with many, and the two steps that take an order's plan."""

    engine: Engine
    policy: str

    def task(self, order_id: str, units: int, version: int = 1, *refused: str) -> RouteTask:
        masks = tuple(Exclusion(node_id=node, sku="X", reason=REFUSED) for node in refused)
        return RouteTask(
            order_id=order_id,
            version=1,
            routing_policy=self.policy,
            process_policy="unused",
            units={"1": units},
            plan_version=version,
            rerouted=version > 1,
            exclusions=masks,
        )

    def route(self, task: RouteTask) -> Plan:
        context = Context(self.engine, {}, {})  # type: ignore[arg-type]
        return at_noon().run(RouteActivities(context).route, task)

    def reserve(self, order_id: str, plan: Plan) -> Reserved:
        context = Context(self.engine, {}, {})  # type: ignore[arg-type]
        # As the workflow hands it over.
        told = Plan.model_validate_json(plan.model_dump_json())
        task = ReserveTask(order_id=order_id, plan=told, at=NOW)
        return at_noon().run(ReserveActivities(context).reserve, task)

    def accept(self, order_id: str, units: int) -> None:
        order = an_order(order_id, (("1", "X", units),))
        with transaction(self.engine) as session:
            order_intake.accept_order(session, order, content_hash="h", entered_by="t", now=NOW)


def at_noon() -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, scheduled_time=NOW)
    return environment


def a_shop(engine: Engine, stock: Mapping[str, int]) -> Shop:
    """Stores are cheaper than the DC, S1 the cheapest of them."""
    stores = [
        a_node(name, kind=NodeKind.STORE, cost_per_order=str(number))
        for number, name in enumerate(STORES)
    ]
    with transaction(engine) as session:
        whole = a_network(*stores, a_node("DC", cost_per_order="20"))
        network.import_network(session, whole, PRODUCTS, NOW)
        for node_id, units in stock.items():
            inventory.receive(session, node_id, "X", units, key=f"first/{node_id}", now=NOW)
        policy = policies.publish(session, "routing", {"name": "test"}, NOW)
    return Shop(engine, policy)


def nodes(plan: Plan) -> list[tuple[str, int]]:
    return [(x.node_id, line.quantity) for x in plan.fulfillments for line in x.lines]


def others_take(engine: Engine, node_id: str, units: int) -> None:
    reserve(engine, f"O-{node_id}", a_plan((node_id, "1", "X", units)))


def test_a_refused_order_takes_its_next_plan_at_once_so_that_nobody_gets_in_between(
    engine: Engine,
) -> None:
    # given: stores with one unit each, and a plan made while S1 still had its
    shop = a_shop(engine, {**dict.fromkeys(STORES, 1), "DC": 50})
    shop.accept("W-1", 1)
    first = shop.route(shop.task("W-1", 1))
    others_take(engine, "S1", 1)
    refused = shop.reserve("W-1", first)
    assert (nodes(first), refused.refused) == ([("S1", 1)], (("S1", "X"),))
    # when: it is routed again, and others want what it is routed to before it is reserved
    again = shop.route(shop.task("W-1", 1, 2, "S1"))
    with pytest.raises(ShortageError):
        others_take(engine, "S2", 1)
    reserved = shop.reserve("W-1", again)
    # then
    assert nodes(again) == [("S2", 1)]
    assert reserved == Reserved(reservation_id="W-1-r2")
    assert filled(engine, "S2", "X") == {"usable": 1, "reserved": 1}
    with reading(engine) as session:
        assert set(reporting.consistency(session).values()) == {0}


def test_what_a_node_that_refused_still_has_counts(engine: Engine) -> None:
    # given: S1 had five when it was routed, and has three
    shop = a_shop(engine, {"S1": 5, "S2": 2})
    shop.accept("W-1", 5)
    first = shop.route(shop.task("W-1", 5))
    others_take(engine, "S1", 2)
    assert shop.reserve("W-1", first).refused == (("S1", "X"),)
    # when
    again = shop.route(shop.task("W-1", 5, 2, "S1"))
    # then: all five are found, not only the two elsewhere
    assert sorted(nodes(again)) == [("S1", 3), ("S2", 2)]
    assert again.missing == ()
    assert filled(engine, "S1", "X") == {"usable": 5, "reserved": 5}


def test_a_repeat_of_the_route_step_answers_the_plan_that_was_reserved(engine: Engine) -> None:
    shop = a_shop(engine, {"S1": 2, "S2": 2})
    shop.accept("W-1", 2)
    others_take(engine, "S1", 1)
    task = shop.task("W-1", 2, 2, "S1")
    first = shop.route(task)
    before = everything(engine)
    assert shop.route(task) == first
    assert everything(engine) == before
    with reading(engine) as session:
        request, _ = decisions.load_choice(session, first.decision_id)
    assert request.exclusions == ()


def test_where_nothing_is_left_nothing_is_reserved(engine: Engine) -> None:
    shop = a_shop(engine, {"S1": 1})
    shop.accept("W-1", 1)
    others_take(engine, "S1", 1)
    plan = shop.route(shop.task("W-1", 1, 2, "S1"))
    assert nodes(plan) == []
    assert [(x.line_id, x.quantity) for x in plan.missing] == [("1", 1)]
    with reading(engine) as session:
        assert reservations.reserved_plan(session, "W-1", 2) is None


def test_who_is_refused_while_deciding_is_masked_there_and_in_the_end_routed_as_ever(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: whatever is decided, somebody is quicker; also with the capacity of S2
    shop = a_shop(engine, dict.fromkeys(STORES, 1))
    shop.accept("W-1", 1)
    real, tried = reservations.reserve_plan, []

    def refuse(*arguments: object, **named: object) -> str:
        plan = arguments[2]
        assert isinstance(plan, Plan)
        [(node, _)] = nodes(plan)
        tried.append(node)
        raise ShortageError("gone", short=((node, "" if node == "S2" else "X"),))

    monkeypatch.setattr(reservations, "reserve_plan", refuse)
    # when
    plan = shop.route(shop.task("W-1", 1, 2, "S1"))
    # then: the unreserved plan is left to the reserve step
    assert tried == ["S1", "S2", "S3", "S4", "S5"]
    assert nodes(plan) == [("S2", 1)]
    monkeypatch.setattr(reservations, "reserve_plan", real)
    with reading(engine) as session:
        assert reservations.reserved_plan(session, "W-1", 2) is None
    assert shop.reserve("W-1", plan).reservation_id == "W-1-r2"


def test_an_order_of_many_lines_is_routed_without_keeping_others_from_writing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_stage, "MOST_LINES_AT_ONCE", 0)
    shop = a_shop(engine, {"S1": 1, "S2": 1})
    shop.accept("W-1", 1)
    plan = shop.route(shop.task("W-1", 1, 2, "S1"))
    assert nodes(plan) == [("S2", 1)]
    assert filled(engine, "S2", "X") == {"usable": 1}


def test_orders_that_want_the_last_units_of_many_stores_get_them_in_two_attempts(
    engine: Engine,
) -> None:
    # given: five orders that all saw one unit in each of five stores, and prefer the same
    shop = a_shop(engine, dict.fromkeys(STORES, 1))
    names = [f"W-{number}" for number in range(1, 6)]
    for name in names:
        shop.accept(name, 1)
    stale = {name: shop.route(shop.task(name, 1)) for name in names}
    assert {tuple(nodes(plan)) for plan in stale.values()} == {(("S1", 1),)}
    start, outcomes = threading.Barrier(len(names)), dict[str, list[str]]()

    def place(name: str) -> None:
        start.wait()
        got = [shop.reserve(name, stale[name])]
        if got[0].refused:
            plan = shop.route(shop.task(name, 1, 2, "S1"))
            got.append(shop.reserve(name, plan))
        outcomes[name] = ["refused" if x.reservation_id is None else "reserved" for x in got]

    # when
    threads = [threading.Thread(target=place, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # then
    assert sorted(map(tuple, outcomes.values())) == [
        *[("refused", "reserved")] * 4,
        ("reserved",),
    ]
    assert [filled(engine, store, "X") for store in STORES] == [{"usable": 1, "reserved": 1}] * 5


def test_a_grant_leaves_what_is_kept_for_the_orders_next_plan(engine: Engine) -> None:
    # given: a line is planned again just as supply is granted to another line of the order
    shop = a_shop(engine, {"S1": 2})
    order = an_order("W-1", (("1", "X", 2), ("2", "Y", 1)))
    with transaction(engine) as session:
        order_intake.accept_order(session, order, content_hash="h", entered_by="t", now=NOW)
    reserve(engine, "W-1", a_plan(("S1", "1", "X", 2)))
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-1", [("2", "Y", 1)], demand_class="", promise_at=None, key="b", now=NOW
        )
        (grant,) = inventory.receive(session, "DC", "Y", 1, key="y", now=NOW)
        until = NOW + timedelta(minutes=15)
        units = [(1, "S1", "1", 2)]
        reservations.free_reserved(session, "W-1", units, key="f", now=NOW, kept_until=until)
    task = GrantTask(
        order_id="W-1",
        version=1,
        routing_policy=shop.policy,
        process_policy="unused",
        reservation_id=grant.reservation_id,
        plan_version=2,
    )
    # when
    context = Context(engine, {}, {})  # type: ignore[arg-type]
    plan = at_noon().run(ReserveActivities(context).take_grant, task)
    # then
    assert nodes(plan) == [("DC", 1)]
    assert filled(engine, "DC", "Y") == {"usable": 1, "reserved": 1}
    assert filled(engine, "S1", "X") == {"usable": 2, "held": 2}
