"""What people ask of an order, checked at the edge and kept in the inbox until its workflow has it.

How they are answered stands in `starter.api.asking`. A repeat with the same `Idempotency-Key` (or
`request_id`) is the same request and changes nothing.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy.orm import Session

from domain.errors import UnknownReferenceError
from domain.kits import OrderedKit, ordered_kits
from domain.orders import Address, Method, Order
from domain.plans import NodeChoice
from domain.stages import Attention, Choice
from domain.values import ID_PATTERN, DerivedId, Id, Model, Text, UtcTime
from starter.api.asking import ANSWERS, ask, request_id_of
from starter.api.context import (
    PathId,
    RawBody,
    Services,
    TheCaller,
    TheServices,
    body_as,
    json_body,
)
from starter.api.links import fulfillment_workflow_of, workflow_of
from starter.api.new_address import placed
from starter.api.problems import FieldError, InvalidDocumentError, ProblemError
from starter.auth import INTAKE, OPERATIONS, SUPPORT, Caller, require
from store import addresses, approvals, network
from store import words as store_words
from store.fulfillments import FulfillmentPage
from store.order_pages import OrderPage
from workflows.messages import (
    Cancel,
    CancelLine,
    ChangeAddress,
    ChooseNode,
    PlaceHold,
    ReleaseHold,
    RequestId,
    Resume,
    Vote,
)

router = APIRouter(tags=["orders"])

VALID_ROLE = re.compile(ID_PATTERN)


@dataclass(frozen=True)
class _Words:
    """Keeps what was said with a request in the transaction that keeps the request."""

    session: Session
    services: Services
    order_id: str
    request_id: str
    said_by: str

    def apart(self, about: str, text: str) -> str:
        """What the workflow may know of the text: a code, or nothing."""
        return store_words.apart(
            self.session,
            self.order_id,
            store_words.of_request(self.request_id),
            text,
            about=about,
            said_by=self.said_by,
            at=self.services.clock(),
        )


class CancelBody(Model):
    """Cancel those units, or with `"all"` (or nothing said) whatever can still be cancelled.

    Of a kit's line the quantity is kits, and means all their components.
    """

    request_id: RequestId | None = None
    lines: Annotated[tuple[CancelLine, ...], Field(min_length=1)] | Literal["all"] | None = None
    reason: Text = ""


class HoldBody(Model):
    """Stop the order from moving on, until released or `expires_at`."""

    request_id: RequestId | None = None
    type: Id = "support"
    owner: Text = ""
    reason: Text = ""
    expires_at: UtcTime | None = None


class ReleaseHoldBody(Model):
    """Lift every hold of that type."""

    request_id: RequestId | None = None
    type: Id = "support"


class ResumeBody(Model):
    """Answer a step that waits for a person."""

    request_id: RequestId | None = None
    park_id: DerivedId
    fulfillment_id: DerivedId | None = None
    """Where it waits; needed only when several fulfillments wait under the same park id."""
    choice: Choice
    correction: Text = ""


class AddressBody(Model):
    """Send a ship group to another address; the only shipped group when none is named."""

    request_id: RequestId | None = None
    ship_group: Id | None = None
    address: Address


class NodesBody(Model):
    """Force, forbid or prefer one node for what is not released, or lift all such choices."""

    request_id: RequestId | None = None
    force: Id | None = None
    forbid: Id | None = None
    prefer: Id | None = None
    clear: bool = False
    reason: Text = ""

    @property
    def choice(self) -> NodeChoice | None:
        """What is said of the node; None where all choices are lifted."""
        return next((x for x in NodeChoice if getattr(self, x.value) is not None), None)

    @property
    def node_id(self) -> str | None:
        """Of which node."""
        return self.force or self.forbid or self.prefer

    @property
    def is_one_thing(self) -> bool:
        """Whether exactly one thing is asked."""
        return sum(x is not None for x in (self.force, self.forbid, self.prefer)) + self.clear == 1


class Verdict(StrEnum):
    """What an approver says."""

    APPROVE = "approve"
    REJECT = "reject"


class ApprovalBody(Model):
    """A vote on one level. `approver` and `role` count only from this machine's own people."""

    request_id: RequestId | None = None
    verdict: Verdict
    level: Annotated[int, Field(ge=1, le=20)]
    comment: Text = ""
    approver: Text | None = None
    role: Id | None = None


