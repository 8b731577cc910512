"""What was promised to an order, and how far its plan has drifted from that.

The promise is the checkout's, where the order names one that fits it; else the order's own.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from domain.drift import Drift, drift_between
from domain.errors import UnknownReferenceError
from domain.orders import Method, Order, ShipGroup
from domain.plans import TimelineEntry
from domain.routing.decision import Decision, DecisionRequest, Option, RequestGroup
from domain.values import Model
from store import decisions, timeline
from store.columns import query, statement

_FIGURES = ("units_moved", "ship_days", "delivery_days", "cost_micros")
_SAVE = statement(
    "INSERT INTO promise_drift (order_id, promised_in, routed_in, plan_version, units_moved,"
    " ship_days, delivery_days, cost_micros, first_units_moved, first_ship_days,"
    " first_delivery_days, first_cost_micros, compared_at) VALUES (:order_id, :promised_in,"
    " :routed_in, :plan_version, :units_moved, :ship_days, :delivery_days, :cost_micros,"
    " :units_moved, :ship_days, :delivery_days, :cost_micros, :compared_at)"
    " ON CONFLICT (order_id) DO UPDATE SET routed_in = excluded.routed_in,"
    " plan_version = excluded.plan_version, units_moved = excluded.units_moved,"
    " ship_days = excluded.ship_days, delivery_days = excluded.delivery_days,"
    " cost_micros = excluded.cost_micros, compared_at = excluded.compared_at"
    " WHERE promise_drift.plan_version < excluded.plan_version",
    "promise_drift",
)
_ONE = query("SELECT * FROM promise_drift WHERE order_id = :order_id", "promise_drift")
_REPORT = statement(
    "SELECT count(*) AS orders,"
    " sum(CASE WHEN first_units_moved = 0 AND first_ship_days = 0 AND first_delivery_days = 0"
    " AND first_cost_micros = 0 THEN 0 ELSE 1 END) AS orders_routed_unlike_promised,"
    " sum(first_units_moved) AS units_moved,"
    " sum(CASE WHEN first_delivery_days > 0 THEN 1 ELSE 0 END) AS orders_later_at_route,"
    " sum(first_cost_micros) AS cost_micros,"
    " sum(CASE WHEN delivery_days > 0 THEN 1 ELSE 0 END) AS orders_later_now,"
    " sum(CASE WHEN delivery_days > 0 THEN delivery_days ELSE 0 END) AS days_later_now"
    " FROM promise_drift"
)


class Commitment(Model):
    """What was promised: in which decision, and the option that the order took."""

    decision_id: str
    option: Option


class OrderDrift(Model):
    """An order's drift at its first plan, and now."""

    order_id: str
    promised_in: str
    routed_in: str
    plan_version: int
    first: Drift
    now: Drift


def checkout_commitment(session: Session, order: Order) -> Commitment | None:
    """The option of the promise the order names that is what the order asks for.

    None without a promise, and where the order is not what was promised: other units, places'
    methods, stores or services.
    """
    if order.promise_id is None:
        return None
    for decision_id in _parts_of(order.promise_id):
        try:
            request, decision = decisions.load_choice(session, decision_id)
        except UnknownReferenceError:
            return None
        pairs = _pairs(request, order)
        if _units(request) == _ordered(order) and all(_is_like(*pair) for pair in pairs):
            option = _option_taken(decision, pairs)
            if option is not None:
                return Commitment(decision_id=decision_id, option=option)
    return None


def commitment_of(session: Session, order: Order) -> Commitment | None:
    """What was promised to the order: at checkout, else by the order's own promise stage."""
    found = checkout_commitment(session, order)
    if found is not None:
        return found
    own = f"{order.order_id}-p{order.version}"
    try:
        _, decision = decisions.load_choice(session, own)
    except UnknownReferenceError:
        return None
    plan = decision.plan
    return None if plan is None else Commitment(decision_id=own, option=plan)


