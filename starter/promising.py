"""Promises: every way a shopper may get the items, each decided by the kernel that routes orders.

Only memory is read: the availability view and the policies known. A promise is one or several
decisions: what was asked, and alternatives (other methods, nearest stores, one shipment).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from domain.catalogue import SupplyMode
from domain.learned_dates import LearnedDates, destinations_of, transits
from domain.orders import Method
from domain.planning import place_of
from domain.routing.decision import (
    Decision,
    DecisionRequest,
    Exclusion,
    Option,
    RequestGroup,
    RequestLine,
)
from domain.routing.facts import KernelFacts, SkuStock
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide_on
from starter.api.promise_body import PromiseBody, PromiseGroup
from starter.lost_promises import prefix_of
from starter.nearest_stores import nearest_stores
from starter.promise_lines import Asked
from store.view import AvailabilityView


class Decided(NamedTuple):
    """One decision with all it looked at."""

    decision_id: str
    request: DecisionRequest
    facts: KernelFacts
    decision: Decision


class Offer(NamedTuple):
    """An option a shopper may choose, and the decision it comes from."""

    option_id: str
    method: str
    decision_id: str
    option: Option


@dataclass(frozen=True, slots=True)
class Promise:
    """What can be promised. `chosen` is the index of the option that was asked for, if any is."""

    promise_id: str
    policy_version: str
    policy: RoutingPolicy
    decided: tuple[Decided, ...]
    offers: tuple[Offer, ...]
    chosen: int | None
    now: datetime
    kernel_seconds: float
    kit_of: Mapping[str, str]
    """Line id of a component -> line id of the kit that was asked for."""

    @property
    def chosen_offer(self) -> Offer | None:
        """The option that was asked for."""
        return None if self.chosen is None else self.offers[self.chosen]

    def offer(self, option_id: str) -> Offer | None:
        """An option by id; without an id, the chosen one."""
        if not option_id:
            return self.chosen_offer
        return next((x for x in self.offers if x.option_id == option_id), None)


class _Variant(NamedTuple):
    """One way to ask: the groups, whether to split, and what the kernel may look at."""

    groups: tuple[RequestGroup, ...]
    allow_split: bool
    facts: KernelFacts
    label: str
    method: str


def promise(
    body: PromiseBody,
    asked: Asked,
    view: AvailabilityView,
    policy_version: str,
    policy: RoutingPolicy,
    exclusions: Sequence[Exclusion],
    now: datetime,
    learned: LearnedDates | None = None,
) -> Promise:
    """Decide every way to get the items, which are `asked` in the kernel's terms."""
    lines = asked.lines
    facts = view.facts([line.sku for line in lines], body.channel, now)
    promise_id = f"{prefix_of(body.purpose)}{uuid4().hex}"
    variants = _variants(body, lines, facts, exclusions, now)
    if learned is not None and policy.delivery_dates == "learned":
        variants = _with_learned(variants, learned, policy, now)
    decided: list[Decided] = []
    offers: list[Offer] = []
    kernel = _Kernel(policy)
    chosen: int | None = None
    for variant in variants:
        number = len(decided)
        decision_id = promise_id if not number else f"{promise_id}-{number}"
        request = _request(decision_id, body, lines, variant, exclusions, now)
        decision = kernel.decide(request, variant.facts)
        found = [
            Offer(_option_id(variant, option), variant.method, decision_id, option)
            for option in decision.options
            if not number or not option.missing
        ]
        if not number and decision.chosen is not None:
            chosen = decision.chosen
        decided.append(Decided(decision_id, request, variant.facts, decision))
        offers += found
    if _is_split(decided[0].decision) and body.allow_split:
        together = _together(body, lines, variants[0], decided, exclusions, kernel, now)
        if together is not None:
            decided.append(together[0])
            offers.append(together[1])
    return Promise(
        promise_id=promise_id,
        policy_version=policy_version,
        policy=policy,
        decided=tuple(decided),
        offers=tuple(offers),
        chosen=chosen,
        now=now,
        kernel_seconds=kernel.seconds,
        kit_of=asked.kit_of,
    )


