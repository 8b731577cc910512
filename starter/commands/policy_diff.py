"""Compares two policies, each a published version or a file."""

from pathlib import Path
from typing import Any

from config.policy_files import load_policy
from domain.errors import FinalError
from starter.cli_common import connect
from starter.commands.client import path_of
from starter.differences import differences, whole_policy


class PolicyKindsError(FinalError):
    """The two policies decide different things."""


def compare(first: str, second: str, url: str | None) -> dict[str, Any]:
    """What differs from the first to the second, field by field, as the API answers it.

    Two versions are compared by the API, a file here. Raises ConfigError, ApiError, and
    PolicyKindsError for a routing and a process policy.
    """
    if not _is_file(first) and not _is_file(second):
        with connect(url) as api:
            answer: dict[str, Any] = api.get(f"{path_of('policies', first)}/diff/{second}")
        return answer
    kind, before = _policy(first, url)
    other_kind, after = _policy(second, url)
    if kind != other_kind:
        raise PolicyKindsError(f"'{first}' is a {kind} policy, '{second}' a {other_kind} policy")
    changes = differences(whole_policy(kind, before), whole_policy(kind, after))
    return {
        "from": first,
        "to": second,
        "kind": kind,
        "changes": [change.as_json() for change in changes],
    }


def _is_file(named: str) -> bool:
    """What looks like a path is a file, whether it is there or not."""
    path = Path(named)
    return path.is_file() or "/" in named or path.suffix in {".yaml", ".yml"}


def _policy(named: str, url: str | None) -> tuple[str, dict[str, Any]]:
    """(kind, document)."""
    if _is_file(named):
        loaded = load_policy(Path(named))
        return loaded.kind, loaded.document
    with connect(url) as api:
        found = api.get(path_of("policies", named))
    return found["kind"], found["document"]
