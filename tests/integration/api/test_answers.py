"""What becomes of a request is answered at once while Temporal is there, else it is kept."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from temporalio.worker import Worker

from config.settings import Settings
from domain.events import NodeEvent, NodeEventType
from domain.fulfillments import FulfillmentOrder
from domain.policy_rollout import Scope
from domain.process_policy import ApprovalCondition, ApprovalRule, ProcessPolicy, Timings
from starter.api.app import create_app, utc_now
from store import approvals, fulfillments, policies
from store.engine import reading, transaction
from tests.integration.api.conftest import (
    NOW,
    calling,
    messages_of,
    order_document,
    release_fulfillment,
    until,
)
from tests.integration.api.temporal_server import TemporalServer
from worker.composition import context_of, order_activities
from worker.deployment import deployment_config, set_current
from workflows.fulfillment import FulfillmentWorkflow
from workflows.messages import CURRENT_BEHAVIOR, FulfillmentInput
from workflows.order import OrderWorkflow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TemporalServer]:
    server = TemporalServer(tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def working(engine: Engine, server: TemporalServer) -> AsyncIterator[None]:
    """A worker for the orders' own queue."""
    client, settings = await server.connect(), Settings(_env_file=None)
    with ThreadPoolExecutor(4) as threads:
        async with Worker(
            client,
            task_queue=settings.orders_task_queue,
            workflows=[OrderWorkflow, FulfillmentWorkflow],
            activities=order_activities(context_of(engine, settings)),
            activity_executor=threads,
            deployment_config=deployment_config(settings),
        ):
            await set_current(client, settings)
            yield


@pytest.fixture
def whole_app(settings: Settings, filled: Engine, server: TemporalServer) -> FastAPI:
    """The API with its dispatcher, in real time."""
    return create_app(settings, filled, connect=server.connect, clock=utc_now)


