"""What a strategy of a routing policy says: filters, criteria, constraints, objective, after."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from domain.network import NodeKind
from domain.routing.conditions import AttributeMatch, Condition, NodeMatch, ProductMatch
from domain.values import Count, Id, Model, PositiveMoney, Text

SoftLimit = Literal[
    "max_distance_km",
    "max_shipments",
    "excluded_kinds",
    "excluded_nodes",
    "sourcing_groups",
    "kinds",
    "nodes",
    "node_attributes",
    "excluded_node_attributes",
    "carriers",
    "capacity_left",
    "starts_within_days",
    "keep_units",
    "allow_line_split",
    "ship_complete",
    "keep_together",
    "never_split",
    "min_value_per_shipment",
    "min_units_per_shipment",
]
"""Limits that may be dropped when nothing fits otherwise; what products need never is."""
SPLITTING: tuple[SoftLimit, ...] = (
    "max_shipments",
    "allow_line_split",
    "ship_complete",
    "keep_together",
    "never_split",
    "min_value_per_shipment",
    "min_units_per_shipment",
)
"""All that keeps an order from being split; the customer's own wish not to be stays."""
Measure = Literal["shipments", "lateness", "delivery", "distance", "cost"]
Weight = Annotated[Decimal, Field(ge=0, le=100, decimal_places=4)]
Share = Annotated[Decimal, Field(ge=0, le=1, decimal_places=4)]
Number = Annotated[Decimal, Field(max_digits=18, decimal_places=6, allow_inf_nan=False)]


class ProductRule(Model):
    """Products that only some nodes may handle, such as what must stay cold."""

    name: Id
    products: ProductMatch
    nodes: NodeMatch


class Filters(Model):
    """Nodes that may not serve, each filter with its own reason in the decision.

    A part left out (None) is as the policy's flat field of that name says.
    """

    excluded_kinds: tuple[NodeKind, ...] | None = None
    excluded_nodes: tuple[Id, ...] | None = None
    sourcing_groups: tuple[Id, ...] | None = None
    max_distance_km: Annotated[int, Field(ge=1)] | None = None
    kinds: tuple[NodeKind, ...] = ()
    """Only nodes of these kinds; likewise the next."""
    nodes: tuple[Id, ...] = ()
    node_attributes: AttributeMatch = Field(default_factory=dict)
    """Only nodes with one of the values of each attribute."""
    excluded_node_attributes: AttributeMatch = Field(default_factory=dict)
    """No node with one of the values of any of these."""
    carriers: tuple[Text, ...] = ()
    """Only services of these carriers; likewise services."""
    excluded_carriers: tuple[Text, ...] = ()
    services: tuple[Id, ...] = ()
    excluded_services: tuple[Id, ...] = ()
    capacity_left: Share | None = None
    """Least share of a day's units that is left, on the first day with room."""
    starts_within_days: Count | None = None
    """Calendar days, in the node's zone, until the first work day with room."""
    hazards: bool = False
    """A hazardous product needs its hazard in the node's attribute `hazards` (or `true` there)."""
    oversize: bool = False
    """A node's attributes `max_weight_grams` and `max_length_mm` limit what one unit may be."""
    product_rules: tuple[ProductRule, ...] = ()
    keep_units: Count = 0
    """Sellable units of each SKU that stay at a node."""


class Labor(Model):
    """What work costs where people are paid by the hour."""

    attribute: Id = "labor_cost_per_hour"
    """The node's attribute, in the node's currency; without it: 0."""
    minutes_per_order: Annotated[Decimal, Field(ge=0, le=1_440, decimal_places=4)] = Decimal(0)
    minutes_per_unit: Annotated[Decimal, Field(ge=0, le=1_440, decimal_places=4)] = Decimal(0)


class Workload(Model):
    """The price of a shipment from a node that is full: cost x (used - above) / (1 - above)."""

    cost: PositiveMoney
    above: Annotated[Decimal, Field(ge=0, lt=1, decimal_places=4)] = Decimal(0)
    """Share of the first free day's units in use from which it costs."""


class NodeCriterion(Model):
    """A price for how far a node's attribute is from the best: cost x (best - v) / (best - worst).

    Values beyond either end count as that end.
    """

    attribute: Id
    best: Number
    worst: Number
    cost: PositiveMoney
    """Of the worst."""
    per: Literal["shipment", "unit"] = "shipment"
    missing: Number | None = None
    """The value of a node without the attribute; None: the worst."""

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.best == self.worst:
            raise ValueError("best and worst are the same: nothing would be told apart")
        return self


class Markdown(Model):
    """Units soon to be marked down go first: weight x (up_to - markdown), not below 0, a unit."""

    up_to: PositiveMoney
    """The markdown from which there is no price, in the base currency."""
    weight: Weight = Decimal(1)


