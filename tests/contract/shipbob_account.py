"""A ShipBob channel in memory: it keeps orders by reference, and may lose its answers."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from domain.fulfillments import FulfillmentLine, FulfillmentOrder
from domain.network import Connection, ConnectionClass
from domain.orders import Address
from integrations.http import open_client
from integrations.node_system import Handover
from integrations.threepl.shipbob.client import ShipBob
from tests.contract.recordings import VENDORS
from tests.contract.specs import check_request

SPEC = VENDORS / "shipbob" / "openapi-2026-01.norm.json"
SECRETS = {"SHIPBOB_TOKEN": "pat-s3cret"}
CONNECTION = Connection(
    connection_id="shipbob-1",
    kind=ConnectionClass.THREEPL,
    vendor="shipbob",
    base_url="https://api.shipbob.com",
    settings={
        "channel_id": 77,
        "locations": {"3PL-1": 10, "3PL-2": 11},
        "services": {"EXPRESS": "Expedited"},
    },
)
ADDRESS = Address(
    name="Jane Doe",
    line1="179 N Harbor Dr",
    city="Redondo Beach",
    region="CA",
    postal_code="90277",
    country="US",
)


def handover(*lines: tuple[str, str, int], **changes: Any) -> Handover:
    order = FulfillmentOrder(
        fulfillment_id="W-1-1",
        order_id="W-1",
        node_id="3PL-1",
        ship_group="1",
        method="ship",
        service_id="GROUND",
        lines=tuple(
            FulfillmentLine(line_id=line_id, sku=sku, quantity=quantity)
            for line_id, sku, quantity in lines or (("1", "TEE", 2), ("2", "MUG", 1))
        ),
    )
    return Handover(order=order.model_copy(update=changes), ship_to=ADDRESS)


class Account:
    """Orders by reference. `lose` drops the answer to a call after its work was done."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.requests: list[httpx.Request] = []
        self.lose: Callable[[httpx.Request], bool] = lambda _: False
        self.parcels: list[dict[str, Any]] = []
        self.stock: list[dict[str, Any]] = []
        self.picked: set[int] = set()
        self.channels = [{"id": 77, "name": "shop", "scopes": ["orders_write"]}]
        self.page_size = 1
        self.client = open_client(transport=httpx.MockTransport(self._answer))

    def warehouse(self, connection: Connection = CONNECTION) -> ShipBob:
        return ShipBob(connection, SECRETS, self.client)

    def lose_once(self, ending: str) -> None:
        def lost(request: httpx.Request) -> bool:
            if request.url.path.endswith(ending) and request.method != "GET":
                self.lose = lambda _: False
                return True
            return False

        self.lose = lost

    def order(self, reference: str = "W-1-1") -> dict[str, Any]:
        return self.orders[reference]

    def shipments(self, reference: str = "W-1-1") -> list[dict[str, Any]]:
        shipments: list[dict[str, Any]] = self.orders[reference]["shipments"]
        return shipments

    def split(self, *contents: dict[str, int], reference: str = "W-1-1") -> None:
        """Put the order's units into so many shipments."""
        order = self.orders[reference]
        order["shipments"] = [
            a_shipment(order, number, units) for number, units in enumerate(contents)
        ]

    def ship(self, number: int, tracking_number: str, reference: str = "W-1-1") -> None:
        self.shipments(reference)[number] |= {
            "status": "Completed",
            "actual_fulfillment_date": "2026-05-02T09:00:00Z",
            "tracking": {
                "carrier": "USPS",
                "carrier_service": "Priority",
                "tracking_number": tracking_number,
            },
        }

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if SPEC.exists():
            check_request(SPEC, request)
        answer = self._do(request)
        if self.lose(request):
            raise httpx.ReadError("the connection was reset")
        return answer

    def _do(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/2026-01/")
        body = json.loads(request.content) if request.content else {}
        if path == "order" and request.method == "POST":
            return self._create(body)
        if path == "order":
            wanted = request.url.params["ReferenceIds"].split(",")
            # Like a search that finds more than was asked for.
            found = [x for x in self.orders.values() if x["reference_id"].startswith(tuple(wanted))]
            return httpx.Response(200, json=found)
        if path == "tracking":
            return httpx.Response(200, json=self.parcels)
        if path == "channel":
            return httpx.Response(200, json={"items": self.channels})
        if path == "inventory-level/locations":
            return self._stock_page(int(request.url.params.get("Page", "0")))
        kind, _, rest = path.partition("/")
        number, _, action = rest.partition(":")
        if kind == "order":
            return self._cancel_order(int(number))
        return self._do_with_shipment(int(number), action, body)

    def _create(self, body: dict[str, Any]) -> httpx.Response:
        if body["reference_id"] in self.orders:
            words = ["Order with this reference id already exists"]
            return httpx.Response(422, json={"ReferenceId": words})
        if any(x["reference_id"] == "BAD" for x in body["products"]):
            return httpx.Response(422, json={"Products": ["BAD cannot be shipped"]})
        number = 1000 + len(self.orders)
        order = {
            **body,
            "id": number,
            "status": "Processing",
            "created_date": "2026-05-01T08:00:00Z",
        }
        units = {x["reference_id"]: 0 for x in body["products"]}
        for product in body["products"]:
            units[product["reference_id"]] += product["quantity"]
        order["shipments"] = [a_shipment(order, 0, units)]
        self.orders[body["reference_id"]] = order
        return httpx.Response(201, json=order)

    def _cancel_order(self, number: int) -> httpx.Response:
        (order,) = [x for x in self.orders.values() if x["id"] == number]
        if order["status"] == "Cancelled":
            return httpx.Response(422, json={"OrderId": ["Order is already cancelled"]})
        results = [self._cancel(x) for x in order["shipments"]]
        if all(results):
            order["status"] = "Cancelled"
        outcome = "Success" if all(results) else "PartialSuccess" if any(results) else "Failure"
        return httpx.Response(200, json={"order_id": number, "status": outcome})

    def _cancel(self, shipment: dict[str, Any]) -> bool:
        if shipment["id"] in self.picked or shipment["status"] == "Completed":
            return False
        shipment["status"] = "Cancelled"
        return True

    def _do_with_shipment(self, number: int, action: str, body: Any) -> httpx.Response:
        (shipment,) = [x for y in self.orders.values() for x in y["shipments"] if x["id"] == number]
        if action == "cancel":
            if shipment["status"] == "Cancelled" or not self._cancel(shipment):
                return httpx.Response(422, json={"ShipmentId": ["cannot be cancelled"]})
        elif action == "updateAddress":
            if number in self.picked:
                error = {"code": "CONFLICT", "message": "already picked"}
                return httpx.Response(400, json=error)
            shipment["recipient"] = body
            return httpx.Response(200, json={"id": number, "is_success": True})
        return httpx.Response(200, json=shipment)

    def _stock_page(self, page: int) -> httpx.Response:
        start = page * self.page_size
        body: dict[str, Any] = {"items": self.stock[start : start + self.page_size], "next": None}
        if start + self.page_size < len(self.stock):
            body["next"] = f"/2026-01/inventory-level/locations?PageSize=250&Page={page + 1}"
        return httpx.Response(200, json=body)


def a_shipment(order: dict[str, Any], number: int, units: dict[str, int]) -> dict[str, Any]:
    return {
        "id": order["id"] * 10 + number,
        "order_id": order["id"],
        "reference_id": order["reference_id"],
        "status": "Processing",
        "created_date": "2026-05-01T08:00:00Z",
        "last_update_at": "2026-05-01T09:00:00.1234567Z",
        "measurements": {"length_in": 10, "width_in": 8, "depth_in": 4, "total_weight_oz": 20},
        "products": [
            {
                "reference_id": sku,
                "sku": sku,
                # One entry for each lot.
                "inventory_items": [{"quantity": 1, "lot": str(n)} for n in range(quantity)],
            }
            for sku, quantity in units.items()
        ],
        "tracking": None,
    }
