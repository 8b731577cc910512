"""Kits over the API: ordered, shown, cancelled, promised and held as their components."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from domain.catalogue import KitComponent, Product
from store import drift, holds, inventory, network, orders
from store.engine import reading, transaction
from tests.integration.api.conftest import (
    NETWORK,
    NOW,
    PRODUCTS,
    messages_of,
    order_document,
    rows_of,
)

DESTINATION = {"country": "US", "region": "NY", "postal_code": "10001"}


def product(sku: str, units: dict[str, int] | None = None, **components: int) -> Product:
    parts = tuple(KitComponent(sku=name, quantity=each) for name, each in components.items())
    return Product(sku=sku, units=units or {"EA": 1}, components=parts)


@pytest.fixture
def filled(filled: Engine) -> Engine:
    """Also a kit of one TEE and two MUG, also sold by the case of four, and bad kits."""
    added = (
        product("SET", units={"EA": 1, "CS": 4}, TEE=1, MUG=2),
        product("GHOST", TEE=1, GONE=1),
    )
    with transaction(filled) as session:
        network.import_network(session, NETWORK, (*PRODUCTS, *added), NOW)
    return filled


def kit_line(**changes: Any) -> dict[str, Any]:
    return {"line_id": "1", "sku": "SET", "quantity": 3, "unit_price": "10.00", **changes}


async def test_a_kit_is_kept_as_its_components_with_the_same_total(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    lines = [
        kit_line(quantity=2, ordered_uom="CS", unit_price="25.01", discount="1.00", tax="4.40"),
        {"line_id": "2", "sku": "MUG", "quantity": 1, "unit_price": "5.00", "parent_line_id": "1"},
    ]

    answer = await api.post("/v1/orders", json=order_document(lines=lines))

    assert answer.status_code == 202
    with reading(filled) as session:
        kept = orders.load_order(session, "W-1")
    tee, mug, extra = kept.lines
    # 50.02 over 8 units is 6.2525: 6.26 each, less 0.06.
    assert (tee.sku, tee.quantity, str(tee.unit_price)) == ("TEE", 8, "6.26")
    assert (tee.discount, tee.tax) == (Decimal("1.06"), Decimal("4.40"))
    assert (mug.sku, mug.quantity) == ("MUG", 16)
    assert (mug.unit_price, mug.discount, mug.tax) == (Decimal(0), Decimal(0), Decimal(0))
    assert {(x.parent_line_id, x.keep_together) for x in (tee, mug)} == {("1", "1-k1")}
    assert tee.attributes["as_ordered"] == {
        "sku": "SET",
        "quantity": 2,
        "uom": "CS",
        "unit_price": "25.01",
        "kits": 8,
    }
    assert (extra.line_id, extra.parent_line_id) == ("2", "1")
    page = (await api.get("/v1/orders/W-1")).json()
    # 50.02 - 1.00 + 4.40 + 5.00
    assert page["total"] == "58.42"
    assert [
        (x["line_id"], x["parent_line_id"], x["sku"], x["quantities"]["ordered"])
        for x in page["lines"]
    ] == [("1-k1", "1", "TEE", 8), ("1-k2", "1", "MUG", 16), ("2", "1", "MUG", 1)]


async def test_the_same_order_of_a_kit_again_changes_nothing_though_the_kit_has_changed(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document(lines=[kit_line()]))
    before = rows_of(filled)
    with transaction(filled) as session:
        changed = product("SET", units={"EA": 1, "CS": 4}, MUG=1)
        network.import_network(session, NETWORK, (*PRODUCTS, changed), NOW)

    again = await api.post("/v1/orders", json=order_document(lines=[kit_line()]))

    assert again.status_code == 200
    assert rows_of(filled) == before


@pytest.mark.parametrize(
    ("lines", "path", "why"),
    [
        (
            [kit_line(), kit_line(line_id="1-k2", sku="TEE")],
            "lines.1.line_id",
            "stands for a component of line '1', a kit",
        ),
        (
            [kit_line(line_id="x" * 62)],
            "lines.0",
            f"the kit 'SET': '{'x' * 62}-k2', the id of a component's line, is too long",
        ),
        (
            [kit_line(sku="GHOST")],
            "lines.0",
            "the kit 'GHOST': its component 'GONE' is no product",
        ),
        (
            [kit_line(quantity=500_001)],
            "lines.0",
            "the kit 'SET': 1000002 base units are more than 1000000",
        ),
        (
            [kit_line(line_id="1-k1", sku="TEE", parent_line_id="1")],
            "lines.0.parent_line_id",
            "no line '1'",
        ),
        (
            [kit_line(line_id=str(number)) for number in range(501)],
            "lines",
            "1002 with the components of kits: at most 1000",
        ),
    ],
    ids=["id-of-a-component", "long-id", "no-product", "too-many", "no-parent", "too-many-lines"],
)
async def test_a_kit_that_cannot_be_broken_is_refused_and_nothing_is_kept(
    api: httpx.AsyncClient, filled: Engine, lines: list[dict[str, Any]], path: str, why: str
) -> None:
    before = rows_of(filled)

    answer = await api.post("/v1/orders", json=order_document(lines=lines))

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": path, "message": why}]
    assert rows_of(filled) == before


async def test_to_cancel_kits_is_to_cancel_their_components(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    tee = {"line_id": "2", "sku": "TEE", "quantity": 2}
    await api.post("/v1/orders", json=order_document(lines=[kit_line(), tee]))

    asked = [{"line_id": "1", "quantity": 2}, {"line_id": "2", "quantity": 1}]
    answer = await api.post("/v1/orders/W-1/cancel", json={"lines": asked})

    assert answer.status_code == 202
    payload = messages_of(filled)[-1]["payload"]
    kept = json.loads(payload) if isinstance(payload, str) else payload
    assert kept["lines"] == [
        {"line_id": "1-k1", "quantity": 2},
        {"line_id": "1-k2", "quantity": 4},
        {"line_id": "2", "quantity": 1},
    ]


@pytest.mark.parametrize(
    ("asked", "path", "why"),
    [
        ([("1", 4)], "lines.0.quantity", "only 3 kits are ordered"),
        ([("1", 1), ("1-k2", 1)], "lines.1.line_id", "stands more than once"),
        ([("1-k2", 7)], "lines.0.quantity", "only 6 units are ordered"),
        ([("9", 1)], "lines.0.line_id", "no line '9'"),
    ],
)
async def test_a_cancel_of_kits_not_ordered_is_refused(
    api: httpx.AsyncClient, filled: Engine, asked: list[tuple[str, int]], path: str, why: str
) -> None:
    await api.post("/v1/orders", json=order_document(lines=[kit_line()]))
    before = rows_of(filled)

    lines = [{"line_id": line_id, "quantity": quantity} for line_id, quantity in asked]
    answer = await api.post("/v1/orders/W-1/cancel", json={"lines": lines})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": path, "message": why}]
    assert rows_of(filled) == before


async def promise(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    body = {
        "purpose": "checkout",
        "items": [{"line_id": "a", "sku": "SET", "quantity": 3}],
        "destination": DESTINATION,
        "methods": ["ship"],
        **changes,
    }
    answer = await api.post("/v1/promises", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_promise_names_the_kit_of_each_component_and_a_hold_keeps_them(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    promised = await promise(api, hold={"expires_in": 600})

    [shipment] = promised["options"][0]["shipments"]
    assert shipment["items"] == [
        {"line_id": "a-k1", "sku": "TEE", "quantity": 3, "parent_line_id": "a"},
        {"line_id": "a-k2", "sku": "MUG", "quantity": 6, "parent_line_id": "a"},
    ]
    with reading(filled) as session:
        held = holds.load(session, promised["hold"]["reservation_id"])
        left = [
            inventory.position(session, shipment["node_id"], sku).sellable for sku in ("TEE", "MUG")
        ]
    assert [(x.line_id, x.sku, x.quantity) for x in held.lines] == [
        ("a-k1", "TEE", 3),
        ("a-k2", "MUG", 6),
    ]
    assert left == [97, 94]


async def test_an_order_of_a_kit_is_known_to_be_what_its_checkout_promised(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    promised = await promise(api)

    document = order_document(lines=[kit_line()], promise_id=promised["promise_id"])
    answer = await api.post("/v1/orders", json=document)

    assert answer.status_code == 202, answer.text
    with reading(filled) as session:
        found = drift.checkout_commitment(session, orders.load_order(session, "W-1"))
    assert found is not None
    assert found.decision_id == promised["promise_id"]


async def test_a_kit_that_cannot_be_made_is_missing_and_named(api: httpx.AsyncClient) -> None:
    promised = await promise(api, purpose="cart", items=[{"sku": "SET", "quantity": 51}])

    missing = promised["options"][0]["missing"]
    assert [(x["line_id"], x["sku"], x["quantity"], x["parent_line_id"]) for x in missing] == [
        ("1-k1", "TEE", 51, "1"),
        ("1-k2", "MUG", 102, "1"),
    ]


@pytest.mark.parametrize(
    ("items", "path", "why"),
    [
        (
            [{"sku": "GHOST"}],
            "items.0",
            "the kit 'GHOST': its component 'GONE' is no product",
        ),
        (
            [{"sku": "SET"}, {"sku": "TEE", "line_id": "1-k1"}],
            "items",
            "a line_id stands more than once",
        ),
        (
            [{"sku": "SET"}] * 501,
            "items",
            "1002 with the components of kits: at most 1000",
        ),
    ],
)
async def test_a_kit_that_cannot_be_promised_is_refused(
    api: httpx.AsyncClient, items: list[dict[str, Any]], path: str, why: str
) -> None:
    answer = await api.post("/v1/promises", json={"items": items, "destination": DESTINATION})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": path, "message": why}]


async def test_a_cart_that_holds_a_kit_holds_its_components(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    item = {"node_id": "dc-1", "sku": "SET", "quantity": 3}
    answer = await api.post("/v1/reservations", json={"items": [item]})

    assert answer.status_code == 201
    held = [(x["line_id"], x["node_id"], x["sku"], x["held"]) for x in answer.json()["items"]]
    assert held == [("1-k1", "dc-1", "TEE", 3), ("1-k2", "dc-1", "MUG", 6)]
    with reading(filled) as session:
        left = [inventory.position(session, "dc-1", sku).sellable for sku in ("TEE", "MUG")]
    assert left == [97, 94]


@pytest.mark.parametrize(
    ("items", "path", "why"),
    [
        ([{"sku": "GHOST"}], "items.0", "the kit 'GHOST': its component 'GONE' is no product"),
        (
            [{"sku": "SET"}, {"sku": "TEE", "line_id": "1-k1"}],
            "items.1.line_id",
            "line '1-k1' asks 'dc-1' more than once",
        ),
        ([{"sku": "SET"}] * 501, "items", "1002 with the components of kits: at most 1000"),
    ],
)
async def test_a_kit_that_cannot_be_held_is_refused_and_nothing_is_held(
    api: httpx.AsyncClient, filled: Engine, items: list[dict[str, Any]], path: str, why: str
) -> None:
    asked = [{"node_id": "dc-1", "quantity": 1, **item} for item in items]
    answer = await api.post("/v1/reservations", json={"items": asked})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": path, "message": why}]
    with reading(filled) as session:
        assert inventory.position(session, "dc-1", "TEE").held == 0
