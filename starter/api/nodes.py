"""The work of a node without a system of its own: a store's or small warehouse's tasks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy.orm import Session

from domain.events import EventId, LineFact, NodeEvent, NodeEventType
from domain.fulfillments import FulfillmentOrder, Package, PackageLine
from domain.orders import Method
from domain.values import Count, DerivedId, Model, Text
from starter.api.asking import IDEMPOTENCY_HEADER, request_id_of
from starter.api.context import (
    PathId,
    RawBody,
    Services,
    TheCaller,
    TheServices,
    body_as,
    json_body,
)
from starter.api.links import fulfillment_workflow_of
from starter.api.problems import FieldError, InvalidDocumentError, ProblemError, not_found
from starter.auth import Caller
from store import fulfillments, inbox, words
from store.engine import reading, transaction
from store.fulfillments import FulfillmentRecord, WorkTask

router = APIRouter(tags=["nodes"])

WORK = "work"
"""Stands for a connection in the inbox's key of what a node's people report."""


class Action(StrEnum):
    """What a node's person does with a fulfillment."""

    ACCEPT = "accept"
    REJECT = "reject"
    PICK = "pick"
    PACK = "pack"
    HAND_OVER = "hand-over"
    COLLECT = "collect"
    CONFIRM_CANCEL = "confirm-cancel"
    REFUSE_CANCEL = "refuse-cancel"


_EVENT_OF = {
    Action.ACCEPT: NodeEventType.ACKNOWLEDGED,
    Action.REJECT: NodeEventType.REJECTED,
    Action.PICK: NodeEventType.PICKED,
    Action.PACK: NodeEventType.PACKED,
    Action.HAND_OVER: NodeEventType.HANDED_OVER,
    Action.COLLECT: NodeEventType.COLLECTED,
    Action.CONFIRM_CANCEL: NodeEventType.CANCELLED,
    Action.REFUSE_CANCEL: NodeEventType.CANCEL_REFUSED,
}


class WorkPackage(Model):
    """A box as the node packed it; grams and millimetres."""

    package_id: DerivedId | None = None
    lines: tuple[PackageLine, ...] = ()
    weight_grams: Count | None = None
    length_mm: Count = 0
    width_mm: Count = 0
    height_mm: Count = 0


class WorkBody(Model):
    """What was done. Nothing said: everything asked for, in one package."""

    lines: Annotated[tuple[LineFact, ...], Field(max_length=1_000)] = ()
    packages: Annotated[tuple[WorkPackage, ...], Field(max_length=200)] = ()
    reason: Text = ""
    request_id: EventId | None = None
    """The cancel request that `confirm-cancel` and `refuse-cancel` answer."""


