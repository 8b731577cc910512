"""Route: which nodes serve the units still open, under the order's pinned policy."""

from temporalio import activity

from activities.context import Context
from activities.kernel import decide_for, keep_decision, number_for
from activities.orders import OrderTask
from activities.recording import now
from domain.planning import Wanted
from domain.plans import Plan
from domain.routing.decision import Exclusion, Purpose
from domain.values import Id, Model, UtcTime
from store import drift, orders, reservations
from store.engine import reading, transaction


class RouteTask(OrderTask):
    """Units to plan by line id; exclusions are refusals the snapshot may not know yet."""

    units: dict[str, int]
    plan_version: int
    rerouted: bool = False
    exclusions: tuple[Exclusion, ...] = ()
    promised_deliver_by: UtcTime | None = None


class LoadPlanTask(Model):
    """A plan that a brokering run made."""

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

        The plan has a higher number than asked for where that one stands for something else.
        """
        with reading(self._engine) as session:
            order = orders.load_order(session, task.order_id, task.version)
            asked = task.model_dump(mode="json", include={"units", "exclusions", "version"})
            number = number_for(session, task.order_id, task.plan_version, asked)
            wanted = Wanted(
                request_id=number.decision_id,
                purpose=Purpose.REROUTE if task.rerouted else Purpose.ROUTE,
                units=task.units,
                exclusions=task.exclusions,
                promised_deliver_by=task.promised_deliver_by,
            )
            decided = decide_for(session, order, wanted, task.routing_policy, now())
        with transaction(self._engine) as session:
            plan = keep_decision(session, decided, number.plan_version, now())
            option = decided.decision.plan
            if option is not None:
                drift.keep_drift(session, order, plan.decision_id, plan.plan_version, option, now())
            return plan

    @activity.defn(name="load_plan", no_thread_cancel_exception=True)
    def load_plan(self, task: LoadPlanTask) -> Plan:
        """Load the plan that now holds the order's reservation."""
        with reading(self._engine) as session:
            return reservations.load_plan(session, task.order_id, task.plan_version)
