"""A carrier: rates, labels, pick-ups and tracking."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from domain.money import CurrencyCode, minor_units
from domain.orders import Address
from domain.values import Count, DerivedId, Id, Model
from integrations.carrier.port import ServiceOption
from integrations.simulators.database import Step
from integrations.simulators.knobs import Knobs, Tariff, knobs_for
from integrations.simulators.machine import Machine
from integrations.simulators.parcels import Parcel, Parcels
from integrations.simulators.service import Answer, Call, Endpoint, Refusal, Subject


class Sending(BaseModel):
    """One package to price or to send."""

    model_config = ConfigDict(extra="ignore")
    reference: DerivedId
    package_reference: Annotated[str, Field(min_length=1, max_length=200)]
    node_id: Id = "unknown"
    ship_to: Address
    weight_grams: Count = 0
    distance_km: Count | None = None
    currency: CurrencyCode = "USD"
    options: tuple[ServiceOption, ...] = ()
    service: Id | None = None


class Shipment(Model):
    """A bought label."""

    shipment_id: str
    tracking_number: str
    reference: str
    package_reference: str
    node_id: str
    carrier: str
    service: str
    cost: str
    currency: str
    label_url: str
    weight_grams: int
    ship_to: Address
    voided: bool = False


class CarrierSimulator:
    """One carrier account for all nodes that ship with it."""

    title = "Simulated carrier"

    def __init__(self, machine: Machine) -> None:
        """Keep shipments in the machine's memory."""
        self.machine = machine
        self._parcels = Parcels(machine)

    def endpoints(self) -> Sequence[Endpoint]:
        """See Simulator.endpoints."""
        return (
            Endpoint("POST", "/rates", "prices of one package by service", self._rates),
            Endpoint("POST", "/shipments", "buy a label, once per Idempotency-Key", self._buy),
            Endpoint("GET", "/shipments/{shipment_id}", "a bought label", self._show),
            Endpoint("GET", "/shipments/{shipment_id}/label", "the label to print", self._label),
            Endpoint("POST", "/shipments/{shipment_id}/void", "give a label back", self._void),
            Endpoint("GET", "/trackers/{tracking_number}", "where a parcel is", self._track),
            Endpoint("POST", "/pickups", "take parcels along: they move now", self._pick_up),
        )

    def subject(self, call: Call) -> Subject:
        """See Simulator.subject."""
        shipment = self._find(call.path["shipment_id"]) if "shipment_id" in call.path else None
        if shipment is not None:
            return Subject(shipment.reference, shipment.node_id)
        return Subject(str(call.body.get("reference", "")), str(call.body.get("node_id", "")))

    def perform(self, step: Step) -> None:
        """See Simulator.perform."""
        self._parcels.move(step.subject)

    def _rates(self, call: Call) -> Answer:
        sending = Sending.model_validate(call.body)
        knobs = self._checked(sending)
        rates = [_rate(sending, service, tariff) for service, tariff in _offers(sending, knobs)]
        return Answer({"rates": rates})

    def _buy(self, call: Call) -> Answer:
        if not call.key:
            raise Refusal(400, "no_key", "send an Idempotency-Key header")
        known = self.machine.database.document("label", call.key)
        if known is not None:
            shipment = self._find(known.decode())
            return Answer(_public(shipment) if shipment else {})
        sending = Sending.model_validate(call.body)
        offers = dict(_offers(sending, self._checked(sending)))
        if sending.service not in offers:
            raise Refusal(
                422,
                "unknown_service",
                f"service '{sending.service}' is not offered; there are: {', '.join(offers)}",
            )
        rate = _rate(sending, sending.service, offers[sending.service])
        shipment = self._bought(sending, rate, call)
        return Answer(_public(shipment), status=201, worked=True)

    def _bought(self, sending: Sending, rate: dict[str, Any], call: Call) -> Shipment:
        shipment_id = f"shp_{uuid4().hex}"
        shipment = Shipment(
            shipment_id=shipment_id,
            tracking_number=f"SIM{uuid4().hex[:16].upper()}",
            reference=sending.reference,
            package_reference=sending.package_reference,
            node_id=sending.node_id,
            carrier=rate["carrier"],
            service=rate["service"],
            cost=rate["cost"],
            currency=rate["currency"],
            label_url=f"{call.base_url}/shipments/{shipment_id}/label",
            weight_grams=sending.weight_grams,
            ship_to=sending.ship_to,
        )
        self._keep(shipment)
        self.machine.database.keep("label", call.key, shipment_id.encode())
        self._parcels.keep(
            Parcel(
                tracking_number=shipment.tracking_number,
                reference=shipment.reference,
                node_id=shipment.node_id,
                drawn_by=call.key,
            )
        )
        self.machine.record(
            "label_bought",
            shipment.reference,
            package_reference=shipment.package_reference,
            tracking_number=shipment.tracking_number,
            service=shipment.service,
            cost=shipment.cost,
            currency=shipment.currency,
        )
        return shipment

    def _show(self, call: Call) -> Answer:
        return Answer(_public(self._known(call)))

    def _label(self, call: Call) -> Answer:
        shipment = self._known(call)
        to = shipment.ship_to
        return Answer(
            {
                "title": "SIMULATED LABEL - NOT FOR SHIPPING",
                "tracking_number": shipment.tracking_number,
                "carrier": shipment.carrier,
                "service": shipment.service,
                "weight_grams": shipment.weight_grams,
                "from_node": shipment.node_id,
                "ship_to": to.model_dump(mode="json", exclude_none=True),
                "voided": shipment.voided,
            }
        )

    def _void(self, call: Call) -> Answer:
        shipment = self._known(call)
        parcel = self._parcels.find(shipment.tracking_number)
        if parcel is not None and parcel.way is not None:
            raise Refusal(409, "too_late", "the parcel is already on its way")
        if shipment.voided:
            return Answer({"shipment_id": shipment.shipment_id, "status": "voided"})
        self._keep(shipment.model_copy(update={"voided": True}))
        self.machine.record(
            "label_voided", shipment.reference, tracking_number=shipment.tracking_number
        )
        return Answer({"shipment_id": shipment.shipment_id, "status": "voided"}, worked=True)

    def _track(self, call: Call) -> Answer:
        return self._parcels.tracker(call.path["tracking_number"])

    def _pick_up(self, call: Call) -> Answer:
        numbers = call.body.get("tracking_numbers")
        if not isinstance(numbers, list):
            raise Refusal(422, "invalid", "tracking_numbers: must be a list")
        taken, refused = [], []
        for number in map(str, numbers):
            parcel = self._parcels.find(number)
            if parcel is None or self._is_void(parcel):
                refused.append(number)
                continue
            taken.append(number)
            if parcel.way is None:
                self._parcels.depart(parcel)
        return Answer({"picked_up": taken, "refused": refused}, worked=bool(taken))

    def _is_void(self, parcel: Parcel) -> bool:
        shipment_id = self.machine.database.document("tracked", parcel.tracking_number)
        shipment = self._find(shipment_id.decode()) if shipment_id else None
        return shipment is not None and shipment.voided

    def _checked(self, sending: Sending) -> Knobs:
        knobs = knobs_for(self.machine.knobs, reference=sending.reference, node_id=sending.node_id)
        postal_code = sending.ship_to.postal_code
        if postal_code in knobs.undeliverable_postal_codes:
            raise Refusal(
                422, "undeliverable", f"ship_to.postal_code: no delivery to '{postal_code}'"
            )
        return knobs

    def _known(self, call: Call) -> Shipment:
        shipment = self._find(call.path["shipment_id"])
        if shipment is None:
            raise Refusal(404, "not_found", f"no shipment {call.path['shipment_id']}")
        return shipment

    def _find(self, shipment_id: str) -> Shipment | None:
        stored = self.machine.database.document("shipment", shipment_id)
        return None if stored is None else Shipment.model_validate_json(stored)

    def _keep(self, shipment: Shipment) -> None:
        database = self.machine.database
        database.keep("shipment", shipment.shipment_id, shipment.model_dump_json().encode())
        database.keep("tracked", shipment.tracking_number, shipment.shipment_id.encode())


