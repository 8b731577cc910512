"""Inventory arithmetic: what of a node's stock of one SKU may be sold, and what a count changes."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from domain.errors import IllegalTransitionError
from domain.values import Count, Id, Model, UtcTime


class Condition(StrEnum):
    """In what state units lie at a node; only usable ones can be sold."""

    USABLE = "usable"
    DAMAGED = "damaged"
    QUARANTINE = "quarantine"
    SUSPECT = "suspect"


class Demand(StrEnum):
    """How firmly usable units are spoken for."""

    HELD = "held"
    RESERVED = "reserved"
    RELEASED = "released"
    CLAIMED = "claimed"


class Position(Model):
    """Units of one SKU at one node.

    The four conditions are what lies there. `held` (carts), `reserved`, `released` and `claimed`
    (backorders) are parts of `usable`; `safety_stock` and `protected` are kept back from sale.
    """

    node_id: Id
    sku: Id
    usable: Count = 0
    damaged: Count = 0
    quarantine: Count = 0
    suspect: Count = 0
    held: Count = 0
    reserved: Count = 0
    released: Count = 0
    claimed: Count = 0
    safety_stock: Count = 0
    protected: Count = 0

    @property
    def spoken_for(self) -> int:
        """Units that carts, orders and backorders already have."""
        return self.held + self.reserved + self.released + self.claimed

    @property
    def physical(self) -> int:
        """All units that lie there, in any condition."""
        return self.usable + self.damaged + self.quarantine + self.suspect

    @property
    def oversold(self) -> int:
        """Units promised that are not there; 0 unless a count found less than was promised."""
        return max(0, self.spoken_for - self.usable)

    def at(self, place: Condition | Demand) -> int:
        """Units in that condition, or spoken for in that way."""
        units: int = getattr(self, place.value)
        return units

    def take(self, demand: Demand, quantity: int) -> "Position":
        """The position with sellable units spoken for.

        Raises IllegalTransitionError when fewer are sellable: stock is never oversold.
        """
        if not 0 <= quantity <= max(0, sellable(self)):
            raise IllegalTransitionError(
                f"cannot take {quantity} units of {self.sku} at {self.node_id}:"
                f" {sellable(self)} are sellable"
            )
        return self._with({demand.value: self.at(demand) + quantity})

    def shift(self, source: Demand, target: Demand, quantity: int) -> "Position":
        """The position with units spoken for in another way (reserved -> released)."""
        self._refuse_more_than(source, quantity)
        left = self._with({source.value: self.at(source) - quantity})
        return left._with({target.value: left.at(target) + quantity})

    def free(self, demand: Demand, quantity: int) -> "Position":
        """The position with units no longer spoken for."""
        self._refuse_more_than(demand, quantity)
        return self._with({demand.value: self.at(demand) - quantity})

    def consume(self, quantity: int) -> "Position":
        """The position after released units left the node: off demand and off stock."""
        self._refuse_more_than(Demand.RELEASED, quantity)
        self._refuse_more_than(Condition.USABLE, quantity)
        return self._with({"released": self.released - quantity, "usable": self.usable - quantity})

    def set_aside(self, condition: Condition, quantity: int) -> "Position":
        """The position with usable units found to be in another condition."""
        self._refuse_more_than(Condition.USABLE, quantity)
        left = self._with({"usable": self.usable - quantity})
        return left._with({condition.value: left.at(condition) + quantity})

    def _refuse_more_than(self, place: Condition | Demand, quantity: int) -> None:
        if not 0 <= quantity <= self.at(place):
            raise IllegalTransitionError(
                f"cannot move {quantity} {place} units of {self.sku} at {self.node_id}:"
                f" {self.at(place)} are there"
            )

    def _with(self, changes: dict[str, int]) -> "Position":
        return self.model_copy(update=changes)


def sellable(position: Position) -> int:
    """ATS = usable - held - reserved - released - claimed - safety stock - protected.

    Negative when a count found less than was already given away.
    """
    return position.usable - position.spoken_for - position.safety_stock - position.protected


class Move(Model):
    """Units that came (+) or left (-) in one condition, as the ledger has them."""

    at: UtcTime
    delta: int


def snapshot_effect(
    physical: int, counted: int, counted_at: datetime, moves: Iterable[Move]
) -> int:
    """How much a count as of `counted_at` changes today's physical stock.

    New physical = counted at T + the ledger's moves after T, never below 0; a move at T itself
    was counted. Demand is not touched: a count never erases reservations.
    """
    since = sum(move.delta for move in moves if move.at > counted_at)
    return max(0, counted + since) - physical
