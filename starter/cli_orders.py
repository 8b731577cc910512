"""Commands about single orders: look, change, approve."""

from pathlib import Path
from typing import Annotated, Any

import typer

from starter.cli_common import (
    ActorOption,
    JsonOption,
    UrlOption,
    connect,
    read_document,
    say,
    show,
    table,
)

order = typer.Typer(no_args_is_help=True, help="Look at an order, or change it.")
approvals = typer.Typer(no_args_is_help=True, help="What waits for an approver.")

OrderId = Annotated[str, typer.Argument(metavar="ID", help="The order's id.")]
RequestOption = Annotated[
    str | None,
    typer.Option("--request-id", help="Makes a repeat of this command change nothing."),
]
RoleOption = Annotated[str | None, typer.Option(help="In which role, on a local API without keys.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(order, name="order")
    app.add_typer(approvals, name="approvals")
    app.command()(approve)
    app.command()(reject)


@order.command("show")
def show_order(
    order_id: OrderId,
    show_all: Annotated[
        bool, typer.Option("--all", help="Every line, however many; the first few without it.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where every unit of an order is, what it waits for, and its story so far."""
    from starter.commands.order_view import print_order

    with connect(url) as api:
        page = api.get(_order_path(order_id))
    show(page, as_json, lambda found: print_order(found, show_all=show_all))


@order.command()
def cancel(
    order_id: OrderId,
    line: Annotated[
        list[str] | None,
        typer.Option(metavar="LINE=QUANTITY", help="Only these units; all without it."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask to cancel an order, or units of it. Units a node has shipped stay shipped."""
    body: dict[str, Any] = {"reason": reason}
    if line:
        body["lines"] = [_units(text) for text in line]
    _ask(order_id, "cancel", body, request_id, actor, url, as_json)


def _units(text: str) -> dict[str, Any]:
    line_id, _, quantity = text.partition("=")
    if not line_id or not quantity.isdigit():
        raise typer.BadParameter(f"'{text}': write it as LINE=QUANTITY, such as 1=2")
    return {"line_id": line_id, "quantity": int(quantity)}


@order.command()
def hold(
    order_id: OrderId,
    kind: Annotated[str, typer.Option("--type", help="Sort of hold.")] = "support",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    expires: Annotated[
        str | None, typer.Option(help="When it ends by itself, such as 2026-05-01T12:00:00Z.")
    ] = None,
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep an order from moving on."""
    body = {"type": kind, "reason": reason, "expires_at": expires}
    _ask(order_id, "hold", body, request_id, actor, url, as_json)


@order.command("release-hold")
def release_hold(
    order_id: OrderId,
    kind: Annotated[str, typer.Option("--type", help="Sort of hold.")] = "support",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift an order's holds of a type."""
    _ask(order_id, "release-hold", {"type": kind}, request_id, actor, url, as_json)


@order.command()
def resume(
    order_id: OrderId,
    park_id: Annotated[str, typer.Argument(help="Which step, as `order show` says.")],
    choice: Annotated[str, typer.Argument(help="retry, skip, reroute, reship or cancel.")],
    correction: Annotated[str, typer.Option(help="What the step should take instead.")] = "",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a step that waits for a person."""
    body = {"park_id": park_id, "choice": choice, "correction": correction}
    _ask(order_id, "resume", body, request_id, actor, url, as_json)


@order.command("change-address")
def change_address(
    order_id: OrderId,
    file: Annotated[Path, typer.Argument(help="JSON of the new address; - reads it from input.")],
    ship_group: Annotated[
        str | None, typer.Option(help="Which ship group, when several are shipped.")
    ] = None,
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask to send an order elsewhere."""
    body = {"address": read_document(file), "ship_group": ship_group}
    _ask(order_id, "address", body, request_id, actor, url, as_json)


NodeOption = Annotated[str, typer.Option("--node", help="Which node.")]
ReasonOption = Annotated[str, typer.Option(help="Why.")]


@order.command("force-node")
def force_node(
    order_id: OrderId,
    node: NodeOption,
    reason: ReasonOption = "",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let only this node (and others forced) serve what is not released yet."""
    body = {"force": node, "reason": reason}
    _ask(order_id, "nodes", body, request_id, actor, url, as_json)


@order.command("forbid-node")
def forbid_node(
    order_id: OrderId,
    node: NodeOption,
    reason: ReasonOption = "",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let this node serve nothing that is not released yet."""
    body = {"forbid": node, "reason": reason}
    _ask(order_id, "nodes", body, request_id, actor, url, as_json)


@order.command("prefer-node")
def prefer_node(
    order_id: OrderId,
    node: NodeOption,
    reason: ReasonOption = "",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let this node serve what is not released yet where it can serve all of it in time."""
    body = {"prefer": node, "reason": reason}
    _ask(order_id, "nodes", body, request_id, actor, url, as_json)


@order.command("clear-nodes")
def clear_nodes(
    order_id: OrderId,
    reason: ReasonOption = "",
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift every choice of a node, and plan freely again."""
    body = {"clear": True, "reason": reason}
    _ask(order_id, "nodes", body, request_id, actor, url, as_json)


def _ask(
    order_id: str,
    what: str,
    body: dict[str, Any],
    request_id: str | None,
    actor: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    if request_id is not None:
        body["request_id"] = request_id
    with connect(url, actor) as api:
        answer = api.post(f"{_order_path(order_id)}/{what}", body)
    show(answer, as_json, lambda found: say(_told(order_id, found)))


def _told(order_id: str, answer: dict[str, Any]) -> str:
    """What became of it, or that it is kept."""
    became: str | None = answer.get("answer")
    return became or f"kept, and carried out as soon as possible: see `doms order show {order_id}`"


@approvals.command("list")
def list_approvals(
    role: Annotated[str | None, typer.Option(help="Only what waits for this role.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the approvals that wait, oldest first."""
    with connect(url) as api:
        answer = api.get("/v1/approvals", role=role)
    show(answer, as_json, _print_approvals)


def _print_approvals(answer: dict[str, Any]) -> None:
    waiting = answer["approvals"]
    if not waiting:
        say("nothing waits for approval")
    table(
        ("order", "level", "role", "asked", "expires", "said so far"),
        (
            (
                x["order_id"],
                x["level"],
                x["role"],
                x.get("asked_at"),
                x.get("expires_at"),
                "; ".join(x.get("comments") or ()),
            )
            for x in waiting
        ),
    )


LevelOption = Annotated[int, typer.Option(min=1, max=20, help="Which level of the chain.")]
CommentOption = Annotated[str, typer.Option(help="Shown with the vote.")]


@order.command("list")
def list_orders(
    stage: Annotated[str | None, typer.Option(help="Only orders in this stage.")] = None,
    brand: Annotated[str | None, typer.Option(help="Only orders of this brand.")] = None,
    needs_attention: Annotated[
        bool | None,
        typer.Option("--needs-attention/--no-attention", help="Only orders that need a person."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    after: Annotated[
        str | None, typer.Option(help="Go on after this order, the last one of the page before.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List orders, newest first."""
    with connect(url) as api:
        answer = api.get(
            "/v1/orders",
            stage=stage,
            brand=brand,
            needs_attention=needs_attention,
            limit=limit,
            after=after,
            count="true",
        )
    show(answer, as_json, _print_orders)


def _print_orders(answer: dict[str, Any]) -> None:
    shown = len(answer["orders"])
    if not shown:
        say("no orders")
    table(
        ("order", "status", "brand", "region", "total", "promised by"),
        (
            (
                x["order_id"],
                x.get("displayed") or x["stage"],
                x.get("brand"),
                x.get("region"),
                f"{x.get('total', '')} {x.get('currency', '')}".strip(),
                x.get("promise_at"),
            )
            for x in answer["orders"]
        ),
    )
    if answer.get("next") and answer.get("total") != shown:
        say("")
        say(f"{shown} of {answer.get('total', 'more')}; the next: --after {answer['next']}")


def approve(
    order_id: OrderId,
    level: LevelOption,
    comment: CommentOption = "",
    role: RoleOption = None,
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve one level of an order."""
    _vote("approve", order_id, level, comment, role, request_id, actor, url, as_json)


def reject(
    order_id: OrderId,
    level: LevelOption,
    comment: CommentOption = "",
    role: RoleOption = None,
    request_id: RequestOption = None,
    actor: ActorOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject one level of an order, which ends the order."""
    _vote("reject", order_id, level, comment, role, request_id, actor, url, as_json)


def _vote(
    verdict: str,
    order_id: str,
    level: int,
    comment: str,
    role: str | None,
    request_id: str | None,
    actor: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    body: dict[str, Any] = {"verdict": verdict, "level": level, "comment": comment}
    if role is not None:
        body["role"] = role
    _ask(order_id, "approvals", body, request_id, actor, url, as_json)


def _order_path(order_id: str) -> str:
    from starter.commands.client import path_of

    return path_of("orders", order_id)
