"""Webhooks that tell only that there is news: kept, and the node is asked at once."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from config.settings import Settings
from domain.network import Connection, ConnectionClass
from integrations.standard_webhooks import sign, signer
from integrations.vendor import News, NewsOf
from starter.api.app import create_app
from starter.deliveries import Done, Preparer, Quarantined
from starter.intake import Capture, Intake, Reference
from store import inbox, network
from store.engine import transaction
from tests.integration.api.conftest import (
    NETWORK,
    NOW,
    PRODUCTS,
    SECRET,
    calling,
    messages_of,
    release_fulfillment,
)

SHIPBOB = Connection(
    connection_id="shipbob-1",
    kind=ConnectionClass.THREEPL,
    vendor="shipbob",
    base_url="https://api.shipbob.com",
    settings={"channel_id": 1},
)


@pytest.fixture
def app(settings: Settings, filled: Engine) -> FastAPI:
    nodes = [
        x.model_copy(update={"connection_id": "shipbob-1"}) if x.node_id == "dc-1" else x
        for x in NETWORK.nodes
    ]
    changes = {"connections": (*NETWORK.connections, SHIPBOB), "nodes": tuple(nodes)}
    with transaction(filled) as session:
        network.import_network(session, NETWORK.model_copy(update=changes), PRODUCTS, NOW)
    return create_app(settings, filled)


async def test_a_node_is_asked_at_once_for_the_news_a_webhook_tells_of(
    app: FastAPI, filled: Engine
) -> None:
    asked: list[tuple[str, News]] = []

    def heard_of(connection_id: str, news: News) -> None:
        asked.append((connection_id, news))

    app.state.services = replace(app.state.services, heard_of=heard_of)
    raw = json.dumps({"reference_id": "W-1-1", "status": "LabelCreated"})
    headers = sign(signer(SECRET), "msg_1", datetime.now(UTC), raw)

    async with calling(app) as client:
        for _ in range(2):
            answer = await client.post("/v1/webhooks/shipbob-1", content=raw, headers=headers)
            assert answer.status_code == 202

    assert asked == [("shipbob-1", NewsOf("W-1-1"))]
    [kept] = messages_of(filled)
    assert (kept["stream"], kept["state"]) == ("fulfillment-W-1-1", "waiting")


async def test_news_of_our_work_wake_no_workflow_and_those_of_strange_work_are_kept_aside(
    app: FastAPI, filled: Engine, settings: Settings
) -> None:
    release_fulfillment(filled, "W-1-1")
    with transaction(filled) as session:
        for number, told in enumerate(["W-1-1", "W-404-1"]):
            inbox.put(
                session,
                kind="webhook",
                connection_id="shipbob-1",
                event_id=f"msg_{number}",
                body=json.dumps({"reference_id": told}).encode(),
                now=NOW,
            )
        rows = inbox.claim(session, 10, NOW)
    reference = Reference()
    capture = Capture(filled, reference, Intake(filled, reference))

    prepared = Preparer(settings, reference, capture).prepare_all(
        filled, [(row, False) for row in rows]
    )

    assert [x.deliveries for x in prepared] == [(), ()]
    assert prepared[0].outcome == Done()
    assert prepared[1].outcome == Quarantined("no fulfillment 'W-404-1'")
