"""Commands about stock: what there is and why, counts, rules, exclusions, discrepancies."""

from pathlib import Path
from typing import Annotated, Any

import typer

from starter.cli_common import JsonOption, UrlOption, connect, moment, say, settings_of, show, table

inventory = typer.Typer(no_args_is_help=True, help="Stock.")

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node's id.")]
SkuOption = Annotated[str | None, typer.Option("--sku", help="Only for this product.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(inventory, name="inventory")


@inventory.command("show")
def show_inventory(
    sku: Annotated[str, typer.Argument(help="Which product.")],
    explain: Annotated[bool, typer.Option("--explain", help="Every part of each figure.")] = False,
    channel: Annotated[str | None, typer.Option(help="With what is kept for this channel.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Only nodes of this distribution group.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="What can be promised by then: a date or a time.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a product's units by node, and what can be promised."""
    from starter.commands.client import path_of
    from starter.commands.stock_view import print_stock

    asked = {"channel": channel, "group": group, "by": by, "explain": "true" if explain else None}
    with connect(url) as api:
        answer = api.get(path_of("inventory", sku), **asked)
    show(answer, as_json, print_stock)


@inventory.command("import")
def import_inventory(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="CSV or NDJSON with node_id, sku, quantity; also condition, counted_at.",
        ),
    ],
    counted_at: Annotated[
        str | None,
        typer.Option(help="When it was counted; the file's last change without it."),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Import a stock count: what lies at the nodes, whatever is promised of it.

    Lines that cannot be taken are reported, the others imported. Stopped: run it again.
    """
    from starter.commands.stock_file import run_import

    with connect(url) as api:
        return run_import(settings_of(), api, file, counted_at, as_json=as_json)


@inventory.command("rules")
def put_rules(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="YAML or JSON; without it: show them."),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put stock rules (safety stock, units kept for channels) in force, or show those that are."""
    from config.stock_rules import load_stock_rules
    from starter.commands.stock_view import print_rules

    if file is None:
        with connect(url) as api:
            show(api.get("/v1/inventory/rules"), as_json, print_rules)
        return
    rules = load_stock_rules(file)
    with connect(url) as api:
        answer = api.put("/v1/inventory/rules", rules.model_dump(mode="json"))
    show(answer, as_json, _print_put_rules)


def _print_put_rules(answer: dict[str, Any]) -> None:
    rest = "" if answer["evaluated"] else "; the rest follows"
    say(f"rules {answer['version']} are in force, {answer['positions']} positions evaluated{rest}")


@inventory.command("discrepancies")
def list_discrepancies(
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    sku: SkuOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List counts and till sales that did not agree, and what nodes owe right now."""
    from starter.commands.stock_view import print_discrepancies

    with connect(url) as api:
        answer = api.get("/v1/inventory/discrepancies", node_id=node, sku=sku)
    show(answer, as_json, print_discrepancies)


@inventory.command("exclude")
def exclude(
    node: NodeArgument,
    reason: Annotated[str, typer.Option(help="Why.")],
    sku: SkuOption = None,
    until: Annotated[
        str | None, typer.Option(help="Until when (ISO 8601); without it until `allow`.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Promise nothing more of a node, of one product or all. Orders keep what they have."""
    body = {"node_id": node, "sku": sku, "until": until, "reason": reason}
    with connect(url) as api:
        answer = api.put("/v1/inventory/exclusions", body)
    show(answer, as_json, _print_excluded)


def _print_excluded(answer: dict[str, Any]) -> None:
    of_what = f" of {answer['sku']}" if answer["sku"] else ""
    until = f" until {moment(answer['until'])}" if answer["until"] else ""
    say(f"{answer['node_id']} promises nothing{of_what}{until}")


@inventory.command("allow")
def allow(
    node: NodeArgument,
    sku: SkuOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an exclusion: the node's units can be promised again."""
    from starter.commands.client import path_of

    with connect(url) as api:
        api.delete(path_of("inventory", "exclusions", node), sku=sku)
    answer = {"node_id": node, "sku": sku}
    show(answer, as_json, lambda _: say(f"{node} promises{f' {sku}' if sku else ''} again"))


@inventory.command("exclusions")
def list_exclusions(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List the nodes, and products at nodes, of which nothing is promised now."""
    with connect(url) as api:
        answer = api.get("/v1/inventory/exclusions")
    show(answer, as_json, _print_exclusions)


def _print_exclusions(answer: dict[str, Any]) -> None:
    if not answer["exclusions"]:
        say("nothing is excluded")
    columns = ("node_id", "sku", "until", "reason")
    table(columns, ([row[name] for name in columns] for row in answer["exclusions"]))
