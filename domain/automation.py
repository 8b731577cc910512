"""Automation rules of a process policy: when something happens to an order, do that."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from domain.catalogue import Product
from domain.money import to_base
from domain.orders import Order
from domain.values import Id, Model, PositiveMoney, Text

NOTICE = "notice"
"""Kind of the entries of an order's story that subscribers are told of."""

RULE = "rule-"
"""What the step of a rule that asks people begins with, before its name."""


class OrderEvent(StrEnum):
    """What a rule waits for; each happens to an order once as far as a rule is concerned."""

    ACCEPTED = "accepted"
    RESERVED = "reserved"
    BACKORDERED = "backordered"
    REROUTED = "rerouted"
    """A node rejected units, was silent, or found fewer: they are routed again."""
    LATE = "late"
    """Units are planned to come after the promised date."""


class Action(StrEnum):
    """What a rule does."""

    HOLD = "hold"
    NOTIFY = "notify"
    ATTENTION = "attention"


class OrderCondition(Model):
    """True when every given part is; an empty condition is true for every order."""

    min_total: PositiveMoney | None = None
    """Total of the order in the base currency, at least."""
    max_total: PositiveMoney | None = None
    """Likewise, at most."""
    brands: tuple[Text, ...] = ()
    regions: tuple[Text, ...] = ()
    channels: tuple[Text, ...] = ()
    tiers: tuple[Text, ...] = ()
    accounts: tuple[Id, ...] = ()
    countries: tuple[Text, ...] = ()
    """Any ship group's address is in one of these (ISO 3166-1 alpha-2)."""
    categories: tuple[Text, ...] = ()
    """Any line's product is of one of these."""
    skus: tuple[Id, ...] = ()
    """Any line is of one of these."""

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        low, high = self.min_total, self.max_total
        if low is not None and high is not None and high < low:
            raise ValueError("max_total is less than min_total: no order can meet both")
        return self


class AutomationRule(Model):
    """On an event, for the orders its condition holds for, one action; once an order."""

    name: Id = Field(max_length=40)
    event: OrderEvent
    when: OrderCondition = OrderCondition()
    do: Action
    text: Text = ""
    """What people and subscribers are told; the rule's name where it is empty."""
    hold: Id | None = None
    """Of a hold: its type, by which it is lifted; None: `automation`."""
    expires_after: timedelta | None = Field(default=None, gt=timedelta(0))
    """Of a hold: when it ends by itself; None: when somebody lifts it."""

    @model_validator(mode="after")
    def _has_what_it_does(self) -> Self:
        given = [name for name in ("hold", "expires_after") if getattr(self, name) is not None]
        if self.do is not Action.HOLD and given:
            raise ValueError(f"{', '.join(given)}: only for `do: hold`")
        return self

    @property
    def told(self) -> str:
        """What is said of it."""
        return self.text or self.name


def rules_for(
    order: Order,
    rules: Collection[AutomationRule],
    *,
    products: Mapping[str, Product],
    base: str,
    rates: Mapping[str, str],
) -> tuple[AutomationRule, ...]:
    """The rules whose condition the order meets, in the policy's order.

    `products` by SKU; `rates` are units of the base currency for one of each other. Raises
    NoRateError.
    """
    if not rules:
        return ()
    total = to_base(order.total, order.currency, base, rates)
    categories = {products[line.sku].category for line in order.lines if line.sku in products}
    return tuple(rule for rule in rules if _meets(order, rule.when, total, categories))


def _meets(
    order: Order, condition: OrderCondition, total: Decimal, categories: Collection[str]
) -> bool:
    countries = {group.address.country for group in order.ship_groups if group.address}
    customer = order.customer
    return (
        (condition.min_total is None or total >= condition.min_total)
        and (condition.max_total is None or total <= condition.max_total)
        and _is_among((order.brand,), condition.brands)
        and _is_among((order.region,), condition.regions)
        and _is_among((order.channel,), condition.channels)
        and _is_among((customer.tier,), condition.tiers)
        and _is_among((customer.account_id,), condition.accounts)
        and _is_among(countries, condition.countries)
        and _is_among(categories, condition.categories)
        and _is_among({line.sku for line in order.lines}, condition.skus)
    )


def _is_among(found: Collection[str | None], wanted: Collection[str]) -> bool:
    return not wanted or any(one in wanted for one in found)
