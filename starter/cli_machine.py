"""Commands that run doms on this machine: up, demo, doctor, keys, and the single processes."""

from pathlib import Path
from typing import Annotated

import typer

from starter.cli_common import (
    HomeOption,
    JsonOption,
    UrlOption,
    print_json,
    say,
    settings_of,
    table,
)

key = typer.Typer(no_args_is_help=True, help="API keys.")
network = typer.Typer(no_args_is_help=True, help="Nodes, carrier services, connections, products.")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(up)
    app.command()(demo)
    app.command()(doctor)
    app.command()(worker)
    app.command()(api)
    app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(simulators)
    app.add_typer(key, name="key")
    app.add_typer(network, name="network")


def up(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Run everything on this machine until Ctrl-C; what it keeps is there again the next time."""
    from starter.commands.up import run_up

    run_up(settings_of(home), as_json=as_json)


def demo(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", help="Folder of the demo; by default demo/ in the home. WIPED first."
        ),
    ] = None,
    ends: Annotated[
        bool, typer.Option("--exit", help="Stop by itself once the sample orders are done.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Start everything in a fresh folder and show a day of sample orders, live."""
    from starter.demo import run_demo

    return run_demo(settings_of(), home=home, ends=ends, as_json=as_json)


def doctor(home: HomeOption = None, url: UrlOption = None, as_json: JsonOption = False) -> int:
    """Check what doms needs and what of it runs, and say what to do about the rest."""
    from starter.commands.doctor import examine

    findings = examine(settings_of(home), url)
    if as_json:
        print_json([finding.as_json() for finding in findings])
    else:
        table(
            ("", "what", "found"),
            (("ok" if x.is_well else "!!", x.name, x.text) for x in findings),
        )
        for finding in findings:
            if finding.advice:
                say(f"{finding.name}: {finding.advice}")
    return 0 if all(finding.is_well for finding in findings) else 1


def worker() -> None:
    """Run the worker process (workflows and activities), for production."""
    from worker.main import main

    main()


def api() -> None:
    """Run the HTTP API process, for production."""
    from starter.api.main import main

    main()


def simulators(context: typer.Context) -> int:
    """Run one stand-in for an outside system; options as `doms simulators --help` says."""
    from integrations.simulators.__main__ import main

    return main(list(context.args))


@network.command("import")
def import_network(
    file: Annotated[Path, typer.Argument(help="Network as YAML, like config/sample/network.yaml.")],
    products: Annotated[
        Path | None, typer.Option(help="Catalogue as YAML, like config/sample/products.yaml.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add or replace the nodes, services, connections and products that the files name."""
    from starter.commands.local_store import import_network

    nodes, known = import_network(settings_of(), file, products)
    if as_json:
        print_json({"nodes": nodes, "products": known})
    else:
        say(f"{nodes} nodes and {known} products imported")


@key.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="Whose keys to end.")], as_json: JsonOption = False
) -> int:
    """End every API key of that name, at once."""
    from starter.commands.local_store import revoke_api_key

    ended = revoke_api_key(settings_of(), name)
    if as_json:
        print_json({"name": name, "ended": ended})
    else:
        say(f"{ended} keys ended" if ended else f"there is no key named {name}")
    return 0 if ended else 1


@key.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who uses it.")],
    role: Annotated[
        list[str],
        typer.Option(help="intake, support, operations, analyst, node:ID, admin or an approver's."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Make an API key in this deployment's database; it is shown once."""
    from starter.commands.local_store import create_api_key

    made = create_api_key(settings_of(), name, role)
    if as_json:
        print_json({"name": name, "roles": role, "key": made})
    else:
        say(made)
