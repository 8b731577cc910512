"""What lies at a node of one SKU, and how much of it may be sold."""

from enum import StrEnum

from domain.values import Model


class Condition(StrEnum):
    """What state a unit is in; only usable units are sold."""

    USABLE = "usable"
    DAMAGED = "damaged"
    QUARANTINE = "quarantine"
    SUSPECT = "suspect"


class Position(Model):
    """Units of a SKU at a node: four conditions, then what is spoken for or kept back of usable."""

    node_id: str
    sku: str
    usable: int = 0
    damaged: int = 0
    quarantine: int = 0
    suspect: int = 0
    held: int = 0
    reserved: int = 0
    released: int = 0
    claimed: int = 0
    safety_stock: int = 0
    protected: int = 0

    @property
    def sellable(self) -> int:
        """What may still be sold (ATS); negative when a count found less than was given away."""
        return self.usable - self.spoken_for - self.safety_stock - self.protected

    @property
    def spoken_for(self) -> int:
        """Units that carts, orders and backorders already have."""
        return self.held + self.reserved + self.released + self.claimed
