"""What the commands share: their options, the way to the API, and how answers are printed."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from config.settings import Settings
    from starter.commands.client import Api

UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Where the API is; by default where `doms up` put it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
ActorOption = Annotated[
    str | None,
    typer.Option("--as", help="Under which name you act, on a local API without keys."),
]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder that keeps everything; by default .doms (DOMS_HOME)."),
]


_WIDEST = 100_000


def settings_of(home: Path | None = None) -> "Settings":
    """Settings from the environment, in another home when asked."""
    from config.settings import Settings

    return Settings() if home is None else Settings(home=home)


def connect(url: str | None, actor: str | None = None) -> "Api":
    """The API to call; use it in a `with`."""
    from starter.commands.client import Api, api_url, headers_of

    settings = settings_of()
    return Api(api_url(settings, url), headers_of(settings, actor))


def show(answer: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    """Print the answer as one JSON document, or as the function prints it for people."""
    if as_json:
        print_json(answer)
    else:
        human(answer)


def print_json(answer: Any) -> None:
    """One JSON document on one line, whatever the terminal."""
    sys.stdout.write(json.dumps(answer, default=str, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    """A line for a person; text in brackets is printed as it is."""
    typer.echo(line)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table for a person; when there are no rows, nothing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        # The first column is an id, to be copied whole.
        shown.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in rows:
        shown.add_row(*(Text(_cell(value)) for value in row))
    if not shown.row_count:
        return
    if sys.stdout.isatty():
        Console().print(shown)
    else:
        # A program or a file gets each row on one line, whatever its length.
        Console(width=_WIDEST).print(shown, soft_wrap=True)


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+]00:00)")


def moment(value: Any) -> str:
    """A time as people read it: whole seconds, UTC; anything else as it is."""
    found = _TIME.fullmatch(str(value))
    return f"{found[1]}Z" if found else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return moment(value)


def read_document(path: Path) -> Any:
    """The JSON document in that file, or on standard input for `-`. Raises BadParameter."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise typer.BadParameter(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: cannot be read: {error}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{path}: no JSON: {error}") from error
