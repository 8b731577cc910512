"""Keys, roles, and what an API without keys allows whom."""

from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from config.settings import Settings
from starter.api.app import create_app
from starter.auth import Gatekeeper
from store import api_keys, approvals
from store.engine import transaction
from tests.integration.api.conftest import (
    NOW,
    Clock,
    calling,
    messages_of,
    order_document,
    release_fulfillment,
    rows_of,
)


@pytest.fixture
def keyed(settings: Settings, filled: Engine, clock: Clock) -> FastAPI:
    """An API that listens beyond this machine."""
    return create_app(settings.model_copy(update={"require_api_key": True}), filled, clock=clock)


def key_of(engine: Engine, name: str, *roles: str) -> str:
    with transaction(engine) as session:
        return api_keys.create_key(session, name, roles, NOW)


async def test_beyond_this_machine_a_call_without_a_key_is_refused(
    keyed: FastAPI, filled: Engine
) -> None:
    before = rows_of(filled)
    async with calling(keyed) as nobody:
        answer = await nobody.post("/v1/orders", json=order_document())

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert rows_of(filled) == before


@pytest.mark.parametrize("scheme", ["X-API-Key", "Authorization"])
async def test_a_key_is_taken_from_either_header(
    keyed: FastAPI, filled: Engine, scheme: str
) -> None:
    key = key_of(filled, "shop", "intake")
    value = key if scheme == "X-API-Key" else f"Bearer {key}"
    async with calling(keyed, **{scheme: value}) as shop:
        answer = await shop.post("/v1/orders", json=order_document())

    assert answer.status_code == 202


async def test_an_unknown_key_is_refused_on_this_machine_too(app: FastAPI) -> None:
    async with calling(app, **{"X-API-Key": "doms_wrong"}) as stranger:
        answer = await stranger.get("/v1/orders")

    assert answer.status_code == 401


async def test_a_role_that_does_not_allow_it_is_refused_and_nothing_is_kept(
    keyed: FastAPI, filled: Engine
) -> None:
    key = key_of(filled, "viewer", "analyst")
    before = rows_of(filled)
    async with calling(keyed, **{"X-API-Key": key}) as viewer:
        answer = await viewer.post("/v1/orders", json=order_document())
        reads = await viewer.get("/v1/reports/summary")

    assert answer.status_code == 403
    assert answer.json()["detail"] == "'viewer' needs the role 'intake' for this"
    assert reads.status_code == 200
    assert rows_of(filled) == before


async def test_what_a_cart_holds_is_shown_to_those_who_serve_it_only(
    keyed: FastAPI, filled: Engine
) -> None:
    item = {"node_id": "dc-1", "sku": "TEE", "quantity": 1}
    answers = {}
    async with calling(keyed, **{"X-API-Key": key_of(filled, "shop", "intake")}) as shop:
        held = await shop.post(
            "/v1/reservations", json={"reservation_id": "cart-1", "items": [item]}
        )
    for role in ("intake", "support", "operations", "analyst", "node", "manager"):
        async with calling(keyed, **{"X-API-Key": key_of(filled, f"a-{role}", role)}) as client:
            answers[role] = (await client.get("/v1/reservations/cart-1")).status_code

    assert held.status_code == 201
    assert answers == {
        "intake": 200,
        "support": 200,
        "operations": 200,
        "analyst": 403,
        "node": 403,
        "manager": 403,
    }


async def test_who_acts_is_stamped_from_the_key_and_never_taken_from_the_body(
    keyed: FastAPI, filled: Engine
) -> None:
    shop, boss = key_of(filled, "shop", "intake"), key_of(filled, "boss", "manager")
    async with calling(keyed, **{"X-API-Key": shop}) as client:
        await client.post("/v1/orders", json=order_document())
    with transaction(filled) as session:
        approvals.ask(session, "W-1", 1, "manager", NOW, NOW + timedelta(days=1))

    vote = {"verdict": "approve", "level": 1, "approver": "somebody else"}
    async with calling(keyed, **{"X-API-Key": boss, "X-Doms-Actor": "somebody"}) as client:
        answer = await client.post("/v1/orders/W-1/approvals", json=vote)

    assert answer.status_code == 202
    payload = str(messages_of(filled)[-1]["payload"])
    assert "boss" in payload
    assert "manager" in payload
    assert "somebody" not in payload


async def test_a_role_the_caller_does_not_have_cannot_be_voted_in(
    keyed: FastAPI, filled: Engine, api: httpx.AsyncClient
) -> None:
    await api.post("/v1/orders", json=order_document())
    key = key_of(filled, "clerk", "support")
    before = rows_of(filled)

    vote = {"verdict": "approve", "level": 1, "role": "director"}
    async with calling(keyed, **{"X-API-Key": key}) as clerk:
        answer = await clerk.post("/v1/orders/W-1/approvals", json=vote)

    assert answer.status_code == 403
    assert rows_of(filled) == before


async def test_a_nodes_staff_see_and_do_only_their_nodes_work(
    keyed: FastAPI, filled: Engine
) -> None:
    release_fulfillment(filled, "W-1-1", node_id="store-1")
    release_fulfillment(filled, "W-1-2", node_id="dc-1")
    key = key_of(filled, "till", "node:store-1")
    async with calling(keyed, **{"X-API-Key": key}) as till:
        own = await till.get("/v1/nodes/store-1/work")
        other = await till.get("/v1/nodes/dc-1/work")
        orders = await till.get("/v1/orders")
        elsewhere = await till.post("/v1/nodes/dc-1/work/W-1-2/accept", json={})

    assert [task["fulfillment_id"] for task in own.json()["tasks"]] == ["W-1-1"]
    assert [x.status_code for x in (other, orders, elsewhere)] == [403, 403, 403]
    assert messages_of(filled) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"X-Forwarded-For": "203.0.113.9"},
    ],
    ids=["a-web-page-of-another-origin", "a-rebound-name", "through-a-proxy"],
)
async def test_without_a_key_only_this_machines_own_programs_are_let_in(
    app: FastAPI, filled: Engine, headers: dict[str, str]
) -> None:
    before = rows_of(filled)
    async with calling(app, **headers) as client:
        answer = await client.post("/v1/orders", json=order_document())

    assert answer.status_code == 401
    assert rows_of(filled) == before


async def test_a_revoked_key_stops_working_within_seconds(
    settings: Settings, filled: Engine
) -> None:
    key = key_of(filled, "shop", "intake")
    seconds = 0.0
    gatekeeper = Gatekeeper(settings, filled, seconds=lambda: seconds)
    request = httpx.Request("GET", "http://127.0.0.1", headers={"X-API-Key": key})

    class Asked:
        headers = request.headers
        client = ("127.0.0.1", 1)

    assert gatekeeper.caller(Asked()).name == "shop"
    with transaction(filled) as session:
        api_keys.revoke(session, "shop", NOW)
    seconds = 6.0

    with pytest.raises(Exception, match="not known"):
        gatekeeper.caller(Asked())


async def test_a_process_that_lost_sight_of_the_stock_is_not_ready(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app.router.lifespan_context(app), calling(app) as client:
        before = await client.get("/readyz")
        monkeypatch.setattr("store.following.STALE_SECONDS", -1.0)
        after = await client.get("/readyz")

    assert (before.status_code, after.status_code) == (200, 503)
    assert after.json() == {"status": "stale stock", "database": True, "temporal": False}


async def test_health_and_metrics_need_no_key(keyed: FastAPI) -> None:
    async with calling(keyed) as nobody:
        answers = [await nobody.get(path) for path in ("/healthz", "/readyz", "/metrics")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
