"""Routing policy: data that decides which plans are allowed and what they cost."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from domain.network import DistributionGroup, NodeKind
from domain.values import Id, Model, PositiveMoney

SoftLimit = Literal["max_distance_km", "max_shipments", "excluded_kinds", "excluded_nodes"]


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
