"""Square: its OpenAPI and examples, and an account that keeps what it was sent."""

import hmac
import json
from base64 import b64encode
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from typing import Any

import httpx
import pytest

from domain.errors import OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import NodeEventType
from domain.fulfillments import Package, PackageLine
from integrations import webhooks
from integrations.errors import BadSignatureError, QuarantineError
from integrations.http import open_client
from integrations.node_system import CancelReply, CancelReplyOutcome
from integrations.pos.square.client import Square
from integrations.pos.square.orders import ShownOrder, events_of
from integrations.stock import StockReading
from integrations.vendor import NewsOfOrder, NewsOfStock
from tests.contract.recordings import document, needs
from tests.contract.shipbob_account import ADDRESS
from tests.contract.specs import check_request
from tests.contract.square_account import CONNECTION, SECRETS, SPEC, URL, Account, handover

recorded = needs("square")
KEY = "asdf1234"
ALL = (
    PackageLine(line_id="1", quantity=2),
    PackageLine(line_id="2", quantity=1),
    PackageLine(line_id="3", quantity=1),
)


def released(method: str = "pickup") -> Account:
    account = Account()
    account.till().release(handover(method))
    return account


def told(account: Account) -> list[str]:
    return [event.type.value for event in account.till().reports("W-1-1")]


def signed(raw: bytes, url: str = URL) -> dict[str, str]:
    digest = hmac.new(KEY.encode(), url.encode() + raw, sha256).digest()
    return {"X-Square-HmacSha256-Signature": b64encode(digest).decode()}


def examples() -> dict[str, Any]:
    found: dict[str, Any] = document("square/schema-examples.json")
    return found


def orders_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every order that Square answered, at any depth."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and {"id", "line_items", "location_id"} <= set(value):
        yield value
    for one in inner:
        yield from orders_in(one)


EVENTS = ("InventoryCountUpdatedEvent", "OrderFulfillmentUpdatedEvent")


@recorded
def test_every_request_is_one_that_square_takes() -> None:
    # The account checks each request against Square's own file before it does anything.
    account = Account()
    account.stock = {("L1", "V-TEE"): Decimal(5)}
    till = account.till()
    till.check()
    till.release(handover("ship"))
    till.update_address("W-1-1", ADDRESS)
    till.attach_labels("W-1-1", (Package(package_id="P1", tracking_number="94", carrier="USPS"),))
    account.till().reports("W-1-1")
    till.request_cancel("W-1-1", "c-1", None, "no")

    assert sorted(set(account.paths())) == [
        "GET /catalog/object/V-TEE",
        "GET /locations",
        "GET /orders/O1",
        "POST /inventory/changes/batch-create",
        "POST /inventory/counts/batch-retrieve",
        "POST /orders",
        "POST /orders/O1/pay",
        "POST /orders/search",
        "PUT /orders/O1",
    ]


@recorded
def test_a_request_that_square_would_not_take_fails_the_check() -> None:
    request = httpx.Request(
        "POST",
        "https://connect.squareup.com/v2/orders",
        json={"order": {"line_items": [{}]}},
        headers={"Authorization": "Bearer x"},
    )

    with pytest.raises(Exception, match="body"):
        check_request(SPEC, request)


@recorded
def test_every_published_event_is_taken_for_what_it_tells_of() -> None:
    events = {name: x for name, x in examples().items() if name.endswith("Event")}
    told_of = {
        name: webhooks.translate(CONNECTION, json.dumps(event).encode())
        for name, event in events.items()
    }

    assert len(events) > 30
    assert {name for name, news in told_of.items() if news} == set(EVENTS)
    assert told_of["InventoryCountUpdatedEvent"] == (NewsOfStock(),)
    assert told_of["OrderFulfillmentUpdatedEvent"] == (
        NewsOfOrder("eA3vssLHKJrv9H0IdJCM3gNqfdcZY"),
    )


@recorded
def test_every_published_event_is_proved_over_address_and_body() -> None:
    for name in EVENTS:
        raw = json.dumps(examples()[name]).encode()

        assert webhooks.verify(CONNECTION, KEY, signed(raw), raw) == examples()[name]["event_id"]
        with pytest.raises(BadSignatureError):
            webhooks.verify(CONNECTION, KEY, signed(raw, URL + "/"), raw)
        with pytest.raises(BadSignatureError):
            webhooks.verify(CONNECTION, KEY, signed(raw), raw + b" ")


