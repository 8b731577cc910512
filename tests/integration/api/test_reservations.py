"""Carts hold units over HTTP, for a while, until an order takes them over."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from store import holds, inventory, reservations, timeline
from store.engine import reading, transaction
from tests.integration.api.conftest import NOW, Clock, order_document, rows_of
from tests.integration.store.builders import a_plan

TEES = [{"node_id": "dc-1", "sku": "TEE", "quantity": 90}]


async def available(api: httpx.AsyncClient) -> int:
    nodes = (await api.get("/v1/inventory/TEE")).json()["nodes"]
    return int(nodes[0]["available"])


async def hold(api: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    body = {"reservation_id": "cart-1", "items": TEES, **changes}
    return await api.post("/v1/reservations", json=body)


def story(engine: Engine, order_id: str) -> list[str]:
    with reading(engine) as session:
        return [entry.text for entry in timeline.timeline(session, order_id)]


async def test_a_carts_hold_keeps_units_from_others_until_it_is_given_back(
    api: httpx.AsyncClient,
) -> None:
    held = await hold(api)
    refused = await hold(api, reservation_id="cart-2")
    given_back = await api.delete("/v1/reservations/cart-1")
    free = await hold(api, reservation_id="cart-3")

    assert held.status_code == 201
    assert held.json() == {
        "reservation_id": "cart-1",
        "channel": "",
        "order_id": None,
        "expires_at": "2026-03-02T15:15:00Z",
        "ended": None,
        "items": [
            {
                "line_id": "1",
                "node_id": "dc-1",
                "sku": "TEE",
                "wanted": 90,
                "held": 90,
                "missing": 0,
            }
        ],
    }
    assert refused.status_code == 409
    assert refused.json()["short"] == [{"node_id": "dc-1", "sku": "TEE"}]
    assert given_back.status_code == 204
    assert free.status_code == 201


async def test_a_partial_hold_says_what_is_missing(api: httpx.AsyncClient) -> None:
    items = [
        {"line_id": "a", "node_id": "dc-1", "sku": "TEE", "quantity": 70},
        {"line_id": "b", "node_id": "dc-1", "sku": "TEE", "quantity": 70},
    ]

    held = (await hold(api, items=items, partial=True)).json()

    assert [(x["line_id"], x["held"], x["missing"]) for x in held["items"]] == [
        ("a", 70, 0),
        ("b", 30, 40),
    ]
    assert await available(api) == 0


async def test_the_same_hold_again_is_the_same_and_other_content_is_refused(
    api: httpx.AsyncClient,
) -> None:
    first = await hold(api)
    again = await hold(api)
    other = await hold(api, items=[{**TEES[0], "quantity": 5}])

    assert again.json() == first.json()
    assert other.status_code == 409
    assert await available(api) == 10


async def test_a_hold_that_is_over_is_not_made_again_under_its_id(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    await hold(api, seconds=60)
    clock.pass_time(timedelta(seconds=60))

    again = await hold(api, seconds=60)
    shown = await api.get("/v1/reservations/cart-1")

    assert again.status_code == 409
    assert "has ended" in again.json()["detail"]
    found = shown.json()
    assert (found["reservation_id"], found["ended"], found["items"]) == ("cart-1", "expired", [])


async def test_a_hold_that_an_order_has_used_is_not_given_back_but_the_order_cancelled(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await hold(api)
    await api.post("/v1/orders", json=order_document(reservation_id="cart-1"))
    with transaction(filled) as session:
        plan = a_plan(("dc-1", "1", "TEE", 2))
        reservations.reserve_plan(session, "W-1", plan, key="W-1/reserve/1", now=NOW)
    before = rows_of(filled)

    shown = await api.get("/v1/reservations/cart-1")
    refused = await api.delete("/v1/reservations/cart-1")
    extended = await api.patch("/v1/reservations/cart-1", json={"seconds": 60})

    assert (shown.json()["ended"], shown.json()["order_id"]) == ("used", "W-1")
    assert (refused.status_code, extended.status_code) == (409, 409)
    assert refused.json()["detail"].endswith("belongs to order 'W-1': cancel that instead")
    assert rows_of(filled) == before


async def test_a_hold_is_extended_but_not_beyond_four_hours(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    await hold(api, seconds=60)
    clock.pass_time(timedelta(seconds=30))

    longer = await api.patch("/v1/reservations/cart-1", json={"seconds": 14_400})
    too_long = await api.patch("/v1/reservations/cart-1", json={"seconds": 14_401})
    unknown = await api.patch("/v1/reservations/cart-9", json={"seconds": 60})
    clock.pass_time(timedelta(hours=4))
    too_late = await api.patch("/v1/reservations/cart-1", json={"seconds": 60})

    assert longer.json()["expires_at"] == "2026-03-02T19:00:30Z"
    assert (too_long.status_code, unknown.status_code, too_late.status_code) == (422, 404, 409)
    assert (await hold(api, reservation_id="cart-2", seconds=14_401)).status_code == 422


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"node_id": "dc-9", "sku": "TEE", "quantity": 1}, "items.0.node_id"),
        ({"node_id": "dc-1", "sku": "HAT", "quantity": 1}, "items.0.sku"),
        ({"node_id": "dc-1", "sku": "TEE", "quantity": 0}, "items.0.quantity"),
    ],
)
async def test_a_hold_of_something_unknown_is_refused_by_its_path(
    api: httpx.AsyncClient, item: dict[str, Any], path: str
) -> None:
    refused = await hold(api, items=[item])

    assert refused.status_code == 422
    assert [error["path"] for error in refused.json()["errors"]] == [path]
    assert (await api.get("/v1/reservations/cart-1")).status_code == 404


async def test_an_accepted_order_keeps_its_carts_hold_and_a_second_order_gets_nothing(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    await hold(api)

    first = await api.post("/v1/orders", json=order_document(reservation_id="cart-1"))
    second = await api.post(
        "/v1/orders",
        json=order_document(order_id="W-2", external_id="1002", reservation_id="cart-1"),
    )
    given_back = await api.delete("/v1/reservations/cart-1")
    clock.pass_time(timedelta(days=3))
    with transaction(filled) as session:
        expired = holds.expire(session, now=clock())
        own = [holds.own_units(session, order_id) for order_id in ("W-1", "W-2")]

    assert (first.status_code, second.status_code, given_back.status_code) == (202, 202, 409)
    assert expired == 0
    assert own == [{"TEE": {"dc-1": 90}}, {}]
    assert story(filled, "W-1")[-1] == "The cart's reservation is kept for this order"
    assert story(filled, "W-2")[-1] == (
        "The cart's reservation belongs to another order: the order goes on without it"
    )


async def test_a_hold_that_a_changed_order_names_is_its_own_and_ends_with_its_time(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    # given
    await hold(api)
    await api.post("/v1/orders", json=order_document())
    # when
    changed = await api.post("/v1/orders", json=order_document(version=2, reservation_id="cart-1"))
    # then
    with transaction(filled) as session:
        own = holds.own_units(session, "W-1")
    clock.pass_time(timedelta(minutes=15))
    with transaction(filled) as session:
        expired = holds.expire(session, now=clock())
    assert changed.status_code == 202
    assert own == {"TEE": {"dc-1": 90}}
    assert expired == 1
    assert await available(api) == 100
    assert (
        story(filled, "W-1")[-1]
        == "The cart's reservation is kept for this order until its time is over"
    )


async def test_an_order_whose_hold_is_over_or_unknown_is_accepted_and_says_so(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    await hold(api, seconds=60)
    clock.pass_time(timedelta(seconds=60))

    for order_id, cart in (("W-1", "cart-1"), ("W-2", "cart-9")):
        document = order_document(order_id=order_id, external_id=order_id, reservation_id=cart)
        assert (await api.post("/v1/orders", json=document)).status_code == 202

    assert "has expired" in story(filled, "W-1")[-1]
    assert "is not known" in story(filled, "W-2")[-1]
    with reading(filled) as session:
        assert inventory.position(session, "dc-1", "TEE").held == 90