@router.get("/nodes/{node_id}/work")
def node_work(node_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Open tasks of the node, without the customer's name."""
    _require_worker(caller, node_id)
    with reading(services.engine) as session:
        known = services.reference.known(session)
        if node_id not in known.nodes:
            raise not_found(f"no node '{node_id}'")
        tasks = fulfillments.node_work(session, node_id)
        products = known.products(session, {line.sku for task in tasks for line in task.lines})
    names = {sku: product.name for sku, product in products.items()}
    return JSONResponse(
        {
            "node_id": node_id,
            "name": known.nodes[node_id].name,
            "tasks": [_task(task, names) for task in tasks],
        }
    )


def _task(task: WorkTask, names: Mapping[str, str]) -> dict[str, Any]:
    shown = task.model_dump(mode="json")
    for line in shown["lines"]:
        line["name"] = names.get(line["sku"], "")
    return shown


def _require_worker(caller: Caller, node_id: str) -> None:
    if not caller.may_work_at(node_id):
        raise ProblemError(403, f"'{caller.name}' needs the role 'node:{node_id}' for this")


@router.post(
    "/nodes/{node_id}/work/{fulfillment_id}/{action}",
    status_code=202,
    openapi_extra=json_body(WorkBody),
)
def report_work(
    node_id: PathId,
    fulfillment_id: PathId,
    action: Action,
    request: Request,
    raw: RawBody,
    services: TheServices,
    caller: TheCaller,
) -> JSONResponse:
    """Report work done. Without an `Idempotency-Key` an action counts once per fulfillment."""
    _require_worker(caller, node_id)
    body = body_as(WorkBody, raw)
    event_id = f"{fulfillment_id}/{action}"
    if IDEMPOTENCY_HEADER in request.headers:
        event_id = f"{event_id}/{request_id_of(request, None)}"
    with transaction(services.engine) as session:
        record = fulfillments.load_fulfillment(session, fulfillment_id)
        if record.order.node_id != node_id:
            raise not_found(f"no fulfillment '{fulfillment_id}' at node '{node_id}'")
        event = _event(session, services, record, action, body, event_id)
        is_new = _keep(session, services, record.order, event)
        # After the repeat was recognised: the answer to a repeat stays what it was.
        if is_new and record.view.closed:
            raise ProblemError(409, f"'{fulfillment_id}' is {record.view.status} already")
    services.wake()
    return JSONResponse({"event_id": event_id, "status": "accepted"}, 202)


def _keep(session: Session, services: Services, order: FulfillmentOrder, event: NodeEvent) -> bool:
    """Keep the report for its workflow, and its words apart; whether it is new."""
    workflow_id = fulfillment_workflow_of(event.fulfillment_id)
    code = event.reason if event.reason in words.CODES else ""
    _, is_new = inbox.put(
        session,
        kind="signal",
        connection_id=WORK,
        event_id=event.event_id,
        stream=workflow_id,
        workflow_id=workflow_id,
        name="node_event",
        payload=event.model_copy(update={"reason": code}).model_dump(mode="json"),
        now=services.clock(),
    )
    if is_new and event.reason != code:
        words.keep(
            session,
            order.order_id,
            f"event/{event.event_id}",
            event.reason,
            about=event.type,
            said_by=order.node_id,
            at=services.clock(),
        )
    return is_new


def _event(
    session: Session,
    services: Services,
    record: FulfillmentRecord,
    action: Action,
    body: WorkBody,
    event_id: str,
) -> NodeEvent:
    """The event that says what was done. Raises InvalidDocumentError for lines never asked for."""
    order = record.order
    errors = [*_wrong_lines(order, body), *_wrong_packages(order, body)]
    ships = order.method == Method.SHIP
    if action is Action.COLLECT and ships:
        errors.append(FieldError("", "a shipment is handed over to a carrier, not collected"))
    if action is Action.HAND_OVER and not ships:
        errors.append(FieldError("", "a pick-up is collected by its customer, not handed over"))
    if action is Action.REJECT and not body.reason:
        errors.append(FieldError("reason", "say why the node rejects"))
    if errors:
        raise InvalidDocumentError(errors)
    lines = body.lines
    if action is Action.PICK and not lines:
        lines = tuple(LineFact(line_id=x.line_id, picked=x.quantity) for x in order.lines)
    packages: tuple[Package, ...] = ()
    if action is Action.PACK and ships:
        weights = _weights(session, services, order)
        packages = _packages(record, body, weights)
    kind = _EVENT_OF[action]
    if action is Action.PACK and not ships:
        kind = NodeEventType.READY_FOR_PICKUP
    return NodeEvent(
        event_id=event_id,
        occurred_at=services.clock(),
        fulfillment_id=order.fulfillment_id,
        type=kind,
        lines=lines,
        packages=packages,
        reason=body.reason,
        request_id=body.request_id,
    )


def _wrong_lines(order: FulfillmentOrder, body: WorkBody) -> Iterator[FieldError]:
    asked = {line.line_id: line.quantity for line in order.lines}
    seen: set[str] = set()
    for position, fact in enumerate(body.lines):
        if fact.line_id not in asked:
            yield FieldError(f"lines.{position}.line_id", f"no line '{fact.line_id}' was asked for")
        elif fact.line_id in seen:
            yield FieldError(f"lines.{position}.line_id", "stands more than once")
        elif fact.picked + fact.short > asked[fact.line_id]:
            message = f"only {asked[fact.line_id]} units were asked for"
            yield FieldError(f"lines.{position}.picked", message)
        seen.add(fact.line_id)


def _wrong_packages(order: FulfillmentOrder, body: WorkBody) -> Iterator[FieldError]:
    asked = {line.line_id: line.quantity for line in order.lines}
    packed: Counter[str] = Counter()
    for position, package in enumerate(body.packages):
        for number, line in enumerate(package.lines):
            path = f"packages.{position}.lines.{number}"
            packed[line.line_id] += line.quantity
            if line.line_id not in asked:
                yield FieldError(f"{path}.line_id", f"no line '{line.line_id}' was asked for")
            elif packed[line.line_id] > asked[line.line_id]:
                message = f"only {asked[line.line_id]} units were asked for"
                yield FieldError(f"{path}.quantity", message)


def _weights(session: Session, services: Services, order: FulfillmentOrder) -> dict[str, int]:
    """Line id -> grams of one unit."""
    known = services.reference.known(session)
    products = known.products(session, {line.sku for line in order.lines})
    return {
        line.line_id: products[line.sku].weight_grams if line.sku in products else 0
        for line in order.lines
    }


def _packages(
    record: FulfillmentRecord, body: WorkBody, weights: dict[str, int]
) -> tuple[Package, ...]:
    """The packages said, or one with all that was picked; the catalogue weighs them if need be."""
    packages = body.packages or (WorkPackage(),)
    whole = _picked_units(record)
    return tuple(
        Package(
            package_id=package.package_id or f"{record.order.fulfillment_id}-p{number}",
            lines=package.lines or (whole if len(packages) == 1 else ()),
            weight_grams=_weight(package, package.lines or whole, weights),
            length_mm=package.length_mm,
            width_mm=package.width_mm,
            height_mm=package.height_mm,
        )
        for number, package in enumerate(packages, 1)
    )


def _weight(package: WorkPackage, lines: Iterable[PackageLine], weights: dict[str, int]) -> int:
    if package.weight_grams is not None:
        return package.weight_grams
    return sum(weights.get(line.line_id, 0) * line.quantity for line in lines)


def _picked_units(record: FulfillmentRecord) -> tuple[PackageLine, ...]:
    """What was picked; before any pick was reported, what was asked for less what went back."""
    progress = {line.line_id: line for line in record.view.lines}
    found = []
    for line in record.order.lines:
        known = progress.get(line.line_id)
        gone = known.cancelled + known.returned_to_order if known else 0
        quantity = known.picked if known and known.picked else line.quantity - gone
        if quantity > 0:
            found.append(PackageLine(line_id=line.line_id, quantity=quantity))
    return tuple(found)
