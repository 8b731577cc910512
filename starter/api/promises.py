"""What can be promised: the same kernel that routes orders, asked before there is one.

The way of a promise is short on purpose: parse once, decide in memory, answer; what is recorded is
written by another thread, unless something is held. Nothing here waits for the database but a
checkout, a scope whose policy was not asked for yet, and the check of an API key.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic_core import to_json

from domain.learned_dates import option_confidence
from domain.routing.decision import Exclusion, Option, PlannedShipment, Purpose
from domain.routing.policy import RoutingPolicy
from domain.values import MICROS
from starter import promising
from starter.api import promise_holds
from starter.api.context import Services, body_as, json_body, read_body, services_of
from starter.api.promise_body import HoldBody, PromiseBody
from starter.auth import ANALYST, INTAKE, OPERATIONS, SUPPORT, Caller, require
from starter.promise_lines import asked_of
from starter.promising import Offer, Promise
from store.holds import CartHold

router = APIRouter(tags=["promises"])

_QUICK_ITEMS = 200
"""Longer requests are decided in a thread, so that others are answered meanwhile."""


@router.post("/promises", openapi_extra=json_body(PromiseBody))
async def promise(request: Request) -> Response:
    """Every way to get the items: nodes, dates, cost, latest time to order for those dates.

    The promise is kept under its `promise_id`. With `hold`, its units are kept for the shopper.
    """
    services = services_of(request)
    require(await _caller(request, services), INTAKE, SUPPORT, OPERATIONS, ANALYST)
    body = _parsed(await read_body(request))
    scope = (body.brand, body.region, body.order_type.value, body.channel)
    known = services.following.known_policy(scope, body.customer_id)
    if known is None or body.hold is not None or len(body.items) > _QUICK_ITEMS:
        return await asyncio.to_thread(_promise_from_database, services, body)
    made = _decide(services, body, known, ())
    if body.purpose is Purpose.CHECKOUT or not services.records.put(made):
        await asyncio.to_thread(services.records.write, [made])
    return _response(made, _answer(services, made, None))


async def _caller(request: Request, services: Services) -> Caller:
    headers = request.headers
    if "x-api-key" in headers or "authorization" in headers:
        return await asyncio.to_thread(services.gatekeeper.caller, request)
    return services.gatekeeper.caller(request)


def _parsed(raw: bytes) -> PromiseBody:
    try:
        return PromiseBody.model_validate_json(raw)
    except ValidationError:
        # The slower way says more exactly what is wrong.
        return body_as(PromiseBody, raw)


def _decide(
    services: Services,
    body: PromiseBody,
    known: tuple[str, RoutingPolicy],
    refused: tuple[Exclusion, ...],
) -> Promise:
    now = services.clock()
    view = services.following.view()
    asked = asked_of(body, view)
    exclusions = services.following.exclusions([line.sku for line in asked.lines], now)
    version, policy = known
    learned = services.learned()
    return promising.promise(
        body, asked, view, version, policy, (*exclusions, *refused), now, learned
    )


def _promise_from_database(services: Services, body: PromiseBody) -> Response:
    scope = (body.brand, body.region, body.order_type.value, body.channel)
    known = services.following.policy(scope, body.customer_id)
    if body.hold is not None:
        return _checkout(services, body, body.hold, known)
    made = _decide(services, body, known, ())
    if body.purpose is Purpose.CHECKOUT or not services.records.put(made):
        services.records.write([made])
    return _response(made, _answer(services, made, None))


def _checkout(
    services: Services, body: PromiseBody, wish: HoldBody, known: tuple[str, RoutingPolicy]
) -> Response:
    made, answer = promise_holds.hold(
        services,
        body,
        wish,
        lambda refused: _decide(services, body, known, refused),
        lambda made, held: _answer(services, made, held),
    )
    return _response(made, answer)


def _response(made: Promise | None, answer: dict[str, Any]) -> Response:
    # https://www.w3.org/TR/server-timing/: what of the answer's time the kernel took.
    kernel_seconds = 0.0 if made is None else made.kernel_seconds
    timing = {"Server-Timing": f"kernel;dur={1000 * kernel_seconds:.3f}"}
    return Response(to_json(answer), media_type="application/json", headers=timing)


def _answer(services: Services, made: Promise, held: CartHold | None) -> dict[str, Any]:
    main = made.decided[0]
    answer: dict[str, Any] = {
        "promise_id": made.promise_id,
        "policy_version": made.policy_version,
        "kernel_version": main.decision.kernel_version,
        "snapshot_id": main.decision.snapshot_id,
        "currency": main.facts.network.base_currency,
        "chosen": made.chosen,
        "options": _with_confidence(
            services, made, [_option(offer, made.kit_of) for offer in made.offers]
        ),
        "links": {"decision": f"{services.settings.base_url}/v1/decisions/{made.promise_id}"},
    }
    if held is not None:
        answer["hold"] = {"reservation_id": held.hold_id, "expires_at": held.expires_at}
    return answer


def _with_confidence(
    services: Services, made: Promise, options: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Adds the chance that the dates hold, where delivery dates were learned."""
    learned = services.learned()
    if learned is None:
        return options
    decided = {one.decision_id: one for one in made.decided}
    for offer, told in zip(made.offers, options, strict=True):
        one = decided[offer.decision_id]
        network = one.facts.network
        chance = option_confidence(
            learned,
            offer.option,
            {
                shipment.node_id: network.nodes[network.index[shipment.node_id]].place
                for shipment in offer.option.shipments
            },
            {group.group_id: group.destination for group in one.request.groups},
        )
        if chance is not None:
            told["confidence"] = round(chance, 3)
    return options


def _option(offer: Offer, kit_of: Mapping[str, str]) -> dict[str, Any]:
    option: Option = offer.option
    return {
        "option_id": offer.option_id,
        "method": offer.method,
        "service_level": option.service_level,
        "ship_at": option.ship_at,
        "deliver_at": option.deliver_at,
        "order_by": option.order_by,
        "cost": cost_text(option.cost_micros),
        "shipments": [_shipment(shipment, kit_of) for shipment in option.shipments],
        "missing": [
            _units(x.line_id, x.sku, x.quantity, kit_of) | {"reason": x.reason}
            for x in option.missing
        ],
        "decision_id": offer.decision_id,
    }


def _shipment(shipment: PlannedShipment, kit_of: Mapping[str, str]) -> dict[str, Any]:
    return {
        "node_id": shipment.node_id,
        "ship_group": shipment.ship_group,
        "method": shipment.method,
        "service_id": shipment.service_id,
        "items": [_units(x.line_id, x.sku, x.quantity, kit_of) for x in shipment.assignments],
        "ship_at": shipment.ship_at,
        "deliver_at": shipment.deliver_at,
        "order_by": shipment.order_by,
        "cost": cost_text(shipment.cost_micros),
        "distance_km": shipment.distance_km,
    }


def _units(line_id: str, sku: str, quantity: int, kit_of: Mapping[str, str]) -> dict[str, Any]:
    """Units of an item; of a kit's component also the item that is the kit."""
    told = {"line_id": line_id, "sku": sku, "quantity": quantity}
    kit = kit_of.get(line_id)
    return told if kit is None else told | {"parent_line_id": kit}


def cost_text(cost_micros: int) -> str:
    """Micro-units as a decimal string with at least two places, exact."""
    text = f"{Decimal(cost_micros) / MICROS:.6f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"{whole}.{places.ljust(2, '0')}"
