"""What can be promised: the same kernel that routes orders, asked before there is one."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from domain.catalogue import UnknownUnitError, to_base_units
from domain.money import CurrencyCode
from domain.network import Place
from domain.orders import Method, OrderType, ServiceLevel
from domain.planning import NoRateError, to_base
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Option,
    PlannedShipment,
    Purpose,
    RequestGroup,
    RequestLine,
)
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
from domain.values import MAX_QUANTITY, MICROS, Id, Model, PositiveMoney, Quantity, Text, UtcTime
from starter.api.context import RawBody, Services, TheCaller, TheServices, body_as, json_body
from starter.api.problems import FieldError, InvalidDocumentError
from starter.auth import ANALYST, INTAKE, OPERATIONS, SUPPORT, require
from starter.intake import Known
from store import decisions, policies
from store.engine import reading, transaction
from store.snapshot import build_snapshot

router = APIRouter(tags=["promises"])

MOST_ITEMS = 1_000


class PromiseItem(Model):
    """Units wanted, in `ordered_uom`; `unit_price` matters only to value rules of the policy."""

    line_id: Id | None = None
    sku: Id
    quantity: Quantity = 1
    ordered_uom: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,8}$")] = "EA"
    ship_group: Id = "1"
    keep_together: Id | None = None
    unit_price: PositiveMoney = Decimal(0)


class PromiseGroup(Model):
    """Where items go and how."""

    id: Id = "1"
    method: Method = Method.SHIP
    destination: Place | None = None
    node_id: Id | None = None
    service_level: ServiceLevel = ServiceLevel.STANDARD
    not_before: UtcTime | None = None
    deliver_by: UtcTime | None = None
    ship_complete: bool = False


class PromiseBody(Model):
    """Items in; `destination` and `service_level` alone stand for one shipped group '1'."""

    purpose: Purpose = Purpose.CART
    items: Annotated[tuple[PromiseItem, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    destination: Place | None = None
    service_level: ServiceLevel = ServiceLevel.STANDARD
    ship_groups: Annotated[tuple[PromiseGroup, ...], Field(max_length=MOST_ITEMS)] = ()
    order_type: OrderType = OrderType.B2C
    channel: Id = "web"
    brand: Id = "default"
    region: Id = "default"
    currency: CurrencyCode | None = None
    tier: Text = ""
    allow_split: bool = True
    allow_backorder: bool = True

    @model_validator(mode="after")
    def _says_where_to(self) -> Self:
        if not self.ship_groups and self.destination is None:
            raise ValueError("destination: say where to (destination), or give ship_groups")
        groups = {group.id for group in self.groups}
        if len(groups) != len(self.groups):
            raise ValueError("ship_groups: an id stands more than once")
        for position, item in enumerate(self.items):
            if item.ship_group not in groups:
                raise ValueError(f"items.{position}.ship_group: no ship group '{item.ship_group}'")
        for position, group in enumerate(self.ship_groups):
            if group.method is Method.SHIP and group.destination is None:
                raise ValueError(f"ship_groups.{position}.destination: a shipment needs one")
            if group.method is not Method.SHIP and group.node_id is None:
                raise ValueError(f"ship_groups.{position}.node_id: name the store")
        return self

    @property
    def groups(self) -> tuple[PromiseGroup, ...]:
        """The ship groups, the short form included."""
        if self.ship_groups:
            return self.ship_groups
        return (PromiseGroup(destination=self.destination, service_level=self.service_level),)


@router.post("/promises", openapi_extra=json_body(PromiseBody))
def promise(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Options with nodes, dates and cost; the promise is kept under its `promise_id`."""
    require(caller, INTAKE, SUPPORT, OPERATIONS, ANALYST)
    body = body_as(PromiseBody, raw)
    now = services.clock()
    promise_id = f"promise-{uuid4().hex}"
    with reading(services.engine) as session:
        known = services.reference.known(session)
        policy_version, document = policies.active(
            session,
            "routing",
            brand=body.brand,
            region=body.region,
            order_type=body.order_type.value,
            channel=body.channel,
        )
        policy = RoutingPolicy.model_validate(document)
        lines = _lines(session, known, body)
        snapshot = build_snapshot(session, sorted({line.sku for line in lines}), now)
        lines = _priced(lines, body, snapshot.base_currency, snapshot.exchange_rates)
    request = _request(promise_id, body, lines, now)
    decision = decide(request, snapshot, policy)
    with transaction(services.engine) as session:
        decisions.save_decision(session, promise_id, None, request, snapshot, policy, decision, now)
    return JSONResponse(
        _answer(services, promise_id, decision, policy_version, snapshot.base_currency)
    )


