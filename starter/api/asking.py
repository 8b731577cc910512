"""How a request to an order is kept, put to its workflow and answered.

It is committed to the inbox first. While Temporal can be reached, the order is then asked at once
and the answer says what became of it: 200, or 409 with the reason. Otherwise, or when the order
does not answer in time, it is 202 and the dispatcher delivers it from the inbox. Either way it has
the same id, so it is obeyed once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from domain.orders import Order
from domain.plans import TimelineEntry
from domain.values import Model
from starter.answers import Told
from starter.api.context import Services
from starter.api.links import order_links, workflow_of
from starter.api.problems import ProblemError
from store import approvals, inbox, order_pages, timeline
from store import orders as order_store
from store.engine import transaction
from store.order_pages import OrderPage
from workflows.messages import Vote

PEOPLE = "people"
"""Stands for a connection in the inbox's key of what people ask."""
IDEMPOTENCY_HEADER = "idempotency-key"
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "done: `answer` says what became of it"},
    202: {"description": "kept, and carried out by the order's workflow as soon as it can"},
    409: {"description": "refused, with the reason: nothing was changed"},
}

Build = Callable[[Session, Order, OrderPage], Model]
Target = Callable[[OrderPage], str]


def event_of(order_id: str, request_id: str) -> str:
    """The inbox's id of a request to an order."""
    return f"{workflow_of(order_id)}/{request_id}"


def request_id_of(request: Request, asked: str | None) -> str:
    """The caller's own id for this request (header, then body), else a new one."""
    header = request.headers.get(IDEMPOTENCY_HEADER)
    if header is not None and not 1 <= len(header) <= 128:
        raise ProblemError(422, "an Idempotency-Key has 1 to 128 characters")
    return header or asked or uuid4().hex


class _RepeatedError(Exception):
    """The request was kept before; what this transaction wrote is rolled back."""

    def __init__(self, message_id: int) -> None:
        super().__init__()
        self.message_id = message_id


@dataclass(frozen=True)
class _Kept:
    """A request in the inbox; `askable` when its workflow may be asked for an answer now."""

    order_id: str
    request_id: str
    message_id: int
    workflow_id: str
    name: str
    payload: Any
    askable: bool
    refusal: str | None = None


def _order_itself(page: OrderPage) -> str:
    return workflow_of(page.order_id)


def ask(
    services: Services,
    order_id: str,
    name: str,
    request_id: str,
    build: Build,
    target: Target = _order_itself,
) -> JSONResponse:
    """Keep a request, ask the order, and answer. A repeat changes nothing.

    Raises UnknownReferenceError for an unknown order, ProblemError 409 for a closed one, for a
    refusal, and for an id that stands for a request of another kind: the workflow knows requests by
    their id alone.
    """
    kept = _keep(services, order_id, name, request_id, build, target)
    if kept.refusal is not None:
        raise _refused(kept, kept.refusal)
    told = None
    if kept.askable:
        told = services.answers.ask(kept.workflow_id, name, kept.payload, request_id)
        _settle(services, kept, told)
    if told is None:
        services.wake()
        return JSONResponse(_body(services, kept, "accepted"), 202)
    if not told.done:
        raise _refused(kept, told.text)
    return JSONResponse(_body(services, kept, "done") | {"answer": told.text}, 200)


def _body(services: Services, kept: _Kept, status: str) -> dict[str, Any]:
    return {
        "request_id": kept.request_id,
        "status": status,
        "links": order_links(services.settings, kept.order_id),
    }


def _refused(kept: _Kept, why: str) -> ProblemError:
    return ProblemError(409, why, more={"request_id": kept.request_id, "status": "refused"})


def _keep(
    services: Services,
    order_id: str,
    name: str,
    request_id: str,
    build: Build,
    target: Target,
) -> _Kept:
    """Commit the request; one that was kept before is found again."""
    try:
        with transaction(services.engine) as session:
            page = order_pages.order_page(session, order_id)
            payload = build(session, order_store.load_order(session, order_id), page)
            return _put(session, services, page, name, request_id, payload, target(page))
    except _RepeatedError as repeated:
        return _again(services, order_id, name, request_id, repeated.message_id)


def _put(
    session: Session,
    services: Services,
    page: OrderPage,
    name: str,
    request_id: str,
    payload: Model,
    workflow_id: str,
) -> _Kept:
    """Into the inbox. What may be answered at once is left alone by dispatchers that long."""
    now = services.clock()
    message_id, is_new = inbox.put(
        session,
        kind="signal",
        connection_id=PEOPLE,
        event_id=event_of(page.order_id, request_id),
        stream=workflow_id,
        workflow_id=workflow_id,
        name=name,
        payload=payload.model_dump(mode="json"),
        now=now,
    )
    if not is_new:
        raise _RepeatedError(message_id)
    # After the repeat was recognised: the answer to a repeat stays what it was.
    if page.closed:
        raise ProblemError(
            409, f"order '{page.order_id}' is {page.stage}; nothing can change any more"
        )
    askable = services.answers.are_possible and inbox.is_next(session, workflow_id, message_id)
    if askable:
        inbox.due_at(session, message_id, now + services.answers.longest)
    return _Kept(page.order_id, request_id, message_id, workflow_id, name, payload, askable)


def _again(services: Services, order_id: str, name: str, request_id: str, message_id: int) -> _Kept:
    """A request that was kept before: asked again under its id, the order says the same again."""
    with transaction(services.engine) as session:
        standing = inbox.standing(session, message_id)
    if standing.name != name:
        first, now = (x.replace("_", " ") for x in (standing.name, name))
        raise ProblemError(
            409, f"that request id was used for '{first}' before; use another for '{now}'"
        )
    return _Kept(
        order_id,
        request_id,
        message_id,
        standing.workflow_id or workflow_of(order_id),
        name,
        standing.payload,
        askable=standing.state == "done" and services.answers.are_possible,
        refusal=standing.refusal,
    )


def _settle(services: Services, kept: _Kept, told: Told | None) -> None:
    """Write down what became of it; without an answer, leave it to the dispatcher."""
    now = services.clock()
    with transaction(services.engine) as session:
        if told is None:
            inbox.due_at(session, kept.message_id, now)
        elif told.done:
            inbox.done(session, [kept.message_id], now)
        else:
            inbox.refuse(session, kept.message_id, told.text, now)
            if not told.is_noted:
                _note_refusal(session, kept, told.text, services)


def _note_refusal(session: Session, kept: _Kept, why: str, services: Services) -> None:
    """A request that never reached the order's own story still belongs in it."""
    now, words = services.clock(), kept.name.replace("_", " ")
    entry = TimelineEntry(
        key=f"refused/{kept.request_id}", at=now, kind="answer", text=f"Refused: {words}: {why}"
    )
    timeline.note(session, kept.order_id, [entry])
    if isinstance(kept.payload, Vote):
        vote = kept.payload
        approvals.record_vote(
            session,
            kept.order_id,
            vote.level,
            request_id=vote.request_id,
            approver=vote.approver,
            role=vote.role,
            verdict="approve" if kept.name == "approve" else "reject",
            counted=False,
            why=why,
            at=now,
        )
