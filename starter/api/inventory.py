"""Stock: positions read, counts and adjustments fed in, carts holding units for a while."""

import hashlib
from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from sqlalchemy.orm import Session

from domain.values import MAX_QUANTITY, DerivedId, Id, Model, Quantity, Text, UtcTime
from starter.api.asking import request_id_of
from starter.api.context import (
    PathId,
    RawBody,
    RawFeed,
    Services,
    TheCaller,
    TheServices,
    body_as,
    json_body,
)
from starter.api.problems import FieldError, InvalidDocumentError, not_found
from starter.auth import INTAKE, OPERATIONS, require
from store import holds, inventory
from store.engine import reading, transaction
from store.inventory import Condition, StockCount
from store.ledger import Position

router = APIRouter(tags=["inventory"])

MOST_ROWS = 100_000
LONGEST_HOLD = timedelta(days=1)


class CountRow(Model):
    """Units that lie at a node, all of them, whatever is promised of them."""

    node_id: Id
    sku: Id
    condition: Condition = Condition.USABLE
    quantity: Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
    counted_at: UtcTime | None = None


class SnapshotBody(Model):
    """A count as of `counted_at`; what moved since is put on top, an older count is ignored."""

    request_id: str | None = Field(default=None, min_length=1, max_length=128)
    counted_at: UtcTime
    rows: Annotated[tuple[CountRow, ...], Field(min_length=1, max_length=MOST_ROWS)]


