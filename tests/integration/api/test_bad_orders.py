"""Bad order documents: each is refused with the exact problem, and nothing is stored."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.integration.api.conftest import ORDER, order_document, rows_of

LINE = ORDER["lines"][0]
GROUP = ORDER["ship_groups"][0]

NO_ID = "must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"


def line(**changes: Any) -> dict[str, Any]:
    return order_document(lines=[{**LINE, **changes}])


def group(**changes: Any) -> dict[str, Any]:
    return order_document(ship_groups=[{**GROUP, **changes}])


CASES: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
    (
        "a quantity as text",
        line(quantity="2"),
        [{"path": "lines.0.quantity", "message": "must be a whole number"}],
    ),
    (
        "a negative quantity",
        line(quantity=-1),
        [
            {
                "path": "lines.0.quantity",
                "message": "must be at least 1",
            }
        ],
    ),
    (
        "a zero quantity",
        line(quantity=0),
        [
            {
                "path": "lines.0.quantity",
                "message": "must be at least 1",
            }
        ],
    ),
    (
        "a huge quantity",
        line(quantity=10**30),
        [
            {
                "path": "lines.0.quantity",
                "message": "must be at most 1,000,000",
            }
        ],
    ),
    (
        "a huge quantity only once in base units",
        line(quantity=3, ordered_uom="PL"),
        [
            {
                "path": "lines.0.quantity",
                "message": "1440000 base units are more than 1000000",
            }
        ],
    ),
    (
        "an unknown field",
        order_document(colour="red"),
        [{"path": "colour", "message": "unknown field"}],
    ),
    (
        "an unknown field of a line",
        line(colour="red"),
        [{"path": "lines.0.colour", "message": "unknown field"}],
    ),
    (
        "an unknown SKU",
        line(sku="HAT"),
        [{"path": "lines.0.sku", "message": "no product 'HAT'"}],
    ),
    (
        "an unknown node",
        group(method="pickup", node_id="store-9"),
        [{"path": "ship_groups.0.node_id", "message": "no node 'store-9'"}],
    ),
    (
        "a node that offers no pick-up",
        group(method="pickup", node_id="dc-1"),
        [{"path": "ship_groups.0.node_id", "message": "'dc-1' offers no pick-up"}],
    ),
    (
        "an unknown currency",
        order_document(currency="QQQ"),
        [
            {
                "path": "currency",
                "message": "'QQQ' is no ISO 4217 currency code, such as USD or EUR",
            }
        ],
    ),
    (
        "a currency without an exchange rate",
        order_document(currency="NOK"),
        [{"path": "currency", "message": "no exchange rate from NOK to USD"}],
    ),
    (
        "an unknown unit",
        line(ordered_uom="BX"),
        [
            {
                "path": "lines.0.ordered_uom",
                "message": "'TEE' has no unit 'BX'; it is sold in CS, EA, PL",
            }
        ],
    ),
    (
        "an unknown country",
        group(address={"country": "XX"}),
        [
            {
                "path": "ship_groups.0.address.country",
                "message": "'XX' is no ISO 3166 alpha-2 country code, such as US or BR",
            }
        ],
    ),
    (
        "an id of 300 characters",
        order_document(order_id="A" * 300),
        [
            {
                "path": "order_id",
                "message": NO_ID,
            }
        ],
    ),
    (
        "an id with slashes",
        order_document(order_id="a/../b"),
        [
            {
                "path": "order_id",
                "message": NO_ID,
            }
        ],
    ),
    (
        "a line of an unknown ship group",
        line(ship_group="9"),
        [{"path": "lines.0.ship_group", "message": "no ship group '9'"}],
    ),
    (
        "money as a number with a fraction",
        line(unit_price=19.9),
        [
            {
                "path": "lines.0.unit_price",
                "message": 'send money as a string, such as "19.90": a float loses cents',
            }
        ],
    ),
    (
        "fractions of a cent",
        line(unit_price="19.999"),
        [{"path": "lines.0.unit_price", "message": "USD has 2 decimal places"}],
    ),
    (
        "an unknown promise",
        order_document(promise_id="promise-9"),
        [{"path": "promise_id", "message": "no promise 'promise-9'"}],
    ),
    (
        "a NUL character",
        order_document(po_number="a\0b"),
        [{"path": "po_number", "message": "holds a NUL character"}],
    ),
    (
        "several mistakes at once",
        order_document(
            lines=[{**LINE, "sku": "HAT"}, {**LINE, "line_id": "2", "ordered_uom": "BX"}]
        ),
        [
            {"path": "lines.0.sku", "message": "no product 'HAT'"},
            {
                "path": "lines.1.ordered_uom",
                "message": "'TEE' has no unit 'BX'; it is sold in CS, EA, PL",
            },
        ],
    ),
]


@pytest.mark.parametrize(
    ("document", "errors"),
    [case[1:] for case in CASES],
    ids=[case[0].replace(" ", "-") for case in CASES],
)
async def test_a_bad_order_is_refused_with_each_fields_path_and_nothing_is_stored(
    api: httpx.AsyncClient,
    filled: Engine,
    document: dict[str, Any],
    errors: list[dict[str, str]],
) -> None:
    before = rows_of(filled)

    answer = await api.post("/v1/orders", json=document)

    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": f"the document has {count}",
        "errors": errors,
    }
    assert answer.status_code == 422
    assert rows_of(filled) == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "malformed JSON: EOF while parsing a value at line 1 column 0"),
        (b'{"order_id": ', "malformed JSON: EOF while parsing a value at line 1 column 13"),
        (b'{"a": 1,\n "b": }', "malformed JSON: expected value at line 2 column 7"),
        (b'{"a": NaN}', "malformed JSON: expected value at line 1 column 7"),
        (b"\xff\xfe", "malformed JSON: expected value at line 1 column 1"),
        (b'{"a": "\xff"}', "malformed JSON: invalid unicode code point at line 1 column 8"),
        (b"[" * 5_000, "malformed JSON: recursion limit exceeded at line 1 column 202"),
        (b"[]", "an order is a JSON object"),
        (b'"order"', "an order is a JSON object"),
    ],
)
async def test_what_is_no_json_object_is_refused_and_says_where(
    api: httpx.AsyncClient, filled: Engine, body: bytes, message: str
) -> None:
    before = rows_of(filled)

    answer = await api.post("/v1/orders", content=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"path": "", "message": message}]
    assert rows_of(filled) == before


async def test_numbers_beyond_any_are_refused_inside_attributes_too(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    before = rows_of(filled)
    raw = json.dumps(order_document(attributes={"weight": 1.5})).replace("1.5", "1e999")

    answer = await api.post("/v1/orders", content=raw)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"path": "attributes.weight", "message": "is no finite number"}
    ]
    assert rows_of(filled) == before


async def test_ten_thousand_lines_are_refused(api: httpx.AsyncClient, filled: Engine) -> None:
    before = rows_of(filled)
    lines = [{"line_id": str(n), "sku": "TEE", "quantity": 1} for n in range(10_000)]

    answer = await api.post("/v1/orders", json=order_document(lines=lines))

    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == ["lines"]
    assert "at most 1,000 items" in answer.json()["errors"][0]["message"]
    assert rows_of(filled) == before


async def test_a_thousand_lines_are_accepted(api: httpx.AsyncClient, filled: Engine) -> None:
    lines = [{"line_id": str(n), "sku": "TEE", "quantity": 1} for n in range(1_000)]

    answer = await api.post("/v1/orders", json=order_document(lines=lines))

    assert answer.status_code == 202
    assert rows_of(filled)["order_lines"] == 1_000


async def test_a_ten_megabyte_body_is_refused_before_it_is_read(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    before = rows_of(filled)

    answer = await api.post("/v1/orders", content=b"x" * 10_000_000)

    assert answer.status_code == 413
    assert answer.json()["detail"] == "a body has at most 1,000,000 bytes"
    assert rows_of(filled) == before


async def test_a_streamed_body_without_a_length_is_cut_off_at_the_limit(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    before = rows_of(filled)
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 100_000
            yield b"x" * 100_000

    answer = await api.post("/v1/orders", content=chunks())

    assert answer.status_code == 413
    assert sent == 1_100_000
    assert rows_of(filled) == before


async def test_an_unknown_address_is_a_problem_document(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/nothing")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "nothing is at /v1/nothing"


async def test_an_unknown_order_is_a_problem_document(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/orders/W-9")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "no order 'W-9'"


@pytest.mark.parametrize("order_id", ["A" * 300, "%00", "a%2Fb"])
async def test_an_impossible_id_in_an_address_is_refused(
    api: httpx.AsyncClient, order_id: str
) -> None:
    answer = await api.get(f"/v1/orders/{order_id}")

    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"