@router.post(
    "/orders/{order_id}/cancel",
    responses=ANSWERS,
    openapi_extra=json_body(CancelBody),
)
def cancel(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Ask to cancel units or the whole order. At a node a cancel is a request it may refuse."""
    require(caller, SUPPORT, OPERATIONS, INTAKE)
    body = body_as(CancelBody, raw)
    request_id = request_id_of(request, body.request_id)

    def build(session: Session, order: Order, _: OrderPage) -> Cancel:
        lines = _ordered_units(order, body.lines) if isinstance(body.lines, tuple) else None
        words = _Words(session, services, order_id, request_id, caller.name)
        reason = words.apart("cancel", body.reason)
        return Cancel(request_id=request_id, lines=lines, reason=reason, actor=caller.name)

    return ask(services, order_id, "cancel", request_id, build)


def _ordered_units(order: Order, lines: tuple[CancelLine, ...]) -> tuple[CancelLine, ...]:
    """The units to cancel; those of a kit's line are its components' units in so many kits.

    Raises InvalidDocumentError for lines and units that were not ordered.
    """
    ordered = {line.line_id: line.quantity for line in order.lines}
    kits = ordered_kits(order)
    found: dict[str, int] = {}
    errors = []
    for position, line in enumerate(lines):
        kit = kits.get(line.line_id, OrderedKit(ordered.get(line.line_id, 0), {line.line_id: 1}))
        if not kit.kits:
            errors.append(FieldError(f"lines.{position}.line_id", f"no line '{line.line_id}'"))
        elif found.keys() & kit.each.keys():
            errors.append(FieldError(f"lines.{position}.line_id", "stands more than once"))
        elif line.quantity > kit.kits:
            message = f"only {kit.kits} {'kits' if line.line_id in kits else 'units'} are ordered"
            errors.append(FieldError(f"lines.{position}.quantity", message))
        found |= {line_id: each * line.quantity for line_id, each in kit.each.items()}
    if errors:
        raise InvalidDocumentError(errors)
    return tuple(CancelLine(line_id=x, quantity=units) for x, units in found.items())


@router.post(
    "/orders/{order_id}/hold",
    responses=ANSWERS,
    openapi_extra=json_body(HoldBody),
)
def hold(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Keep the order from moving on."""
    require(caller, SUPPORT, OPERATIONS)
    body = body_as(HoldBody, raw)
    request_id = request_id_of(request, body.request_id)
    if body.expires_at is not None and body.expires_at <= services.clock():
        raise InvalidDocumentError([FieldError("expires_at", "lies in the past")])

    def build(session: Session, _: Order, __: OrderPage) -> PlaceHold:
        owner = (body.owner if caller.local else "") or caller.name
        words = _Words(session, services, order_id, request_id, owner)
        return PlaceHold(
            request_id=request_id,
            type=body.type,
            owner=owner,
            reason=words.apart(f"hold {body.type}", body.reason),
            expires_at=body.expires_at,
        )

    return ask(services, order_id, "hold", request_id, build)


@router.post(
    "/orders/{order_id}/release-hold",
    responses=ANSWERS,
    openapi_extra=json_body(ReleaseHoldBody),
)
def release_hold(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Lift every hold of a type."""
    require(caller, SUPPORT, OPERATIONS)
    body = body_as(ReleaseHoldBody, raw)
    request_id = request_id_of(request, body.request_id)

    def build(_: Session, __: Order, ___: OrderPage) -> ReleaseHold:
        return ReleaseHold(request_id=request_id, type=body.type, actor=caller.name)

    return ask(services, order_id, "release_hold", request_id, build)


@router.post(
    "/orders/{order_id}/resume",
    responses=ANSWERS,
    openapi_extra=json_body(ResumeBody),
)
def resume(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Answer a step of the order, or of one of its fulfillments, that waits for a person."""
    require(caller, SUPPORT, OPERATIONS)
    body = body_as(ResumeBody, raw)
    request_id = request_id_of(request, body.request_id)

    def build(session: Session, _: Order, page: OrderPage) -> Resume:
        parked = _parked(page, body)
        if parked is not None and body.choice not in parked.choices:
            offered = ", ".join(parked.choices)
            raise InvalidDocumentError([FieldError("choice", f"choose one of {offered}")])
        words = _Words(session, services, order_id, request_id, caller.name)
        return Resume(
            request_id=request_id,
            park_id=body.park_id,
            choice=body.choice,
            correction=words.apart(f"{body.choice} of {body.park_id}", body.correction),
            actor=caller.name,
        )

    def target(page: OrderPage) -> str:
        fulfillment = _parked_fulfillment(page, body)
        if fulfillment is None:
            return workflow_of(order_id)
        return fulfillment_workflow_of(fulfillment.fulfillment_id)

    return ask(services, order_id, "resume", request_id, build, target)


def _parked(page: OrderPage, body: ResumeBody) -> Attention | None:
    """What waits under that park id, as far as the read model knows."""
    fulfillment = _parked_fulfillment(page, body)
    if fulfillment is not None:
        return fulfillment.attention
    own = page.attention
    return own if own is not None and own.park_id == body.park_id else None


def _parked_fulfillment(page: OrderPage, body: ResumeBody) -> FulfillmentPage | None:
    """The fulfillment meant, None when it is the order itself. Raises InvalidDocumentError."""
    if body.fulfillment_id is not None:
        for fulfillment in page.fulfillments:
            if fulfillment.fulfillment_id == body.fulfillment_id:
                return fulfillment
        unknown = f"order '{page.order_id}' has no fulfillment '{body.fulfillment_id}'"
        raise InvalidDocumentError([FieldError("fulfillment_id", unknown)])
    if page.attention is not None and page.attention.park_id == body.park_id:
        return None
    waiting = [
        fulfillment
        for fulfillment in page.fulfillments
        if fulfillment.attention is not None and fulfillment.attention.park_id == body.park_id
    ]
    if len(waiting) > 1:
        ids = ", ".join(fulfillment.fulfillment_id for fulfillment in waiting)
        raise InvalidDocumentError([FieldError("fulfillment_id", f"say which one: {ids}")])
    return waiting[0] if waiting else None


@router.post(
    "/orders/{order_id}/address",
    responses=ANSWERS,
    openapi_extra=json_body(AddressBody),
)
def change_address(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Ask to send a ship group elsewhere. The address is kept apart; the workflow gets its id."""
    require(caller, SUPPORT, OPERATIONS, INTAKE)
    body = body_as(AddressBody, raw)
    request_id = request_id_of(request, body.request_id)

    def build(session: Session, order: Order, page: OrderPage) -> ChangeAddress:
        group_id = _shipped_group(order, body.ship_group)
        before = addresses.address_of(session, order_id, group_id)
        # A closed order is refused as such, whatever is sent.
        address = body.address if page.closed else placed(body.address, before)
        address_id = addresses.save_address(session, order_id, group_id, address)
        return ChangeAddress(
            request_id=request_id, address_id=address_id, ship_group=group_id, actor=caller.name
        )

    return ask(services, order_id, "change_address", request_id, build)


def _shipped_group(order: Order, asked: str | None) -> str:
    shipped = [group.id for group in order.ship_groups if group.method is Method.SHIP]
    if asked is None and len(shipped) == 1:
        return shipped[0]
    if asked in shipped:
        return asked
    known = ", ".join(shipped) or "none"
    raise InvalidDocumentError(
        [FieldError("ship_group", f"name a ship group that is shipped: {known}")]
    )


@router.post(
    "/orders/{order_id}/nodes",
    responses=ANSWERS,
    openapi_extra=json_body(NodesBody),
)
def choose_node(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Choose a node for what is not released yet; refused where units would then lack a node."""
    require(caller, SUPPORT, OPERATIONS)
    body = body_as(NodesBody, raw)
    request_id = request_id_of(request, body.request_id)
    if not body.is_one_thing:
        raise InvalidDocumentError(
            [FieldError("force", "send one of force, forbid, prefer, clear")]
        )

    def build(session: Session, _: Order, __: OrderPage) -> ChooseNode:
        about = "the choice of nodes"
        if body.choice is not None and body.node_id is not None:
            about = f"{body.choice} {body.node_id}"
            _must_be_known(session, body.choice, body.node_id)
        words = _Words(session, services, order_id, request_id, caller.name)
        return ChooseNode(
            request_id=request_id,
            choice=body.choice,
            node_id=body.node_id,
            reason=words.apart(about, body.reason),
            actor=caller.name,
        )

    return ask(services, order_id, "choose_node", request_id, build)


def _must_be_known(session: Session, choice: NodeChoice, node_id: str) -> None:
    try:
        network.node(session, node_id)
    except UnknownReferenceError as error:
        raise InvalidDocumentError([FieldError(choice.value, str(error))]) from error


@router.post(
    "/orders/{order_id}/approvals",
    responses=ANSWERS,
    openapi_extra=json_body(ApprovalBody),
)
def vote(
    order_id: PathId, request: Request, raw: RawBody, services: TheServices, caller: TheCaller
) -> JSONResponse:
    """Approve or reject one level. The workflow counts a vote only from someone with the role."""
    body = body_as(ApprovalBody, raw)
    request_id = request_id_of(request, body.request_id)

    def build(session: Session, _: Order, __: OrderPage) -> Vote:
        approver = (body.approver if caller.local else None) or caller.name
        words = _Words(session, services, order_id, request_id, approver)
        return Vote(
            request_id=request_id,
            approver=approver,
            role=_voting_role(session, order_id, body, caller),
            level=body.level,
            comment=words.apart(f"approval level {body.level}", body.comment),
            key_name=None if caller.local else caller.name,
        )

    return ask(services, order_id, body.verdict.value, request_id, build)


def _voting_role(session: Session, order_id: str, body: ApprovalBody, caller: Caller) -> str:
    """In which of the caller's roles the vote is cast: the one asked for if they have it."""
    if body.role is not None:
        if not caller.may(body.role):
            raise ProblemError(403, f"'{caller.name}' has not the role '{body.role}'")
        return body.role
    asked = [
        approval.role
        for approval in approvals.waiting(session)
        if approval.order_id == order_id and approval.level == body.level
    ]
    if asked and caller.may(asked[0]):
        return asked[0]
    if caller.local:
        return "local"
    own = sorted(role for role in caller.roles if VALID_ROLE.match(role))
    if not own:
        raise ProblemError(403, f"'{caller.name}' has no role to vote in")
    return own[0]
