"""Route: which nodes serve the units still open, under the order's pinned policy."""

from collections.abc import Iterable

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
from activities.orders import OrderTask
from activities.recording import now
from domain.errors import ConflictError, ShortageError
from domain.orders import Order
from domain.planning import Wanted
from domain.plans import ChosenNodes, MovedPlan, Plan
from domain.routing.decision import Exclusion, Purpose
from domain.values import Id, Model, UtcTime
from store import drift, moves, orders, reservations
from store.engine import reading, transaction

REFUSED = "refused at reserve"
"""Reason of the exclusions that an earlier plan of the same round met."""
MOST_TRIES = 5
MOST_LINES_AT_ONCE = 14
"""Of more lines deciding may take seconds, in which nobody else could write."""


class RouteTask(OrderTask):
    """Units to plan by line id; exclusions are what must not be asked, or has just refused."""

    units: dict[str, int]
    plan_version: int
    rerouted: bool = False
    exclusions: tuple[Exclusion, ...] = ()
    promised_deliver_by: UtcTime | None = None
    known: tuple[int, ...] = ()
    """Its reserved plans: what a brokering run made of them is not given up for this one."""
    chosen: ChosenNodes = ChosenNodes()
    """By people."""


class LoadPlanTask(Model):
    """A plan that a brokering run made, or made of it since."""

    order_id: Id
    plan_version: int


class RouteActivities:
    """The route stage."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="route", no_thread_cancel_exception=True)
    def route(self, task: RouteTask) -> Plan:
        """Decide the nodes; what no node can serve is named in the plan's `missing`.

        The plan has a higher number than asked for where that one stands for something else. After
        a refusal it is taken as soon as it is made, so that what is sold out meanwhile at one node
        after the other does not refuse the order again and again; reserving it is then a repeat.
        """
        was_refused = any(x.reason == REFUSED for x in task.exclusions)
        if was_refused and len(task.units) <= MOST_LINES_AT_ONCE:
            plan = self._settled(task)
            if plan is not None:
                return plan
        with reading(self._engine) as session:
            order = orders.load_order(session, task.order_id, task.version)
            number = _number(session, task)
            decided = _decide(session, order, task, number, task.exclusions)
        with transaction(self._engine) as session:
            return _keep(session, order, decided, number, task.chosen)

    def _settled(self, task: RouteTask) -> Plan | None:
        """A plan that is decided and reserved in one transaction; None when others were quicker."""
        # What refused before is there as the database has it now: fewer units are not none.
        others = tuple(x for x in task.exclusions if x.reason != REFUSED)
        exclusions = others
        refused = {(x.node_id, x.sku) for x in task.exclusions if x.reason == REFUSED}
        for _ in range(MOST_TRIES):
            try:
                with transaction(self._engine) as session:
                    return _decide_and_reserve(session, task, exclusions)
            except ShortageError as shortage:
                refused |= {(node_id, sku or None) for node_id, sku in shortage.short}
                exclusions = (*others, *_masks(refused))
            except ConflictError:
                continue  # a brokering run has just used the number
        return None

    @activity.defn(name="load_plan", no_thread_cancel_exception=True)
    def load_plan(self, task: LoadPlanTask) -> MovedPlan:
        """Load the plan that holds those units now, and which plans it took over."""
        with reading(self._engine) as session:
            return moves.current_plan(session, task.order_id, task.plan_version)


def _masks(refused: Iterable[tuple[str, str | None]]) -> tuple[Exclusion, ...]:
    ordered = sorted(refused, key=lambda place: (place[0], place[1] or ""))
    return tuple(Exclusion(node_id=node, sku=sku, reason=REFUSED) for node, sku in ordered)


def _number(session: Session, task: RouteTask) -> Numbered:
    asked = task.model_dump(mode="json", include={"units", "exclusions", "version"})
    if task.chosen != ChosenNodes():
        asked["chosen"] = task.chosen.model_dump(mode="json")
    return number_for(session, task.order_id, task.plan_version, asked)


def _decide(
    session: Session,
    order: Order,
    task: RouteTask,
    number: Numbered,
    exclusions: tuple[Exclusion, ...],
) -> Decided:
    wanted = Wanted(
        request_id=number.decision_id,
        purpose=Purpose.REROUTE if task.rerouted else Purpose.ROUTE,
        units=task.units,
        exclusions=exclusions,
        promised_deliver_by=task.promised_deliver_by,
    )
    return decide_on_chosen(session, order, wanted, task.routing_policy, now(), task.chosen)


def _keep(
    session: Session, order: Order, decided: Decided, number: Numbered, chosen: ChosenNodes
) -> Plan:
    plan = keep_decision(session, decided, number.plan_version, now(), chosen)
    option = decided.decision.plan
    if option is not None:
        drift.keep_drift(session, order, plan.decision_id, plan.plan_version, option, now())
    return plan


def _decide_and_reserve(
    session: Session, task: RouteTask, exclusions: tuple[Exclusion, ...]
) -> Plan:
    number = _number(session, task)
    if number.kept is not None:
        return number.kept  # the answer to an earlier attempt was lost
    order = orders.load_order(session, task.order_id, task.version)
    decided = _decide(session, order, task, number, exclusions)
    plan = _keep(session, order, decided, number, task.chosen)
    if plan.fulfillments:
        forgotten = [
            f"{task.order_id}-r{version}"
            for version in range(task.plan_version, number.plan_version)
        ]
        reservations.reserve_plan(
            session,
            task.order_id,
            plan,
            key=reserve_key(task.order_id, plan),
            now=now(),
            replaces=moves.unknown(session, task.order_id, forgotten, task.known),
        )
    return plan
