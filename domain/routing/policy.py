"""Routing policy: data that decides which plans are allowed and what they cost."""

from collections import Counter
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from domain.network import DistributionGroup, NodeKind
from domain.routing.strategy import (
    After,
    Constraints,
    Criteria,
    Filters,
    Objective,
    SoftLimit,
    Strategy,
)
from domain.values import Id, Model, PositiveMoney

DEFAULT = "default"
"""The strategy that a policy's own fields make: for orders of no other."""


_NO_FILTERS, _NO_CRITERIA, _NO_CONSTRAINTS = Filters(), Criteria(), Constraints()


def _unless(default: Any) -> Any:
    """A field that a document has only where it says more: older versions keep their content."""
    return Field(default=default, exclude_if=lambda value: value == default)


class RoutingPolicy(Model):
    """Costs in the base currency. Every number is a cost or a limit; nothing is hidden in code."""

    name: Id
    shipment_cost: PositiveMoney = Decimal("1.50")
    """Fixed cost of each shipment, besides carrier and node costs: the price of a split."""
    lateness_cost_per_day: PositiveMoney = Decimal("5.00")
    """Added for each day begun after the promised or requested delivery."""
    distance_cost_per_km: PositiveMoney = Decimal(0)
    kind_cost: dict[NodeKind, PositiveMoney] = Field(default_factory=dict)
    """Extra cost of a shipment from a node of that kind (a store's shelf is dearer than a DC's)."""
    excluded_kinds: tuple[NodeKind, ...] = ()
    excluded_nodes: tuple[Id, ...] = ()
    sourcing_groups: tuple[Id, ...] = ()
    """Distribution groups whose nodes alone may serve; none: every node."""
    sourced_from: tuple[DistributionGroup, ...] = ()
    """Those groups as the network has them; filled in when the policy is read to decide by it."""
    max_shipments: Annotated[int, Field(ge=1)] = 20
    """Most shipments for one ship group."""
    max_distance_km: Annotated[int, Field(ge=1)] | None = None
    allow_line_split: bool = True
    """Whether the quantity of one line may come from several nodes when no node has it whole."""
    horizon_days: Annotated[int, Field(ge=1, le=60)] = 14
    """How many work days ahead capacity is looked for."""
    inbound: Literal["never", "offers", "always"] = "offers"
    """Whether units that will arrive make a later date possible when nothing on hand fits."""
    delivery_dates: Literal["configured", "learned"] = "configured"
    """Whether parcels take what carrier services say, or what was learned of their lane."""
    delivery_confidence: Annotated[Decimal, Field(gt=0, lt=1)] = Decimal("0.9")
    """Of learned dates: the share of parcels that is to arrive by the date."""
    relax: tuple[SoftLimit, ...] = ("max_distance_km", "max_shipments")
    """Soft limits that are dropped, in this order, when nothing fits otherwise."""
    assumed_km_same_region: Annotated[int, Field(ge=0)] = 200
    """Distance taken when a place has no coordinates and both lie in one region."""
    assumed_km_same_country: Annotated[int, Field(ge=0)] = 1_500
    assumed_km_abroad: Annotated[int, Field(ge=0)] = 8_000
    filters: Filters = _unless(_NO_FILTERS)
    """Here and below: of orders that no strategy is for, and of strategies without that section."""
    criteria: Criteria = _unless(_NO_CRITERIA)
    constraints: Constraints = _unless(_NO_CONSTRAINTS)
    objective: Objective = _unless(("cost",))
    after: After = _unless(())
    strategies: tuple[Strategy, ...] = _unless(())
    """The first whose condition holds for an order is its strategy."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = Counter(strategy.name for strategy in self.strategies)
        names[DEFAULT] += 1
        for number, strategy in enumerate(self.strategies):
            if names[strategy.name] > 1:
                raise ValueError(
                    f"strategies.{number}.name: '{strategy.name}' is taken: give it its own name"
                )
        return self

    @property
    def is_flat(self) -> bool:
        """Whether it has none of the sections, only fields of its own."""
        return (
            not self.strategies
            and not self.after
            and self.objective == ("cost",)
            and self.filters == _NO_FILTERS
            and self.criteria == _NO_CRITERIA
            and self.constraints == _NO_CONSTRAINTS
        )

    @property
    def group_names(self) -> tuple[str, ...]:
        """Every distribution group that it names, whichever strategy."""
        found = dict.fromkeys(self.sourcing_groups)
        for section in (self.filters, *(x.filters for x in self.strategies)):
            if section is not None:
                found |= dict.fromkeys(section.sourcing_groups or ())
        return tuple(found)
