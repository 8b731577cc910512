"""What nodes' systems and people report of stock: counts, adjustments, arrivals, till sales."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy.orm import Session

from domain.inventory import Condition, Position
from domain.supply import SupplyType
from domain.values import MAX_QUANTITY, Id, Model, Quantity, Text, UtcTime
from starter.api.asking import request_id_of
from starter.api.context import (
    RawBody,
    RawFeed,
    Services,
    TheCaller,
    TheServices,
    body_as,
    json_body,
)
from starter.api.problems import FieldError, InvalidDocumentError
from starter.auth import OPERATIONS, require
from starter.times import told_time
from store import feeds, inventory
from store.engine import reading, transaction
from store.feeds import TillSale
from store.inventory import StockCount, StockTaken
from store.operations import content_hash
from store.supply import Expected, expect_supply

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far another system's clock may be ahead."""

router = APIRouter()

MOST_ROWS = 100_000
MOST_UNITS = 1_000_000_000
RequestId = Annotated[str | None, Field(min_length=1, max_length=128)]


class CountRow(Model):
    """Units that lie at a node, all of them, whatever is promised of them."""

    node_id: Id
    sku: Id
    condition: Condition = Condition.USABLE
    quantity: Annotated[int, Field(strict=True, ge=0, le=MOST_UNITS)]
    counted_at: UtcTime | None = None


class SnapshotBody(Model):
    """A count as of `counted_at`; what moved since is put on top.

    A row older than the last count of the same thing changes nothing: it is answered in `ignored`.
    With `skip_unknown`, rows of unknown nodes and products are answered in `refused` and the
    others taken; without it, one such row refuses the whole.
    """

    request_id: RequestId = None
    counted_at: UtcTime
    rows: Annotated[tuple[CountRow, ...], Field(min_length=1, max_length=MOST_ROWS)]
    skip_unknown: bool = False


class CycleCountBody(Model):
    """What people counted on a node's shelves; units picked and not handed over lie elsewhere."""

    request_id: RequestId = None
    counted_at: UtcTime
    rows: Annotated[tuple[CountRow, ...], Field(min_length=1, max_length=10_000)]