def _public(shipment: Shipment) -> dict[str, Any]:
    """A label without the address on it."""
    return shipment.model_dump(mode="json", exclude={"ship_to"})


def _offers(sending: Sending, knobs: Knobs) -> list[tuple[str, Tariff]]:
    """Services at their list price, or those asked for at the account's agreed price."""
    if not sending.options:
        return list(knobs.tariffs.items())
    offers = []
    by_level = {tariff.level: tariff for tariff in reversed(list(knobs.tariffs.values()))}
    for option in sending.options:
        listed = knobs.tariffs.get(option.service_id) or by_level.get(option.level)
        if listed is not None:
            agreed = option.model_dump(include={"base", "per_kg", "per_km"}, exclude_none=True)
            offers.append((option.service_id, listed.model_copy(update=agreed)))
    return offers


def _rate(sending: Sending, service: str, tariff: Tariff) -> dict[str, Any]:
    kilograms = Decimal(sending.weight_grams) / 1000
    cost = tariff.base + tariff.per_kg * kilograms + tariff.per_km * (sending.distance_km or 0)
    cent = Decimal(1).scaleb(-minor_units(sending.currency))
    return {
        "service": service,
        "level": tariff.level,
        "carrier": tariff.carrier,
        "cost": str(cost.quantize(cent, ROUND_HALF_UP)),
        "currency": sending.currency,
        "delivery_days": tariff.delivery_days,
    }
