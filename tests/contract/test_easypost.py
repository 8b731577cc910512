"""EasyPost: its recorded traffic, and an account that keeps what it sold."""

import json
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.errors import OutsideUnavailableError, RefusedError, UnknownReferenceError
from domain.events import CarrierEvent, CarrierStatus
from integrations import webhooks
from integrations.carrier.easypost.client import EasyPost
from integrations.carrier.easypost.tracking import STATUSES, tracker_events, translate
from integrations.carrier.port import VoidOutcome
from integrations.errors import BadSignatureError, QuarantineError
from integrations.http import open_client
from integrations.wording import told
from tests.contract.easypost_account import (
    CONNECTION,
    GROUND_COST,
    SECRETS,
    Account,
    error,
    package,
)
from tests.contract.recordings import VENDORS, document, needs, objects

recorded = needs("easypost")
FOLDER = VENDORS / "easypost"
FILES = sorted(FOLDER.glob("**/*.json"))
SECRET = "sécret"


def named(path: Path) -> str:
    return path.stem


def answers(*responses: httpx.Response) -> EasyPost:
    steps = iter(responses)
    transport = httpx.MockTransport(lambda _: next(steps))
    return EasyPost(CONNECTION, SECRETS, open_client(transport=transport))


def signed(body: bytes) -> dict[str, str]:
    import hmac
    import unicodedata

    key = unicodedata.normalize("NFKD", SECRET).encode()
    return {"X-Hmac-Signature": f"hmac-sha256-hex={hmac.new(key, body, sha256).hexdigest()}"}


@recorded
@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_recorded_tracker_is_read(path: Path) -> None:
    for tracker in objects(json.loads(path.read_text()), "Tracker"):
        events = tracker_events(tracker)

        assert [x.occurred_at for x in events] == sorted(x.occurred_at for x in events)
        assert len({x.event_id for x in events}) == len(events)
        assert {x.tracking_number for x in events} <= {tracker["tracking_code"]}
        present = STATUSES[tracker["status"]]
        if present is not None:
            assert events[-1].status is present


@recorded
@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_recorded_shipment_is_read(path: Path) -> None:
    for shipment in objects(json.loads(path.read_text()), "Shipment"):
        if not shipment.get("rates"):
            continue
        rates = answers(httpx.Response(201, json=shipment)).rates(package())
        label = answers(httpx.Response(200, json=shipment)).find_label(
            package(), "k", shipment["id"]
        )

        assert sorted(str(x.cost) for x in rates) == sorted(
            str(x["rate"]) for x in shipment["rates"]
        )
        assert {x.shipment_id for x in rates} == {shipment["id"]}
        if shipment["postage_label"]:
            assert label is not None
            assert label.tracking_number == shipment["tracking_code"]
            assert str(label.cost) == shipment["selected_rate"]["rate"]
        else:
            assert label is None


@recorded
@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_recorded_event_is_read_or_set_aside_with_its_reason(path: Path) -> None:
    for event in objects(json.loads(path.read_text()), "Event"):
        kind = event["description"]
        if not kind.startswith("tracker."):
            assert translate(event) == ()
        elif "result" not in event:  # a list of events leaves out what they tell of
            with pytest.raises(QuarantineError, match="result: is no tracker"):
                translate(event)
        else:
            (told_of,) = translate(event)
            assert isinstance(told_of, CarrierEvent)


@recorded
def test_the_recorded_signed_event_verifies_with_its_secret_in_nfkd() -> None:
    # The file is laid out for reading; what was signed has no spaces.
    event = document("easypost/event-body.json")
    body = json.dumps(event, separators=(",", ":")).encode()
    fixture = document("easypost/client-library-fixtures.json")["webhooks"]
    headers = {"X-Hmac-Signature": fixture["hmac_signature"]}

    assert webhooks.verify(CONNECTION, fixture["secret"], headers, body) == "evt_1"
    with pytest.raises(BadSignatureError):
        webhooks.verify(CONNECTION, fixture["secret"], headers, body + b" ")
    (step,) = webhooks.translate(CONNECTION, body)
    assert isinstance(step, CarrierEvent)
    assert (step.tracking_number, step.status) == ("1", CarrierStatus.IN_TRANSIT)
    assert step == tracker_events(event["result"])[-1]


