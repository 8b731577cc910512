"""Where every unit of an order is: the order's own part, and what its fulfillments report."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import IllegalTransitionError
from domain.events import FulfillmentProgress, LineProgress
from domain.fulfillments import CLOSED_FULFILLMENTS, FulfillmentOrder, FulfillmentStatus
from domain.plans import LineFacts, PlanLine
from domain.quantities import Bucket, LineQuantities


class _Mutable(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OwnUnits(_Mutable):
    """Units of a line that no fulfillment has.

    `cancel_wanted` are units to cancel once the supply granted to them is known.
    """

    sku: str
    ordered: int
    open: int = 0
    backordered: int = 0
    reserved: int = 0
    cancelled: int = 0
    cancel_wanted: int = 0


class Track(_Mutable):
    """The last known state of a fulfillment."""

    order: FulfillmentOrder
    revision: int = -1
    status: FulfillmentStatus = FulfillmentStatus.CREATED
    lines: dict[str, LineProgress] = Field(default_factory=dict)
    cancel_wanted: dict[str, int] = Field(default_factory=dict)
    """Line id -> units asked back for a cancel that are not answered yet."""
    cancels_answered: int = 0
    addresses_answered: int = 0
    carriers: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether more can still happen to it."""
        return self.status not in CLOSED_FULFILLMENTS


_OWN = {Bucket.OPEN, Bucket.BACKORDERED, Bucket.RESERVED, Bucket.CANCELLED}


