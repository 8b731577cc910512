"""Which nodes could serve a ship group, what each could supply, and why the others cannot."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import cast

import numpy as np
from numpy.typing import NDArray

from domain import geo
from domain.network import Place
from domain.orders import Method
from domain.routing.costs import services_of, site_costs, workload_costs
from domain.routing.demand import Demand
from domain.routing.facts import (
    SPEED,
    Flags,
    Indexes,
    Ints,
    NetworkFacts,
    ServiceArrays,
    microseconds,
    vector_of,
)
from domain.routing.filters import Reasons, allowed_services, barred_of, barred_text, by_room
from domain.routing.money import HUGE, clipped, micros
from domain.routing.objective import Packing, packed
from domain.routing.pricing import COUNTER, NO_SERVICE, Sites, first_legs, first_rooms
from domain.routing.supply import Supply, supply_of
from domain.routing.task import GroupTask, Held
from domain.routing.timetable import Times, times_of
from domain.routing.unit_prices import atom_prices

NOT_ENOUGH_UNITS = "not enough units"
NO_STOCK = "no stock"
MOST_BITS = 62
_FARTHEST_DAY = 1_000


@dataclass(frozen=True, slots=True)
class Candidates:
    """The nodes that may serve a group, and why other holders of its stock may not."""

    nodes: NDArray[np.int64]
    """By row: index into the network's nodes, ascending."""
    have: Ints
    """(row, SKU)."""
    sku_classes: NDArray[np.int16]
    """(row, SKU): index into `releases`."""
    covers: Flags
    """(row, atom): whether the node has the atom whole."""
    sites: Sites
    times: Times
    turns: Indexes
    """By row: which of its work days is the first with room."""
    releases: list[datetime]
    excluded: dict[int, str]
    """Node -> reason."""
    services: ServiceArrays
    """The carriers' tariffs as the policy weighs them."""
    barred: dict[str, dict[int, str]]
    """SKU -> node that may not give it -> why not."""
    packing: Packing | None = None
    """What is made least before cost; None: cost alone. With it costs are packed ones."""


def find_candidates(task: GroupTask, destination: Place) -> Candidates:
    """Every node that holds or makes something of the group and passes all filters, by node id.

    Raises FinalError when a cost is in a currency without an exchange rate, or absurd.
    """
    supply, km = _held(task, destination)
    services = _services(task, supply.nodes, km)
    reasons = Reasons(task, supply.nodes, km, services)
    services = allowed_services(task, services)
    reasons.not_carried(services)
    kept = reasons.codes == 0
    tariff = services_of(task)
    sites, times = _sites(task, supply, km, services, kept, tariff)
    rooms = np.zeros(len(sites.km), dtype=np.int64)
    turns = np.zeros(len(sites.km), dtype=np.int32)
    first_rooms(sites.calendar, sites.room, sites.first_day, times.work, rooms, turns)
    excluded = reasons.told()
    shut = by_room(task, supply.nodes[kept], sites.calendar, times.work, rooms, turns)
    if shut:
        excluded |= shut
        is_open = ~np.isin(supply.nodes[kept], list(shut))
        sites = sites._replace(
            **{name: getattr(sites, name)[is_open] for name in _BY_ROW},
        )
        kept[kept] = is_open
        rooms, turns = rooms[is_open], turns[is_open]
    nodes, have = supply.nodes[kept], supply.have[kept]
    workload = workload_costs(task, nodes, rooms)
    if workload is not None:
        sites = sites._replace(fixed=sites.fixed + workload)
    sites = sites._replace(prices=atom_prices(task, nodes, have))
    covers = _covers(task.demand, have)
    sites = _with_demand(sites, task.demand, have, supply.classes[kept], covers, rooms)
    packing: Packing | None = None
    if task.policy.objective != ("cost",):
        sites, times, packing = packed(task, sites, times, tariff, turns)
    amounts = np.empty(sites.services.shape, dtype=np.int64)
    first_legs(sites, times, tariff, turns, amounts)
    return Candidates(
        nodes=nodes,
        have=have,
        sku_classes=supply.classes[kept],
        covers=covers,
        sites=sites._replace(amounts=amounts),
        times=times,
        turns=turns,
        releases=supply.releases,
        excluded=excluded,
        services=tariff,
        barred=supply.barred,
        packing=packing,
    )


def _held(task: GroupTask, destination: Place) -> Held:
    """Who holds something of the group, and how far away; worked out once for all its levels."""
    key = (task.awaited, task.holds("keep_units"))
    known = task.known.get(key)
    if known is None:
        supply = supply_of(
            task.facts,
            task.request,
            task.demand,
            task.start,
            task.taken,
            task.awaited,
            barred_of(task, task.demand),
        )
        known = task.known[key] = supply, _distances(task, supply.nodes, destination)
    # Where a customer collects is no distance at all, which is written into the copy.
    return known[0], known[1].copy()


_BY_ROW = ("calendar", "km", "fixed", "per_unit", "services", "room", "learned")


