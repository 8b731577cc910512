"""Why nodes may not serve a ship group: the hard rules, each with the words it is told in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from domain.network import NodeKind
from domain.orders import Method
from domain.routing.conditions import NodeMatch, Scalar, exact, has_value
from domain.routing.demand import Demand
from domain.routing.facts import KINDS, NO_LIMIT, Flags, Indexes, Ints, NetworkFacts, microseconds
from domain.routing.pricing import COUNTER, NO_SERVICE
from domain.routing.strategy import SoftLimit
from domain.routing.supply import Barred
from domain.routing.task import GroupTask
from domain.values import MICROS

Services = NDArray[np.int32]
"""(row, position): index of a service, COUNTER or NO_SERVICE."""
_T = TypeVar("_T")


class Reasons:
    """The rules of one group, in the order in which they are told."""

    def __init__(
        self, task: GroupTask, nodes: NDArray[np.int64], km: Ints, services: Services
    ) -> None:
        """Looks at everything but the days on which nodes have room."""
        self._task = task
        self._nodes = nodes
        self._texts = [""]
        self.codes = np.zeros(len(nodes), dtype=np.int16)
        self._state()
        self._policy()
        self._attributes()
        self._reach(km, services)

    def _state(self) -> None:
        """What holds of the nodes now, whatever the policy says."""
        request, arrays = self._task.request, self._task.facts.network.node
        now = microseconds(request.now)
        self._mark(~arrays.active[self._nodes], "inactive")
        self._mark(arrays.offline_until[self._nodes] > now, "offline")
        for exclusion in request.exclusions:
            if exclusion.sku is None:
                self._mark(self._among([exclusion.node_id]), f"excluded: {exclusion.reason}")
        if request.forced_nodes:
            self._mark(~self._among(request.forced_nodes), "not a forced node")

    def _policy(self) -> None:
        """Kinds, ids and groups of nodes."""
        policy, filters = self._task.policy, self._task.policy.filters
        if policy.sourcing_groups and self._task.holds("sourcing_groups"):
            self._mark(~self._sourced(), "not in a sourcing group")
        banned = self._among(self._unless("excluded_nodes", policy.excluded_nodes))
        banned |= self._of_kind(self._unless("excluded_kinds", policy.excluded_kinds))
        self._mark(banned, "excluded by policy")
        kinds = self._unless("kinds", filters.kinds)
        if kinds:
            self._mark(~self._of_kind(kinds), f"no {' or '.join(kinds)}")
        nodes = self._unless("nodes", filters.nodes)
        if nodes:
            self._mark(~self._among(nodes), "not among the nodes allowed")

    def _attributes(self) -> None:
        filters, network = self._task.policy.filters, self._task.facts.network
        if filters.node_attributes and self._task.holds("node_attributes"):
            for key, values in filters.node_attributes.items():
                found = with_attribute(network, key, values)[self._nodes]
                self._mark(~found, f"{key} is not {_either(values)}")
        if filters.excluded_node_attributes and self._task.holds("excluded_node_attributes"):
            for key, values in filters.excluded_node_attributes.items():
                found = with_attribute(network, key, values)[self._nodes]
                self._mark(found, f"{key} is {_either(values)}")

    def _reach(self, km: Ints, services: Services) -> None:
        task, arrays, nodes = self._task, self._task.facts.network.node, self._nodes
        counter = services[:, 0] == COUNTER
        if task.group.method is Method.PICKUP:
            self._mark(~counter, "not the pickup store")
        self._mark(counter & ~arrays.offers_pickup[nodes], "offers no pickup")
        self._mark(~counter & ~arrays.ships[nodes], "does not ship")
        if task.policy.max_distance_km is not None and task.holds("max_distance_km"):
            self._mark(km > task.policy.max_distance_km, "too far")
        self._mark((services == NO_SERVICE).all(axis=1), "no carrier service")

    def not_carried(self, services: Services) -> None:
        """Marks what has none of the carrier services left that the policy allows."""
        self._mark((services == NO_SERVICE).all(axis=1), "no carrier service that is allowed")

    def _mark(self, rows: Flags, text: str) -> None:
        rows = rows & (self.codes == 0)
        if rows.any():
            self.codes[rows] = len(self._texts)
            self._texts.append(text)

    def _sourced(self) -> Flags:
        groups, network = self._task.policy.sourced_from, self._task.facts.network
        key = ("sourced from", groups)
        found = cast(Flags | None, network.cache.get(key))
        if found is None:
            holds = [any(group.holds(node) for group in groups) for node in network.nodes]
            found = network.cache[key] = np.array(holds, dtype=np.bool_)
        held: Flags = found[self._nodes]
        return held

    def _among(self, node_ids: Iterable[str]) -> Flags:
        return np.isin(self._nodes, self._task.facts.network.indexes_of(node_ids))

    def _of_kind(self, kinds: Sequence[NodeKind]) -> Flags:
        arrays = self._task.facts.network.node
        return np.isin(arrays.kind[self._nodes], [KINDS.index(kind) for kind in kinds])

    def _unless(self, limit: SoftLimit, values: tuple[_T, ...]) -> tuple[_T, ...]:
        return values if self._task.holds(limit) else ()

    def told(self) -> dict[int, str]:
        """Excluded node -> its first reason."""
        rows = np.flatnonzero(self.codes)
        nodes, codes = self._nodes[rows].tolist(), self.codes[rows].tolist()
        return {node: self._texts[code] for node, code in zip(nodes, codes, strict=True)}


def _either(values: Sequence[Scalar]) -> str:
    return " or ".join(str(x).lower() if isinstance(x, bool) else str(x) for x in values)


def allowed_services(task: GroupTask, services: Services) -> Services:
    """The services left of those the policy allows; a counter needs none."""
    filters, network = task.policy.filters, task.facts.network
    limits = (
        filters.carriers,
        filters.excluded_carriers,
        filters.services,
        filters.excluded_services,
    )
    if not any(limits) or not task.holds("carriers"):
        return services
    able = [
        (not filters.carriers or x.carrier in filters.carriers)
        and x.carrier not in filters.excluded_carriers
        and (not filters.services or x.service_id in filters.services)
        and x.service_id not in filters.excluded_services
        for x in network.services
    ]
    # The last entry is that of no service, which -1 finds.
    allowed = np.array([*able, False], dtype=np.bool_)[np.maximum(services, -1)]
    return np.where(allowed | (services == COUNTER), services, np.int32(NO_SERVICE))


def by_room(
    task: GroupTask,
    nodes: NDArray[np.int64],
    calendars: Indexes,
    work: Indexes,
    rooms: Ints,
    turns: Indexes,
) -> dict[int, str]:
    """Node -> why its first day with room (`rooms` units, on `turns`) will not do."""
    told = dict.fromkeys(nodes[rooms == 0].tolist(), "no capacity")
    filters, network = task.policy.filters, task.facts.network
    if filters.starts_within_days is not None and task.holds("starts_within_days"):
        begins = [task.start.astimezone(x.zone).toordinal() for x in network.calendars]
        days = work[0, calendars, turns] - np.array(begins, dtype=np.int64)[calendars]
        for node in nodes[days > filters.starts_within_days].tolist():
            told.setdefault(node, f"cannot start within {filters.starts_within_days} days")
    if filters.capacity_left is not None and task.holds("capacity_left"):
        least = int(filters.capacity_left * MICROS)
        percent = f"{100 * filters.capacity_left:f}".rstrip("0").rstrip(".")
        daily = network.node.daily_units[nodes].tolist()
        for node, left, whole in zip(nodes.tolist(), rooms.tolist(), daily, strict=True):
            if left * MICROS < least * whole:
                told.setdefault(node, f"less than {percent} % of the day's capacity left")
    return told


def with_attribute(network: NetworkFacts, key: str, values: Sequence[Scalar]) -> Flags:
    """By node: whether the attribute has one of the values; worked out once for a network."""
    name = ("attribute", key, tuple(map(repr, values)))
    found = cast(Flags | None, network.cache.get(name))
    if found is None:
        holds = [has_value(node.attributes.get(key), values) for node in network.nodes]
        found = network.cache[name] = np.array(holds, dtype=np.bool_)
    return found


def whole_attribute(network: NetworkFacts, key: str) -> Ints:
    """By node: the attribute's number, rounded down; NO_LIMIT where it is none."""
    name = ("whole", key)
    found = cast(Ints | None, network.cache.get(name))
    if found is None:
        numbers = [exact(node.attributes.get(key)) for node in network.nodes]
        limits = [NO_LIMIT if x is None else max(0, min(int(x), NO_LIMIT)) for x in numbers]
        found = network.cache[name] = np.array(limits, dtype=np.int64)
    return found


