"""Commands about files and data: bulk submission, reports."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from starter.bulk.format_names import Format
from starter.cli_common import (
    JsonOption,
    UrlOption,
    connect,
    say,
    settings_of,
    show,
    table,
)
from starter.commands.promise import promise

_MICROS = "_micros"
REPORT_NAMES = ("by_node", "by_stage", "consistency", "drift", "summary")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(submit)
    app.command()(promise)
    app.command()(report)


def submit(
    file: Annotated[
        Path,
        typer.Argument(exists=True, help="A file of orders, or the folder of the Olist set."),
    ],
    form: Annotated[Format, typer.Option("--format", help="How to read it.")] = Format.AUTO,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many orders.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Orders a second, at most.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until all of them are closed.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Submit a file of orders. Stopped or refused ones: run it again; nothing is taken twice."""
    from starter.commands.submit import run_submit

    return run_submit(
        settings_of(), file, form, limit=limit, rate=rate, wait=wait, url=url, as_json=as_json
    )


def report(
    name: Annotated[
        str | None,
        typer.Argument(help=f"{', '.join(REPORT_NAMES)}; without it, all are named."),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print totals over all orders, or the check that every unit is accounted for."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.get("/v1/reports" if name is None else path_of("reports", name))
    show(answer, as_json, _print_report)


def _print_report(answer: dict[str, Any]) -> None:
    if "reports" in answer:
        for name in answer["reports"]:
            say(name)
        return
    figures = answer["figures"]
    if isinstance(figures, list):
        columns = list(figures[0]) if figures else []
        table(columns, ([row.get(name) for name in columns] for row in figures))
    else:
        table(("figure", "value"), _told(figures))


def _told(figures: dict[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Each figure on a row of its own, those of a group by `group.name`, money as an amount."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _told(value, f"{group}{name}.")
        elif name.endswith(_MICROS):
            yield (
                f"{group}{name.removesuffix(_MICROS)} (base currency)",
                Decimal(value).scaleb(-6).quantize(Decimal("0.01")),
            )
        else:
            yield f"{group}{name}", value
