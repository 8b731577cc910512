from decimal import Decimal

import pytest

from domain.errors import RefusedError, UnknownReferenceError
from domain.events import CarrierStatus
from domain.orders import ServiceLevel
from integrations.carrier.port import Carrier, ServiceOption, ShipmentRequest, VoidOutcome
from tests.integration.outside.world import HTTP, Receiver, Simulator, address


def package(reference: str, **changes: object) -> ShipmentRequest:
    return ShipmentRequest.model_validate(
        {
            "reference": f"{reference}/p1",
            "fulfillment_id": reference,
            "node_id": "DC-1",
            "ship_to": address(),
            "weight_grams": 1_500,
        }
        | changes
    )


def pick_up(carrier: Simulator, *tracking_numbers: str) -> dict[str, list[str]]:
    answer = HTTP.post(
        f"{carrier.url}/pickups", json={"tracking_numbers": list(tracking_numbers)}
    ).json()
    return {"picked_up": answer["picked_up"], "refused": answer["refused"]}


def test_rates_grow_with_weight_and_distance_and_come_cheapest_first(
    parcel_service: Carrier, reference: str
) -> None:
    rates = parcel_service.rates(package(reference, distance_km=100))

    assert [(x.service, x.cost, x.delivery_days) for x in rates] == [
        ("standard", Decimal("5.20"), 2),
        ("express", Decimal("13.82"), 1),
        ("same_day", Decimal("25.20"), 0),
    ]
    assert {x.currency for x in rates} == {"USD"}


def test_options_choose_services_at_the_accounts_own_tariff(
    parcel_service: Carrier, reference: str
) -> None:
    options = (
        ServiceOption(service_id="GROUND", base=Decimal("3"), per_kg=Decimal("1")),
        ServiceOption(service_id="EXPRESS", level=ServiceLevel.EXPRESS),
    )

    rates = parcel_service.rates(package(reference, options=options))

    assert [(x.service, x.cost) for x in rates] == [
        ("GROUND", Decimal("4.50")),
        ("EXPRESS", Decimal("13.60")),
    ]


def test_amounts_have_the_currencys_decimal_places(parcel_service: Carrier, reference: str) -> None:
    rates = parcel_service.rates(package(reference, currency="JPY"))

    assert [str(x.cost) for x in rates] == ["5", "10", "14"]


def test_a_label_is_bought_once_per_key_and_costs_its_rate(
    carrier: Simulator, parcel_service: Carrier, reference: str
) -> None:
    request = package(reference)
    (rate, *_) = parcel_service.rates(request)

    labels = [parcel_service.buy(request, rate.service, f"{reference}/0") for _ in range(3)]
    other = parcel_service.buy(request, rate.service, f"{reference}/1")

    assert labels[0] == labels[1] == labels[2]
    assert labels[0].cost == rate.cost
    assert other.tracking_number != labels[0].tracking_number
    assert carrier.done(reference) == ["label_bought", "label_bought"]
    printed = HTTP.get(labels[0].label_url).json()
    assert printed["tracking_number"] == labels[0].tracking_number
    assert printed["simulator"] is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ship_to": None}, "ship_to: "),
        ({"options": (ServiceOption(service_id="GROUND"),)}, "service 'standard' is not offered"),
    ],
)
def test_a_label_that_cannot_be_had_is_refused(
    carrier: Simulator,
    parcel_service: Carrier,
    reference: str,
    changes: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(RefusedError, match=words):
        parcel_service.buy(package(reference, **changes), "standard", reference)

    assert carrier.done(reference) == []


def test_an_undeliverable_postal_code_is_refused(
    carrier: Simulator, parcel_service: Carrier, reference: str
) -> None:
    carrier.turn(undeliverable_postal_codes=["99999"])

    with pytest.raises(RefusedError, match="no delivery to '99999'"):
        parcel_service.buy(package(reference, ship_to=address("99999")), "standard", reference)

    assert carrier.done(reference) == []


def test_a_label_is_voided_once_and_its_parcel_is_never_taken(
    carrier: Simulator, parcel_service: Carrier, reference: str
) -> None:
    label = parcel_service.buy(package(reference), "standard", reference)

    outcomes = [parcel_service.void(label.shipment_id, f"{reference}/void") for _ in range(2)]

    assert outcomes == [VoidOutcome.VOIDED, VoidOutcome.VOIDED]
    assert carrier.done(reference) == ["label_bought", "label_voided"]
    assert pick_up(carrier, label.tracking_number) == {
        "picked_up": [],
        "refused": [label.tracking_number],
    }


def test_a_void_after_pickup_is_too_late(
    carrier: Simulator, parcel_service: Carrier, receiver: Receiver, reference: str
) -> None:
    label = parcel_service.buy(package(reference), "standard", reference)
    pick_up(carrier, label.tracking_number)

    outcome = parcel_service.void(label.shipment_id, f"{reference}/void")

    assert outcome is VoidOutcome.TOO_LATE
    assert "label_voided" not in carrier.done(reference)
    receiver.wait_for(reference, "delivered")


def test_a_parcel_moves_once_however_often_it_is_picked_up(
    carrier: Simulator, parcel_service: Carrier, receiver: Receiver, reference: str
) -> None:
    label = parcel_service.buy(package(reference), "standard", reference)
    assert parcel_service.track(label.tracking_number) == ()

    for _ in range(3):
        pick_up(carrier, label.tracking_number)

    receiver.wait_for(reference, "delivered")
    assert [x.status for x in parcel_service.track(label.tracking_number)] == [
        CarrierStatus.IN_TRANSIT,
        CarrierStatus.OUT_FOR_DELIVERY,
        CarrierStatus.DELIVERED,
    ]
    assert carrier.done(reference).count("parcel_picked_up") == 1


@pytest.mark.parametrize(
    ("knob", "way"),
    [
        ("lost_parcel_rate", ["in_transit", "lost"]),
        ("returned_parcel_rate", ["in_transit", "exception", "returned"]),
        ("parcel_exception_rate", ["in_transit", "exception", "out_for_delivery", "delivered"]),
    ],
)
def test_a_parcel_may_go_astray(
    carrier: Simulator,
    parcel_service: Carrier,
    receiver: Receiver,
    reference: str,
    knob: str,
    way: list[str],
) -> None:
    carrier.turn_for(reference, **{knob: 1})
    label = parcel_service.buy(package(reference), "standard", reference)

    pick_up(carrier, label.tracking_number)

    receiver.wait_for(reference, way[-1])
    assert receiver.told(reference) == way


def test_a_parcel_nobody_knows_is_named(parcel_service: Carrier) -> None:
    with pytest.raises(UnknownReferenceError, match="NOWHERE"):
        parcel_service.track("NOWHERE")
