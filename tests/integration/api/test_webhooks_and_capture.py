"""What outside systems send: proved and kept, or kept aside with its reason."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from integrations.standard_webhooks import sign, signer
from tests.integration.api.conftest import SECRET, messages_of, order_document, rows_of

EVENT = {
    "type": "order.picked",
    "event_id": "E-1",
    "occurred_at": "2026-03-02T16:00:00Z",
    "reference": "W-1-1",
}


def signed(raw: str, delivery: str = "D-1", secret: str = SECRET) -> dict[str, Any]:
    headers = sign(signer(secret), delivery, datetime.now(UTC), raw)
    return {"content": raw, "headers": headers}


async def test_a_proved_webhook_is_kept_once_per_delivery_in_its_fulfillments_stream(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    first = await api.post("/v1/webhooks/wms-a", **signed(json.dumps(EVENT)))
    again = await api.post("/v1/webhooks/wms-a", **signed(json.dumps(EVENT)))

    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    [kept] = messages_of(filled)
    assert (kept["kind"], kept["state"], kept["stream"]) == (
        "webhook",
        "waiting",
        "fulfillment-W-1-1",
    )
    assert json.loads(kept["body"]) == EVENT


BAD: list[tuple[str, dict[str, Any]]] = [
    ("another-secret", signed(json.dumps(EVENT), secret="whsec_" + "A" * 32)),
    ("no-signature", {"content": json.dumps(EVENT)}),
]


@pytest.mark.parametrize("request_arguments", [bad[1] for bad in BAD], ids=[b[0] for b in BAD])
async def test_a_webhook_with_a_bad_signature_is_refused_and_nothing_is_kept(
    api: httpx.AsyncClient, filled: Engine, request_arguments: dict[str, Any]
) -> None:
    answer = await api.post("/v1/webhooks/wms-a", **request_arguments)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert messages_of(filled) == []


async def test_a_body_changed_on_the_way_is_refused(api: httpx.AsyncClient, filled: Engine) -> None:
    request = signed(json.dumps(EVENT))
    request["content"] = request["content"].replace("picked", "packed")

    answer = await api.post("/v1/webhooks/wms-a", **request)

    assert answer.status_code == 401
    assert messages_of(filled) == []


async def test_a_webhook_to_no_known_connection_is_not_found(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    answer = await api.post("/v1/webhooks/nobody", **signed(json.dumps(EVENT)))

    assert answer.status_code == 404
    assert messages_of(filled) == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("{", "the body is no JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "the body is a JSON list, not an object"),
        (json.dumps({**EVENT, "type": "order.eaten"}), "type: 'order.eaten' is not known here"),
        (
            json.dumps({**EVENT, "reference": "a/b"}),
            "reference: must be 1 to 96 letters, digits, '.', '_' or '-', beginning with a letter"
            " or digit",
        ),
    ],
)
async def test_a_proved_webhook_that_makes_no_sense_is_kept_aside_with_its_reason(
    api: httpx.AsyncClient, filled: Engine, raw: str, reason: str
) -> None:
    answer = await api.post("/v1/webhooks/wms-a", **signed(raw))

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["reason"]) == ("quarantined", reason)
    [kept] = (await api.get("/v1/quarantine")).json()["messages"]
    assert (kept["reason"], kept["body"], kept["kind"]) == (reason, raw, "webhook")


async def test_a_long_quarantine_is_read_page_by_page(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    for number in range(3):
        await api.post("/v1/webhooks/wms-a", **signed("[]", f"D-{number}"))
    whole = (await api.get("/v1/quarantine")).json()

    first = (await api.get("/v1/quarantine", params={"limit": 2})).json()
    rest = (await api.get("/v1/quarantine", params={"limit": 2, "after": first["next"]})).json()

    assert (len(whole["messages"]), whole["next"]) == (3, None)
    assert first["messages"] + rest["messages"] == whole["messages"]
    assert rest["next"] is None


@pytest.fixture
def vendor_document() -> dict[str, Any]:
    document = order_document(external_id="#1001")
    del document["order_id"], document["source"]
    return document


async def test_a_vendors_order_is_accepted_under_an_id_of_doms_own(
    api: httpx.AsyncClient, filled: Engine, vendor_document: dict[str, Any]
) -> None:
    first = await api.post("/v1/capture/shop-eu", json=vendor_document)
    again = await api.post("/v1/capture/shop-eu", json=vendor_document)

    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["order_id"] == again.json()["order_id"] == "shop-eu-_231001"
    kinds = [(x["kind"], x["state"]) for x in messages_of(filled)]
    assert kinds == [("capture", "done"), ("start", "waiting")]


async def test_a_vendors_order_that_cannot_be_one_is_kept_with_its_reason(
    api: httpx.AsyncClient, filled: Engine, vendor_document: dict[str, Any]
) -> None:
    vendor_document["lines"][0]["sku"] = "HAT"

    answer = await api.post("/v1/capture/shop-eu", json=vendor_document)

    assert answer.status_code == 202
    assert answer.json()["status"] == "quarantined"
    assert answer.json()["errors"] == [{"path": "lines.0.sku", "message": "no product 'HAT'"}]
    assert rows_of(filled)["orders"] == 0
    [kept] = (await api.get("/v1/quarantine")).json()["messages"]
    assert kept["reason"] == "the document has 1 error; lines.0.sku: no product 'HAT'"
    assert json.loads(kept["body"]) == vendor_document


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"external_id": "1"}'])
async def test_a_vendors_document_without_sense_is_kept_too(
    api: httpx.AsyncClient, filled: Engine, raw: bytes
) -> None:
    answer = await api.post("/v1/capture/shop-eu", content=raw)

    assert answer.status_code == 202
    assert answer.json()["status"] == "quarantined"
    assert answer.json()["reason"]
    assert rows_of(filled)["orders"] == 0


async def test_a_capture_by_no_known_connection_is_not_found(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    answer = await api.post("/v1/capture/wms-a", json=order_document())

    assert answer.status_code == 404
    assert messages_of(filled) == []


async def test_letting_out_what_is_not_kept_aside_is_not_found(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/quarantine/99/release")).status_code == 404
