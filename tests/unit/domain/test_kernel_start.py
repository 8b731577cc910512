"""The kernel in another process, and on a machine whose folders cannot be written to."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from domain.routing import compiled
from domain.routing.solve import decide
from tests.unit.domain.test_large_orders import case

_AGAIN = """
import sys
from domain.routing.decision import DecisionRequest, Snapshot
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide
asked, facts, rules = sys.stdin.read().splitlines()
print(decide(
    DecisionRequest.model_validate_json(asked),
    Snapshot.model_validate_json(facts),
    RoutingPolicy.model_validate_json(rules),
).model_dump_json())
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_another_process_decides_the_same_bytes(seed: int) -> None:
    request, facts, rules = case(seed)

    answer = subprocess.run(
        [sys.executable, "-c", _AGAIN],
        input="\n".join(x.model_dump_json() for x in (request, facts, rules)),
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.strip() == decide(request, facts, rules).model_dump_json()


def test_where_nothing_can_be_kept_on_disk_functions_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for: list[dict[str, Any]] = []

    def njit(**options: Any) -> Callable[..., Any]:
        asked_for.append(options)
        if options.get("cache"):
            raise RuntimeError("no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)

    def plain(value: int) -> int:
        return value

    assert compiled.compiled(plain) is plain
    assert asked_for == [{"cache": True, "nogil": True}, {"nogil": True}]