def keep_drift(
    session: Session, order: Order, routed_in: str, plan_version: int, routed: Option, now: datetime
) -> Drift | None:
    """Compare a plan for the whole order with its promise, and keep that; None without a promise.

    A plan that delivers later than the one before it said is told on the order's timeline. Plans
    for a part of the order are not compared.
    """
    committed = commitment_of(session, order)
    if committed is None or not _is_for_all(routed, order):
        return None
    drift = drift_between(committed.option, routed)
    before = drift_of(session, order.order_id)
    row: dict[str, Any] = {
        **drift.model_dump(),
        "order_id": order.order_id,
        "promised_in": committed.decision_id,
        "routed_in": routed_in,
        "plan_version": plan_version,
        "compared_at": now,
    }
    session.execute(_SAVE, row)
    if drift.delivery_days > max(0, before.now.delivery_days if before else 0):
        _tell(session, order.order_id, plan_version, committed.option, routed, now)
    return drift


def drift_of(session: Session, order_id: str) -> OrderDrift | None:
    """What is kept of an order's drift."""
    row = session.execute(_ONE, {"order_id": order_id}).mappings().one_or_none()
    if row is None:
        return None
    return OrderDrift(
        order_id=order_id,
        promised_in=row["promised_in"],
        routed_in=row["routed_in"],
        plan_version=row["plan_version"],
        first=Drift.model_validate({name: row[f"first_{name}"] for name in _FIGURES}),
        now=Drift.model_validate({name: row[name] for name in _FIGURES}),
    )


def report(session: Session) -> dict[str, int]:
    """Totals over all orders whose plan was compared with a promise."""
    row = session.execute(_REPORT).mappings().one()
    return {str(name): int(value or 0) for name, value in row.items()}


def _parts_of(promise_id: str) -> Iterator[str]:
    """The promise's decisions: what was asked first, then the alternatives."""
    yield promise_id
    number = 0
    while True:
        number += 1
        yield f"{promise_id}-{number}"


def _units(request: DecisionRequest) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in request.lines:
        units[line.sku] += line.quantity
    return units


def _ordered(order: Order) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in order.lines:
        units[line.sku] += line.quantity
    return units


def _pairs(request: DecisionRequest, order: Order) -> list[tuple[RequestGroup | None, ShipGroup]]:
    """The order's groups with those promised; in an order with one group its id does not matter."""
    promised = {group.group_id: group for group in request.groups}
    if len(promised) != len(order.ship_groups):
        return [(None, group) for group in order.ship_groups]
    if len(promised) == 1:
        return [(request.groups[0], order.ship_groups[0])]
    return [(promised.get(group.id), group) for group in order.ship_groups]


def _is_like(promised: RequestGroup | None, group: ShipGroup) -> bool:
    if promised is None or promised.method is not group.method:
        return False
    return group.method is Method.SHIP or promised.node_id == group.node_id


def _option_taken(
    decision: Decision, pairs: list[tuple[RequestGroup | None, ShipGroup]]
) -> Option | None:
    """The plan where the services are those asked for, else the option of the order's service."""
    sent = [(asked, group) for asked, group in pairs if group.method is not Method.PICKUP]
    plan = decision.plan
    is_as_asked = all(asked and asked.service_level is x.service_level for asked, x in sent)
    if is_as_asked and plan is not None and not plan.missing:
        return plan
    levels = {group.service_level for _, group in sent}
    found = (x for x in decision.options if not x.missing and levels == {x.service_level})
    return next(found, None)


def _is_for_all(routed: Option, order: Order) -> bool:
    planned = sum(line.quantity for x in routed.shipments for line in x.assignments)
    missing = sum(x.quantity for x in routed.missing)
    return planned + missing == sum(line.quantity for line in order.lines)


def _tell(
    session: Session,
    order_id: str,
    plan_version: int,
    promised: Option,
    routed: Option,
    now: datetime,
) -> None:
    dates = [x.deliver_at.date().isoformat() if x.deliver_at else "?" for x in (routed, promised)]
    entry = TimelineEntry(
        key=f"later/{plan_version}",
        at=now,
        kind="later",
        text=f"Planned for {dates[0]}, later than the promised {dates[1]}",
    )
    timeline.note(session, order_id, [entry])
