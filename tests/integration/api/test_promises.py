"""Promises over HTTP: every way to get the items, held and recorded, decided from the view."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from domain.catalogue import Product
from domain.network import CarrierService, Network, Node, NodeKind, Place
from domain.orders import ServiceLevel
from domain.policy_rollout import Scope
from starter.promise_records import PromiseRecords
from store import exclusions, inventory, network, reservations, supply
from store.engine import reading, transaction
from store.holds import load
from store.policies import activate, publish
from store.timeline import timeline
from tests.integration.api.conftest import NETWORK, NOW, calling, order_document

MANHATTAN = {
    "name": "Ada Example",
    "line1": "1 Main St",
    "city": "New York",
    "region": "NY",
    "postal_code": "10001",
    "country": "US",
    "latitude": 40.75,
    "longitude": -73.99,
}


def store(node_id: str, latitude: float, **changes: Any) -> Node:
    return Node(
        node_id=node_id,
        kind=NodeKind.STORE,
        place=Place(country="US", region="NY", latitude=latitude, longitude=-73.99),
        services=("ground", "express", "courier"),
        offers_pickup=True,
    ).model_copy(update=changes)


def service(service_id: str, level: ServiceLevel, base: str, days: int) -> CarrierService:
    return CarrierService(
        service_id=service_id,
        connection_id="carrier-a",
        carrier="Parcel",
        level=level,
        base=Decimal(base),
        transit_days=days,
    )


@pytest.fixture
def shops(filled: Engine) -> Engine:
    """Three more stores near Manhattan, one far off, and services of every level."""
    wide = Network(
        base_currency="USD",
        services=(
            service("ground", ServiceLevel.STANDARD, "5.00", 3),
            service("express", ServiceLevel.EXPRESS, "15.00", 1),
            service("courier", ServiceLevel.SAME_DAY, "30.00", 0),
        ),
        nodes=(
            store("store-near", 40.76),
            store("store-mid", 40.80),
            store("store-far", 41.50),
            store("store-closed", 40.751, offers_pickup=False),
        ),
    )
    with transaction(filled) as session:
        network.import_network(session, wide, [], NOW)
        for node in wide.nodes:
            inventory.receive(session, node.node_id, "TEE", 5, key=node.node_id, now=NOW)
    return filled


QUESTION: dict[str, Any] = {
    "items": [{"sku": "TEE", "quantity": 2}],
    "destination": MANHATTAN,
}


async def ask(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("/v1/promises", json={**QUESTION, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(promise: dict[str, Any]) -> list[str]:
    return [option["option_id"] for option in promise["options"]]


def option(promise: dict[str, Any], option_id: str) -> dict[str, Any]:
    [found] = [x for x in promise["options"] if x["option_id"] == option_id]
    return dict(found)


async def test_a_shopper_sees_every_way_to_get_a_product(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    promise = await ask(api, purpose="product_page")

    assert ids(promise) == [
        "ship:standard",
        "ship:express",
        "ship:same_day",
        "pickup:store-near",
        "pickup:store-mid",
        "pickup:store-far",
        "ship_to_store:store-near:standard",
    ]
    assert promise["chosen"] == 0
    arrives = [option(promise, f"ship:{x}")["deliver_at"] for x in ("same_day", "express")]
    assert arrives == sorted(arrives)
    assert arrives[1] < option(promise, "ship:standard")["deliver_at"]
    for one in promise["options"]:
        assert one["missing"] == []
        assert one["order_by"] <= one["ship_at"] <= one["deliver_at"]
        assert Decimal(one["cost"]) > 0
        assert "confidence" not in one


async def test_only_the_methods_asked_for_are_offered(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    shipped = await ask(api, methods=["ship"])
    fetched = await ask(api, methods=["pickup"], stores=2)

    assert {x["method"] for x in shipped["options"]} == {"ship"}
    assert ids(fetched) == ["pickup:store-near", "pickup:store-mid"]
    assert [x["node_id"] for x in option(fetched, "pickup:store-mid")["shipments"]] == ["store-mid"]


async def test_stores_that_lack_units_or_are_out_are_not_offered_for_pick_up(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    with transaction(shops) as session:
        inventory.adjust(
            session, "store-near", "TEE", "usable", -4, key="k", now=NOW, reason="lost"
        )
        exclusions.exclude(session, "store-mid", None, until=None, reason="flooded")
        reservations.cool_off(session, "store-far", "TEE", NOW + timedelta(hours=1), "refused")

    promise = await ask(api, methods=["pickup"])

    # The store of the first network has no coordinates: it comes after all that have.
    assert ids(promise) == ["pickup:store-1"]


async def test_a_pick_up_nobody_can_serve_says_what_is_missing(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    promise = await ask(api, methods=["pickup"], items=[{"sku": "TEE", "quantity": 5_000}])

    [one] = promise["options"]
    assert [(x["sku"], x["quantity"]) for x in one["missing"]] == [("TEE", 5_000)]


async def test_a_mixed_cart_gets_one_plan_and_other_stores_for_its_pick_up(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    promise = await ask(
        api,
        items=[{"sku": "TEE", "ship_group": "fetch"}, {"sku": "MUG", "ship_group": "send"}],
        destination=None,
        ship_groups=[
            {"id": "fetch", "method": "pickup", "destination": MANHATTAN},
            {"id": "send", "method": "ship", "destination": MANHATTAN},
        ],
        stores=2,
    )

    assert ids(promise)[0].startswith("mixed:")
    main = promise["options"][promise["chosen"]]
    assert {x["ship_group"]: x["method"] for x in main["shipments"]} == {
        "fetch": "pickup",
        "send": "ship",
    }
    other = option(promise, "fetch:pickup:store-mid:standard")
    assert {x["node_id"] for x in other["shipments"] if x["method"] == "pickup"} == {"store-mid"}


async def test_a_split_plan_comes_with_one_in_one_shipment_where_there_is_one(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    free = {"name": "free-splits", "shipment_cost": "0"}
    with transaction(shops) as session:
        cheap = store("s-x", 40.75, cost_per_order=Decimal(0), cost_per_unit=Decimal(0))
        nodes = (cheap, cheap.model_copy(update={"node_id": "s-y"}))
        dear = store("s-z", 40.75, cost_per_order=Decimal(500))
        products = [Product(sku="X"), Product(sku="Y")]
        network.import_network(
            session, NETWORK.model_copy(update={"nodes": (*nodes, dear)}), products, NOW
        )
        for node_id, sku in (("s-x", "X"), ("s-y", "Y"), ("s-z", "X"), ("s-z", "Y")):
            inventory.receive(session, node_id, sku, 5, key=f"{node_id}{sku}", now=NOW)
        activate(session, publish(session, "routing", free, NOW), Scope(), NOW)

    promise = await ask(api, items=[{"sku": "X"}, {"sku": "Y"}], methods=["ship"])

    split = promise["options"][promise["chosen"]]
    together = option(promise, "ship:together:standard")
    assert sorted(x["node_id"] for x in split["shipments"]) == ["s-x", "s-y"]
    assert [x["node_id"] for x in together["shipments"]] == ["s-z"]


async def test_what_only_inbound_supply_can_serve_gets_its_date(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    due = NOW + timedelta(days=9)
    with transaction(shops) as session:
        row = supply.Expected(supply_id="PO", node_id="dc-1", sku="MUG", quantity=900, due=due)
        supply.expect_supply(session, [row])

    promise = await ask(api, methods=["ship"], items=[{"sku": "MUG", "quantity": 600}])

    one = promise["options"][promise["chosen"]]
    assert one["missing"] == []
    assert one["ship_at"] > due.isoformat()


async def test_supply_that_waiting_orders_will_get_is_not_offered_again(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    due = NOW + timedelta(days=9)
    with transaction(shops) as session:
        row = supply.Expected(supply_id="PO", node_id="dc-1", sku="MUG", quantity=900, due=due)
        supply.expect_supply(session, [row])
        exclusions.exclude(session, "store-1", "MUG", until=None, reason="recall")
        inventory.keep_back(
            session, "dc-1", "MUG", safety_stock=100, protected={}, key="none", now=NOW
        )
        reservations.add_backorder(
            session, "W-1", [("1", "MUG", 500)], demand_class="", promise_at=None, key="b", now=NOW
        )

    too_many = await ask(api, methods=["ship"], items=[{"sku": "MUG", "quantity": 401}])
    rest = await ask(api, methods=["ship"], items=[{"sku": "MUG", "quantity": 400}])

    assert [x["quantity"] for x in too_many["options"][too_many["chosen"]]["missing"]] == [1]
    one = rest["options"][rest["chosen"]]
    assert (one["missing"], one["ship_at"] > due.isoformat()) == ([], True)


async def test_a_pick_up_can_be_recorded_replayed_and_explained_like_any_decision(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    promise = await ask(api)

    for one in promise["options"]:
        replayed = (await api.get(f"/v1/decisions/{one['decision_id']}/replay")).json()
        assert (replayed["same_bytes"], replayed["same_plan"]) == (True, True)
    assert promise["options"][0]["decision_id"] == promise["promise_id"]


async def test_of_an_address_only_the_facts_of_the_place_are_kept(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    promise = await ask(api)

    record = (await api.get(f"/v1/decisions/{promise['promise_id']}")).text
    assert "10001" in record
    for personal in ("Ada", "Main St"):
        assert personal not in record


async def test_checkout_holds_the_units_of_the_chosen_option(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    promise = await ask(
        api,
        purpose="checkout",
        hold={"expires_in": 600, "option_id": "pickup:store-mid"},
    )

    hold_id = promise["hold"]["reservation_id"]
    with reading(shops) as session:
        held = load(session, hold_id)
        sellable = inventory.position(session, "store-mid", "TEE").sellable
    assert [(x.node_id, x.sku, x.quantity) for x in held.lines] == [("store-mid", "TEE", 2)]
    assert held.expires_at == NOW + timedelta(seconds=600)
    assert sellable == 3


CHECKOUT: dict[str, Any] = {
    "purpose": "checkout",
    "hold": {"expires_in": 600, "option_id": "pickup:store-mid", "reservation_id": "basket-7"},
}


async def test_a_checkout_sent_again_is_answered_as_the_first_and_holds_nothing_more(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    # given
    first = await ask(api, **CHECKOUT)
    # when
    again = await ask(api, **CHECKOUT)
    # then
    assert again == first
    assert first["hold"]["reservation_id"] == "basket-7"
    assert sellable_at(shops, "store-mid") == 3


async def test_a_checkout_sent_many_times_at_once_holds_once(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    # when
    answers = await asyncio.gather(*(ask(api, **CHECKOUT) for _ in range(6)))
    # then
    assert all(answer == answers[0] for answer in answers)
    assert sellable_at(shops, "store-mid") == 3


async def test_a_checkout_of_other_items_under_the_same_reservation_is_refused(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    # given
    await ask(api, **CHECKOUT)
    other = {**QUESTION, **CHECKOUT, "items": [{"sku": "TEE", "quantity": 1}]}
    # when
    answer = await api.post("/v1/promises", json=other)
    # then
    assert answer.status_code == 409
    assert "use a new one" in answer.json()["detail"]
    assert sellable_at(shops, "store-mid") == 3


async def test_a_checkout_whose_reservation_was_given_up_is_not_answered_as_if_it_held(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    # given
    await ask(api, **CHECKOUT)
    await api.delete("/v1/reservations/basket-7")
    # when
    answer = await api.post("/v1/promises", json={**QUESTION, **CHECKOUT})
    # then
    assert answer.status_code == 409
    assert "make one under another id" in answer.json()["detail"]
    assert sellable_at(shops, "store-mid") == 5


def sellable_at(engine: Engine, node_id: str) -> int:
    with reading(engine) as session:
        return inventory.position(session, node_id, "TEE").sellable


async def test_what_the_database_refuses_is_decided_again_without_it(
    app: FastAPI, api: httpx.AsyncClient, shops: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view is a moment old: the hold is refused, masked, and another node promises."""
    following = app.state.services.following
    following.look()
    with transaction(shops) as session:
        session.execute(text("UPDATE positions SET held = usable WHERE node_id = 'store-near'"))
    old = following._view
    monkeypatch.setattr(following, "view", lambda: old)

    promise = await ask(api, purpose="checkout", methods=["pickup"], hold={"expires_in": 60})

    assert promise["options"][0]["option_id"] == "pickup:store-mid"
    assert promise["hold"]["reservation_id"]
    with reading(shops) as session:
        assert inventory.position(session, "store-mid", "TEE").sellable == 3


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"hold": {"expires_in": 60}}, "hold"),
        ({"purpose": "checkout", "hold": {"expires_in": 4 * 3_600 + 1}}, "hold.expires_in"),
        (
            {"purpose": "checkout", "hold": {"expires_in": 60, "option_id": "drone"}},
            "hold.option_id",
        ),
        ({"destination": {"country": "US", "planet": "Mars"}}, "destination.planet"),
        ({"methods": []}, "methods"),
        ({"currency": "CHF", "items": [{"sku": "TEE", "unit_price": "1.00"}]}, "currency"),
        ({"items": [{"sku": "TEE", "quantity": 2, "ordered_uom": "BOX"}]}, "items.0.ordered_uom"),
        (
            {"items": [{"sku": "TEE", "quantity": 3, "ordered_uom": "PL"}]},
            "items.0.quantity",
        ),
        ({"items": [{"sku": "TEE", "line_id": "1"}, {"sku": "MUG", "line_id": "1"}]}, "items"),
        (
            {"destination": None, "ship_groups": [{"id": "1", "method": "pickup"}]},
            "ship_groups.0.node_id",
        ),
        ({"items": [{"sku": "TEE", "ship_group": "9"}]}, "items.0.ship_group"),
    ],
)
async def test_a_request_that_cannot_be_answered_names_the_field(
    api: httpx.AsyncClient, shops: Engine, changes: dict[str, Any], path: str
) -> None:
    asked = {"items": [{"sku": "TEE"}], "destination": MANHATTAN, **changes}
    before = kept(shops)

    answer = await api.post("/v1/promises", json=asked)

    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert kept(shops) == before


