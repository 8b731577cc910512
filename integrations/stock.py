"""The port to a system that can be asked what stock lies at its nodes."""

from typing import Protocol, runtime_checkable

from domain.values import Id, Model


class StockReading(Model):
    """Units of a SKU at a node, by both meanings that a feed can have.

    `physical`: what lies there. `net`: what is left after the orders that the system has. Which of
    the two is believed, the node declares. None: the system does not tell that one. Below zero:
    more is promised than is there.
    """

    node_id: Id
    sku: str
    physical: int | None = None
    net: int | None = None


@runtime_checkable
class StockSource(Protocol):
    """One connection that tells its nodes' stock, all of it, whenever it is asked."""

    def stock(self) -> tuple[StockReading, ...]:
        """What lies at the connection's nodes now.

        Raises OutsideUnavailableError or RefusedError.
        """
        ...
