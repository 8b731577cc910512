"""What differs between two policies or two plans, field by field."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.process_policy import ProcessPolicy
from domain.routing.decision import Decision
from domain.routing.policy import RoutingPolicy
from domain.values import MICROS
from starter.times import utc_text

_MODELS: dict[str, type[RoutingPolicy] | type[ProcessPolicy]] = {
    "routing": RoutingPolicy,
    "process": ProcessPolicy,
}


@dataclass(frozen=True)
class Difference:
    """A field's dotted path and its two values; None where one side has no such field."""

    path: str
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {"path": self.path, "from": self.before, "to": self.after}


def differences(before: Any, after: Any, path: str = "") -> list[Difference]:
    """Every field that differs, in the order of the first document, then of the second."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return [
            difference
            for name in dict.fromkeys([*before, *after])
            for difference in differences(
                before.get(name), after.get(name), f"{path}.{name}" if path else str(name)
            )
        ]
    return [] if before == after else [Difference(path, before, after)]


def whole_policy(kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """A policy with its defaults filled in, its approvals by level and its strategies by name.

    So fields compare, whatever was left out or moved.
    """
    read = _MODELS[kind].model_validate(document)
    policy = read.model_dump(mode="json")
    if isinstance(read, RoutingPolicy):
        for name in ("filters", "criteria", "constraints"):
            policy[name] = getattr(read, name).model_dump(mode="json")
        policy["objective"], policy["after"] = list(read.objective), policy.get("after", [])
        policy["strategy_order"] = [strategy.name for strategy in read.strategies]
        policy["strategies"] = {one["name"]: one for one in policy.get("strategies", [])}
    if "approvals" in policy:
        policy["approvals"] = {str(rule["level"]): rule for rule in policy["approvals"]}
    return policy


def plan_facts(decision: Decision) -> dict[str, Any]:
    """A decision's plan as people compare it: dates, cost, and each shipment's units."""
    plan = decision.plan
    if plan is None:
        return {"plan": "none"}
    facts: dict[str, Any] = {
        "cost": money(plan.cost_micros),
        "ship_at": utc_text(plan.ship_at) if plan.ship_at else None,
        "deliver_at": utc_text(plan.deliver_at) if plan.deliver_at else None,
    }
    for shipment in plan.shipments:
        service = shipment.service_id or shipment.method.value
        place = f"group {shipment.ship_group} from {shipment.node_id} by {service}"
        units: dict[str, int] = {}
        for one in shipment.assignments:
            units[one.line_id] = units.get(one.line_id, 0) + one.quantity
        facts[place] = ", ".join(f"{count} of line {line}" for line, count in units.items())
    if decision.strategy:
        facts["strategy"] = decision.strategy
        facts["relaxed"], facts["after"] = list(decision.relaxed), decision.after
    for missing in plan.missing:
        facts[f"missing of line {missing.line_id}"] = missing.quantity
    return facts


def money(micros: int) -> str:
    """Micro-units of the base currency as an amount with two digits."""
    return str((Decimal(micros) / MICROS).quantize(Decimal("0.01")))