@recorded
@pytest.mark.parametrize("name", ["BatchRetrieveInventoryCountsResponse"])
def test_every_published_count_is_read(name: str) -> None:
    counts = examples()[name]["counts"]
    place, variation = counts[0]["location_id"], counts[0]["catalog_object_id"]
    account = Account()
    account.skus = {variation: "TEE"}
    account.stock = {(place, variation): Decimal(counts[0]["quantity"])}
    account.page_size = 1_000
    connection = CONNECTION.model_copy(update={"settings": {"locations": {"store-1": place}}})

    assert account.till(connection).stock() == (StockReading(node_id="store-1", sku="TEE", net=79),)


@recorded
def test_published_orders_are_read_or_are_no_work_of_ours() -> None:
    shown = [x for x in orders_in(examples()) if x.get("fulfillments")]

    assert shown
    for order in shown:
        assert events_of(ShownOrder.model_validate(order)) == ()
    for name in ("RetrieveOrderResponse", "CreateOrderResponse"):
        steps = iter([httpx.Response(200, json=examples()[name])])
        client = open_client(transport=httpx.MockTransport(lambda _, steps=steps: next(steps)))
        assert Square(CONNECTION, SECRETS, client).fulfillment_of("X") is None


def test_without_the_address_nothing_is_proved_and_the_reason_is_told() -> None:
    connection = CONNECTION.model_copy(update={"settings": {"locations": {"store-1": "L1"}}})

    with pytest.raises(BadSignatureError, match=r"set settings\.webhook_url"):
        webhooks.verify(connection, KEY, signed(b"{}"), b"{}")


def test_a_body_without_an_id_counts_once_by_its_hash() -> None:
    for raw in (b"{}", b"no json"):
        assert webhooks.verify(CONNECTION, KEY, signed(raw), raw) == sha256(raw).hexdigest()


@pytest.mark.parametrize(
    ("body", "reason"),
    [({}, "type: says not"), ({"type": "order.fulfillment.updated"}, r"data\.id: says not")],
)
def test_what_does_not_say_what_it_is_is_set_aside(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(QuarantineError, match=reason):
        webhooks.translate(CONNECTION, json.dumps(body).encode())


def test_an_order_to_pick_up_is_shown_to_the_store_and_accepted_by_its_people() -> None:
    account = released()

    assert account.order["location_id"] == "L1"
    assert account.order["metadata"] == {"fulfillment_id": "W-1-1"}
    assert [(x["note"], x["quantity"]) for x in account.order["line_items"]] == [
        ("TEE", "2"),
        ("MUG", "1"),
        ("TEE", "1"),
    ]
    assert account.work["type"] == "PICKUP"
    assert account.work["pickup_details"]["recipient"] == {"display_name": "Jane Doe"}
    assert account.paid == ["O1"]
    assert told(account) == []


def test_an_order_to_ship_has_the_receivers_address() -> None:
    account = released("ship")

    assert account.work["shipment_details"]["recipient"] == {
        "display_name": "Jane Doe",
        "address": {
            "address_line_1": "179 N Harbor Dr",
            "locality": "Redondo Beach",
            "administrative_district_level_1": "CA",
            "postal_code": "90277",
            "country": "US",
        },
    }


@pytest.mark.parametrize("ending", ["/orders", "/pay"])
def test_when_an_answer_is_lost_there_is_one_order_and_it_is_paid_once(ending: str) -> None:
    account = Account()
    account.lose_once(ending)

    # The lost answer is asked for again within the call.
    receipt = account.till().release(handover())
    again = account.till().release(handover())

    assert (receipt.external_id, receipt.acknowledged, receipt.ships_itself) == ("O1", False, False)
    assert again == receipt
    assert list(account.orders) == ["O1"]
    assert account.paid == ["O1"]


def test_when_every_answer_is_lost_the_next_attempt_finds_the_one_order() -> None:
    account = Account()
    account.lose = lambda _: True
    with pytest.raises(OutsideUnavailableError):
        account.till().release(handover())
    account.lose = lambda _: False

    assert account.till().release(handover()).external_id == "O1"
    assert len(account.orders) == 1


def test_an_order_whose_catalogue_changed_between_two_attempts_is_found_by_its_name() -> None:
    account = Account()
    account.till().release(handover(fulfillment_id="W-0-1"))
    account.lose_once("/orders")
    account.till().release(handover())
    account.stock = {("L1", "V-TEE"): Decimal(9)}

    receipt = account.till().release(handover())

    assert receipt.external_id == "O2"
    assert len(account.orders) == 2


def test_products_of_the_catalogue_are_named_so_that_square_keeps_their_stock() -> None:
    account = Account()
    account.stock = {("L1", "V-TEE"): Decimal(9), ("L1", "V-CUP"): Decimal(1)}

    account.till().release(handover())

    lines = account.order["line_items"]
    assert [x.get("catalog_object_id") for x in lines] == ["V-TEE", None, "V-TEE"]
    assert [x.get("name") for x in lines] == [None, "MUG", None]
    assert account.stock["L1", "V-TEE"] == 6


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (handover(node_id="DC-9"), "no location of Square's is DC-9"),
        (handover("ship").model_copy(update={"ship_to": None}), "needs an address"),
        (
            handover("ship").model_copy(
                update={"ship_to": ADDRESS.model_copy(update={"line1": None})}
            ),
            "a street and a city",
        ),
    ],
)
def test_what_the_store_cannot_do_is_refused_and_no_order_is_made(work: Any, reason: str) -> None:
    account = Account()

    with pytest.raises(RefusedError, match=reason):
        account.till().release(work)

    assert account.orders == {}


