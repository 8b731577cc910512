"""Process policy: approvals, holds and every wait's length, as data."""

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from domain.automation import AutomationRule
from domain.orders import OrderType
from domain.values import Count, Id, Model, PositiveMoney, Text


class LastResort(StrEnum):
    """What happens to units that could not be supplied in time."""

    CANCEL = "cancel"
    ASK = "ask"


class ApprovalCondition(Model):
    """True when every given part is; an empty condition is true for every order of its type."""

    min_total: PositiveMoney | None = None
    """Total of the order in the base currency, at least."""
    accounts: tuple[Id, ...] = ()
    categories: tuple[Text, ...] = ()
    """Any line's product is of one of these."""
    max_margin: Annotated[Decimal, Field(ge=-10, le=1)] | None = None
    """(goods value - unit costs) / goods value, at most."""
    over_credit: bool = False
    """The account's open terms plus this order exceed its credit limit."""
    payment_terms: tuple[Text, ...] = ()


class ApprovalRule(Model):
    """One level of the chain, asked of one role when its condition holds."""

    level: Annotated[int, Field(ge=1, le=20)]
    role: Id
    condition: ApprovalCondition = ApprovalCondition()
    escalate_to: Id | None = None


Wait = Annotated[timedelta, Field(ge=timedelta(0))]
"""How long something is waited for."""


class Timings(Model):
    """Every wait's length. They come in the workflow's input: a test or demo can shorten them."""

    remorse: Wait = timedelta(minutes=30)
    approval_reminder: Wait = timedelta(hours=24)
    approval_escalation: Wait = timedelta(hours=72)
    approval_expiry: Wait = timedelta(days=14)
    acknowledgement: Wait = timedelta(hours=4)
    """A node that has not answered by then is reminded, and asked to cancel after as long again."""
    acknowledgement_by_people: Wait | None = None
    """The same where a node's people work in doms; None: as long as any other node."""
    cancel_answer: Wait = timedelta(hours=2)
    """How long a node may take to answer a cancel before a person is asked."""
    pick: Wait = timedelta(days=2)
    delivery: Wait = timedelta(days=21)
    pickup_expiry: Wait = timedelta(days=7)
    backorder: Wait = timedelta(days=30)
    backorder_look: Wait = timedelta(hours=1)
    """When a waiting order first looks whether stock that others gave back can serve it; after
    that, each time it has waited twice as long."""
    backorder_answer: Wait = timedelta(days=7)
    cool_off: Wait = timedelta(days=2)
    vendor_retry_first: Wait = timedelta(seconds=2)
    vendor_retry_longest: Wait = timedelta(minutes=5)
    vendor_deadline: Wait = timedelta(hours=24)
    """An outside call that has not succeeded by then is shown to a person."""

    @model_validator(mode="after")
    def _retries_fit(self) -> Self:
        if self.vendor_retry_longest < self.vendor_retry_first:
            raise ValueError("vendor_retry_longest is shorter than vendor_retry_first")
        return self

    def acknowledgement_of(self, *, people: bool) -> timedelta:
        """How long a node may take to accept; `people`: its people work in doms."""
        if people and self.acknowledgement_by_people is not None:
            return self.acknowledgement_by_people
        return self.acknowledgement


class ProcessPolicy(Model):
    """How orders of one kind are handled from intake to the end."""

    name: Id
    order_types: tuple[OrderType, ...] = (OrderType.B2C, OrderType.B2B)
    approvals: tuple[ApprovalRule, ...] = ()
    same_person_may_approve: bool = False
    """Whether one person's votes count on several levels of an order."""
    hold_stock_during_approval: bool = False
    timings: Timings = Timings()
    reroute_attempts: Count = 5
    backorder_last_resort: LastResort = LastResort.CANCEL
    automation: tuple[AutomationRule, ...] = ()
    """What happens by itself when something happens to an order; each rule once an order."""
    credit_limits: dict[Id, PositiveMoney] = Field(default_factory=dict)
    """Account -> credit limit in the base currency."""

    @model_validator(mode="after")
    def _rules_have_names_of_their_own(self) -> Self:
        names = [rule.name for rule in self.automation]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"automation: two rules are called '{twice[0]}': rename one")
        return self
