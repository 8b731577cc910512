"""What a shipment's cost is made of, for people who ask why."""

from decimal import Decimal

from domain.routing.costs import node_costs
from domain.routing.facts import KINDS
from domain.routing.group import Shipment
from domain.routing.money import clipped, micros
from domain.routing.objective import measures_of
from domain.routing.pricing import by_weight, leg
from domain.routing.task import GroupTask

_NOTHING = Decimal(0)


def cost_parts(task: GroupTask, shipment: Shipment) -> dict[str, int]:
    """Micros by part; the parts that are not 0, which together are the shipment's cost.

    carrier, node (its costs, labor and scores), shipment (with the kind's cost), distance,
    lateness, delivery (the price of days), units (of the goods themselves) and workload.
    """
    pricer, row, price, policy = shipment.pricer, shipment.row, shipment.price, task.policy
    candidates = pricer.candidates
    sites, times, tariff = candidates.sites, candidates.times, candidates.services
    kind = KINDS[int(task.facts.network.node.kind[candidates.nodes[row]])]
    order, unit = node_costs(task.facts.network, policy.criteria, candidates.nodes[[row]])
    units, grams, _ = pricer.size_of(row, shipment.load)
    km, service = int(sites.km[row]), int(sites.services[row, price.way])
    _, per_kg, _, arrives = leg(sites, times, tariff, row, price.way, price.begin, price.turn)
    found = measures_of(times, km, int(arrives))
    carrier = 0
    if service >= 0:
        carrier = int(tariff.base[service]) + int(tariff.per_km[service]) * km
    parts = {
        "carrier": carrier + int(by_weight(per_kg, grams)),
        "node": int(order[0]) + int(unit[0]) * units,
        "shipment": clipped(micros(policy.shipment_cost))
        + clipped(micros(policy.kind_cost.get(kind, _NOTHING))),
        "distance": clipped(micros(policy.distance_cost_per_km)) * km,
        "lateness": clipped(micros(policy.lateness_cost_per_day)) * found.lateness,
        "delivery": clipped(micros(policy.criteria.delivery_cost_per_day)) * found.delivery,
        "units": pricer.units_price(row, shipment.load),
    }
    parts["workload"] = price.cost - sum(parts.values())
    return {name: amount for name, amount in parts.items() if amount}
