"""What others are told of an order: one vocabulary, derived from what changed in its records."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from domain.fulfillments import ON_THE_WAY, FulfillmentStatus, PackageStatus
from domain.plans import FulfillmentView, OrderView
from domain.quantities import LineQuantities
from domain.stages import Attention, Stage

VOCABULARY: Mapping[str, str] = {
    "order.accepted": "an order was taken in",
    "order.amended": "a later version of its document was taken in",
    "order.approval_asked": "it waits for people's approval",
    "order.approved": "everyone who was asked has approved",
    "order.promised": "it has a promised date, or another one",
    "order.held": "a hold was placed on it",
    "order.hold_lifted": "a hold is gone",
    "order.reserved": "units have stock at nodes",
    "order.released": "units were given to nodes",
    "order.backordered": "units wait for supply",
    "order.lines_cancelled": "units will not be sent",
    "order.attention": "a person is asked to choose",
    "order.attention_over": "what a person was asked is settled",
    "order.notice": "a rule of its process policy has something to tell",
    "order.completed": "nothing is open, and something was delivered",
    "order.cancelled": "nothing is open, and nothing was delivered",
    "order.rejected": "it was not approved",
    **{
        f"fulfillment.{status}": f"a node's part of an order is {status.replace('_', ' ')}"
        for status in FulfillmentStatus
        if status is not FulfillmentStatus.CREATED
    },
    **{
        f"package.{status}": f"a parcel is {status.replace('_', ' ')}"
        for status in PackageStatus
        if status in ON_THE_WAY
    },
}
"""Every type of event, and what it says."""

_ENDS = {
    Stage.COMPLETED: "order.completed",
    Stage.CANCELLED: "order.cancelled",
    Stage.REJECTED: "order.rejected",
}
_MOVES = ("order.reserved", "order.released", "order.backordered", "order.lines_cancelled")
_GIVEN_UP = frozenset({Stage.CANCELLED, Stage.REJECTED})


class Fact(NamedTuple):
    """One event: its type, and what it says beside whose it is."""

    type: str
    data: dict[str, Any]


class OrderSeen(NamedTuple):
    """What the read model said of an order before."""

    stage: Stage
    holds: Mapping[str, str]
    """Hold id -> type."""
    park_id: str | None
    promise_at: datetime | None
    closed: bool
    lines: Mapping[str, LineQuantities]


class FulfillmentSeen(NamedTuple):
    """What the read model said of a fulfillment before."""

    status: FulfillmentStatus
    park_id: str | None
    packages: Mapping[str, PackageStatus]
    """Package id -> status."""


def covers(pattern: str, event_type: str) -> bool:
    """Whether a pattern (a type, `order.*` or `*`) means that type."""
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type


def order_facts(before: OrderSeen, view: OrderView) -> list[Fact]:
    """What is new in an order's view, in the order in which it comes to pass."""
    return [
        *_approval(before, view),
        *_promise(before, view),
        *_holds(before, view),
        *_moved_units(before, view),
        *attention_facts(before.park_id, view.attention),
        *_end(before, view),
    ]


def fulfillment_facts(before: FulfillmentSeen, view: FulfillmentView) -> list[Fact]:
    """What is new in a fulfillment's view: parcels first, then the whole, then questions.

    A package's fact names the package alone; whose it is and what is in it is added by the reader.
    """
    parcels = [
        Fact(f"package.{package.status}", {"package_id": package.package_id})
        for package in view.packages
        if package.status in ON_THE_WAY
        and before.packages.get(package.package_id) != package.status
    ]
    whole = (
        [Fact(f"fulfillment.{view.status}", {})]
        if view.status not in (before.status, FulfillmentStatus.CREATED)
        else []
    )
    return [*parcels, *whole, *attention_facts(before.park_id, view.attention)]


def _approval(before: OrderSeen, view: OrderView) -> Iterable[Fact]:
    was, waits = (stage is Stage.PENDING_APPROVAL for stage in (before.stage, view.stage))
    if waits and not was:
        yield Fact("order.approval_asked", {})
    if was and not waits and view.stage not in _GIVEN_UP:
        yield Fact("order.approved", {})


def _promise(before: OrderSeen, view: OrderView) -> Iterable[Fact]:
    if view.promise_at is not None and view.promise_at != before.promise_at:
        yield Fact("order.promised", {})


def _holds(before: OrderSeen, view: OrderView) -> Iterable[Fact]:
    now = {hold.hold_id: hold.type for hold in view.holds}
    for hold_id, kind in now.items():
        if hold_id not in before.holds:
            yield Fact("order.held", {"hold": kind})
    for hold_id, kind in before.holds.items():
        if hold_id not in now:
            yield Fact("order.hold_lifted", {"hold": kind})


def _moved_units(before: OrderSeen, view: OrderView) -> Iterable[Fact]:
    moved: dict[str, dict[str, int]] = {}
    for line_id, now in view.lines.items():
        was = before.lines.get(line_id, LineQuantities(ordered=0))
        for kind, units in _gains(was, now).items():
            if units > 0:
                moved.setdefault(kind, {})[line_id] = units
    yield from (Fact(kind, {"units": moved[kind]}) for kind in _MOVES if kind in moved)


def _gains(was: LineQuantities, now: LineQuantities) -> dict[str, int]:
    """Event type -> units of a line that came there; 0 or less where none did.

    Units that went on at once count for each place they passed.
    """
    given = _given(now) - _given(was)
    reserved = now.reserved - was.reserved + max(given, 0)
    backordered, cancelled = now.backordered - was.backordered, now.cancelled - was.cancelled
    return dict(zip(_MOVES, (reserved, given, backordered, cancelled), strict=True))


def _given(line: LineQuantities) -> int:
    return line.released + line.picked + line.shipped + line.delivered


def attention_facts(before: str | None, attention: Attention | None) -> Iterable[Fact]:
    """What is new in a question, where the one with the park id `before` was asked."""
    park_id = None if attention is None else attention.park_id
    if before is not None and before != park_id:
        yield Fact("order.attention_over", {"attention": {"park_id": before}})
    if attention is not None and before != park_id:
        asked = {
            "park_id": park_id,
            "step": attention.step,
            "choices": [choice.value for choice in attention.choices],
        }
        yield Fact("order.attention", {"attention": asked})


def _end(before: OrderSeen, view: OrderView) -> Iterable[Fact]:
    if view.closed and not before.closed and view.stage in _ENDS:
        yield Fact(_ENDS[view.stage], {})
