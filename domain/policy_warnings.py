"""What a valid policy says that can never apply, or that contradicts itself."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from domain.automation import Action, AutomationRule
from domain.network import NodeKind
from domain.orders import OrderType
from domain.policy_rollout import Scope
from domain.process_policy import ApprovalRule, LastResort, ProcessPolicy, Timings
from domain.routing.policy import RoutingPolicy
from domain.values import Model

Path = tuple[str | int, ...]

_LOWER_BOUND = re.compile(r"^min_|_at_least$|_than(_|$)")
_UPPER_BOUND = re.compile(r"^max_|_below$")
_CONDITIONS = ("when", "condition", "conditions")
"""Names of the field in which a rule holds what must be true for it."""


class Warned(Model):
    """Something doubtful; `path` leads to the field."""

    path: Path
    message: str

    @property
    def told(self) -> str:
        """Field and message in one line."""
        return f"{'.'.join(str(part) for part in self.path)}: {self.message}"


def routing_warnings(policy: RoutingPolicy) -> tuple[Warned, ...]:
    """What never applies or contradicts in a routing policy."""
    return (
        *crossed_limits(policy),
        *shadowed_rules(policy),
        *excluded_and_demanded(policy),
        *_of_excluded_kinds(policy),
        *_of_relaxed_limits(policy),
        *_of_after_actions(policy),
        *_of_learned_dates(policy),
    )


def process_warnings(policy: ProcessPolicy) -> tuple[Warned, ...]:
    """What never applies or contradicts in a process policy."""
    return (
        *crossed_limits(policy),
        *_of_order_types(policy),
        *_of_levels(policy),
        *_of_single_rules(policy),
        *_of_credit(policy),
        *_of_waits(policy),
        *_of_automation(policy),
    )


def scope_warnings(policy: RoutingPolicy | ProcessPolicy, scope: Scope) -> tuple[Warned, ...]:
    """Why a policy would not do in a scope what one may expect: no approvals are asked there."""
    if not isinstance(policy, ProcessPolicy):
        return ()
    meant = OrderType.B2B if scope.order_type is None else OrderType(scope.order_type)
    if meant in policy.order_types:
        return ()
    if meant is OrderType.B2B:
        message = "leaves out b2b: business orders of this scope need nobody's approval"
    elif policy.approvals:
        message = f"leaves out {meant}: its approvals are never asked there"
    else:
        return ()
    return (Warned(path=("order_types",), message=message),)


def holds_whenever(general: BaseModel, narrow: BaseModel) -> bool:
    """Whether the first condition is true of everything of which the second is.

    Of a condition, a part at its default asks nothing; the names of bounds say which they are, a
    list asks for one of its items, an object for all of its, a condition for what its parts ask,
    and anything else is to be equal.
    """
    fields = type(general).model_fields
    return all(
        _asks_no_more(name, getattr(general, name), getattr(narrow, name, None))
        for name, known in fields.items()
        if getattr(general, name) != known.get_default(call_default_factory=True)
    )


def _asks_no_more(name: str, general: Any, narrow: Any) -> bool:
    if not narrow:
        return False
    if isinstance(general, BaseModel):
        return holds_whenever(general, narrow)
    if isinstance(general, tuple):
        return isinstance(narrow, tuple) and set(narrow) <= set(general)
    if isinstance(general, dict):
        return all(_asks_no_more("", x, narrow.get(key)) for key, x in general.items())
    if _LOWER_BOUND.search(name):
        return bool(narrow >= general)
    if _UPPER_BOUND.search(name):
        return bool(narrow <= general)
    return bool(narrow == general)


def crossed_limits(model: BaseModel, path: Path = ()) -> Iterator[Warned]:
    """Every upper bound below the lower one beside it, in the model and in all that it holds."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        least = _lower_of(name)
        other = getattr(model, least, None)
        is_open = name.endswith("_below")
        if None not in (value, other) and (value <= other if is_open else value < other):
            yield Warned(path=(*path, name), message=f"never holds together with {least}")
        for part, child in _children(value):
            yield from crossed_limits(child, (*path, name, *part))


