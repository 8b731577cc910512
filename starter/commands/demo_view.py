"""The demo in the terminal: how many orders are where, and what happened last."""

import shlex
import time
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from starter.commands.stack import Addresses

_EVENTS_SHOWN = 14
_ORDER = (
    "received",
    "pending_approval",
    "promised",
    "backordered",
    "reserved",
    "released",
    "picking",
    "shipped",
    "completed",
    "cancelled",
    "rejected",
)
_BAR_WIDTH = 40


class View:
    """On a terminal, inside a `with`, a live picture; otherwise one line for each event."""

    def __init__(self, total: int, started: float) -> None:
        """`total` orders will be submitted; `started` on the monotonic clock."""
        self._total = total
        self._started = started
        self._console = Console(stderr=True, highlight=False)
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._counts: Counter[str] = Counter()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        """Take the screen, if there is one."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the screen back, the last picture staying on it."""
        if self._console.is_terminal:
            self._live.stop()
            self._console.print(self._picture())

    def say(self, event: str) -> None:
        """Something happened that a watcher should know."""
        line = f"{self._seconds:5.1f} s  {event}"
        if self._live.is_started:
            self._events.append(line)
            self._live.update(self._picture())
        else:
            self._console.print(line, markup=False, soft_wrap=True)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def update(self, rows: Iterable[dict[str, Any]]) -> None:
        """The orders as the API lists them now."""
        self._counts = Counter(str(row["displayed"]) for row in rows)
        if self._console.is_terminal:
            self._live.update(self._picture())

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name in [*_ORDER, *sorted(set(self._counts) - set(_ORDER))]:
            count = self._counts.get(name, 0)
            width = round(_BAR_WIDTH * count / max(1, self._total))
            if count:
                table.add_row(Text(name), Text(str(count)), Text("█" * max(1, width)))
        known = sum(self._counts.values())
        heading = Text(f"{known} of {self._total} orders, {self._seconds:.0f} s", style="bold")
        return Group(heading, table, Text(""), *(Text(line) for line in self._events))


def print_summary(
    summary: dict[str, Any], addresses: Addresses, home: Path, *, stays: bool
) -> None:
    """What became of the sample orders, and where to look at them; `home` is the demo's folder."""
    console = Console(stderr=True, highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for status, count in sorted(summary["by_status"].items(), key=lambda item: -item[1]):
        table.add_row(Text(status), Text(str(count)))
    console.print(Text(f"{summary['orders']} orders in {summary['seconds']} s", style="bold"))
    console.print(table)
    console.print(
        f"units oversold: {summary['oversold_units']}, "
        f"shipped twice: {summary['duplicate_shipments']}"
    )
    if summary["unfinished"]:
        console.print(f"not finished in time: {', '.join(summary['unfinished'])}", markup=False)
    if summary["unexpected"]:
        console.print(f"not as planned: {', '.join(summary['unexpected'])}", markup=False)
    if stays:
        console.print(f"Temporal UI  {addresses.temporal_ui}")
        console.print(f"API docs     {addresses.api}/docs")
        console.print(f"an order     {addresses.api}/v1/orders/D-split-1")
        console.print(_what_waits(home), markup=False, soft_wrap=True)
        console.print("Ctrl-C stops everything.")


def _what_waits(home: Path) -> str:
    """The commands that answer what the sample orders leave to a person."""
    near = home.relative_to(Path.cwd()) if home.is_relative_to(Path.cwd()) else home
    return f"""
Some orders wait for you. In another terminal, in this folder:

  . .venv/bin/activate
  export DOMS_HOME={shlex.quote(str(near))}
  doms approvals list                               # who is waited for
  doms approve D-b2b-waiting-1 --level 1 --role manager --as Maria
  doms order show D-lost-parcel-2                   # a lost parcel: says how to answer
  doms order release-hold D-unpaid-1 --type payment # its money came
"""
