"""`doms submit`: reads a file, sends its orders with a progress bar, reports what was refused."""

import asyncio
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config.settings import Settings
from starter.bulk.format_names import Format
from starter.bulk.formats import detect, load
from starter.bulk.journal import Journal
from starter.bulk.olist import OlistData, OlistReport
from starter.bulk.submit import Standing, Submission, Target, submit, wait_until_closed
from starter.cli_common import print_json, say
from starter.commands.client import api_url, headers_of
from starter.commands.preparation import prepare_olist

_REFUSALS_SHOWN = 50


def run_submit(
    settings: Settings,
    path: Path,
    form: Format,
    *,
    limit: int | None = None,
    rate: float | None = None,
    wait: bool = False,
    url: str | None = None,
    as_json: bool = False,
) -> int:
    """Submit, report, and wait if asked. Exit status 1 when an order was refused."""
    console = Console(stderr=True, highlight=False)
    started = time.monotonic()
    form = detect(path) if form is Format.AUTO else form
    target = Target(api_url(settings, url), headers_of(settings))
    orders = load(path, form, limit)
    if isinstance(orders, OlistData):
        made = prepare_olist(settings.database, orders)
        console.print(
            f"network from the data: {made['nodes']} sellers as nodes, {made['products']} products,"
            f" {made['units']} units in stock"
        )
    total = len(orders) if isinstance(orders, OlistData) else limit
    with Journal(settings.home / "submit", path, target.url) as journal, _bar(console) as bar:
        task = bar.add_task("submitting", total=total, note="")
        done = asyncio.run(
            submit(
                orders,
                target,
                journal,
                rate=rate,
                progress=lambda so_far: bar.update(task, completed=so_far.read),
            )
        )
        bar.update(task, total=done.read, completed=done.read)
    standing = _wait(done, target, console) if wait and done.order_ids else None
    answer = _answer(done, standing, time.monotonic() - started)
    if as_json:
        print_json(answer)
    else:
        _report(done, standing, settings.home, path)
    if isinstance(orders, OlistData):
        _report_guesses(orders.report, console)
    return 1 if done.refused else 0


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


def _wait(done: Submission, target: Target, console: Console) -> Standing | None:
    with _bar(console) as bar:
        task = bar.add_task("waiting", total=len(set(done.order_ids)), note="")

        def progress(standing: Standing) -> None:
            stages = ", ".join(f"{count} {stage}" for stage, count in _sorted(standing))
            person = standing.need_attention
            note = f"{stages}{f' ({person} need a person)' if person else ''}"
            bar.update(task, completed=standing.closed, note=note)

        try:
            return asyncio.run(wait_until_closed(done.order_ids, target, progress))
        except KeyboardInterrupt:
            console.print("no longer waiting; the orders go on")
            return None


def _sorted(standing: Standing) -> list[tuple[str, int]]:
    return sorted(standing.by_stage.items(), key=lambda item: (-item[1], item[0]))


def _answer(done: Submission, standing: Standing | None, seconds: float) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "read": done.read,
        "accepted": done.accepted,
        "known_before": done.known,
        "refused": len(done.refused),
        "refusals": [refusal.as_json() for refusal in done.refused],
        "seconds": round(seconds, 1),
    }
    if standing is not None:
        answer["by_stage"] = standing.by_stage
        answer["closed"] = standing.closed
    return answer


def _report(done: Submission, standing: Standing | None, home: Path, path: Path) -> None:
    say(f"{done.accepted} accepted, {done.known} known before, {len(done.refused)} refused")
    lines = [line for refusal in done.refused for line in refusal.lines()]
    for line in lines[:_REFUSALS_SHOWN]:
        say(f"  {line}")
    if len(lines) > _REFUSALS_SHOWN:
        report = home / "submit" / f"{path.name}.refused.txt"
        report.write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(f"  ... all {len(lines)} in {report}")
    if standing is not None:
        for stage, count in _sorted(standing):
            say(f"{stage:<18}{count}")


def _report_guesses(report: OlistReport, console: Console) -> None:
    if report.orders_never_shipped:
        console.print(f"left out, never shipped or without items: {report.orders_never_shipped}")
    for what, found in (
        ("seller", report.sellers_without_prefix),
        ("customer's postal prefix", report.customers_without_prefix),
    ):
        if found:
            console.print(
                f"placed at the nearest known prefix, {len(found)} {what}(s) without coordinates: "
                f"{', '.join(sorted(found)[:5])}{' ...' if len(found) > 5 else ''}"
            )
    if report.products_without_facts:
        console.print(f"products without weight and size: {len(report.products_without_facts)}")
