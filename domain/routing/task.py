"""One ship group to be planned, under the limits in force."""

from dataclasses import dataclass, field
from datetime import datetime

from domain.network import Place
from domain.orders import ServiceLevel
from domain.routing.decision import DecisionRequest, RequestGroup
from domain.routing.demand import Demand
from domain.routing.facts import Ints, KernelFacts
from domain.routing.money import clipped, micros
from domain.routing.policy import RoutingPolicy
from domain.routing.strategy import SoftLimit
from domain.routing.supply import Supply, Taken

Held = tuple[Supply, Ints]
"""Who holds something of the group, and how far away."""


@dataclass(frozen=True, slots=True)
class GroupTask:
    """The facts, the request and the policy, for one of the request's groups."""

    facts: KernelFacts
    request: DecisionRequest
    group: RequestGroup
    policy: RoutingPolicy
    """The rules in force: of a policy with strategies the one for this order, laid over it."""
    demand: Demand
    level: ServiceLevel
    destination: Place | None
    """None: the group names a store that is not in the snapshot."""
    start: datetime
    due: datetime | None
    taken: Taken
    dropped: tuple[SoftLimit, ...] = ()
    awaited: frozenset[str] = frozenset()
    """SKUs whose inbound units count."""
    known: dict[tuple[frozenset[str], bool], Held] = field(default_factory=dict)
    """By `awaited` and whether units are kept back; shared by tasks that differ in level and
    other limits alone."""

    @property
    def most_shipments(self) -> int:
        """How many shipments the group may have."""
        if self.demand.one_shipment:
            return 1
        limit = self.policy.max_shipments
        return max(limit, self.demand.units) if "max_shipments" in self.dropped else limit

    def holds(self, limit: SoftLimit) -> bool:
        """Whether the limit is still in force."""
        return limit not in self.dropped

    @property
    def least_in_shipment(self) -> tuple[int, int]:
        """Micros of value and units that each of several shipments has at least."""
        rules = self.policy.constraints
        value = units = 0
        if self.holds("min_value_per_shipment"):
            value = clipped(micros(rules.min_value_per_shipment))
        if self.holds("min_units_per_shipment"):
            units = rules.min_units_per_shipment
        return value, units
