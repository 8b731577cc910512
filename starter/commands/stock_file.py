"""`doms inventory import`: sends a file of stock counts piece by piece, with a progress bar."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from config.settings import Settings
from starter.bulk.journal import Journal
from starter.bulk.loaded import UnreadableInputError
from starter.bulk.stock_lines import StockLine, read_stock
from starter.cli_common import print_json, say
from starter.commands.client import Api, ApiError

ROWS_AT_ONCE = 20_000
TRIES = 5
PAUSE_SECONDS = 1.0
_REFUSALS_SHOWN = 50
_IGNORED_SHOWN = 10
_TRY_AGAIN = frozenset({0, 429, 502, 503, 504})
"""Statuses of an API that is away or busy; 0: it did not answer."""


@dataclass
class Imported:
    """What became of the file so far."""

    read: int = 0
    taken: int = 0
    known: int = 0
    """Rows that an earlier run had sent."""
    ignored_rows: int = 0
    """Rows too old to count: what was counted later stands."""
    ignored: list[tuple[int, str]] = field(default_factory=list)
    """(line, why) of the first of them."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """(line, why)."""
    seconds: float = 0.0


Shown = Callable[[Imported, int], None]
"""Told after each piece, with how many bytes of the file were read."""


def run_import(
    settings: Settings, api: Api, path: Path, counted_at: str | None, *, as_json: bool
) -> int:
    """Import, show the progress, report what was refused. Exit status 1 when a line was."""
    console = Console(stderr=True, highlight=False)
    with Journal(settings.home / "import", path, api.url) as journal, _bar(console) as bar:
        task = bar.add_task("importing", total=max(1, path.stat().st_size), rows=0)
        done = import_stock(
            api,
            path,
            counted_at,
            journal,
            lambda found, size: bar.update(task, completed=size, rows=found.read),
        )
        bar.update(task, completed=path.stat().st_size)
    # The whole file was sent: a next run is meant to send it again.
    journal.path.unlink(missing_ok=True)
    if as_json:
        print_json(_answer(done))
    else:
        _report(done, settings.home / "import" / f"{path.name}.refused.txt")
    return 1 if done.refused else 0


def import_stock(
    api: Api, path: Path, counted_at: str | None, journal: Journal, shown: Shown
) -> Imported:
    """Send every row that can be sent; counted when the file last changed unless told.

    A piece that the journal knows is not sent again. Raises UnreadableInputError when nothing can
    be sent, ApiError when the API cannot take it.
    """
    started = time.monotonic()
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    at = counted_at or changed.isoformat()
    done = Imported()
    for number, piece in enumerate(_pieces(read_stock(path))):
        done.read += len(piece)
        done.refused += [(line.number, line.error) for line in piece if line.row is None]
        good = [line for line in piece if line.row is not None]
        mark = f"{at}/{number}"
        if mark in journal.accepted:
            done.known += len(good)
        elif good:
            _send(api, good, at, done)
            journal.add(mark)
        shown(done, piece[-1].bytes_read)
    if not done.read:
        raise UnreadableInputError(f"{path}: there are no rows below the header")
    done.seconds = time.monotonic() - started
    return done


def _pieces(lines: Iterable[StockLine]) -> Iterator[list[StockLine]]:
    piece: list[StockLine] = []
    for line in lines:
        piece.append(line)
        if len(piece) == ROWS_AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece


def _send(api: Api, lines: Sequence[StockLine], counted_at: str, done: Imported) -> None:
    rows = [line.row for line in lines]
    body = {"counted_at": counted_at, "skip_unknown": True, "rows": rows}
    # Sent twice (the answer was lost, or the run was stopped before it was noted): taken once.
    digest = hashlib.sha256(repr((counted_at, rows)).encode()).hexdigest()[:32]
    answer = _put(api, {**body, "request_id": f"import-{digest}"})
    too_old = int(answer.get("ignored_rows", 0))
    done.taken += int(answer["rows"]) - too_old
    done.ignored_rows += too_old
    done.ignored += _by_line(lines, answer.get("ignored", ()))
    done.refused += _by_line(lines, answer.get("refused", ()))


def _by_line(
    lines: Sequence[StockLine], errors: Iterable[dict[str, Any]]
) -> Iterator[tuple[int, str]]:
    for error in errors:
        column = error["path"].rpartition(".")[2]
        yield lines[error["row"]].number, f"{column}: {error['message']}"


def _put(api: Api, body: dict[str, Any]) -> Any:
    for again in range(TRIES):
        try:
            return api.put("/v1/inventory/snapshots", body)
        except ApiError as error:
            if error.status not in _TRY_AGAIN or again == TRIES - 1:
                raise
        time.sleep(PAUSE_SECONDS * 2**again)
    raise AssertionError("the last try returns or raises")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
        console=console,
    )


def _answer(done: Imported) -> dict[str, Any]:
    return {
        "read": done.read,
        "taken": done.taken,
        "known_before": done.known,
        "ignored_rows": done.ignored_rows,
        "ignored": _listed(done.ignored),
        "refused": _listed(done.refused),
        "seconds": round(done.seconds, 1),
    }


def _listed(lines: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{"line": line, "message": message} for line, message in sorted(lines)]


def _report(done: Imported, listing: Path) -> None:
    known = f", {done.known} sent before" if done.known else ""
    old = f", {done.ignored_rows} ignored as too old" if done.ignored_rows else ""
    say(f"{done.taken} counts imported{known}{old}, {len(done.refused)} lines refused")
    for number, why in sorted(done.ignored)[:_IGNORED_SHOWN]:
        say(f"  line {number} ignored: {why}")
    if done.ignored_rows > _IGNORED_SHOWN:
        say(f"  ... {done.ignored_rows - _IGNORED_SHOWN} more ignored")
    lines = [f"line {line}: {message}" for line, message in sorted(done.refused)]
    for line in lines[:_REFUSALS_SHOWN]:
        say(f"  {line}")
    if len(lines) > _REFUSALS_SHOWN:
        listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(f"  ... all {len(lines)} in {listing}")