def _lines(session: Session, known: Known, body: PromiseBody) -> tuple[RequestLine, ...]:
    """The items in base units. Raises InvalidDocumentError naming unknown SKUs, units, nodes."""
    errors = [
        FieldError(f"ship_groups.{position}.node_id", f"no node '{group.node_id}'")
        for position, group in enumerate(body.groups)
        if group.node_id is not None and group.node_id not in known.nodes
    ]
    products = known.products(session, {item.sku for item in body.items})
    lines = []
    for position, item in enumerate(body.items):
        product = products.get(item.sku)
        if product is None:
            errors.append(FieldError(f"items.{position}.sku", f"no product '{item.sku}'"))
            continue
        try:
            quantity = to_base_units(product, item.quantity, item.ordered_uom)
        except UnknownUnitError as error:
            errors.append(FieldError(f"items.{position}.ordered_uom", str(error)))
            continue
        if quantity > MAX_QUANTITY:
            message = f"{quantity} base units are more than {MAX_QUANTITY}"
            errors.append(FieldError(f"items.{position}.quantity", message))
            continue
        lines.append(
            RequestLine(
                line_id=item.line_id or str(position + 1),
                sku=item.sku,
                quantity=quantity,
                ship_group=item.ship_group,
                keep_together=item.keep_together,
            )
        )
    if len({line.line_id for line in lines}) != len(lines):
        errors.append(FieldError("items", "a line_id stands more than once"))
    if errors:
        raise InvalidDocumentError(errors)
    return tuple(lines)


def _priced(
    lines: tuple[RequestLine, ...], body: PromiseBody, base: str, rates: dict[str, str]
) -> tuple[RequestLine, ...]:
    """The lines with the price of one base unit in the base currency."""
    currency = body.currency or base
    try:
        prices = [to_base(item.unit_price, currency, base, rates) for item in body.items]
    except NoRateError as error:
        raise InvalidDocumentError([FieldError("currency", str(error))]) from error
    return tuple(
        line.model_copy(
            update={"unit_price_micros": int(price * MICROS * item.quantity / line.quantity)}
        )
        for line, item, price in zip(lines, body.items, prices, strict=True)
    )


def _request(
    promise_id: str, body: PromiseBody, lines: tuple[RequestLine, ...], now: datetime
) -> DecisionRequest:
    groups = tuple(
        RequestGroup(
            group_id=group.id,
            method=group.method,
            destination=group.destination,
            node_id=group.node_id,
            service_level=group.service_level,
            not_before=group.not_before,
            deliver_by=group.deliver_by,
            ship_complete=group.ship_complete,
        )
        for group in body.groups
    )
    return DecisionRequest(
        request_id=promise_id,
        purpose=body.purpose,
        now=now,
        lines=lines,
        groups=groups,
        order_type=body.order_type,
        channel=body.channel,
        brand=body.brand,
        region=body.region,
        tier=body.tier,
        allow_split=body.allow_split,
        allow_backorder=body.allow_backorder,
    )


def _answer(
    services: Services, promise_id: str, decision: Decision, policy_version: str, currency: str
) -> dict[str, Any]:
    return {
        "promise_id": promise_id,
        "policy_version": policy_version,
        "kernel_version": decision.kernel_version,
        "snapshot_id": decision.snapshot_id,
        "currency": currency,
        "chosen": decision.chosen,
        "options": [_option(option) for option in decision.options],
        "links": {"decision": f"{services.settings.base_url}/v1/decisions/{promise_id}"},
    }


def _option(option: Option) -> dict[str, Any]:
    return {
        "service_level": option.service_level,
        "ship_at": _iso(option.ship_at),
        "deliver_at": _iso(option.deliver_at),
        "order_by": _iso(option.order_by),
        "cost": cost_text(option.cost_micros),
        "shipments": [_shipment(shipment) for shipment in option.shipments],
        "missing": [missing.model_dump(mode="json") for missing in option.missing],
    }


def _shipment(shipment: PlannedShipment) -> dict[str, Any]:
    return {
        "node_id": shipment.node_id,
        "ship_group": shipment.ship_group,
        "method": shipment.method,
        "service_id": shipment.service_id,
        "items": [assignment.model_dump(mode="json") for assignment in shipment.assignments],
        "ship_at": _iso(shipment.ship_at),
        "deliver_at": _iso(shipment.deliver_at),
        "order_by": _iso(shipment.order_by),
        "cost": cost_text(shipment.cost_micros),
        "distance_km": shipment.distance_km,
    }


def cost_text(cost_micros: int) -> str:
    """Micro-units as a decimal string with at least two places, exact."""
    text = f"{Decimal(cost_micros) / MICROS:.6f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"{whole}.{places.ljust(2, '0')}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
