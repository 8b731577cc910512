"""How far a routed plan is from what was promised: 0 in every figure when nothing changed."""

from collections import Counter
from datetime import datetime

from domain.routing.decision import Option
from domain.values import Model


class Drift(Model):
    """A plan compared with the promise before it; days and cost are above 0 where it got worse."""

    units_moved: int = 0
    """Units that come from another node than promised, or are missing now."""
    ship_days: int = 0
    delivery_days: int = 0
    cost_micros: int = 0

    @property
    def is_none(self) -> bool:
        """Whether the plan is what was promised."""
        return self == Drift()


def drift_between(promised: Option, routed: Option) -> Drift:
    """Compare two whole plans by nodes, dates (of the last shipment, in UTC) and cost.

    A date that one of them lacks counts as no difference: the units missing tell of it.
    """
    before, after = _units(promised), _units(routed)
    return Drift(
        units_moved=(before - after).total(),
        ship_days=_days(promised.ship_at, routed.ship_at),
        delivery_days=_days(promised.deliver_at, routed.deliver_at),
        cost_micros=routed.cost_micros - promised.cost_micros,
    )


def _units(option: Option) -> Counter[tuple[str, str]]:
    """(SKU, node id) -> units: an order may number its lines otherwise than the cart did."""
    units: Counter[tuple[str, str]] = Counter()
    for shipment in option.shipments:
        for line in shipment.assignments:
            units[line.sku, shipment.node_id] += line.quantity
    return units


def _days(before: datetime | None, after: datetime | None) -> int:
    if before is None or after is None:
        return 0
    return (after.date() - before.date()).days
