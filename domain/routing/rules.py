"""The rules of one order: its policy with the strategy that is for it laid over."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from domain.catalogue import Product
from domain.routing.decision import DecisionRequest
from domain.routing.policy import DEFAULT, RoutingPolicy
from domain.routing.strategy import Strategy

_MOST_KNOWN = 64
_known: dict[tuple[int, str], tuple[RoutingPolicy, "Rules"]] = {}
_FLAT = {
    "filters": ("excluded_kinds", "excluded_nodes", "sourcing_groups", "max_distance_km"),
    "criteria": ("shipment_cost", "lateness_cost_per_day", "distance_cost_per_km", "kind_cost"),
    "constraints": ("max_shipments", "allow_line_split", "inbound", "relax"),
}
"""Section -> its parts that are flat fields of the policy too."""


class Rules(NamedTuple):
    """A strategy as a policy of its own: its flat fields filled in, no strategies beside it."""

    strategy: str
    """Empty: the policy is flat."""
    policy: RoutingPolicy


def rules_for(
    policy: RoutingPolicy, request: DecisionRequest, products: Mapping[str, Product]
) -> Rules:
    """The first strategy whose condition holds for the order, else the policy's own fields."""
    for strategy in policy.strategies:
        if strategy.when.holds(request, products):
            return _laid_over(policy, strategy)
    return _laid_over(policy, None)


def _laid_over(policy: RoutingPolicy, strategy: Strategy | None) -> Rules:
    """Worked out once for each policy; policies are immutable and live long."""
    key = (id(policy), DEFAULT if strategy is None else strategy.name)
    found = _known.get(key)
    if found is None or found[0] is not policy:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[key] = policy, _rules(policy, strategy)
    return found[1]


def _rules(policy: RoutingPolicy, strategy: Strategy | None) -> Rules:
    if policy.is_flat:
        return Rules("", policy)
    changes: dict[str, Any] = {"strategies": ()}
    for name in ("filters", "criteria", "constraints", "objective", "after"):
        own = None if strategy is None else getattr(strategy, name)
        changes[name] = getattr(policy, name) if own is None else own
        for part in _FLAT.get(name, ()):
            value = getattr(changes[name], part)
            if value is not None:
                changes[part] = value
    rules = policy.model_copy(update=changes)
    groups = tuple(x for x in policy.sourced_from if x.group_id in rules.sourcing_groups)
    name = DEFAULT if strategy is None else strategy.name
    return Rules(name, rules.model_copy(update={"sourced_from": groups}))
