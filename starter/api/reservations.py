"""A cart's hold: units kept for a shopper for a while, until an order takes them over."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from domain import kits
from domain.catalogue import Product
from domain.errors import ConflictError
from domain.values import DerivedId, Id, Model, Quantity, Text
from starter.api.context import (
    PathId,
    RawBody,
    Services,
    TheCaller,
    TheServices,
    body_as,
    json_body,
)
from starter.api.problems import FieldError, InvalidDocumentError
from starter.api.promise_body import LONGEST_HOLD_SECONDS
from starter.auth import INTAKE, OPERATIONS, SUPPORT, require
from starter.times import utc_text
from store import holds
from store.engine import reading, transaction
from store.holds import CartHold, HoldItem

router = APIRouter(tags=["reservations"])

MOST_ITEMS = 1_000
Seconds = Annotated[int, Field(strict=True, ge=1, le=LONGEST_HOLD_SECONDS)]


class ItemBody(Model):
    """Units of a SKU at a node, of a kit its components.

    `line_id` is the item's place in the list unless given.
    """

    line_id: Id | None = None
    node_id: Id
    sku: Id
    quantity: Quantity


class ReservationBody(Model):
    """A cart's hold. It ends by itself after `seconds`; `partial` takes what there is."""

    reservation_id: DerivedId | None = None
    items: Annotated[tuple[ItemBody, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    channel: Text = ""
    partial: bool = False
    seconds: Seconds = 900


class ExtensionBody(Model):
    """How long the hold lasts from now on."""

    seconds: Seconds


@router.post("/reservations", status_code=201, openapi_extra=json_body(ReservationBody))
def hold_for_cart(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Keep units for a cart, all or none unless `partial`; 409 names what is short.

    The same reservation again answers with what it holds now; other content under its id is 409.
    """
    require(caller, INTAKE)
    body = body_as(ReservationBody, raw)
    now = services.clock()
    items = _items(services, body)
    with transaction(services.engine) as session:
        held = holds.hold(
            session,
            body.reservation_id or f"hold-{uuid4().hex}",
            items,
            lasting=timedelta(seconds=body.seconds),
            now=now,
            channel=body.channel,
            partial=body.partial,
        )
    if held.is_over(now):
        raise ConflictError(f"reservation '{held.hold_id}' has ended: make one under another id")
    return JSONResponse(_shown(held), 201)


@router.get("/reservations/{reservation_id}")
def show_hold(reservation_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """What a cart's hold has, until when; how it ended."""
    require(caller, INTAKE, SUPPORT, OPERATIONS)
    with reading(services.engine) as session:
        held = holds.load(session, reservation_id)
    return JSONResponse(_shown(held.as_of(services.clock())))


@router.patch("/reservations/{reservation_id}", openapi_extra=json_body(ExtensionBody))
def extend_hold(
    reservation_id: PathId, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Let a hold last `seconds` from now; 409 when it has ended or belongs to an order."""
    require(caller, INTAKE)
    lasting = timedelta(seconds=body_as(ExtensionBody, raw).seconds)
    with transaction(services.engine) as session:
        held = holds.extend(session, reservation_id, lasting=lasting, now=services.clock())
    return JSONResponse(_shown(held))


@router.delete("/reservations/{reservation_id}", status_code=204)
def end_hold(reservation_id: PathId, services: TheServices, caller: TheCaller) -> Response:
    """Give a cart's units back; nothing happens when the hold has ended before.

    409 when an order has taken it over, or used it up: cancel the order.
    """
    require(caller, INTAKE)
    with transaction(services.engine) as session:
        holds.release(session, reservation_id, now=services.clock())
    return Response(status_code=204)


def _items(services: Services, body: ReservationBody) -> list[HoldItem]:
    """What to hold: of a kit its components. Raises InvalidDocumentError."""
    errors = []
    items: list[HoldItem] = []
    seen: set[tuple[str, str]] = set()
    with reading(services.engine) as session:
        known = services.reference.known(session)
        products = known.with_components(session, {item.sku for item in body.items})
    for number, item in enumerate(body.items):
        if item.node_id not in known.nodes:
            errors.append(FieldError(f"items.{number}.node_id", f"no node '{item.node_id}'"))
        if item.sku not in products:
            errors.append(FieldError(f"items.{number}.sku", f"no product '{item.sku}'"))
            continue
        try:
            found = _on_shelves(item.line_id or str(number + 1), item, products)
        except kits.KitError as error:
            errors.append(FieldError(f"items.{number}", f"the kit '{item.sku}': {error}"))
            continue
        for line_id in [x.line_id for x in found if (x.line_id, x.node_id) in seen]:
            message = f"line '{line_id}' asks '{item.node_id}' more than once"
            errors.append(FieldError(f"items.{number}.line_id", message))
        seen |= {(x.line_id, x.node_id) for x in found}
        items += found
    if len(items) > MOST_ITEMS:
        message = f"{len(items)} with the components of kits: at most {MOST_ITEMS}"
        errors.append(FieldError("items", message))
    if errors:
        raise InvalidDocumentError(errors)
    return items


def _on_shelves(line_id: str, item: ItemBody, products: Mapping[str, Product]) -> list[HoldItem]:
    """The item, or a kit's components at the item's node."""
    parts = kits.parts_of(products[item.sku], products.get)
    if not parts:
        return [_hold_item(line_id, item.sku, item.quantity, item)]
    ids, units = kits.component_ids(line_id, parts), kits.units_of(parts, item.quantity)
    return [_hold_item(*x, item=item) for x in zip(ids, parts, units, strict=True)]


def _hold_item(line_id: str, sku: str, quantity: int, item: ItemBody) -> HoldItem:
    return HoldItem(line_id=line_id, node_id=item.node_id, sku=sku, quantity=quantity)


def _shown(held: CartHold) -> dict[str, Any]:
    lines = [
        {
            "line_id": line.line_id,
            "node_id": line.node_id,
            "sku": line.sku,
            "wanted": line.wanted,
            "held": line.quantity,
            "missing": line.missing,
        }
        for line in held.lines
    ]
    return {
        "reservation_id": held.hold_id,
        "channel": held.channel,
        "order_id": held.order_id,
        "expires_at": utc_text(held.expires_at) if held.expires_at else None,
        "ended": held.ended,
        "items": lines,
    }
