"""Commands about connections to outside systems."""

from typing import Annotated

import typer

from starter.cli_common import HomeOption, JsonOption, print_json, say, settings_of, table

connections = typer.Typer(no_args_is_help=True, help="Connections to outside systems.")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(connections, name="connections")


@connections.callback()
def about() -> None:
    """Connections to outside systems."""


@connections.command("check")
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Connections to try; none: all of them.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try each connection with a harmless call, and say in a line what is wrong."""
    from starter.commands.connections import check_connections

    found = check_connections(settings_of(home), names or ())
    if as_json:
        print_json(
            [
                {
                    "connection": x.connection_id,
                    "vendor": x.vendor,
                    "ok": x.is_well,
                    "found": x.text,
                }
                for x in found
            ]
        )
    elif not found:
        say("the network has no connections to outside systems")
    else:
        rows = (("ok" if x.is_well else "!!", x.connection_id, x.vendor, x.text) for x in found)
        table(("", "connection", "vendor", "found"), rows)
    return 0 if all(x.is_well for x in found) else 1