def test_a_refusal_keeps_squares_words() -> None:
    errors = {"errors": [{"code": "BAD_REQUEST", "detail": "Bad quantity."}]}

    def refuse(request: httpx.Request) -> httpx.Response:
        is_order = request.url.path.endswith("/orders")
        return httpx.Response(400, json=errors) if is_order else httpx.Response(200, json={})

    client = open_client(transport=httpx.MockTransport(refuse))

    with pytest.raises(RefusedError, match=r"takes no such order: Bad quantity\."):
        Square(CONNECTION, SECRETS, client).release(handover())


@pytest.mark.parametrize(
    ("method", "state", "kind"),
    [
        ("pickup", "RESERVED", NodeEventType.ACKNOWLEDGED),
        ("pickup", "PREPARED", NodeEventType.READY_FOR_PICKUP),
        ("pickup", "COMPLETED", NodeEventType.COLLECTED),
        ("pickup", "CANCELED", NodeEventType.CANCELLED),
        ("pickup", "FAILED", NodeEventType.REJECTED),
        ("ship", "RESERVED", NodeEventType.ACKNOWLEDGED),
        ("ship", "PREPARED", NodeEventType.PACKED),
        ("ship", "COMPLETED", NodeEventType.HANDED_OVER),
        ("ship", "CANCELED", NodeEventType.CANCELLED),
        ("ship", "FAILED", NodeEventType.REJECTED),
    ],
)
def test_what_the_stores_people_do_is_told_once(
    method: str, state: str, kind: NodeEventType
) -> None:
    account = released(method)
    account.become(state)

    (event,) = account.till().reports("W-1-1")

    assert (event.type, event.fulfillment_id) == (kind, "W-1-1")
    assert event.event_id == f"square/O1/{kind}"
    assert account.till().events_of("W-1-1") == (event,)


def test_when_and_why_are_told_in_the_stores_own_words() -> None:
    account = released()
    account.become("PREPARED", ready_at="2026-05-02T10:00:00-07:00")
    (ready,) = account.till().reports("W-1-1")
    account.become("FAILED", rejected_at="2026-05-02T18:00:00Z", cancel_reason="broken")
    (failed,) = account.till().reports("W-1-1")

    assert ready.occurred_at.isoformat() == "2026-05-02T17:00:00+00:00"
    assert (ready.reason, failed.reason) == ("", "broken")


def test_a_label_stands_at_the_order_and_the_parcel_leaves_with_it() -> None:
    account = released("ship")
    packages = (
        Package(package_id="P1", carrier="USPS", tracking_number="94"),
        Package(package_id="P2", carrier="USPS", tracking_number="95"),
    )
    account.till().attach_labels("W-1-1", packages)
    account.till().attach_labels("W-1-1", packages)
    account.till().attach_labels("W-1-1", ())
    account.become("COMPLETED")
    (event,) = account.till().reports("W-1-1")

    assert account.work["shipment_details"]["shipping_note"] == "also 95"
    assert [(x.package_id, x.tracking_number) for x in event.packages] == [("P1", "94")]
    assert account.paths().count("PUT /orders/O1") == 1


def test_an_order_is_cancelled_and_its_units_lie_on_the_shelf_again_once() -> None:
    account = Account()
    account.stock = {("L1", "V-TEE"): Decimal(9)}
    account.till().release(handover())
    account.lose_once("/O1", "PUT")

    # The lost answer is asked for again within the call.
    first = account.till().request_cancel("W-1-1", "c-1", None, "changed my mind")
    again = account.till().request_cancel("W-1-1", "c-1", None, "changed my mind")

    assert first == again == CancelReply(outcome=CancelReplyOutcome.CANCELLED)
    assert account.work["state"] == "CANCELED"
    assert account.stock["L1", "V-TEE"] == 9


