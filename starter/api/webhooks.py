"""Webhooks: proved over the raw bytes, stored, answered; the dispatcher signals afterwards."""

import os
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from domain.network import Connection, ConnectionClass
from integrations.capture import VENDORS
from integrations.errors import BadSignatureError, NothingToDoError, QuarantineError
from integrations.vendor import Event, NewsOf, NewsOfOrder, NewsOfStock
from integrations.webhooks import translate, verify
from starter.api.context import PathId, Services, TheCaller, TheServices, read_body, services_of
from starter.api.links import fulfillment_workflow_of
from starter.api.problems import ProblemError, not_found
from starter.auth import OPERATIONS, SUPPORT, require
from starter.times import utc_text
from store import inbox
from store.engine import reading, transaction

router = APIRouter(tags=["webhooks"])

_BY_WEBHOOK = "webhook"


@router.post("/webhooks/{connection_id}", status_code=202)
async def receive_webhook(connection_id: PathId, request: Request) -> Response:
    """Take what an outside system tells. Its signature is its key; each delivery id counts once."""
    raw = await read_body(request)
    return await run_in_threadpool(_receive, connection_id, request, raw)


def _receive(connection_id: str, request: Request, raw: bytes) -> Response:
    services = services_of(request)
    connection = _connection(services, connection_id)
    headers = dict(request.headers)
    try:
        delivery_id = verify(connection, secret_of(services, connection), headers, raw)
    except BadSignatureError as error:
        raise ProblemError(401, str(error)) from error
    if connection.kind is ConnectionClass.CAPTURE:
        return _take_order(services, connection, raw)
    events, reason = _told(connection, raw)
    about = [x for x in events if not isinstance(x, NewsOfOrder | NewsOfStock)]
    stream = fulfillment_workflow_of(about[0].fulfillment_id) if about else None
    with transaction(services.engine) as session:
        message_id, is_new = inbox.put(
            session,
            kind="webhook",
            connection_id=connection_id,
            event_id=delivery_id,
            stream=stream,
            name="webhook",
            payload={},
            body=raw,
            now=services.clock(),
        )
        if is_new and reason is not None:
            inbox.quarantine(session, message_id, reason)
    if is_new and reason is None:
        services.wake()
        for event in events:
            if isinstance(event, NewsOf | NewsOfOrder | NewsOfStock):
                services.heard_of(connection_id, event)
    body = {"status": "accepted", "message_id": message_id, "duplicate": not is_new}
    if reason is not None:
        body |= {"status": "quarantined", "reason": reason}
    return JSONResponse(body, 202)


def _take_order(services: Services, connection: Connection, raw: bytes) -> Response:
    """Take in the order that a shop sent; what is none is answered and not kept."""
    try:
        VENDORS[connection.vendor].translate(connection, raw)
    except NothingToDoError as nothing:
        return JSONResponse({"status": "ignored", "reason": str(nothing)}, 202)
    except QuarantineError:
        pass  # It is kept, with its reason.
    taken = services.capture.take(connection.connection_id, raw, _BY_WEBHOOK)
    if taken.accepted is None:
        body = {"status": "quarantined", "message_id": taken.message_id, "reason": taken.reason}
        return JSONResponse(body, 202)
    services.wake()
    body = {"status": "accepted", "message_id": taken.message_id}
    return JSONResponse({**body, "duplicate": taken.accepted.outcome == "same"}, 202)


def _connection(services: Services, connection_id: str) -> Connection:
    connection = services.reference.connection(services.engine, connection_id)
    if connection is None or not _is_heard(connection):
        raise not_found(f"no connection '{connection_id}' sends webhooks")
    return connection


def _is_heard(connection: Connection) -> bool:
    if connection.kind is not ConnectionClass.CAPTURE:
        return connection.kind is not ConnectionClass.NONE
    vendor = VENDORS.get(connection.vendor)
    return vendor is not None and vendor.takes_webhooks


def secret_of(services: Services, connection: Connection) -> str | None:
    """The connection's webhook secret from its own variable, else the common one."""
    own = os.environ.get(connection.secret_env) if connection.secret_env else None
    return own or services.settings.webhook_secret


def _told(connection: Connection, raw: bytes) -> tuple[tuple[Event, ...], str | None]:
    """What it tells, so that a fulfillment's events stay in order; or why nobody can tell."""
    try:
        return translate(connection, raw), None
    except QuarantineError as error:
        return (), str(error)


@router.get("/quarantine")
def list_quarantine(
    services: TheServices,
    caller: TheCaller,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> JSONResponse:
    """Webhooks and vendor documents that could not be used, each with its reason, oldest first.

    `next` is the `after` of the following page, null on the last one.
    """
    require(caller, SUPPORT, OPERATIONS)
    with reading(services.engine) as session:
        rows = inbox.quarantined(session, limit, after)
    found = [
        {
            "message_id": row.id,
            "kind": row.kind,
            "connection_id": row.connection_id,
            "event_id": row.event_id,
            "reason": row.error,
            "received_at": utc_text(row.received_at),
            "body": (row.body or b"").decode("utf-8", "replace"),
        }
        for row in rows
    ]
    following = rows[-1].id if len(rows) == limit else None
    return JSONResponse({"messages": found, "next": following})


@router.post("/quarantine/{message_id}/release", status_code=202)
def release(
    message_id: Annotated[int, Path(ge=1, le=2**62)], services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Try a message again that was kept aside, after what it lacked is there."""
    require(caller, OPERATIONS)
    with transaction(services.engine) as session:
        inbox.release_quarantined(session, message_id)
    services.wake()
    return JSONResponse({"message_id": message_id, "status": "accepted"}, 202)
