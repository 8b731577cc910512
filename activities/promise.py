"""Promise: what can be promised for the whole order, and what was promised already."""

from datetime import datetime

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.kernel import decide_for, keep_decision
from activities.orders import OrderTask, load_facts
from activities.recording import now
from domain.counting import counted
from domain.orders import Order
from domain.planning import Wanted
from domain.plans import OrderFacts, OrderView, TimelineEntry
from domain.quantities import LineQuantities
from domain.routing.decision import Purpose
from domain.stages import Stage
from domain.values import DerivedId, Model, UtcTime
from store import drift, order_recording, orders, pins, policies, timeline
from store.engine import reading, transaction


class Promised(Model):
    """The order's facts and its dates. A commitment made before (at checkout) is kept as it is."""

    facts: OrderFacts
    decision_id: DerivedId
    deliver_by: UtcTime | None = None
    short_units: int = 0


class PromiseActivities:
    """The promise stage."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="promise", no_thread_cancel_exception=True)
    def promise(self, task: OrderTask) -> Promised:
        """Ask the kernel for the whole order's plan and dates."""
        with reading(self._engine) as session:
            order = orders.load_order(session, task.order_id, task.version)
            version = pins.pinned(session, task.order_id, "process", task.process_policy)
            process = policies.process_policy(session, version)
            facts = load_facts(session, order, process)
            committed = _committed(session, order)
            wanted = _wanted(order, committed)
            decided = decide_for(session, order, wanted, task.routing_policy, now())
        with transaction(self._engine) as session:
            plan = keep_decision(session, decided, 0, now())
            promised = Promised(
                facts=facts,
                decision_id=plan.decision_id,
                deliver_by=committed or plan.deliver_by,
                short_units=sum(shortage.quantity for shortage in plan.missing),
            )
            _write_promised(session, order, promised)
            return promised


def _committed(session: Session, order: Order) -> datetime | None:
    """When it was promised already: said by the order itself, or by the checkout's promise."""
    if order.committed and order.committed.deliver_by:
        return order.committed.deliver_by
    checkout = drift.checkout_commitment(session, order)
    return None if checkout is None else checkout.option.deliver_at


def _wanted(order: Order, committed: datetime | None) -> Wanted:
    """All of the order, by the service its groups ask for: the choice among others was made."""
    return Wanted(
        request_id=f"{order.order_id}-p{order.version}",
        purpose=Purpose.ROUTE,
        units={line.line_id: line.quantity for line in order.lines},
        promised_deliver_by=committed,
    )


def _write_promised(session: Session, order: Order, promised: Promised) -> None:
    view = OrderView(
        order_id=order.order_id,
        revision=1,
        stage=Stage.PROMISED,
        displayed=Stage.PROMISED.value,
        lines={x.line_id: LineQuantities.of_new_line(x.quantity) for x in order.lines},
        promise_at=promised.deliver_by,
        decision_id=promised.decision_id,
    )
    order_recording.record_order(session, view, now())
    when = promised.deliver_by.date().isoformat() if promised.deliver_by else "no date yet"
    text = f"Promised: delivery {when}"
    if promised.short_units:
        text += f", {counted(promised.short_units, 'unit')} not in stock"
    entry = TimelineEntry(key=f"promised/{order.version}", at=now(), kind="promised", text=text)
    timeline.note(session, order.order_id, [entry])
