"""What the Temporal UI says of an order and a fulfillment, in Markdown, for support staff."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.automation import RULE
from domain.counting import counted
from domain.fulfillment_state import FulfillmentState
from domain.fulfillments import FulfillmentOrder
from domain.plans import NODES_AT_WORK
from domain.quantities import Bucket, LineQuantities
from domain.stages import Attention
from workflows.order_state import OrderState
from workflows.reactor import Deadline


def moment(at: datetime) -> str:
    """A time as people read it."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def awaited(
    state: OrderState,
    attention: Attention | None,
    deadlines: Sequence[Deadline],
    *,
    names_nodes: bool = True,
) -> str:
    """What the order waits for, in a few words.

    Without `names_nodes` the nodes are named only where there is nothing else, and as one: who
    reads that has the fulfillments as well, which go on without the order.
    """
    if attention is not None:
        choices = ", ".join(choice.value for choice in attention.choices)
        stuck = (
            attention.step if attention.step.startswith(RULE) else f"{attention.step} cannot go on"
        )
        return f"a person: {stuck} ({attention.reason}); choose {choices}"
    parts = [f"a hold to be lifted: {hold.type}" for hold in state.holds]
    if state.approval is not None and state.facts is not None:
        rule = state.facts.approvals[state.approval.position]
        parts.append(f"approval level {rule.level} by {rule.role}")
    if state.backorder is not None:
        parts.append("supply for backordered units")
    nodes = [
        f"{track.order.node_id} to do its part (fulfillment-{fulfillment_id})"
        for fulfillment_id, track in state.book.tracks.items()
        if track.is_open
    ]
    if names_nodes:
        parts += nodes
    elif nodes and not parts:
        parts.append(NODES_AT_WORK)
    upcoming = min(deadlines, key=lambda d: d.at, default=None)
    if upcoming is not None:
        parts.append(f"{upcoming.text} at {moment(upcoming.at)}")
    return "; ".join(parts) or "nothing"


def order_details(
    state: OrderState,
    attention: Attention | None,
    deadlines: Sequence[Deadline],
    quantities: Mapping[str, LineQuantities],
) -> str:
    """The order's page: stage, promise, where each item is, what is awaited and until when."""
    promise = moment(state.promise_at) if state.promise_at else "none yet"
    text = [
        f"**Stage:** {state.displayed_with(attention, state.stage_of(quantities))}",
        f"**Promised delivery:** {promise}",
        f"**Waits for:** {awaited(state, attention, deadlines)}",
    ]
    if state.book.lines:
        text += ["", "| line | SKU | where its units are |", "|---|---|---|"]
        text += [
            f"| {line_id} | {own.sku} | {_where(quantities[line_id])} |"
            for line_id, own in list(state.book.lines.items())[:40]
        ]
    if state.book.tracks:
        text += ["", "| fulfillment | node | status |", "|---|---|---|"]
        text += [
            f"| `fulfillment-{fulfillment_id}` | {track.order.node_id} | {track.status.value} |"
            for fulfillment_id, track in state.book.tracks.items()
        ]
    if state.overrides:
        told = ", ".join(f"{x.node_id}: {x.choice.value}" for x in state.overrides)
        text += ["", f"**Nodes chosen by people:** {told}"]
    if state.explanation:
        text += ["", f"**Why this plan:** {state.explanation[:1500]}"]
    if state.timeline:
        text += ["", "**Latest:**"]
        text += [f"- {moment(entry.at)} {entry.text}" for entry in state.timeline[-8:]]
    return "\n".join(text)


def _where(quantities: LineQuantities) -> str:
    parts = [f"{quantities.at(b)} {b.value}" for b in Bucket if quantities.at(b)]
    return ", ".join(parts)


def fulfillment_summary(order: FulfillmentOrder) -> str:
    """One line for lists: what goes from where."""
    units = sum(line.quantity for line in order.lines)
    return f"{counted(units, 'unit')}, {order.method} from {order.node_id}"


def fulfillment_details(state: FulfillmentState, attention: Attention | None, awaits: str) -> str:
    """The fulfillment's page."""
    order = state.order
    shown = f"attention: {attention.step}" if attention else state.status.value
    text = [
        f"**{fulfillment_summary(order)}**",
        f"**Status:** {shown}",
        f"**Ship by:** {moment(order.ship_by) if order.ship_by else 'no date'}",
        f"**Waits for:** {awaits}",
        "",
        "| line | SKU | asked |",
        "|---|---|---|",
        *(f"| {line.line_id} | {line.sku} | {line.quantity} |" for line in order.lines[:40]),
    ]
    if state.packages:
        text += ["", "| package | carrier | tracking | status |", "|---|---|---|---|"]
        text += [
            f"| {package.package_id} | {package.carrier or ''} | {package.tracking_number or ''}"
            f" | {package.status.value} |"
            for package in state.packages
        ]
    return "\n".join(text)
