"""An EasyPost account in memory: it keeps what it sold, and may lose its answers."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx

from domain.network import Connection, ConnectionClass
from domain.orders import Address, ServiceLevel
from integrations.carrier.easypost.client import EasyPost
from integrations.carrier.port import ServiceOption, ShipmentRequest
from integrations.http import open_client

SECRETS = {"EASYPOST_API_KEY": "EZTKtest"}
CONNECTION = Connection(
    connection_id="easypost-1",
    kind=ConnectionClass.CARRIER,
    vendor="easypost",
    base_url="https://api.easypost.com/v2",
    settings={
        "sender": {
            "name": "Warehouse 1",
            "line1": "417 Montgomery Street",
            "city": "San Francisco",
            "region": "CA",
            "postal_code": "94104",
            "country": "US",
            "phone": "4155550100",
        },
        "services": {"GROUND": "USPS/GroundAdvantage"},
    },
)


def package(**changes: object) -> ShipmentRequest:
    return ShipmentRequest.model_validate(
        {
            "reference": "W-1-1/p1",
            "fulfillment_id": "W-1-1",
            "node_id": "DC-1",
            "ship_to": Address(
                name="Jane Doe",
                line1="179 N Harbor Dr",
                city="Redondo Beach",
                region="CA",
                postal_code="90277",
                country="US",
            ),
            "weight_grams": 1_000,
            "options": (ServiceOption(service_id="GROUND", level=ServiceLevel.STANDARD),),
        }
        | changes
    )


class Account:
    """Shipments by id. `lose` drops the answer to a call after its work was done."""

    def __init__(self) -> None:
        self.shipments: dict[str, dict[str, Any]] = {}
        self.requests: list[httpx.Request] = []
        self.lose: Callable[[httpx.Request], bool] = lambda _: False
        self.before: Callable[[httpx.Request], None] = lambda _: None
        self.client = open_client(transport=httpx.MockTransport(self._answer))

    def carrier(self, connection: Connection = CONNECTION) -> EasyPost:
        return EasyPost(connection, SECRETS, self.client)

    @property
    def bought(self) -> list[dict[str, Any]]:
        return [x for x in self.shipments.values() if x["postage_label"]]

    def lose_once(self, ending: str) -> None:
        def lost(request: httpx.Request) -> bool:
            if request.url.path.endswith(ending):
                self.lose = lambda _: False
                return True
            return False

        self.lose = lost

    def paths(self) -> list[str]:
        return [f"{x.method} {x.url.path.removeprefix('/v2')}" for x in self.requests]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.before(request)
        answer = self._do(request)
        if self.lose(request):
            raise httpx.ReadError("the connection was reset")
        return answer

    def _do(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.removeprefix("/v2/").split("/")
        body = json.loads(request.content) if request.content else {}
        if request.method == "POST" and parts == ["shipments"]:
            return httpx.Response(201, json=self._make(body["shipment"]))
        shipment = self.shipments.get(parts[1]) if len(parts) > 1 else None
        if shipment is None:
            return httpx.Response(404, json=error("NOT_FOUND", "The resource is not here."))
        match parts[2:]:
            case []:
                return httpx.Response(200, json=shipment)
            case ["buy"]:
                return self._buy(shipment, body["rate"]["id"])
            case _:
                return self._refund(shipment)

    def _make(self, wanted: dict[str, Any]) -> dict[str, Any]:
        number = len(self.shipments) + 1
        prices = (("Priority", "9.10", 2), ("GroundAdvantage", "6.07", 3))
        shipment = {
            "id": f"shp_{number}",
            "reference": wanted["reference"],
            "to_address": wanted["to_address"],
            "messages": [],
            "rates": [
                {
                    "id": f"rate_{number}_{service}",
                    "carrier": "USPS",
                    "service": service,
                    "rate": price,
                    "currency": "USD",
                    "delivery_days": days,
                }
                for service, price, days in prices
            ],
            "postage_label": None,
            "tracking_code": None,
            "selected_rate": None,
            "refund_status": None,
        }
        return self.shipments.setdefault(f"shp_{number}", shipment)

    def _buy(self, shipment: dict[str, Any], rate_id: str) -> httpx.Response:
        if shipment["postage_label"]:
            words = "Postage already exists for this shipment."
            return httpx.Response(422, json=error("SHIPMENT.POSTAGE.EXISTS", words))
        (rate,) = [x for x in shipment["rates"] if x["id"] == rate_id]
        shipment["selected_rate"] = rate
        shipment["tracking_code"] = f"9400{shipment['id']}"
        shipment["postage_label"] = {"label_url": f"https://labels.example/{shipment['id']}.pdf"}
        return httpx.Response(200, json=shipment)

    def _refund(self, shipment: dict[str, Any]) -> httpx.Response:
        if shipment["refund_status"]:
            words = "Refund request was unsuccessful."
            return httpx.Response(422, json=error("SHIPMENT.REFUND.FAILED", words))
        shipment["refund_status"] = "submitted"
        return httpx.Response(200, json=shipment)


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "errors": ["see the docs"]}}


GROUND_COST = Decimal("6.07")
