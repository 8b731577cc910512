"""The kernel's contract: one request, one snapshot, one policy in; one decision out.

Product page, cart, checkout, reservation, routing and re-routing all ask `decide` (solve.py).
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from domain.catalogue import KitComponent, Product
from domain.network import CarrierService, Node, Place
from domain.orders import Method, OrderType, ServiceLevel
from domain.values import Count, DerivedId, Id, Model, PositiveMoney, Quantity, Text, UtcTime

KERNEL_VERSION = "4"


class Purpose(StrEnum):
    """Who asks, which decides what may be offered, never how it is computed."""

    PRODUCT_PAGE = "product_page"
    CART = "cart"
    CHECKOUT = "checkout"
    ROUTE = "route"
    REROUTE = "reroute"


class RequestLine(Model):
    """Units wanted; `unit_price_micros` in the base currency, for value rules."""

    line_id: Id
    sku: Id
    quantity: Quantity
    ship_group: Id = "1"
    keep_together: Id | None = None
    unit_price_micros: Count = 0


class RequestGroup(Model):
    """Where a group's lines go, as non-personal facts."""

    group_id: Id
    method: Method = Method.SHIP
    destination: Place | None = None
    node_id: Id | None = None
    service_level: ServiceLevel = ServiceLevel.STANDARD
    not_before: UtcTime | None = None
    deliver_by: UtcTime | None = None
    ship_complete: bool = False


class Exclusion(Model):
    """A node (for one SKU, or for all when `sku` is None) that this request must not use."""

    node_id: Id
    sku: Id | None = None
    reason: Text


class DecisionRequest(Model):
    """What is asked. `own_units` are units this order itself already reserves, thus free to it."""

    request_id: DerivedId
    purpose: Purpose
    now: UtcTime
    lines: tuple[RequestLine, ...]
    groups: tuple[RequestGroup, ...]
    order_id: Id | None = None
    order_type: OrderType = OrderType.B2C
    channel: Text = ""
    brand: Text = ""
    region: Text = ""
    tier: Text = ""
    allow_split: bool = True
    allow_backorder: bool = True
    promised_deliver_by: UtcTime | None = None
    exclusions: tuple[Exclusion, ...] = ()
    own_units: dict[str, dict[str, Count]] = Field(default_factory=dict)
    """SKU -> node id -> units already reserved for this order."""
    forced_nodes: tuple[Id, ...] = ()
    """When a person forced nodes, only these may serve."""
    order_value_micros: Count | None = Field(default=None, exclude_if=lambda value: value is None)
    """Unit price x quantity of the whole order, in the base currency; None: of these lines."""


class InboundSupply(Model):
    """Units that will arrive at a node."""

    node_id: Id
    sku: Id
    quantity: Quantity
    due: UtcTime


class CapacityLeft(Model):
    """What a node can still take on one local work date."""

    node_id: Id
    work_date: str
    """ISO date in the node's zone."""
    units: int
    orders: int


class LearnedTransit(Model):
    """What was learned of a lane; an empty part stands for any node, origin or destination."""

    node_id: Text = ""
    service_id: Id
    origin: Text = ""
    destination: Text = ""
    """Country and region, as "US-CA"."""
    days: Annotated[tuple[Count, ...], Field(min_length=7, max_length=7)]
    """Calendar days until a parcel is delivered, by weekday of its collection, Monday first."""


class StockFact(Model):
    """What is known of a SKU's units at a node beyond their number; amounts in the base currency.

    What is not named: the product's own unit cost, no markdown, no demand.
    """

    node_id: Id
    sku: Id
    unit_cost: PositiveMoney | None = None
    """What a unit cost to buy or make there."""
    markdown: PositiveMoney = Decimal(0)
    """What a unit is expected to lose of its price before it would be sold there."""
    daily_demand: Annotated[Decimal, Field(ge=0, le=1_000_000_000, decimal_places=6)] = Decimal(0)
    """Units a day that the node is expected to sell by itself."""


