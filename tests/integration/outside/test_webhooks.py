import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import UnknownReferenceError
from domain.events import (
    CarrierEvent,
    CarrierStatus,
    LineFact,
    NodeEvent,
    NodeEventType,
    ShortReason,
)
from domain.fulfillments import Package, PackageLine
from domain.network import Connection, ConnectionClass
from integrations.errors import BadSignatureError, QuarantineError
from integrations.standard_webhooks import sign, signer
from integrations.webhooks import translate, verify
from tests.integration.outside.world import SECRET

BODY = b'{"type":"order.picked","reference":"W-1-1"}'
AT = "2026-03-01T10:00:00+00:00"


def connection(kind: str) -> Connection:
    return Connection(
        connection_id="site", kind=ConnectionClass(kind), vendor="reference", secret_env="S"
    )


def signed(body: bytes = BODY, *, age: timedelta = timedelta(0)) -> dict[str, str]:
    return sign(signer(SECRET), "evt-1", datetime.now(UTC) - age, body.decode())


def picked(**changes: object) -> bytes:
    body: dict[str, Any] = {
        "type": "order.picked",
        "event_id": "W-1-1.1.picked",
        "occurred_at": AT,
        "reference": "W-1-1",
        "lines": [{"line_id": "1", "picked": 1, "short": 1, "reason": "damaged", "shelf": "A7"}],
        "simulator": True,
    }
    return json.dumps(body | changes).encode()


def tracked(**changes: object) -> bytes:
    body: dict[str, Any] = {
        "type": "tracker.updated",
        "event_id": "T1.1",
        "occurred_at": AT,
        "reference": "W-1-1",
        "tracking_number": "T1",
        "status": "in_transit",
        "detail": "on its way",
    }
    return json.dumps(body | changes).encode()


def test_a_genuine_webhook_gives_its_delivery_id() -> None:
    assert verify(connection("wms"), SECRET, signed(), BODY) == "evt-1"


def test_header_names_may_be_in_any_case() -> None:
    headers = {name.title(): value for name, value in signed().items()}

    assert verify(connection("carrier"), SECRET, headers, BODY) == "evt-1"


def test_a_webhook_without_proof_is_refused() -> None:
    with pytest.raises(BadSignatureError):
        verify(connection("wms"), SECRET, {}, BODY)


@pytest.mark.parametrize(
    ("forged", "minutes_old"),
    [
        ({"webhook-signature": "v1,AAAA"}, 0),
        ({"webhook-signature": "nonsense"}, 0),
        ({"webhook-signature": "v1,é"}, 0),
        ({"webhook-id": "evt-2"}, 0),
        ({"webhook-timestamp": "1"}, 0),
        ({"webhook-timestamp": "inf"}, 0),
        ({}, 6),
        ({}, -6),
    ],
)
def test_a_webhook_with_bad_proof_is_refused(forged: dict[str, str], minutes_old: int) -> None:
    # Signed here: a signature made when tests are collected is older by the time this one runs.
    headers = signed(age=timedelta(minutes=minutes_old)) | forged
    with pytest.raises(BadSignatureError):
        verify(connection("wms"), SECRET, headers, BODY)


@pytest.mark.parametrize("body", [BODY.replace(b"W-1-1", b"W-2-1"), BODY + b" ", b"", b"\xff"])
def test_a_tampered_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadSignatureError):
        verify(connection("wms"), SECRET, signed(), body)


def test_a_webhook_signed_with_another_secret_is_refused() -> None:
    with pytest.raises(BadSignatureError):
        verify(connection("wms"), "whsec_b3RoZXIgc2VjcmV0IG9mIDI0IGJ5dGVz", signed(), BODY)


@pytest.mark.parametrize("secret", [None, "", "whsec_", "no base64 é"])
def test_without_a_usable_secret_nothing_is_taken(secret: str | None) -> None:
    with pytest.raises(BadSignatureError):
        verify(connection("wms"), secret, signed(), BODY)


