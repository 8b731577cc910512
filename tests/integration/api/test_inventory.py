"""Stock over HTTP: explained and promised by date, channel and group; rules, reports, lists."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from domain.network import DistributionGroup
from domain.stock_rules import StockRules
from starter.stock_keeping import StockKeeper
from store import inventory, network, reservations, stock_rules
from store.engine import reading, transaction
from tests.integration.api.conftest import NETWORK, NOW, PRODUCTS, Clock, rows_of


def usable(engine: Engine, node_id: str = "dc-1", sku: str = "TEE") -> int:
    with reading(engine) as session:
        return inventory.position(session, node_id, sku).usable


async def put(api: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await api.put(f"/v1/inventory/{path}", json=body)


async def post(api: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await api.post(f"/v1/inventory/{path}", json=body)


def a_group(engine: Engine) -> None:
    with transaction(engine) as session:
        group = DistributionGroup(group_id="east", nodes=("dc-1",))
        network.import_network(
            session, NETWORK.model_copy(update={"groups": (group,)}), PRODUCTS, NOW
        )


SUPPLY = {
    "supply_id": "PO-1",
    "node_id": "dc-1",
    "sku": "TEE",
    "quantity": 30,
    "due": "2026-05-01T00:00:00Z",
}
RULES = {
    "name": "spring",
    "safety_stock": [{"when": {"nodes": ["store-1"]}, "units": 5}],
    "protections": [{"channel": "vip", "units": 10, "when": {"groups": ["east"]}}],
}


async def test_stock_is_shown_by_date_channel_and_group_down_to_its_parts(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    a_group(filled)
    assert (await put(api, "rules", **RULES)).status_code == 200
    assert (await put(api, "supply", rows=[SUPPLY])).json() == {"rows": 1}
    with transaction(filled) as session:
        reservations.add_backorder(
            session, "W-1", [("1", "TEE", 4)], demand_class="b", promise_at=None, key="b", now=NOW
        )

    everyone = (await api.get("/v1/inventory/TEE", params={"by": "2026-05-01"})).json()
    vip = (
        await api.get(
            "/v1/inventory/TEE", params={"channel": "vip", "group": "east", "explain": True}
        )
    ).json()

    assert everyone["total"]["available"] == 185
    assert everyone["by"] == {"at": "2026-05-01T23:59:59Z", "available": 211}
    assert [x["available"] for x in everyone["dates"]] == [185, 211]
    assert "explanation" not in everyone
    assert (vip["total"]["available"], vip["group"], vip["channel"]) == (100, "east", "vip")
    (node,) = vip["explanation"]["nodes"]
    assert node["parts"] == [
        {"part": "usable", "units": 100},
        {"part": "protected", "units": -10},
        {"part": "kept for vip", "units": 10},
    ]
    assert node["sum"] == 100
    assert [(x["to_backorders"], x["open"]) for x in node["supply"]] == [(4, 26)]
    assert [x["order_id"] for x in vip["explanation"]["waiting"]] == ["W-1"]


async def test_an_unknown_group_or_date_is_refused(api: httpx.AsyncClient) -> None:
    for asked in ({"group": "nowhere"}, {"by": "soon"}):
        assert (await api.get("/v1/inventory/TEE", params=asked)).status_code == 422


async def test_rules_are_put_shown_and_put_again_without_a_change(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    a_group(filled)
    assert (await api.get("/v1/inventory/rules")).status_code == 404
    first = (await put(api, "rules", **RULES)).json()
    before = rows_of(filled)
    again = (await put(api, "rules", **RULES)).json()
    shown = (await api.get("/v1/inventory/rules")).json()

    assert first["evaluated"]
    assert first["positions"] > 0
    assert again == {**first, "positions": 0}
    assert rows_of(filled) == before
    assert (shown["version"], shown["evaluated"]) == (first["version"], True)
    assert shown["document"]["name"] == "spring"


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        ({"safety_stock": [{"when": {"nodes": ["dc-9"]}}]}, "safety_stock.0.when.nodes"),
        (
            {"protections": [{"channel": "a", "when": {"groups": ["no"]}}]},
            "protections.0.when.groups",
        ),
        ({"safety_stock": [{"units": -1}]}, "safety_stock.0.units"),
    ],
)
async def test_wrong_rules_are_refused_with_their_path_and_change_nothing(
    api: httpx.AsyncClient, filled: Engine, rules: dict[str, Any], path: str
) -> None:
    before = rows_of(filled)
    answer = await put(api, "rules", **rules)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path
    assert rows_of(filled) == before
    assert (await api.get("/v1/inventory/rules")).status_code == 404


async def test_an_excluded_node_promises_nothing_until_it_is_allowed_again(
    api: httpx.AsyncClient,
) -> None:
    body = {"node_id": "dc-1", "sku": "TEE", "until": "2027-01-01T00:00:00Z", "reason": "recall"}
    assert (await put(api, "exclusions", **body)).status_code == 200
    shown = (await api.get("/v1/inventory/TEE")).json()
    assert shown["nodes"][0]["available"] == 0
    assert shown["nodes"][0]["not_promised"] == "recall"
    assert shown["total"]["available"] == 100
    assert (await api.get("/v1/inventory/exclusions")).json() == {"exclusions": [body]}
    lift = "/v1/inventory/exclusions/dc-1"
    assert (await api.delete(lift)).status_code == 404
    assert (await api.delete(lift, params={"sku": "TEE"})).status_code == 204
    assert (await api.get("/v1/inventory/TEE")).json()["total"]["available"] == 200


async def test_an_exclusion_that_is_over_already_is_refused(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    body = {"node_id": "dc-1", "until": clock.now.isoformat(), "reason": "recall"}

    answer = await put(api, "exclusions", **body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": "until", "message": "lies in the past"}]
    assert (await api.get("/v1/inventory/exclusions")).json() == {"exclusions": []}
    clock.now -= timedelta(seconds=1)
    assert (await put(api, "exclusions", **body)).status_code == 200


async def test_nothing_is_said_to_be_promised_by_a_time_that_is_past(
    api: httpx.AsyncClient,
) -> None:
    past = await api.get("/v1/inventory/TEE", params={"by": "2026-03-01"})
    today = await api.get("/v1/inventory/TEE", params={"by": "2026-03-02"})

    assert past.status_code == 422
    assert past.json()["errors"] == [{"path": "by", "message": "lies in the past"}]
    assert today.json()["by"]["available"] == 200


@pytest.mark.parametrize("changes", [{"node_id": "dc-9"}, {"sku": "HAT"}])
async def test_an_exclusion_of_the_unknown_is_refused(
    api: httpx.AsyncClient, changes: dict[str, str]
) -> None:
    answer = await put(api, "exclusions", **{"node_id": "dc-1", "reason": "flood", **changes})
    assert answer.status_code == 422
    assert (await api.get("/v1/inventory/exclusions")).json() == {"exclusions": []}


async def test_groups_are_listed_with_their_nodes(api: httpx.AsyncClient, filled: Engine) -> None:
    a_group(filled)
    answer = (await api.get("/v1/inventory/groups")).json()
    assert answer == {"groups": [{"group_id": "east", "nodes": ["dc-1"]}]}


async def test_a_till_sale_and_a_cycle_count_that_do_not_agree_are_listed(
    api: httpx.AsyncClient, filled: Engine, clock: Clock
) -> None:
    sale = {"node_id": "dc-1", "sku": "TEE", "quantity": 103, "sold_at": NOW.isoformat()}
    counted = {
        "counted_at": NOW.isoformat(),
        "rows": [{"node_id": "store-1", "sku": "TEE", "quantity": 98}],
    }
    early = {**sale, "sold_at": "2026-01-01T00:00:00Z"}

    first = (await post(api, "till-sales", request_id="t-0", **early)).json()
    assert (first["taken"], first["unexpected"], usable(filled)) == (0, 0, 100)
    clock.now += timedelta(minutes=1)
    assert (await post(api, "counts", request_id="c-1", **counted)).json()["rows"] == 1
    later = {**sale, "sold_at": "2999-01-01T00:00:00Z"}
    second = (await post(api, "till-sales", request_id="t-1", **later)).json()
    again = (await post(api, "till-sales", request_id="t-1", **later)).json()

    assert again == second
    assert (second["taken"], second["unexpected"], second["owed"]) == (100, 3, 0)
    listed = (await api.get("/v1/inventory/discrepancies")).json()
    assert [
        (x["kind"], x["node_id"], x["expected"], x["found"]) for x in listed["discrepancies"]
    ] == [("till_sale", "dc-1", 100, 103), ("cycle_count", "store-1", 100, 98)]
    assert (listed["oversold"], listed["next"]) == ([], None)
    page = (await api.get("/v1/inventory/discrepancies", params={"limit": 1})).json()
    rest = await api.get("/v1/inventory/discrepancies", params={"before": page["next"]})
    assert [x["node_id"] for x in rest.json()["discrepancies"]] == ["store-1"]


@pytest.mark.parametrize("path", ["snapshots", "counts"])
async def test_a_count_older_than_the_last_says_that_it_was_ignored_and_why(
    api: httpx.AsyncClient, filled: Engine, path: str
) -> None:
    send = put if path == "snapshots" else post
    newest = {"node_id": "dc-1", "sku": "TEE", "quantity": 7}
    at_nine = {"counted_at": NOW.isoformat(), "rows": [newest]}
    assert (await send(api, path, **at_nine)).json()["ignored_rows"] == 0
    old = (NOW - timedelta(minutes=1)).isoformat()
    rows = [
        {"node_id": "dc-1", "sku": "TEE", "quantity": 9, "condition": "damaged"},
        {"node_id": "dc-1", "sku": "TEE", "quantity": 50},
    ]

    answer = await send(api, path, request_id="late", counted_at=old, rows=rows)
    again = await send(api, path, request_id="late", counted_at=old, rows=rows)

    assert (
        answer.json()
        == again.json()
        == {
            "request_id": "late",
            "rows": 2,
            "ignored_rows": 1,
            "ignored": [
                {
                    "row": 1,
                    "path": "rows.1.counted_at",
                    "message": "older than the last count, of 2026-03-02T15:00:00Z",
                }
            ],
        }
    )
    assert usable(filled) == 7


async def test_a_feed_with_unknown_rows_takes_the_others_when_asked_to(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    rows = [
        {"node_id": "dc-1", "sku": "HAT", "quantity": 4},
        {"node_id": "dc-1", "sku": "TEE", "quantity": 7},
    ]
    body = {"request_id": "f-1", "counted_at": NOW.isoformat(), "rows": rows}
    assert (await put(api, "snapshots", **body)).status_code == 422
    assert usable(filled) == 100
    answer = await put(api, "snapshots", skip_unknown=True, **body)
    assert answer.json() == {
        "request_id": "f-1",
        "rows": 1,
        "ignored_rows": 0,
        "ignored": [],
        "refused": [{"row": 0, "path": "rows.0.sku", "message": "no product 'HAT'"}],
    }
    assert usable(filled) == 7


@pytest.mark.parametrize(
    ("path", "body", "other"),
    [
        ("adjustments", {"delta": 1, "reason": "found"}, {"delta": 2}),
        ("receipts", {"quantity": 1}, {"quantity": 2}),
        ("till-sales", {"quantity": 1, "sold_at": "2999-01-01T00:00:00Z"}, {"quantity": 2}),
    ],
)
async def test_a_request_id_with_another_content_is_a_conflict_and_changes_nothing(
    api: httpx.AsyncClient,
    filled: Engine,
    path: str,
    body: dict[str, Any],
    other: dict[str, Any],
) -> None:
    whole = {"request_id": "same", "node_id": "dc-1", "sku": "TEE", **body}
    assert (await post(api, path, **whole)).status_code == 200
    before = (rows_of(filled), usable(filled))
    assert (await post(api, path, **{**whole, **other})).status_code == 409
    assert (rows_of(filled), usable(filled)) == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("counts", {"counted_at": "2026-03-02T00:00:00Z", "rows": []}),
        (
            "counts",
            {
                "counted_at": "2026-03-02T00:00:00Z",
                "rows": [{"node_id": "dc-9", "sku": "TEE", "quantity": 1}],
            },
        ),
        (
            "till-sales",
            {"node_id": "dc-9", "sku": "TEE", "quantity": 1, "sold_at": "2026-03-02T00:00:00Z"},
        ),
    ],
)
async def test_a_wrong_report_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, filled: Engine, path: str, body: dict[str, Any]
) -> None:
    before = rows_of(filled)
    assert (await post(api, path, **body)).status_code == 422
    assert rows_of(filled) == before


async def test_supply_at_an_unknown_node_is_refused(api: httpx.AsyncClient) -> None:
    answer = await put(api, "supply", rows=[{**SUPPLY, "node_id": "dc-9"}])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "rows.0.node_id"


async def test_what_a_channel_sold_is_kept_again_and_orders_that_wait_are_served(
    filled: Engine, clock: Clock
) -> None:
    woken: list[bool] = []
    keeper = StockKeeper(filled, lambda: woken.append(True), clock)
    assert keeper.keep() == 0
    with transaction(filled) as session:
        inventory.keep_back(
            session, "dc-1", "TEE", safety_stock=100, protected={}, key="k", now=NOW
        )
        reservations.add_backorder(
            session, "W-1", [("1", "TEE", 4)], demand_class="b", promise_at=None, key="b", now=NOW
        )
        stock_rules.put_rules(session, StockRules(safety_stock=()), NOW)
    assert keeper.keep() > 0
    assert woken == [True]
    with reading(filled) as session:
        place = inventory.position(session, "dc-1", "TEE")
    assert (place.safety_stock, place.claimed) == (0, 4)
    assert keeper.keep() == 0
