"""One EasyPost account: an offer is a shipment, and buying completes it."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from domain.errors import RefusedError, UnknownReferenceError
from domain.events import CarrierEvent
from domain.network import Connection
from domain.orders import Address
from integrations.carrier.account import (
    CarrierSettings,
    Sender,
    amount,
    inches,
    level_of,
    ounces,
    own_names,
    receiver_of,
)
from integrations.carrier.easypost.tracking import tracker_events
from integrations.carrier.port import Label, Rate, ShipmentRequest, VoidOutcome
from integrations.http import Reply, call
from integrations.reading import understood
from integrations.settings import secret_of, settings_of
from integrations.vendor import Secrets
from integrations.wording import told

_NOT_FOUND = 404
_UNPROCESSABLE = 422
_VOIDED = frozenset({"submitted", "refunded"})


class EasyPostSettings(CarrierSettings):
    """A connection's `settings`; services are named `USPS/GroundAdvantage`."""

    api_key_env: str = "EASYPOST_API_KEY"
    label_format: str = "PDF"


class EasyPost:
    """See Carrier. EasyPost has no idempotency key: what counts is the stored shipment id."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read settings and key. Raises ValueError naming what is missing."""
        self._settings = settings_of(connection, EasyPostSettings)
        key = secret_of(connection, secrets, self._settings.api_key_env)
        self._headers = {"Authorization": f"Basic {b64encode(f'{key}:'.encode()).decode()}"}
        self._connection_id = connection.connection_id
        self._base = connection.base_url.rstrip("/")
        self._own_names = own_names(self._settings.services)
        self._client = client

    def rates(self, request: ShipmentRequest) -> tuple[Rate, ...]:
        """See Carrier.rates: makes a shipment, which costs nothing until it is bought."""
        body = {"shipment": self._shipment(request)}
        # A second one made by a repeat is never bought, and costs nothing.
        shipment = self._call("POST", "/shipments", body).body
        rates = understood(lambda: self._rates(shipment, request))
        if not rates:
            reasons = told(shipment.get("messages")) or "it says not why"
            raise RefusedError(f"EasyPost has no rate for {request.reference}: {reasons}")
        return rates

    def buy(
        self, request: ShipmentRequest, service: str, key: str, shipment_id: str | None = None
    ) -> Label:
        """See Carrier.buy: reads the shipment again first, so that it is bought once."""
        if shipment_id is None:
            raise RefusedError(f"EasyPost sells only what it rated: ask {service} for rates first")
        path = _path("shipments", shipment_id)
        shipment = self._call("GET", path).body
        if not _is_bought(shipment):
            rate_id = understood(lambda: self._rate_id(shipment, service))
            # Asked once: after a lost answer the shipment is read before it is bought again.
            reply = self._call(
                "POST",
                f"{path}/buy",
                {"rate": {"id": rate_id}},
                attempts=1,
                also_accept=(_UNPROCESSABLE,),
            )
            shipment = reply.body
            if reply.status == _UNPROCESSABLE:
                shipment = self._bought_meanwhile(path, reply)
        return understood(lambda: self._label(shipment))

    def find_label(
        self, request: ShipmentRequest, key: str, shipment_id: str | None = None
    ) -> Label | None:
        """See Carrier.find_label."""
        if shipment_id is None:
            return None
        reply = self._call("GET", _path("shipments", shipment_id), also_accept=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND or not _is_bought(reply.body):
            return None
        return understood(lambda: self._label(reply.body))

    def void(self, shipment_id: str, key: str) -> VoidOutcome:
        """See Carrier.void: asks for a refund; asked before, it is the answer of then."""
        path = _path("shipments", shipment_id)
        reply = self._call("POST", f"{path}/refund", {}, also_accept=(_UNPROCESSABLE,))
        if reply.status == _UNPROCESSABLE:
            reply = self._call("GET", path)
        voided = reply.body.get("refund_status") in _VOIDED
        return VoidOutcome.VOIDED if voided else VoidOutcome.TOO_LATE

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """See Carrier.track."""
        path = f"/trackers?tracking_code={quote(tracking_number, safe='')}"
        listed = self._call("GET", path).body
        trackers = understood(lambda: [x for x in listed["trackers"] if isinstance(x, dict)])
        named = [x for x in trackers if x.get("tracking_code") == tracking_number]
        if not named:
            raise UnknownReferenceError(f"no parcel has the tracking number {tracking_number}")
        return understood(lambda: tracker_events(named[0]))

    def check(self) -> str:
        """See Carrier.check."""
        self._call("GET", "/shipments?page_size=1")
        return "EasyPost takes the key"

    def _bought_meanwhile(self, path: str, refusal: Reply) -> dict[str, Any]:
        shipment = self._call("GET", path).body
        if not _is_bought(shipment):
            raise RefusedError(f"EasyPost sells no label: {told(refusal.body)}")
        return shipment

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        attempts: int = 3,
        also_accept: tuple[int, ...] = (),
    ) -> Reply:
        return call(
            self._client,
            method,
            self._base + path,
            body=body,
            headers=self._headers,
            also_accept=also_accept,
            connection_id=self._connection_id,
            attempts=attempts,
        )

    def _shipment(self, request: ShipmentRequest) -> dict[str, Any]:
        sender = self._settings.sender_of(request.node_id)
        return {
            "reference": request.reference,
            "from_address": _from(sender),
            "to_address": _to(receiver_of(request)),
            "parcel": _parcel(request),
            "options": {"label_format": self._settings.label_format, "currency": request.currency},
        }

    def _own_name(self, rate: Mapping[str, Any]) -> str:
        carrier, service = rate["carrier"], rate["service"]
        return self._own_names.get(f"{carrier}/{service}", f"{carrier}-{service}")

    def _rates(self, shipment: dict[str, Any], request: ShipmentRequest) -> tuple[Rate, ...]:
        found = []
        for rate in shipment["rates"]:
            service = self._own_name(rate)
            days = rate.get("delivery_days")
            found.append(
                Rate(
                    service=service,
                    level=level_of(request, service),
                    carrier=rate["carrier"],
                    cost=amount(rate["rate"]),
                    currency=rate["currency"],
                    delivery_days=rate.get("est_delivery_days") if days is None else days,
                    shipment_id=shipment["id"],
                )
            )
        return tuple(sorted(found, key=lambda rate: (rate.cost, rate.service)))

    def _rate_id(self, shipment: dict[str, Any], service: str) -> str:
        for rate in shipment["rates"]:
            if self._own_name(rate) == service:
                return str(rate["id"])
        raise RefusedError(f"EasyPost no longer offers {service} for {shipment['id']}")

    def _label(self, shipment: dict[str, Any]) -> Label:
        rate = shipment["selected_rate"]
        return Label(
            shipment_id=shipment["id"],
            tracking_number=shipment["tracking_code"],
            carrier=rate["carrier"],
            service=self._own_name(rate),
            label_url=shipment["postage_label"]["label_url"],
            cost=amount(rate["rate"]),
            currency=rate["currency"],
        )


def _is_bought(shipment: Mapping[str, Any]) -> bool:
    return bool(shipment.get("postage_label"))


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _from(sender: Sender) -> dict[str, Any]:
    return {
        "company": sender.name,
        "street1": sender.line1,
        "street2": sender.line2,
        "city": sender.city,
        "state": sender.region,
        "zip": sender.postal_code,
        "country": sender.country,
        "phone": sender.phone,
    }


def _to(address: Address) -> dict[str, Any]:
    return {
        "name": address.name,
        "street1": address.line1,
        "street2": address.line2,
        "city": address.city,
        "state": address.region,
        "zip": address.postal_code,
        "country": address.country,
    }


def _parcel(request: ShipmentRequest) -> dict[str, Any]:
    """Ounces and inches, as JSON numbers; a size that nobody measured is left out."""
    parcel = {"weight": float(ounces(request.weight_grams))}
    sizes = (request.length_mm, request.width_mm, request.height_mm)
    if all(sizes):
        named = zip(("length", "width", "height"), sizes, strict=True)
        parcel |= {name: float(inches(size)) for name, size in named}
    return parcel