class AdjustmentBody(Model):
    """Units more (or fewer, below zero) than doms believes. `request_id` makes it count once.

    `occurred_at`: when it happened; a newer count has seen it already.
    """

    request_id: RequestId = None
    node_id: Id
    sku: Id
    condition: Condition = Condition.USABLE
    delta: Annotated[int, Field(strict=True, ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
    reason: Text
    occurred_at: UtcTime | None = None


class ReceiptBody(Model):
    """Units that arrived at a node; waiting backorders are granted theirs first.

    With `supply_id` as many units of that supply are no longer expected.
    """

    request_id: RequestId = None
    node_id: Id
    sku: Id
    quantity: Quantity
    supply_id: Id | None = None
    occurred_at: UtcTime | None = None


class TillSaleBody(Model):
    """Units sold over a store's counter, whatever orders have there."""

    request_id: RequestId = None
    node_id: Id
    sku: Id
    quantity: Quantity
    sold_at: UtcTime


class SupplyRow(Model):
    """Units due at a node; `quantity` is what had not arrived yet, 0 takes the supply back."""

    supply_id: Id
    node_id: Id
    sku: Id
    quantity: Annotated[int, Field(strict=True, ge=0, le=MAX_QUANTITY)]
    due: UtcTime
    supply_type: SupplyType = SupplyType.PURCHASE_ORDER
    condition: Condition = Condition.USABLE


class SupplyBody(Model):
    """Dated supply as known at `as_of`; an older word on the same supply is ignored."""

    as_of: UtcTime | None = None
    rows: Annotated[tuple[SupplyRow, ...], Field(min_length=1, max_length=10_000)]


@router.put("/inventory/snapshots", openapi_extra=json_body(SnapshotBody))
def put_snapshot(
    request: Request, raw: RawFeed, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Take a stock count. The same one again changes nothing; reservations are never erased."""
    require(caller, OPERATIONS)
    body = body_as(SnapshotBody, raw)
    asked = body.request_id or hashlib.sha256(raw).hexdigest()
    request_id = request_id_of(request, asked)
    refused = _unknown_rows(services, body.rows)
    if refused and not body.skip_unknown:
        raise InvalidDocumentError(error for _, error in refused)
    out = {number for number, _ in refused}
    rows = _counts(services, body.counted_at, [x for n, x in enumerate(body.rows) if n not in out])
    key = f"count/{request_id}"
    if body.skip_unknown:
        # What is known may be more at the next try: then it is another count.
        key += f"/{content_hash([row.model_dump(mode='json') for row in rows])[:16]}"
    with transaction(services.engine) as session:
        taken = inventory.set_stock(session, rows, key=key, now=services.clock())
    services.wake()
    answer = {"request_id": request_id, **_became(body, len(rows), taken)}
    if body.skip_unknown:
        answer["refused"] = [
            {"row": number, "path": error.path, "message": error.message}
            for number, error in refused
        ]
    return JSONResponse(answer)


@router.post("/inventory/counts", openapi_extra=json_body(CycleCountBody))
def count_shelves(
    request: Request, raw: RawFeed, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Take a cycle count: it settles suspect units, and what differs is a discrepancy."""
    require(caller, OPERATIONS)
    body = body_as(CycleCountBody, raw)
    request_id = request_id_of(request, body.request_id)
    refused = _unknown_rows(services, body.rows)
    if refused:
        raise InvalidDocumentError(error for _, error in refused)
    rows = _counts(services, body.counted_at, body.rows)
    with transaction(services.engine) as session:
        key = f"cycle_count/{request_id}"
        taken = inventory.set_stock(session, rows, key=key, now=services.clock(), by_people=True)
    services.wake()
    return JSONResponse({"request_id": request_id, **_became(body, len(rows), taken)})


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
        refuse_unknown(session, services, [("", body.node_id, body.sku)])
        inventory.adjust(
            session,
            body.node_id,
            body.sku,
            body.condition.value,
            body.delta,
            key=f"adjustment/{request_id}",
            now=services.clock(),
            reason=body.reason,
            occurred_at=body.occurred_at,
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
        refuse_unknown(session, services, [("", body.node_id, body.sku)])
        grants = inventory.receive(
            session,
            body.node_id,
            body.sku,
            body.quantity,
            key=f"receipt/{request_id}",
            now=services.clock(),
            supply_id=body.supply_id,
            occurred_at=body.occurred_at,
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


@router.post("/inventory/till-sales", openapi_extra=json_body(TillSaleBody))
def sell_at_till(
    request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Take off what a till sold; `owed` units that orders have are short by that."""
    require(caller, OPERATIONS)
    body = body_as(TillSaleBody, raw)
    request_id = request_id_of(request, body.request_id)
    with transaction(services.engine) as session:
        refuse_unknown(session, services, [("", body.node_id, body.sku)])
        sale = TillSale.model_validate(body.model_dump(exclude={"request_id"}))
        key = f"till_sale/{request_id}"
        sold = feeds.sell_at_till(session, sale, key=key, now=services.clock())
        position = inventory.position(session, body.node_id, body.sku)
    services.wake()
    answer = sold.model_dump(mode="json", include={"taken", "unexpected", "owed"})
    return JSONResponse({"request_id": request_id, **answer, "position": _position(position)})


@router.put("/inventory/supply", openapi_extra=json_body(SupplyBody))
def put_supply(raw: RawFeed, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Say what is on its way: purchase orders, transfers, planned production."""
    require(caller, OPERATIONS)
    body = body_as(SupplyBody, raw)
    pairs = [(f"rows.{n}.", row.node_id, row.sku) for n, row in enumerate(body.rows)]
    with transaction(services.engine) as session:
        refuse_unknown(session, services, pairs)
        rows = [Expected(**row.model_dump(), as_of=body.as_of) for row in body.rows]
        expect_supply(session, rows)
    return JSONResponse({"rows": len(rows)})


def refuse_unknown(
    session: Session, services: Services, pairs: Sequence[tuple[str, str, str]]
) -> None:
    """Raise InvalidDocumentError for each (path, node, SKU) that names an unknown one."""
    errors = [error for _, error in _unknown(session, services, pairs)]
    if errors:
        raise InvalidDocumentError(errors)


def _unknown_rows(services: Services, rows: Sequence[CountRow]) -> list[tuple[int, FieldError]]:
    pairs = [(f"rows.{n}.", row.node_id, row.sku) for n, row in enumerate(rows)]
    with reading(services.engine) as session:
        return _unknown(session, services, pairs)


def _unknown(
    session: Session, services: Services, pairs: Sequence[tuple[str, str, str]]
) -> list[tuple[int, FieldError]]:
    known = services.reference.known(session)
    products = known.products(session, {sku for _, _, sku in pairs})
    errors = []
    for number, (path, node_id, sku) in enumerate(pairs):
        if node_id not in known.nodes:
            errors.append((number, FieldError(f"{path}node_id", f"no node '{node_id}'")))
        if sku not in products:
            errors.append((number, FieldError(f"{path}sku", f"no product '{sku}'")))
    return errors


def _counts(services: Services, counted_at: datetime, rows: Sequence[CountRow]) -> list[StockCount]:
    """The rows as counts. Raises InvalidDocumentError for a time to come.

    Such a count would outdate every real one until then.
    """
    latest = services.clock() + CLOCKS_DIFFER
    if counted_at > latest:
        raise InvalidDocumentError([FieldError("counted_at", "lies in the future")])
    late = [n for n, row in enumerate(rows) if row.counted_at and row.counted_at > latest]
    if late:
        raise InvalidDocumentError(
            FieldError(f"rows.{number}.counted_at", "lies in the future") for number in late
        )
    return [
        StockCount(
            node_id=row.node_id,
            sku=row.sku,
            condition=row.condition,
            quantity=row.quantity,
            counted_at=row.counted_at or counted_at,
        )
        for row in rows
    ]


def _became(
    body: SnapshotBody | CycleCountBody, received: int, taken: StockTaken
) -> dict[str, Any]:
    """How many rows were received, and which of them are too old to count."""
    numbers = {(row.node_id, row.sku, row.condition): n for n, row in enumerate(body.rows)}
    named = sorted(
        (numbers[row.node_id, row.sku, Condition(row.condition)], row.last_counted_at)
        for row in taken.ignored
    )
    ignored = [
        {
            "row": number,
            "path": f"rows.{number}.counted_at",
            "message": f"older than the last count, of {told_time(last)}",
        }
        for number, last in named
    ]
    return {"rows": received, "ignored_rows": taken.ignored_rows, "ignored": ignored}


def _position(position: Position) -> dict[str, Any]:
    return {**position.model_dump(mode="json"), "available": position.sellable}