@recorded
def test_the_recorded_refusal_keeps_its_words() -> None:
    (exchange,) = document("easypost/cassettes/error.json")
    response = exchange["response"]
    carrier = answers(httpx.Response(response["status"]["code"], json=response["body"]))

    with pytest.raises(RefusedError) as caught:
        carrier.rates(package())

    assert str(caught.value).endswith(
        "answered 422: Missing required parameter.; shipment: cannot be blank (PARAMETER.REQUIRED)"
    )


@recorded
def test_the_recorded_refund_voids_the_label() -> None:
    *_, exchange = document("easypost/cassettes/shipment_refund.json")
    carrier = answers(httpx.Response(200, json=exchange["response"]["body"]))

    assert carrier.void(exchange["response"]["body"]["id"], "k") is VoidOutcome.VOIDED


@recorded
def test_a_parcel_is_sent_as_the_recorded_ones_were() -> None:
    exchange = document("easypost/cassettes/shipment_create.json")[0]
    account = Account()

    account.carrier().rates(package(length_mm=254, width_mm=200, height_mm=100))

    theirs, ours = exchange["request"]["body"], json.loads(account.requests[0].content)
    assert set(ours["shipment"]) <= set(theirs["shipment"])
    assert set(ours["shipment"]["parcel"]) == set(theirs["shipment"]["parcel"])
    assert set(ours["shipment"]["to_address"]) - {"street2"} <= set(
        theirs["shipment"]["to_address"]
    )
    assert ours["shipment"]["parcel"] == {
        "length": 10.0,
        "width": 7.9,
        "height": 4.0,
        "weight": 35.3,
    }
    assert account.requests[0].headers["Authorization"] == "Basic RVpUS3Rlc3Q6"


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([{"field": "zip", "message": "is bad"}], "no; zip: is bad (X)"),
        (["zip is bad", "city is bad"], "no; zip is bad; city is bad (X)"),
        ([], "no (X)"),
    ],
)
def test_errors_are_told_be_they_objects_or_texts(errors: list[Any], words: str) -> None:
    assert told({"error": {"code": "X", "message": "no", "errors": errors}}) == words


def test_rates_come_by_the_networks_own_names_cheapest_first() -> None:
    rates = Account().carrier().rates(package())

    assert [(x.service, x.cost, x.delivery_days) for x in rates] == [
        ("GROUND", Decimal("6.07"), 3),
        ("USPS-Priority", Decimal("9.10"), 2),
    ]


def test_a_label_is_bought_from_the_shipment_that_was_rated() -> None:
    account = Account()
    carrier = account.carrier()
    (rate, *_) = carrier.rates(package())

    label = carrier.buy(package(), rate.service, "k", rate.shipment_id)

    assert (label.shipment_id, label.tracking_number) == ("shp_1", "9400shp_1")
    assert (label.service, label.cost) == ("GROUND", GROUND_COST)
    assert len(account.bought) == 1


def test_when_the_answer_to_buying_is_lost_the_shipment_is_read_and_bought_no_second_time() -> None:
    account = Account()
    carrier = account.carrier()
    (rate, *_) = carrier.rates(package())
    account.lose_once("/buy")

    with pytest.raises(OutsideUnavailableError):
        carrier.buy(package(), rate.service, "k", rate.shipment_id)
    label = carrier.find_label(package(), "k", rate.shipment_id)
    again = carrier.buy(package(), rate.service, "k", rate.shipment_id)

    assert label == again
    assert [x["id"] for x in account.bought] == ["shp_1"]
    assert account.paths().count("POST /shipments/shp_1/buy") == 1


