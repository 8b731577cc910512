"""A carrier behind the reference API (docs/simulators.md)."""

from typing import Any, TypeVar
from urllib.parse import quote

from domain.events import CarrierEvent
from integrations.carrier.port import Carrier, Label, Rate, ShipmentRequest, VoidOutcome
from integrations.reading import understood
from integrations.reference import ReferenceApi, translate_tracker
from integrations.standard_webhooks import verify
from integrations.vendor import Vendor

_CONFLICT = 409
Answer = TypeVar("Answer", Rate, Label)


class ReferenceCarrier(ReferenceApi):
    """A carrier's account behind the reference API."""

    def rates(self, request: ShipmentRequest) -> tuple[Rate, ...]:
        """See Carrier.rates."""
        answer = self._call("POST", "/rates", _shipment(request)).body
        rates = understood(lambda: [_known(Rate, rate) for rate in answer["rates"]])
        return tuple(sorted(rates, key=lambda rate: (rate.cost, rate.service)))

    def buy(
        self, request: ShipmentRequest, service: str, key: str, shipment_id: str | None = None
    ) -> Label:
        """See Carrier.buy: the key alone makes it once."""
        body = {**_shipment(request), "service": service}
        answer = self._call("POST", "/shipments", body, key=key).body
        return understood(lambda: _known(Label, answer))

    def find_label(
        self, request: ShipmentRequest, key: str, shipment_id: str | None = None
    ) -> Label | None:
        """See Carrier.find_label: `buy` may simply be repeated."""
        return None

    def void(self, shipment_id: str, key: str) -> VoidOutcome:
        """See Carrier.void."""
        path = f"/shipments/{quote(shipment_id, safe='')}/void"
        reply = self._call("POST", path, {}, key=key, also_accept=(_CONFLICT,))
        return VoidOutcome.TOO_LATE if reply.status == _CONFLICT else VoidOutcome.VOIDED

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """See Carrier.track."""
        return self._track(tracking_number)


def _shipment(request: ShipmentRequest) -> dict[str, Any]:
    body = request.model_dump(mode="json", exclude={"fulfillment_id", "reference"})
    return {"reference": request.fulfillment_id, "package_reference": request.reference, **body}


def _known(model: type[Answer], document: dict[str, Any]) -> Answer:
    """The fields doms knows; a system may say more."""
    return model.model_validate(
        {name: document[name] for name in model.model_fields if name in document}
    )


VENDOR: Vendor[Carrier] = Vendor(
    connect=ReferenceCarrier, verify=verify, translate=translate_tracker
)
