"""Nodes chosen by people: an order's reserved units are planned again on them, at once."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.kernel import decide_on_chosen, keep_decision, number_for, reserve_key
from activities.recording import now
from activities.route import MOST_TRIES, RouteTask
from domain.errors import ConflictError, RetryableError, ShortageError
from domain.ground import Uses
from domain.planning import Wanted
from domain.plans import Plan, PlanShortage
from domain.routing.decision import Exclusion, Purpose
from domain.values import Model
from store import drift, moves, orders, reservations
from store.engine import transaction
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
        """Decide for units that are reserved and reserve that instead, in one transaction.

        What some units lack a node for is refused whole: they stay where they are.
        """
        refused: set[tuple[str, str]] = set()
        for _ in range(MOST_TRIES):
            try:
                with transaction(self._engine) as session:
                    return _plan(session, task, refused)
            except ShortageError as shortage:
                refused |= set(shortage.short)
            except ConflictError:
                continue  # a brokering run has just used the number
        raise RetryableError("others are quicker at every node: try again")


def _plan(session: Session, task: RouteTask, refused: Iterable[tuple[str, str]]) -> PlannedOnNodes:
    asked = task.model_dump(mode="json", include={"units", "exclusions", "version", "chosen"})
    number = number_for(session, task.order_id, task.plan_version, {**asked, "by": "people"})
    if number.kept is not None:
        return PlannedOnNodes(plan=number.kept)  # the answer to an earlier attempt was lost
    held = [f"{task.order_id}-r{moves.locked_last(session, task.order_id, x)}" for x in task.known]
    # Reserved by an earlier attempt whose answer was lost, and moved by a brokering run since.
    skipped = [f"{task.order_id}-r{x}" for x in range(task.plan_version, number.plan_version)]
    lost = moves.unknown(session, task.order_id, skipped, task.known)
    held += [x for x in lost if x not in held]
    rows = locked_reservations(session, held)
    order = orders.load_order(session, task.order_id, task.version)
    at = now()
    cooling = [
        x
        for x in reservations.cool_offs(session, {row.sku for row in rows}, at)
        if x.node_id not in task.chosen.force
    ]
    others = [
        Exclusion(node_id=node, sku=sku or None, reason="taken meanwhile") for node, sku in refused
    ]
    wanted = Wanted(
        request_id=number.decision_id,
        purpose=Purpose.REROUTE,
        units=task.units,
        exclusions=(*task.exclusions, *cooling, *others),
        promised_deliver_by=task.promised_deliver_by,
        own_units=_own(rows),
    )
    decided = decide_on_chosen(
        session, order, wanted, task.routing_policy, at, task.chosen, _own_room(rows)
    )
    option = decided.decision.plan
    if option is None or option.missing:
        missing = () if option is None else option.missing
        return PlannedOnNodes(missing=tuple(PlanShortage(**x.model_dump()) for x in missing))
    plan = keep_decision(session, decided, number.plan_version, at, task.chosen)
    key = reserve_key(task.order_id, plan)
    reservations.reserve_plan(
        session, task.order_id, plan, key=key, now=at, replaces=held, keeps_holds=True
    )
    drift.keep_drift(session, order, plan.decision_id, plan.plan_version, option, at)
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
