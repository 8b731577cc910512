"""Quantities are the truth of an order line: each unit is in exactly one place."""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from domain.errors import IllegalTransitionError
from domain.values import Count, Model


class Bucket(StrEnum):
    """Where a unit of an order line can be, least advanced first."""

    OPEN = "open"
    BACKORDERED = "backordered"
    RESERVED = "reserved"
    RELEASED = "released"
    PICKED = "picked"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


# A unit goes forward, may skip stages (later events imply earlier ones), comes back to OPEN when a
# plan, a node or a pick gives it up, and leaves by CANCELLED. What has shipped comes back only as
# lost.
_LEGAL: dict[Bucket, frozenset[Bucket]] = {
    Bucket.OPEN: frozenset({Bucket.RESERVED, Bucket.BACKORDERED, Bucket.CANCELLED}),
    Bucket.BACKORDERED: frozenset({Bucket.OPEN, Bucket.RESERVED, Bucket.CANCELLED}),
    Bucket.RESERVED: frozenset({Bucket.OPEN, Bucket.RELEASED, Bucket.CANCELLED}),
    Bucket.RELEASED: frozenset(
        {Bucket.OPEN, Bucket.PICKED, Bucket.SHIPPED, Bucket.DELIVERED, Bucket.CANCELLED}
    ),
    Bucket.PICKED: frozenset({Bucket.OPEN, Bucket.SHIPPED, Bucket.DELIVERED, Bucket.CANCELLED}),
    Bucket.SHIPPED: frozenset({Bucket.OPEN, Bucket.DELIVERED, Bucket.CANCELLED}),
    Bucket.DELIVERED: frozenset(),
    Bucket.CANCELLED: frozenset(),
}


class LineQuantities(Model):
    """How many base units of one line are where; `returned` are delivered units that came back."""

    ordered: Count
    open: Count = 0
    backordered: Count = 0
    reserved: Count = 0
    released: Count = 0
    picked: Count = 0
    shipped: Count = 0
    delivered: Count = 0
    cancelled: Count = 0
    returned: Count = 0

    @model_validator(mode="after")
    def _each_unit_is_in_one_place(self) -> Self:
        # Spelled out: this runs for each line of an order at each of its steps.
        placed = self.open + self.backordered + self.reserved + self.released
        placed += self.picked + self.shipped + self.delivered + self.cancelled
        if placed != self.ordered:
            raise ValueError(f"{placed} units are placed of {self.ordered} ordered")
        if self.returned > self.delivered:
            raise ValueError(f"{self.returned} units returned of {self.delivered} delivered")
        return self

    @classmethod
    def of_new_line(cls, quantity: int) -> Self:
        """All units open, as when the order arrives."""
        return cls(ordered=quantity, open=quantity)

    def at(self, bucket: Bucket) -> int:
        """How many units are there."""
        value: int = getattr(self, bucket.value)
        return value

    def move(self, source: Bucket, target: Bucket, quantity: int) -> Self:
        """The line with that many units moved.

        Raises IllegalTransitionError when units never move that way, or fewer are there.
        """
        if target not in _LEGAL[source]:
            raise IllegalTransitionError(f"units do not move from {source} to {target}")
        if not 0 <= quantity <= self.at(source):
            raise IllegalTransitionError(
                f"cannot move {quantity} units from {source}: {self.at(source)} are there"
            )
        return self.model_copy(
            update={
                source.value: self.at(source) - quantity,
                target.value: self.at(target) + quantity,
            }
        )

    @property
    def unfinished(self) -> int:
        """Units that are neither delivered nor cancelled."""
        return self.ordered - self.delivered - self.cancelled