def test_two_that_buy_one_shipment_at_once_get_the_same_label() -> None:
    account = Account()
    carrier = account.carrier()
    (rate, *_) = carrier.rates(package())

    def another_is_faster(request: httpx.Request) -> None:
        if request.url.path.endswith("/buy"):
            account.before = lambda _: None
            account.carrier().buy(package(), rate.service, "k", rate.shipment_id)

    account.before = another_is_faster

    label = carrier.buy(package(), rate.service, "k", rate.shipment_id)

    assert label.tracking_number == "9400shp_1"
    assert len(account.bought) == 1


def test_a_shipment_nobody_bought_has_no_label() -> None:
    account = Account()
    carrier = account.carrier()
    (rate, *_) = carrier.rates(package())

    assert carrier.find_label(package(), "k", rate.shipment_id) is None
    assert carrier.find_label(package(), "k", "shp_99") is None
    assert carrier.find_label(package(), "k", None) is None
    assert account.bought == []


def test_a_service_that_is_no_longer_offered_is_refused_and_nothing_is_bought() -> None:
    account = Account()
    account.carrier().rates(package())

    with pytest.raises(RefusedError, match="no longer offers NIGHT for shp_1"):
        account.carrier().buy(package(), "NIGHT", "k", "shp_1")

    assert account.bought == []


def test_without_a_rate_the_carriers_reasons_are_told() -> None:
    messages = [{"carrier": "USPS", "type": "rate_error", "message": "too heavy"}]
    shipment = {"id": "shp_1", "rates": [], "messages": messages}

    with pytest.raises(RefusedError, match="no rate for W-1-1/p1: too heavy"):
        answers(httpx.Response(201, json=shipment)).rates(package())


@pytest.mark.parametrize("changes", [{"ship_to": None}, {"weight_grams": 0}])
def test_what_cannot_be_addressed_is_refused_and_what_weighs_nothing_weighs_a_little(
    changes: dict[str, Any],
) -> None:
    account = Account()
    if "ship_to" in changes:
        with pytest.raises(RefusedError, match="ship_to"):
            account.carrier().rates(package(**changes))
        assert account.requests == []
    else:
        account.carrier().rates(package(**changes))
        sent = json.loads(account.requests[0].content)
        assert sent["shipment"]["parcel"] == {"weight": 0.1}


def test_a_node_without_a_sender_is_named() -> None:
    connection = CONNECTION.model_copy(update={"settings": {"senders": {}}})

    with pytest.raises(RefusedError, match="nobody sends from DC-1"):
        Account().carrier(connection).rates(package())


def test_a_label_is_voided_once_and_a_repeat_is_the_same_answer() -> None:
    account = Account()
    carrier = account.carrier()
    (rate, *_) = carrier.rates(package())
    label = carrier.buy(package(), rate.service, "k", rate.shipment_id)
    account.lose_once("/refund")

    # The lost answer is asked for again within the call.
    assert carrier.void(label.shipment_id, "v") is VoidOutcome.VOIDED
    assert carrier.void(label.shipment_id, "v") is VoidOutcome.VOIDED


@pytest.mark.parametrize("status", ["rejected", "not_applicable", None])
def test_a_refund_that_is_not_granted_comes_too_late(status: str | None) -> None:
    shipment = {"id": "shp_1", "refund_status": status}

    assert answers(httpx.Response(200, json=shipment)).void("shp_1", "v") is VoidOutcome.TOO_LATE


def tracker(*steps: tuple[str, str], status: str = "in_transit", number: str = "94") -> Any:
    details = [{"status": told_of, "datetime": at} for told_of, at in steps]
    return {
        "tracking_code": number,
        "status": status,
        "updated_at": "2026-05-04T12:00:00Z",
        "tracking_details": details,
    }


def test_a_webhook_and_a_poll_tell_of_the_same_step_by_the_same_id() -> None:
    steps = (("pre_transit", "2026-05-01T08:00:00Z"), ("in_transit", "2026-05-02T08:00:00Z"))
    polled = answers(httpx.Response(200, json={"trackers": [tracker(*steps)]})).track("94")

    told_of = translate({"description": "tracker.updated", "result": tracker(*steps)})

    assert [x.status.value for x in polled] == ["pre_transit", "in_transit"]
    assert told_of == polled[-1:]


