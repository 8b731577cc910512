"""A UPS account in memory: every request is checked against UPS's own OpenAPI where it is here."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx

from domain.network import Connection, ConnectionClass
from integrations.carrier.ups.client import Ups
from integrations.http import open_client
from tests.contract.easypost_account import CONNECTION as EASYPOST
from tests.contract.recordings import VENDORS
from tests.contract.specs import check_request

SECRETS = {"UPS_CLIENT_ID": "id", "UPS_CLIENT_SECRET": "s3cret"}
CONNECTION = Connection(
    connection_id="ups-1",
    kind=ConnectionClass.CARRIER,
    vendor="ups",
    base_url="https://onlinetools.ups.com",
    settings={
        "account": "A12345",
        "sender": EASYPOST.settings["sender"],
        "services": {"GROUND": "03", "NEXT-DAY": "01"},
    },
)
LABEL = b"GIF89a label"
_CHARGE = {"CurrencyCode": "USD", "MonetaryValue": "12.40"}
_OWN_CHARGE = {"TotalCharge": {"CurrencyCode": "USD", "MonetaryValue": "8.15"}}
_SPECS = {
    "/security": "OAuthClientCredentials-Ready.yaml",
    "/api/rating": "Rating.yaml",
    "/api/shipments": "Shipping.yaml",
    "/api/track": "Tracking.yaml",
}
"""Label recovery is left to a test of its own: UPS's file refuses UPS's own example of it."""


class Account:
    """Packages by tracking number. `lose` drops the answer to a call after its work was done."""

    def __init__(self, *, checks: bool = False) -> None:
        self.packages: dict[str, dict[str, Any]] = {}
        self.requests: list[httpx.Request] = []
        self.tokens = 0
        self.valid: set[str] = set()
        self.life = "14399"
        self.lose: Callable[[httpx.Request], bool] = lambda _: False
        self.picked_up: set[str] = set()
        self._checks = checks
        self.client = open_client(transport=httpx.MockTransport(self._answer))

    def carrier(self) -> Ups:
        return Ups(CONNECTION, SECRETS, self.client)

    def lose_once(self, ending: str) -> None:
        def lost(request: httpx.Request) -> bool:
            if request.url.path.endswith(ending):
                self.lose = lambda _: False
                return True
            return False

        self.lose = lost

    def paths(self) -> list[str]:
        return [f"{x.method} {x.url.path}" for x in self.requests]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        for start, name in _SPECS.items():
            if self._checks and request.url.path.startswith(start):
                check_request(VENDORS / "ups" / name, request)
        answer = self._do(request)
        if self.lose(request):
            raise httpx.ReadError("the connection was reset")
        return answer

    def _do(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/security"):
            return self._new_token()
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.valid:
            return refusal(401, "250002", "Invalid Authentication Information.")
        body = json.loads(request.content) if request.content else {}
        if path.startswith("/api/rating"):
            return httpx.Response(200, json={"RateResponse": {"RatedShipment": RATED}})
        if path.endswith("/ship"):
            return self._ship(body["ShipmentRequest"]["Shipment"])
        if path.endswith("/recovery"):
            return self._recover(body["LabelRecoveryRequest"]["TrackingNumber"])
        if "/void/" in path:
            return self._void(path.rpartition("/")[2])
        return self._track(path)

    def _new_token(self) -> httpx.Response:
        self.tokens += 1
        self.valid = {f"token-{self.tokens}"}
        answer = {"access_token": f"token-{self.tokens}", "expires_in": self.life}
        return httpx.Response(200, json=answer)

    def _ship(self, shipment: dict[str, Any]) -> httpx.Response:
        number = f"1Z12345E{len(self.packages):010d}"
        (package,) = shipment["Package"]
        (reference,) = package["ReferenceNumber"]
        self.packages[number] = {
            "reference": reference["Value"],
            "service": shipment["Service"]["Code"],
            "type": "M",
        }
        results = {
            "ShipmentIdentificationNumber": number,
            "ShipmentCharges": {"TotalCharges": _CHARGE},
            "NegotiatedRateCharges": _OWN_CHARGE,
            "PackageResults": [
                {
                    "TrackingNumber": number,
                    "ShippingLabel": {"ImageFormat": {"Code": "GIF"}, "GraphicImage": PICTURE},
                }
            ],
        }
        return httpx.Response(200, json={"ShipmentResponse": {"ShipmentResults": results}})

    def _recover(self, number: str) -> httpx.Response:
        image = {"LabelImageFormat": {"Code": "GIF"}, "GraphicImage": PICTURE}
        answer = {
            "ShipmentIdentificationNumber": number,
            "LabelResults": [{"TrackingNumber": number, "LabelImage": image}],
        }
        return httpx.Response(200, json={"LabelRecoveryResponse": answer})

    def _void(self, number: str) -> httpx.Response:
        package = self.packages[number]
        if number in self.picked_up or package["type"] == "MV":
            return refusal(400, "190000", "It can no longer be voided.")
        package["type"] = "MV"
        status = {"SummaryResult": {"Status": {"Code": "1", "Description": "Voided"}}}
        return httpx.Response(200, json={"VoidShipmentResponse": status})

    def _track(self, path: str) -> httpx.Response:
        wanted = path.rpartition("/")[2]
        found = [
            self._package(number)
            for number, package in self.packages.items()
            if wanted in (number, package["reference"])
        ]
        if not found:
            return refusal(404, "TW0001", "Tracking Information Not Found")
        return httpx.Response(200, json={"trackResponse": {"shipment": [{"package": found}]}})

    def _package(self, number: str) -> dict[str, Any]:
        package = self.packages[number]
        status = {"type": package["type"], "code": "MP", "description": "Label made"}
        activity = {"date": "20260501", "time": "101500", "status": status}
        return {
            "trackingNumber": number,
            "currentStatus": status,
            "service": {"code": package["service"]},
            "activity": [activity],
        }


PICTURE = b64encode(LABEL).decode()
RATED = [
    {"Service": {"Code": "01"}, "TotalCharges": {"CurrencyCode": "USD", "MonetaryValue": "48.30"}},
    {
        "Service": {"Code": "03"},
        "TotalCharges": _CHARGE,
        "NegotiatedRateCharges": _OWN_CHARGE,
        "GuaranteedDelivery": {"BusinessDaysInTransit": "3"},
    },
]


def refusal(status: int, code: str, message: str) -> httpx.Response:
    errors = [{"code": code, "message": message}]
    return httpx.Response(status, json={"response": {"errors": errors}})
