"""A store without a system of its own: its people see their tasks and report what they did."""

import inspect
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from domain.events import LineProgress
from domain.fulfillments import FulfillmentStatus
from domain.plans import FulfillmentView
from store import fulfillments, words
from store.engine import reading, transaction
from tests.integration.api.conftest import NOW, messages_of, release_fulfillment
from workflows import fulfillment_node

WORK = "/v1/nodes/store-1/work/W-1-1"


def events_of(engine: Engine) -> list[dict[str, Any]]:
    """The node events kept, without what every one of them says."""
    found = []
    for message in messages_of(engine):
        assert message["stream"] == message["workflow_id"] == "fulfillment-W-1-1"
        payload = message["payload"]
        event = json.loads(payload) if isinstance(payload, str) else payload
        assert event["fulfillment_id"] == "W-1-1"
        assert event["occurred_at"] == "2026-03-02T15:00:00Z"
        found.append({name: event[name] for name in ("event_id", "type", "lines", "reason")})
    return found


async def test_open_tasks_are_shown_with_what_to_pick(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")

    answer = await api.get("/v1/nodes/store-1/work")

    [task] = answer.json()["tasks"]
    assert (task["fulfillment_id"], task["status"]) == ("W-1-1", "created")
    line = {"line_id": "1", "sku": "TEE", "quantity": 2, "picked": 0, "given_back": 0, "name": ""}
    assert task["lines"] == [line]


@pytest.mark.parametrize(
    ("action", "body", "kind", "lines"),
    [
        ("accept", {}, "acknowledged", []),
        ("reject", {"reason": "flooded"}, "rejected", []),
        (
            "pick",
            {},
            "picked",
            [{"line_id": "1", "picked": 2, "short": 0, "reason": None}],
        ),
        (
            "pick",
            {"lines": [{"line_id": "1", "picked": 1, "short": 1, "reason": "damaged"}]},
            "picked",
            [{"line_id": "1", "picked": 1, "short": 1, "reason": "damaged"}],
        ),
        ("hand-over", {}, "handed_over", []),
    ],
)
async def test_a_report_becomes_an_event_that_counts_once(
    api: httpx.AsyncClient,
    filled: Engine,
    action: str,
    body: dict[str, Any],
    kind: str,
    lines: list[dict[str, Any]],
) -> None:
    release_fulfillment(filled, node_id="store-1")

    first = await api.post(f"{WORK}/{action}", json=body)
    again = await api.post(f"{WORK}/{action}", json=body)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert events_of(filled) == [
        {"event_id": f"W-1-1/{action}", "type": kind, "lines": lines, "reason": ""}
    ]
    with reading(filled) as session:
        kept = words.text_of(session, "W-1", f"event/W-1-1/{action}")
    assert kept == body.get("reason", "")


async def test_two_picks_with_keys_of_their_own_are_two_events(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    body = {"lines": [{"line_id": "1", "picked": 1}]}

    for key in ("K-1", "K-2", "K-2"):
        await api.post(f"{WORK}/pick", json=body, headers={"Idempotency-Key": key})

    assert [x["event_id"] for x in events_of(filled)] == ["W-1-1/pick/K-1", "W-1-1/pick/K-2"]


async def test_packing_without_details_is_one_weighed_package_of_what_was_picked(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    view = FulfillmentView(
        fulfillment_id="W-1-1",
        order_id="W-1",
        revision=2,
        status=FulfillmentStatus.PICKING,
        lines=(LineProgress(line_id="1", picked=1, returned_to_order=1),),
    )
    with transaction(filled) as session:
        fulfillments.record_fulfillment(session, view, NOW)

    await api.post(f"{WORK}/pack", json={})

    payload = messages_of(filled)[0]["payload"]
    event = json.loads(payload) if isinstance(payload, str) else payload
    [package] = event["packages"]
    assert (package["package_id"], package["weight_grams"]) == ("W-1-1-p1", 200)
    assert package["lines"] == [{"line_id": "1", "quantity": 1}]


async def test_a_packed_pick_up_is_ready_and_then_collected(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1", method="pickup")

    await api.post(f"{WORK}/pack", json={})
    await api.post(f"{WORK}/collect", json={})

    assert [event["type"] for event in events_of(filled)] == ["ready_for_pickup", "collected"]


@pytest.mark.parametrize(
    ("action", "body", "error"),
    [
        (
            "pick",
            {"lines": [{"line_id": "9", "picked": 1}]},
            {"path": "lines.0.line_id", "message": "no line '9' was asked for"},
        ),
        (
            "pick",
            {"lines": [{"line_id": "1", "picked": 2, "short": 1}]},
            {"path": "lines.0.picked", "message": "only 2 units were asked for"},
        ),
        (
            "pack",
            {"packages": [{"lines": [{"line_id": "1", "quantity": 3}]}]},
            {
                "path": "packages.0.lines.0.quantity",
                "message": "only 2 units were asked for",
            },
        ),
        ("reject", {}, {"path": "reason", "message": "say why the node rejects"}),
        (
            "collect",
            {},
            {
                "path": "",
                "message": "a shipment is handed over to a carrier, not collected",
            },
        ),
    ],
)
async def test_a_report_that_cannot_be_is_refused_and_nothing_is_kept(
    api: httpx.AsyncClient,
    filled: Engine,
    action: str,
    body: dict[str, Any],
    error: dict[str, str],
) -> None:
    release_fulfillment(filled, node_id="store-1")

    answer = await api.post(f"{WORK}/{action}", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [error]
    assert messages_of(filled) == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nodes/store-1/work/W-9-1/accept",
        "/v1/nodes/store-1/work/W-1-1/accept",
        "/v1/nodes/store-9/work/W-1-1/accept",
    ],
)
async def test_work_of_another_node_or_none_is_not_found(
    api: httpx.AsyncClient, filled: Engine, path: str
) -> None:
    release_fulfillment(filled, node_id="dc-1")

    answer = await api.post(path, json={})

    assert answer.status_code == 404
    assert messages_of(filled) == []


async def test_a_closed_fulfillment_takes_no_more_reports(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    view = FulfillmentView(
        fulfillment_id="W-1-1",
        order_id="W-1",
        revision=2,
        status=FulfillmentStatus.CANCELLED,
        closed=True,
    )
    with transaction(filled) as session:
        fulfillments.record_fulfillment(session, view, NOW)

    answer = await api.post(f"{WORK}/accept", json={})

    assert answer.status_code == 409
    assert messages_of(filled) == []


@pytest.mark.parametrize("wait", [*fulfillments.CANCEL_WAITS, "the node to pick and pack"])
async def test_a_task_says_whether_a_cancel_waits_for_the_nodes_answer(
    api: httpx.AsyncClient, filled: Engine, wait: str
) -> None:
    release_fulfillment(filled, node_id="store-1")
    view = FulfillmentView(
        fulfillment_id="W-1-1",
        order_id="W-1",
        revision=2,
        status=FulfillmentStatus.PICKING,
        awaits=f"{wait} until 2026-03-02 16:00 UTC",
    )
    with transaction(filled) as session:
        fulfillments.record_fulfillment(session, view, NOW)

    [task] = (await api.get("/v1/nodes/store-1/work")).json()["tasks"]

    is_for_a_cancel = wait in fulfillments.CANCEL_WAITS
    assert task["cancel_asked"] == is_for_a_cancel
    assert (wait in inspect.getsource(fulfillment_node)) == is_for_a_cancel