def _distances(task: GroupTask, nodes: NDArray[np.int64], destination: Place) -> Ints:
    """Whole kilometres; the policy's assumption where a place has no coordinates."""
    network, policy = task.facts.network, task.policy
    arrays = network.node
    target = vector_of(destination)
    same_country = arrays.country[nodes] == network.countries.get(destination.country, -2)
    region = network.regions.get(destination.region, -2) if destination.region else -2
    same_region = same_country & (arrays.region[nodes] == region)
    assumed = np.where(same_country, policy.assumed_km_same_country, policy.assumed_km_abroad)
    assumed = np.where(same_region, policy.assumed_km_same_region, assumed)
    if target is None:
        return assumed.astype(np.int64)
    chords = np.sqrt(((arrays.vector[nodes] - np.array(target)) ** 2).sum(axis=1))
    exact = np.rint(2 * geo.EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, chords / 2)))
    return np.where(arrays.is_located[nodes], exact, assumed).astype(np.int64)


def _services(task: GroupTask, nodes: NDArray[np.int64], km: Ints) -> NDArray[np.int32]:
    """(row, position): services fast enough that reach so far; COUNTER where it is collected."""
    network = task.facts.network
    widest = max((len(x) for x in network.service_sets), default=0)
    table = np.full((len(network.service_sets) + 1, max(1, widest)), NO_SERVICE, dtype=np.int32)
    for number, known in enumerate(network.service_sets):
        table[number, : len(known)] = known
    found = table[network.node.service_set[nodes]]
    if network.services:
        service = network.service
        able = (service.speed[found] >= SPEED[task.level]) & (service.max_km[found] >= km[:, None])
        found = np.where(able & (found >= 0), found, np.int32(NO_SERVICE))
    store = _store(task)
    if store is not None:
        row = np.searchsorted(nodes, store)
        if row < len(nodes) and nodes[row] == store:
            found[row] = NO_SERVICE
            found[row, 0] = COUNTER
            km[row] = 0
    return found


def _store(task: GroupTask) -> int | None:
    """The node at which the customer collects."""
    if task.group.method is Method.SHIP:
        return None
    return task.facts.network.index.get(task.group.node_id or "")


