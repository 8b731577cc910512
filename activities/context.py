"""What activities work with; built once per process by the composition root."""

from dataclasses import dataclass

from sqlalchemy.engine import Engine

from integrations.registry import Carriers, NodeSystems


@dataclass(frozen=True)
class Context:
    """The store and the outside systems."""

    engine: Engine
    node_systems: NodeSystems
    carriers: Carriers
    local_may_vote: bool = False
    """Whether the API takes votes without a key, from this machine alone."""
    api_url: str = ""
    """Where others reach doms's API, without a slash at the end: for what they fetch there."""
