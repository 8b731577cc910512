"""`doms simulate`: what another way of working would have given on real order history."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from starter.bulk.format_names import Format
from starter.cli_common import HomeOption, JsonOption, settings_of


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(simulate)


_ROUTING, _STOCK = "Routing under several policies", "Stock against fill rate"


def simulate(
    orders: Annotated[
        Path | None,
        typer.Option(exists=True, help="File of orders, as for `doms submit`, or Olist's folder."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY",
            help="Published version, YAML file, nearest or cheapest-unsplit; again for each.",
            rich_help_panel=_ROUTING,
        ),
    ] = None,
    history: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FROM TO",
            help="The database's own orders placed from the one date until before the other.",
            rich_help_panel=_ROUTING,
        ),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Of --orders.", rich_help_panel=_ROUTING)
    ] = Format.AUTO,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="So many orders at most.", rich_help_panel=_ROUTING),
    ] = None,
    stock: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Stock at the start, as for `doms inventory import`; else the database's.",
            rich_help_panel=_ROUTING,
        ),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample",
            help="The sample network, products and stock instead of the database's.",
            rich_help_panel=_ROUTING,
        ),
    ] = False,
    network: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Another network.", rich_help_panel=_ROUTING
        ),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Products, with --sample or --network.",
            rich_help_panel=_ROUTING,
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write each decision's nodes into this NDJSON file.",
            rich_help_panel=_ROUTING,
        ),
    ] = None,
    safety_stock: Annotated[
        bool,
        typer.Option(
            "--safety-stock",
            help="Stock against fill rate, pooled or not.",
            rich_help_panel=_STOCK,
        ),
    ] = False,
    fill_rate: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.999, help="Share of units served at once.", rich_help_panel=_STOCK
        ),
    ] = 0.95,
    lead_days: Annotated[
        int,
        typer.Option(min=0, max=365, help="Until ordered units come.", rich_help_panel=_STOCK),
    ] = 7,
    learn_days: Annotated[
        int,
        typer.Option(
            min=1, help="Days of sales that a day's stock level is set by.", rich_help_panel=_STOCK
        ),
    ] = 56,
    products: Annotated[
        int,
        typer.Option(min=1, help="So many of the busiest products.", rich_help_panel=_STOCK),
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the bootstrap behind the intervals.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the results into this PNG.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Simulate on real orders: how policies route them, or what network-wide visibility saves."""
    if safety_stock and policy:
        raise typer.BadParameter("--safety-stock or --policy, not both")
    settings = settings_of(home)
    if safety_stock:
        from starter.commands.simulate import Wanted, run_safety_stock

        wanted = Wanted(orders, fill_rate, lead_days, learn_days, products, seed, plot)
        return run_safety_stock(settings, wanted, as_json=as_json)
    if not policy:
        raise typer.BadParameter(
            "say what to simulate: --policy for each policy, or --safety-stock"
        )
    if (orders is None) == (history is None):
        raise typer.BadParameter("say which orders: --orders FILE, or --history FROM TO")
    from starter.simulation.asked import Asked
    from starter.simulation.run import Output, run_routing

    asked = Asked(
        policies=tuple(policy),
        orders=orders,
        form=form,
        limit=limit,
        history=None if history is None else _period(*history),
        is_sample=sample,
        network=network,
        catalogue=catalogue,
        stock=stock,
    )
    return run_routing(settings, asked, Output(plot, decisions, seed, as_json))


def _period(begin: str, end: str) -> tuple[datetime, datetime]:
    """The two times, in UTC unless they say otherwise. Raises BadParameter."""
    try:
        first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
    except ValueError as error:
        raise typer.BadParameter(f"--history: {error}; write 2026-11-01 or a whole time") from error
    moments = [x if x.tzinfo else x.replace(tzinfo=UTC) for x in (first, last)]
    if moments[0] >= moments[1]:
        raise typer.BadParameter("--history: FROM is not before TO")
    return moments[0], moments[1]