class OrderBook(_Mutable):
    """The truth about an order's units. Every method keeps each unit in exactly one place."""

    lines: dict[str, OwnUnits] = Field(default_factory=dict)
    tracks: dict[str, Track] = Field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[LineFacts]) -> "OrderBook":
        """A new order: everything open."""
        book = cls()
        for line in lines:
            book.add_units(line.line_id, line.sku, line.quantity)
        return book

    def add_units(self, line_id: str, sku: str, quantity: int) -> None:
        """Order more of a line, or a new line."""
        own = self.lines.setdefault(line_id, OwnUnits(sku=sku, ordered=0))
        own.ordered += quantity
        own.open += quantity

    def move(self, line_id: str, source: Bucket, target: Bucket, quantity: int) -> None:
        """Move units the order itself holds. Raises IllegalTransitionError when it cannot."""
        own = self.lines[line_id]
        if not {source, target} <= _OWN or source is Bucket.CANCELLED:
            raise IllegalTransitionError(f"an order does not move units from {source} to {target}")
        there: int = getattr(own, source.value)
        if not 0 <= quantity <= there:
            raise IllegalTransitionError(
                f"cannot move {quantity} units of line {line_id} from {source}: {there} are there"
            )
        setattr(own, source.value, there - quantity)
        setattr(own, target.value, getattr(own, target.value) + quantity)

    def move_all(self, lines: Iterable[PlanLine], source: Bucket, target: Bucket) -> None:
        """Move the units of several plan lines."""
        for line in lines:
            self.move(line.line_id, source, target, line.quantity)

    def release(self, fulfillment: FulfillmentOrder) -> None:
        """Hand reserved units to a new fulfillment."""
        for line in fulfillment.lines:
            own = self.lines[line.line_id]
            if line.quantity > own.reserved:
                raise IllegalTransitionError(
                    f"cannot release {line.quantity} units of line {line.line_id}:"
                    f" {own.reserved} are reserved"
                )
            own.reserved -= line.quantity
        self.tracks[fulfillment.fulfillment_id] = Track(
            order=fulfillment, status=FulfillmentStatus.RELEASED
        )

    def apply(self, progress: FulfillmentProgress) -> dict[str, int]:
        """Take a fulfillment's report if it is newer.

        Returns line id -> units that came back open. Units wanted for a cancel are cancelled
        instead. What came back once stays: a fulfillment that was reset tells of it again.
        """
        track = self.tracks.get(progress.fulfillment_id)
        if track is None or progress.revision <= track.revision:
            return {}
        reopened: dict[str, int] = {}
        for told in progress.lines:
            known = track.lines.get(told.line_id, LineProgress(line_id=told.line_id))
            line = _never_less(known, told)
            own = self.lines[line.line_id]
            back = line.returned_to_order - known.returned_to_order
            gone = line.cancelled - known.cancelled
            wanted = track.cancel_wanted.get(line.line_id, 0)
            to_cancel = min(back, wanted)
            track.cancel_wanted[line.line_id] = max(0, wanted - to_cancel - gone)
            own.cancelled += to_cancel
            own.open += back - to_cancel
            if back - to_cancel:
                reopened[line.line_id] = back - to_cancel
            track.lines[line.line_id] = line
        track.revision = progress.revision
        track.status = progress.status
        track.carriers = progress.carriers
        return reopened

    def held_by(self, track: Track, line_id: str) -> int:
        """Units the fulfillment has not shipped and is not asked for: those one can ask back."""
        asked = sum(x.quantity for x in track.order.lines if x.line_id == line_id)
        known = track.lines.get(line_id, LineProgress(line_id=line_id))
        wanted = track.cancel_wanted.get(line_id, 0)
        return asked - known.returned_to_order - known.cancelled - known.shipped - wanted

    def quantities(self, line_id: str) -> LineQuantities:
        """Where the units of a line are."""
        return self._quantities(line_id, self._asked())

    def _asked(self) -> dict[str, dict[str, int]]:
        """Line id -> fulfillment id -> units it was asked for."""
        asked: dict[str, dict[str, int]] = {}
        for fulfillment_id, track in self.tracks.items():
            for line in track.order.lines:
                of_line = asked.setdefault(line.line_id, {})
                of_line[fulfillment_id] = of_line.get(fulfillment_id, 0) + line.quantity
        return asked

    def _quantities(self, line_id: str, asked_of: dict[str, dict[str, int]]) -> LineQuantities:
        own = self.lines[line_id]
        released = picked = shipped = delivered = cancelled = 0
        for fulfillment_id, asked in asked_of.get(line_id, {}).items():
            known = self.tracks[fulfillment_id].lines.get(line_id, LineProgress(line_id=line_id))
            at_hand = max(known.picked, known.shipped, known.delivered)
            on_way = max(known.shipped, known.delivered)
            released += asked - known.returned_to_order - known.cancelled - at_hand
            picked += at_hand - on_way
            shipped += on_way - known.delivered
            delivered += known.delivered
            cancelled += known.cancelled
        return LineQuantities(
            ordered=own.ordered,
            open=own.open,
            backordered=own.backordered,
            reserved=own.reserved,
            released=released,
            picked=picked,
            shipped=shipped,
            delivered=delivered,
            cancelled=own.cancelled + cancelled,
        )

    def all_quantities(self) -> dict[str, LineQuantities]:
        """Where the units of every line are."""
        asked = self._asked()
        return {line_id: self._quantities(line_id, asked) for line_id in self.lines}

    def units(self, bucket: Bucket) -> dict[str, int]:
        """Line id -> units the order itself holds there; lines with none are left out."""
        found = {line_id: getattr(own, bucket.value) for line_id, own in self.lines.items()}
        return {line_id: quantity for line_id, quantity in found.items() if quantity}

    @property
    def is_finished(self) -> bool:
        """Whether every unit is delivered or cancelled and no fulfillment is open."""
        if any(track.is_open for track in self.tracks.values()):
            return False
        return all(x.unfinished == 0 for x in self.all_quantities().values())


def _never_less(known: LineProgress, told: LineProgress) -> LineProgress:
    most = {
        "returned_to_order": max(known.returned_to_order, told.returned_to_order),
        "cancelled": max(known.cancelled, told.cancelled),
    }
    return told.model_copy(update=most)
