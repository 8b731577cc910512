"""Keys and revisions that stay true after a reset, when a workflow takes its steps again.

There may be other messages between the steps then. A key that only counted would stand for
something else; one that says how many units the step has moved so far, by what it moved, is the
same only for the same step. A revision that only counted would be older than what is stored.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

LONGEST = 120
"""Characters of a key that stays readable; what an order of 1,000 lines needs is digested."""
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def step_key(owner: str, step: str, done: dict[str, int], units: Iterable[tuple[str, int]]) -> str:
    """The key of moving `units`; `done` holds what was moved before, by step, and is counted up.

    `units` names what moves (a line, a row of a reservation) and how many units of it.
    """
    moved: Counter[str] = Counter()
    for what, quantity in units:
        moved[what] += quantity
    parts = []
    for what, quantity in sorted(moved.items()):
        name = f"{step}/{what}"
        done[name] = done.get(name, 0) + quantity
        parts.append(f"{what}={done[name]}")
    text = ",".join(parts)
    if len(text) > LONGEST:
        text = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{owner}/{step}/{text}"


def entry_key(owner: str, number: int, text: str) -> str:
    """The key of a line of the story: another text under that number is another line."""
    return f"{owner}/{number}/{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def revision_after(known: int, now: datetime) -> int:
    """The next revision: at least the seconds since 2020, so that time puts it above older ones."""
    return max(known + 1, int((now - EPOCH).total_seconds()))
