"""How orders fare under a policy version, and the limits within which it may stay in force."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from domain.values import MICROS, Count, Model


class Measure(StrEnum):
    """What a guardrail may watch."""

    SPLIT_RATE = "split_rate"
    COST_PER_ORDER = "cost_per_order"
    REJECTION_RATE = "rejection_rate"
    PROMISE_MISS_RATE = "promise_miss_rate"


class PolicyCounts(Model):
    """What became of a version's orders, counted."""

    orders: Count = 0
    routed_orders: Count = 0
    """Orders with a plan that holds or held stock."""
    cost_micros: int = 0
    """Of those plans."""
    released_orders: Count = 0
    """Orders with a shipment at a node, or sent from one."""
    split_orders: Count = 0
    """Of these, orders with more than one."""
    assigned_lines: Count = 0
    """Lines that nodes were asked for, each time anew."""
    rejected_lines: Count = 0
    """Of these, lines of which a node gave units back."""
    due_orders: Count = 0
    """Orders whose promised time has passed, or that arrived."""
    missed_orders: Count = 0
    """Of these, orders that were not whole by then."""


_RATES: Mapping[Measure, Callable[[PolicyCounts], tuple[Decimal | int, int]]] = {
    Measure.SPLIT_RATE: lambda x: (x.split_orders, x.released_orders),
    Measure.COST_PER_ORDER: lambda x: (Decimal(x.cost_micros) / MICROS, x.routed_orders),
    Measure.REJECTION_RATE: lambda x: (x.rejected_lines, x.assigned_lines),
    Measure.PROMISE_MISS_RATE: lambda x: (x.missed_orders, x.due_orders),
}
"""Amount, and of how many."""
_PLACES = Decimal("0.0001")


def measure(counts: PolicyCounts, wanted: Measure) -> Decimal | None:
    """A measure to four places (a cost in the base currency); None when there is nothing yet.

    Split rate: orders with more than one shipment / orders with any. Rejection rate: rejected /
    assigned lines. Promise misses: late / due orders. Cost per order: planned cost / routed orders.
    """
    amount, of = _RATES[wanted](counts)
    return (Decimal(amount) / of).quantize(_PLACES) if of else None


def cases(counts: PolicyCounts, wanted: Measure) -> int:
    """Of how many orders, or lines, a measure is made."""
    return _RATES[wanted](counts)[1]


_TEXT = re.compile(r"\s*([a-z_]+)\s*(<=|>=)\s*(\d{1,9}(?:\.\d{1,4})?)\s*")


class Guardrail(Model):
    """A limit of a measure, such as `split_rate<=0.25`."""

    measure: Measure
    is_most: bool = True
    """Whether the measure must not be above the limit; else not below."""
    limit: Annotated[Decimal, Field(ge=0, max_digits=13, decimal_places=4)]

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.measure}{'<=' if self.is_most else '>='}{self.limit}"

    def allows(self, value: Decimal) -> bool:
        """Whether the measure may be that."""
        return value <= self.limit if self.is_most else value >= self.limit


def parse_guardrail(text: str) -> Guardrail:
    """The guardrail that `MEASURE<=LIMIT` or `MEASURE>=LIMIT` means. Raises ValueError."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no guardrail: write one as split_rate<=0.25")
    if found[1] not in set(Measure):
        raise ValueError(f"'{found[1]}' is not measured: use {', '.join(Measure)}")
    return Guardrail(measure=Measure(found[1]), is_most=found[2] == "<=", limit=Decimal(found[3]))


class Breach(Model):
    """A guardrail that is broken, by what value, made of how many cases."""

    guardrail: Guardrail
    value: Decimal
    cases: Count


def breaches(
    guardrails: Iterable[Guardrail], counts: PolicyCounts, minimum_orders: int
) -> tuple[Breach, ...]:
    """The guardrails that are broken; none before its measure is made of enough cases."""
    found = []
    for guardrail in guardrails:
        value, of = measure(counts, guardrail.measure), cases(counts, guardrail.measure)
        if value is not None and of >= minimum_orders and not guardrail.allows(value):
            found.append(Breach(guardrail=guardrail, value=value, cases=of))
    return tuple(found)


def measures(counts: PolicyCounts) -> dict[str, Any]:
    """Every measure by its name, as decimal strings; None where there is nothing yet."""
    found = {one.value: measure(counts, one) for one in Measure}
    return {name: None if value is None else str(value) for name, value in found.items()}