@pytest.fixture
async def whole(whole_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with whole_app.router.lifespan_context(whole_app), calling(whole_app) as client:
        await until(whole_app.state.services.temporal_ready)
        yield client


def ask_for_approval(engine: Engine) -> None:
    """Business orders need a manager, then a director."""
    chain = tuple(
        ApprovalRule(level=level, role=role, condition=ApprovalCondition())
        for level, role in ((1, "manager"), (2, "director"))
    )
    policy = ProcessPolicy(name="b2b", approvals=chain)
    with transaction(engine) as session:
        version = policies.publish(session, "process", policy.model_dump(mode="json"), NOW)
        policies.activate(session, version, Scope(order_type="b2b"), NOW)


async def stage(api: httpx.AsyncClient) -> str:
    return str((await api.get("/v1/orders/W-1")).json()["displayed"])


async def until_stage(api: httpx.AsyncClient, wanted: str) -> None:
    async with asyncio.timeout(20):
        while await stage(api) != wanted:  # noqa: ASYNC110 (another process makes it true)
            await asyncio.sleep(0.02)


async def submit(api: httpx.AsyncClient, wanted: str, **changes: Any) -> None:
    assert (await api.post("/v1/orders", json=order_document(**changes))).status_code == 202
    await until_stage(api, wanted)


async def story(api: httpx.AsyncClient) -> list[str]:
    return [entry["text"] for entry in (await api.get("/v1/orders/W-1")).json()["timeline"]]


async def until_told(api: httpx.AsyncClient, text: str) -> list[str]:
    """The whole story, once it holds that line."""
    async with asyncio.timeout(30):
        while text not in (told := await story(api)):  # noqa: ASYNC110 (a worker makes it true)
            await asyncio.sleep(0.02)
    return told


async def test_a_hold_is_answered_with_what_became_of_it_and_delivered_once(
    whole: httpx.AsyncClient, filled: Engine, server: TemporalServer
) -> None:
    async with working(filled, server):
        await submit(whole, "reserved")
        body = {"request_id": "H-1", "type": "fraud"}
        first = await whole.post("/v1/orders/W-1/hold", json=body)
        again = await whole.post("/v1/orders/W-1/hold", json=body)
        await until(lambda: all(x["state"] == "done" for x in messages_of(filled)))
        page = (await whole.get("/v1/orders/W-1")).json()

    assert first.status_code == 200
    assert first.json()["status"] == "done"
    assert first.json()["answer"] == "Held: fraud"
    assert again.json() == first.json()
    assert [hold["type"] for hold in page["holds"]] == ["fraud"]
    assert page["timeline"][-1]["text"] == "Held: fraud"
    assert [x["name"] for x in messages_of(filled)] == ["start", "hold"]


async def test_what_the_order_refuses_is_a_409_that_says_why_and_stands_in_its_story(
    whole: httpx.AsyncClient, filled: Engine, server: TemporalServer
) -> None:
    async with working(filled, server):
        await submit(whole, "reserved")
        body = {"request_id": "R-1", "park_id": "pick-9", "choice": "retry"}
        refused = await whole.post("/v1/orders/W-1/resume", json=body)
        # The same request stays refused, even if such a step should wait some day.
        again = await whole.post("/v1/orders/W-1/resume", json=body)
        told = await story(whole)

    assert refused.status_code == 409
    assert refused.json()["detail"] == "nothing waits for a choice"
    assert (refused.json()["status"], refused.json()["request_id"]) == ("refused", "R-1")
    assert again.json() == refused.json()
    assert told[-1] == "Refused: resume: nothing waits for a choice"
    assert told.count(told[-1]) == 1


async def test_an_answer_to_a_parked_fulfillment_is_told_what_became_of_it(
    whole: httpx.AsyncClient, filled: Engine, server: TemporalServer
) -> None:
    body = {"park_id": "deliver-1", "choice": "skip", "fulfillment_id": "W-1-1"}
    path = "/v1/orders/W-1/resume"
    async with working(filled, server):
        # given: a parcel that is not delivered in time
        await submit(whole, "reserved")
        order = release_fulfillment(filled)
        child = await start_fulfillment(server, order)
        await until_at_the_node(child)
        handed_over = NodeEvent(
            event_id="E-1",
            fulfillment_id="W-1-1",
            type=NodeEventType.HANDED_OVER,
            occurred_at=NOW,
        )
        await child.signal("node_event", handed_over)
        await until(lambda: _parked_at(filled) == "deliver-1")
        # when
        refused = await whole.post(path, json={**body, "choice": "reroute", "request_id": "R-0"})
        told = await whole.post(path, json={**body, "request_id": "R-1"})
        late = await whole.post(path, json={**body, "request_id": "R-2"})
        again = await whole.post(path, json={**body, "request_id": "R-1"})

    # then
    assert refused.status_code == 422
    assert (told.status_code, told.json()["answer"]) == (200, "A person chose skip")
    assert late.status_code in {202, 409}
    assert again.json() == told.json()


async def start_fulfillment(server: TemporalServer, order: FulfillmentOrder) -> Any:
    """The workflow of a fulfillment that waits a moment for its parcel to be delivered."""
    client, settings = await server.connect(), Settings(_env_file=None)
    timings = Timings(delivery=timedelta(milliseconds=100))
    return await client.start_workflow(
        FulfillmentWorkflow.run,
        FulfillmentInput(order=order, timings=timings, behavior=CURRENT_BEHAVIOR),
        id=f"fulfillment-{order.fulfillment_id}",
        task_queue=settings.orders_task_queue,
    )


async def until_at_the_node(child: Any) -> None:
    """Wait until the node has the work: no node reports on what it was not given."""
    async with asyncio.timeout(20):
        while True:
            report = await child.query(FulfillmentWorkflow.status)
            if "the node to accept" in report.details:
                return
            await asyncio.sleep(0.02)


def _parked_at(engine: Engine) -> str | None:
    with reading(engine) as session:
        attention = fulfillments.load_fulfillment(session, "W-1-1").view.attention
    return attention.park_id if attention else None


async def test_a_late_vote_is_refused_at_once_and_kept_with_its_reason(
    whole: httpx.AsyncClient, filled: Engine, server: TemporalServer
) -> None:
    ask_for_approval(filled)
    async with working(filled, server):
        await submit(whole, "pending_approval", order_type="b2b")
        await until(lambda: _waiting(filled) == [1])
        vote = {"verdict": "approve", "level": 1, "role": "manager", "approver": "Eve"}
        counted = await whole.post("/v1/orders/W-1/approvals", json=vote)
        wrong = {**vote, "level": 2, "role": "clerk", "request_id": "V-wrong"}
        without_role = await whole.post("/v1/orders/W-1/approvals", json=wrong)
        late = await whole.post("/v1/orders/W-1/approvals", json={**vote, "request_id": "V-late"})
        with reading(filled) as session:
            votes = {vote.request_id: vote for vote in approvals.votes(session, "W-1")}

    assert counted.status_code == 200
    assert counted.json()["answer"] == "Level 1: approved by a manager"
    assert without_role.status_code == 409
    assert without_role.json()["detail"].startswith(
        "Level 2: approved by a clerk, which does not count: "
    )
    assert late.status_code == 409
    assert late.json()["detail"] == "level 2 is waited for, not 1"
    assert len(votes) == 3
    assert (votes["V-late"].counted, votes["V-late"].why) == (
        False,
        "level 2 is waited for, not 1",
    )
    assert votes["V-late"].approver == "Eve"


async def test_who_approved_one_level_is_told_at_once_that_another_must_decide_the_next(
    whole: httpx.AsyncClient, filled: Engine, server: TemporalServer
) -> None:
    ask_for_approval(filled)
    async with working(filled, server):
        await submit(whole, "pending_approval", order_type="b2b")
        await until(lambda: _waiting(filled) == [1])
        vote = {"verdict": "approve", "level": 1, "role": "manager", "approver": "Eve"}
        first = await whole.post("/v1/orders/W-1/approvals", json=vote)
        second = {**vote, "level": 2, "role": "director"}
        refused = await whole.post("/v1/orders/W-1/approvals", json=second)
        still_waiting = _waiting(filled)
        other = await whole.post("/v1/orders/W-1/approvals", json={**second, "approver": "Ann"})

    assert (first.status_code, refused.status_code, other.status_code) == (200, 409, 200)
    assert refused.json()["detail"] == (
        "Level 2: approved by a director, which does not count: has voted on level 1; another"
        " person must decide level 2"
    )
    assert still_waiting == [2]


def _waiting(engine: Engine) -> list[int]:
    with reading(engine) as session:
        return [approval.level for approval in approvals.waiting(session)]


async def test_an_order_that_does_not_answer_in_time_gets_the_request_from_the_inbox_once(
    whole: httpx.AsyncClient, filled: Engine, server: TemporalServer
) -> None:
    async with working(filled, server):
        await submit(whole, "reserved")

    kept = await whole.post("/v1/orders/W-1/cancel", json={"request_id": "C-1"})
    assert kept.status_code == 202
    assert kept.json()["status"] == "accepted"
    async with working(filled, server):
        await until_stage(whole, "cancelled")
        told = await until_told(whole, "2 units cancelled")

    assert [text for text in told if "cancelled" in text] == ["2 units cancelled"]


async def test_while_an_earlier_request_waits_a_later_one_does_not_overtake_it(
    whole: httpx.AsyncClient, whole_app: FastAPI, filled: Engine, server: TemporalServer
) -> None:
    async with working(filled, server):
        await submit(whole, "reserved")
        await asyncio.to_thread(server.kill)
        first = await whole.post("/v1/orders/W-1/hold", json={"request_id": "H-1", "type": "a"})
        await asyncio.to_thread(server.start)
        second = await whole.post("/v1/orders/W-1/hold", json={"request_id": "H-2", "type": "b"})
        await until(lambda: all(x["state"] == "done" for x in messages_of(filled)), 60)
        told = await until_told(whole, "Held: b")

    # The second may be answered at once where the first was delivered just before it.
    assert (first.status_code, second.is_success) == (202, True)
    assert [text for text in told if text.startswith("Held")] == ["Held: a", "Held: b"]
