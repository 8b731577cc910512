"""Simple rules to compare policies with. Each asks the kernel for one shipment after another.

So they keep every hard rule that policies keep (stock, capacity, calendars, carriers, bundles) and
their costs are of the same kind; only the choice of the node is theirs. They price nothing but
carriers and handling.
"""

from decimal import Decimal

import numpy as np

from domain import geo
from domain.network import Place
from domain.orders import Method
from domain.routing.decision import DecisionRequest, Missing, PlannedShipment, RequestGroup
from domain.routing.facts import Ints, NetworkFacts, needed_skus, vector_of
from domain.routing.policy import RoutingPolicy
from domain.routing_simulation import Planner, Served, serve, still_missing
from domain.simulated_world import World

NOBODY = "no node has it"
ONE_SHIPMENT = RoutingPolicy(
    name="one-shipment",
    shipment_cost=Decimal(0),
    lateness_cost_per_day=Decimal(0),
    max_shipments=1,
    relax=(),
)


def cheapest_unsplit(request: DecisionRequest, world: World) -> Served:
    """The cheapest node that has all; else the cheapest of those that have most, and so on."""
    shipments: list[PlannedShipment] = []
    cost, missing = 0, _all_of(request)
    while missing:
        step = serve(still_missing(request, missing), world, ONE_SHIPMENT)
        if not step.shipments:
            missing = step.missing
            break
        shipments += step.shipments
        cost += step.cost_micros
        missing = step.missing
    return Served(tuple(shipments), missing, cost)


def nearest(request: DecisionRequest, world: World) -> Served:
    """The nearest node sends what it has, the next nearest what it has of the rest, and so on."""
    shipments: list[PlannedShipment] = []
    cost, missing = 0, _all_of(request)
    for group in request.groups:
        own = {line.line_id for line in request.lines if line.ship_group == group.group_id}
        for node_id in _by_distance(request, group, world):
            left = tuple(x for x in missing if x.line_id in own)
            if not left:
                break
            asked = still_missing(request, left)
            if not _has_some(world, node_id, asked):
                continue
            asked = asked.model_copy(update={"forced_nodes": (node_id,)})
            step = serve(asked, world, ONE_SHIPMENT)
            shipments += step.shipments
            cost += step.cost_micros
            others = (x for x in missing if x.line_id not in own)
            rest = (x.model_copy(update={"reason": NOBODY}) for x in step.missing)
            missing = (*others, *rest)
    return Served(tuple(shipments), missing, cost)


BASELINES: dict[str, Planner] = {"nearest": nearest, "cheapest-unsplit": cheapest_unsplit}


def _all_of(request: DecisionRequest) -> tuple[Missing, ...]:
    return tuple(
        Missing(line_id=x.line_id, sku=x.sku, quantity=x.quantity, reason=NOBODY)
        for x in request.lines
    )


def _holders(request: DecisionRequest, world: World) -> Ints:
    stock = world.facts(request, ONE_SHIPMENT).stock
    skus = needed_skus((x.sku for x in request.lines), world.start.products)
    rows = [stock[sku].nodes for sku in skus if sku in stock]
    return np.unique(np.concatenate(rows)).astype(np.int64) if rows else np.empty(0, np.int64)


def _has_some(world: World, node_id: str, request: DecisionRequest) -> bool:
    return world.start.network.index[node_id] in _holders(request, world)


def _by_distance(request: DecisionRequest, group: RequestGroup, world: World) -> list[str]:
    """Nodes that hold something of the request, nearest first; of equals the earlier id."""
    network, holders = world.start.network, _holders(request, world)
    place = group.destination
    if group.method is not Method.SHIP:
        place = network.node_places.get(group.node_id or "")
    if place is None:
        return []
    km = _km(network, holders, place)
    return [network.nodes[holders[row]].node_id for row in np.argsort(km, kind="stable").tolist()]


def _km(network: NetworkFacts, nodes: Ints, place: Place) -> Ints:
    """Whole kilometres; what a policy assumes where a place has no coordinates."""
    arrays, rules, target = network.node, ONE_SHIPMENT, vector_of(place)
    same_country = arrays.country[nodes] == network.countries.get(place.country, -2)
    region = network.regions.get(place.region, -2) if place.region else -2
    same_region = same_country & (arrays.region[nodes] == region)
    km = np.where(same_country, rules.assumed_km_same_country, rules.assumed_km_abroad)
    km = np.where(same_region, rules.assumed_km_same_region, km)
    if target is not None:
        chords = np.sqrt(((arrays.vector[nodes] - np.array(target)) ** 2).sum(axis=1))
        exact = np.rint(2 * geo.EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, chords / 2)))
        km = np.where(arrays.is_located[nodes], exact, km)
    return km.astype(np.int64)
