"""The port to a warehouse management system."""

from typing import Protocol

from integrations.node_system import NodeSystem


class WarehouseSystem(NodeSystem, Protocol):
    """A WMS acknowledges with its answer, packs, waits for labels, and hands over to a carrier."""
