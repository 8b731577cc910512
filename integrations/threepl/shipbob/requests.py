"""What ShipBob is sent: an order with its lines' names kept in tags, and a new address."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import RefusedError
from domain.fulfillments import FulfillmentOrder
from domain.orders import Address, Method
from domain.values import Id
from integrations.node_system import Handover

LINE_TAG = "doms-line-"
"""Start of the name of the tags that tell a line's id, SKU and units, which products cannot."""
TAG_SEPARATOR = "/"
"""No id and no SKU holds one."""


class ShipBobSettings(BaseModel):
    """A connection's `settings`."""

    model_config = ConfigDict(extra="forbid")
    token_env: str = "SHIPBOB_TOKEN"  # noqa: S105 (a variable's name)
    channel_id: int
    """The channel that the token may write orders to."""
    locations: dict[Id, int] = Field(default_factory=dict)
    """ShipBob's location of each node; none: ShipBob chooses where it ships from."""
    shipping_method: str = "Standard"
    services: dict[Id, str] = Field(default_factory=dict)
    """ShipBob's shipping method for each of the network's services that is not the usual one."""
    order_type: Literal["DTC", "B2B", "DropShip"] = "DTC"


def order_request(handover: Handover, settings: ShipBobSettings) -> dict[str, Any]:
    """`POST /2026-01/order`. Raises RefusedError for what ShipBob cannot do."""
    order = handover.order
    if order.method != Method.SHIP.value:
        raise RefusedError(f"method: ShipBob only ships, and does no {order.method}")
    body: dict[str, Any] = {
        "reference_id": order.fulfillment_id,
        "order_number": order.order_id,
        "type": settings.order_type,
        "shipping_method": settings.services.get(order.service_id or "", settings.shipping_method),
        "recipient": _recipient(handover),
        "products": [
            {
                "reference_id": line.sku,
                "name": line.sku,
                "quantity": line.quantity,
                "external_line_id": number,
            }
            for number, line in enumerate(order.lines, 1)
        ],
        "tags": _line_tags(order),
    }
    if settings.locations:
        body["location_id"] = _location(order.node_id, settings)
    if order.deliver_by is not None:
        body["requested_delivery_date"] = order.deliver_by.isoformat()
    return body


def address_request(address: Address) -> dict[str, Any]:
    """`PUT /2026-01/shipment/{id}:updateAddress`. Raises RefusedError without a street."""
    _check(address)
    body = {
        "recipient_name": address.name,
        "street_address1": address.line1,
        "street_address2": address.line2,
        "city": address.city,
        "state": address.region,
        "zip_code": address.postal_code,
        "country_code": address.country,
    }
    return {name: value for name, value in body.items() if value}


def _line_tags(order: FulfillmentOrder) -> list[dict[str, str]]:
    return [
        {
            "name": f"{LINE_TAG}{number}",
            "value": TAG_SEPARATOR.join((line.line_id, line.sku, str(line.quantity))),
        }
        for number, line in enumerate(order.lines, 1)
    ]


def _recipient(handover: Handover) -> dict[str, Any]:
    address = handover.ship_to
    if address is None:
        raise RefusedError("ship_to: ShipBob needs an address: correct the order's")
    _check(address)
    name = address.name or handover.customer_name
    if not name:
        raise RefusedError("ship_to.name: ShipBob needs the receiver's name: correct the order's")
    sent = {
        "address1": address.line1,
        "address2": address.line2,
        "city": address.city,
        "state": address.region,
        "zip_code": address.postal_code,
        "country": address.country,
    }
    return {"name": name, "address": {key: value for key, value in sent.items() if value}}


def _check(address: Address) -> None:
    if not address.line1 or not address.city:
        raise RefusedError("ship_to: ShipBob needs a street and a city: correct the order's")


def _location(node_id: str, settings: ShipBobSettings) -> int:
    found = settings.locations.get(node_id)
    if found is None:
        raise RefusedError(
            f"no location of ShipBob's is {node_id}: name it in the connection's settings.locations"
        )
    return found
