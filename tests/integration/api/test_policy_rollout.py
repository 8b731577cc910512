"""Policies for a share of customers and for a time, their measures, guardrails and way back."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, text

from domain.policy_rollout import Terms, is_in_share
from domain.stages import Stage
from starter.policy_keeping import PolicyKeeper
from store import pins, policies
from store.engine import reading, transaction
from tests.integration.api.conftest import NOW, Clock, order_document, until
from tests.integration.api.test_policies import activate, pinned, publish, record


async def submit(api: httpx.AsyncClient, order_id: str, customer: str = "", **fields: Any) -> None:
    document = order_document(order_id=order_id, external_id=order_id, **fields)
    document["customer"] = {"customer_id": customer} if customer else {}
    answer = await api.post("/v1/orders", json=document)
    assert answer.status_code == 202, answer.text


async def start(api: httpx.AsyncClient, version: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(f"/v1/policies/{version}/activate", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_share_of_the_customers_goes_by_a_new_version_and_stays_in_it(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await submit(api, "W-0")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    customers = [f"C-{number}" for number in range(20)]
    chosen = {x for x in customers if is_in_share(trial, x, 50)}

    await start(api, trial, share=50)
    for customer in customers:
        await submit(api, f"W-{customer}", customer)
    await start(api, trial, share=80)
    for customer in customers:
        await submit(api, f"X-{customer}", customer)

    drawn = {x for x in customers if pinned(filled, f"W-{x}") == trial}
    later = {x for x in customers if pinned(filled, f"X-{x}") == trial}
    assert drawn == chosen
    assert 0 < len(drawn) < 20
    assert drawn <= later
    assert {pinned(filled, f"W-{x}") for x in customers} == {trial, before}


async def test_an_order_without_a_customer_is_drawn_by_its_own_id(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    trial = await publish(api, "trial")
    await start(api, trial, share=50)
    orders = [f"W-{number}" for number in range(20)]

    for order_id in orders:
        await submit(api, order_id)

    drawn = {x for x in orders if pinned(filled, x) == trial}
    assert drawn == {x for x in orders if is_in_share(trial, x, 50)}


async def test_a_process_policy_goes_out_to_a_share_and_back_as_a_routing_policy_does(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    body = {"kind": "process", "document": {"name": "trial", "reroute_attempts": 2}}
    trial = (await api.post("/v1/policies", json=body)).json()["version"]
    await start(api, trial, order_type="b2c", share=50)
    customers = [f"C-{number}" for number in range(10, 30)]
    for customer in customers:
        await submit(api, f"W-{customer}", customer)

    drawn = {x for x in customers if process_of(filled, f"W-{x}") == trial}
    assert drawn == {x for x in customers if is_in_share(trial, x, 50)}
    assert 0 < len(drawn) < 20
    answer = (await api.post(f"/v1/policies/{trial}/rollback")).json()

    assert {x["order_id"] for x in answer["repinned"]} == {f"W-{x}" for x in drawn}
    assert {process_of(filled, f"W-{x}") for x in customers}.isdisjoint({trial})


def process_of(engine: Engine, order_id: str) -> str:
    with reading(engine) as session:
        return pins.pinned(session, order_id, "process", "carried")


async def test_a_promise_and_its_order_go_by_one_version_whatever_the_share(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    trial = await publish(api, "trial", shipment_cost="9.00")
    await start(api, trial, share=50)
    inside = next(x for x in map(str, range(99)) if is_in_share(trial, f"C-{x}", 50))
    outside = next(x for x in map(str, range(99)) if not is_in_share(trial, f"C-{x}", 50))
    asked = {
        "items": [{"sku": "TEE", "quantity": 1}],
        "destination": {"country": "US", "region": "NY", "postal_code": "10001"},
    }

    known = (await api.post("/v1/promises", json={**asked, "customer_id": f"C-{inside}"})).json()
    unknown = (await api.post("/v1/promises", json=asked)).json()
    await submit(api, "W-1", f"C-{inside}", promise_id=unknown["promise_id"])
    await submit(api, "W-2", f"C-{outside}", promise_id=known["promise_id"])

    assert known["policy_version"] == trial
    assert unknown["policy_version"] != trial
    assert pinned(filled, "W-1") == unknown["policy_version"]
    assert pinned(filled, "W-2") == trial


async def test_an_activation_begins_and_ends_at_its_times(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    trial = await publish(api, "trial")
    begins, ends = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    await start(api, trial, starts_at=begins.isoformat(), ends_at=ends.isoformat())

    await submit(api, "W-1")
    clock.now = begins
    await submit(api, "W-2")
    clock.now = ends
    await submit(api, "W-3")

    before = pinned(filled, "W-1")
    assert [pinned(filled, x) for x in ("W-1", "W-2", "W-3")] == [before, trial, before]
    assert before != trial


async def test_when_its_time_is_over_its_unreleased_orders_are_pinned_to_what_holds(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    await submit(api, "W-0")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    await start(api, trial, ends_at=(NOW + timedelta(hours=2)).isoformat())
    await submit(api, "W-1")
    await submit(api, "W-2")
    record(filled, "W-2", Stage.PICKING)
    keeper = PolicyKeeper(filled, clock)

    keeper.keep()
    assert pinned(filled, "W-1") == trial
    clock.now = NOW + timedelta(hours=2)
    [done] = keeper.end_what_is_over()

    assert [x.order_id for x in done.repinned] == ["W-1"]
    assert (pinned(filled, "W-1"), pinned(filled, "W-2")) == (before, trial)
    [told] = (await api.get("/v1/orders/W-1")).json()["timeline"]
    assert told["text"] == f"Policy {trial} has ended: routing goes by {before} from now on"
    assert keeper.end_what_is_over() == []
    [row] = await activations_of(api, trial)
    assert row["ended_because"] == "ended"
    assert row["deactivated_at"] == row["ends_at"]


async def activations_of(api: httpx.AsyncClient, version: str) -> list[dict[str, Any]]:
    listed = (await api.get("/v1/policies")).json()["policies"]
    return [row for row in listed if row["version"] == version]


async def test_orders_for_which_another_activation_of_the_version_holds_keep_it(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await submit(api, "W-0", brand="other")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    await start(api, trial, brand="acme")
    await submit(api, "W-1", brand="acme")
    await start(api, trial)
    await submit(api, "W-2", brand="other")

    answer = (await api.post(f"/v1/policies/{trial}/rollback")).json()

    assert answer["repinned"] == [{"order_id": "W-2", "version": before}]
    assert (answer["kept"], answer["still_active"]) == ([], 1)
    assert (pinned(filled, "W-1"), pinned(filled, "W-2")) == (trial, before)


async def test_rolling_back_a_raised_share_brings_the_smaller_one_back(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    trial = await publish(api, "trial")
    await start(api, trial, share=20)
    await start(api, trial, share=100)
    orders = [f"W-{number}" for number in range(10)]
    for order_id in orders:
        await submit(api, order_id)
    assert {pinned(filled, x) for x in orders} == {trial}

    answer = (await api.post(f"/v1/policies/{trial}/rollback")).json()

    left = {x for x in orders if not is_in_share(trial, x, 20)}
    assert left
    assert {x["order_id"] for x in answer["repinned"]} == left
    assert {x for x in orders if pinned(filled, x) == trial} == set(orders) - left
    [ended] = [x for x in await activations_of(api, trial) if x["deactivated_at"]]
    assert (ended["share"], ended["ended_because"]) == (100, "rolled back")
    assert (await api.post(f"/v1/policies/{trial}/rollback")).json()["still_active"] == 0
    assert (await api.post(f"/v1/policies/{trial}/rollback")).status_code == 404
    assert (await api.post("/v1/policies/none/rollback")).status_code == 404


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ({"share": 101}, "share", "must be at most 100"),
        ({"share": 0.5}, "share", "must be a whole number"),
        ({"ends_at": NOW.isoformat()}, "ends_at", "must be in the future"),
        (
            {"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"},
            "ends_at",
            "must be later than starts_at",
        ),
        ({"guardrails": ["speed<=1"]}, "guardrails.0", "'speed' is not measured: use split_rate"),
        ({"rolls_back": True}, "rolls_back", "needs a guardrail that may break"),
        ({"minimum_orders": 0}, "minimum_orders", "must be at least 1"),
    ],
)
async def test_an_activation_that_makes_no_sense_is_refused_and_nothing_is_active(
    api: httpx.AsyncClient, filled: Engine, body: dict[str, Any], path: str, message: str
) -> None:
    trial = await publish(api, "trial")

    answer = await api.post(f"/v1/policies/{trial}/activate", json=body)

    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["path"] == path
    assert message in error["message"]
    with reading(filled) as session:
        assert policies.live_activations(session, trial) == []


async def test_activating_for_orders_whose_approvals_are_lost_is_warned_of(
    api: httpx.AsyncClient,
) -> None:
    document = {"name": "p", "order_types": ["b2b"], "approvals": [{"level": 1, "role": "manager"}]}
    body = {"kind": "process", "document": document}
    version = (await api.post("/v1/policies", json=body)).json()["version"]

    answer = await start(api, version, order_type="b2c")

    assert answer["warnings"] == [
        "order_types: leaves out b2c: its approvals are never asked there"
    ]


SHIPPED = text(
    "INSERT INTO fulfillments (fulfillment_id, order_id, plan_version, node_id, ship_group, method,"
    " document, revision, status, attention, awaits, closed, created_at, updated_at) VALUES (:id,"
    " :order_id, 1, 'dc-1', '1', 'ship', '{}', 1, :status, NULL, '', :closed, :at, :at)"
)
LINE = text(
    "INSERT INTO fulfillment_lines (fulfillment_id, line_id, sku, quantity, picked, shipped,"
    " delivered, cancelled, returned_to_order) VALUES (:id, '1', 'TEE', 1, 0, 0, 0, 0, :returned)"
)
PLANNED = text(
    "INSERT INTO plans (order_id, plan_version, state, document, saved_at)"
    " VALUES (:order_id, :version, :state, :document, :at)"
)
PROMISED = text("UPDATE orders SET promise_at = :at WHERE order_id = :order_id")
ARRIVED = text("UPDATE order_lines SET delivered = ordered, open = 0 WHERE order_id = :order_id")


def plan(engine: Engine, order_id: str, cost_micros: int, state: str, version: int = 1) -> None:
    document = f'{{"cost_micros": {cost_micros}}}'
    with transaction(engine) as session:
        row = {"order_id": order_id, "version": version, "state": state, "document": document}
        session.execute(PLANNED, {**row, "at": stamp(engine, 0)})


def stamp(engine: Engine, hours: float) -> Any:
    when = NOW + timedelta(hours=hours)
    return when.strftime("%Y-%m-%d %H:%M:%S.%f") if engine.dialect.name == "sqlite" else when


def ship(
    engine: Engine,
    order_id: str,
    *statuses: str,
    returned: int = 0,
    arrived: float = 0,
    promised: float | None = None,
) -> None:
    with transaction(engine) as session:
        for number, status in enumerate(statuses, start=1):
            key = f"{order_id}-{number}"
            row = {"id": key, "order_id": order_id, "status": status}
            session.execute(SHIPPED, {**row, "at": stamp(engine, arrived), "closed": False})
            gave_back = returned if number == 1 else 0
            session.execute(LINE, {"id": key, "returned": gave_back})
        if promised is not None:
            session.execute(PROMISED, {"order_id": order_id, "at": stamp(engine, promised)})
        if statuses and set(statuses) <= {"delivered"}:
            session.execute(ARRIVED, {"order_id": order_id})


async def test_a_version_is_reported_on_by_what_became_of_its_orders(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    trial = await publish(api, "trial")
    await submit(api, "W-old")
    await activate(api, trial)
    for number in range(1, 7):
        await submit(api, f"W-{number}")
    plan(filled, "W-old", 99_000_000, "reserved")
    plan(filled, "W-1", 4_000_000, "released")
    plan(filled, "W-2", 7_000_000, "released")
    plan(filled, "W-2", 1_000_000, "reserved", version=2)
    plan(filled, "W-3", 50_000_000, "freed")
    plan(filled, "W-1", 60_000_000, "reserved", version=7)
    with transaction(filled) as session:
        session.execute(text("UPDATE plans SET moved_to = 8 WHERE plan_version = 7"))
    ship(filled, "W-1", "released", promised=1)
    ship(filled, "W-2", "rejected", "released", "picking", returned=1, promised=5)
    ship(filled, "W-3", "delivered", arrived=2, promised=1)
    ship(filled, "W-4", "delivered", arrived=1, promised=2)
    clock.now = NOW + timedelta(hours=3)

    answer = (await api.get(f"/v1/policies/{trial}/report")).json()

    assert answer["kind"] == "routing"
    assert answer["counts"] == {
        "orders": 6,
        "routed_orders": 2,
        "cost_micros": 12_000_000,
        "released_orders": 4,
        "split_orders": 1,
        "assigned_lines": 6,
        "rejected_lines": 1,
        "due_orders": 3,
        "missed_orders": 2,
    }
    assert answer["measures"] == {
        "split_rate": "0.2500",
        "cost_per_order": "6.0000",
        "rejection_rate": "0.1667",
        "promise_miss_rate": "0.6667",
    }
    since = {"since": (NOW + timedelta(hours=1)).isoformat()}
    later = (await api.get(f"/v1/policies/{trial}/report", params=since)).json()
    assert later["counts"]["orders"] == 0
    assert set(later["measures"].values()) == {None}
    assert (await api.get("/v1/policies/none/report")).status_code == 404


@pytest.fixture
async def broken(api: httpx.AsyncClient, filled: Engine) -> tuple[str, str]:
    """The version before, and one of which one order of two was split."""
    await submit(api, "W-0")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    limits = {"guardrails": ["split_rate<=0.25", "cost_per_order<=100"], "minimum_orders": 2}
    await start(api, trial, brand="acme", **limits)
    await submit(api, "W-1", brand="acme")
    ship(filled, "W-1", "released", "released")
    return before, trial


async def test_a_broken_guardrail_raises_one_alert_once_enough_orders_count(
    api: httpx.AsyncClient, filled: Engine, clock: Clock, broken: tuple[str, str]
) -> None:
    _, trial = broken
    keeper = PolicyKeeper(filled, clock)

    assert keeper.check_guardrails() == []
    await submit(api, "W-2", brand="acme")
    ship(filled, "W-2", "released")
    [alert] = keeper.check_guardrails()
    assert keeper.check_guardrails() == []

    assert (alert.guardrail, alert.value, alert.cases) == ("split_rate<=0.25", "0.5000", 2)
    [row] = await activations_of(api, trial)
    assert [x["guardrail"] for x in row["alerts"]] == ["split_rate<=0.25"]
    assert row["guardrails"] == ["split_rate<=0.25", "cost_per_order<=100"]
    assert row["deactivated_at"] is None
    assert "doms_policy_alerts 1.0" in (await api.get("/metrics")).text
    await api.post(f"/v1/policies/{trial}/rollback")
    assert "doms_policy_alerts 0.0" in (await api.get("/metrics")).text


async def test_a_guardrail_that_rolls_back_ends_its_activation_alone(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    await submit(api, "W-0", brand="acme")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    limits = {"guardrails": ["split_rate<=0.25"], "minimum_orders": 1, "rolls_back": True}
    await start(api, trial, **limits)
    await submit(api, "W-1")
    await submit(api, "W-2")
    ship(filled, "W-1", "released", "released")
    record(filled, "W-1", Stage.RELEASED)
    keeper = PolicyKeeper(filled, clock)

    keeper.keep()
    keeper.keep()

    assert (pinned(filled, "W-1"), pinned(filled, "W-2")) == (trial, before)
    [told] = (await api.get("/v1/orders/W-2")).json()["timeline"]
    assert told["text"] == (
        f"Policy {trial} was rolled back for a guardrail: routing goes by {before} from now on"
    )
    [row] = await activations_of(api, trial)
    assert row["ended_because"] == "rolled back for a guardrail"
    assert len(row["alerts"]) == 1


async def test_a_broken_guardrail_leaves_no_order_without_a_policy(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    await submit(api, "W-0")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    limits = {"guardrails": ["split_rate<=0.25"], "minimum_orders": 1, "rolls_back": True}
    await start(api, trial, **limits)
    await submit(api, "W-1")
    await submit(api, "W-2")
    ship(filled, "W-1", "released", "released")
    ended = (await api.post(f"/v1/policies/{before}/deactivate")).json()
    assert ended["uncovered"] == []
    keeper = PolicyKeeper(filled, clock)

    [alert] = keeper.check_guardrails()
    assert keeper.check_guardrails() == []

    assert alert.guardrail == "split_rate<=0.25"
    [row] = await activations_of(api, trial)
    assert row["deactivated_at"] is None
    assert pinned(filled, "W-2") == trial
    assert (await api.get("/v1/orders/W-2")).json()["timeline"] == []
    nothing = {"brand": None, "region": None, "order_type": None, "channel": None}
    answer = (await api.post(f"/v1/policies/{trial}/rollback")).json()
    assert (answer["uncovered"], answer["kept"]) == ([nothing], ["W-0", "W-1", "W-2"])


async def test_a_guardrail_that_cannot_roll_back_writes_to_no_order(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    # given: a policy before it that holds for a half of the customers only
    await submit(api, "W-0")
    everywhere = pinned(filled, "W-0")
    trial, half = await publish(api, "trial"), await publish(api, "half", shipment_cost="9.00")
    await start(api, half, share=50)
    await start(api, trial, guardrails=["split_rate<=0.25"], minimum_orders=1, rolls_back=True)
    for number in range(10):
        await submit(api, f"W-1{number}")
    ship(filled, "W-10", "released", "released")
    await api.post(f"/v1/policies/{everywhere}/deactivate")
    written: list[str] = []

    def note(_connection: object, _cursor: object, words: str, *_: object) -> None:
        written.extend([words] if words.startswith("UPDATE orders") else [])

    # when
    event.listen(filled, "before_cursor_execute", note)
    [alert] = PolicyKeeper(filled, clock).check_guardrails()
    event.remove(filled, "before_cursor_execute", note)

    # then
    assert alert.guardrail == "split_rate<=0.25"
    assert written == []
    assert {pinned(filled, f"W-1{number}") for number in range(10)} == {trial}
    [row] = await activations_of(api, trial)
    assert row["deactivated_at"] is None


async def test_an_activation_not_begun_is_not_watched(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    trial = await publish(api, "trial")
    limits = {"guardrails": ["split_rate>=1"], "minimum_orders": 1}
    begins = (NOW + timedelta(hours=1)).isoformat()
    await start(api, trial, starts_at=begins, **limits)
    await submit(api, "W-1")
    with transaction(filled) as session:
        session.execute(text("UPDATE orders SET routing_policy = :version"), {"version": trial})
    ship(filled, "W-1", "released")

    assert PolicyKeeper(filled, clock).check_guardrails() == []


async def test_an_order_taken_in_while_its_version_ended_is_pinned_to_what_holds(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    await submit(api, "W-0")
    before = pinned(filled, "W-0")
    trial = await publish(api, "trial")
    await activate(api, trial)
    promise = {
        "items": [{"sku": "TEE", "quantity": 1}],
        "destination": {"country": "US", "region": "NY", "postal_code": "10001"},
    }
    promise_id = (await api.post("/v1/promises", json=promise)).json()["promise_id"]
    await api.post(f"/v1/policies/{trial}/deactivate")
    await submit(api, "W-1")
    await submit(api, "W-2", promise_id=promise_id)
    # As an intake leaves it that looked just before the end and committed just after.
    with transaction(filled) as session:
        late = text("UPDATE orders SET routing_policy = :version WHERE order_id = 'W-1'")
        session.execute(late, {"version": trial})
    keeper = PolicyKeeper(filled, clock)

    clock.pass_time(timedelta(minutes=11))
    keeper.keep()
    assert pinned(filled, "W-1") == trial
    clock.pass_time(timedelta(minutes=-2))
    keeper.keep()

    assert (pinned(filled, "W-1"), pinned(filled, "W-2")) == (before, trial)
    [told] = (await api.get("/v1/orders/W-1")).json()["timeline"]
    assert told["text"] == f"Policy {trial} was deactivated: routing goes by {before} from now on"


async def test_the_keeper_looks_until_it_is_stopped(filled: Engine, clock: Clock) -> None:
    with transaction(filled) as session:
        version = policies.publish(session, "routing", {"name": "a"}, NOW)
        policies.activate(session, version, {}, NOW, Terms(ends_at=NOW))

    def ended() -> bool:
        with reading(filled) as session:
            return not policies.live_activations(session, version)

    keeping = asyncio.create_task(PolicyKeeper(filled, clock).run())
    await until(ended)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


def test_an_activation_ended_meanwhile_changes_nothing(filled: Engine) -> None:
    with transaction(filled) as session:
        version = policies.publish(session, "routing", {"name": "a"}, NOW)
        number = policies.activate(session, version, {}, NOW)
        first = pins.end_activation(session, version, number, "ended", NOW)
        second = pins.end_activation(session, version, number, "ended", NOW)

    assert first.ended == (number,)
    assert second == pins.Withdrawal()
