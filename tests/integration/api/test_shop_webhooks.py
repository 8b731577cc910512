"""Orders that a shop sends by webhook: taken once, amended by later states, never by older ones."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from config.settings import Settings
from starter.api.app import create_app
from store import network
from store.engine import transaction
from tests.contract.test_shopify_capture import SECRET, SHOP, a_line, an_order, signed
from tests.integration.api.conftest import NETWORK, NOW, PRODUCTS, calling, messages_of
from tests.integration.api.test_capture_poll import orders_of


@pytest.fixture
def app(settings: Settings, filled: Engine, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setenv("SHOPIFY_SECRET", SECRET)
    changes = {"connections": (*NETWORK.connections, SHOP)}
    with transaction(filled) as session:
        network.import_network(session, NETWORK.model_copy(update=changes), PRODUCTS, NOW)
    return create_app(settings, filled)


async def send(app: FastAPI, document: Any) -> httpx.Response:
    raw = json.dumps(document).encode()
    async with calling(app) as client:
        return await client.post("/v1/webhooks/shop", content=raw, headers=signed(raw))


async def test_an_order_that_comes_twice_is_taken_once(app: FastAPI, filled: Engine) -> None:
    answers = [await send(app, an_order()) for _ in range(2)]

    assert [(x.status_code, x.json()["duplicate"]) for x in answers] == [(202, False), (202, True)]
    [order] = orders_of(filled)
    assert (order["order_id"], order["entered_by"]) == ("shop-1001", "webhook")


async def test_a_later_state_amends_and_a_late_original_changes_nothing(
    app: FastAPI, filled: Engine
) -> None:
    later = an_order(updated_at="2026-03-02T10:05:00-08:00", line_items=[a_line(quantity=3)])
    answers = [await send(app, later), await send(app, an_order())]

    assert [x.json()["status"] for x in answers] == ["accepted", "quarantined"]
    assert [x["version"] for x in orders_of(filled)] == [301]


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (an_order(line_items=[]), "quarantined"),
        (an_order(line_items=[a_line(sku="NOBODY")]), "quarantined"),
        ({"order_edit": {"id": 1}}, "ignored"),
    ],
)
async def test_what_is_no_order_is_answered_and_makes_none(
    app: FastAPI, filled: Engine, document: Any, status: str
) -> None:
    answer = await send(app, document)

    assert (answer.status_code, answer.json()["status"]) == (202, status)
    assert answer.json()["reason"]
    assert orders_of(filled) == []
    assert len(messages_of(filled)) == (status == "quarantined")


async def test_an_order_that_nobody_signed_is_not_taken(app: FastAPI, filled: Engine) -> None:
    async with calling(app) as client:
        answer = await client.post("/v1/webhooks/shop", content=json.dumps(an_order()))
        other = await client.post("/v1/webhooks/shop-eu", content="{}")

    # A shop that knows doms sends to /v1/capture.
    assert (answer.status_code, other.status_code) == (401, 404)
    assert messages_of(filled) == []
