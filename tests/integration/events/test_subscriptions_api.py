"""Subscribing over HTTP, and seeing and repeating what did not arrive."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from config.settings import Settings
from domain.order_events import VOCABULARY
from starter.api.app import create_app
from starter.event_sender import EventSender
from store import api_keys
from store.engine import transaction
from tests.integration.api.conftest import NOW, Clock, calling, order_document
from tests.integration.events.receiver import LOOPBACK, Receiver
from tests.integration.store.builders import everything

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ADDRESS = "https://93.184.216.34/hooks"

Told = Callable[[], int]


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        _env_file=None, database_url=database_url, events_private_networks="127.0.0.0/8"
    )


@pytest.fixture
def tell(engine: Engine, clock: Clock) -> Told:
    return EventSender(engine, {}, LOOPBACK, clock, client=httpx.Client()).tell_due


async def subscribe(api: httpx.AsyncClient, url: str = ADDRESS, **facts: Any) -> dict[str, Any]:
    answer = await api.post("/v1/subscriptions", json={"url": url, **facts})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await api.get("/v1/subscriptions")
    found: list[dict[str, Any]] = answer.json()["subscriptions"]
    return found


async def test_a_secret_that_doms_made_is_shown_once_and_signs(
    api: httpx.AsyncClient, receiver: Receiver, tell: Told
) -> None:
    made = await subscribe(api, receiver.url, event_types=["order.*"])
    await api.post("/v1/orders", json=order_document())

    assert tell() == 1

    secret = made.pop("secret")
    assert receiver.got[0].is_signed_with(secret)
    assert await listed(api) == [made]
    assert made == {
        "subscription_id": made["subscription_id"],
        "url": receiver.url,
        "event_types": ["order.*"],
        "brand": None,
        "channel": None,
        "state": "active",
        "why": "",
        "created_by": "local",
        "created_at": "2026-03-02T15:00:00Z",
        "signed_with": [{"from": "the database", "until": None}],
    }


async def test_a_given_secret_is_not_shown_again_and_one_in_the_environment_is_named(
    api: httpx.AsyncClient,
) -> None:
    given = await subscribe(api, secret=SECRET)
    named = await subscribe(api, secret_env="EVENTS_SECRET_SHOP")

    assert "secret" not in given
    assert "secret" not in named
    assert named["signed_with"] == [{"from": "EVENTS_SECRET_SHOP", "until": None}]
    assert SECRET not in (await api.get("/v1/subscriptions")).text


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ({}, "url", "must be given"),
        ({"url": "http://10.0.0.1/x"}, "url", "private address"),
        ({"url": "nonsense"}, "url", "send a full address"),
        ({"url": ADDRESS, "event_types": ["order.eaten"]}, "event_types", "no event is"),
        ({"url": ADDRESS, "event_types": ["ord*"]}, "event_types", "no event is 'ord*'"),
        ({"url": ADDRESS, "event_types": []}, "event_types", ""),
        ({"url": ADDRESS, "secret": "whsec_short"}, "secret", "24 to 64 random bytes"),
        ({"url": ADDRESS, "secret_env": "PATH"}, "secret_env", "EVENTS_SECRET"),
        (
            {"url": ADDRESS, "secret": SECRET, "secret_env": "EVENTS_SECRET_A"},
            "",
            "not both",
        ),
        ({"url": ADDRESS, "colour": "red"}, "colour", ""),
    ],
)
async def test_what_cannot_be_subscribed_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, filled: Engine, body: dict[str, Any], path: str, message: str
) -> None:
    before = everything(filled)

    answer = await api.post("/v1/subscriptions", json=body)

    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["path"] == path
    assert message in error["message"]
    assert everything(filled) == before


async def test_a_secret_is_changed_and_the_one_before_signs_for_a_while(
    api: httpx.AsyncClient, receiver: Receiver, tell: Told, clock: Clock
) -> None:
    made = await subscribe(api, receiver.url, secret=SECRET)
    path = f"/v1/subscriptions/{made['subscription_id']}/secret"

    changed = (await api.post(path, json={"keep_hours": 2})).json()
    await api.post("/v1/orders", json=order_document())
    tell()
    clock.pass_time(timedelta(hours=2))
    await api.post("/v1/orders", json=order_document(order_id="W-2", external_id="2"))
    tell()

    first, second = receiver.got
    assert changed["signed_with"] == [
        {"from": "the database", "until": None},
        {"from": "the database", "until": "2026-03-02T17:00:00Z"},
    ]
    assert first.is_signed_with(SECRET)
    assert first.is_signed_with(changed["secret"])
    assert second.is_signed_with(changed["secret"])
    assert not second.is_signed_with(SECRET)


async def test_a_removed_subscription_is_told_nothing_more(
    api: httpx.AsyncClient, receiver: Receiver, tell: Told
) -> None:
    made = await subscribe(api, receiver.url)
    await api.post("/v1/orders", json=order_document())

    answer = await api.delete(f"/v1/subscriptions/{made['subscription_id']}")

    assert answer.status_code == 204
    assert tell() == 0
    assert await listed(api) == []
    assert (await api.get("/v1/events/deliveries")).json() == {"deliveries": [], "next": None}
    again = await api.delete(f"/v1/subscriptions/{made['subscription_id']}")
    assert again.status_code == 404


async def test_what_was_given_up_is_seen_and_told_again(
    api: httpx.AsyncClient, receiver: Receiver, tell: Told, clock: Clock
) -> None:
    made = await subscribe(api, receiver.url)
    await api.post("/v1/orders", json=order_document())
    receiver.answers(410)
    tell()

    dead = (await api.get("/v1/events/deliveries", params={"status": "dead"})).json()
    [one] = dead["deliveries"]
    refused = await api.post("/v1/events/replay", json={"delivery_ids": [one["delivery_id"]]})
    receiver.answers(200)
    await api.post(f"/v1/subscriptions/{made['subscription_id']}/enable")
    replayed = await api.post("/v1/events/replay", json={"dead": True})

    assert (one["event_type"], one["order_id"], one["error"]) == (
        "order.accepted",
        "W-1",
        "the receiver answered 410 Gone",
    )
    assert refused.status_code == 404
    assert replayed.json() == {"replayed": 1}
    assert tell() == 1
    assert receiver.got[0].event_id == receiver.got[1].event_id == one["event_id"]
    shown = (await api.get(f"/v1/events/deliveries/{one['delivery_id']}")).json()
    assert (shown["status"], shown["error"]) == ("done", "")
    assert shown["document"] == receiver.got[1].document


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"since": "2026-03-02T15:00:00Z"}, 2),
        ({"since": "2026-03-02T15:00:01Z"}, 0),
        ({"dead": True}, 0),
        ({"dead": True, "since": "2026-03-02T15:00:00Z"}, 0),
    ],
)
async def test_replays_by_time_tell_also_what_had_arrived(
    api: httpx.AsyncClient, receiver: Receiver, tell: Told, chosen: dict[str, Any], count: int
) -> None:
    made = await subscribe(api, receiver.url)
    for number in (1, 2):
        order = order_document(order_id=f"W-{number}", external_id=f"{number}")
        await api.post("/v1/orders", json=order)
    tell()

    body = {**chosen, "subscription_id": made["subscription_id"]}
    assert (await api.post("/v1/events/replay", json=body)).json() == {"replayed": count}

    assert tell() == count


@pytest.mark.parametrize(
    "body",
    [{}, {"subscription_id": "sub-1"}, {"delivery_ids": [1], "dead": True}, {"delivery_ids": [0]}],
)
async def test_a_replay_must_say_what(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await api.post("/v1/events/replay", json=body)).status_code == 422


async def test_deliveries_are_listed_page_by_page_and_by_order(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await subscribe(api, receiver.url)
    for number in (1, 2, 3):
        order = order_document(order_id=f"W-{number}", external_id=f"{number}")
        await api.post("/v1/orders", json=order)

    first = (await api.get("/v1/events/deliveries", params={"limit": 2})).json()
    rest = (await api.get("/v1/events/deliveries", params={"after": first["next"]})).json()
    second = (await api.get("/v1/events/deliveries", params={"order_id": "W-2"})).json()

    assert [x["order_id"] for x in first["deliveries"]] == ["W-1", "W-2"]
    assert ([x["order_id"] for x in rest["deliveries"]], rest["next"]) == (["W-3"], None)
    assert [x["order_id"] for x in second["deliveries"]] == ["W-2"]
    assert (await api.get("/v1/events/deliveries/9")).status_code == 404


async def test_the_vocabulary_is_listed(api: httpx.AsyncClient) -> None:
    types = (await api.get("/v1/events/types")).json()["types"]
    assert [x["type"] for x in types] == list(VOCABULARY)


async def test_only_operations_subscribe_and_support_may_look(
    filled: Engine, settings: Settings, clock: Clock
) -> None:
    with transaction(filled) as session:
        keys = {
            role: api_keys.create_key(session, role, [role], NOW)
            for role in ("operations", "support", "intake", "node:store-1")
        }
    app = create_app(settings.model_copy(update={"require_api_key": True}), filled, clock=clock)
    asked = [
        ("POST", "/v1/subscriptions", {"url": ADDRESS}),
        ("POST", "/v1/events/replay", {"dead": True}),
        ("POST", "/v1/subscriptions/sub-1/enable", {}),
        ("POST", "/v1/subscriptions/sub-1/secret", {}),
        ("DELETE", "/v1/subscriptions/sub-1", None),
        ("GET", "/v1/subscriptions", None),
        ("GET", "/v1/events/deliveries", None),
    ]
    found = {}
    for role, key in keys.items():
        async with calling(app, **{"X-API-Key": key}) as client:
            found[role] = [
                (await client.request(method, path, json=body)).status_code
                for method, path, body in asked
            ]

    assert found == {
        "operations": [201, 202, 404, 404, 404, 200, 200],
        "support": [403] * 5 + [200, 200],
        "intake": [403] * 7,
        "node:store-1": [403] * 7,
    }


async def test_what_has_not_arrived_is_measured(
    api: httpx.AsyncClient, receiver: Receiver, clock: Clock
) -> None:
    await subscribe(api, receiver.url)
    await api.post("/v1/orders", json=order_document())
    clock.pass_time(timedelta(minutes=2))

    measured = (await api.get("/metrics")).text

    assert 'doms_events{state="waiting"} 1.0' in measured
    assert 'doms_events{state="dead"} 0.0' in measured
    assert "doms_events_oldest_waiting_seconds 120.0" in measured