def _with_learned(
    variants: Sequence[_Variant], learned: LearnedDates, policy: RoutingPolicy, now: datetime
) -> list[_Variant]:
    """With what was learned of the lanes to where the items may go."""
    groups = [group for variant in variants for group in variant.groups]
    places = destinations_of(groups, variants[0].facts.network.node_places)
    known = transits(learned, places, now, float(policy.delivery_confidence))
    return [x._replace(facts=replace(x.facts, transits=known)) for x in variants]


class _Kernel:
    """The kernel under one policy, and how long it took."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self.seconds = 0.0

    def decide(self, request: DecisionRequest, facts: KernelFacts) -> Decision:
        begun = time.perf_counter()
        decision = decide_on(request, facts, self._policy)
        self.seconds += time.perf_counter() - begun
        return decision


def _together(
    body: PromiseBody,
    lines: tuple[RequestLine, ...],
    asked: _Variant,
    decided: Sequence[Decided],
    exclusions: Sequence[Exclusion],
    kernel: "_Kernel",
    now: datetime,
) -> tuple[Decided, Offer] | None:
    """The same in one shipment each group, where the plan asked for has several."""
    if not all(_fits_in_one(group.group_id, lines, asked.facts) for group in asked.groups):
        return None
    variant = asked._replace(allow_split=False, label=f"{asked.label}:together")
    decision_id = f"{decided[0].decision_id}-{len(decided)}"
    request = _request(decision_id, body, lines, variant, exclusions, now)
    decision = kernel.decide(request, variant.facts)
    option = decision.plan
    if option is None or option.missing:
        return None
    offer = Offer(_option_id(variant, option), variant.method, decision_id, option)
    return Decided(decision_id, request, variant.facts, decision), offer


def _is_split(decision: Decision) -> bool:
    plan = decision.plan
    if plan is None:
        return False
    groups = [shipment.ship_group for shipment in plan.shipments]
    return len(groups) > len(set(groups))


def _fits_in_one(group_id: str, lines: Sequence[RequestLine], facts: KernelFacts) -> bool:
    """Whether some node has all counted units of the group; a cheap look before deciding."""
    possible = np.ones(len(facts.network.nodes), dtype=np.bool_)
    for sku, units in _counted_units(group_id, lines, facts).items():
        there = facts.stock[sku]
        has = np.zeros(len(possible), dtype=np.bool_)
        has[there.nodes[there.units >= units]] = True
        possible &= has
    return bool(possible.any())


def _counted_units(
    group_id: str, lines: Sequence[RequestLine], facts: KernelFacts
) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for line in lines:
        if line.ship_group == group_id and _is_counted(facts, line.sku):
            wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
    return wanted


def _option_id(variant: _Variant, option: Option) -> str:
    if variant.method == Method.PICKUP.value:
        return variant.label
    return f"{variant.label}:{option.service_level.value}"


def _variants(
    body: PromiseBody,
    lines: Sequence[RequestLine],
    facts: KernelFacts,
    exclusions: Sequence[Exclusion],
    now: datetime,
) -> list[_Variant]:
    """What was asked first, then the other ways; each alternative differs in one group."""
    wanted = body.groups
    stores: dict[str, list[str]] = {}
    for group in wanted:
        if group.destination is not None and group.node_id is None:
            stores[group.id] = _stores_for(body, group, lines, facts, exclusions, now)
    asked = [_request_group(group, stores) for group in wanted]
    methods = {group.method for group in wanted}
    method = methods.pop().value if len(methods) == 1 else "mixed"
    variants = [_variant(tuple(asked), method, method, body.allow_split, facts)]
    for position, group in enumerate(wanted):
        for kind, node_id in _alternatives(body, group, stores.get(group.id, [])):
            changed = asked[position].model_copy(update={"method": kind, "node_id": node_id})
            groups = (*asked[:position], changed, *asked[position + 1 :])
            is_alone = len(wanted) == 1
            label = f"{kind.value}:{node_id}" if is_alone else f"{group.id}:{kind.value}:{node_id}"
            shown = kind.value if is_alone else "mixed"
            variants.append(_variant(groups, label, shown, body.allow_split, facts))
    return variants


def _variant(
    groups: tuple[RequestGroup, ...], label: str, method: str, allow_split: bool, facts: KernelFacts
) -> _Variant:
    if all(group.method is Method.PICKUP and group.node_id for group in groups):
        # Only these nodes can serve: nothing else need be looked at, nor recorded.
        facts = _at_nodes(facts, [group.node_id or "" for group in groups])
    if method == Method.PICKUP.value and label == method:
        label = f"{method}:{groups[0].node_id}" if len(groups) == 1 else method
    return _Variant(groups, allow_split, facts, label, method)


def _alternatives(
    body: PromiseBody, group: PromiseGroup, stores: Sequence[str]
) -> Iterable[tuple[Method, str]]:
    if group.node_id is not None or not stores:
        return
    methods = body.methods if not body.ship_groups else (group.method,)
    if Method.PICKUP in methods:
        asked_first = 1 if group.method is Method.PICKUP else 0
        yield from ((Method.PICKUP, node_id) for node_id in stores[asked_first:])
    if Method.SHIP_TO_STORE in methods and group.method is not Method.SHIP_TO_STORE:
        yield Method.SHIP_TO_STORE, stores[0]


def _stores_for(
    body: PromiseBody,
    group: PromiseGroup,
    lines: Sequence[RequestLine],
    facts: KernelFacts,
    exclusions: Sequence[Exclusion],
    now: datetime,
) -> list[str]:
    methods = {*body.methods} if not body.ship_groups else {group.method}
    if methods == {Method.SHIP} or group.destination is None or not body.stores:
        return []
    wanted = _counted_units(group.id, lines, facts)
    place = place_of(group.destination)
    return nearest_stores(facts, place, wanted, exclusions, now, most=body.stores)


def _is_counted(facts: KernelFacts, sku: str) -> bool:
    """Whether a store must have units of it: kits are made of others, some are made to order."""
    product = facts.products.get(sku)
    return product is None or (not product.components and product.supply_mode is SupplyMode.STOCKED)


def _request_group(group: PromiseGroup, stores: dict[str, list[str]]) -> RequestGroup:
    node_id = group.node_id
    if node_id is None and group.method is not Method.SHIP:
        # The nearest store that has everything stands for "nearest stores".
        node_id = next(iter(stores.get(group.id, ())), None)
    return RequestGroup(
        group_id=group.id,
        method=group.method,
        destination=None if group.destination is None else place_of(group.destination),
        node_id=node_id,
        service_level=group.service_level,
        not_before=group.not_before,
        deliver_by=group.deliver_by,
        ship_complete=group.ship_complete,
    )


def _at_nodes(facts: KernelFacts, node_ids: Iterable[str]) -> KernelFacts:
    """The facts with the stock of these nodes only."""
    nodes = np.array(sorted(set(facts.network.indexes_of(node_ids))), dtype=np.int32)
    stock: dict[str, SkuStock] = {}
    for sku, there in facts.stock.items():
        kept = np.isin(there.nodes, nodes)
        stock[sku] = SkuStock(there.nodes[kept], there.units[kept])
    return replace(facts, stock=stock)


def _request(
    decision_id: str,
    body: PromiseBody,
    lines: tuple[RequestLine, ...],
    variant: _Variant,
    exclusions: Sequence[Exclusion],
    now: datetime,
) -> DecisionRequest:
    return DecisionRequest(
        request_id=decision_id,
        purpose=body.purpose,
        now=now,
        lines=lines,
        groups=variant.groups,
        order_type=body.order_type,
        channel=body.channel,
        brand=body.brand,
        region=body.region,
        tier=body.tier,
        allow_split=variant.allow_split,
        allow_backorder=body.allow_backorder,
        exclusions=tuple(exclusions),
    )
