"""Orders that stores take at Square's tills: carried out, sent, collected."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from domain.network import Connection, ConnectionClass
from domain.orders import Method, Order, ServiceLevel
from integrations.capture.square.orders import translate
from integrations.checking import check_connection
from integrations.errors import NothingToDoError, QuarantineError
from integrations.http import open_client
from tests.contract.recordings import document, needs
from tests.contract.specs import check_request
from tests.contract.square_account import SECRETS, SPEC

recorded = needs("square")
TILL = Connection(
    connection_id="tills",
    kind=ConnectionClass.CAPTURE,
    vendor="square",
    base_url="https://connect.squareup.com",
    secret_env="SQUARE_KEY",
    settings={"locations": {"store-1": "L1"}},
)
RECIPIENT = {
    "display_name": "Jane Doe",
    "address": {
        "address_line_1": "179 N Harbor Dr",
        "locality": "Redondo Beach",
        "administrative_district_level_1": "CA",
        "postal_code": "90277",
        "country": "US",
    },
}


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD"}


def line(uid: str, variation: str, quantity: str, **more: Any) -> dict[str, Any]:
    return {
        "uid": uid,
        "quantity": quantity,
        "catalog_object_id": variation,
        "base_price_money": money(1999),
        **more,
    }


def shipment(*entries: tuple[str, str], kind: str = "SHIPMENT") -> dict[str, Any]:
    name = {"SHIPMENT": "shipment_details", "PICKUP": "pickup_details"}.get(
        kind, "delivery_details"
    )
    return {
        "uid": f"f-{kind}",
        "type": kind,
        "state": "PROPOSED",
        "entries": [{"line_item_uid": uid, "quantity": units} for uid, units in entries],
        name: {"recipient": RECIPIENT},
    }


def till_order(*fulfillments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "O/1",
        "location_id": "L1",
        "version": 3,
        "state": "OPEN",
        "created_at": "2026-03-02T10:00:00-08:00",
        "updated_at": "2026-03-02T18:01:00Z",
        "line_items": [line("a", "V-TEE", "3"), line("b", "V-MUG", "1")],
        "fulfillments": list(fulfillments),
        "net_amount_due_money": money(0),
        **changes,
    }


SKUS = {"V-TEE": "TEE", "V-MUG": "MUG"}


def read(order: dict[str, Any], skus: dict[str, str] = SKUS) -> Order:
    raw = json.dumps({"order": order, "skus": skus}).encode()
    return Order.model_validate(translate(TILL, raw))


def lines_of(order: Order) -> list[tuple[str, str, int, str | None]]:
    return [(x.ship_group, x.sku, x.quantity, x.external_line_id) for x in order.lines]


def test_what_is_sent_becomes_an_order_and_what_is_carried_out_is_noted() -> None:
    order = read(till_order(shipment(("a", "2"), ("b", "1"))))

    assert lines_of(order) == [("1", "TEE", 2, "a"), ("1", "MUG", 1, "b")]
    assert order.attributes == {
        "sold_at": "store-1",
        "carried_out": [{"sku": "TEE", "quantity": 1}],
    }
    assert (order.order_id, order.external_id, order.version) == ("tills-O_2f1", "O/1", 3)
    assert order.placed_at == datetime(2026, 3, 2, 18, 0, tzinfo=UTC)
    (group,) = order.ship_groups
    assert group.method is Method.SHIP
    assert group.address is not None
    assert (group.address.line1, group.address.region) == ("179 N Harbor Dr", "CA")


def test_a_line_of_several_places_becomes_a_line_for_each() -> None:
    order = read(
        till_order(
            shipment(("a", "1")),
            shipment(("a", "1"), kind="PICKUP"),
            shipment(("b", "1"), kind="DELIVERY"),
        )
    )

    assert lines_of(order) == [("1", "TEE", 1, "a"), ("2", "TEE", 1, "a"), ("3", "MUG", 1, "b")]
    assert [(x.method, x.node_id) for x in order.ship_groups] == [
        (Method.SHIP, None),
        (Method.PICKUP, "store-1"),
        (Method.SHIP, None),
    ]
    assert order.ship_groups[2].service_level is ServiceLevel.SAME_DAY
    assert order.attributes["carried_out"] == [{"sku": "TEE", "quantity": 1}]


def test_a_fulfillment_that_names_no_lines_is_of_all_that_is_left() -> None:
    order = read(till_order(shipment(("a", "1"), kind="PICKUP"), {**shipment(), "entries": None}))

    assert lines_of(order)[1:] == [("2", "TEE", 2, "a"), ("2", "MUG", 1, "b")]
    assert order.attributes["carried_out"] == []


def test_money_is_read_from_cents_and_shared_to_the_cent() -> None:
    items = [line("a", "V-TEE", "3", total_discount_money=money(100), total_tax_money=money(1))]
    order = read(
        till_order(
            shipment(("a", "1")),
            shipment(("a", "1"), kind="PICKUP"),
            shipment(("a", "1"), kind="DELIVERY"),
            line_items=items,
            service_charges=[{"name": "delivery", "total_money": money(490)}, {"name": "none"}],
        )
    )

    assert [x.unit_price for x in order.lines] == [Decimal("19.99")] * 3
    assert [x.discount for x in order.lines] == [Decimal("0.33"), Decimal("0.33"), Decimal("0.34")]
    assert [x.tax for x in order.lines] == [Decimal(0), Decimal(0), Decimal("0.01")]
    assert [(x.type, x.amount) for x in order.charges] == [("delivery", Decimal("4.90"))]


@pytest.mark.parametrize(
    ("due", "status"), [(money(0), "paid"), (None, "paid"), (money(100), "pending")]
)
def test_an_order_is_paid_once_nothing_is_due(due: dict[str, Any] | None, status: str) -> None:
    order = read(till_order(shipment(("a", "1")), net_amount_due_money=due))

    assert order.payment.status.value == status


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fulfillments": []}, "nothing is to be sent or collected"),
        ({"fulfillments": [{**shipment(), "state": "CANCELED"}]}, "nothing is to be sent"),
        ({"state": "CANCELED"}, "an order that is CANCELED is none"),
        ({"source": {"name": "doms"}}, "doms put this order there itself"),
    ],
)
def test_an_order_with_nothing_to_do_says_so(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(NothingToDoError, match=reason):
        read(till_order(shipment(("a", "1"))) | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ""}, "order.id"),
        ({"line_items": []}, "order.line_items"),
        ({"line_items": [{"uid": "a", "quantity": "1"}]}, "base_price_money"),
        ({"line_items": [line("a", "V-NEW", "1")]}, "no SKU is known of V-NEW"),
        ({"line_items": [line("a", "V-TEE", "1.5")]}, "a is sold in parts of a unit"),
        ({"location_id": "L9"}, "no node is Square's L9"),
        ({"fulfillments": [shipment(("a", "9"))]}, "more of a line than was sold"),
        ({"fulfillments": [shipment(("z", "1"))]}, "names a line that the order has not"),
        ({"fulfillments": [{**shipment(("a", "1")), "type": "DIGITAL"}]}, "doms does no DIGITAL"),
        (
            {"fulfillments": [{**shipment(("a", "1")), "shipment_details": None}]},
            "has no address to send to",
        ),
    ],
)
def test_what_cannot_be_understood_is_set_aside_with_its_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(QuarantineError, match=reason) as caught:
        read(till_order(shipment(("a", "1"))) | changes)

    assert not isinstance(caught.value, NothingToDoError)


def test_settings_that_are_wrong_set_the_document_aside() -> None:
    wrong = TILL.model_copy(update={"settings": {}})

    with pytest.raises(QuarantineError, match="tills: settings: locations"):
        translate(wrong, b"{}")


def published() -> list[dict[str, Any]]:
    """Every order that Square answers in its examples."""
    examples = document("square/schema-examples.json")
    shown = [x for name, x in examples.items() if name.endswith("Response")]
    found = [x["order"] for x in shown if isinstance(x.get("order"), dict)]
    return found + [order for x in shown for order in x.get("orders") or ()]


@recorded
def test_every_published_order_is_set_aside_with_its_reason_for_none_has_work_for_doms() -> None:
    assert len(published()) == 7
    for order in published():
        with pytest.raises(QuarantineError) as caught:
            read(order)
        assert str(caught.value)


@recorded
def test_every_published_order_that_is_whole_is_read_once_it_is_to_be_sent() -> None:
    whole = [x for x in published() if {"id", "line_items", "created_at"} <= set(x)]

    assert len(whole) >= 3
    for order in whole:
        changes = {"state": "OPEN", "location_id": "L1", "fulfillments": [shipment()]}
        items = [{**x, "catalog_object_id": "V-TEE"} for x in order["line_items"]]
        units = sum(int(x["quantity"]) for x in items)

        read_order = read({**order, **changes, "line_items": items})

        assert sum(x.quantity for x in read_order.lines) == units


class Tills:
    """A Square account whose orders were taken at its tills."""

    def __init__(self, *orders: dict[str, Any]) -> None:
        self.orders = list(orders)
        self.asked: list[dict[str, Any]] = []
        self.is_away = False
        self.client = open_client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if SPEC.exists():
            check_request(SPEC, request)
        if self.is_away:
            raise httpx.ReadTimeout("no answer")
        path = request.url.path.removeprefix("/v2/")
        if path == "locations":
            return httpx.Response(200, json={"locations": [{"id": "L1"}]})
        if path.startswith("catalog/object/"):
            sku = SKUS.get(path.rpartition("/")[2])
            found = {"item_variation_data": {"sku": sku} if sku else {}}
            return httpx.Response(200, json={"object": found})
        body = json.loads(request.content)
        self.asked.append(body)
        start = int(body.get("cursor", "0"))
        page: dict[str, Any] = {"orders": self.orders[start : start + 1]}
        if start + 1 < len(self.orders):
            page["cursor"] = str(start + 1)
        return httpx.Response(200, json=page)


def test_the_check_of_a_till_asks_it() -> None:
    tills = Tills()
    secrets = {**SECRETS, "SQUARE_KEY": "k"}

    well = check_connection(TILL, secrets, tills.client)
    tills.is_away = True

    assert (well.is_well, well.text) == (True, "Square takes the token")
    assert not check_connection(TILL, secrets, tills.client).is_well