def _lower_of(name: str) -> str:
    """The name of the lower bound that an upper one of that name has beside it; else ''."""
    if name.startswith("max_"):
        return f"min_{name.removeprefix('max_')}"
    return f"{name.removesuffix('_below')}_at_least" if name.endswith("_below") else ""


def _children(value: Any) -> Iterator[tuple[Path, BaseModel]]:
    if isinstance(value, BaseModel):
        yield (), value
    elif isinstance(value, tuple | list):
        yield from (((i,), x) for i, x in enumerate(value) if isinstance(x, BaseModel))
    elif isinstance(value, dict):
        yield from (((str(k),), x) for k, x in value.items() if isinstance(x, BaseModel))


def shadowed_rules(model: BaseModel) -> Iterator[Warned]:
    """Of each list whose first fitting rule counts: rules for which an earlier one always fits."""
    for name in type(model).model_fields:
        rules = getattr(model, name)
        if isinstance(rules, tuple) and rules and all(_condition(x) for x in rules):
            yield from _shadowed(name, [x for rule in rules for x in _condition(rule)])


def _condition(rule: Any) -> list[BaseModel]:
    found = (getattr(rule, name, None) for name in _CONDITIONS)
    return [one for one in found if isinstance(one, BaseModel)][:1]


def _shadowed(name: str, conditions: Sequence[BaseModel]) -> Iterator[Warned]:
    for position, condition in enumerate(conditions):
        for earlier, general in enumerate(conditions[:position]):
            if holds_whenever(general, condition):
                message = f"never applies: number {earlier + 1} above holds whenever it does"
                yield Warned(path=(name, position), message=message)
                break


def excluded_and_demanded(model: BaseModel, path: Path = ()) -> Iterator[Warned]:
    """Every value of an `excluded_` list that the list beside it demands, however deep."""
    for name in type(model).model_fields:
        excluded = getattr(model, name)
        demanded = getattr(model, name.removeprefix("excluded_"), None)
        if name.startswith("excluded_") and demanded and excluded:
            for value in (x for x in demanded if x in excluded):
                if isinstance(excluded, dict) and not set(excluded[value]) & set(demanded[value]):
                    continue
                message = f"{value} is demanded by {name.removeprefix('excluded_')} beside it"
                yield Warned(path=(*path, name), message=message)
        for part, child in _children(excluded):
            yield from excluded_and_demanded(child, (*path, name, *part))


def _of_excluded_kinds(policy: RoutingPolicy) -> Iterator[Warned]:
    if any("excluded_kinds" in limits for _, limits in _dropped(policy)):
        return
    for owner, path in with_parts(policy):
        if set(getattr(owner, "excluded_kinds", None) or ()) == set(NodeKind):
            message = "excludes every kind: no node can serve"
            yield Warned(path=(*path, "excluded_kinds"), message=message)
    yield from _of_priced_kinds(policy)


def _of_priced_kinds(policy: RoutingPolicy) -> Iterator[Warned]:
    """Prices of kinds that are excluded wherever the price would count."""
    excluded: dict[Path, set[NodeKind]] = {}
    prices: dict[Path, Iterable[NodeKind]] = {}
    for number, strategy in enumerate((None, *policy.strategies), start=-1):
        filters = strategy.filters if strategy and strategy.filters else policy.filters
        criteria = strategy.criteria if strategy and strategy.criteria else policy.criteria
        kinds = policy.excluded_kinds if filters.excluded_kinds is None else filters.excluded_kinds
        path: Path = ("kind_cost",)
        if criteria.kind_cost is not None:
            own = strategy is not None and criteria is strategy.criteria
            path = ("strategies", number, "criteria", *path) if own else ("criteria", *path)
        prices[path] = policy.kind_cost if criteria.kind_cost is None else criteria.kind_cost
        excluded[path] = excluded.get(path, set(NodeKind)) & set(kinds)
    for path, priced in prices.items():
        for kind in sorted(excluded[path] & set(priced)):
            message = f"never counts: nodes of kind {kind} are excluded"
            yield Warned(path=(*path, kind.value), message=message)


