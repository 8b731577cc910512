"""Shipments too small to go beside others, in plans that the exact core did not make."""

from domain.routing.plans import GroupPricer
from domain.routing.spread import Plan


def with_minimums(pricer: GroupPricer, plan: Plan) -> Plan:
    """The plan without shipments below the least value or units; the same plan if there are none.

    The smallest goes first: each of its atoms to the shipment that takes it for least, which may
    lift that above the least; what none can take is missing. One shipment alone may be small.
    """
    while len(plan) > 1:
        small = [row for row, load in plan.items() if pricer.is_small(load)]
        if not small:
            return plan
        row = min(small, key=lambda x: (sum(plan[x].values()), x))
        plan = _shared_out(pricer, plan, row)
    return plan


def _shared_out(pricer: GroupPricer, plan: Plan, row: int) -> Plan:
    """The plan without that row, its atoms with other rows as far as those can take them."""
    left = {other: dict(load) for other, load in plan.items() if other != row}
    for number, units in sorted(plan[row].items()):
        best: tuple[int, int] | None = None
        for other, load in left.items():
            now = pricer.price(other, load)
            then = pricer.price(other, {**load, number: load.get(number, 0) + units})
            if now is not None and then is not None:
                best = min(best or (then.cost - now.cost, other), (then.cost - now.cost, other))
        if best is not None:
            load = left[best[1]]
            load[number] = load.get(number, 0) + units
    return left
