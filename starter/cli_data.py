"""Commands about files and data: bulk submission, stock, policies, decisions, reports."""

from pathlib import Path
from typing import Annotated, Any

import typer

from starter.bulk.format_names import Format
from starter.cli_common import (
    JsonOption,
    UrlOption,
    connect,
    print_json,
    say,
    settings_of,
    show,
    table,
)

inventory = typer.Typer(no_args_is_help=True, help="Stock.")
policy = typer.Typer(no_args_is_help=True, help="Routing and process policies.")
decision = typer.Typer(no_args_is_help=True, help="Recorded decisions.")

PolicyFileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="YAML of the policy.")
]
KindOption = Annotated[
    str | None, typer.Option(help="routing or process; told by the fields without it.")
]
DecisionId = Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(submit)
    app.add_typer(inventory, name="inventory")
    app.add_typer(policy, name="policy")
    app.add_typer(decision, name="decision")
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


@inventory.command("show")
def show_inventory(
    sku: Annotated[str, typer.Argument(help="Which product.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a product's units by node."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.get(path_of("inventory", sku))
    show(answer, as_json, _print_inventory)


_SHOWN = ("available", "usable", "reserved", "released", "held", "claimed", "suspect", "damaged")


def _print_inventory(answer: dict[str, Any]) -> None:
    rows = [*answer["nodes"], {**answer["total"], "node_id": "all"}]
    table(
        ("node", *_SHOWN),
        ((row["node_id"], *(row.get(name, 0) for name in _SHOWN)) for row in rows),
    )


@inventory.command("import")
def import_inventory(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="CSV with node_id, sku, quantity and, if need be, condition.",
        ),
    ],
    counted_at: Annotated[
        str | None,
        typer.Option(help="When it was counted; the file's last change without it."),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a stock count: what lies at the nodes, whatever is promised of it."""
    from starter.commands.stock_file import read_stock_file

    body = read_stock_file(file, counted_at)
    with connect(url) as api:
        answer = api.put("/v1/inventory/snapshots", body)
    show(answer, as_json, lambda found: say(f"{found['rows']} counts imported"))


@policy.command("check")
def check_policy(
    file: PolicyFileArgument, kind: KindOption = None, as_json: JsonOption = False
) -> None:
    """Check a policy file; nothing is sent."""
    from config.samples import load_policy

    loaded = load_policy(file, kind)
    answer = {"kind": loaded.kind, "name": loaded.policy.name, "ok": True}
    show(answer, as_json, lambda _: say(f"{file}: a valid {loaded.kind} policy"))


@policy.command("publish")
def publish_policy(
    file: PolicyFileArgument,
    kind: KindOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a policy: keep it under a version that never changes. It is not active yet."""
    from config.samples import load_policy

    loaded = load_policy(file, kind)
    with connect(url) as api:
        answer = api.post("/v1/policies", {"kind": loaded.kind, "document": loaded.document})
    show(answer, as_json, lambda found: say(found["version"]))


@policy.command("activate")
def activate_policy(
    version: Annotated[str, typer.Argument(help="As `policy publish` printed it.")],
    brand: Annotated[str | None, typer.Option(help="Only for this brand.")] = None,
    region: Annotated[str | None, typer.Option(help="Only for this region.")] = None,
    order_type: Annotated[str | None, typer.Option(help="Only for b2c or b2b.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only for this channel.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let new orders of a scope take a version."""
    from starter.commands.client import path_of

    scope = {"brand": brand, "region": region, "order_type": order_type, "channel": channel}
    with connect(url) as api:
        answer = api.post(
            f"{path_of('policies', version)}/activate",
            {name: value for name, value in scope.items() if value is not None},
        )
    show(answer, as_json, lambda _: say(f"{version} is active"))


@policy.command("list")
def list_policies(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List every published policy and where it is active."""
    with connect(url) as api:
        answer = api.get("/v1/policies")
    show(answer, as_json, _print_policies)


def _print_policies(answer: dict[str, Any]) -> None:
    rows = answer["policies"]
    columns = list(rows[0]) if rows else []
    table(columns, ([row[name] for name in columns] for row in rows))
    if not rows:
        say("no policy is published")


@decision.command("show")
def show_decision(decision_id: DecisionId, url: UrlOption = None) -> None:
    """Print a decision's whole record as JSON: request, snapshot, policy, decision."""
    print_json(_decision(decision_id, "", url))


@decision.command("explain")
def explain_decision(
    decision_id: DecisionId, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Say in words why these nodes were chosen."""
    answer = _decision(decision_id, "/explain", url)
    show(answer, as_json, lambda found: say(found["explanation"]))


@decision.command("replay")
def replay_decision(
    decision_id: DecisionId, url: UrlOption = None, as_json: JsonOption = False
) -> int:
    """Decide again from the record. Fails when the plan comes out differently."""
    answer = _decision(decision_id, "/replay", url)

    def human(found: dict[str, Any]) -> None:
        same = "the same bytes" if found["same_bytes"] else "not the same bytes"
        plan = "the same plan" if found["same_plan"] else "ANOTHER PLAN"
        say(f"{same}, {plan} (kernel {found['recorded_kernel']} then, {found['kernel']} now)")

    show(answer, as_json, human)
    return 0 if answer["same_plan"] else 1


def _decision(decision_id: str, part: str, url: str | None) -> dict[str, Any]:
    from starter.commands.client import path_of

    with connect(url) as api:
        answer: dict[str, Any] = api.get(f"{path_of('decisions', decision_id)}{part}")
    return answer


def report(
    name: Annotated[str | None, typer.Argument(help="Which; without it, all are named.")] = None,
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
        table(("figure", "value"), figures.items())
