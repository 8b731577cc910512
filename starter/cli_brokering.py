"""Commands about brokering runs: what was moved, and why."""

from decimal import Decimal
from typing import Annotated, Any

import typer

from starter.cli_common import ActorOption, JsonOption, UrlOption, connect, say, show, table

brokering = typer.Typer(
    no_args_is_help=True, help="Runs that plan unreleased orders again, together."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(brokering, name="brokering")


@brokering.command("run")
def start_run(
    url: UrlOption = None, actor: ActorOption = None, as_json: JsonOption = False
) -> None:
    """Let a run start now, besides those that come by themselves."""
    with connect(url, actor) as api:
        answer = api.post("/v1/brokering-runs", {})
    show(answer, as_json, lambda _: say("started: `doms brokering list` shows what it did"))


@brokering.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest runs, newest first."""
    with connect(url) as api:
        answer = api.get("/v1/brokering-runs", limit=limit)
    show(answer, as_json, _print_runs)


def _print_runs(answer: dict[str, Any]) -> None:
    if not answer["runs"]:
        say("no runs yet")
    table(
        ("run", "started", "orders looked at", "moved", "saved", "seconds"),
        (
            (
                x["run_id"],
                x["started_at"],
                x["looked_at"],
                x["moved"],
                _amount(x["gain_micros"]),
                "under way" if x["seconds"] is None else f"{x['seconds']:.1f}",
            )
            for x in answer["runs"]
        ),
    )


@brokering.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which orders a run moved, and why."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.get(path_of("brokering-runs", run_id))
    show(answer, as_json, _print_run)


def _print_run(run: dict[str, Any]) -> None:
    say(
        f"{run['run_id']}: {run['looked_at']} looked at, {run['moved']} moved,"
        f" {_amount(run['gain_micros'])} saved"
    )
    table(
        ("order", "before", "after", "decision", "why"),
        (
            (
                x["order_id"],
                _amount(x["before_micros"]),
                _amount(x["after_micros"]),
                x["decision_id"],
                x["why"],
            )
            for x in run["moves"]
        ),
    )


def _amount(micros: int) -> str:
    return f"{Decimal(micros) / 1_000_000:.2f}"
