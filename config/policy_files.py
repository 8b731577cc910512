"""Policy files: read, checked, and every mistake told with its line and column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from config.placed_models import in_order, mistakes_in
from config.reading import ConfigError, read_text
from config.yaml_places import Mistake, PlacedDocument, YamlError, dotted, read_placed
from domain.policy_warnings import Warned, process_warnings, routing_warnings
from domain.process_policy import ProcessPolicy
from domain.routing.policy import RoutingPolicy
from domain.values import Model

POLICY_MODELS: Mapping[str, type[RoutingPolicy] | type[ProcessPolicy]] = {
    "routing": RoutingPolicy,
    "process": ProcessPolicy,
}


class PolicyFile(Model):
    """A policy with what it is for; a process policy is active for its own order types."""

    kind: Literal["routing", "process"]
    policy: RoutingPolicy | ProcessPolicy

    @property
    def document(self) -> dict[str, Any]:
        """The policy as plain JSON values, as it is published."""
        return self.policy.model_dump(mode="json")


@dataclass(frozen=True)
class CheckedPolicy:
    """What a check found; `policy` is None when there is an error. Both lists in file order."""

    kind: str
    policy: PolicyFile | None = None
    errors: Sequence[Mistake] = ()
    warnings: Sequence[Mistake] = ()

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "kind": self.kind,
            "name": self.policy.policy.name if self.policy else None,
            "ok": self.policy is not None,
            "errors": [one.as_json() for one in self.errors],
            "warnings": [one.as_json() for one in self.warnings],
        }


def policy_schema(kind: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a policy document. Raises ConfigError."""
    if kind not in POLICY_MODELS:
        raise ConfigError(f"a policy is 'routing' or 'process', not '{kind}'")
    schema = POLICY_MODELS[kind].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def check_policy(path: Path, kind: str | None = None) -> CheckedPolicy:
    """Check the policy in that file; its kind is told by its fields unless given.

    Raises ConfigError when the file cannot be read, or there is no such kind.
    """
    if kind is not None and kind not in POLICY_MODELS:
        raise ConfigError(f"{path}: a policy is 'routing' or 'process', not '{kind}'")
    try:
        document = read_placed(read_text(path))
    except YamlError as error:
        return CheckedPolicy(kind or "", errors=(error.mistake,))
    if not isinstance(document.content, dict):
        message = "a policy is a mapping that starts with `name:`"
        return CheckedPolicy(kind or "", errors=(Mistake(document.place_of(()), "", message),))
    return _checked(kind or _kind_of(document.content), document)


def load_policy(path: Path, kind: str | None = None) -> PolicyFile:
    """The policy in that file; its kind is told by its fields unless given.

    Raises ConfigError with every mistake's line, column and field.
    """
    checked = check_policy(path, kind)
    if checked.policy is None:
        raise ConfigError(f"{path}:{'; '.join(str(one) for one in checked.errors)}")
    return checked.policy


def _kind_of(document: dict[str, Any]) -> str:
    process_only = set(ProcessPolicy.model_fields) - set(RoutingPolicy.model_fields)
    return "process" if process_only & set(document) else "routing"


def _checked(kind: str, document: PlacedDocument) -> CheckedPolicy:
    try:
        policy = POLICY_MODELS[kind].model_validate(document.content)
    except ValidationError as error:
        return CheckedPolicy(kind, errors=mistakes_in(document, error))
    if document.mistakes:
        return CheckedPolicy(kind, errors=in_order(document.mistakes))
    file = PolicyFile.model_validate({"kind": kind, "policy": policy})
    return CheckedPolicy(kind, policy=file, warnings=_warnings(policy, document))


def policy_warnings(policy: RoutingPolicy | ProcessPolicy) -> tuple[Warned, ...]:
    """What can never apply in that policy, or contradicts."""
    if isinstance(policy, RoutingPolicy):
        return routing_warnings(policy)
    return process_warnings(policy)


def _warnings(
    policy: RoutingPolicy | ProcessPolicy, document: PlacedDocument
) -> tuple[Mistake, ...]:
    return in_order(
        Mistake(document.place_of(document.known(one.path)), dotted(one.path), one.message)
        for one in policy_warnings(policy)
    )
