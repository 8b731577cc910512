"""The dispatcher and a real Temporal server: started once, signalled in order, nothing lost."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from config.settings import Settings
from domain.fulfillments import FulfillmentStatus, Package, PackageStatus
from domain.plans import FulfillmentView
from integrations.standard_webhooks import sign, signer
from starter.api.app import create_app
from starter.api.context import Wakeup
from starter.dispatcher import Dispatcher
from starter.intake import Capture, Intake, Reference
from store import fulfillments, inbox, outbox, timeline
from store.engine import reading, transaction
from tests.integration.api.conftest import (
    SECRET,
    calling,
    messages_of,
    order_document,
    release_fulfillment,
    until,
)
from tests.integration.api.temporal_server import TemporalServer

Connect = Callable[[], Awaitable[Client]]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    server = TemporalServer(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[TemporalServer]:
    server = TemporalServer(tmp_path)
    yield server
    server.kill()


@asynccontextmanager
async def dispatching(
    engine: Engine, settings: Settings, connect: Connect
) -> AsyncIterator[Dispatcher]:
    """A dispatcher at work, as in a process of its own."""
    reference, wakeup = Reference(), Wakeup()
    capture = Capture(engine, reference, Intake(engine, reference))
    dispatcher = Dispatcher(settings, engine, reference, capture, wakeup, lambda: datetime.now(UTC))
    task = asyncio.create_task(dispatcher.run(connect))
    try:
        yield dispatcher
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """An order id of this test's own: the tests of this module share one server."""
    return f"W-{abs(hash(request.node.nodeid)) % 10**12}"


@pytest.fixture
def live_app(settings: Settings, filled: Engine) -> FastAPI:
    """The API without a dispatcher of its own, in real time."""
    return create_app(settings, filled)


