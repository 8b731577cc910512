"""Statuses are derived from quantities; holds and attention stand beside them."""

from collections.abc import Iterable
from enum import StrEnum

from domain.quantities import Bucket, LineQuantities
from domain.values import DerivedId, Id, Model, Text, UtcTime


class Stage(StrEnum):
    """How far an order or line is, derived, never stored as the truth."""

    RECEIVED = "received"
    PENDING_APPROVAL = "pending_approval"
    PROMISED = "promised"
    BACKORDERED = "backordered"
    RESERVED = "reserved"
    RELEASED = "released"
    PICKING = "picking"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


CLOSED_STAGES = frozenset({Stage.COMPLETED, Stage.CANCELLED, Stage.REJECTED})


class Hold(Model):
    """Why an order may not move on, who placed it, and until when."""

    hold_id: DerivedId
    type: Id
    owner: Text
    reason: Text = ""
    expires_at: UtcTime | None = None
    request_id: str | None = None
    """The request that placed it."""


class Choice(StrEnum):
    """What a person may answer to a step that cannot go on."""

    RETRY = "retry"
    SKIP = "skip"
    REROUTE = "reroute"
    RESHIP = "reship"
    CANCEL = "cancel"


class Attention(Model):
    """A step that waits for a person: its park id, what happened, and the answers it takes."""

    park_id: DerivedId
    step: Id
    reason: Text
    choices: tuple[Choice, ...]
    since: UtcTime


class Progress(Model):
    """What an order knows besides its quantities when its stage is derived."""

    awaits_approval: bool = False
    rejected: bool = False
    promised: bool = False


_STAGE_OF_BUCKET = {
    Bucket.BACKORDERED: Stage.BACKORDERED,
    Bucket.RESERVED: Stage.RESERVED,
    Bucket.RELEASED: Stage.RELEASED,
    Bucket.PICKED: Stage.PICKING,
    Bucket.SHIPPED: Stage.SHIPPED,
}


def _open_stage(progress: Progress) -> Stage:
    if progress.awaits_approval:
        return Stage.PENDING_APPROVAL
    return Stage.PROMISED if progress.promised else Stage.RECEIVED


def order_stage(lines: Iterable[LineQuantities], progress: Progress) -> Stage:
    """The least advanced stage with units in it; once nothing is open, how the order ended."""
    quantities = list(lines)
    if any(line.open for line in quantities):
        return _open_stage(progress)
    for bucket, stage in _STAGE_OF_BUCKET.items():
        if any(line.at(bucket) for line in quantities):
            return stage
    if progress.rejected:
        return Stage.REJECTED
    if any(line.delivered for line in quantities):
        return Stage.COMPLETED
    return Stage.CANCELLED


def line_stage(line: LineQuantities, progress: Progress) -> Stage:
    """The stage of one line; a fully delivered line is `delivered`."""
    stage = order_stage([line], progress)
    return Stage.DELIVERED if stage is Stage.COMPLETED else stage


def displayed(stage: Stage, holds: Iterable[Hold], attention: Attention | None) -> str:
    """What a list shows: attention, else hold, else the stage."""
    if attention is not None:
        return f"attention: {attention.step}"
    first_hold = next(iter(holds), None)
    if first_hold is not None:
        return f"hold: {first_hold.type}"
    return stage.value
