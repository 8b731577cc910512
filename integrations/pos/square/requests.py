"""What Square is sent: an order for a store's people, and changes of it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import RefusedError
from domain.fulfillments import Package
from domain.money import CurrencyCode
from domain.orders import Address, Method
from domain.values import Id
from integrations.node_system import Handover

SOURCE = "doms"
FULFILLMENT_UID = "doms"
OURS = "fulfillment_id"
"""The name in an order's metadata under which it is known here."""
_DETAILS = {"PICKUP": "pickup_details", "SHIPMENT": "shipment_details"}
_LONGEST_REFERENCE = 40
_LONGEST_REASON = 100
_LONGEST_CARRIER = 50


class SquareSettings(BaseModel):
    """A connection's `settings`."""

    model_config = ConfigDict(extra="forbid")
    token_env: str = "SQUARE_TOKEN"  # noqa: S105 (a variable's name)
    locations: dict[Id, str] = Field(min_length=1)
    """Square's location of each node."""
    webhook_url: str = ""
    """The address that the subscription names, to the letter: Square signs it too."""
    currency: CurrencyCode = "USD"
    version: str = "2025-08-20"


def order_request(
    handover: Handover, location_id: str, currency: str, variations: Mapping[str, str]
) -> dict[str, Any]:
    """`POST /v2/orders`: what to hand out or send; it was paid elsewhere, so it costs nothing.

    `variations` are the catalogue's ids by SKU; a product without one is named only, and Square
    keeps no stock of it.
    """
    order = handover.order
    lines = [
        _line(f"l{number}", line.sku, line.quantity, currency, variations)
        for number, line in enumerate(order.lines, 1)
    ]
    body = {
        "location_id": location_id,
        "reference_id": order.order_id[:_LONGEST_REFERENCE],
        "source": {"name": SOURCE},
        "metadata": {OURS: order.fulfillment_id},
        "line_items": lines,
        "fulfillments": [_fulfillment(handover)],
    }
    return {"idempotency_key": order.fulfillment_id, "order": body}


def change_request(
    order: Mapping[str, Any], key: str, *, kind: str, state: str | None, **details: Any
) -> dict[str, Any]:
    """`PUT /v2/orders/{id}`: the fulfillment's new state and details, at the version that was read.

    The other fields stay as they are.
    """
    told = {name: value for name, value in details.items() if value}
    fulfillment: dict[str, Any] = {"uid": FULFILLMENT_UID, "type": kind}
    if state is not None:
        fulfillment["state"] = state
    if told:
        fulfillment[_DETAILS[kind]] = told
    changed = {
        "location_id": order["location_id"],
        "version": order["version"],
        "fulfillments": [fulfillment],
    }
    return {"idempotency_key": key, "order": changed}


def cancelled(reason: str) -> dict[str, str]:
    """Why, as a fulfillment's details tell it."""
    return {"cancel_reason": reason[:_LONGEST_REASON]}


def labelled(packages: tuple[Package, ...]) -> dict[str, str]:
    """The label of the parcel; further ones stand in the note."""
    first, *others = packages
    note = ", ".join(x.tracking_number for x in others if x.tracking_number)
    return {
        "carrier": (first.carrier or "")[:_LONGEST_CARRIER],
        "tracking_number": first.tracking_number or "",
        "shipping_note": f"also {note}" if note else "",
    }


def returned_request(
    key: str, location_id: str, units: Mapping[str, str], at: str
) -> dict[str, Any]:
    """`POST /v2/inventory/changes/batch-create`: units by variation that lie on the shelf again."""
    changes = [
        {
            "type": "ADJUSTMENT",
            "adjustment": {
                "catalog_object_id": variation,
                "from_state": "UNLINKED_RETURN",
                "to_state": "IN_STOCK",
                "location_id": location_id,
                "quantity": quantity,
                "occurred_at": at,
            },
        }
        for variation, quantity in units.items()
    ]
    return {"idempotency_key": key, "changes": changes}


def recipient(address: Address, name: str | None = None) -> dict[str, Any]:
    """Who gets it, and where. Raises RefusedError without a street."""
    if not address.line1 or not address.city:
        raise RefusedError("ship_to: the store needs a street and a city: correct the order's")
    place = {
        "address_line_1": address.line1,
        "address_line_2": address.line2,
        "locality": address.city,
        "administrative_district_level_1": address.region,
        "postal_code": address.postal_code,
        "country": address.country,
    }
    told = {key: value for key, value in place.items() if value}
    return {"display_name": address.name or name or "Customer", "address": told}


def _line(
    uid: str, sku: str, quantity: int, currency: str, variations: Mapping[str, str]
) -> dict[str, Any]:
    line = {
        "uid": uid,
        "quantity": str(quantity),
        "base_price_money": {"amount": 0, "currency": currency},
        "note": sku,
    }
    if sku in variations:
        return {**line, "catalog_object_id": variations[sku]}
    return {**line, "name": sku}


def _fulfillment(handover: Handover) -> dict[str, Any]:
    order = handover.order
    common = {"uid": FULFILLMENT_UID, "state": "PROPOSED"}
    if order.method == Method.SHIP.value:
        if handover.ship_to is None:
            raise RefusedError("ship_to: the store needs an address: correct the order's")
        to = recipient(handover.ship_to, handover.customer_name)
        return {**common, "type": "SHIPMENT", "shipment_details": {"recipient": to}}
    details: dict[str, Any] = {
        "recipient": {"display_name": handover.customer_name or order.order_id},
        "schedule_type": "ASAP",
    }
    if order.ship_by is not None:
        details |= {"schedule_type": "SCHEDULED", "pickup_at": order.ship_by.isoformat()}
    return {**common, "type": "PICKUP", "pickup_details": details}