def _of_relaxed_limits(policy: RoutingPolicy) -> Iterator[Warned]:
    for path, limits in _dropped(policy):
        # The default names limits that a policy may set: as much as to say nothing.
        if limits == RoutingPolicy.model_fields["relax"].default:
            continue
        for position, limit in enumerate(limits):
            if limit in limits[:position]:
                message = f"{limit} is dropped already"
            elif not is_limited(policy, limit):
                message = f"{limit} is not set: there is nothing to drop"
            else:
                continue
            yield Warned(path=(*path, position), message=message)


def _dropped(policy: RoutingPolicy) -> Iterator[tuple[Path, Sequence[str]]]:
    """Every list of limits that are dropped when nothing fits otherwise, with its path."""
    for owner, path in with_parts(policy):
        limits: Sequence[str] | None = getattr(owner, "relax", None)
        if limits is not None:
            yield (*path, "relax"), limits


def _of_after_actions(policy: RoutingPolicy) -> Iterator[Warned]:
    for owner, path in with_parts(policy):
        after = getattr(owner, "after", None) or ()
        for position, action in enumerate(after):
            if isinstance(action, str) and action in after[:position]:
                message = f"{action} is done already: a second time changes nothing"
                yield Warned(path=(*path, "after", position), message=message)


def with_parts(model: BaseModel, path: Path = ()) -> Iterator[tuple[BaseModel, Path]]:
    """The model and all models in it, with their paths."""
    yield model, path
    for name in type(model).model_fields:
        for part, child in _children(getattr(model, name)):
            yield from with_parts(child, (*path, name, *part))


_SAME_LIMIT = {
    "keep_together": ("keep_together", "keep_together_by"),
    "carriers": ("carriers", "excluded_carriers", "services", "excluded_services"),
}
"""Limits that several fields make."""


def is_limited(policy: RoutingPolicy, limit: str) -> bool:
    """Whether the policy has that limit, in whichever of its parts."""
    return any(
        _limits(owner, name)
        for owner, _ in with_parts(policy)
        for name in _SAME_LIMIT.get(limit, (limit,))
        if name in type(owner).model_fields
    )


def _limits(owner: BaseModel, name: str) -> bool:
    value = getattr(owner, name)
    if name.startswith("allow_"):
        return value is False
    # Where nothing is the default, 0 is a limit too.
    is_open = type(owner).model_fields[name].get_default(call_default_factory=True) is None
    return value is not None if is_open else bool(value)


def _of_learned_dates(policy: RoutingPolicy) -> Iterator[Warned]:
    default = RoutingPolicy.model_fields["delivery_confidence"].default
    if policy.delivery_dates != "learned" and policy.delivery_confidence != default:
        message = "never counts: it is for `delivery_dates: learned`"
        yield Warned(path=("delivery_confidence",), message=message)


def _of_order_types(policy: ProcessPolicy) -> Iterator[Warned]:
    if not policy.order_types:
        yield Warned(path=("order_types",), message="names no order type: no order is meant")
    elif policy.approvals and OrderType.B2B not in policy.order_types:
        message = "never asked: approvals are for b2b orders, which `order_types` leaves out"
        yield Warned(path=("approvals",), message=message)


def _of_levels(policy: ProcessPolicy) -> Iterator[Warned]:
    rules = policy.approvals
    for position, rule in enumerate(rules):
        path: Path = ("approvals", position)
        earlier = rules[:position]
        if any(x.level == rule.level and not _exclude_each_other(x, rule) for x in earlier):
            message = f"level {rule.level} stands twice, and one order may meet both"
            yield Warned(path=path, message=message)
        lower = [x for x in rules if x.level < rule.level and _is_skipped(x, rule)]
        if lower:
            message = (
                f"level {rule.level} is asked of orders that pass level {lower[0].level} by:"
                " a lower level should ask no more than a higher one"
            )
            yield Warned(path=path, message=message)


