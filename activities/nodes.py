"""Nodes chosen by people: an order's reserved units are planned again on them, at once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.kernel import (
    Decided,
    Numbered,
    decide_on_chosen,
    keep_decision,
    number_for,
    reserve_key,
)
from activities.recording import now
from activities.route import MOST_LINES_AT_ONCE, MOST_TRIES, RouteTask
from domain.errors import ConflictError, RetryableError, ShortageError
from domain.ground import Uses
from domain.orders import Order
from domain.planning import Wanted
from domain.plans import Plan, PlanShortage
from domain.routing.decision import Exclusion, Purpose
from domain.values import Model
from store import drift, moves, orders, reservations
from store.engine import reading, transaction
from store.reservation_rows import ReservationRow, locked_reservations


class PlannedOnNodes(Model):
    """The plan that is reserved now; None, and nothing changed, where these units lack a node."""

    plan: Plan | None = None
    missing: tuple[PlanShortage, ...] = ()


class NodesActivities:
    """Planning on chosen nodes."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="plan_on_nodes", no_thread_cancel_exception=True)
    def plan_on_nodes(self, task: RouteTask) -> PlannedOnNodes:
        """Decide for units that are reserved and reserve that instead, both or neither.

        What some units lack a node for is refused whole: they stay where they are.
        """
        refused: set[tuple[str, str]] = set()
        for _ in range(MOST_TRIES):
            try:
                return self._plan(task, refused)
            except ShortageError as shortage:
                refused |= set(shortage.short)
            except ConflictError:
                continue  # a brokering run has just used the number
        raise RetryableError("others are quicker at every node: try again")

    def _plan(self, task: RouteTask, refused: Iterable[tuple[str, str]]) -> PlannedOnNodes:
        if len(task.units) <= MOST_LINES_AT_ONCE:
            with transaction(self._engine) as session:
                return _reserve(session, task, _decide(session, task, refused))
        with reading(self._engine) as session:
            seen = _decide(session, task, refused)
        with transaction(self._engine) as session:
            if _stands(session, task) != seen.stands:
                raise ConflictError(f"order '{task.order_id}' was moved or changed meanwhile")
            return _reserve(session, task, seen)


@dataclass(frozen=True)
class _Stands:
    """The number of the next plan, and what is given up for it: reservations and their rows."""

    number: Numbered
    held: list[str]
    rows: list[ReservationRow]


@dataclass(frozen=True)
class _Seen:
    """What was decided, when and for what; None where it was decided and reserved before."""

    stands: _Stands
    order: Order
    decided: Decided | None
    at: datetime


def _stands(session: Session, task: RouteTask) -> _Stands:
    """How the order stands, its rows locked until the session ends."""
    asked = task.model_dump(mode="json", include={"units", "exclusions", "version", "chosen"})
    number = number_for(session, task.order_id, task.plan_version, {**asked, "by": "people"})
    held = [f"{task.order_id}-r{moves.locked_last(session, task.order_id, x)}" for x in task.known]
    # Reserved by an earlier attempt whose answer was lost, and moved by a brokering run since.
    skipped = [f"{task.order_id}-r{x}" for x in range(task.plan_version, number.plan_version)]
    lost = moves.unknown(session, task.order_id, skipped, task.known)
    held += [x for x in lost if x not in held]
    return _Stands(number, held, locked_reservations(session, held))


def _decide(session: Session, task: RouteTask, refused: Iterable[tuple[str, str]]) -> _Seen:
    stands = _stands(session, task)
    order = orders.load_order(session, task.order_id, task.version)
    at = now()
    if stands.number.kept is not None:
        return _Seen(stands, order, None, at)
    cooling = [
        x
        for x in reservations.cool_offs(session, {row.sku for row in stands.rows}, at)
        if x.node_id not in task.chosen.force
    ]
    others = [
        Exclusion(node_id=node, sku=sku or None, reason="taken meanwhile") for node, sku in refused
    ]
    wanted = Wanted(
        request_id=stands.number.decision_id,
        purpose=Purpose.REROUTE,
        units=task.units,
        exclusions=(*task.exclusions, *cooling, *others),
        promised_deliver_by=task.promised_deliver_by,
        own_units=_own(stands.rows),
    )
    room = _own_room(stands.rows)
    decided = decide_on_chosen(session, order, wanted, task.routing_policy, at, task.chosen, room)
    return _Seen(stands, order, decided, at)


def _reserve(session: Session, task: RouteTask, seen: _Seen) -> PlannedOnNodes:
    number, at = seen.stands.number, seen.at
    if seen.decided is None:
        return PlannedOnNodes(plan=number.kept)  # the answer to an earlier attempt was lost
    option = seen.decided.decision.plan
    if option is None or option.missing:
        missing = () if option is None else option.missing
        return PlannedOnNodes(missing=tuple(PlanShortage(**x.model_dump()) for x in missing))
    plan = keep_decision(session, seen.decided, number.plan_version, at, task.chosen)
    reservations.reserve_plan(
        session,
        task.order_id,
        plan,
        key=reserve_key(task.order_id, plan),
        now=at,
        replaces=seen.stands.held,
        keeps_holds=True,
    )
    drift.keep_drift(session, seen.order, plan.decision_id, plan.plan_version, option, at)
    return PlannedOnNodes(plan=plan)


def _own(rows: Iterable[ReservationRow]) -> dict[str, dict[str, int]]:
    own: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.counted and row.reserved:
            at_nodes = own.setdefault(row.sku, {})
            at_nodes[row.node_id] = at_nodes.get(row.node_id, 0) + row.reserved
    return own


def _own_room(rows: Iterable[ReservationRow]) -> Uses:
    """What the reserved units take of nodes' days: units, and one order a day."""
    room: Uses = Counter()
    for row in rows:
        if row.reserved and row.work_date is not None:
            room["units", row.work_date, row.node_id] += row.reserved
            room["orders", row.work_date, row.node_id] = 1
    return room
