"""Commands about who is told what happens to orders, and what did not reach them."""

from datetime import datetime
from typing import Annotated, Any

import typer

from starter.cli_common import ActorOption, JsonOption, UrlOption, connect, say, show, table

events = typer.Typer(
    no_args_is_help=True, help="Order events: who is told, what arrived, what did not."
)
subscriptions = typer.Typer(no_args_is_help=True, help="Who is told what happens to orders.")
events.add_typer(subscriptions, name="subscriptions")

SubscriptionOption = Annotated[
    str | None, typer.Option("--subscription", help="Only of that subscription.")
]
SubscriptionArgument = Annotated[str, typer.Argument(metavar="SUBSCRIPTION-ID")]
SecretEnvOption = Annotated[
    str | None,
    typer.Option("--secret-env", help="Variable of the API that holds the secret; else kept."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(events, name="events")


@subscriptions.command("add")
def add(
    target: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where events are posted.")],
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="order.completed, package.* and so on; by default all."),
    ] = None,
    brand: Annotated[str | None, typer.Option("--brand", help="Only its orders.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="Only its orders.")] = None,
    secret_env: SecretEnvOption = None,
    url: UrlOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Tell an address what happens from now on. Its secret is shown once, and signs every event."""
    asked = {"url": target, "event_types": types or ["*"], "brand": brand, "channel": channel}
    body = {**asked, "secret_env": secret_env}
    with connect(url, actor) as api:
        answer = api.post("/v1/subscriptions", {k: v for k, v in body.items() if v is not None})
    show(answer, as_json, _told_of)
    return 0


@subscriptions.command("list")
def list_all(url: UrlOption = None, actor: ActorOption = None, as_json: JsonOption = False) -> int:
    """Who is told what."""
    with connect(url, actor) as api:
        answer = api.get("/v1/subscriptions")
    show(answer["subscriptions"], as_json, _listed)
    return 0


@subscriptions.command("remove")
def remove(
    subscription_id: SubscriptionArgument, url: UrlOption = None, actor: ActorOption = None
) -> int:
    """Tell it nothing any more."""
    with connect(url, actor) as api:
        api.delete(f"/v1/subscriptions/{subscription_id}")
    say(f"{subscription_id} is removed")
    return 0


@subscriptions.command("enable")
def enable(
    subscription_id: SubscriptionArgument, url: UrlOption = None, actor: ActorOption = None
) -> int:
    """Tell it again, after its receiver had answered 410."""
    with connect(url, actor) as api:
        api.post(f"/v1/subscriptions/{subscription_id}/enable", {})
    say(f"{subscription_id} is told what happens from now on")
    return 0


@subscriptions.command("new-secret")
def new_secret(
    subscription_id: SubscriptionArgument,
    secret_env: SecretEnvOption = None,
    keep_hours: Annotated[
        int, typer.Option("--keep-hours", help="How long the secret before signs as well.")
    ] = 24,
    url: UrlOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Sign with another secret, for a while with both."""
    body: dict[str, Any] = {"keep_hours": keep_hours}
    if secret_env is not None:
        body["secret_env"] = secret_env
    with connect(url, actor) as api:
        answer = api.post(f"/v1/subscriptions/{subscription_id}/secret", body)
    show(answer, as_json, _told_of)
    return 0


@events.command("types")
def types(url: UrlOption = None, actor: ActorOption = None, as_json: JsonOption = False) -> int:
    """Every type of event, and what it says."""
    with connect(url, actor) as api:
        answer = api.get("/v1/events/types")["types"]
    show(
        answer,
        as_json,
        lambda all_: table(("type", "says"), ((x["type"], x["says"]) for x in all_)),
    )
    return 0


@events.command("list")
def list_events(
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were given up.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those on their way.")] = False,
    subscription: SubscriptionOption = None,
    order: Annotated[str | None, typer.Option("--order", help="Only of that order.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 100,
    after: Annotated[int, typer.Option("--after", help="From after that delivery.")] = 0,
    url: UrlOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> int:
    """What was told, waits or was given up, oldest first."""
    if dead and waiting:
        raise typer.BadParameter("name --dead or --waiting, not both")
    status = "dead" if dead else "waiting" if waiting else None
    with connect(url, actor) as api:
        answer = api.get(
            "/v1/events/deliveries",
            status=status,
            subscription_id=subscription,
            order_id=order,
            limit=limit,
            after=after,
        )
    show(answer, as_json, _deliveries)
    return 0


@events.command("replay")
def replay(
    delivery_ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="Deliveries, by number.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that were given up.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option("--since", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="In UTC."),
    ] = None,
    subscription: SubscriptionOption = None,
    url: UrlOption = None,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Tell events again, under the ids they had: a receiver that counts by id counts once."""
    if bool(delivery_ids) == (dead or since is not None):
        raise typer.BadParameter("name deliveries, or --dead, or --since")
    body: dict[str, Any] = {"delivery_ids": delivery_ids or [], "dead": dead}
    if since is not None:
        body["since"] = f"{since.isoformat()}Z"
    if subscription is not None:
        body["subscription_id"] = subscription
    with connect(url, actor) as api:
        answer = api.post("/v1/events/replay", body)
    show(answer, as_json, lambda told: say(f"{told['replayed']} events are told again"))
    return 0


def _told_of(answer: Any) -> None:
    say(f"{answer['subscription_id']} is told {', '.join(answer['event_types'])}")
    if "secret" in answer:
        say(f"its secret, shown only now: {answer['secret']}")


def _listed(found: Any) -> None:
    if not found:
        say("nobody is told")
    columns = ("subscription", "address", "events", "brand", "channel", "state", "why")
    names = ("subscription_id", "url", "event_types", "brand", "channel", "state", "why")
    table(columns, ([x[name] for name in names] for x in found))


def _deliveries(answer: Any) -> None:
    found = answer["deliveries"]
    if not found:
        say("no such events")
    columns = ("delivery", "event", "order", "subscription", "status", "attempts", "made", "error")
    names = ("delivery_id", "event_type", "order_id", "subscription_id", "status", "attempts")
    table(columns, ([*(x[name] for name in names), x["created_at"], x["error"]] for x in found))
    if answer["next"] is not None:
        say(f"more: --after {answer['next']}")