def _is_skipped(lower: ApprovalRule, higher: ApprovalRule) -> bool:
    """Whether the higher level's condition is true of more orders than the lower one's."""
    return lower.condition != higher.condition and holds_whenever(higher.condition, lower.condition)


def _exclude_each_other(one: ApprovalRule, other: ApprovalRule) -> bool:
    """Whether no order can meet both: an order has one account and one kind of terms."""
    pairs = (
        (one.condition.accounts, other.condition.accounts),
        (one.condition.payment_terms, other.condition.payment_terms),
    )
    return any(first and second and not set(first) & set(second) for first, second in pairs)


def _of_single_rules(policy: ProcessPolicy) -> Iterator[Warned]:
    for position, rule in enumerate(policy.approvals):
        path: Path = ("approvals", position)
        if rule.escalate_to == rule.role:
            message = f"changes nothing: {rule.role} is asked from the start"
            yield Warned(path=(*path, "escalate_to"), message=message)
        condition = rule.condition
        if not condition.over_credit:
            continue
        if not policy.credit_limits:
            message = "never holds: no account has a credit limit"
            yield Warned(path=(*path, "condition", "over_credit"), message=message)
        elif condition.accounts and not set(condition.accounts) & set(policy.credit_limits):
            message = "never holds: none of these accounts has a credit limit"
            yield Warned(path=(*path, "condition", "over_credit"), message=message)


def _of_credit(policy: ProcessPolicy) -> Iterator[Warned]:
    if policy.credit_limits and not any(x.condition.over_credit for x in policy.approvals):
        message = "are never looked at: no approval has the condition `over_credit`"
        yield Warned(path=("credit_limits",), message=message)


def _of_waits(policy: ProcessPolicy) -> Iterator[Warned]:
    timings = policy.timings
    escalates = any(rule.escalate_to for rule in policy.approvals)
    if policy.approvals:
        yield from _late(timings, "approval_reminder", "approval_expiry", "nobody is reminded")
    if escalates:
        yield from _late(timings, "approval_escalation", "approval_expiry", "nothing escalates")
        yield from _late(
            timings, "approval_reminder", "approval_escalation", "the reminder comes after it"
        )
    yield from _late(timings, "backorder_look", "backorder", "given-back stock is never looked for")
    yield from _late(
        timings, "vendor_retry_longest", "vendor_deadline", "the deadline ends the longest pause"
    )
    default = Timings.model_fields["backorder_answer"].default
    if policy.backorder_last_resort is LastResort.CANCEL and timings.backorder_answer != default:
        message = "never counts: nobody is asked unless `backorder_last_resort: ask`"
        yield Warned(path=("timings", "backorder_answer"), message=message)


def _of_automation(policy: ProcessPolicy) -> Iterator[Warned]:
    rules = policy.automation
    for position, rule in enumerate(rules):
        for earlier, general in enumerate(rules[:position]):
            if _does_the_same(general, rule) and holds_whenever(general.when, rule.when):
                message = f"adds nothing: number {earlier + 1} above does the same whenever it does"
                yield Warned(path=("automation", position), message=message)
                break


def _does_the_same(one: AutomationRule, other: AutomationRule) -> bool:
    """Whether both do the same on the same event; a hold stands once for each of its types."""
    if (one.event, one.do, one.hold) != (other.event, other.do, other.hold):
        return False
    return one.do is Action.HOLD or one.told == other.told


def _late(timings: Timings, wait: str, end: str, so: str) -> Iterable[Warned]:
    first, last = getattr(timings, wait), getattr(timings, end)
    if first >= last > timedelta(0):
        yield Warned(path=("timings", wait), message=f"is not shorter than {end}: {so}")