class Velocity(Model):
    """Slow stock goes first: cost x min(1, daily demand / fast), a unit."""

    cost: PositiveMoney
    fast: Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=6)]
    """Units a day from which the whole price is asked."""


class StockOut(Model):
    """The price of the last units: cost x (1 - days of cover / days) a unit, not below 0.

    Days of cover: what the node has left after the line, by its daily demand there.
    """

    cost: PositiveMoney
    days: Annotated[int, Field(ge=1, le=365)]


class Criteria(Model):
    """What a node's service costs beyond tariffs; None: the policy's flat field of that name."""

    shipment_cost: PositiveMoney | None = None
    lateness_cost_per_day: PositiveMoney | None = None
    distance_cost_per_km: PositiveMoney | None = None
    kind_cost: dict[NodeKind, PositiveMoney] | None = None
    carrier_weight: Weight = Decimal(1)
    """Of the carrier's tariff."""
    handling_weight: Weight = Decimal(1)
    """Of the node's cost per order and per unit (pick and pack)."""
    labor: Labor | None = None
    delivery_cost_per_day: PositiveMoney = Decimal(0)
    """For each day begun from now to delivery: what a day is worth."""
    workload: Workload | None = None
    node_scores: tuple[NodeCriterion, ...] = ()
    """Priority, performance, and whatever else nodes are told apart by."""
    goods_cost_weight: Weight = Decimal(0)
    """Of what the units cost at the node: with it the greatest margin wins."""
    markdown: Markdown | None = None
    velocity: Velocity | None = None
    stock_out: StockOut | None = None


class Constraints(Model):
    """What plans are allowed; hard unless `relax` or `after` names them. None: the flat field."""

    max_shipments: Annotated[int, Field(ge=1)] | None = None
    allow_line_split: bool | None = None
    inbound: Literal["never", "offers", "always"] | None = None
    ship_complete: bool = False
    """Each ship group in one shipment, or not at all."""
    keep_together: tuple[ProductMatch, ...] = ()
    """For each of these: all lines that fit it come from one node."""
    keep_together_by: tuple[Id, ...] = ()
    """`category`, or a product attribute: lines with the same value come from one node."""
    never_split: ProductMatch | None = None
    """The quantity of such a line comes from one node."""
    min_value_per_shipment: PositiveMoney = Decimal(0)
    """Goods in the base currency. A ship group's only shipment may be smaller."""
    min_units_per_shipment: Count = 0
    relax: tuple[SoftLimit, ...] | None = None


class Relax(Model):
    """Soft limits to drop, one after another."""

    relax: Annotated[tuple[SoftLimit, ...], Field(min_length=1)]


def _kind_of(value: Any) -> str:
    return "relax" if isinstance(value, dict | Relax) else "action"


AfterAction = Annotated[
    Annotated[Relax, Tag("relax")]
    | Annotated[Literal["split", "ship_to_store", "backorder", "customer_care"], Tag("action")],
    Discriminator(_kind_of),
]
"""`split` drops all that keeps an order whole; `ship_to_store` brings a pick-up from elsewhere."""
LAST = ("backorder", "customer_care")


def _as_measures(value: Any) -> Any:
    if value == "weighted":
        return ("cost",)
    if isinstance(value, str):
        raise ValueError("must be weighted, or a list such as [shipments, lateness, cost]")  # noqa: TRY004 (pydantic turns ValueError into a field error)
    return value


def _in_order(measures: tuple[Measure, ...]) -> tuple[Measure, ...]:
    for number, measure in enumerate(measures):
        if measure in measures[:number]:
            raise ValueError(f"'{measure}' stands twice: name each measure once")
    if "cost" in measures[:-1]:
        raise ValueError("no measure comes after cost, which decides of all that is left: end here")
    return measures


def _last_is_last(actions: tuple[AfterAction, ...]) -> tuple[AfterAction, ...]:
    for action in actions[:-1]:
        if isinstance(action, str) and action in LAST:
            raise ValueError(f"nothing is done after '{action}': put it last, and only one such")
    return actions


Objective = Annotated[
    tuple[Measure, ...],
    BeforeValidator(_as_measures),
    Field(min_length=1),
    AfterValidator(_in_order),
]
"""`weighted`, which is `[cost]`, or what is made least first, then next, and so on; then cost."""
After = Annotated[tuple[AfterAction, ...], AfterValidator(_last_is_last)]
"""What is done, in this order, while units are missing."""


class Strategy(Model):
    """How orders of some kind are routed; a section left out is as in the policy itself."""

    name: Id
    when: Condition = Condition()
    filters: Filters | None = None
    criteria: Criteria | None = None
    constraints: Constraints | None = None
    objective: Objective | None = None
    after: After | None = None