class AdjustmentBody(Model):
    """Units more (or fewer, below zero) than doms believes. `request_id` makes it count once."""

    request_id: str | None = Field(default=None, min_length=1, max_length=128)
    node_id: Id
    sku: Id
    condition: Condition = Condition.USABLE
    delta: Annotated[int, Field(strict=True, ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
    reason: Text


class ReceiptBody(Model):
    """Units that arrived at a node; waiting backorders are granted theirs first."""

    request_id: str | None = Field(default=None, min_length=1, max_length=128)
    node_id: Id
    sku: Id
    quantity: Quantity


class HoldItem(Model):
    """Units of a SKU at a node that a cart wants kept."""

    node_id: Id
    sku: Id
    quantity: Quantity


class ReservationBody(Model):
    """A cart's hold. It ends by itself after `seconds`."""

    reservation_id: DerivedId | None = None
    items: Annotated[tuple[HoldItem, ...], Field(min_length=1, max_length=1_000)]
    seconds: Annotated[int, Field(ge=1, le=int(LONGEST_HOLD.total_seconds()))] = 900


@router.get("/inventory/{sku}")
def show_inventory(sku: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Units of a SKU by node and over the network; `available` is what can still be sold."""
    with reading(services.engine) as session:
        if not services.reference.known(session).products(session, [sku]):
            raise not_found(f"no product '{sku}'")
        positions = inventory.positions_of(session, sku)
    nodes = [_position(position) for position in positions]
    total: dict[str, int] = {}
    for row in nodes:
        for name, value in row.items():
            if isinstance(value, int):
                total[name] = total.get(name, 0) + value
    return JSONResponse({"sku": sku, "total": total, "nodes": nodes})


def _refuse_unknown(
    session: Session, services: Services, pairs: list[tuple[str, str, str]]
) -> None:
    """Raise InvalidDocumentError for each (path, node, SKU) that names an unknown one."""
    known = services.reference.known(session)
    products = known.products(session, {sku for _, _, sku in pairs})
    errors = []
    for path, node_id, sku in pairs:
        if node_id not in known.nodes:
            errors.append(FieldError(f"{path}node_id", f"no node '{node_id}'"))
        if sku not in products:
            errors.append(FieldError(f"{path}sku", f"no product '{sku}'"))
    if errors:
        raise InvalidDocumentError(errors)


@router.put("/inventory/snapshots", openapi_extra=json_body(SnapshotBody))
def put_snapshot(
    request: Request, raw: RawFeed, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Take a stock count. The same one again changes nothing; reservations are never erased."""
    require(caller, OPERATIONS)
    body = body_as(SnapshotBody, raw)
    asked = body.request_id or hashlib.sha256(raw).hexdigest()
    key = f"count/{request_id_of(request, asked)}"
    rows = [
        StockCount(
            node_id=row.node_id,
            sku=row.sku,
            condition=row.condition,
            quantity=row.quantity,
            counted_at=row.counted_at or body.counted_at,
        )
        for row in body.rows
    ]
    with reading(services.engine) as session:
        pairs = [(f"rows.{n}.", row.node_id, row.sku) for n, row in enumerate(body.rows)]
        _refuse_unknown(session, services, pairs)
    with transaction(services.engine) as session:
        inventory.set_stock(session, rows, key=key, now=services.clock())
    services.wake()
    return JSONResponse({"request_id": key.removeprefix("count/"), "rows": len(rows)})


@router.post("/inventory/adjustments", openapi_extra=json_body(AdjustmentBody))
def adjust(
    request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Add or take units with a reason. Send a `request_id`, so that a repeat counts once."""
    require(caller, OPERATIONS)
    body = body_as(AdjustmentBody, raw)
    request_id = request_id_of(request, body.request_id)
    if body.delta == 0:
        raise InvalidDocumentError([FieldError("delta", "0 changes nothing")])
    with transaction(services.engine) as session:
        _refuse_unknown(session, services, [("", body.node_id, body.sku)])
        inventory.adjust(
            session,
            body.node_id,
            body.sku,
            body.condition.value,
            body.delta,
            key=f"adjustment/{request_id}",
            now=services.clock(),
            reason=body.reason,
        )
        position = inventory.position(session, body.node_id, body.sku)
    services.wake()
    return JSONResponse({"request_id": request_id, "position": _position(position)})


@router.post("/inventory/receipts", openapi_extra=json_body(ReceiptBody))
def receive(
    request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Take in arriving units: backorders first, the rest can be sold."""
    require(caller, OPERATIONS)
    body = body_as(ReceiptBody, raw)
    request_id = request_id_of(request, body.request_id)
    with transaction(services.engine) as session:
        _refuse_unknown(session, services, [("", body.node_id, body.sku)])
        grants = inventory.receive(
            session,
            body.node_id,
            body.sku,
            body.quantity,
            key=f"receipt/{request_id}",
            now=services.clock(),
        )
        position = inventory.position(session, body.node_id, body.sku)
    services.wake()
    return JSONResponse(
        {
            "request_id": request_id,
            "grants": [grant.model_dump(mode="json") for grant in grants],
            "position": _position(position),
        }
    )


def _position(position: Position) -> dict[str, Any]:
    return {**position.model_dump(mode="json"), "available": position.sellable}


@router.post("/reservations", status_code=201, openapi_extra=json_body(ReservationBody))
def hold_for_cart(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Keep units for a cart, all or none; 409 names what is short."""
    require(caller, INTAKE)
    body = body_as(ReservationBody, raw)
    now = services.clock()
    reservation_id = body.reservation_id or f"hold-{uuid4().hex}"
    items = [(item.node_id, item.sku, item.quantity) for item in body.items]
    if len({(node_id, sku) for node_id, sku, _ in items}) != len(items):
        raise InvalidDocumentError([FieldError("items", "a node and SKU stand more than once")])
    with transaction(services.engine) as session:
        pairs = [(f"items.{n}.", node_id, sku) for n, (node_id, sku, _) in enumerate(items)]
        _refuse_unknown(session, services, pairs)
        expires_at = holds.hold(
            session,
            reservation_id,
            items,
            expires_at=now + timedelta(seconds=body.seconds),
            now=now,
        )
    return JSONResponse(
        {"reservation_id": reservation_id, "expires_at": expires_at.isoformat()}, 201
    )


@router.delete("/reservations/{reservation_id}", status_code=204)
def end_hold(reservation_id: PathId, services: TheServices, caller: TheCaller) -> Response:
    """Give a cart's units back; nothing happens when the hold has ended before."""
    require(caller, INTAKE)
    with transaction(services.engine) as session:
        if not holds.release(session, reservation_id, now=services.clock()):
            raise not_found(f"no reservation '{reservation_id}'")
    return Response(status_code=204)
