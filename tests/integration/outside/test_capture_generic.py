import json
from typing import Any

import pytest

from domain.network import Connection, ConnectionClass
from domain.orders import Order
from integrations.capture.port import captured_order_id
from integrations.errors import QuarantineError
from integrations.registry import capture_vendor_of

SHOP = Connection(connection_id="shop", kind=ConnectionClass.CAPTURE, vendor="generic")


def document(**changes: object) -> dict[str, Any]:
    return {
        "external_id": "#1001",
        "currency": "EUR",
        "placed_at": "2026-03-01T10:00:00Z",
        "ship_groups": [{"id": "1", "address": {"country": "DE", "postal_code": "10115"}}],
        "lines": [{"line_id": "1", "sku": "SHIRT", "quantity": 2, "unit_price": "19.90"}],
    } | changes


def translated(body: object) -> dict[str, Any]:
    return capture_vendor_of(SHOP).translate(SHOP, json.dumps(body).encode())


def test_an_order_in_doms_own_json_gets_its_ids_from_the_connection() -> None:
    order = translated(document())

    assert (order["order_id"], order["source"]) == ("shop-_231001", "shop")
    assert Order.model_validate(order).lines[0].quantity == 2


def test_ids_that_are_sent_are_kept() -> None:
    order = translated(document(order_id="W-7", source="shop-eu"))

    assert (order["order_id"], order["source"]) == ("W-7", "shop-eu")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"external_id": None}, "external_id"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": "\ud800"}, "JSON"),
        ({"currency": "XXQ"}, "currency"),
        ({"lines": []}, "lines"),
        ({"lines": [{"line_id": "1", "sku": "SHIRT", "quantity": 1.5}]}, "lines.0.quantity"),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, "date value out of range|placed_at"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_an_order_that_is_not_right_is_quarantined(changes: dict[str, object], path: str) -> None:
    with pytest.raises(QuarantineError, match=path):
        translated(document(**changes))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"order"', b"\x00\xff"])
def test_what_is_no_json_object_is_quarantined(raw: bytes) -> None:
    with pytest.raises(QuarantineError):
        capture_vendor_of(SHOP).translate(SHOP, raw)


def test_different_external_ids_never_share_an_order_id() -> None:
    external = ["1001", "#1001", "_231001", "1 001", "1/001", "ü", "x" * 200, "x" * 201, "1001-"]

    ids = [captured_order_id("shop", one) for one in external]

    assert len(set(ids)) == len(external)
    assert all(len(one) <= 64 for one in ids)