def _sites(
    task: GroupTask,
    supply: Supply,
    km: Ints,
    services: NDArray[np.int32],
    kept: Flags,
    tariff: ServiceArrays,
) -> tuple[Sites, Times]:
    """Costs, ways and capacity of the rows kept; what depends on the demand comes later."""
    network, policy = task.facts.network, task.policy
    nodes, km, services = supply.nodes[kept], km[kept], services[kept]
    fixed, per_unit = site_costs(task, nodes, km, tariff)
    first_day, room = _rooms(task, nodes)
    used, carrier = services[services >= 0], network.service
    farthest = int(km.max(initial=0))
    transit = int(
        (carrier.transit_days[used] + farthest // carrier.km_per_day[used]).max(initial=0)
    )
    learned = _learned(task, nodes, services)
    times = times_of(
        network,
        supply.releases,
        policy.horizon_days,
        max(transit, int(learned.max(initial=0))),
        task.due,
        clipped(micros(policy.lateness_cost_per_day)),
    )
    day_cost = clipped(micros(policy.criteria.delivery_cost_per_day))
    times = times._replace(start=microseconds(task.start), day_cost=day_cost)
    empty = np.zeros((len(nodes), 0), dtype=np.int64)
    sites = Sites(
        calendar=network.node.calendar[nodes],
        km=km,
        fixed=fixed,
        per_unit=per_unit,
        services=services,
        room=room,
        first_day=first_day,
        classes=np.zeros((len(nodes), 0), dtype=np.int16),
        cover=np.zeros(len(nodes), dtype=np.int64),
        is_plain=np.zeros(len(nodes), dtype=np.bool_),
        amounts=empty,
        shared=empty,
        prices=empty,
        learned=learned,
    )
    return sites, times


def _learned(
    task: GroupTask, nodes: NDArray[np.int64], services: NDArray[np.int32]
) -> NDArray[np.int16]:
    """(row, way, weekday): days learned of the narrowest lane; -1: the service's own count."""
    if task.policy.delivery_dates == "configured" or task.destination is None:
        return np.full((*services.shape, 7), -1, dtype=np.int16)
    network, place = task.facts.network, task.destination
    numbers = {x.service_id: number for number, x in enumerate(network.services)}
    ends = {"", f"{place.country}-{place.region}"}
    lanes = [x for x in task.facts.transits if x.destination in ends and x.service_id in numbers]
    origins, origin_of = _origins(network)
    # Wide lanes first, narrow ones over them. The last row is that of no service.
    table = np.full((len(numbers) + 1, len(origins), 7), -1, dtype=np.int16)
    for lane in sorted(lanes, key=lambda x: x.origin != ""):
        if not lane.origin:
            table[numbers[lane.service_id]] = lane.days
        elif not lane.node_id and lane.origin in origins:
            table[numbers[lane.service_id], origins[lane.origin]] = lane.days
    found = table[np.where(services >= 0, services, -1), origin_of[nodes][:, None]]
    rows = {node: row for row, node in enumerate(nodes.tolist())}
    for lane in lanes:
        node = network.index.get(lane.node_id, -1)
        if node in rows and origins.get(lane.origin) == origin_of[node]:
            row = rows[node]
            found[row, services[row] == numbers[lane.service_id]] = lane.days
    return found


def _origins(network: NetworkFacts) -> tuple[dict[str, int], Indexes]:
    """Country and region of nodes -> number, and the number of each node."""
    known = network.cache.get("origins")
    if known is None:
        texts = [f"{x.place.country}-{x.place.region}" for x in network.nodes]
        origins = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        of_nodes = np.array([origins[text] for text in texts], dtype=np.int32)
        known = network.cache["origins"] = origins, of_nodes
    return cast(tuple[dict[str, int], Indexes], known)


def _rooms(task: GroupTask, nodes: NDArray[np.int64]) -> tuple[int, Ints]:
    """First day, and (row, day) units each day still takes; the last column is any other day."""
    facts, taken = task.facts, task.taken.capacity
    arrays = facts.network.node
    daily = (arrays.daily_units[nodes], arrays.daily_orders[nodes])
    begin = task.start.toordinal() - 1
    days = {date.fromisoformat(text).toordinal(): text for text in facts.capacity}
    known = sorted({*days, *(day for _, day in taken)})
    known = [day for day in known if begin <= day < begin + _FARTHEST_DAY]
    if not known:
        return 0, np.where(daily[1] > 0, np.minimum(daily[0], HUGE), 0)[:, None]
    width = known[-1] - known[0] + 2
    units = np.repeat(daily[0][:, None], width, axis=1)
    orders = np.repeat(daily[1][:, None], width, axis=1)
    position = np.full(len(facts.network.nodes), -1, dtype=np.int64)
    position[nodes] = np.arange(len(nodes))
    for day in known:
        if day in days:
            left = facts.capacity[days[day]]
            rows = position[left.nodes]
            units[rows[rows >= 0], day - known[0]] = left.units[rows >= 0]
            orders[rows[rows >= 0], day - known[0]] = left.orders[rows >= 0]
    for (node, day), (used_units, used_orders) in taken.items():
        row = position[node]
        if row >= 0 and known[0] <= day <= known[-1]:
            units[row, day - known[0]] -= used_units
            orders[row, day - known[0]] -= used_orders
    return known[0], np.where(orders > 0, np.maximum(units, 0), 0)


def _covers(demand: Demand, have: Ints) -> Flags:
    """(row, atom): whether the node has all the atom needs, the atom looked at alone."""
    first = [atom.needs[0] for atom in demand.atoms]
    covers = have[:, [sku for sku, _ in first]] >= np.array([x for _, x in first])
    for number, atom in enumerate(demand.atoms):
        for sku, units in atom.needs[1:]:
            covers[:, number] &= have[:, sku] >= units
    return covers


def _with_demand(
    sites: Sites,
    demand: Demand,
    have: Ints,
    by_sku: NDArray[np.int16],
    covers: Flags,
    rooms: Ints,
) -> Sites:
    """The rows with what they can do for the group's atoms."""
    count = len(demand.atoms)
    classes = np.zeros((len(have), count), dtype=np.int16)
    if by_sku.any():
        for number, atom in enumerate(demand.atoms):
            classes[:, number] = by_sku[:, [sku for sku, _ in atom.needs]].max(axis=1)
    bits = 1 << np.arange(min(count, MOST_BITS), dtype=np.int64)
    cover = covers @ bits if count <= MOST_BITS else np.zeros(len(have), dtype=np.int64)
    users = Counter(sku for atom in demand.atoms for sku, _ in atom.needs)
    shared = [sku for sku in range(len(demand.skus)) if users[sku] > 1]
    return sites._replace(
        classes=classes,
        cover=cover,
        is_plain=(rooms >= demand.units) & ~classes.any(axis=1),
        shared=np.ascontiguousarray(have[:, shared]),
    )


def why_missing(task: GroupTask, sku: str, candidates: Candidates) -> str:
    """The commonest reason among the nodes that hold some of the product."""
    stock = task.facts.stock.get(sku)
    if stock is None:
        return NO_STOCK
    index = task.facts.network.index
    masked = {
        index[x.node_id]: f"excluded: {x.reason}"
        for x in task.request.exclusions
        if x.sku == sku and x.node_id in index
    }
    excluded, barred = candidates.excluded, candidates.barred.get(sku, {})
    told = {node: barred_text(sku, reason) for node, reason in barred.items()}
    reasons = Counter(
        excluded.get(node) or masked.get(node) or told.get(node) or NOT_ENOUGH_UNITS
        for node in stock.nodes[stock.units > 0].tolist()
    )
    if not reasons:
        return NO_STOCK
    return min(reasons, key=lambda reason: (-reasons[reason], reason))
