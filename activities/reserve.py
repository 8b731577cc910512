"""Reserve: take exactly a plan's stock and capacity in one transaction, or nothing; and undo."""

from datetime import timedelta

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.kernel import (
    decide_for,
    earlier_plan,
    keep_decision,
    number_for,
    reserve_key,
)
from activities.orders import OrderTask
from activities.recording import OrderRecord, now, write_order
from domain.errors import ConflictError, RetryableError, ShortageError
from domain.planning import Wanted, bundles
from domain.plans import Plan, PlanLine
from domain.routing.decision import Purpose
from domain.values import DerivedId, Id, Model, Quantity, UtcTime
from store import holds, moves, orders, reservations
from store.engine import reading, transaction
from store.reserver import Reserver
from store.reserving import Ask

HOLDS_AT_ONCE = 200
MOST_TRIES_AT_A_GRANT = 10
"""A node that refuses so often what was decided for it is shown to a person."""
KEPT_FOR_NEXT_PLAN = timedelta(minutes=15)
"""How long units wait for the order that is planned again; longer only where workers are away."""


class ReserveTask(OrderRecord):
    """The plan to take, and the order's view once it is taken."""

    plan: Plan
    replaces: tuple[DerivedId, ...] = ()
    """Reservations the order made before it was reset, and knows nothing of now."""
    known: tuple[int, ...] = ()
    """Its other reserved plans: what a brokering run made of them is not forgotten."""


class Reserved(Model):
    """The reservation, or the (node, SKU) pairs that refused; a SKU of '' means capacity."""

    reservation_id: DerivedId | None = None
    refused: tuple[tuple[str, str], ...] = ()
    is_overtaken: bool = False
    """Nothing refused: a brokering run has used the plan's number, so it needs another."""


class FreedUnits(Model):
    """Units of a reservation that are no longer wanted."""

    reservation_id: DerivedId
    node_id: Id
    line_id: Id
    quantity: Quantity


class FreeTask(OrderRecord):
    """Units to give back before release. `key` is the business key of this one giving back.

    With `planned_again` nobody else can have them until the order's next plan is taken.
    """

    key: str
    units: tuple[FreedUnits, ...]
    planned_again: bool = False


class BackorderTask(OrderRecord):
    """Units to wait for, in the order of their demand class."""

    key: str
    lines: tuple[PlanLine, ...]
    promise_at: UtcTime | None = None
    demand_class: str = ""


class DropTask(Model):
    """Units to wait for no longer."""

    order_id: Id
    key: str
    lines: tuple[PlanLine, ...]


class Dropped(Model):
    """Line id -> units that still waited and now do not."""

    units: dict[str, int]


class HoldsEnded(Model):
    """How many holds were ended, and whether more may be over."""

    ended: int
    has_more: bool


class GrantTask(OrderTask):
    """Turn units granted to a backorder into a reserved plan."""

    reservation_id: DerivedId
    plan_version: int
    promised_deliver_by: UtcTime | None = None


