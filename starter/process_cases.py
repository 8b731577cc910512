"""Cases beside a process policy: an order, and how it should be handled."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from config.reading import ConfigError
from domain.approvals import levels_of
from domain.automation import AutomationRule, rules_for
from domain.errors import DomsError
from domain.orders import Order, PaymentStatus
from domain.process_policy import ApprovalRule, LastResort, ProcessPolicy, Timings
from domain.values import Count, Id, Model, PositiveMoney, Text, UtcTime
from starter.case_files import CaseFile, Outcome, World, order_of

_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


class ExpectedHandling(Model):
    """What must come out; what is left out may be anything."""

    approvals: tuple[Id, ...] | None = None
    """The roles that are asked, lowest level first; `[]`: nobody is."""
    held_for_payment: bool | None = None
    """Whether nothing is released until the payment is there."""
    reserved_before_approval: bool | None = None
    """Whether stock is kept while approvers decide; false when nobody is asked."""
    reroute_attempts: Count | None = None
    backorder: LastResort | None = None
    """What happens to units that are not supplied within `timings.backorder`."""
    automation: tuple[Id, ...] | None = None
    """The automation rules that are for this order, in the policy's order; `[]`: none is."""
    timings: dict[Id, timedelta] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_waits(self) -> Self:
        for name in self.timings:
            if name not in Timings.model_fields:
                raise ValueError(f"timings.{name}: there is no such wait")
        return self


class ProcessCase(Model):
    """One example. `order` is an order document; what it leaves out is filled in."""

    name: Text
    at: UtcTime = _ANY_TIME
    order: dict[str, Any]
    open_terms: PositiveMoney = Decimal(0)
    """What the account owes already, in the base currency."""
    expect: ExpectedHandling


class ProcessCases(CaseFile):
    """A file of cases of a process policy."""

    cases: Annotated[tuple[ProcessCase, ...], Field(min_length=1)]


def process_outcomes(cases: ProcessCases, world: World, policy: ProcessPolicy) -> list[Outcome]:
    """Ask the rules that orders' workflows ask, case by case. Raises ConfigError."""
    return [_outcome(case, world, policy) for case in cases.cases]


def _outcome(case: ProcessCase, world: World, policy: ProcessPolicy) -> Outcome:
    order = order_of(case.name, _filled_in(case, policy), case.at, world)
    products = {line.sku: world.products[line.sku] for line in order.lines}
    base, rates = world.network.base_currency, world.rates
    try:
        levels = levels_of(
            order, policy, products=products, base=base, rates=rates, open_terms=case.open_terms
        )
        rules = rules_for(order, policy.automation, products=products, base=base, rates=rates)
    except DomsError as error:
        raise ConfigError(f"{world.where}: case '{case.name}': {error}") from error
    return Outcome(case.name, tuple(_wrong(case.expect, order, levels, rules, policy)))


def _filled_in(case: ProcessCase, policy: ProcessPolicy) -> dict[str, Any]:
    """An order of the policy's first type that ships somewhere, unless the case says otherwise."""
    types = {"order_type": policy.order_types[0].value} if policy.order_types else {}
    address = {"country": "US"}
    return {"ship_groups": [{"id": "1", "address": address}], **types, **case.order}


def _wrong(
    expect: ExpectedHandling,
    order: Order,
    levels: tuple[ApprovalRule, ...],
    rules: tuple[AutomationRule, ...],
    policy: ProcessPolicy,
) -> list[str]:
    found: dict[str, Any] = {
        "approvals": tuple(rule.role for rule in levels),
        "automation": tuple(rule.name for rule in rules),
        "held_for_payment": order.payment.status is PaymentStatus.PENDING,
        "reserved_before_approval": bool(levels) and policy.hold_stock_during_approval,
        "reroute_attempts": policy.reroute_attempts,
        "backorder": policy.backorder_last_resort,
    }
    pairs = [(name, value, getattr(expect, name)) for name, value in found.items()]
    pairs += [(name, getattr(policy.timings, name), x) for name, x in expect.timings.items()]
    return [
        f"{name}: {_shown(value)}, expected {_shown(wanted)}"
        for name, value, wanted in pairs
        if wanted is not None and wanted != value
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "nobody"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)
