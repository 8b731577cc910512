"""Commands about what outside systems sent and doms could not use."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli_common import ActorOption, JsonOption, UrlOption, connect, print_json, say, table

if TYPE_CHECKING:
    from starter.commands.client import Api

inbox = typer.Typer(
    no_args_is_help=True, help="What outside systems sent and could not be used: see it, replay it."
)
ConnectionOption = Annotated[
    str | None, typer.Option("--connection", help="Only what that connection sent.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(inbox, name="inbox")


@inbox.command("list")
def list_kept(
    connection: ConnectionOption = None,
    url: UrlOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Webhooks and documents that are kept aside, oldest first, each with its reason."""
    with connect(url, actor) as api:
        kept = list(_kept(api, connection))
    if as_json:
        print_json(kept)
    elif not kept:
        say("nothing is kept aside")
    else:
        rows = (
            (x["message_id"], x["connection_id"] or "", x["received_at"], x["reason"] or "")
            for x in kept
        )
        table(("message", "connection", "received", "reason"), rows)
    return 0


@inbox.command("replay")
def replay(
    message_ids: Annotated[
        list[int] | None, typer.Argument(help="Messages to try again, by their numbers.")
    ] = None,
    connection: ConnectionOption = None,
    every: Annotated[bool, typer.Option("--all", help="Try all of them again.")] = False,
    url: UrlOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try again what was kept aside, once what it lacked is there: an order, a product, a node.

    What still cannot be used is kept aside again.
    """
    if bool(message_ids) == (every or connection is not None):
        raise typer.BadParameter("name messages, or a --connection, or --all")
    with connect(url, actor) as api:
        chosen = message_ids or [int(x["message_id"]) for x in _kept(api, connection)]
        for number in chosen:
            api.post(f"/v1/quarantine/{number}/release", {})
    if as_json:
        print_json({"replayed": chosen})
    else:
        say(f"{len(chosen)} messages are tried again")
    return 0


def _kept(api: "Api", connection: str | None) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = api.get("/v1/quarantine", limit=500, after=after)
        for message in page["messages"]:
            if connection is None or message["connection_id"] == connection:
                yield message
        if page["next"] is None:
            return
        after = page["next"]
