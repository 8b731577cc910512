"""A Square account in memory: orders by their keys, and may lose its answers."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx

from domain.fulfillments import FulfillmentLine, FulfillmentOrder
from domain.network import Connection, ConnectionClass
from integrations.http import open_client
from integrations.node_system import Handover
from integrations.pos.square.client import Square
from tests.contract.recordings import VENDORS
from tests.contract.shipbob_account import ADDRESS
from tests.contract.specs import check_request

SPEC = VENDORS / "square" / "api.subset.norm.json"
SECRETS = {"SQUARE_TOKEN": "EAAA-s3cret"}
URL = "https://doms.example/v1/webhooks/square-1"
CONNECTION = Connection(
    connection_id="square-1",
    kind=ConnectionClass.POS,
    vendor="square",
    base_url="https://connect.squareup.com",
    settings={"locations": {"store-1": "L1", "store-2": "L2"}, "webhook_url": URL},
)


def handover(method: str = "pickup", **changes: Any) -> Handover:
    order = FulfillmentOrder(
        fulfillment_id="W-1-1",
        order_id="W-1",
        node_id="store-1",
        ship_group="1",
        method=method,
        lines=(
            FulfillmentLine(line_id="1", sku="TEE", quantity=2),
            FulfillmentLine(line_id="2", sku="MUG", quantity=1),
            FulfillmentLine(line_id="3", sku="TEE", quantity=1),
        ),
    )
    ship_to = ADDRESS if method == "ship" else None
    return Handover(
        order=order.model_copy(update=changes), ship_to=ship_to, customer_name="Jane Doe"
    )


class Account:
    """Orders by id. `lose` drops the answer to a call after its work was done."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.paid: list[str] = []
        self.stock: dict[tuple[str, str], Decimal] = {}
        self.skus: dict[str, str | None] = {"V-TEE": "TEE", "V-CUP": None}
        self.requests: list[httpx.Request] = []
        self.lose: Callable[[httpx.Request], bool] = lambda _: False
        self.before: Callable[[httpx.Request], None] = lambda _: None
        self.page_size = 1
        self.client = open_client(transport=httpx.MockTransport(self._answer))

    def till(self, connection: Connection = CONNECTION) -> Square:
        return Square(connection, SECRETS, self.client)

    def lose_once(self, ending: str, method: str = "POST") -> None:
        def lost(request: httpx.Request) -> bool:
            if request.url.path.endswith(ending) and request.method == method:
                self.lose = lambda _: False
                return True
            return False

        self.lose = lost

    @property
    def order(self) -> dict[str, Any]:
        (only,) = self.orders.values()
        return only

    @property
    def work(self) -> dict[str, Any]:
        found: dict[str, Any] = self.order["fulfillments"][0]
        return found

    def paths(self) -> list[str]:
        return [f"{x.method} {x.url.path.removeprefix('/v2')}" for x in self.requests]

    def become(self, state: str, **details: str) -> None:
        """The store's people did it."""
        name = "pickup_details" if self.work["type"] == "PICKUP" else "shipment_details"
        self.work["state"] = state
        self.work.setdefault(name, {}).update(details)
        self.order["version"] += 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if SPEC.exists():
            check_request(SPEC, request)
        self.before(request)
        answer = self._do(request)
        if self.lose(request):
            raise httpx.ReadError("the connection was reset")
        return answer

    def _do(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v2/")
        body = json.loads(request.content) if request.content else {}
        parts = path.split("/")
        match request.method, parts:
            case "POST", ["orders"]:
                return self._once(body, lambda: {"order": self._create(body["order"])})
            case "POST", ["orders", "search"]:
                return self._page("orders", list(reversed(self.orders.values())), body)
            case "POST", ["orders", order_id, "pay"]:
                return self._once(body, lambda: self._pay(order_id))
            case "PUT", ["orders", order_id]:
                return self._update(order_id, body)
            case "GET", ["orders", order_id]:
                if order_id not in self.orders:
                    return error(404, "NOT_FOUND", "Order not found.")
                return httpx.Response(200, json={"order": self.orders[order_id]})
            case "GET", ["catalog", "object", variation]:
                return self._variation(variation)
            case "GET", ["locations"]:
                return httpx.Response(200, json={"locations": [{"id": "L1"}, {"id": "L2"}]})
            case "POST", ["inventory", "counts", "batch-retrieve"]:
                return self._page("counts", self._counts(), body)
            case _:
                return self._once(body, lambda: self._move(body["changes"]))

    def _once(self, body: Any, work: Callable[[], dict[str, Any]]) -> httpx.Response:
        key = body["idempotency_key"]
        if key not in self.keys:
            self.keys[key] = (body, work())
        first, answer = self.keys[key]
        if first != body:
            return error(400, "IDEMPOTENCY_KEY_REUSED", "The key was used for something else.")
        return httpx.Response(200, json=answer)

    def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        order = {
            **wanted,
            "id": f"O{len(self.orders) + 1}",
            "version": 1,
            "state": "OPEN",
            "updated_at": "2026-05-01T08:00:00Z",
        }
        self.orders[order["id"]] = order
        return order

    def _pay(self, order_id: str) -> dict[str, Any]:
        self.paid.append(order_id)
        for line in self.orders[order_id]["line_items"]:
            place = (self.orders[order_id]["location_id"], line.get("catalog_object_id", ""))
            if place in self.stock:
                self.stock[place] -= Decimal(line["quantity"])
        return {"order": self.orders[order_id]}

    def _update(self, order_id: str, body: Any) -> httpx.Response:
        order, wanted = self.orders[order_id], body["order"]
        if body["idempotency_key"] in self.keys:
            return httpx.Response(200, json={"order": order})
        if wanted["version"] != order["version"]:
            return error(400, "VERSION_MISMATCH", "Object version does not match.")
        self.keys[body["idempotency_key"]] = (body, {})
        (change,) = wanted["fulfillments"]
        (work,) = order["fulfillments"]
        for name, value in change.items():
            if isinstance(value, dict):
                work.setdefault(name, {}).update(value)
            else:
                work[name] = value
        order["version"] += 1
        return httpx.Response(200, json={"order": order})

    def _variation(self, variation: str) -> httpx.Response:
        if variation not in self.skus:
            return error(404, "NOT_FOUND", "Catalog object not found.")
        data = {"sku": self.skus[variation]} if self.skus[variation] else {}
        found = {"type": "ITEM_VARIATION", "id": variation, "item_variation_data": data}
        return httpx.Response(200, json={"object": found})

    def _counts(self) -> list[dict[str, Any]]:
        return [
            {
                "catalog_object_id": variation,
                "location_id": location,
                "state": "IN_STOCK",
                "quantity": str(quantity),
            }
            for (location, variation), quantity in self.stock.items()
        ]

    def _move(self, changes: list[dict[str, Any]]) -> dict[str, Any]:
        for change in changes:
            moved = change["adjustment"]
            assert (moved["from_state"], moved["to_state"]) == ("UNLINKED_RETURN", "IN_STOCK")
            place = (moved["location_id"], moved["catalog_object_id"])
            self.stock[place] += Decimal(moved["quantity"])
        return {"counts": []}

    def _page(self, name: str, entries: list[dict[str, Any]], body: Any) -> httpx.Response:
        start = int(body.get("cursor", "0"))
        page: dict[str, Any] = {name: entries[start : start + self.page_size]}
        if start + self.page_size < len(entries):
            page["cursor"] = str(start + self.page_size)
        return httpx.Response(200, json=page)


def error(status: int, code: str, detail: str) -> httpx.Response:
    category = "INVALID_REQUEST_ERROR"
    errors = [{"category": category, "code": code, "detail": detail}]
    return httpx.Response(status, json={"errors": errors})
