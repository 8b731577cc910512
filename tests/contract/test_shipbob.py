"""ShipBob: its OpenAPI and recorded traffic, and a channel that keeps what it was sent."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from domain.errors import OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import CarrierEvent, CarrierStatus, NodeEvent
from domain.fulfillments import PackageLine
from integrations import webhooks
from integrations.errors import BadSignatureError, QuarantineError
from integrations.http import open_client
from integrations.node_system import CancelReply, CancelReplyOutcome
from integrations.standard_webhooks import sign, signer
from integrations.stock import StockReading
from integrations.threepl.shipbob.client import ShipBob
from integrations.threepl.shipbob.orders import ShownOrder, events_of
from integrations.threepl.shipbob.tracking import STATUSES, meaning, parcel_events
from integrations.vendor import NewsOf
from tests.contract.recordings import document, needs
from tests.contract.shipbob_account import ADDRESS, CONNECTION, SECRETS, SPEC, Account, handover
from tests.contract.specs import check_request

recorded = needs("shipbob")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BOTH = (PackageLine(line_id="1", quantity=2), PackageLine(line_id="2", quantity=1))


def released(*lines: tuple[str, str, int]) -> Account:
    account = Account()
    account.warehouse().release(handover(*lines))
    return account


def told(account: Account) -> list[tuple[str, Any]]:
    """Each report as its kind and what it says of units or parcels."""
    return [
        (event.status.value, event.tracking_number)
        if isinstance(event, CarrierEvent)
        else (event.type.value, _units(event))
        for event in account.warehouse().reports("W-1-1")
    ]


def _units(event: NodeEvent) -> dict[str, int]:
    packed = {x.line_id: x.quantity for package in event.packages for x in package.lines}
    return packed or {x.line_id: x.short for x in event.lines}


def answers(*responses: httpx.Response) -> ShipBob:
    steps = iter(responses)
    transport = httpx.MockTransport(lambda _: next(steps))
    return ShipBob(CONNECTION, SECRETS, open_client(transport=transport))


def parcel(number: str, *steps: tuple[str, str, str]) -> dict[str, Any]:
    history = [{"status": x, "substatus": finer, "timestamp": at} for x, finer, at in steps]
    status, substatus, at = steps[-1]
    return {
        "tracking_id": number,
        "status": status,
        "substatus": substatus,
        "last_updated": at,
        "history": list(reversed(history)),
    }


def examples(path: str, method: str = "get") -> Any:
    spec = document("shipbob/openapi-2026-01.norm.json")
    responses = spec["paths"][f"/2026-01{path}"][method]["responses"]
    status = "200" if "200" in responses else "201"
    return responses[status]["content"]["application/json"]["example"]


@recorded
def test_every_request_is_one_that_shipbob_takes() -> None:
    # The account checks each request against ShipBob's own file before it does anything.
    account = released()
    account.stock = [stocked("TEE", (10, 5, 4)), stocked("MUG", (11, 2, 2))]
    account.ship(0, "9400")
    warehouse = account.warehouse()
    warehouse.reports("W-1-1")
    warehouse.stock()
    warehouse.check()
    account.split({"TEE": 2}, {"MUG": 1})
    warehouse.update_address("W-1-1", ADDRESS)
    warehouse.request_cancel("W-1-1", "c-1", BOTH[1:], "no")
    warehouse.request_cancel("W-1-1", "c-2", None, "no")

    assert sorted({f"{x.method} {x.url.path}" for x in account.requests}) == [
        "GET /2026-01/channel",
        "GET /2026-01/inventory-level/locations",
        "GET /2026-01/order",
        "GET /2026-01/tracking",
        "POST /2026-01/order",
        "POST /2026-01/order/1000:cancel",
        "POST /2026-01/shipment/10001:cancel",
        "PUT /2026-01/shipment/10000:updateAddress",
        "PUT /2026-01/shipment/10001:updateAddress",
    ]


@recorded
def test_a_request_that_shipbob_would_not_take_fails_the_check() -> None:
    request = httpx.Request(
        "POST",
        "https://api.shipbob.com/2026-01/order",
        json={"reference_id": "W-1"},
        headers={"Authorization": "Bearer x", "shipbob_channel_id": "1"},
    )

    with pytest.raises(Exception, match="body"):
        check_request(SPEC, request)


@recorded
@pytest.mark.parametrize(
    ("path", "method"), [("/order", "post"), ("/order", "get"), ("/order/{orderId}", "get")]
)
def test_every_example_of_an_order_is_read(path: str, method: str) -> None:
    example = examples(path, method)
    for order in example if isinstance(example, list) else [example]:
        events = events_of(ShownOrder.model_validate(order))

        # Its shipment is of the status None, and delivered all the same.
        assert [x.event_id for x in events if isinstance(x, NodeEvent)] == [
            "shipbob/0/order/acknowledged",
            "shipbob/0/0/handed_over",
        ]
        assert [x.status for x in events if isinstance(x, CarrierEvent)] == [
            CarrierStatus.DELIVERED
        ]


@recorded
def test_every_example_of_a_parcel_is_read() -> None:
    for parcel in [*examples("/shipments-tracking"), *examples("/tracking")]:
        events = parcel_events(parcel, "W-1-1", parcel["carrier_tracking_number"])

        assert [x.occurred_at for x in events] == sorted(x.occurred_at for x in events)
        assert events[-1].status is meaning(parcel["status"], parcel["substatus"])


@recorded
def test_the_example_of_stock_and_of_channels_is_read() -> None:
    connection = CONNECTION.model_copy(
        update={"settings": {"channel_id": 0, "locations": {"3PL-1": 0}}}
    )
    page = {**examples("/inventory-level/locations"), "next": None}
    channels = {"items": [{"id": 0}], "next": None}
    steps = iter([httpx.Response(200, json=page), httpx.Response(200, json=channels)])
    client = open_client(transport=httpx.MockTransport(lambda _: next(steps)))
    warehouse = ShipBob(connection, SECRETS, client)

    assert warehouse.stock() == (StockReading(node_id="3PL-1", sku="string", physical=0, net=0),)
    assert warehouse.check() == "ShipBob takes the token for channel 0"


@recorded
def test_the_published_webhook_tells_whose_news_there_are() -> None:
    body = document("shipbob/webhook-order.shipment.tracking_received.json")

    assert webhooks.translate(CONNECTION, json.dumps(body).encode()) == (NewsOf("TEST101"),)


@recorded
@pytest.mark.parametrize(
    "name", ["wro_1", "wro_2", "wro_boxes_response_completed", "wro_boxes_response_stowing"]
)
def test_what_was_recorded_of_other_kinds_is_set_aside_with_its_reason(name: str) -> None:
    raw = json.dumps(document(f"shipbob/{name}.json")).encode()

    with pytest.raises(QuarantineError, match=r"reference_id|the body is a JSON list"):
        webhooks.translate(CONNECTION, raw)


def test_a_signed_webhook_is_proved_and_known_by_its_id() -> None:
    body = '{"reference_id": "W-1-1"}'
    headers = sign(signer(SECRET), "msg_1", datetime.now(UTC), body)

    assert webhooks.verify(CONNECTION, SECRET, headers, body.encode()) == "msg_1"
    with pytest.raises(BadSignatureError):
        webhooks.verify(CONNECTION, SECRET, headers, body.encode() + b" ")


@pytest.mark.parametrize("reference", [None, "", 7, "no id of ours!", "x" * 200])
def test_a_webhook_of_nothing_of_ours_is_set_aside(reference: Any) -> None:
    with pytest.raises(QuarantineError, match="reference_id"):
        webhooks.translate(CONNECTION, json.dumps({"reference_id": reference}).encode())


def test_an_order_carries_our_reference_the_nodes_location_and_the_receiver() -> None:
    account = released()

    sent = json.loads(account.requests[0].content)
    assert (sent["reference_id"], sent["order_number"], sent["location_id"]) == ("W-1-1", "W-1", 10)
    assert sent["shipping_method"] == "Standard"
    assert sent["recipient"] == {
        "name": "Jane Doe",
        "address": {
            "address1": "179 N Harbor Dr",
            "city": "Redondo Beach",
            "state": "CA",
            "zip_code": "90277",
            "country": "US",
        },
    }
    assert [(x["reference_id"], x["quantity"]) for x in sent["products"]] == [
        ("TEE", 2),
        ("MUG", 1),
    ]
    assert account.requests[0].headers["Authorization"] == "Bearer pat-s3cret"
    assert account.requests[0].headers["shipbob_channel_id"] == "77"


def test_a_service_has_shipbobs_own_name_where_one_is_given() -> None:
    account = Account()

    account.warehouse().release(handover(service_id="EXPRESS"))

    assert account.order()["shipping_method"] == "Expedited"


def test_when_the_answer_is_lost_the_order_is_found_by_our_reference_and_there_is_one() -> None:
    account = Account()
    account.lose_once("/order")

    # The lost answer is asked for again within the call.
    receipt = account.warehouse().release(handover())
    again = account.warehouse().release(handover())

    assert (receipt.external_id, receipt.acknowledged, receipt.ships_itself) == ("1000", True, True)
    assert again == receipt
    assert list(account.orders) == ["W-1-1"]
    assert len(account.shipments()) == 1


def test_when_every_answer_is_lost_the_next_attempt_finds_the_one_order() -> None:
    account = Account()
    account.lose = lambda _: True
    with pytest.raises(OutsideUnavailableError):
        account.warehouse().release(handover())
    account.lose = lambda _: False

    assert account.warehouse().release(handover()).external_id == "1000"
    assert len(account.orders) == 1


def test_an_order_of_another_reference_that_begins_the_same_is_not_ours() -> None:
    account = Account()
    account.warehouse().release(handover(fulfillment_id="W-1-10"))

    with pytest.raises(UnknownReferenceError, match="does not know W-1-1"):
        account.warehouse().reports("W-1-1")


def test_a_refusal_that_is_no_repeat_keeps_shipbobs_words() -> None:
    account = Account()

    with pytest.raises(RefusedError, match="Products: BAD cannot be shipped"):
        account.warehouse().release(handover(("1", "BAD", 1)))

    assert account.orders == {}


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (handover(method="pickup"), "only ships"),
        (handover(node_id="DC-9"), "no location of ShipBob's is DC-9"),
        (handover().model_copy(update={"ship_to": None}), "needs an address"),
        (
            handover().model_copy(update={"ship_to": ADDRESS.model_copy(update={"city": None})}),
            "needs a street and a city",
        ),
        (
            handover().model_copy(update={"ship_to": ADDRESS.model_copy(update={"name": None})}),
            "the receiver's name",
        ),
    ],
)
def test_what_shipbob_cannot_do_is_refused_before_anything_is_sent(work: Any, reason: str) -> None:
    account = Account()

    with pytest.raises(RefusedError, match=reason):
        account.warehouse().release(work)

    assert account.requests == []


def test_an_order_that_a_person_must_look_at_first_is_not_acknowledged() -> None:
    account = released()
    account.order()["status"] = "ImportReview"

    assert not account.warehouse().release(handover()).acknowledged
    assert told(account) == []


def test_an_order_in_one_parcel_is_accepted_packed_and_handed_over() -> None:
    account = released()
    before = told(account)
    account.shipments()[0]["status"] = "LabeledCreated"
    labelled = told(account)
    account.ship(0, "9400")

    assert before == [("acknowledged", {})]
    assert labelled == [("acknowledged", {}), ("packed", {"1": 2, "2": 1})]
    assert told(account) == [("acknowledged", {}), ("handed_over", {"1": 2, "2": 1})]


def test_a_package_has_its_weight_size_carrier_and_number() -> None:
    account = released()
    account.ship(0, "9400")

    (package,) = [x for e in account.warehouse().events_of("W-1-1") for x in e.packages]

    assert (package.package_id, package.shipment_id) == ("SB10000", "10000")
    assert (package.weight_grams, package.length_mm, package.width_mm) == (567, 254, 204)
    assert package.height_mm == 102
    assert (package.carrier, package.service, package.tracking_number) == (
        "USPS",
        "Priority",
        "9400",
    )


def test_an_order_in_several_parcels_is_handed_over_parcel_by_parcel() -> None:
    account = released(("1", "TEE", 3), ("2", "MUG", 1), ("3", "TEE", 2))
    account.split({"TEE": 4}, {"TEE": 1, "MUG": 1})
    account.ship(0, "A")
    first = told(account)
    account.ship(1, "B")

    assert first[1:] == [("handed_over", {"1": 3, "3": 1})]
    assert told(account)[1:] == [
        ("handed_over", {"1": 3, "3": 1}),
        ("handed_over", {"3": 1, "2": 1}),
    ]


def test_a_parcel_with_nothing_of_ours_is_not_taken_for_the_rest_of_the_order() -> None:
    account = released()
    account.split({"TEE": 2, "MUG": 1}, {"FLYER": 1})
    account.ship(1, "B")

    assert told(account) == [("acknowledged", {})]


def test_what_is_read_again_is_told_by_the_same_ids() -> None:
    account = released()
    account.ship(0, "9400")
    first = account.warehouse().reports("W-1-1")
    account.shipments()[0]["last_update_at"] = "2026-05-09T00:00:00Z"

    assert [x.event_id for x in account.warehouse().reports("W-1-1")] == [x.event_id for x in first]


def test_a_parcels_way_is_told_and_its_end_once() -> None:
    account = released()
    account.ship(0, "9400")
    account.parcels = [parcel("9400", ("InTransit", "", "2026-05-02T10:00:00Z"))]
    moving = told(account)
    account.parcels = [
        parcel(
            "9400",
            ("InTransit", "", "2026-05-02T10:00:00Z"),
            ("InTransit", "OutForDelivery", "2026-05-03T08:00:00Z"),
            ("Delivered", "", "2026-05-03T12:00:00Z"),
        )
    ]
    way = account.warehouse().reports("W-1-1")
    account.shipments()[0]["delivery_date"] = "2026-05-03T12:05:00Z"
    ended = account.warehouse().reports("W-1-1")

    assert moving[-1] == ("in_transit", "9400")
    assert [x.status.value for x in way if isinstance(x, CarrierEvent)] == [
        "in_transit",
        "out_for_delivery",
        "delivered",
    ]
    assert ended[-1].event_id == way[-1].event_id == "shipbob/9400/delivered/1"
    assert ended[-1].fulfillment_id == "W-1-1"


def test_what_shipbob_cannot_tell_of_a_parcel_does_not_hide_that_it_left() -> None:
    account = released()
    account.ship(0, "9400")
    account.lose = lambda request: request.url.path.endswith("/tracking")

    assert told(account) == [("acknowledged", {}), ("handed_over", {"1": 2, "2": 1})]


@pytest.mark.parametrize(("status", "ours"), [*STATUSES.items(), ("Teleported", None)])
def test_each_of_its_statuses_has_one_word_of_ours_or_tells_nothing(
    status: str, ours: CarrierStatus | None
) -> None:
    events = parcel_events(parcel("9", (status, "", "2026-05-02T10:00:00Z")), "W-1-1", "9")

    assert [x.status for x in events] == ([] if ours is None else [ours])


def test_a_second_misfortune_of_a_parcel_is_news_and_a_repeated_scan_is_none() -> None:
    steps = [
        ("InTransit", "", "2026-05-02T10:00:00Z"),
        ("InTransit", "", "2026-05-02T11:00:00"),
        ("Exception", "", "2026-05-03T10:00:00Z"),
        ("InTransit", "", "2026-05-04T10:00:00Z"),
        ("Exception", "", "2026-05-05T10:00:00Z"),
    ]

    assert [x.event_id for x in parcel_events(parcel("9", *steps), "W-1-1", "9")] == [
        "shipbob/9/in_transit/1",
        "shipbob/9/exception/1",
        "shipbob/9/in_transit/2",
        "shipbob/9/exception/2",
    ]


def test_a_parcel_is_tracked_by_its_number() -> None:
    account = Account()
    account.parcels = [parcel("9400", ("Delivered", "", "2026-05-02T10:00:00Z"))]

    (event,) = account.warehouse().track("9400")

    assert event.status is CarrierStatus.DELIVERED
    with pytest.raises(UnknownReferenceError, match="NOWHERE"):
        account.warehouse().track("NOWHERE")


def test_an_order_is_cancelled_whole_and_its_repeat_is_told_the_same() -> None:
    account = released()
    account.lose_once(":cancel")

    # The lost answer is asked for again within the call.
    first = account.warehouse().request_cancel("W-1-1", "c-1", None, "no")
    again = account.warehouse().request_cancel("W-1-1", "c-1", None, "no")

    assert first == again == CancelReply(outcome=CancelReplyOutcome.CANCELLED)
    assert [x["status"] for x in account.shipments()] == ["Cancelled"]


def test_an_order_that_was_picked_is_too_late_to_cancel() -> None:
    account = released()
    account.picked = {10000}

    reply = account.warehouse().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.TOO_LATE
    assert [x["status"] for x in account.shipments()] == ["Processing"]


def test_an_order_nobody_knows_promises_nothing() -> None:
    reply = Account().warehouse().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.UNKNOWN


def test_of_an_order_cancelled_in_part_the_units_are_told_by_the_next_reading() -> None:
    account = released(("1", "TEE", 3), ("2", "MUG", 1))
    account.split({"TEE": 2}, {"TEE": 1, "MUG": 1})
    account.picked = {10000}

    reply = account.warehouse().request_cancel("W-1-1", "c-1", None, "no")

    assert reply.outcome is CancelReplyOutcome.PENDING
    assert told(account)[1:] == [("cancelled", {"1": 1, "2": 1})]


def test_lines_that_are_all_of_a_shipment_can_be_cancelled() -> None:
    account = released()
    account.split({"TEE": 2}, {"MUG": 1})

    reply = account.warehouse().request_cancel("W-1-1", "c-1", BOTH[1:], "no")

    assert reply.outcome is CancelReplyOutcome.PENDING
    assert [x["status"] for x in account.shipments()] == ["Processing", "Cancelled"]
    assert told(account)[1:] == [("cancelled", {"2": 1})]


def test_lines_that_share_a_shipment_with_others_cannot_be_cancelled() -> None:
    account = released()

    reply = account.warehouse().request_cancel("W-1-1", "c-1", BOTH[1:], "no")

    assert reply.outcome is CancelReplyOutcome.TOO_LATE
    assert [x["status"] for x in account.shipments()] == ["Processing"]


def test_units_that_another_shipment_took_over_are_not_cancelled() -> None:
    account = released()
    account.split({"TEE": 2, "MUG": 1}, {"TEE": 2, "MUG": 1})
    account.shipments()[0]["status"] = "Cancelled"
    account.ship(1, "B")

    assert told(account)[1:] == [("handed_over", {"1": 2, "2": 1})]


def test_a_new_address_goes_to_every_shipment_or_is_not_taken() -> None:
    account = released()
    account.split({"TEE": 2}, {"MUG": 1})

    taken = account.warehouse().update_address("W-1-1", ADDRESS)
    account.picked = {10001}
    late = account.warehouse().update_address("W-1-1", ADDRESS)
    account.ship(0, "A")
    account.ship(1, "B")
    gone = account.warehouse().update_address("W-1-1", ADDRESS)

    assert (taken, late, gone) == (True, False, False)
    assert account.shipments()[1]["recipient"]["street_address1"] == "179 N Harbor Dr"


def test_what_shipbob_has_no_word_for_is_refused() -> None:
    warehouse = released().warehouse()

    warehouse.remind("W-1-1")
    with pytest.raises(RefusedError):
        warehouse.pickup_expired("W-1-1")
    with pytest.raises(RefusedError):
        warehouse.attach_labels("W-1-1", ())


def stocked(sku: str | None, *places: tuple[int, int, int]) -> dict[str, Any]:
    return {
        "inventory_id": 1,
        "sku": sku,
        "locations": [
            {"location_id": place, "on_hand_quantity": there, "fulfillable_quantity": left}
            for place, there, left in places
        ],
    }


def test_stock_is_read_page_by_page_in_both_meanings_for_our_locations() -> None:
    account = Account()
    account.stock = [
        stocked("TEE", (10, 5, 4), (11, 2, 2), (99, 7, 7)),
        stocked(None, (10, 1, 1)),
        stocked("MUG", (10, 3, -1)),
    ]

    readings = account.warehouse().stock()

    assert [(x.node_id, x.sku, x.physical, x.net) for x in readings] == [
        ("3PL-1", "TEE", 5, 4),
        ("3PL-2", "TEE", 2, 2),
        ("3PL-1", "MUG", 3, -1),
    ]
    assert len(account.requests) == 3


def pages(*links: str) -> Iterator[httpx.Response]:
    for link in links:
        yield httpx.Response(200, json={"items": [], "next": link})


def test_the_token_goes_to_no_other_host_that_a_page_names() -> None:
    with pytest.raises(OutsideUnavailableError, match=r"elsewhere: evil\.example"):
        answers(*pages("https://evil.example/2026-01/inventory-level/locations?c=2")).stock()


def test_a_next_page_may_be_named_in_full() -> None:
    account = Account()
    full = "https://api.shipbob.com/2026-01/inventory-level/locations?PageSize=250&Page=1"
    first = httpx.Response(200, json={"items": [stocked("TEE", (10, 5, 4))], "next": full})
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return first if len(seen) == 1 else httpx.Response(200, json={"items": [], "next": None})

    warehouse = ShipBob(CONNECTION, SECRETS, open_client(transport=httpx.MockTransport(answer)))

    assert len(warehouse.stock()) == 1
    assert seen[1] == full
    assert account.requests == []


def test_stock_of_nowhere_is_refused() -> None:
    connection = CONNECTION.model_copy(update={"settings": {"channel_id": 77}})

    with pytest.raises(RefusedError, match="name each node's location"):
        Account().warehouse(connection).stock()


def test_the_check_names_a_channel_that_is_not_the_tokens() -> None:
    account = Account()
    account.channels = [{"id": 5}]

    with pytest.raises(RefusedError, match=r"its channels are \[5\]"):
        account.warehouse().check()


@pytest.mark.parametrize("shape", [{"items": 3}, [7], [{"reference_id": "W-1-1"}]])
def test_an_answer_of_another_shape_counts_as_a_failing_system(shape: Any) -> None:
    warehouse = answers(httpx.Response(200, json=shape))

    with pytest.raises((OutsideUnavailableError, UnknownReferenceError)):
        warehouse.reports("W-1-1")


def test_a_rate_limit_is_told_in_shipbobs_own_header() -> None:
    limited = httpx.Response(429, headers={"x-retry-after": "30"}, json={"message": "slow down"})

    with pytest.raises(OutsideUnavailableError) as caught:
        answers(limited).reports("W-1-1")

    assert caught.value.retry_after == 30


def test_settings_that_are_wrong_are_named() -> None:
    wrong = CONNECTION.model_copy(update={"settings": {"chanel_id": 1}})

    with pytest.raises(ValueError, match="shipbob-1: settings: channel_id"):
        Account().warehouse(wrong)
    with pytest.raises(ValueError, match="set the variable SHIPBOB_TOKEN"):
        ShipBob(CONNECTION, {}, open_client())
