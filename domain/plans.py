"""What an order's workflow needs to know of its order and of a plan: non-personal facts only."""

from collections.abc import Collection, Iterable
from enum import StrEnum

from domain.automation import AutomationRule
from domain.events import LineProgress
from domain.fulfillments import FulfillmentStatus, Package
from domain.network import ConnectionClass
from domain.orders import Method, OrderType, PaymentStatus
from domain.process_policy import ApprovalRule, LastResort
from domain.quantities import LineQuantities
from domain.stages import Attention, Hold, Stage
from domain.values import Count, DerivedId, Id, Model, Quantity, Text, UtcTime


class LineFacts(Model):
    """One order line in base units."""

    line_id: Id
    sku: Id
    quantity: Quantity
    ship_group: Id


class GroupFacts(Model):
    """One ship group without its address; `place` reads like `US-CA 902`."""

    group_id: Id
    method: Method
    node_id: Id | None = None
    place: Text = ""
    ship_complete: bool = False


class OrderFacts(Model):
    """What the order workflow keeps of its order document."""

    order_id: Id
    version: int
    order_type: OrderType
    channel: Text
    brand: Text
    region: Text
    total: str
    """In the order's currency, decimal string."""
    currency: str
    lines: tuple[LineFacts, ...]
    groups: tuple[GroupFacts, ...]
    payment: PaymentStatus
    approvals: tuple[ApprovalRule, ...] = ()
    """The chain of levels still to pass, in order; empty when none is needed."""
    entered_by: Text = ""
    allow_backorder: bool = True
    backorder_last_resort: LastResort = LastResort.CANCEL
    reroute_attempts: Count = 5
    hold_stock_during_approval: bool = False
    automation: tuple[AutomationRule, ...] = ()
    """The policy's rules whose conditions this order meets."""
    moved_groups: tuple[Id, ...] = ()
    """Ship groups that this version sends elsewhere, or by another way, than the one before."""


def version_address(order_id: str, version: int) -> str:
    """What stands for the addresses in that version of an order's document, as an address's id."""
    return f"{order_id}-v{version}"


class PlanLine(Model):
    """Units of an order line in a planned fulfillment."""

    line_id: Id
    sku: Id
    quantity: Quantity


class PlannedFulfillment(Model):
    """One future fulfillment: the node, who runs it, what it sends and when."""

    node_id: Id
    node_place: Text = ""
    connection_id: Id | None = None
    connection_kind: ConnectionClass = ConnectionClass.NONE
    ship_group: Id
    method: Method
    service_id: Id | None = None
    carrier_connection_id: Id | None = None
    carrier: Text = ""
    lines: tuple[PlanLine, ...]
    work_date: str
    ship_by: UtcTime
    deliver_by: UtcTime
    order_by: UtcTime
    cost_micros: int = 0


class PlanShortage(Model):
    """Units of a line that no node could be found for."""

    line_id: Id
    sku: Id
    quantity: Quantity
    reason: Text


class Plan(Model):
    """A routing decision as the order carries it out."""

    decision_id: DerivedId
    plan_version: Count
    fulfillments: tuple[PlannedFulfillment, ...] = ()
    missing: tuple[PlanShortage, ...] = ()
    cost_micros: int = 0
    explanation: str = ""
    """The kernel's own words on why this plan."""
    asks_people: bool = False
    """Whether the routing policy's last resort for what is missing is customer care."""

    @property
    def deliver_by(self) -> UtcTime | None:
        """When the last shipment is planned to arrive."""
        return max((x.deliver_by for x in self.fulfillments), default=None)


class MovedPlan(Plan):
    """A plan that a brokering run made, with the units it holds, and the plans it took over."""

    replaces: tuple[int, ...] = ()


class NodeChoice(StrEnum):
    """What a person says of a node for one order."""

    FORCE = "force"
    FORBID = "forbid"
    PREFER = "prefer"


class NodeOverride(Model):
    """A person's word on a node, by which the order is planned until it is lifted."""

    request_id: str
    choice: NodeChoice
    node_id: Id
    actor: Text = ""
    reason: Text = ""
    """A code or nothing; joined from the store where people read it."""
    at: UtcTime


class ChosenNodes(Model):
    """Nodes that people chose for an order, as routing takes them."""

    force: tuple[Id, ...] = ()
    forbid: tuple[Id, ...] = ()
    prefer: tuple[Id, ...] = ()

    @property
    def text(self) -> str:
        """In words; empty where nobody chose."""
        parts = [
            f"{', '.join(nodes)} {word}"
            for nodes, word in (
                (self.force, "forced"),
                (self.forbid, "forbidden"),
                (self.prefer, "preferred"),
            )
            if nodes
        ]
        return f"Chosen by people: {'; '.join(parts)}." if parts else ""


def chosen_nodes(overrides: Iterable[NodeOverride], refused_by: Collection[str]) -> ChosenNodes:
    """What to route by.

    A forced or preferred node that has refused the order since is not asked again: the order is
    planned freely then.
    """
    found: dict[NodeChoice, list[str]] = {choice: [] for choice in NodeChoice}
    for override in overrides:
        if override.choice is NodeChoice.FORBID or override.node_id not in refused_by:
            found[override.choice].append(override.node_id)
    return ChosenNodes(**{choice.value: tuple(nodes) for choice, nodes in found.items()})


NODES_AT_WORK = "its nodes to do their part"
"""What an order waits for while only its fulfillments go on; they are recorded on their own."""


class OrderView(Model):
    """The order as its workflow last knew it; written to the read model only if newer."""

    order_id: Id
    revision: Count
    stage: Stage
    displayed: Text
    lines: dict[Id, LineQuantities]
    holds: tuple[Hold, ...] = ()
    attention: Attention | None = None
    promise_at: UtcTime | None = None
    decision_id: DerivedId | None = None
    plan_version: Count = 0
    awaits: Text = ""
    closed: bool = False
    release_at: UtcTime | None = None
    """When the first reserved plan is released, if nothing holds it up."""
    overrides: tuple[NodeOverride, ...] = ()


class FulfillmentView(Model):
    """A fulfillment as its workflow last knew it; written to the read model only if newer."""

    fulfillment_id: DerivedId
    order_id: Id
    revision: Count
    status: FulfillmentStatus
    lines: tuple[LineProgress, ...] = ()
    packages: tuple[Package, ...] = ()
    attention: Attention | None = None
    awaits: Text = ""
    closed: bool = False


class TimelineEntry(Model):
    """One line of an order's story; `key` makes a repeat change nothing. Nothing personal."""

    key: str
    at: UtcTime
    kind: Id
    text: str
