"""`doms`: the command line. Exit status 0 done, 1 failed, 2 wrong use; an error is one line."""

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from starter import (
    cli_brokering,
    cli_connections,
    cli_data,
    cli_events,
    cli_inbox,
    cli_inventory,
    cli_machine,
    cli_orders,
    cli_policies,
    cli_simulate,
)

DONE, FAILED, WRONG_USE = 0, 1, 2

app = typer.Typer(
    name="doms",
    help="Distributed order management on Temporal: promise, route, reserve, pick, ship, deliver.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli_machine.register(app)
cli_orders.register(app)
cli_data.register(app)
cli_inventory.register(app)
cli_policies.register(app)
cli_simulate.register(app)
cli_brokering.register(app)
cli_connections.register(app)
cli_inbox.register(app)
cli_events.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    try:
        result = app(args=arguments, standalone_mode=False)
    except TyperException as error:
        return _complain_of_use(error)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("stopped", FAILED)
    except BrokenPipeError:
        # The reader of our output left (`doms ... | head`): no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        # A person gets a line, never a traceback.
        return _complain(_line_of(error), FAILED)
    return result if isinstance(result, int) else DONE


def _complain_of_use(error: TyperException) -> int:
    status: int = getattr(error, "exit_code", WRONG_USE)
    format_message = getattr(error, "format_message", lambda: str(error))
    message = format_message()
    if not message:
        # A group without a command has printed its help.
        return status
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "doms"
    return _complain(f"{message} (see `{command} --help`)", status)


def _line_of(error: Exception) -> str:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from config.reading import describe, mistakes
    from domain.errors import DomsError
    from starter.commands.client import ApiError

    if isinstance(error, DomsError | ApiError):
        return str(error)
    if isinstance(error, ValidationError):
        if error.title == "Settings":
            found = (mistake.partition(": ") for mistake in mistakes(error))
            return "; ".join(f"DOMS_{name.upper()}: {message}" for name, _, message in found)
        return f"{error.title}: {describe(error)}"
    if isinstance(error, SettingsError | OSError):
        return str(error)
    if os.environ.get("DOMS_DEBUG"):
        raise error
    return f"failed: {type(error).__name__}: {error} (DOMS_DEBUG=1 shows where)"


def _complain(message: str, status: int) -> int:
    typer.echo(f"doms: {message}", err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
