"""Stock read and fed, carts holding units, promises made, explained and replayed; policies."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from store import inventory
from store.engine import reading, transaction
from tests.integration.api.conftest import NOW, rows_of

TO_NEW_YORK = {"country": "US", "region": "NY", "postal_code": "10001"}


def usable(engine: Engine, node_id: str = "dc-1", sku: str = "TEE") -> int:
    with reading(engine) as session:
        return inventory.position(session, node_id, sku).usable


async def test_stock_is_shown_by_node_and_in_total(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/v1/inventory/TEE")).json()

    assert [(x["node_id"], x["available"]) for x in answer["nodes"]] == [
        ("dc-1", 100),
        ("store-1", 100),
    ]
    assert (answer["total"]["available"], answer["total"]["usable"]) == (200, 200)


async def test_stock_of_an_unknown_product_is_not_found(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/inventory/HAT")).status_code == 404


async def test_a_count_replaces_what_was_believed_and_the_same_again_changes_nothing(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    body = {
        "counted_at": "2026-03-02T15:03:00Z",
        "rows": [{"node_id": "dc-1", "sku": "TEE", "quantity": 40}],
    }

    first = await api.put("/v1/inventory/snapshots", json=body)
    before = rows_of(filled)
    again = await api.put("/v1/inventory/snapshots", json=body)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert usable(filled) == 40
    assert rows_of(filled) == before


async def test_a_count_of_a_time_to_come_is_refused_and_outdates_nothing(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    row = {"node_id": "dc-1", "sku": "TEE", "quantity": 40}
    later = "2026-03-02T15:06:00Z"
    before = rows_of(filled)

    whole = await api.put("/v1/inventory/snapshots", json={"counted_at": later, "rows": [row]})
    one = await api.put(
        "/v1/inventory/snapshots",
        json={"counted_at": "2026-03-02T15:00:00Z", "rows": [row | {"counted_at": later}]},
    )

    assert [x.json()["errors"] for x in (whole, one)] == [
        [{"path": "counted_at", "message": "lies in the future"}],
        [{"path": "rows.0.counted_at", "message": "lies in the future"}],
    ]
    assert rows_of(filled) == before


async def test_a_count_that_names_the_unknown_is_refused_whole(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    body = {
        "counted_at": "2026-03-02T15:03:00Z",
        "rows": [
            {"node_id": "dc-1", "sku": "TEE", "quantity": 40},
            {"node_id": "dc-9", "sku": "HAT", "quantity": 1},
        ],
    }

    answer = await api.put("/v1/inventory/snapshots", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"path": "rows.1.node_id", "message": "no node 'dc-9'"},
        {"path": "rows.1.sku", "message": "no product 'HAT'"},
    ]
    assert usable(filled) == 100


async def test_an_adjustment_with_a_request_id_counts_once(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    body = {
        "request_id": "K-1",
        "node_id": "dc-1",
        "sku": "TEE",
        "delta": -3,
        "reason": "broken",
    }

    for _ in range(3):
        answer = await api.post("/v1/inventory/adjustments", json=body)
        assert answer.json()["position"]["available"] == 97

    assert usable(filled) == 97


async def test_more_units_than_there_are_cannot_be_taken(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    body = {"node_id": "dc-1", "sku": "TEE", "delta": -101, "reason": "broken"}

    answer = await api.post("/v1/inventory/adjustments", json=body)

    assert answer.status_code == 409
    assert usable(filled) == 100


async def test_arriving_units_are_taken_in_once(api: httpx.AsyncClient, filled: Engine) -> None:
    body = {"request_id": "K-1", "node_id": "dc-1", "sku": "TEE", "quantity": 5}

    for _ in range(2):
        answer = await api.post("/v1/inventory/receipts", json=body)
        assert answer.json()["grants"] == []

    assert usable(filled) == 105


async def test_a_promise_says_node_dates_and_cost_and_can_be_explained_and_replayed(
    api: httpx.AsyncClient,
) -> None:
    body = {
        "purpose": "cart",
        "items": [{"sku": "TEE", "quantity": 2, "ordered_uom": "CS"}],
        "destination": TO_NEW_YORK,
    }

    promise = (await api.post("/v1/promises", json=body)).json()
    promise_id = promise["promise_id"]
    record = (await api.get(f"/v1/decisions/{promise_id}")).json()
    explained = (await api.get(f"/v1/decisions/{promise_id}/explain")).json()
    replayed = (await api.get(f"/v1/decisions/{promise_id}/replay")).json()

    option = promise["options"][promise["chosen"]]
    [shipment] = option["shipments"]
    assert shipment["items"] == [{"line_id": "1", "sku": "TEE", "quantity": 24}]
    assert option["missing"] == []
    assert option["deliver_at"] > option["ship_at"] > "2026-03-02"
    assert option["cost"] == shipment["cost"]
    assert promise["currency"] == "USD"
    assert record["request"]["lines"][0]["quantity"] == 24
    assert shipment["node_id"] in explained["explanation"]
    assert (replayed["same_bytes"], replayed["same_plan"]) == (True, True)


async def test_what_no_node_has_is_named_as_missing(api: httpx.AsyncClient) -> None:
    body = {"items": [{"sku": "MUG", "quantity": 500}], "destination": TO_NEW_YORK}

    promise = (await api.post("/v1/promises", json=body)).json()

    missing = promise["options"][promise["chosen"]]["missing"]
    assert [(x["sku"], x["line_id"]) for x in missing] == [("MUG", "1")]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"items": [{"sku": "HAT"}]}, {"path": "items.0.sku", "message": "no product 'HAT'"}),
        (
            {"destination": None},
            {
                "path": "destination",
                "message": "say where to (destination), or give ship_groups",
            },
        ),
        (
            {"ship_groups": [{"id": "1", "method": "pickup", "node_id": "store-9"}]},
            {"path": "ship_groups.0.node_id", "message": "no node 'store-9'"},
        ),
        (
            {"items": []},
            {
                "path": "items",
                "message": "must hold at least 1, not 0",
            },
        ),
    ],
)
async def test_a_promise_about_the_unknown_is_refused(
    api: httpx.AsyncClient, changes: dict[str, Any], error: dict[str, str]
) -> None:
    body = {"items": [{"sku": "TEE"}], "destination": TO_NEW_YORK, **changes}

    answer = await api.post("/v1/promises", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [error]


async def test_an_unknown_decision_is_not_found(api: httpx.AsyncClient) -> None:
    for part in ("", "/explain", "/replay"):
        assert (await api.get(f"/v1/decisions/nothing{part}")).status_code == 404


async def test_every_report_answers_and_an_unknown_one_names_them(api: httpx.AsyncClient) -> None:
    names = (await api.get("/v1/reports")).json()["reports"]

    answers = [await api.get(f"/v1/reports/{name}") for name in names]
    unknown = await api.get("/v1/reports/weather")

    assert names == ["by_node", "by_stage", "consistency", "drift", "summary"]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert unknown.status_code == 404
    assert "by_node, by_stage, consistency, drift, summary" in unknown.json()["detail"]
    consistency = answers[names.index("consistency")].json()["figures"]
    assert set(consistency.values()) == {0}


async def test_a_policy_is_published_once_activated_for_a_scope_and_ended(
    api: httpx.AsyncClient,
) -> None:
    document = {"name": "dear-splits", "shipment_cost": "9.00"}
    body = {"kind": "routing", "document": document}

    first = await api.post("/v1/policies", json=body)
    again = await api.post("/v1/policies", json=body)
    version = first.json()["version"]
    activated = await api.post(f"/v1/policies/{version}/activate", json={"brand": "acme"})
    listed = (await api.get("/v1/policies")).json()["policies"]
    shown = (await api.get(f"/v1/policies/{version}")).json()
    ended = await api.post(f"/v1/policies/{version}/deactivate")

    assert (first.status_code, again.json()["version"]) == (201, version)
    assert activated.status_code == 200
    [row] = [policy for policy in listed if policy["version"] == version]
    assert row["scope"]["brand"] == "acme"
    assert shown["document"]["shipment_cost"] == "9.00"
    assert ended.status_code == 200


async def test_a_policy_that_is_none_is_refused(api: httpx.AsyncClient) -> None:
    body = {"kind": "routing", "document": {"name": "x", "max_shipments": 0}}

    answer = await api.post("/v1/policies", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": "max_shipments", "message": "must be at least 1"}]
    assert len((await api.get("/v1/policies")).json()["policies"]) == 2


async def test_the_description_of_the_api_names_every_body(api: httpx.AsyncClient) -> None:
    schema = (await api.get("/openapi.json")).json()

    known = schema["components"]["schemas"]
    text = str(schema)
    for path in ("/v1/orders", "/v1/promises", "/v1/inventory/snapshots", "/v1/reservations"):
        assert path in schema["paths"]
    for name in ("Order", "CancelBody", "PromiseBody", "SnapshotBody", "Address"):
        assert name in known
    assert "#/$defs/" not in text
    assert (await api.get("/docs")).status_code == 200


async def test_receipts_wake_what_waits_for_them(api: httpx.AsyncClient, filled: Engine) -> None:
    from store import reservations

    with transaction(filled) as session:
        reservations.add_backorder(
            session,
            "W-1",
            [("1", "MUG", 3)],
            demand_class="b2c",
            promise_at=None,
            key="b-1",
            now=NOW,
        )
    body = {"request_id": "K-1", "node_id": "dc-1", "sku": "MUG", "quantity": 2}

    answer = await api.post("/v1/inventory/receipts", json=body)

    [grant] = answer.json()["grants"]
    assert (grant["order_id"], grant["line_id"]) == ("W-1", "1")
