"""Orders in and orders read: intake, capture of vendor documents, and the read model."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session

from domain.orders import Order, OrderType
from domain.stages import Stage
from domain.values import ID_PATTERN
from starter.api.asking import PEOPLE, event_of
from starter.api.context import (
    PathId,
    Services,
    TheCaller,
    TheServices,
    caller_of,
    json_body,
    read_body,
    services_of,
)
from starter.api.links import order_links, page_links
from starter.api.problems import ProblemError
from starter.auth import INTAKE, Caller, require
from starter.intake import Accepted
from store import approvals, inbox, order_pages, tracking
from store.approvals import Vote
from store.engine import reading

router = APIRouter(tags=["orders"])


@router.post(
    "/orders",
    status_code=202,
    openapi_extra=json_body(Order),
    responses={
        200: {"description": "the same document again: same ids and links, nothing changed"},
        409: {"description": "it contradicts what is recorded"},
        413: {"description": "over 1 MB"},
        422: {"description": "invalid; `errors` name each field"},
    },
)
async def submit_order(request: Request) -> Response:
    """Accept an order document, or its next version as an amendment. Kept once answered 202."""
    raw = await read_body(request)
    return await run_in_threadpool(_submit, request, raw)


def _submit(request: Request, raw: bytes) -> Response:
    caller = require(caller_of(request), INTAKE)
    services = services_of(request)
    return accepted_response(services, services.intake.accept(raw, entered_by(caller)))


def entered_by(caller: Caller) -> str:
    """Who entered an order; empty for the unnamed person of a keyless API, who may approve too."""
    return caller.name if caller.named else ""


def accepted_response(services: Services, accepted: Accepted) -> Response:
    """202 for new and amended, 200 for the same. Raises ProblemError 409 for a conflict."""
    if accepted.outcome == "conflict":
        raise ProblemError(409, accepted.reason, more={"order_id": accepted.order_id})
    if accepted.outcome != "same":
        services.wake()
    body = {
        "order_id": accepted.order_id,
        "version": accepted.version,
        "workflow_id": accepted.workflow_id,
        "status": "accepted",
        "links": order_links(services.settings, accepted.order_id),
    }
    return JSONResponse(body, 200 if accepted.outcome == "same" else 202)


@router.post("/capture/{connection_id}", status_code=202)
async def capture_order(connection_id: PathId, request: Request) -> Response:
    """Take a vendor's own order document; one that cannot be an order is kept with its reason."""
    raw = await read_body(request)
    return await run_in_threadpool(_capture, connection_id, request, raw)


def _capture(connection_id: str, request: Request, raw: bytes) -> Response:
    caller = require(caller_of(request), INTAKE)
    services = services_of(request)
    captured = services.capture.take(connection_id, raw, entered_by(caller))
    if captured.accepted is not None:
        return accepted_response(services, captured.accepted)
    body = {
        "status": "quarantined",
        "message_id": captured.message_id,
        "reason": captured.reason,
        "errors": [{"path": x.path, "message": x.message} for x in captured.errors],
    }
    return JSONResponse(body, 202)


@router.get("/orders")
def list_orders(
    services: TheServices,
    caller: TheCaller,
    stage: Annotated[Stage | None, Query()] = None,
    brand: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    region: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    order_type: Annotated[OrderType | None, Query()] = None,
    needs_attention: Annotated[bool | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(max_length=200)] = None,
    count: Annotated[bool, Query(description="Also say how many there are in all.")] = False,
) -> JSONResponse:
    """Orders, newest first, by stage, brand, region, type or need of attention.

    `next` is the `after` of the following page, null on the last one.
    """
    _require_reader(caller)
    wanted: dict[str, Any] = {
        "stage": stage.value if stage else None,
        "brand": brand,
        "region": region,
        "order_type": order_type.value if order_type else None,
        "needs_attention": needs_attention,
    }
    with reading(services.engine) as session:
        found = order_pages.list_orders(session, **wanted, limit=limit, after=after)
        total = order_pages.count_orders(session, **wanted) if count else None
    orders = [
        {**order.model_dump(mode="json"), "links": order_links(services.settings, order.order_id)}
        for order in found
    ]
    following = orders[-1]["order_id"] if len(orders) == limit else None
    body = {"orders": orders, "next": following}
    return JSONResponse(body if total is None else body | {"total": total})


@router.get("/orders/{order_id}")
def show_order(order_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """An order's quantities, stage, holds, attention, promise, approvals, fulfillments, story."""
    _require_reader(caller)
    with reading(services.engine) as session:
        page = order_pages.order_page(session, order_id)
        asked = approvals.levels(session, order_id)
        votes = [
            _with_comment(session, order_id, vote) for vote in approvals.votes(session, order_id)
        ]
        token = tracking.tracking_token(session, order_id)
    body = page.model_dump(mode="json")
    body["approvals"] = {
        "levels": [level.model_dump(mode="json") for level in asked],
        "votes": [vote.model_dump(mode="json") for vote in votes],
    }
    body["links"] = order_links(services.settings, order_id) | page_links(
        services.settings, page.decision_id, token
    )
    return JSONResponse(body)


def _with_comment(session: Session, order_id: str, vote: Vote) -> Vote:
    """The vote with its comment; an older one's stayed in the inbox."""
    if vote.comment:
        return vote
    kept = inbox.payload_of_event(session, PEOPLE, event_of(order_id, vote.request_id))
    comment = kept.get("comment", "") if isinstance(kept, dict) else ""
    return vote.model_copy(update={"comment": comment})


@router.get("/approvals")
def list_approvals(
    services: TheServices,
    caller: TheCaller,
    role: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
) -> JSONResponse:
    """What waits for whom, since when, longest first."""
    _require_reader(caller)
    with reading(services.engine) as session:
        waiting = approvals.waiting(session, role)
    found = [
        {
            **approval.model_dump(mode="json"),
            "links": order_links(services.settings, approval.order_id),
        }
        for approval in waiting
    ]
    return JSONResponse({"approvals": found})


def _require_reader(caller: Caller) -> None:
    if not caller.may_read_orders:
        raise ProblemError(403, f"'{caller.name}' may see only a node's own work")
