import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

WAIT_SECONDS = 20.0


def wait_for(is_true: Callable[[], object], what: str) -> None:
    """Return once the condition holds; fail with what was awaited."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:.0f} s: {what}"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether a process runs (a dead one that nobody waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def killed_at_end() -> Iterator[list[int]]:
    """Process groups that must not outlive the test."""
    groups: list[int] = []
    yield groups
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