def test_what_the_stores_people_cancelled_they_put_back_themselves() -> None:
    account = Account()
    account.stock = {("L1", "V-TEE"): Decimal(9)}
    account.till().release(handover())
    account.become("CANCELED", cancel_reason="broken")

    reply = account.till().request_cancel("W-1-1", "c-1", None, "changed my mind")

    assert reply.outcome is CancelReplyOutcome.CANCELLED
    assert account.stock["L1", "V-TEE"] == 6


def test_an_order_that_was_handed_out_is_too_late_to_cancel() -> None:
    account = released()
    account.become("COMPLETED")

    reply = account.till().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.TOO_LATE
    assert account.work["state"] == "COMPLETED"


def test_some_lines_cannot_be_cancelled_and_all_of_them_can() -> None:
    account = released()

    some = account.till().request_cancel("W-1-1", "c-1", ALL[:1], "no")
    every = account.till().request_cancel("W-1-1", "c-2", ALL, "no")

    assert some.outcome is CancelReplyOutcome.TOO_LATE
    assert every == CancelReply(outcome=CancelReplyOutcome.CANCELLED, lines=ALL)


def test_an_order_that_changes_while_it_is_cancelled_is_read_again() -> None:
    account = released()

    def another_is_faster(request: httpx.Request) -> None:
        if request.method == "PUT":
            account.before = lambda _: None
            account.become("RESERVED")

    account.before = another_is_faster

    reply = account.till().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.CANCELLED
    assert account.paths().count("PUT /orders/O1") == 2


def test_an_order_handed_out_while_it_is_cancelled_stays_handed_out() -> None:
    account = released()

    def collected(request: httpx.Request) -> None:
        if request.method == "PUT":
            account.before = lambda _: None
            account.become("COMPLETED")

    account.before = collected

    reply = account.till().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.TOO_LATE
    assert told(account) == ["collected"]


def test_an_order_nobody_knows_promises_nothing() -> None:
    account = Account()

    reply = account.till().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.UNKNOWN
    with pytest.raises(UnknownReferenceError, match="W-1-1"):
        account.till().reports("W-1-1")
    with pytest.raises(UnknownReferenceError, match="W-1-1"):
        account.till().remind("W-1-1")


def test_a_new_address_is_taken_until_the_parcel_is_packed() -> None:
    account = released("ship")
    address = ADDRESS.model_copy(update={"line1": "1 New Street"})

    taken = account.till().update_address("W-1-1", address)
    account.become("PREPARED")
    late = account.till().update_address("W-1-1", ADDRESS)

    assert (taken, late) == (True, False)
    place = account.work["shipment_details"]["recipient"]["address"]
    assert place["address_line_1"] == "1 New Street"


def test_what_nobody_collected_is_taken_off_the_stores_list() -> None:
    account = released()
    account.become("PREPARED")

    account.till().pickup_expired("W-1-1")
    account.till().pickup_expired("W-1-1")

    assert account.work["state"] == "CANCELED"


def test_stock_is_read_page_by_page_in_whole_units_of_products_with_a_sku() -> None:
    account = Account()
    account.stock = {
        ("L1", "V-TEE"): Decimal("5"),
        ("L2", "V-TEE"): Decimal("2.75"),
        ("L1", "V-CUP"): Decimal("3"),
        ("L1", "V-GONE"): Decimal("3"),
    }
    till = account.till()

    assert [(x.node_id, x.sku, x.physical, x.net) for x in till.stock()] == [
        ("store-1", "TEE", None, 5),
        ("store-2", "TEE", None, 2),
    ]
    till.stock()
    # A variation's SKU is asked for once.
    assert account.paths().count("GET /catalog/object/V-TEE") == 1
    assert account.paths().count("GET /catalog/object/V-CUP") == 1


def test_whose_order_it_is_is_told_by_its_name_and_strangers_are_nobodys() -> None:
    account = released()
    account.orders["O9"] = {"id": "O9", "location_id": "L1"}

    assert account.till().fulfillment_of("O1") == "W-1-1"
    assert account.till().fulfillment_of("O9") is None
    assert account.till().fulfillment_of("O404") is None


def test_a_location_that_is_not_the_accounts_is_named() -> None:
    connection = CONNECTION.model_copy(
        update={"settings": {"locations": {"store-1": "L1", "store-9": "L9"}}}
    )

    assert Account().till().check() == "Square takes the token"
    with pytest.raises(RefusedError, match="has no location L9"):
        Account().till(connection).check()


def test_settings_that_are_wrong_are_named() -> None:
    wrong = CONNECTION.model_copy(update={"settings": {"locations": {}}})

    with pytest.raises(ValueError, match="square-1: settings: locations"):
        Account().till(wrong)
    with pytest.raises(ValueError, match="set the variable SQUARE_TOKEN"):
        Square(CONNECTION, {}, open_client())