def test_a_pick_becomes_a_node_event_and_unknown_fields_are_let_through() -> None:
    assert translate(connection("wms"), picked()) == (
        NodeEvent(
            event_id="W-1-1.1.picked",
            occurred_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
            fulfillment_id="W-1-1",
            type=NodeEventType.PICKED,
            lines=(LineFact(line_id="1", picked=1, short=1, reason=ShortReason.DAMAGED),),
        ),
    )


def test_packages_come_with_what_doms_knows_of_them() -> None:
    package = {
        "package_id": "W-1-1-p1",
        "lines": [{"line_id": "1", "quantity": 2}],
        "weight_grams": 400,
        "tracking_number": "T1",
        "colour": "brown",
    }

    (event,) = translate(connection("threepl"), picked(type="order.packed", packages=[package]))

    assert isinstance(event, NodeEvent)
    assert event.packages == (
        Package(
            package_id="W-1-1-p1",
            lines=(PackageLine(line_id="1", quantity=2),),
            weight_grams=400,
            tracking_number="T1",
        ),
    )


def test_a_cancel_answer_names_its_request() -> None:
    (event,) = translate(
        connection("pos"), picked(type="order.cancel_refused", lines=None, request_id="c-1")
    )

    assert isinstance(event, NodeEvent)
    assert (event.type, event.request_id) == (NodeEventType.CANCEL_REFUSED, "c-1")


@pytest.mark.parametrize("kind", ["carrier", "threepl"])
def test_a_tracker_update_becomes_a_carrier_event(kind: str) -> None:
    assert translate(connection(kind), tracked()) == (
        CarrierEvent(
            event_id="T1.1",
            occurred_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
            fulfillment_id="W-1-1",
            tracking_number="T1",
            status=CarrierStatus.IN_TRANSIT,
            detail="on its way",
        ),
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"type":"order.picked","reference":"\\ud800"}',
        b'{"type":NaN}',
        picked(type="order.sung"),
        picked(type=None),
        picked(type=["order.picked"]),
        picked(event_id=""),
        picked(event_id="x" * 201),
        picked(reference="../etc"),
        picked(reference=None),
        picked(occurred_at="yesterday"),
        picked(occurred_at="2026-03-01T10:00:00"),
        picked(occurred_at="0001-01-01T00:00:00+14:00"),
        picked(lines="all"),
        picked(lines=[1]),
        picked(lines=[{"line_id": "1", "picked": -1}]),
        picked(lines=[{"line_id": "1", "picked": 10**30, "short": "many"}]),
        picked(lines=[{"picked": 1}]),
        picked(lines=[{"line_id": "1", "short": 1, "reason": "mice"}]),
        picked(packages=[{"package_id": "p", "lines": [{"line_id": "1", "quantity": 0}]}]),
        picked(reason={"text": "no"}),
        tracked(),
    ],
)
def test_what_a_warehouse_sends_and_nobody_understands_is_quarantined(raw: bytes) -> None:
    with pytest.raises(QuarantineError):
        translate(connection("wms"), raw)


@pytest.mark.parametrize(
    "raw",
    [
        picked(),
        tracked(status="teleported"),
        tracked(tracking_number=""),
        tracked(tracking_number=None),
        tracked(reference=None),
        tracked(occurred_at=None),
        tracked(event_id=7),
    ],
)
def test_what_a_carrier_sends_and_nobody_understands_is_quarantined(raw: bytes) -> None:
    with pytest.raises(QuarantineError):
        translate(connection("carrier"), raw)


def test_a_quarantine_names_the_field_and_keeps_no_value() -> None:
    with pytest.raises(QuarantineError) as caught:
        translate(connection("wms"), picked(lines=[{"line_id": "Ada Example, 1 Main St"}]))

    assert str(caught.value).startswith("lines.0.line_id: ")
    assert "Ada" not in str(caught.value)


def test_a_vendor_nobody_knows_is_named_with_the_known_ones() -> None:
    stranger = connection("wms").model_copy(update={"vendor": "acme"})

    with pytest.raises(UnknownReferenceError, match=r"no vendor 'acme' .* known: reference"):
        translate(stranger, picked())