@pytest.fixture
async def live(live_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(live_app) as client:
        yield client


def all_done(engine: Engine) -> bool:
    return all(message["state"] == "done" for message in messages_of(engine))


async def signals_of(handle: WorkflowHandle[Any, Any]) -> list[tuple[str, Any]]:
    """(name, payload) of every signal in the workflow's history."""
    found = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signalled = event.workflow_execution_signaled_event_attributes
            payload = json.loads(signalled.input.payloads[0].data)
            found.append((signalled.signal_name, payload))
    return found


async def start_fulfillment(client: Client, fulfillment_id: str) -> WorkflowHandle[Any, Any]:
    """A fulfillment workflow that no worker runs: its history shows what it was told."""
    return await client.start_workflow(
        "FulfillmentWorkflow", id=f"fulfillment-{fulfillment_id}", task_queue="nobody"
    )


async def test_an_accepted_order_is_started_with_its_pins_and_attributes(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    await live.post("/v1/orders", json=order_document(order_id=unique))

    async with dispatching(filled, settings, shared_server.connect):
        await until(lambda: all_done(filled))

    client = await shared_server.connect()
    described = await client.get_workflow_handle(f"order-{unique}").describe()
    assert described.workflow_type == "OrderWorkflow"
    assert described.task_queue == "doms-orders"
    attributes = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert attributes == {
        "OrderStatus": "received",
        "OrderType": "b2c",
        "Channel": "web",
        "Brand": "default",
        "Region": "default",
        "CustomerId": hmac.new(b"pepper", b"C-7", hashlib.sha256).hexdigest()[:16],
        "AtRisk": False,
        "OrderValue": 39.8,
    }
    summary, details = await described.static_summary(), await described.static_details()
    assert summary == "b2c web/default: 1 line, 2 units to US-NY 100"
    assert details is not None
    assert "2 x TEE" in details
    assert "Ada" not in details
    history = await client.get_workflow_handle(f"order-{unique}").fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes
    given = json.loads(started.input.payloads[0].data)
    assert given["order_id"] == unique
    assert given["pins"]["routing"].startswith("routing-")
    assert given["pins"]["process"].startswith("process-")
    assert given["timings"]["remorse"] == "PT30M"


async def test_an_order_accepted_while_temporal_is_down_starts_once_when_it_is_up(
    live: httpx.AsyncClient, filled: Engine, settings: Settings, own_server: TemporalServer
) -> None:
    async with dispatching(filled, settings, own_server.connect) as dispatcher:
        answer = await live.post("/v1/orders", json=order_document())
        cancel = await live.post("/v1/orders/W-1/cancel", json={"request_id": "K-1"})
        assert (answer.status_code, cancel.status_code) == (202, 202)
        assert not dispatcher.reaches_temporal

        await asyncio.to_thread(own_server.start)
        await until(lambda: all_done(filled), 60)

    client = await own_server.connect()
    handle = client.get_workflow_handle("order-W-1")
    assert [name for name, _ in await signals_of(handle)] == ["cancel"]


async def test_what_is_asked_while_the_server_is_killed_arrives_after_its_restart(
    live: httpx.AsyncClient, filled: Engine, settings: Settings, own_server: TemporalServer
) -> None:
    await asyncio.to_thread(own_server.start)
    async with dispatching(filled, settings, own_server.connect):
        await live.post("/v1/orders", json=order_document())
        await until(lambda: all_done(filled))
        await asyncio.to_thread(own_server.kill)
        for number in range(3):
            body = {"request_id": f"K-{number}", "type": "fraud"}
            assert (await live.post("/v1/orders/W-1/hold", json=body)).status_code == 202

        await asyncio.to_thread(own_server.start)
        await until(lambda: all_done(filled), 60)

    client = await own_server.connect()
    told = await signals_of(client.get_workflow_handle("order-W-1"))
    assert [payload["request_id"] for _, payload in told] == ["K-0", "K-1", "K-2"]


async def test_two_dispatchers_at_once_start_each_order_once_and_signal_in_order(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    ids = [f"{unique}-{number}" for number in range(10)]
    for order_id in ids:
        await live.post("/v1/orders", json=order_document(order_id=order_id, external_id=order_id))
        for number in range(4):
            body = {"request_id": f"K-{number}", "type": "fraud"}
            await live.post(f"/v1/orders/{order_id}/hold", json=body)

    async with (
        dispatching(filled, settings, shared_server.connect),
        dispatching(filled, settings, shared_server.connect),
    ):
        await until(lambda: all_done(filled), 60)

    client = await shared_server.connect()
    for order_id in ids:
        handle = client.get_workflow_handle(f"order-{order_id}")
        told = [payload["request_id"] for _, payload in await signals_of(handle)]
        assert told == ["K-0", "K-1", "K-2", "K-3"]
    assert all(message["attempts"] == 0 for message in messages_of(filled))


async def test_rows_of_a_killed_dispatcher_are_delivered_once_their_lease_is_over(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    await live.post("/v1/orders", json=order_document(order_id=unique))
    with transaction(filled) as session:
        now = datetime.now(UTC)
        taken = inbox.claim(session, 10, now, lease=timedelta(seconds=1))
    assert len(taken) == 1

    async with dispatching(filled, settings, shared_server.connect):
        await until(lambda: all_done(filled))

    client = await shared_server.connect()
    assert (await client.get_workflow_handle(f"order-{unique}").describe()).id == f"order-{unique}"


async def test_a_signal_of_doms_own_parts_is_found_without_being_woken(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    await live.post("/v1/orders", json=order_document(order_id=unique))
    async with dispatching(filled, settings, shared_server.connect):
        await until(lambda: all_done(filled))
        with transaction(filled) as session:
            payload = {"request_id": "G-1", "reservation_id": "W-1-g1"}
            outbox.send(
                session,
                f"order-{unique}",
                "supply_granted",
                payload,
                key="G-1",
                now=datetime.now(UTC),
            )
        await until(lambda: all_done(filled))

    client = await shared_server.connect()
    told = await signals_of(client.get_workflow_handle(f"order-{unique}"))
    assert told == [("supply_granted", payload)]


async def test_a_signal_to_a_workflow_that_stopped_with_work_left_waits_for_its_reset(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    await live.post("/v1/orders", json=order_document(order_id=unique))
    client = await shared_server.connect()
    async with dispatching(filled, settings, shared_server.connect):
        await until(lambda: all_done(filled))
        await client.get_workflow_handle(f"order-{unique}").terminate()

        await live.post(f"/v1/orders/{unique}/hold", json={})
        await until(lambda: any("has stopped" in (x["error"] or "") for x in messages_of(filled)))
        assert not all_done(filled)

        # Another order is not held up by it.
        other = f"{unique}-2"
        await live.post("/v1/orders", json=order_document(order_id=other, external_id=other))
        await until(lambda: [x["state"] for x in messages_of(filled)].count("done") == 2)


async def test_a_signal_to_a_workflow_not_started_yet_waits_for_it(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    release_fulfillment(filled, f"{unique}-1", node_id="store-1")
    client = await shared_server.connect()
    async with dispatching(filled, settings, shared_server.connect):
        accepted = await live.post(f"/v1/nodes/store-1/work/{unique}-1/accept", json={})
        assert accepted.status_code == 202
        await until(lambda: messages_of(filled)[0]["attempts"] >= 1)

        handle = await start_fulfillment(client, f"{unique}-1")
        await until(lambda: all_done(filled))

    [(name, event)] = await signals_of(handle)
    assert name == "node_event"
    assert (event["type"], event["fulfillment_id"]) == ("acknowledged", f"{unique}-1")


def webhook(body: dict[str, Any], delivery: str) -> dict[str, Any]:
    """The request of a signed webhook."""
    raw = json.dumps(body)
    headers = sign(signer(SECRET), delivery, datetime.now(UTC), raw)
    return {"content": raw, "headers": headers}


def node_webhook(fulfillment_id: str, kind: str, event_id: str) -> dict[str, Any]:
    return {
        "type": f"order.{kind}",
        "event_id": event_id,
        "occurred_at": "2026-03-02T16:00:00Z",
        "reference": fulfillment_id,
    }


def tracker(fulfillment_id: str, status: str, event_id: str) -> dict[str, Any]:
    return {
        "type": "tracker.updated",
        "event_id": event_id,
        "occurred_at": "2026-03-02T18:00:00Z",
        "reference": fulfillment_id,
        "tracking_number": "1Z-1",
        "status": status,
    }


async def test_webhooks_reach_their_fulfillment_in_order_and_each_once(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    release_fulfillment(filled, f"{unique}-1")
    client = await shared_server.connect()
    handle = await start_fulfillment(client, f"{unique}-1")
    async with dispatching(filled, settings, shared_server.connect):
        for number, kind in enumerate(["acknowledged", "picked", "packed", "handed_over"]):
            body = node_webhook(f"{unique}-1", kind, f"E-{number}")
            for _ in range(2):
                request = webhook(body, f"{unique}-{number}")
                answer = await live.post("/v1/webhooks/wms-a", **request)
                assert answer.status_code == 202
        await until(lambda: all_done(filled))

    told = await signals_of(handle)
    assert [name for name, _ in told] == ["node_event"] * 4
    kinds = [event["type"] for _, event in told]
    assert kinds == ["acknowledged", "picked", "packed", "handed_over"]


async def test_a_webhook_for_an_unknown_order_is_kept_aside_and_delivered_once_let_out(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    client = await shared_server.connect()
    handle = await start_fulfillment(client, f"{unique}-1")
    body = node_webhook(f"{unique}-1", "acknowledged", "E-1")
    async with dispatching(filled, settings, shared_server.connect):
        answer = await live.post("/v1/webhooks/wms-a", **webhook(body, unique))
        assert answer.status_code == 202
        await until(lambda: messages_of(filled)[0]["state"] == "quarantined")
        [kept] = (await live.get("/v1/quarantine")).json()["messages"]
        assert kept["reason"] == f"no fulfillment '{unique}-1'"
        assert await signals_of(handle) == []

        release_fulfillment(filled, f"{unique}-1")
        freed = await live.post(f"/v1/quarantine/{kept['message_id']}/release")
        assert freed.status_code == 202
        await until(lambda: all_done(filled))

    assert [event["type"] for _, event in await signals_of(handle)] == ["acknowledged"]


async def test_a_webhook_about_another_systems_fulfillment_is_kept_aside(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
) -> None:
    release_fulfillment(filled, f"{unique}-1")
    body = node_webhook(f"{unique}-1", "acknowledged", "E-1")
    async with dispatching(filled, settings, shared_server.connect):
        await live.post("/v1/webhooks/wms-b", **webhook(body, unique))
        await until(lambda: messages_of(filled)[0]["state"] == "quarantined")

    assert messages_of(filled)[0]["error"] == f"'{unique}-1' is not run by 'wms-b'"


@pytest.mark.parametrize(
    ("recorded", "status", "signalled"),
    [
        (PackageStatus.LABELLED, "pre_transit", False),
        (PackageStatus.LABELLED, "in_transit", True),
        (PackageStatus.SHIPPED, "in_transit", False),
        (PackageStatus.SHIPPED, "out_for_delivery", True),
        (PackageStatus.SHIPPED, "delivered", True),
    ],
)
async def test_a_carriers_report_wakes_the_workflow_only_when_it_changes_a_status(
    live: httpx.AsyncClient,
    filled: Engine,
    settings: Settings,
    shared_server: TemporalServer,
    unique: str,
    recorded: PackageStatus,
    status: str,
    signalled: bool,
) -> None:
    await live.post("/v1/orders", json=order_document())
    release_fulfillment(filled, f"{unique}-1")
    package = Package(package_id=f"{unique}-1-p1", tracking_number="1Z-1", status=recorded)
    view = FulfillmentView(
        fulfillment_id=f"{unique}-1",
        order_id="W-1",
        revision=3,
        status=FulfillmentStatus.SHIPPED,
        packages=(package,),
    )
    with transaction(filled) as session:
        fulfillments.record_fulfillment(session, view, datetime.now(UTC))
    client = await shared_server.connect()
    handle = await start_fulfillment(client, f"{unique}-1")
    async with dispatching(filled, settings, shared_server.connect):
        body = tracker(f"{unique}-1", status, "E-1")
        await live.post("/v1/webhooks/carrier-a", **webhook(body, unique))
        await until(lambda: all_done(filled))

    assert [event["status"] for _, event in await signals_of(handle)] == [status] * signalled
    with reading(filled) as session:
        told = [entry.key for entry in timeline.timeline(session, "W-1")]
    assert told == ["carrier/E-1"] * (not signalled)


async def test_the_api_delivers_by_itself_when_it_may_connect(
    settings: Settings, filled: Engine, shared_server: TemporalServer, unique: str
) -> None:
    app = create_app(settings, filled, connect=shared_server.connect)
    async with app.router.lifespan_context(app), calling(app) as client:
        await client.post("/v1/orders", json=order_document(order_id=unique))
        await until(lambda: all_done(filled))
        assert (await client.get("/readyz")).json() == {
            "status": "ready",
            "database": True,
            "temporal": True,
        }
        metrics = (await client.get("/metrics")).text

    assert 'doms_messages{direction="in",state="waiting"} 0.0' in metrics
    assert 'doms_dispatcher_deliveries_total{kind="start",outcome="done"}' in metrics
    temporal = await shared_server.connect()
    with pytest.raises(RPCError):
        await temporal.get_workflow_handle(f"order-{unique}-9").describe()
    described = await temporal.get_workflow_handle(f"order-{unique}").describe()
    assert described.workflow_type == "OrderWorkflow"


async def test_a_fault_while_connecting_does_not_end_the_delivery(
    settings: Settings, filled: Engine, shared_server: TemporalServer, unique: str
) -> None:
    faults = iter([KeyError("no such profile"), ConnectionError("refused")])

    async def connect() -> Client:
        for fault in faults:
            raise fault
        return await shared_server.connect()

    app = create_app(settings, filled, connect=connect)
    async with app.router.lifespan_context(app), calling(app) as client:
        await client.post("/v1/orders", json=order_document(order_id=unique))
        await until(lambda: all_done(filled))


async def test_a_step_a_carrier_was_asked_for_reaches_its_fulfillment_once(
    filled: Engine, settings: Settings, shared_server: TemporalServer, unique: str
) -> None:
    release_fulfillment(filled, f"{unique}-1")
    handle = await start_fulfillment(await shared_server.connect(), f"{unique}-1")
    step = tracker(f"{unique}-1", "delivered", "parcel/1")
    payload = {name: step[name] for name in ("event_id", "occurred_at", "tracking_number")}
    payload |= {"fulfillment_id": f"{unique}-1", "status": "delivered"}
    for _ in range(2):
        with transaction(filled) as session:
            inbox.put(
                session,
                kind="webhook",
                connection_id="carrier-a",
                event_id="parcel/1",
                name="tracked",
                payload=payload,
                now=datetime.now(UTC),
            )

    async with dispatching(filled, settings, shared_server.connect):
        await until(lambda: all_done(filled))

    [(name, event)] = await signals_of(handle)
    assert name == "carrier_event"
    assert (event["status"], event["tracking_number"]) == ("delivered", "1Z-1")


async def test_a_report_a_node_was_asked_for_reaches_its_fulfillment_once(
    filled: Engine, settings: Settings, shared_server: TemporalServer, unique: str
) -> None:
    release_fulfillment(filled, f"{unique}-1")
    handle = await start_fulfillment(await shared_server.connect(), f"{unique}-1")
    for _ in range(2):
        with transaction(filled) as session:
            inbox.put(
                session,
                kind="webhook",
                connection_id="wms-a",
                event_id="asked/1",
                name="reported",
                payload={
                    "event_id": "asked/1",
                    "occurred_at": "2026-03-02T16:00:00Z",
                    "fulfillment_id": f"{unique}-1",
                    "type": "handed_over",
                },
                now=datetime.now(UTC),
            )

    async with dispatching(filled, settings, shared_server.connect):
        await until(lambda: all_done(filled))

    [(name, event)] = await signals_of(handle)
    assert (name, event["type"]) == ("node_event", "handed_over")
