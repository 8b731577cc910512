"""UPS: its own OpenAPI checks each request, and an account that keeps what it sold."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from openapi_core.exceptions import OpenAPIError

from domain.errors import OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import CarrierStatus
from domain.orders import Address
from integrations.carrier.port import LabelImage, VoidOutcome
from integrations.carrier.ups.client import Ups
from integrations.carrier.ups.documents import recovery_request, reference_of
from integrations.carrier.ups.oauth import Token
from integrations.carrier.ups.tracking import TYPES, events_of
from integrations.errors import BadSignatureError
from integrations.http import open_client
from integrations.webhooks import verify
from tests.contract.easypost_account import package
from tests.contract.recordings import VENDORS, document, needs
from tests.contract.specs import check_request
from tests.contract.ups_account import CONNECTION, LABEL, SECRETS, Account, refusal

specified = needs("ups")
KEY = "W-1-1/p1/label"


def bought(account: Account) -> Any:
    return account.carrier().buy(package(), "GROUND", KEY)


@specified
def test_every_request_is_as_upss_openapi_wants_it() -> None:
    account = Account(checks=True)
    carrier = account.carrier()
    far = Address(
        name="N" * 60,
        line1="The long name of a very long street in a far place, number 12345",
        line2="c/o somebody with a long name, on the fourth floor at the back",
        city="C" * 50,
        region="US-CA",
        postal_code="90277-1234",
        country="US",
    )
    parcel = package(length_mm=100, width_mm=300, height_mm=200, ship_to=far, weight_grams=0)

    carrier.check()
    carrier.rates(parcel)
    label = carrier.buy(parcel, "GROUND", "a key that is longer than UPS takes references to be")
    carrier.find_label(parcel, KEY)
    carrier.track(label.tracking_number)
    carrier.void(label.shipment_id, "v")

    assert len(account.requests) == 6


@specified
def test_a_request_that_ups_would_not_take_fails_the_check() -> None:
    request = httpx.Request(
        "POST",
        "https://onlinetools.ups.com/api/shipments/v2409/ship",
        json={"ShipmentRequest": {}},
        headers={"Authorization": "Bearer x"},
    )

    with pytest.raises(OpenAPIError):
        check_request(VENDORS / "ups" / "Shipping.yaml", request)


@specified
def test_a_label_is_recovered_as_in_upss_own_example() -> None:
    # UPS's file wants fields of Roadie parcels in every recovery and so refuses its own example:
    # what it finds wrong with ours must be wrong with the example too.
    (example,) = [
        x["value"]
        for x in document("ups/Shipping.examples.json")
        if x["name"] == "Label Recovery Request (Standard Example)"
    ]
    ours = recovery_request("1Z12345E8791315509", "ZPL")

    assert list(_complaints(ours)) != []
    assert set(_complaints(ours)) <= set(_complaints(example))


def _complaints(body: dict[str, Any]) -> Iterator[str]:
    request = httpx.Request(
        "POST",
        "https://onlinetools.ups.com/api/labels/v2409/recovery",
        json=body,
        headers={"Authorization": "Bearer x"},
    )
    try:
        check_request(VENDORS / "ups" / "Shipping.yaml", request)
    except OpenAPIError as wrong:
        cause: Any = wrong.__cause__
        for error in cause.schema_errors:
            yield f"{list(error.path)}: {error.message}"


def test_rates_are_the_accounts_own_by_the_networks_names() -> None:
    rates = Account().carrier().rates(package())

    assert [(x.service, x.cost, x.delivery_days) for x in rates] == [
        ("GROUND", Decimal("8.15"), 3),
        ("NEXT-DAY", Decimal("48.30"), None),
    ]


def test_a_label_comes_with_its_picture_and_the_accounts_price() -> None:
    label = bought(Account())

    assert label.tracking_number == label.shipment_id == "1Z12345E0000000000"
    assert (label.cost, label.currency, label.service) == (Decimal("8.15"), "USD", "GROUND")
    assert label.image == LabelImage(media_type="image/gif", content=LABEL)


def test_when_the_answer_is_lost_the_label_is_found_by_our_reference_and_bought_once() -> None:
    account = Account()
    account.lose_once("/ship")

    with pytest.raises(OutsideUnavailableError):
        bought(account)
    label = account.carrier().find_label(package(), KEY)

    assert label is not None
    assert label.tracking_number == "1Z12345E0000000000"
    assert label.service == "GROUND"
    assert label.image == LabelImage(media_type="image/gif", content=LABEL)
    assert len(account.packages) == 1
    assert account.paths().count("POST /api/shipments/v2409/ship") == 1


def test_what_nobody_bought_is_not_found() -> None:
    account = Account()

    assert account.carrier().find_label(package(), KEY) is None
    assert account.packages == {}


def test_a_label_that_was_voided_is_not_found_again() -> None:
    account = Account()
    label = bought(account)
    account.carrier().void(label.shipment_id, "v")

    assert account.carrier().find_label(package(), KEY) is None


def test_a_void_is_done_once_and_its_repeat_is_told_the_same() -> None:
    account = Account()
    label = bought(account)
    account.lose_once(label.shipment_id)

    # The lost answer is asked for again within the call.
    assert account.carrier().void(label.shipment_id, "v") is VoidOutcome.VOIDED
    assert account.carrier().void(label.shipment_id, "v") is VoidOutcome.VOIDED


def test_a_void_after_the_pickup_comes_too_late() -> None:
    account = Account()
    label = bought(account)
    account.picked_up.add(label.shipment_id)

    assert account.carrier().void(label.shipment_id, "v") is VoidOutcome.TOO_LATE


def test_one_token_serves_many_calls() -> None:
    account = Account()
    carrier = account.carrier()

    for _ in range(3):
        carrier.rates(package())

    assert account.tokens == 1


def test_a_token_that_ups_no_longer_takes_is_replaced_once_within_the_call() -> None:
    account = Account()
    carrier = account.carrier()
    carrier.rates(package())
    account.valid = set()

    assert carrier.rates(package())
    assert account.tokens == 2


def test_credentials_that_ups_does_not_take_are_refused_in_its_words() -> None:
    def deny(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/security"):
            return httpx.Response(200, json={"access_token": "t", "expires_in": "14399"})
        return refusal(401, "250003", "Invalid Access License number")

    client = open_client(transport=httpx.MockTransport(deny))

    with pytest.raises(RefusedError, match="Invalid Access License number"):
        Ups(CONNECTION, SECRETS, client).rates(package())


@pytest.mark.parametrize(
    ("life", "later", "asked"),
    [("14399", 14_338.0, 1), ("14399", 14_340.0, 2), ("30", 14.0, 1), ("30", 16.0, 2)],
)
def test_a_token_is_renewed_before_it_ends_by_our_own_clock(
    life: str, later: float, asked: int
) -> None:
    account = Account()
    account.life = life
    now = 0.0
    token = Token(account.client, "https://ups.test/security", "a", "b", "c", "ups", lambda: now)
    token.value()

    now = later
    token.value()

    assert account.tokens == asked


def test_neither_key_nor_token_stands_in_an_error() -> None:
    def quote(request: httpx.Request) -> httpx.Response:
        return refusal(400, "1", f"bad: {request.headers['Authorization']}")

    client = open_client(transport=httpx.MockTransport(quote))

    with pytest.raises(RefusedError) as caught:
        Ups(CONNECTION, SECRETS, client).check()

    assert "aWQ6czNjcmV0" not in str(caught.value)


def tracked(*activities: dict[str, Any]) -> dict[str, Any]:
    parcel = {"trackingNumber": "1Z", "activity": list(activities)}
    return {"trackResponse": {"shipment": [{"package": [parcel]}]}}


def activity(kind: str, time: str = "101500", **more: str) -> dict[str, Any]:
    return {"date": "20260501", "time": time, "status": {"type": kind}, **more}


@pytest.mark.parametrize(("kind", "ours"), [*TYPES.items(), ("??", None)])
def test_each_of_its_types_has_one_word_of_ours_or_tells_nothing(
    kind: str, ours: CarrierStatus | None
) -> None:
    events = events_of(tracked(activity(kind)), "1Z")

    assert [x.status for x in events] == ([] if ours is None else [ours])


def test_activities_are_put_in_order_and_count_once() -> None:
    events = events_of(tracked(activity("D", "180000"), activity("I"), activity("I")), "1Z")

    assert [x.status.value for x in events] == ["in_transit", "delivered"]


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ({"gmtDate": "20260501", "gmtTime": "141500"}, "2026-05-01T14:15:00+00:00"),
        ({"gmtDate": "20260501", "gmtTime": "14:15:00"}, "2026-05-01T14:15:00+00:00"),
        ({"gmtOffset": "-04:00"}, "2026-05-01T14:15:00+00:00"),
        ({}, "2026-05-01T10:15:00+00:00"),
    ],
)
def test_times_are_read_by_greenwich(more: dict[str, str], at: str) -> None:
    (event,) = events_of(tracked(activity("I", **more)), "1Z")

    assert event.occurred_at.isoformat() == at


def test_a_parcel_nobody_knows_is_named() -> None:
    with pytest.raises(UnknownReferenceError, match="1Z999"):
        Account().carrier().track("1Z999")


def test_a_key_becomes_a_reference_ups_takes_and_the_same_each_time() -> None:
    long = "W-" + "9" * 60

    assert reference_of(KEY).startswith("W-1-1-p1-label.")
    assert len(reference_of(long)) == 35
    assert reference_of(long) == reference_of(long) != reference_of(long + "1")


def test_whatever_claims_to_be_a_webhook_of_ups_is_not_taken() -> None:
    with pytest.raises(BadSignatureError):
        verify(CONNECTION, "secret", {}, json.dumps({}).encode())
