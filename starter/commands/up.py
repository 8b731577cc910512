"""`doms up`: everything on this machine until someone asks to stop."""

from config.samples import Sample
from config.settings import Settings
from starter.cli_common import print_json, say
from starter.commands.stack import Addresses, Stack
from starter.supervisor import Supervisor


def run_up(settings: Settings, *, as_json: bool = False, sample: Sample | None = None) -> None:
    """Start everything, say where it is, and keep it running until Ctrl-C or SIGTERM."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    def log(line: str) -> None:
        console.print(line, markup=False)

    with Supervisor(settings.home.absolute(), log) as supervisor:
        supervisor.on_signals()
        stack = Stack(settings, supervisor, log, sample)
        try:
            stack.start()
            announce(stack.addresses, settings, as_json=as_json)
            supervisor.watch()
        except KeyboardInterrupt:
            pass
        log("stopping")
    log("stopped; `doms up` goes on from here")


def announce(addresses: Addresses, settings: Settings, *, as_json: bool = False) -> None:
    """Say where everything is."""
    if as_json:
        print_json(addresses.as_json())
        return
    found = {
        "API": f"{addresses.api}   (docs: {addresses.api}/docs)",
        "Temporal UI": addresses.temporal_ui,
        "Temporal": addresses.temporal,
        **{f"simulator {name}": url for name, url in addresses.simulators.items()},
        "state and logs": str(settings.home.absolute()),
    }
    for name, where in found.items():
        say(f"{name:<18} {where}")
    say("Ctrl-C stops everything; orders go on at the next `doms up`.")
