"""The policies that a simulation compares: files, published versions, and simple rules by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from config.policy_files import load_policy
from domain.errors import FinalError
from domain.network import DistributionGroup
from domain.routing.policy import RoutingPolicy
from domain.routing_baselines import BASELINES
from store import policies
from store.engine import reading


class NamedPolicy(NamedTuple):
    """A policy under the name it is shown by; a baseline has only that name."""

    label: str
    policy: RoutingPolicy | None


def policies_of(
    names: Sequence[str], groups: Sequence[DistributionGroup], engine: Engine | None
) -> list[NamedPolicy]:
    """Those policies, each under a label of its own; `groups` are what files may source from.

    Raises FinalError for one that is not known; without an engine only files and rules are.
    """
    return _numbered([_policy(name, groups, engine) for name in names])


def _policy(named: str, groups: Sequence[DistributionGroup], engine: Engine | None) -> NamedPolicy:
    if named in BASELINES:
        return NamedPolicy(named, None)
    if _is_file(named):
        return _policy_file(Path(named), groups)
    if engine is None:
        known = ", ".join(BASELINES)
        raise FinalError(
            f"no policy '{named}': name a YAML file or one of {known}; published versions are in"
            " the database, which --sample and --network do without"
        )
    with reading(engine) as session:
        return NamedPolicy(named, policies.routing_policy(session, named))


def _policy_file(path: Path, groups: Sequence[DistributionGroup]) -> NamedPolicy:
    policy = load_policy(path, "routing").policy
    if not isinstance(policy, RoutingPolicy):
        raise FinalError(f"{path}: only routing policies can be simulated")
    own = tuple(x for x in groups if x.group_id in policy.group_names)
    return NamedPolicy(path.stem, policy.model_copy(update={"sourced_from": own}))


def _is_file(named: str) -> bool:
    """What looks like a path is a file, whether it is there or not."""
    path = Path(named)
    return path.is_file() or "/" in named or path.suffix in {".yaml", ".yml"}


def _numbered(named: Sequence[NamedPolicy]) -> list[NamedPolicy]:
    """Each under a name of its own, so that a policy may be compared with itself."""
    times: dict[str, int] = {}
    found: list[NamedPolicy] = []
    for label, policy in named:
        times[label] = times.get(label, 0) + 1
        again = times[label] > 1
        found.append(NamedPolicy(f"{label} ({times[label]})" if again else label, policy))
    return found
