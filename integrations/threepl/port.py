"""The port to a third-party warehouse or a supplier that ships itself."""

from typing import Protocol

from domain.events import CarrierEvent
from integrations.node_system import NodeSystem


class ThirdPartyWarehouse(NodeSystem, Protocol):
    """It buys its own labels, may ship in several packages, and reports their tracking itself."""

    def track(self, tracking_number: str) -> tuple[CarrierEvent, ...]:
        """A package's events so far, oldest first. Raises UnknownReferenceError."""
        ...
