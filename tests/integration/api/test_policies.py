"""Policies withdrawn and compared; orders not released yet go by what is active then."""

from typing import Any

import httpx
from sqlalchemy import Engine, text

from activities.kernel import decide_for
from domain.planning import Wanted
from domain.plans import OrderView
from domain.routing.decision import Purpose
from domain.stages import Stage
from store import order_recording, orders, pins
from store.engine import reading, transaction
from tests.integration.api.conftest import NOW, order_document


async def publish(api: httpx.AsyncClient, name: str, **fields: Any) -> str:
    body = {"kind": "routing", "document": {"name": name, **fields}}
    return str((await api.post("/v1/policies", json=body)).json()["version"])


async def activate(api: httpx.AsyncClient, version: str, **scope: str) -> None:
    assert (await api.post(f"/v1/policies/{version}/activate", json=scope)).status_code == 200


async def submit(api: httpx.AsyncClient, *order_ids: str) -> None:
    for order_id in order_ids:
        document = order_document(order_id=order_id, external_id=order_id)
        assert (await api.post("/v1/orders", json=document)).status_code == 202


def record(engine: Engine, order_id: str, stage: Stage, *, closed: bool = False) -> None:
    view = OrderView(
        order_id=order_id, revision=5, stage=stage, displayed=stage.value, lines={}, closed=closed
    )
    with transaction(engine) as session:
        order_recording.record_order(session, view, NOW)


def pinned(engine: Engine, order_id: str) -> str:
    with reading(engine) as session:
        return pins.pinned(session, order_id, "routing", "carried")


async def test_withdrawing_a_version_pins_its_unreleased_orders_to_the_active_one(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    cheap = await publish(api, "cheap", shipment_cost="0.10")
    await submit(api, "W-0")
    before = pinned(filled, "W-0")
    await activate(api, cheap)
    await submit(api, "W-1", "W-2", "W-3")
    record(filled, "W-2", Stage.PICKING)
    record(filled, "W-3", Stage.CANCELLED, closed=True)

    answer = await api.post(f"/v1/policies/{cheap}/deactivate")

    assert answer.status_code == 200
    assert answer.json()["repinned"] == [{"order_id": "W-1", "version": before}]
    assert answer.json()["kept"] == []
    assert pinned(filled, "W-1") == before
    assert (pinned(filled, "W-2"), pinned(filled, "W-3")) == (cheap, cheap)
    [told] = (await api.get("/v1/orders/W-1")).json()["timeline"]
    assert told["kind"] == "policy"
    assert told["text"] == (f"Policy {cheap} was deactivated: routing goes by {before} from now on")
    assert (await api.get("/v1/orders/W-2")).json()["timeline"] == []


async def test_a_step_asks_the_policy_the_order_is_pinned_to_now(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    cheap = await publish(api, "cheap", shipment_cost="0.10")
    await activate(api, cheap)
    await submit(api, "W-1")
    await api.post(f"/v1/policies/{cheap}/deactivate")

    with reading(filled) as session:
        order = orders.load_order(session, "W-1")
        wanted = Wanted(request_id="W-1-d1", purpose=Purpose.ROUTE, units={"1": 2})
        decided = decide_for(session, order, wanted, cheap, NOW)

    assert decided.policy.name == "standard"


async def test_orders_for_which_nothing_else_is_active_keep_their_version_and_are_named(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await submit(api, "W-1")
    only = pinned(filled, "W-1")

    answer = await api.post(f"/v1/policies/{only}/deactivate")
    again = await api.post(f"/v1/policies/{only}/deactivate")

    assert (answer.json()["repinned"], answer.json()["kept"]) == ([], ["W-1"])
    assert pinned(filled, "W-1") == only
    assert again.status_code == 404
    assert again.json()["detail"] == f"policy '{only}' is not active"


def test_an_order_of_before_goes_by_what_its_workflow_carries(filled: Engine) -> None:
    assert pinned(filled, "W-unknown") == "carried"


async def test_two_versions_are_compared_field_by_field_with_defaults_filled_in(
    api: httpx.AsyncClient,
) -> None:
    one = await publish(api, "one", kind_cost={"store": "2.00"})
    two = await publish(api, "two", max_shipments=3, kind_cost={"store": "2.50"})

    answer = await api.get(f"/v1/policies/{one}/diff/{two}")

    assert answer.json() == {
        "from": one,
        "to": two,
        "kind": "routing",
        "changes": [
            {"path": "name", "from": "one", "to": "two"},
            {"path": "kind_cost.store", "from": "2.00", "to": "2.50"},
            {"path": "max_shipments", "from": 20, "to": 3},
        ],
    }


async def test_a_routing_and_a_process_policy_cannot_be_compared(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    with filled.connect() as connection:
        found = connection.execute(text("SELECT kind, version FROM policies")).all()
    versions = {row.kind: row.version for row in found}

    answer = await api.get(f"/v1/policies/{versions['routing']}/diff/{versions['process']}")

    assert answer.status_code == 409


async def test_a_recorded_decision_is_made_again_under_another_policy(
    api: httpx.AsyncClient,
) -> None:
    promise = {
        "items": [{"sku": "TEE", "quantity": 1}],
        "destination": {"country": "US", "region": "NY", "postal_code": "10001"},
    }
    decision = (await api.post("/v1/promises", json=promise)).json()["promise_id"]
    without_centers = await publish(api, "stores", excluded_kinds=["dc"])
    same = await publish(api, "same", shipment_cost="1.50")

    other = await api.get(f"/v1/decisions/{decision}/diff", params={"policy": without_centers})
    equal = await api.get(f"/v1/decisions/{decision}/diff", params={"policy": same})
    unknown = await api.get(f"/v1/decisions/{decision}/diff", params={"policy": "routing-none"})

    assert equal.json()["same_plan"]
    assert equal.json()["changes"] == []
    assert not other.json()["same_plan"]
    changes = {x["path"]: (x["from"], x["to"]) for x in other.json()["changes"]}
    assert changes["group 1 from dc-1 by ground"] == ("1 of line 1", None)
    assert changes["group 1 from store-1 by ground"] == (None, "1 of line 1")
    assert "store-1" in other.json()["explanation"]
    assert unknown.status_code == 404


async def test_the_schema_of_policies_is_published(api: httpx.AsyncClient) -> None:
    routing = await api.get("/v1/policies/schema/routing")
    unknown = await api.get("/v1/policies/schema/other")

    assert routing.json()["properties"]["shipment_cost"]["default"] == "1.50"
    assert routing.json()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert unknown.status_code == 422


async def test_publishing_warns_of_what_can_never_apply(api: httpx.AsyncClient) -> None:
    document = {"name": "a", "excluded_kinds": ["store"], "kind_cost": {"store": "2.00"}}

    answer = await api.post("/v1/policies", json={"kind": "routing", "document": document})

    assert answer.json()["warnings"] == [
        "kind_cost.store: never counts: nodes of kind store are excluded"
    ]