class Snapshot(Model):
    """All facts a decision looks at. `availability`: SKU -> node id -> sellable units (ATS).

    A node or date without a `capacity` row has its whole daily capacity left.
    """

    availability: dict[str, dict[str, int]]
    nodes: tuple[Node, ...]
    services: tuple[CarrierService, ...] = ()
    products: dict[str, Product] = Field(default_factory=dict)
    capacity: tuple[CapacityLeft, ...] = ()
    inbound: tuple[InboundSupply, ...] = ()
    transits: tuple[LearnedTransit, ...] = ()
    """For policies whose dates are learned; what is not named goes by the service."""
    stock_facts: tuple[StockFact, ...] = Field(default=(), exclude_if=lambda value: not value)
    """For policies with criteria of margin, markdown, velocity or stock-out."""
    exchange_rates: dict[str, str] = Field(default_factory=dict)
    """Currency -> units of the base currency for one unit of it, as a decimal string."""
    base_currency: str = "USD"
    network_version: Text = ""
    availability_version: Text = ""


class Assignment(Model):
    """Units of one line from one node."""

    line_id: Id
    sku: Id
    quantity: Quantity
    parts: tuple[KitComponent, ...] = ()
    """Of a kit: base units of each component taken at the node for all these units."""


class PlannedShipment(Model):
    """One node serving one ship group: what, by which service, when, at what cost (micros)."""

    node_id: Id
    ship_group: Id
    method: Method
    service_id: Id | None = None
    assignments: tuple[Assignment, ...]
    work_date: str
    """ISO date, in the node's zone, whose capacity is used."""
    ship_at: UtcTime
    deliver_at: UtcTime
    order_by: UtcTime
    """Latest release that still meets `ship_at`."""
    cost_micros: int
    distance_km: int = 0
    cost_parts: dict[str, int] = Field(default={}, exclude_if=lambda value: not value)
    """Micros by part (cost_parts.py), where the policy is more than flat."""


class Missing(Model):
    """Units no node can serve, with the commonest reason."""

    line_id: Id
    sku: Id
    quantity: Quantity
    reason: Text


class Option(Model):
    """A whole plan: shipments that cover the lines, or say what is missing."""

    service_level: ServiceLevel
    shipments: tuple[PlannedShipment, ...] = ()
    missing: tuple[Missing, ...] = ()
    cost_micros: int = 0
    ship_at: UtcTime | None = None
    deliver_at: UtcTime | None = None
    order_by: UtcTime | None = None


class NodeScore(Model):
    """Why a node did or did not serve: the chosen ones, and those that came nearest."""

    node_id: Id
    covers: tuple[Id, ...] = ()
    """Line ids it could serve whole."""
    cost_micros: int | None = None
    """Cost if it served all it covers."""
    distance_km: int | None = None
    chosen: bool = False


class Decision(Model):
    """The kernel's answer. `options[chosen]` is the plan; excluded nodes are sets by reason."""

    request_id: DerivedId
    kernel_version: str = KERNEL_VERSION
    policy_version: Text
    snapshot_id: str
    options: tuple[Option, ...]
    chosen: Annotated[int, Field(ge=0)] | None = None
    is_proven: bool = True
    """Whether no plan covers more units, or as many for less, group by group."""
    bound_micros: Count | None = None
    """No plan for these groups, one after another, costs less; None: no such bound is known."""
    compared: Count = 0
    """Nodes that hold something of the order and may serve; `scores` has those worth keeping."""
    scores: tuple[NodeScore, ...] = ()
    excluded: dict[str, tuple[Id, ...]] = Field(default_factory=dict)
    runner_up_cost_micros: int | None = None
    strategy: Text = Field(default="", exclude_if=lambda value: not value)
    """Of the policy's strategies the one that was for this order; empty: the policy is flat."""
    relaxed: tuple[Text, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Soft limits and after-actions by which the plan came about, in their order."""
    after: Text = Field(default="", exclude_if=lambda value: not value)
    """What the strategy wants done with missing units: `backorder` or `customer_care`."""

    @property
    def plan(self) -> Option | None:
        """The chosen option, if any."""
        return None if self.chosen is None else self.options[self.chosen]
