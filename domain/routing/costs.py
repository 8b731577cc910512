"""A strategy's criteria as whole micros: of a shipment, of a unit, of an atom at a node.

Each is a price that is never below 0: what is worth something costs those that lack it. So a node
that nobody needs changes no plan, and integers stay exact.
"""

from decimal import Decimal
from typing import cast

import numpy as np
from numpy.typing import NDArray

from domain.errors import FinalError
from domain.routing.conditions import exact
from domain.routing.decision import StockFact
from domain.routing.facts import KINDS, Ints, NetworkFacts, ServiceArrays
from domain.routing.money import ExchangeRates, clipped, micros
from domain.routing.pricing import IMPOSSIBLE
from domain.routing.strategy import Criteria, Labor, NodeCriterion
from domain.routing.task import GroupTask
from domain.values import MICROS

_REFUSED = IMPOSSIBLE // 8
_WHOLE = Decimal(1)
_MINUTES = 60
_NO_FACT = StockFact(node_id="none", sku="none")


def services_of(task: GroupTask) -> ServiceArrays:
    """The carriers' tariffs as the policy weighs them."""
    weight, network = task.policy.criteria.carrier_weight, task.facts.network
    if weight == _WHOLE:
        return network.service
    key = ("carriers weigh", weight)
    found = cast(ServiceArrays | None, network.cache.get(key))
    if found is None:
        service = network.service
        found = network.cache[key] = service._replace(
            base=_weighed(service.base, weight),
            per_kg=_weighed(service.per_kg, weight),
            per_km=_weighed(service.per_km, weight),
        )
    return found


def _weighed(amounts: Ints, weight: Decimal) -> Ints:
    """Each amount times the weight, rounded down to a whole micro."""
    if weight == _WHOLE:
        return amounts
    return np.array([clipped(int(x * weight)) for x in amounts.tolist()], dtype=np.int64)


def site_costs(
    task: GroupTask, nodes: NDArray[np.int64], km: Ints, services: ServiceArrays
) -> tuple[Ints, Ints]:
    """Fixed cost of a shipment and cost of a unit, by row.

    Raises FinalError for a currency without an exchange rate and for absurd costs.
    """
    network, policy = task.facts.network, task.policy
    unknown = nodes[~network.node.has_rate[nodes]]
    if len(unknown):
        currency = network.nodes[unknown[0]].currency
        raise FinalError(f"no exchange rate for {currency}: add it to exchange_rates")
    workload = policy.criteria.workload
    kinds = [clipped(micros(policy.kind_cost[x])) if x in policy.kind_cost else 0 for x in KINDS]
    by_kind = np.array(kinds, dtype=np.int64)
    shipment = clipped(micros(policy.shipment_cost))
    per_km = clipped(micros(policy.distance_cost_per_km))
    late = clipped(micros(policy.lateness_cost_per_day))
    day = clipped(micros(policy.criteria.delivery_cost_per_day))
    order, unit = node_costs(network, policy.criteria, nodes)
    kind = by_kind[network.node.kind[nodes]]
    heaviest = sum(atom.grams for atom in task.demand.atoms) / 1_000
    carrier = (
        services.base
        + services.per_kg.astype(np.float64) * heaviest
        + services.per_km.astype(np.float64) * int(km.max(initial=0))
    )
    worst = (
        order.astype(np.float64)
        + unit.astype(np.float64) * task.demand.units
        + kind
        + per_km * km.astype(np.float64)
        + shipment
        + float(carrier.max(initial=0))
        + (late + day) * 1_000.0
        + (clipped(micros(workload.cost)) if workload is not None else 0)
    )
    if worst.max(initial=0) >= _REFUSED:
        raise FinalError("a shipment would cost more than 10^11: check the tariffs")
    return order + kind + per_km * km + shipment, unit


def node_costs(
    network: NetworkFacts, criteria: Criteria, nodes: NDArray[np.int64]
) -> tuple[Ints, Ints]:
    """What the node itself asks for an order and for a unit, with its scores and labor."""
    arrays = network.node
    if criteria.handling_weight == _WHOLE and not (criteria.labor or criteria.node_scores):
        return arrays.order_cost[nodes], arrays.unit_cost[nodes]
    key = ("node costs", criteria.model_dump_json(include=_OF_NODES))
    found = cast(tuple[Ints, Ints] | None, network.cache.get(key))
    if found is None:
        order = _weighed(arrays.order_cost, criteria.handling_weight)
        unit = _weighed(arrays.unit_cost, criteria.handling_weight)
        if criteria.labor is not None:
            labor = _labor(network, criteria.labor)
            order, unit = order + labor[0], unit + labor[1]
        for score in criteria.node_scores:
            price = _scores(network, score)
            order = order + (price if score.per == "shipment" else 0)
            unit = unit + (price if score.per == "unit" else 0)
        found = network.cache[key] = order, unit
    return found[0][nodes], found[1][nodes]


_OF_NODES = {"handling_weight", "labor", "node_scores"}


def _labor(network: NetworkFacts, labor: Labor) -> tuple[Ints, Ints]:
    """Minutes x the node's rate / 60, in the base currency."""
    rates = ExchangeRates(network.exchange_rates, network.base_currency)
    order: list[int] = []
    unit: list[int] = []
    for node in network.nodes:
        hourly = exact(node.attributes.get(labor.attribute)) or Decimal(0)
        paid = max(Decimal(0), hourly) / _MINUTES
        known = rates.knows(node.currency)
        for minutes, found in ((labor.minutes_per_order, order), (labor.minutes_per_unit, unit)):
            amount = micros(paid * minutes)
            found.append(clipped(rates.to_base(amount, node.currency)) if known else 0)
    return np.array(order, dtype=np.int64), np.array(unit, dtype=np.int64)


def _scores(network: NetworkFacts, score: NodeCriterion) -> Ints:
    """Cost x (best - value) / (best - worst), within 0 and the cost, rounded down."""
    cost, spread = micros(score.cost), score.best - score.worst
    prices: list[int] = []
    for node in network.nodes:
        value = exact(node.attributes.get(score.attribute))
        if value is None:
            value = score.worst if score.missing is None else score.missing
        far = (score.best - value) / spread
        prices.append(clipped(int(cost * min(Decimal(1), max(Decimal(0), far)))))
    return np.array(prices, dtype=np.int64)


def workload_costs(task: GroupTask, nodes: NDArray[np.int64], rooms: Ints) -> Ints | None:
    """By row: cost x (used - above) / (1 - above) of the first day with `rooms` units left."""
    workload = task.policy.criteria.workload
    if workload is None:
        return None
    cost, above = clipped(micros(workload.cost)), int(workload.above * MICROS)
    prices: list[int] = []
    daily = task.facts.network.node.daily_units[nodes].tolist()
    for left, whole in zip(rooms.tolist(), daily, strict=True):
        used = max(0, MICROS - left * MICROS // max(1, whole))
        prices.append(cost * max(0, used - above) // (MICROS - above))
    return np.array(prices, dtype=np.int64)
