"""A checkout's hold: the chosen option's units, kept with the promise or not at all."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic_core import to_json
from sqlalchemy.orm import Session

from domain.errors import ConflictError, ShortageError
from domain.routing.decision import Exclusion
from starter.api.context import Services
from starter.api.problems import FieldError, InvalidDocumentError
from starter.api.promise_body import HoldBody, PromiseBody
from starter.promising import Offer, Promise
from store import decisions, holds, operations
from store.engine import reading, transaction
from store.holds import CartHold, HoldItem

Decide = Callable[[tuple[Exclusion, ...]], Promise]
"""Decides without the nodes that just refused."""
Tell = Callable[[Promise, CartHold], dict[str, Any]]
"""The answer as JSON."""

_TRIES = 5
_REFUSED = "had fewer units a moment ago"


def hold(
    services: Services, body: PromiseBody, wish: HoldBody, decide: Decide, tell: Tell
) -> tuple[Promise | None, dict[str, Any]]:
    """Decide and hold; what the database refuses is left out and decided again.

    Where this very request holds the wish's `reservation_id` already, nothing is decided and the
    answer is the first one. Raises ShortageError when refusals go on, InvalidDocumentError when
    there is no such option, ConflictError when that id stands for another request or has ended.
    """
    if wish.reservation_id is not None:
        with reading(services.engine) as session:
            before = _answered(session, body, wish.reservation_id, services.clock())
        if before is not None:
            return None, before
    refused: tuple[Exclusion, ...] = ()
    for tries_left in range(_TRIES - 1, -1, -1):
        made = decide(refused)
        offer = made.offer(wish.option_id)
        if offer is None or offer.option.missing:
            raise InvalidDocumentError([FieldError("hold.option_id", _why_not(made, offer, wish))])
        try:
            return made, _kept(services, body, wish, made, offer, tell)
        except ShortageError as shortage:
            if not tries_left:
                raise
            services.following.refuse(shortage.short)
            refused += tuple(
                Exclusion(node_id=node_id, sku=sku, reason=_REFUSED)
                for node_id, sku in shortage.short
            )
    raise AssertionError


def _kept(
    services: Services, body: PromiseBody, wish: HoldBody, made: Promise, offer: Offer, tell: Tell
) -> dict[str, Any]:
    """Promise, hold and answer in one transaction."""
    rows = services.records.rows([made])
    hold_id = wish.reservation_id or f"cart-{uuid4().hex}"
    with transaction(services.engine) as session:
        if wish.reservation_id is not None:
            operations.claim(session, _key(hold_id), "checkout", made.now, content=_said(body))
            # The same request may have been answered while this one was decided.
            if (before := _answered(session, body, hold_id, made.now)) is not None:
                return before
        decisions.save_packed(session, rows)
        held = holds.hold(
            session,
            hold_id,
            _items(offer),
            lasting=timedelta(seconds=wish.expires_in),
            now=made.now,
            channel=body.channel,
        )
        answer = tell(made, held)
        if wish.reservation_id is not None:
            operations.finish(session, _key(hold_id), json.loads(to_json(answer)))
        return answer


def _answered(
    session: Session, body: PromiseBody, hold_id: str, now: datetime
) -> dict[str, Any] | None:
    """What this request was answered; raises ConflictError where that is worth nothing now."""
    answer: dict[str, Any] | None = operations.earlier(
        session, _key(hold_id), "checkout", content=_said(body)
    )
    if answer is None:
        return None
    held = holds.load(session, hold_id)
    if held.is_over(now):
        raise ConflictError(f"reservation '{hold_id}' has ended: make one under another id")
    return answer | {"hold": answer["hold"] | {"expires_at": held.expires_at}}


def _key(hold_id: str) -> str:
    return f"checkout/{hold_id}"


def _said(body: PromiseBody) -> Any:
    return body.model_dump(mode="json")


def _why_not(made: Promise, offer: Offer | None, wish: HoldBody) -> str:
    whole = [x.option_id for x in made.offers if not x.option.missing]
    instead = f"; there is {', '.join(whole)}" if whole else "; no option has all units"
    if offer is not None:
        return f"'{offer.option_id}' lacks units: nothing is held{instead}"
    return f"no option '{wish.option_id}'{instead}" if wish.option_id else "nothing can be offered"


def _items(offer: Offer) -> list[HoldItem]:
    return [
        HoldItem(
            line_id=line.line_id, node_id=shipment.node_id, sku=line.sku, quantity=line.quantity
        )
        for shipment in offer.option.shipments
        for line in shipment.assignments
    ]
