"""Which activation of a policy holds for an order: scope, time, and a share of the customers."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from domain.guardrails import Guardrail
from domain.orders import Order
from domain.values import Model, UtcTime

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]

_ALL = 100


class Scope(Model):
    """Which orders a policy is for; a part left out means all."""

    brand: str | None = None
    region: str | None = None
    order_type: str | None = None
    channel: str | None = None

    @property
    def parts(self) -> int:
        """How many parts are given: more is narrower."""
        given = (self.brand, self.region, self.order_type, self.channel)
        return sum(part is not None for part in given)


class Whose(Model):
    """What tells which policies are for an order or a promise.

    `unit` is what shares are drawn by: the customer's id, or the order's where there is none; for a
    promise of an unknown customer it is empty, and only whole activations hold.
    """

    brand: str
    region: str
    order_type: str
    channel: str
    unit: str = ""


class Terms(Model):
    """What an activation is given beside its scope: share, time, and limits to keep."""

    share: Percent = _ALL
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None
    guardrails: tuple[Guardrail, ...] = ()
    minimum_orders: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 100
    """Of so many cases a measure must be made before its guardrail counts."""
    rolls_back: bool = False
    """Whether a broken guardrail ends the activation by itself."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValueError("ends_at: must be later than starts_at")
        if self.rolls_back and not self.guardrails:
            raise ValueError("rolls_back: needs a guardrail that may break")
        return self


class Activation(Model):
    """A policy version in force: for whom, for which share of them, from when to when."""

    activation_id: int
    version: str
    scope: Scope = Scope()
    share: Percent = _ALL
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Of several that hold, the greatest counts: of the narrowest scope, then the latest."""
        return self.scope.parts, self.activation_id

    def is_for(self, whose: Whose) -> bool:
        """Whether scope and share include it, whatever the time."""
        scope = self.scope
        return (
            scope.brand in {None, whose.brand}
            and scope.region in {None, whose.region}
            and scope.order_type in {None, whose.order_type}
            and scope.channel in {None, whose.channel}
            and is_in_share(self.version, whose.unit, self.share)
        )

    def is_whole(self, now: datetime) -> bool:
        """Whether it is on now, for every order of its scope."""
        return self.share >= _ALL and self.is_on(now)

    def is_on(self, now: datetime) -> bool:
        """Whether it has started and not ended."""
        has_started = self.starts_at is None or self.starts_at <= now
        return has_started and (self.ends_at is None or now < self.ends_at)

    def holds(self, whose: Whose, now: datetime) -> bool:
        """Whether it is for that and on."""
        return self.is_on(now) and self.is_for(whose)


def is_in_share(version: str, unit: str, share: int) -> bool:
    """Whether a customer is among `share` percent of them.

    The same for ever, as it hangs on the ids alone; a greater share keeps all of a smaller one, and
    another version draws others. Without a unit only the whole counts.
    """
    if share >= _ALL or not unit:
        return share >= _ALL
    digest = hashlib.sha256(f"{version}/{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * _ALL < share << 64


def reachable(ordered: Iterable[Activation], now: datetime) -> list[Activation]:
    """Of activations of one scope's orders, greatest rank first: those that may hold from now on.

    One that is on for everybody without an end hides all that follow, which are not looked at.
    """
    found = []
    for one in ordered:
        found.append(one)
        if one.ends_at is None and one.is_whole(now):
            break
    return found


def in_force(activations: Iterable[Activation], whose: Whose, now: datetime) -> Activation | None:
    """The activation that holds: of the greatest rank. None: none does."""
    holding = (one for one in activations if one.holds(whose, now))
    return max(holding, key=lambda one: one.rank, default=None)


def unit_of(customer_id: str | None, order_id: str) -> str:
    """What shares are drawn by."""
    return customer_id or order_id


def whose_order(order: Order) -> Whose:
    """What tells which policies are for an order."""
    return Whose(
        brand=order.brand,
        region=order.region,
        order_type=order.order_type.value,
        channel=order.channel,
        unit=unit_of(order.customer.customer_id, order.order_id),
    )
