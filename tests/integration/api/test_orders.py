"""Orders accepted, repeated, amended, contradicted; and what people ask of them."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from domain.fulfillments import FulfillmentStatus
from domain.orders import Order
from domain.plans import FulfillmentView, OrderView
from domain.policy_rollout import Scope
from domain.quantities import LineQuantities
from domain.routing.policy import RoutingPolicy
from domain.stages import Attention, Choice, Stage
from store import fulfillments, order_recording, orders, pins, policies, words
from store.engine import reading, transaction
from tests.integration.api.conftest import (
    NOW,
    Clock,
    calling,
    messages_of,
    order_document,
    release_fulfillment,
    rows_of,
)


async def test_a_new_order_is_accepted_with_its_links_and_kept_for_its_start(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    answer = await api.post("/v1/orders", json=order_document())

    assert answer.status_code == 202
    assert answer.json() == {
        "order_id": "W-1",
        "version": 1,
        "workflow_id": "order-W-1",
        "status": "accepted",
        "links": {
            "self": "http://127.0.0.1:8080/v1/orders/W-1",
            "temporal_ui": "http://127.0.0.1:8233/namespaces/default/workflows/order-W-1",
        },
    }
    [start] = messages_of(filled)
    assert (start["kind"], start["stream"], start["state"]) == ("start", "order-W-1", "waiting")


async def test_the_same_order_again_gives_the_same_answer_and_changes_nothing(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    first = await api.post("/v1/orders", json=order_document())
    before = rows_of(filled)

    again = await api.post("/v1/orders", json=order_document())

    assert again.status_code == 200
    assert again.json() == first.json()
    assert rows_of(filled) == before


async def test_the_same_order_many_times_at_once_is_new_exactly_once(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    answers = await asyncio.gather(
        *(api.post("/v1/orders", json=order_document()) for _ in range(12))
    )

    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [202]
    assert rows_of(filled)["orders"] == 1
    assert len(messages_of(filled)) == 1


async def test_the_next_version_of_an_order_is_an_amendment(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())

    answer = await api.post("/v1/orders", json=order_document(version=2, po_number="PO-1"))

    assert answer.status_code == 202
    assert answer.json()["version"] == 2
    amend = messages_of(filled)[-1]
    assert (amend["kind"], amend["name"], amend["stream"]) == ("signal", "amend", "order-W-1")


@pytest.mark.parametrize(
    "changed",
    [
        {"po_number": "PO-1"},
        {"order_id": "W-2"},
        {"external_id": "1002"},
    ],
    ids=["other-content", "other-order-id", "other-external-id"],
)
async def test_a_contradicting_document_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, filled: Engine, changed: dict[str, Any]
) -> None:
    await api.post("/v1/orders", json=order_document())
    before = rows_of(filled)

    answer = await api.post("/v1/orders", json=order_document(**changed))

    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["order_id"] == "W-1"
    assert rows_of(filled) == before


async def test_an_order_by_the_case_is_kept_in_base_units_with_the_same_total(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    line = {
        "line_id": "1",
        "sku": "TEE",
        "quantity": 2,
        "ordered_uom": "CS",
        "unit_price": "25.00",
        "discount": "1.00",
    }

    answer = await api.post("/v1/orders", json=order_document(lines=[line]))

    assert answer.status_code == 202
    with reading(filled) as session:
        kept = orders.load_order(session, "W-1").lines[0]
    assert (kept.quantity, str(kept.unit_price), str(kept.discount)) == (24, "2.09", "1.16")
    assert kept.ordered_uom == "CS"
    assert kept.attributes == {"as_ordered": {"quantity": 2, "uom": "CS", "unit_price": "25.00"}}
    page = (await api.get("/v1/orders/W-1")).json()
    assert page["total"] == "49.00"
    assert page["lines"][0]["quantities"]["ordered"] == 24


async def test_an_order_is_pinned_to_the_policies_active_when_it_came(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    first = _pins(filled)

    with transaction(filled) as session:
        document = RoutingPolicy(name="newer").model_dump(mode="json")
        newer = policies.publish(session, "routing", document, NOW)
        policies.activate(session, newer, Scope(), NOW)

    assert _pins(filled) == first
    assert first["routing"] != newer


async def test_a_promise_pins_the_routing_policy_it_was_made_with(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    asked = {"items": [{"sku": "TEE"}], "destination": {"country": "US", "region": "NY"}}
    promise = (await api.post("/v1/promises", json=asked)).json()
    with transaction(filled) as session:
        document = RoutingPolicy(name="newer").model_dump(mode="json")
        newer = policies.publish(session, "routing", document, NOW)
        policies.activate(session, newer, Scope(), NOW)

    await api.post("/v1/orders", json=order_document(promise_id=promise["promise_id"]))

    assert _pins(filled)["routing"] == promise["policy_version"]
    assert promise["policy_version"] != newer


def _pins(engine: Engine) -> dict[str, str]:
    payload = messages_of(engine)[0]["payload"]
    pins: dict[str, str] = (json.loads(payload) if isinstance(payload, str) else payload)["pins"]
    return pins


async def test_orders_are_listed_newest_first_page_by_page(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    for number in range(3):
        document = order_document(order_id=f"W-{number}", external_id=str(number))
        await api.post("/v1/orders", json=document)
        clock.pass_time(timedelta(seconds=1))

    first = (await api.get("/v1/orders", params={"limit": 2})).json()
    second = (await api.get("/v1/orders", params={"limit": 2, "after": first["next"]})).json()

    assert [order["order_id"] for order in first["orders"]] == ["W-2", "W-1"]
    assert [order["order_id"] for order in second["orders"]] == ["W-0"]
    assert second["next"] is None


async def test_an_orders_page_names_nobody(api: httpx.AsyncClient) -> None:
    await api.post("/v1/orders", json=order_document())

    page = (await api.get("/v1/orders/W-1")).text

    assert "Ada" not in page
    assert "Main St" not in page


COMMANDS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "cancel",
        {"lines": [{"line_id": "1", "quantity": 1}], "reason": "changed my mind"},
        "cancel",
        {
            "lines": [{"line_id": "1", "quantity": 1}],
            "reason": "",
            "actor": "eve",
        },
    ),
    ("cancel", {"lines": "all"}, "cancel", {"lines": None, "reason": "", "actor": "eve"}),
    (
        "hold",
        {"type": "fraud", "reason": "check", "expires_at": "2026-03-03T00:00:00Z"},
        "hold",
        {
            "type": "fraud",
            "owner": "eve",
            "reason": "",
            "expires_at": "2026-03-03T00:00:00Z",
        },
    ),
    ("release-hold", {"type": "fraud"}, "release_hold", {"type": "fraud", "actor": "eve"}),
    (
        "resume",
        {"park_id": "pick-1", "choice": "retry"},
        "resume",
        {"park_id": "pick-1", "choice": "retry", "correction": "", "actor": "eve"},
    ),
    (
        "approvals",
        {"verdict": "approve", "level": 1, "role": "manager", "comment": "other"},
        "approve",
        {"approver": "eve", "role": "manager", "level": 1, "comment": "other", "key_name": None},
    ),
    (
        "approvals",
        {"verdict": "reject", "level": 2, "role": "director", "comment": "too dear"},
        "reject",
        {"approver": "eve", "role": "director", "level": 2, "comment": "", "key_name": None},
    ),
]


@pytest.mark.parametrize(("path", "body", "name", "payload"), COMMANDS)
async def test_what_a_person_asks_is_kept_once_and_stamped_with_who_asked(
    app: FastAPI,
    filled: Engine,
    path: str,
    body: dict[str, Any],
    name: str,
    payload: dict[str, Any],
) -> None:
    async with calling(app, **{"X-Doms-Actor": "eve", "Idempotency-Key": "K-1"}) as eve:
        await eve.post("/v1/orders", json=order_document())

        first = await eve.post(f"/v1/orders/W-1/{path}", json=body)
        again = await eve.post(f"/v1/orders/W-1/{path}", json=body)

    assert first.status_code == 202
    assert first.json()["request_id"] == "K-1"
    assert first.json()["status"] == "accepted"
    assert again.json() == first.json()
    [message] = messages_of(filled)[1:]
    assert (message["kind"], message["name"]) == ("signal", name)
    assert message["workflow_id"] == message["stream"] == "order-W-1"
    assert _payload(message) == {"request_id": "K-1", **payload}
    with reading(filled) as session:
        kept = words.text_of(session, "W-1", "request/K-1")
    said = body.get("reason") or body.get("comment") or ""
    assert kept == ("" if said in words.CODES else said)


async def test_a_request_id_stands_for_one_kind_of_request(app: FastAPI, filled: Engine) -> None:
    async with calling(app, **{"Idempotency-Key": "ticket-7"}) as api:
        await api.post("/v1/orders", json=order_document())
        await api.post("/v1/orders/W-1/hold", json={})

        lifted = await api.post("/v1/orders/W-1/release-hold", json={})

    assert lifted.status_code == 409
    assert "was used for 'hold'" in lifted.json()["detail"]
    assert [message["name"] for message in messages_of(filled)] == ["start", "hold"]


def _payload(message: dict[str, Any]) -> dict[str, Any]:
    payload = message["payload"]
    found: dict[str, Any] = json.loads(payload) if isinstance(payload, str) else payload
    return found


async def test_a_new_address_is_kept_apart_and_only_its_id_is_signalled(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    address = {"name": "Ada Example", "line1": "2 Side St", "region": "NJ", "country": "US"}

    answer = await api.post("/v1/orders/W-1/address", json={"address": address})

    assert answer.status_code == 202
    signal = _payload(messages_of(filled)[-1])
    assert signal["ship_group"] == "1"
    assert "Side" not in json.dumps(signal)
    with filled.connect() as connection:
        stored = connection.execute(text("SELECT address_id, address FROM addresses")).one()
    assert stored.address_id == signal["address_id"]
    assert "2 Side St" in json.dumps(stored.address)


HOME = {"region": "NY", "postal_code": "10001", "country": "US"}
LOCATED = {**HOME, "latitude": 40.75, "longitude": -73.99}
UNPLACED = {"latitude": None, "longitude": None}


@pytest.mark.parametrize(
    ("before", "sent", "kept"),
    [
        (LOCATED, {**HOME, "postal_code": "1000 1"}, (40.75, -73.99)),
        (LOCATED, {**HOME, **UNPLACED}, (40.75, -73.99)),
        (LOCATED, {**HOME, "latitude": 40.8, "longitude": -73.9}, (40.8, -73.9)),
        (LOCATED, {**HOME, "postal_code": "94103", **UNPLACED}, (None, None)),
        (HOME, {**HOME, "postal_code": "94103"}, (None, None)),
    ],
)
async def test_a_new_address_has_its_own_coordinates_or_those_of_its_postal_code(
    api: httpx.AsyncClient,
    filled: Engine,
    before: dict[str, Any],
    sent: dict[str, Any],
    kept: tuple[float | None, float | None],
) -> None:
    groups = [{"id": "1", "address": before}]
    await api.post("/v1/orders", json=order_document(ship_groups=groups))

    answer = await api.post("/v1/orders/W-1/address", json={"address": sent})

    assert answer.status_code == 202
    address = _payload({"payload": _stored_addresses(filled)[0]})
    assert (address["latitude"], address["longitude"]) == kept


@pytest.mark.parametrize(
    ("sent", "path", "told"),
    [
        ({**HOME, "postal_code": "94103"}, "address.latitude", "send latitude and longitude"),
        ({"country": "US"}, "address.latitude", "send latitude and longitude"),
        ({**HOME, "latitude": 40.8}, "address.longitude", "must be given too"),
    ],
)
async def test_a_new_address_that_would_lose_its_coordinates_is_refused_with_what_to_send(
    api: httpx.AsyncClient, filled: Engine, sent: dict[str, Any], path: str, told: str
) -> None:
    groups = [{"id": "1", "address": LOCATED}]
    await api.post("/v1/orders", json=order_document(ship_groups=groups))

    answer = await api.post("/v1/orders/W-1/address", json={"address": sent})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path
    assert told in answer.json()["errors"][0]["message"]
    assert _stored_addresses(filled) == []
    assert [message["name"] for message in messages_of(filled)] == ["start"]


async def test_an_order_that_has_ended_takes_no_address_whatever_it_lacks(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    groups = [{"id": "1", "address": LOCATED}]
    await api.post("/v1/orders", json=order_document(ship_groups=groups))
    _record(filled, stage=Stage.CANCELLED, closed=True)

    answer = await api.post("/v1/orders/W-1/address", json={"address": {"country": "US"}})

    assert answer.status_code == 409
    assert _stored_addresses(filled) == []


def _stored_addresses(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT address FROM addresses")).scalars())


BAD_COMMANDS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (
        "cancel",
        {"lines": [{"line_id": "9", "quantity": 1}]},
        {"path": "lines.0.line_id", "message": "no line '9'"},
    ),
    (
        "cancel",
        {"lines": [{"line_id": "1", "quantity": 3}]},
        {"path": "lines.0.quantity", "message": "only 2 units are ordered"},
    ),
    (
        "cancel",
        {"lines": "some"},
        {"path": "lines", "message": "must be a list or must be 'all'"},
    ),
    (
        "cancel",
        {"lines": [{"line_id": "1", "quantity": 0}]},
        {"path": "lines.0.quantity", "message": "must be at least 1"},
    ),
    (
        "hold",
        {"expires_at": "2026-03-01T00:00:00Z"},
        {"path": "expires_at", "message": "lies in the past"},
    ),
    ("resume", {"choice": "retry"}, {"path": "park_id", "message": "must be given"}),
    (
        "resume",
        {"park_id": "pick-1", "choice": "dance"},
        {
            "path": "choice",
            "message": "must be 'retry', 'skip', 'reroute', 'reship' or 'cancel'",
        },
    ),
    (
        "approvals",
        {"verdict": "approve", "level": "first"},
        {
            "path": "level",
            "message": "must be a whole number",
        },
    ),
    (
        "address",
        {"address": {"country": "US"}, "ship_group": "9"},
        {"path": "ship_group", "message": "name a ship group that is shipped: 1"},
    ),
    ("release-hold", {"kind": "fraud"}, {"path": "kind", "message": "unknown field"}),
]


@pytest.mark.parametrize(("path", "body", "error"), BAD_COMMANDS)
async def test_a_command_of_a_wrong_shape_is_refused_and_nothing_is_kept(
    api: httpx.AsyncClient,
    filled: Engine,
    path: str,
    body: dict[str, Any],
    error: dict[str, str],
) -> None:
    await api.post("/v1/orders", json=order_document())
    before = rows_of(filled)

    answer = await api.post(f"/v1/orders/W-1/{path}", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [error]
    assert rows_of(filled) == before


async def test_a_command_for_an_unknown_order_is_refused(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    answer = await api.post("/v1/orders/W-9/cancel", json={})

    assert answer.status_code == 404
    assert messages_of(filled) == []


async def test_a_closed_order_takes_no_new_command_but_repeats_the_old_answer(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    first = await api.post("/v1/orders/W-1/cancel", json={"request_id": "K-1"})
    _record(filled, stage=Stage.CANCELLED, closed=True)

    again = await api.post("/v1/orders/W-1/cancel", json={"request_id": "K-1"})
    other = await api.post("/v1/orders/W-1/cancel", json={"request_id": "K-2"})

    assert again.json() == first.json()
    assert other.status_code == 409
    assert other.json()["detail"] == "order 'W-1' is cancelled; nothing can change any more"
    assert len(messages_of(filled)) == 2


async def test_a_choice_that_is_not_offered_is_refused(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    attention = Attention(
        park_id="pick-1", step="pick", reason="no", choices=(Choice.RETRY,), since=NOW
    )
    _record(filled, attention=attention)

    body = {"park_id": "pick-1", "choice": "reship"}
    answer = await api.post("/v1/orders/W-1/resume", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": "choice", "message": "choose one of retry"}]


def _park(engine: Engine, *fulfillment_ids: str) -> None:
    attention = Attention(
        park_id="deliver-1", step="deliver", reason="lost", choices=(Choice.RESHIP,), since=NOW
    )
    for fulfillment_id in fulfillment_ids:
        release_fulfillment(engine, fulfillment_id)
        view = FulfillmentView(
            fulfillment_id=fulfillment_id,
            order_id="W-1",
            revision=2,
            status=FulfillmentStatus.EXCEPTION,
            attention=attention,
        )
        with transaction(engine) as session:
            fulfillments.record_fulfillment(session, view, NOW)


async def test_an_answer_to_a_parked_fulfillment_goes_to_that_fulfillment(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    _park(filled, "W-1-1")

    body = {"park_id": "deliver-1", "choice": "reship"}
    answer = await api.post("/v1/orders/W-1/resume", json=body)
    refused = await api.post("/v1/orders/W-1/resume", json={**body, "choice": "skip"})

    assert answer.status_code == 202
    assert refused.json()["errors"] == [{"path": "choice", "message": "choose one of reship"}]
    [message] = messages_of(filled)[1:]
    assert message["workflow_id"] == message["stream"] == "fulfillment-W-1-1"
    assert _payload(message)["choice"] == "reship"


async def test_when_several_fulfillments_are_parked_alike_one_has_to_be_named(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    _park(filled, "W-1-1", "W-1-2")

    body = {"park_id": "deliver-1", "choice": "reship"}
    vague = await api.post("/v1/orders/W-1/resume", json=body)
    named = await api.post("/v1/orders/W-1/resume", json={**body, "fulfillment_id": "W-1-2"})

    assert vague.json()["errors"] == [
        {"path": "fulfillment_id", "message": "say which one: W-1-1, W-1-2"}
    ]
    assert named.status_code == 202
    assert [x["workflow_id"] for x in messages_of(filled)[1:]] == ["fulfillment-W-1-2"]


def _record(engine: Engine, **changes: Any) -> None:
    order = Order.model_validate(order_document())
    view = OrderView(
        order_id=order.order_id,
        revision=5,
        stage=changes.pop("stage", Stage.RECEIVED),
        displayed="whatever",
        lines={
            x.line_id: LineQuantities(ordered=x.quantity, cancelled=x.quantity) for x in order.lines
        },
        **changes,
    )
    with transaction(engine) as session:
        order_recording.record_order(session, view, NOW)


async def test_while_no_policy_is_active_an_order_is_to_be_sent_again(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    with transaction(filled) as session:
        for policy in policies.list_policies(session):
            pins.withdraw(session, policy.version, NOW)
    before = rows_of(filled)

    answer = await api.post("/v1/orders", json=order_document())

    assert answer.status_code == 503
    assert "no process policy is active" in answer.json()["detail"]
    assert rows_of(filled) == before