def test_a_step_told_twice_counts_once_and_steps_are_put_in_order() -> None:
    later, sooner = ("in_transit", "2026-05-02T08:00:00Z"), ("pre_transit", "2026-05-01T08:00:00Z")

    events = tracker_events(tracker(later, sooner, later))

    assert [x.status.value for x in events] == ["pre_transit", "in_transit"]


def test_a_tracking_number_may_be_a_word() -> None:
    (event,) = translate(
        {"description": "tracker.updated", "result": tracker(number="Pickup", status="delivered")}
    )

    assert isinstance(event, CarrierEvent)
    assert event.tracking_number == "Pickup"
    assert event.status is CarrierStatus.DELIVERED


@pytest.mark.parametrize(
    ("status", "ours"),
    [(name, ours) for name, ours in STATUSES.items()],
)
def test_each_of_its_statuses_has_one_word_of_ours_or_tells_nothing(
    status: str, ours: CarrierStatus | None
) -> None:
    events = tracker_events(tracker(status=status))

    assert [x.status for x in events] == ([] if ours is None else [ours])


def test_a_failed_delivery_whose_parcel_is_lost_is_lost() -> None:
    lost = tracker(status="failure") | {"status_detail": "lost"}

    assert [x.status for x in tracker_events(lost)] == [CarrierStatus.LOST]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "description: says not"),
        ({"description": "tracker.updated", "result": None}, "result: is no tracker"),
        ({"description": "tracker.updated", "result": {}}, "tracking_code: must be given"),
        (
            {"description": "tracker.updated", "result": tracker(status="teleported")},
            "'teleported' is no status",
        ),
    ],
)
def test_what_cannot_be_understood_is_set_aside_with_its_reason(
    body: dict[str, Any], reason: str
) -> None:
    with pytest.raises(QuarantineError, match=reason):
        translate(body)


def test_a_body_without_an_id_counts_once_by_its_hash() -> None:
    body = b'{"description": "tracker.updated"}'

    first = webhooks.verify(CONNECTION, SECRET, signed(body), body)

    assert first == sha256(body).hexdigest()
    assert webhooks.verify(CONNECTION, SECRET, signed(body), body) == first


@pytest.mark.parametrize("headers", [{}, {"X-Hmac-Signature": "hmac-sha256-hex=00"}])
def test_an_event_that_is_not_signed_with_our_secret_is_not_taken(headers: dict[str, str]) -> None:
    with pytest.raises(BadSignatureError):
        webhooks.verify(CONNECTION, SECRET, headers, b"{}")


def test_a_parcel_nobody_knows_is_named() -> None:
    with pytest.raises(UnknownReferenceError, match="NOWHERE"):
        answers(httpx.Response(200, json={"trackers": []})).track("NOWHERE")


@pytest.mark.parametrize("shape", [{"rates": 3}, {"id": "s", "rates": [7]}, {"rates": [{}]}])
def test_an_answer_of_another_shape_counts_as_a_failing_system(shape: dict[str, Any]) -> None:
    with pytest.raises(OutsideUnavailableError, match="makes no sense"):
        answers(httpx.Response(201, json=shape)).rates(package())


def test_a_key_that_is_not_taken_is_told_by_check() -> None:
    refused = httpx.Response(401, json=error("APIKEY.INACTIVE", "This key is no longer active."))

    assert answers(httpx.Response(200, json={})).check() == "EasyPost takes the key"
    with pytest.raises(RefusedError, match="no longer active"):
        answers(refused).check()


def test_settings_that_are_wrong_are_named() -> None:
    wrong = CONNECTION.model_copy(update={"settings": {"sendr": {}}})

    with pytest.raises(ValueError, match="easypost-1: settings: sendr"):
        Account().carrier(wrong)
    with pytest.raises(ValueError, match="set the variable EASYPOST_API_KEY"):
        EasyPost(CONNECTION, {}, open_client())
