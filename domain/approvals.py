"""Which levels must approve an order, and which votes count."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import StrEnum

from domain.catalogue import Product
from domain.money import to_base
from domain.orders import Order, OrderType
from domain.process_policy import ApprovalCondition, ApprovalRule, ProcessPolicy
from domain.values import Model


def approval_chain(
    order: Order,
    policy: ProcessPolicy,
    *,
    total_base: Decimal,
    margin: Decimal | None,
    categories: Collection[str],
    open_terms: Decimal,
) -> tuple[ApprovalRule, ...]:
    """The levels whose conditions hold, lowest first; none for an order type without approvals.

    `total_base` and `open_terms` (what the account already owes) are in the base currency;
    `margin` is None when it is unknown, which no margin rule lets pass unseen.
    """
    if order.order_type not in policy.order_types:
        return ()
    facts = _Facts(
        order=order,
        total_base=total_base,
        margin=margin,
        categories=frozenset(categories),
        is_over_credit=_is_over_credit(order, policy, total_base + open_terms),
    )
    asked = [rule for rule in policy.approvals if facts.meet(rule.condition)]
    return tuple(sorted(asked, key=lambda rule: rule.level))


def levels_of(
    order: Order,
    policy: ProcessPolicy,
    *,
    products: Mapping[str, Product],
    base: str,
    rates: Mapping[str, str],
    open_terms: Decimal,
) -> tuple[ApprovalRule, ...]:
    """The levels that an order must pass; none for an order that is no business order.

    `rates` are units of the base currency for one of each other. Raises NoRateError.
    """
    if order.order_type is not OrderType.B2B:
        return ()
    return approval_chain(
        order,
        policy,
        total_base=to_base(order.total, order.currency, base, rates),
        margin=_margin(order, products, base, rates),
        categories=frozenset(product.category for product in products.values()),
        open_terms=open_terms,
    )


def _margin(
    order: Order, products: Mapping[str, Product], base: str, rates: Mapping[str, str]
) -> Decimal | None:
    goods = to_base(order.goods_value, order.currency, base, rates)
    if goods <= 0:
        return None
    costs = (products[x.sku].unit_cost * x.quantity for x in order.lines if x.sku in products)
    return (goods - sum(costs, Decimal(0))) / goods


def _is_over_credit(order: Order, policy: ProcessPolicy, debt: Decimal) -> bool:
    """An account without a limit has none to exceed."""
    limit = policy.credit_limits.get(order.customer.account_id or "")
    return limit is not None and debt > limit


class _Facts(Model):
    """What conditions look at."""

    order: Order
    total_base: Decimal
    margin: Decimal | None
    categories: frozenset[str]
    is_over_credit: bool

    def meet(self, condition: ApprovalCondition) -> bool:
        """Whether every given part of the condition is true."""
        order = self.order
        return all(
            (
                condition.min_total is None or self.total_base >= condition.min_total,
                not condition.accounts or order.customer.account_id in condition.accounts,
                not condition.categories or self.categories & set(condition.categories),
                condition.max_margin is None
                or self.margin is None
                or self.margin <= condition.max_margin,
                not condition.over_credit or self.is_over_credit,
                not condition.payment_terms or order.payment_terms in condition.payment_terms,
            )
        )


class Verdict(StrEnum):
    """Whether a vote counts, or why not."""

    COUNTS = "counts"
    LATE = "late"
    OTHER_LEVEL = "other_level"
    WRONG_ROLE = "wrong_role"
    ENTERED_THE_ORDER = "entered_the_order"
    VOTED_BEFORE = "voted_before"
    DECIDED_ANOTHER_LEVEL = "decided_another_level"


class Ballot(Model):
    """A judged vote. A vote that does not count is recorded and changes nothing."""

    verdict: Verdict
    reason: str = ""

    @property
    def counts(self) -> bool:
        """Whether the vote decides its level."""
        return self.verdict is Verdict.COUNTS


def own_change() -> Ballot:
    """The ballot of a person who entered a later version of the order."""
    return Ballot(
        verdict=Verdict.ENTERED_THE_ORDER, reason="who changed the order cannot approve it"
    )


def second_level(level: int, decided: int) -> Ballot:
    """The ballot of a person who decided another level: each level is for other eyes."""
    return Ballot(
        verdict=Verdict.DECIDED_ANOTHER_LEVEL,
        reason=f"has voted on level {decided}; another person must decide level {level}",
    )


def count_vote(
    *,
    level: int,
    role: str,
    approver: str,
    asked: ApprovalRule | None,
    escalated: bool,
    entered_by: str,
    voters: Collection[str],
) -> Ballot:
    """Whether a vote for `level` by `approver` in `role` counts.

    `asked` is the level now waited for (None: none is any more); once escalated, the role it
    escalates to counts too. `voters` have voted at this level before.
    """
    if asked is None or level < asked.level:
        return Ballot(verdict=Verdict.LATE, reason="this level is already decided")
    if level > asked.level:
        return Ballot(
            verdict=Verdict.OTHER_LEVEL, reason=f"level {asked.level} is waited for, not {level}"
        )
    roles = {asked.role} | ({asked.escalate_to} if escalated and asked.escalate_to else set())
    if role not in roles:
        wanted = " or ".join(sorted(roles))
        return Ballot(verdict=Verdict.WRONG_ROLE, reason=f"{wanted} must decide, not {role}")
    if entered_by and approver == entered_by:
        return Ballot(
            verdict=Verdict.ENTERED_THE_ORDER, reason="who entered the order cannot approve it"
        )
    if approver in voters:
        return Ballot(verdict=Verdict.VOTED_BEFORE, reason="has already voted at this level")
    return Ballot(verdict=Verdict.COUNTS)
