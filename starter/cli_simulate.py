"""`doms simulate`: what another way of working would have given on real order history."""

from pathlib import Path
from typing import Annotated

import typer

from starter.cli_common import HomeOption, JsonOption, settings_of


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(simulate)


def simulate(
    safety_stock: Annotated[
        bool, typer.Option("--safety-stock", help="Stock against fill rate, pooled or not.")
    ] = False,
    orders: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of the Olist set instead."),
    ] = None,
    fill_rate: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Share of units served at once.")
    ] = 0.95,
    lead_days: Annotated[int, typer.Option(min=0, max=365, help="Until ordered units come.")] = 7,
    learn_days: Annotated[
        int, typer.Option(min=1, help="Days of sales that a day's stock level is set by.")
    ] = 56,
    products: Annotated[int, typer.Option(min=1, help="So many of the busiest products.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the bootstrap behind the interval.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the curves into this PNG.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Simulate on real order history: --safety-stock says what network-wide visibility saves."""
    if not safety_stock:
        raise typer.BadParameter("say what to simulate: --safety-stock")
    from starter.commands.simulate import Wanted, run_safety_stock

    wanted = Wanted(orders, fill_rate, lead_days, learn_days, products, seed, plot)
    return run_safety_stock(settings_of(home), wanted, as_json=as_json)
