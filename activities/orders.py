"""Loading what a workflow may know of its order, and recording where it stands."""

from decimal import Decimal

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.recording import OrderRecord, write_order
from domain.approvals import levels_of
from domain.automation import AutomationRule, rules_for
from domain.orders import Order, OrderType
from domain.planning import group_facts
from domain.plans import LineFacts, OrderFacts
from domain.process_policy import ApprovalRule, ProcessPolicy
from domain.values import DerivedId, Id, Model
from store import network, orders, pins, policies
from store.engine import transaction


class OrderTask(Model):
    """Which order, in which version, under which policies."""

    order_id: Id
    version: int
    routing_policy: DerivedId
    process_policy: DerivedId


def load_facts(session: Session, order: Order, policy: ProcessPolicy) -> OrderFacts:
    """The non-personal facts of an order, with its approval chain."""
    chain: tuple[ApprovalRule, ...] = ()
    if order.order_type is OrderType.B2B and policy.approvals:
        chain = _chain(session, order, policy)
    return OrderFacts(
        order_id=order.order_id,
        version=order.version,
        order_type=order.order_type,
        channel=order.channel,
        brand=order.brand,
        region=order.region,
        total=str(order.total),
        currency=order.currency,
        lines=tuple(
            LineFacts(line_id=x.line_id, sku=x.sku, quantity=x.quantity, ship_group=x.ship_group)
            for x in order.lines
        ),
        groups=tuple(group_facts(group) for group in order.ship_groups),
        payment=order.payment.status,
        approvals=chain,
        entered_by=orders.entered_by(session, order.order_id),
        allow_backorder=order.allow_backorder,
        backorder_last_resort=policy.backorder_last_resort,
        reroute_attempts=policy.reroute_attempts,
        hold_stock_during_approval=policy.hold_stock_during_approval,
        automation=_automation(session, order, policy) if policy.automation else (),
    )


def _chain(session: Session, order: Order, policy: ProcessPolicy) -> tuple[ApprovalRule, ...]:
    base = network.base_currency(session)
    rates = network.exchange_rates(session)
    products = network.products(session, sorted({line.sku for line in order.lines}))
    account = order.customer.account_id
    return levels_of(
        order,
        policy,
        products=products,
        base=base,
        rates=rates,
        open_terms=orders.open_terms(session, account, order.order_id) if account else Decimal(0),
    )


def _automation(
    session: Session, order: Order, policy: ProcessPolicy
) -> tuple[AutomationRule, ...]:
    base, rates = network.base_currency(session), network.exchange_rates(session)
    products = network.products(session, sorted({line.sku for line in order.lines}))
    return rules_for(
        order,
        policy.automation,
        products=products,
        base=base,
        rates=rates,
    )


class OrderActivities:
    """Steps that only touch the order's own rows."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="check_approval", no_thread_cancel_exception=True)
    def check_approval(self, task: OrderTask) -> OrderFacts:
        """Load a B2B order and the levels of approval its process policy asks for."""
        with transaction(self._engine) as session:
            order = orders.load_order(session, task.order_id, task.version)
            version = pins.pinned(session, task.order_id, "process", task.process_policy)
            policy = policies.process_policy(session, version)
            return load_facts(session, order, policy)

    @activity.defn(name="record", no_thread_cancel_exception=True)
    def record(self, record: OrderRecord) -> None:
        """Write where the order stands and what happened since the last step."""
        with transaction(self._engine) as session:
            write_order(session, record)