class ReserveActivities:
    """The reserve stage and what undoes it."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine
        self._reserver = Reserver(context.engine)

    @activity.defn(name="reserve", no_thread_cancel_exception=True)
    def reserve(self, task: ReserveTask) -> Reserved:
        """Take the plan whole, or refuse and say where it is short."""
        at = now(task)
        # Another step's thread may write this: the time is this step's all the same.
        record = task.model_copy(update={"at": at})
        key = reserve_key(task.order_id, task.plan)
        ask = Ask(task.order_id, task.plan, key, at, replaces=self._forgotten(task))
        try:
            reservation_id = self._reserver.reserve(
                ask, lambda session: write_order(session, record)
            )
        except ShortageError as shortage:
            return Reserved(refused=shortage.short)
        except ConflictError:
            if self._is_overtaken(task):
                return Reserved(is_overtaken=True)
            raise
        return Reserved(reservation_id=reservation_id)

    def _forgotten(self, task: ReserveTask) -> tuple[str, ...]:
        if not task.replaces:
            return ()
        with reading(self._engine) as session:
            return moves.unknown(session, task.order_id, task.replaces, task.known)

    def _is_overtaken(self, task: ReserveTask) -> bool:
        """Whether another plan has the number of this one."""
        with reading(self._engine) as session:
            kept = reservations.reserved_plan(session, task.order_id, task.plan.plan_version)
        return kept is not None and kept.decision_id != task.plan.decision_id

    @activity.defn(name="free", no_thread_cancel_exception=True)
    def free(self, task: FreeTask) -> None:
        """Give reserved units and their capacity back."""
        asked = [(x.reservation_id, x.node_id, x.line_id, x.quantity) for x in task.units]
        kept_until = now() + KEPT_FOR_NEXT_PLAN if task.planned_again else None
        with transaction(self._engine) as session:
            units = moves.followed(session, task.order_id, asked)
            reservations.free_reserved(
                session, task.order_id, units, key=task.key, now=now(), kept_until=kept_until
            )
            write_order(session, task)

    @activity.defn(name="expire_holds", no_thread_cancel_exception=True)
    def expire_holds(self) -> HoldsEnded:
        """End some of the holds whose time is over."""
        with transaction(self._engine) as session:
            ended = holds.expire(session, now=now(), limit=HOLDS_AT_ONCE)
        return HoldsEnded(ended=ended, has_more=ended == HOLDS_AT_ONCE)

    @activity.defn(name="backorder", no_thread_cancel_exception=True)
    def backorder(self, task: BackorderTask) -> None:
        """Queue units for arriving supply."""
        lines = [(line.line_id, line.sku, line.quantity) for line in task.lines]
        with transaction(self._engine) as session:
            order = orders.load_order(session, task.order_id)
            reservations.add_backorder(
                session,
                task.order_id,
                lines,
                demand_class=task.demand_class,
                promise_at=task.promise_at,
                key=task.key,
                now=now(),
                bundles=bundles(order),
            )
            # What a cart holds and routing could not use must not wait with the order.
            holds.free_bound(session, task.order_id, now=now())
            write_order(session, task)

    @activity.defn(name="drop_backorder", no_thread_cancel_exception=True)
    def drop_backorder(self, task: DropTask) -> Dropped:
        """Take units off the queue; what was granted meanwhile stays granted."""
        lines = [(line.line_id, line.sku, line.quantity) for line in task.lines]
        with transaction(self._engine) as session:
            dropped = reservations.drop_backorder(
                session, task.order_id, lines, key=task.key, now=now()
            )
            return Dropped(units=dict(dropped))

    @activity.defn(name="take_grant", no_thread_cancel_exception=True)
    def take_grant(self, task: GrantTask) -> Plan:
        """Plan the granted units from the nodes they were granted at, and reserve that plan."""
        try:
            with transaction(self._engine) as session:
                return _plan_grant(session, task)
        except (ShortageError, ConflictError) as refusal:
            if activity.info().attempt >= MOST_TRIES_AT_A_GRANT:
                raise
            # Others took what the node had left for the day, or a brokering run the plan's number,
            # at this very moment: decided afresh.
            raise RetryableError(str(refusal)) from refusal


def _plan_grant(session: Session, task: GrantTask) -> Plan:
    asked = {"granted": task.reservation_id}
    number = number_for(session, task.order_id, task.plan_version, asked)
    if number.kept is not None:
        return number.kept  # the answer to an earlier attempt was lost
    granted = reservations.take_grant(session, task.order_id, task.reservation_id)
    if not granted:
        # A grant is taken once; a reset order may take it again under a higher number.
        taken = earlier_plan(session, task.order_id, task.plan_version, asked)
        if taken is not None:
            return taken
    order = orders.load_order(session, task.order_id, task.version)
    units: dict[str, int] = {}
    own: dict[str, dict[str, int]] = {}
    for node_id, line_id, sku, quantity in granted:
        units[line_id] = units.get(line_id, 0) + quantity
        at_nodes = own.setdefault(sku, {})
        at_nodes[node_id] = at_nodes.get(node_id, 0) + quantity
    wanted = Wanted(
        request_id=number.decision_id,
        purpose=Purpose.REROUTE,
        units=units,
        own_units=own,
        forced_nodes=tuple(sorted({row[0] for row in granted})),
        promised_deliver_by=task.promised_deliver_by,
    )
    decided = decide_for(session, order, wanted, task.routing_policy, now())
    plan = keep_decision(session, decided, number.plan_version, now())
    # Swapped in one transaction: nobody else can get the units in between. What is held for the
    # order is for other units of it, whose plan was just given up.
    reservations.reserve_plan(
        session,
        task.order_id,
        plan,
        key=f"{task.order_id}/grant/{task.reservation_id}",
        now=now(),
        replaces=[task.reservation_id],
        keeps_holds=True,
    )
    return plan
