"""Policy files: read, checked, and every mistake told with its line and column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from config.reading import ConfigError, read_text
from config.wording import own_path, plain_words
from config.yaml_places import Mistake, PlacedDocument, YamlError, dotted, read_placed
from domain.policy_warnings import Warned, process_warnings, routing_warnings
from domain.process_policy import ProcessPolicy
from domain.routing.policy import RoutingPolicy
from domain.values import Model

POLICY_MODELS: Mapping[str, type[RoutingPolicy] | type[ProcessPolicy]] = {
    "routing": RoutingPolicy,
    "process": ProcessPolicy,
}
_NOISE = frozenset({"too_short", "missing"})


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
        found = [*document.repeated, *_mistakes(error, document)]
        return CheckedPolicy(kind, errors=_sorted(found))
    if document.repeated:
        return CheckedPolicy(kind, errors=_sorted(document.repeated))
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
    return _sorted(
        Mistake(document.place_of(document.known(one.path)), dotted(one.path), one.message)
        for one in policy_warnings(policy)
    )


def _mistakes(error: ValidationError, document: PlacedDocument) -> list[Mistake]:
    """Pydantic's errors where they stand; those of one field that may be of several types as one.

    A list or object whose only item is bad is also reported as too short or missing; that is left
    out.
    """
    found = [_located(item, document) for item in error.errors()]
    deeper = {path[:length] for path, _, _ in found for length in range(len(path))}
    together: dict[tuple[str | int, ...], list[Mistake]] = {}
    for path, kind, mistake in found:
        if not (kind in _NOISE and path in deeper):
            together.setdefault(path, []).append(mistake)
    return [
        Mistake(of[0].place, of[0].path, " or ".join(dict.fromkeys(one.message for one in of)))
        for of in together.values()
    ]


def _located(
    item: Mapping[str, Any], document: PlacedDocument
) -> tuple[tuple[str | int, ...], str, Mistake]:
    """Path, pydantic's kind, and the mistake."""
    kind, loc = str(item["type"]), tuple(item["loc"])
    named, message = own_path(plain_words(item))
    known = document.known((*loc, *(int(x) if x.isdigit() else x for x in named)))
    path = (*known, loc[-1]) if kind == "missing" else known
    at_key = kind == "extra_forbidden" or loc[-1:] == ("[key]",)
    place = document.place_of(known, key=at_key)
    return path, kind, Mistake(place, dotted(path), message)


def _sorted(mistakes: Iterable[Mistake]) -> tuple[Mistake, ...]:
    return tuple(sorted(mistakes, key=lambda one: (one.place.line, one.place.column)))
