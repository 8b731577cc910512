"""A decision in words: why these nodes, why not others, and what the next best plan costs."""

from decimal import Decimal

from domain.routing.decision import Decision, DecisionRequest, NodeScore, Option, PlannedShipment
from domain.values import MICROS

MOST_NAMED = 3
MOST_EXCLUDED = 10


def explain(decision: Decision, request: DecisionRequest) -> str:
    """A paragraph for people; amounts in the base currency. Nothing personal."""
    plan = decision.plan
    if plan is None:
        return "No plan was made."
    parts = _about_strategy(decision)
    parts += [_about(shipment) for shipment in plan.shipments] or ["No node serves this request."]
    if plan.shipments:
        parts.append(f"Together {_amount(plan.cost_micros)}.")
    parts += _about_missing(plan, request, decision.after)
    parts += _about_bound(decision, plan)
    parts += _about_others(decision)
    parts += _about_exclusions(request)
    if decision.runner_up_cost_micros is not None:
        more = decision.runner_up_cost_micros - plan.cost_micros
        parts.append(f"The next best plan costs {_amount(more)} more.")
    return " ".join(parts)


def _about_strategy(decision: Decision) -> list[str]:
    """Which strategy the order fell under, and what it took to serve it."""
    found = [f"By strategy '{decision.strategy}'."] if decision.strategy else []
    if decision.relaxed:
        steps = ", ".join(_STEPS.get(step, f"without {step}") for step in decision.relaxed)
        found.append(f"So much is served only {steps}.")
    return found


_STEPS = {
    "split": "by splitting what is to stay together",
    "ship_to_store": "by bringing it to the store",
}
_AFTER = {
    "backorder": "What is missing waits for supply.",
    "customer_care": "What is missing goes to customer care.",
}


def _amount(micros: int) -> str:
    return f"{Decimal(micros) / MICROS:.2f}"


def _about(shipment: PlannedShipment) -> str:
    lines = ", ".join(f"{x.quantity} x {x.sku}" for x in shipment.assignments)
    way = f"by {shipment.service_id}" if shipment.service_id else "for collection there"
    return (
        f"{shipment.node_id} sends {lines} {way}, {shipment.distance_km} km, "
        f"out {shipment.ship_at:%Y-%m-%d %H:%M} and there by "
        f"{shipment.deliver_at:%Y-%m-%d %H:%M} UTC, for {_amount(shipment.cost_micros)}"
        f"{_about_parts(shipment)}."
    )


def _about_parts(shipment: PlannedShipment) -> str:
    """What the cost is made of, the dearest part first."""
    parts = sorted(shipment.cost_parts.items(), key=lambda part: (-part[1], part[0]))
    told = ", ".join(f"{name} {_amount(amount)}" for name, amount in parts)
    return f" ({told})" if told else ""


def _about_missing(plan: Option, request: DecisionRequest, after: str) -> list[str]:
    if not plan.missing:
        return []
    asked = {line.line_id: line.quantity for line in request.lines}
    lacks = "; ".join(
        f"{x.quantity} of {asked[x.line_id]} x {x.sku} ({x.reason})" for x in plan.missing
    )
    return [f"Missing: {lacks}.", *([_AFTER[after]] if after else [])]


def _about_exclusions(request: DecisionRequest) -> list[str]:
    """The nodes that were left out for one of the request's products."""
    skus = {line.sku for line in request.lines}
    left_out = sorted(
        {f"{x.node_id} for {x.sku} ({x.reason})" for x in request.exclusions if x.sku in skus}
    )
    if not left_out:
        return []
    more = len(left_out) - MOST_EXCLUDED
    rest = f"; and {more} more" if more > 0 else ""
    return [f"Not asked: {'; '.join(left_out[:MOST_EXCLUDED])}{rest}."]


def _about_bound(decision: Decision, plan: Option) -> list[str]:
    """How far from the best plan it may be at most, where that is not known to be none."""
    if decision.is_proven or not decision.bound_micros:
        return []
    gap = Decimal(plan.cost_micros - decision.bound_micros) / decision.bound_micros
    least = _amount(decision.bound_micros)
    return [
        f"No plan costs less than {least}: this one is at most {100 * gap:.1f} % above the best."
    ]


def _about_others(decision: Decision) -> list[str]:
    """The cheapest nodes that were not chosen, and the excluded ones by reason."""
    others = [x for x in decision.scores if not x.chosen and x.cost_micros is not None]
    others.sort(key=_fullest_then_cheapest)
    said = [
        f"{x.node_id} could serve {len(x.covers)} line(s) for {_amount(x.cost_micros or 0)}"
        for x in others[:MOST_NAMED]
    ]
    for reason, nodes in decision.excluded.items():
        more = f" and {len(nodes) - MOST_NAMED} more" if len(nodes) > MOST_NAMED else ""
        said.append(f"{', '.join(nodes[:MOST_NAMED])}{more}: {reason}")
    return [f"Not chosen: {'; '.join(said)}."] if said else []


def _fullest_then_cheapest(score: NodeScore) -> tuple[int, int, str]:
    return (-len(score.covers), score.cost_micros or 0, score.node_id)