def barred_of(task: GroupTask, demand: Demand) -> Barred:
    """SKUs that nodes may not handle, or must keep units of, by the policy's filters."""
    filters = task.policy.filters
    keep = filters.keep_units if task.holds("keep_units") else 0
    if not (keep or filters.hazards or filters.oversize or filters.product_rules):
        return Barred()
    found = _Barring(task, demand)
    if filters.hazards:
        found.hazards()
    if filters.oversize:
        found.oversize()
    for rule in filters.product_rules:
        skus = [x.sku for x in demand.lines if rule.products.holds_sku(x.sku, task.facts.products)]
        found.bar_lines(skus, ~_matching(task.facts.network, rule.nodes), rule.name)
    return Barred(keep, found.nodes, found.told)


def _matching(network: NetworkFacts, match: NodeMatch) -> Flags:
    found = np.ones(len(network.nodes), dtype=np.bool_)
    if match.nodes:
        found &= np.isin(np.arange(len(network.nodes)), network.indexes_of(match.nodes))
    if match.kinds:
        found &= np.isin(network.node.kind, [KINDS.index(kind) for kind in match.kinds])
    for key, values in match.attributes.items():
        found &= with_attribute(network, key, values)
    return found


@dataclass(slots=True)
class _Barring:
    """Collects who may not handle what."""

    task: GroupTask
    demand: Demand
    nodes: dict[str, Flags] = field(default_factory=dict)
    told: list[tuple[str, str, Flags]] = field(default_factory=list)

    def hazards(self) -> None:
        """A hazard must be among those the node's attribute lists."""
        network, products = self.task.facts.network, self.task.facts.products
        for sku in self.demand.skus:
            hazard = products[sku].hazard if sku in products else None
            if hazard:
                able = with_attribute(network, "hazards", (hazard, True))
                self._bar(sku, ~able, f"hazard {hazard}")

    def oversize(self) -> None:
        """One unit's weight and longest side within the node's limits."""
        network, products = self.task.facts.network, self.task.facts.products
        for sku in self.demand.skus:
            product = products.get(sku)
            if product is not None:
                longest = max(product.length_mm, product.width_mm, product.height_mm)
                heaviest = whole_attribute(network, "max_weight_grams")
                self._bar(sku, heaviest < product.weight_grams, "too heavy")
                self._bar(sku, whole_attribute(network, "max_length_mm") < longest, "too long")

    def bar_lines(self, skus: Sequence[str], nodes: Flags, reason: str) -> None:
        """All that these lines' products are made of."""
        for line, parts in zip(self.demand.lines, self.demand.parts, strict=True):
            if line.sku in skus:
                for sku, _ in parts:
                    self._bar(self.demand.skus[sku], nodes, reason)

    def _bar(self, sku: str, nodes: Flags, reason: str) -> None:
        if nodes.any():
            self.nodes[sku] = self.nodes[sku] | nodes if sku in self.nodes else nodes
            self.told.append((sku, reason, nodes))


def barred_text(sku: str, reason: str) -> str:
    """How the decision names a node that may serve, but not with that product."""
    return f"not with {sku}: {reason}"
