"""Open orders against running workflows, on a real Temporal server."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from config.settings import Settings
from starter.sweeper import Found, Sweeper
from tests.integration.api.conftest import Clock, messages_of, order_document
from tests.integration.api.temporal_server import TemporalServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    server = TemporalServer(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def order_id() -> str:
    """An order id of this test's own: the tests of this module share one server."""
    return f"W-{time.monotonic_ns()}"


class Woken:
    """Counts how often the dispatcher was told of something."""

    times = 0

    def __call__(self) -> None:
        self.times += 1


def deliver_everything(engine: Engine) -> None:
    """As if a dispatcher had delivered all that waits."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE messages SET state = 'done'"))


async def run_workflow(client: Client, order_id: str) -> None:
    """An order workflow that no worker runs."""
    await client.start_workflow("OrderWorkflow", id=f"order-{order_id}", task_queue="nobody")


async def test_an_open_order_without_a_workflow_is_put_up_for_starting_with_its_pins(
    api: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    clock: Clock,
    server: TemporalServer,
    order_id: str,
) -> None:
    await api.post("/v1/orders", json=order_document(order_id=order_id))
    deliver_everything(filled)
    clock.pass_time(timedelta(minutes=5))
    woken = Woken()
    sweeper = Sweeper(settings, filled, woken, clock)
    client = await server.connect()

    found = await sweeper.sweep(client)
    again = await sweeper.sweep(client)

    assert found[Found.MISSING] == again[Found.MISSING] == 1
    first, put = messages_of(filled)
    assert (put["kind"], put["state"], put["workflow_id"]) == (
        "start",
        "waiting",
        f"order-{order_id}",
    )
    assert put["payload"] == first["payload"]
    assert woken.times == 2


async def test_a_young_order_and_a_running_one_are_left_alone(
    api: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    clock: Clock,
    server: TemporalServer,
    order_id: str,
) -> None:
    client = await server.connect()
    sweeper = Sweeper(settings, filled, Woken(), clock)
    await api.post("/v1/orders", json=order_document(order_id=order_id))
    young = await sweeper.sweep(client)

    await run_workflow(client, order_id)
    clock.pass_time(timedelta(minutes=5))
    running = await sweeper.sweep(client)

    assert sum(young.values()) == 0
    assert running == {Found.RUNNING: 1, Found.MISSING: 0, Found.STOPPED: 0, Found.CLOSED: 0}
    assert len(messages_of(filled)) == 1


async def test_an_open_order_whose_workflow_stopped_asks_for_a_person_once(
    api: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    clock: Clock,
    server: TemporalServer,
    order_id: str,
) -> None:
    client = await server.connect()
    await api.post("/v1/orders", json=order_document(order_id=order_id))
    await run_workflow(client, order_id)
    await client.get_workflow_handle(f"order-{order_id}").terminate()
    clock.pass_time(timedelta(minutes=5))
    sweeper = Sweeper(settings, filled, Woken(), clock)

    found = await sweeper.sweep(client)
    await sweeper.sweep(client)

    assert found[Found.STOPPED] == 1
    page = (await api.get(f"/v1/orders/{order_id}")).json()
    assert page["displayed"] == "attention: workflow"
    assert page["attention"]["step"] == "workflow"
    assert page["attention"]["reason"] == (
        "the order's workflow is terminated; reset it in the Temporal UI"
    )
    assert [entry["kind"] for entry in page["timeline"]] == ["attention"]
    listed = (await api.get("/v1/orders", params={"needs_attention": True})).json()["orders"]
    assert [order["order_id"] for order in listed] == [order_id]
    assert len(messages_of(filled)) == 1


async def test_an_order_older_than_temporal_remembers_is_shown_and_not_run_again(
    api: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    clock: Clock,
    server: TemporalServer,
    order_id: str,
) -> None:
    await api.post("/v1/orders", json=order_document(order_id=order_id))
    deliver_everything(filled)
    clock.pass_time(timedelta(days=31))
    sweeper = Sweeper(settings, filled, Woken(), clock)

    await sweeper.sweep(await server.connect())

    page = (await api.get(f"/v1/orders/{order_id}")).json()
    assert page["attention"]["reason"] == (
        "the order's workflow is no longer remembered; reset it in the Temporal UI"
    )
    assert len(messages_of(filled)) == 1


async def test_a_sweep_that_cannot_reach_temporal_changes_nothing(
    api: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    clock: Clock,
    order_id: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = TemporalServer(tmp_path_factory.mktemp("own"))
    own.start()
    client = await own.connect(RetryConfig(max_retries=2))
    own.kill()
    await api.post("/v1/orders", json=order_document(order_id=order_id))
    deliver_everything(filled)
    clock.pass_time(timedelta(minutes=5))
    before = datetime.now(UTC)
    sweeper = Sweeper(settings, filled, Woken(), clock)

    with pytest.raises(Exception, match=r"(?i)connect|transport|deadline|timeout|unavailable"):
        await sweeper.sweep(client)

    assert len(messages_of(filled)) == 1
    assert datetime.now(UTC) - before < timedelta(seconds=30)


async def test_what_was_found_before_temporal_went_away_is_mended_and_the_rest_looked_at_again(
    api: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    clock: Clock,
    server: TemporalServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given: two orders whose workflows are missing, and a server that goes away after the first
    for order_id in ("W-away-1", "W-away-2"):
        await api.post("/v1/orders", json=order_document(order_id=order_id, external_id=order_id))
    deliver_everything(filled)
    clock.pass_time(timedelta(minutes=5))
    monkeypatch.setattr("starter.sweeper.CALLS_AT_ONCE", 1)
    monkeypatch.setattr("starter.sweeper.ORDERS_AT_ONCE", 2)
    client = await server.connect()
    describe = WorkflowHandle.describe
    asked: list[str] = []

    async def away_for_the_second(handle: WorkflowHandle[Any, Any], **options: Any) -> Any:
        asked.append(handle.id)
        if len(asked) == 2:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        return await describe(handle, **options)

    monkeypatch.setattr(WorkflowHandle, "describe", away_for_the_second)
    sweeper = Sweeper(settings, filled, Woken(), clock)
    # when
    with pytest.raises(RPCError, match="away"):
        await sweeper.sweep(client)
    # then
    starts = [x["workflow_id"] for x in messages_of(filled) if x["state"] == "waiting"]
    assert starts == ["order-W-away-1"]
    # when
    found = await sweeper.sweep(client)
    # then
    assert asked == ["order-W-away-1", "order-W-away-2"] * 2
    assert found[Found.MISSING] == 2
    starts = [x["workflow_id"] for x in messages_of(filled) if x["state"] == "waiting"]
    assert starts == ["order-W-away-1", "order-W-away-2"]
