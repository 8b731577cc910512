"""Order events on their way to subscribers: which types there are, what arrived, what did not."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from domain.order_events import VOCABULARY
from domain.values import DerivedId, Id, Model, UtcTime
from starter.api.context import RawBody, TheCaller, TheServices, body_as, json_body
from starter.auth import OPERATIONS, SUPPORT, require
from starter.times import utc_text
from store import event_deliveries, subscriptions
from store.engine import reading, transaction
from store.event_deliveries import Delivery, DeliveryState

router = APIRouter(prefix="/events", tags=["events"])

_LARGEST = 2**62


class ReplayBody(Model):
    """What to tell again: single deliveries, or all that are given up, or all made since."""

    delivery_ids: Annotated[
        tuple[Annotated[int, Field(ge=1, le=_LARGEST)], ...], Field(max_length=1_000)
    ] = ()
    dead: bool = False
    since: UtcTime | None = None
    subscription_id: DerivedId | None = None

    @model_validator(mode="after")
    def _names_something(self) -> "ReplayBody":
        chosen = bool(self.delivery_ids), self.dead or self.since is not None
        if sum(chosen) != 1:
            raise ValueError("name delivery_ids, or dead, or since")
        return self


@router.get("/types")
def event_types() -> JSONResponse:
    """Every type of event, and what it says."""
    return JSONResponse({"types": [{"type": x, "says": says} for x, says in VOCABULARY.items()]})


@router.get("/deliveries")
def list_deliveries(
    services: TheServices,
    caller: TheCaller,
    status: DeliveryState | None = None,
    subscription_id: DerivedId | None = None,
    order_id: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
) -> JSONResponse:
    """Events and what became of them at each subscription, oldest first.

    `next` is the `after` of the following page, null on the last one.
    """
    require(caller, OPERATIONS, SUPPORT)
    with reading(services.engine) as session:
        found = event_deliveries.deliveries(
            session,
            state=status,
            subscription_id=subscription_id,
            order_id=order_id,
            limit=limit,
            after=after,
        )
    following = found[-1].id if len(found) == limit else None
    return JSONResponse({"deliveries": [_shown(x) for x in found], "next": following})


@router.get("/deliveries/{delivery_id}")
def show_delivery(
    delivery_id: Annotated[int, Path(ge=1, le=_LARGEST)], services: TheServices, caller: TheCaller
) -> JSONResponse:
    """One of them with the document that is sent."""
    require(caller, OPERATIONS, SUPPORT)
    with reading(services.engine) as session:
        found, document = event_deliveries.delivery(session, delivery_id)
    return JSONResponse({**_shown(found), "document": document})


@router.post("/replay", status_code=202, openapi_extra=json_body(ReplayBody))
def replay(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Tell events again, under the ids they had. Subscriptions must be active."""
    require(caller, OPERATIONS)
    body = body_as(ReplayBody, raw)
    now = services.clock()
    with transaction(services.engine) as session:
        if body.subscription_id is not None:
            subscriptions.subscription(session, body.subscription_id)
        for delivery_id in body.delivery_ids:
            event_deliveries.again(session, delivery_id, now)
        count = len(body.delivery_ids) or event_deliveries.again_all(
            session,
            now=now,
            state=DeliveryState.DEAD if body.dead else None,
            since=body.since,
            subscription_id=body.subscription_id,
        )
    return JSONResponse({"replayed": count}, 202)


def _shown(found: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": found.id,
        "subscription_id": found.subscription_id,
        "event_id": found.event_id,
        "event_type": found.event_type,
        "order_id": found.order_id,
        "status": found.state.value,
        "attempts": found.attempts,
        "error": found.error,
        "created_at": utc_text(found.created_at),
        "next_at": utc_text(found.next_at) if found.state is DeliveryState.WAITING else None,
        "done_at": utc_text(found.done_at) if found.done_at else None,
    }
