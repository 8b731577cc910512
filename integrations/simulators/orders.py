"""An order as a simulated node system keeps it, and the arithmetic of its lines."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from domain.events import ShortReason
from domain.fulfillments import PackageLine
from domain.orders import Address, Method
from domain.values import Count, DerivedId, Id, Model, Quantity, Text, UtcTime
from integrations.simulators.knobs import Knobs, draw, knobs_for


class Status(StrEnum):
    """Where an order stands at the node."""

    RECEIVED = "received"
    ACCEPTED = "accepted"
    PICKED = "picked"
    PACKED = "packed"
    READY_FOR_PICKUP = "ready_for_pickup"
    HANDED_OVER = "handed_over"
    COLLECTED = "collected"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    NOTHING_LEFT = "nothing_left"
    BACK_ON_SHELF = "back_on_shelf"


STILL_STOPPABLE = frozenset(
    {Status.RECEIVED, Status.ACCEPTED, Status.PICKED, Status.READY_FOR_PICKUP}
)
NEVER_LEAVES = frozenset({Status.REJECTED, Status.CANCELLED, Status.NOTHING_LEFT})


class NewLine(BaseModel):
    """A line as it is asked for."""

    model_config = ConfigDict(extra="ignore")
    line_id: Id
    sku: Id
    quantity: Quantity


class NewOrder(BaseModel):
    """What a release sends; other fields are let through unread."""

    model_config = ConfigDict(extra="ignore")
    reference: DerivedId
    node_id: Id
    method: Method = Method.SHIP
    service: str | None = None
    lines: Annotated[tuple[NewLine, ...], Field(min_length=1)]
    ship_to: Address | None = None
    customer_name: Text | None = None
    ship_by: UtcTime | None = None
    weights: dict[str, Count] = Field(default_factory=dict)


class CancelRequest(BaseModel):
    """A wish to stop all of an order (`lines` left out) or some of its units."""

    model_config = ConfigDict(extra="ignore")
    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    lines: tuple[PackageLine, ...] | None = None
    reason: Text = ""


class Labels(BaseModel):
    """The labels of packed packages."""

    class PackageLabel(BaseModel):
        """One package's label."""

        model_config = ConfigDict(extra="ignore")
        package_id: DerivedId
        tracking_number: Annotated[str, Field(min_length=1, max_length=64)]
        carrier: Text | None = None
        service: Text | None = None
        label_url: str | None = None

    model_config = ConfigDict(extra="ignore")
    labels: Annotated[tuple[PackageLabel, ...], Field(min_length=1)]


class Line(Model):
    """A line and what became of its units."""

    line_id: str
    sku: str
    quantity: int
    cancelled: int = 0
    short: int = 0

    @property
    def left(self) -> int:
        """Units that will leave, as things stand."""
        return self.quantity - self.cancelled - self.short


class NodeOrder(Model):
    """One order at a node. `replies` are the answers to cancel requests by their id."""

    id: str
    reference: str
    node_id: str
    method: Method
    service: str | None
    answered: Status
    """The status that the first release was answered with; a repeat gets the same."""
    status: Status
    silent: bool
    lines: tuple[Line, ...]
    weights: dict[str, int]
    ship_to: Address | None
    packages: tuple[dict[str, Any], ...] = ()
    replies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()

    @property
    def left(self) -> int:
        """Units that will leave, as things stand."""
        return sum(line.left for line in self.lines)

    @property
    def skus(self) -> tuple[str, ...]:
        """What it is about."""
        return tuple(line.sku for line in self.lines)


def without(
    order: NodeOrder, asked: Iterable[PackageLine] | None
) -> tuple[NodeOrder, list[dict[str, Any]]]:
    """The order without those units (None: all of them), and which units those were."""
    wanted = None if asked is None else {line.line_id: line.quantity for line in asked}
    lines, taken = [], []
    for line in order.lines:
        units = line.left if wanted is None else min(line.left, wanted.get(line.line_id, 0))
        lines.append(line.model_copy(update={"cancelled": line.cancelled + units}))
        if units:
            taken.append({"line_id": line.line_id, "quantity": units})
    return order.model_copy(update={"lines": tuple(lines)}), taken


def never_coming(order: NodeOrder, asked: Iterable[PackageLine] | None) -> list[dict[str, Any]]:
    """Of the units asked for, those an order that has ended already will not send."""
    wanted = None if asked is None else {line.line_id: line.quantity for line in asked}
    found = []
    for line in order.lines:
        units = min(
            line.cancelled, line.cancelled if wanted is None else wanted.get(line.line_id, 0)
        )
        if units:
            found.append({"line_id": line.line_id, "quantity": units})
    return found


def picked(order: NodeOrder, knobs: Knobs) -> tuple[NodeOrder, list[dict[str, Any]]]:
    """The order after its pick, and the facts of that pick: perhaps one line short.

    `knobs` are those of the whole simulator; each line's own are looked up here.
    """
    short_line, short, reason = _shortage(order, knobs)
    lines, facts = [], []
    for line in order.lines:
        missing = short if line.line_id == short_line else 0
        after = line.model_copy(update={"short": line.short + missing})
        lines.append(after)
        if line.left:
            fact: dict[str, Any] = {"line_id": line.line_id, "picked": after.left, "short": missing}
            facts.append(fact | ({"reason": reason} if missing else {}))
    return order.model_copy(update={"lines": tuple(lines)}), facts


def _shortage(order: NodeOrder, knobs: Knobs) -> tuple[str | None, int, ShortReason | None]:
    """Which line is short, by how many units and why; one draw decides for the whole order."""
    chance = draw(knobs.seed, "short_rate", order.reference)
    candidates = []
    for line in order.lines:
        own = knobs_for(knobs, reference=order.reference, node_id=order.node_id, skus=(line.sku,))
        if line.left and chance < own.short_rate:
            candidates.append((line, own))
    if not candidates:
        return None, 0, None
    which = int(draw(knobs.seed, "short_line", order.reference) * len(candidates))
    line, own = candidates[which]
    found = draw(knobs.seed, "short_reason", order.reference) < 0.5
    reason = own.short_reason or (ShortReason.NOT_FOUND if found else ShortReason.DAMAGED)
    return line.line_id, min(own.short_units, line.left), reason


def packed(order: NodeOrder, *, most_units: int | None) -> tuple[dict[str, Any], ...]:
    """The order's packages: one, or with `most_units` one per line and that many units."""
    contents: list[list[tuple[Line, int]]] = []
    if most_units is None:
        contents.append([(line, line.left) for line in order.lines if line.left])
    else:
        for line in order.lines:
            full, rest = divmod(line.left, most_units)
            contents += [[(line, most_units)]] * full + ([[(line, rest)]] if rest else [])
    return tuple(_package(order, n, inside) for n, inside in enumerate(contents, 1))


def _package(order: NodeOrder, number: int, inside: list[tuple[Line, int]]) -> dict[str, Any]:
    return {
        "package_id": f"{order.reference}-p{number}",
        "lines": [{"line_id": line.line_id, "quantity": units} for line, units in inside],
        "weight_grams": sum(order.weights.get(line.sku, 500) * units for line, units in inside),
        "length_mm": 300,
        "width_mm": 200,
        "height_mm": 150,
    }
