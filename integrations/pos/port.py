"""The port to a store's point of sale."""

from typing import Protocol

from integrations.node_system import NodeSystem


class StoreSystem(NodeSystem, Protocol):
    """A store's people accept later, so a release is only received; it also serves pick-ups."""