async def test_an_option_that_cannot_be_held_is_answered_with_those_that_can(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    asked = {"items": [{"sku": "TEE"}], "destination": MANHATTAN, "purpose": "checkout"}
    options = (await ask(api, purpose="checkout"))["options"]
    whole = ", ".join(option["option_id"] for option in options if not option["missing"])

    answer = await api.post(
        "/v1/promises", json={**asked, "hold": {"expires_in": 60, "option_id": "drone"}}
    )

    assert whole
    assert answer.json()["errors"][0]["message"] == f"no option 'drone'; there is {whole}"


def kept(engine: Engine) -> int:
    with reading(engine) as session:
        return int(session.execute(text("SELECT count(*) FROM decisions")).scalar_one())


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app with its view and its writer of promises in their threads."""
    async with app.router.lifespan_context(app), calling(app) as client:
        yield client


async def test_a_running_api_answers_from_memory_and_writes_promises_behind(
    app: FastAPI, shops: Engine
) -> None:
    async with running(app) as api:
        promises = [await ask(api) for _ in range(5)]
        shown = await api.get(f"/v1/decisions/{promises[-1]['promise_id']}")
    assert shown.status_code == 200
    assert kept(shops) == sum(len({x["decision_id"] for x in p["options"]}) for p in promises)


async def test_what_waits_is_written_before_the_process_ends(app: FastAPI, shops: Engine) -> None:
    async with running(app) as api:
        promise = await ask(api, methods=["ship"])
    with reading(shops) as session:
        rows = session.execute(text("SELECT decision_id FROM decisions")).scalars().all()
    assert rows == [promise["promise_id"]]


async def test_a_checkout_is_written_before_it_is_answered(
    app: FastAPI, shops: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app) as api:
        first = await ask(api, methods=["ship"])  # reads the policy once
        await asyncio.to_thread(app.state.services.records.settle, first["promise_id"])
        monkeypatch.setattr(PromiseRecords, "put", lambda *_: pytest.fail("written behind"))
        before = kept(shops)
        await ask(api, purpose="checkout", methods=["ship"])
        assert kept(shops) == before + 1


async def test_a_full_queue_makes_the_caller_write(
    app: FastAPI, shops: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app) as api:
        await ask(api, methods=["ship"])
        monkeypatch.setattr(app.state.services.records, "put", lambda _: False)
        before = kept(shops)
        await ask(api, methods=["ship"])
        assert kept(shops) > before


async def test_a_running_api_soon_sees_what_others_changed(app: FastAPI, shops: Engine) -> None:
    async with running(app) as api:
        await ask(api, methods=["ship"])
        with transaction(shops) as session:
            session.execute(text("UPDATE positions SET held = usable"))
        async with asyncio.timeout(20):
            while not (await ask(api, methods=["ship"]))["options"][0]["missing"]:
                pass


async def test_a_policy_that_is_activated_decides_the_next_promises(
    app: FastAPI, shops: Engine
) -> None:
    async with running(app) as api:
        first = await ask(api, methods=["ship"])
        with transaction(shops) as session:
            version = publish(session, "routing", {"name": "dear", "shipment_cost": "99"}, NOW)
            activate(session, version, Scope(), NOW)
        async with asyncio.timeout(20):
            while (await ask(api, methods=["ship"]))["policy_version"] != version:
                pass
    assert first["policy_version"] != version


async def test_a_promise_reads_no_database_once_its_policy_is_known(
    app: FastAPI, shops: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app) as api:
        first = await ask(api)
        services = app.state.services
        await asyncio.to_thread(services.records.settle, first["promise_id"])
        services.following.stop()  # its thread reads too
        monkeypatch.setattr(type(services.following), "reads_nothing", True)
        monkeypatch.setattr(services.following, "view", lambda: services.following._view)
        monkeypatch.setattr(services.records, "put", lambda _: True)
        shops.dispose()
        monkeypatch.setattr(shops, "connect", lambda *_: pytest.fail("read the database"))

        assert len((await ask(api))["options"]) == 7


async def test_an_order_whose_cart_promise_was_lost_is_promised_afresh(
    api: httpx.AsyncClient, shops: Engine
) -> None:
    # As one is named that a killed process answered and never wrote.
    document = order_document(promise_id=f"promise-{0:032x}")
    answer = await api.post("/v1/orders", json=document)
    again = await api.post("/v1/orders", json=document)

    assert (answer.status_code, again.status_code) == (202, 200)
    with reading(shops) as session:
        told = [x.text for x in timeline(session, "W-1") if x.kind == "promise"]
    assert told == ["the promise is not known; promised afresh"]


async def test_an_order_with_an_unknown_checkout_promise_is_refused(
    app: FastAPI, shops: Engine
) -> None:
    async with running(app) as api:
        promise = await ask(api, purpose="checkout", methods=["ship"])
        with transaction(shops) as session:
            session.execute(text("DELETE FROM decisions"))
        named = promise["promise_id"]
        answer = await api.post("/v1/orders", json=order_document(promise_id=named))

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": "promise_id", "message": f"no promise '{named}'"}]
    with reading(shops) as session:
        assert session.execute(text("SELECT count(*) FROM orders")).scalar_one() == 0
