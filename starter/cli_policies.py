"""Commands about policies and the decisions made under them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from starter.cli_common import (
    JsonOption,
    UrlOption,
    connect,
    moment,
    print_json,
    say,
    show,
    table,
)

policy = typer.Typer(no_args_is_help=True, help="Routing and process policies.")
decision = typer.Typer(no_args_is_help=True, help="Recorded decisions.")

PolicyFileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="YAML of the policy.")
]
KindOption = Annotated[
    str | None, typer.Option(help="routing or process; told by the fields without it.")
]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="As `policy publish` printed it.")
]
DecisionId = Annotated[str, typer.Argument(metavar="ID", help="The decision's id.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(policy, name="policy")
    app.add_typer(decision, name="decision")


@policy.command("check")
def check_policy(
    file: PolicyFileArgument,
    kind: KindOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on a warning too.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Check a policy file; nothing is sent. Every mistake with its line and column.

    A warning is of what can never apply or contradicts; with it alone the check succeeds.
    """
    from config.policy_files import check_policy

    checked = check_policy(file, kind)

    def human(_: Any) -> None:
        for mistake in checked.errors:
            say(f"{file}:{mistake}")
        for mistake in checked.warnings:
            say(f"{file}:{mistake} (warning)")
        if checked.policy is not None:
            say(f"{file}: a valid {checked.kind} policy")

    show(checked.as_json(), as_json, human)
    return 1 if checked.errors or (strict and checked.warnings) else 0


@policy.command("schema")
def print_policy_schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="routing or process.")],
) -> None:
    """Print the JSON schema of a policy document, for editors and other programs."""
    from config.policy_files import policy_schema

    print_json(policy_schema(kind))


@policy.command("publish")
def publish_policy(
    file: PolicyFileArgument,
    kind: KindOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a policy: keep it under a version that never changes. It is not active yet."""
    from config.policy_files import load_policy

    loaded = load_policy(file, kind)
    with connect(url) as api:
        answer = api.post("/v1/policies", {"kind": loaded.kind, "document": loaded.document})

    def human(found: dict[str, Any]) -> None:
        # Beside the version, which scripts read.
        for warning in found.get("warnings", ()):
            typer.echo(f"warning: {warning}", err=True)
        say(found["version"])

    show(answer, as_json, human)


@policy.command("activate")
def activate_policy(
    version: VersionArgument,
    brand: Annotated[str | None, typer.Option(help="Only for this brand.")] = None,
    region: Annotated[str | None, typer.Option(help="Only for this region.")] = None,
    order_type: Annotated[str | None, typer.Option(help="Only for b2c or b2b.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only for this channel.")] = None,
    share: Annotated[
        int, typer.Option(min=0, max=100, help="Percent of the customers; raising it adds some.")
    ] = 100,
    starts: Annotated[
        str | None, typer.Option("--from", help="When it begins, as 2026-05-04T12:00:00Z.")
    ] = None,
    ends: Annotated[str | None, typer.Option("--until", help="When it ends by itself.")] = None,
    guardrails: Annotated[
        list[str] | None,
        typer.Option("--guardrail", help="A limit to keep, as split_rate<=0.25; may be repeated."),
    ] = None,
    minimum_orders: Annotated[
        int, typer.Option(min=1, help="Orders of which a guardrail's measure must be made.")
    ] = 100,
    rolls_back: Annotated[
        bool, typer.Option("--rolls-back", help="End it by itself when a guardrail breaks.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let new orders of a scope, or a share of their customers, take a version."""
    from starter.commands.client import path_of

    body = {
        "brand": brand,
        "region": region,
        "order_type": order_type,
        "channel": channel,
        "share": None if share == 100 else share,
        "starts_at": starts,
        "ends_at": ends,
        "guardrails": guardrails or None,
        "minimum_orders": minimum_orders if guardrails else None,
        "rolls_back": rolls_back or None,
    }
    with connect(url) as api:
        answer = api.post(
            f"{path_of('policies', version)}/activate",
            {name: value for name, value in body.items() if value is not None},
        )

    def human(found: dict[str, Any]) -> None:
        for warning in found.get("warnings", ()):
            say(f"warning: {warning}")
        say(f"{version} {'is active' if starts is None else f'is active from {starts}'}")

    show(answer, as_json, human)


@policy.command("deactivate")
def deactivate_policy(
    version: VersionArgument, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """End a version everywhere. Orders not released yet go by what is active for them then."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.post(f"{path_of('policies', version)}/deactivate", {})
    show(answer, as_json, _print_withdrawal)


@policy.command("rollback")
def roll_back_policy(
    version: VersionArgument, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """End a version's latest activation, so that the one before holds again."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.post(f"{path_of('policies', version)}/rollback", {})
    show(answer, as_json, _print_withdrawal)


def _print_withdrawal(answer: dict[str, Any]) -> None:
    still = answer.get("still_active", 0)
    say(
        f"{answer['version']} has an earlier activation, which holds again"
        if still
        else f"{answer['version']} is no longer active"
    )
    table(("order", "goes by"), ((one["order_id"], one["version"]) for one in answer["repinned"]))
    if answer["kept"]:
        say(f"nothing else is active for these, which keep it: {', '.join(answer['kept'])}")
    for scope in answer.get("uncovered", ()):
        say(f"warning: not every order has a policy now ({_scope(scope)}): activate one")


@policy.command("report")
def report_on_policy(
    version: VersionArgument,
    since: Annotated[
        str | None, typer.Option(help="Only orders received since, as 2026-05-04T12:00:00Z.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the orders of a version fare: splits, cost, rejections, missed promises."""
    from starter.commands.client import path_of

    asked = {} if since is None else {"since": since}
    with connect(url) as api:
        answer = api.get(f"{path_of('policies', version)}/report", **asked)
    show(answer, as_json, _print_report)


def _print_report(answer: dict[str, Any]) -> None:
    counts, measures = answer["counts"], answer["measures"]
    made_of = {
        "split_rate": ("split_orders", "released_orders"),
        "cost_per_order": (None, "routed_orders"),
        "rejection_rate": ("rejected_lines", "assigned_lines"),
        "promise_miss_rate": ("missed_orders", "due_orders"),
    }
    say(f"{counts['orders']} orders go by {answer['version']}")
    rows = []
    for name, value in measures.items():
        some, of = made_of[name]
        cases = f"{counts[some]} of {counts[of]}" if some else str(counts[of])
        rows.append(
            (name, "none yet" if value is None else value, f"{cases} {of}".replace("_", " "))
        )
    table(("measure", "value", "made of"), rows)


@policy.command("diff")
def diff_policies(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A published version, or a file.")
    ],
    other: Annotated[
        str, typer.Argument(metavar="OTHER", help="The version or file to compare with.")
    ],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each field in which two policies differ, defaults filled in."""
    from starter.commands.policy_diff import compare

    show(compare(version, other, url), as_json, _print_changes)


def _print_changes(answer: dict[str, Any]) -> None:
    if not answer["changes"]:
        say("no difference")
    table(
        ("field", "from", "to"),
        ((one["path"], one["from"], one["to"]) for one in answer["changes"]),
    )


@policy.command("test")
def run_policy_cases(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A policy with NAME.cases.yaml beside it, or such a file of cases.",
        ),
    ],
    policy_file: Annotated[
        Path | None,
        typer.Option("--policy", exists=True, dir_okay=False, help="Another policy to try."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Run a policy's cases as orders are decided and handled. Fails when one comes out wrong."""
    from starter.policy_cases import run_cases

    outcomes = run_cases(file, policy_file)
    failed = [one for one in outcomes if not one.passed]

    def human(_: Any) -> None:
        for one in outcomes:
            say(f"{'ok    ' if one.passed else 'FAILED'} {one.name}")
            for wrong in one.wrong:
                say(f"         {wrong}")
        say(f"{len(outcomes) - len(failed)} of {len(outcomes)} cases as expected")

    answer = {"cases": [one.as_json() for one in outcomes], "failed": len(failed)}
    show(answer, as_json, human)
    return 1 if failed else 0


@policy.command("list")
def list_policies(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List every published policy and where it is active."""
    with connect(url) as api:
        answer = api.get("/v1/policies")
    show(answer, as_json, _print_policies)


def _print_policies(answer: dict[str, Any]) -> None:
    rows = answer["policies"]
    table(
        ("version", "kind", "published", "active for", "from", "until", "broken guardrails"),
        (
            (
                row["version"],
                row["kind"],
                row["published_at"],
                _active_for(row) if row["activated_at"] else "nothing",
                row.get("starts_at") or row["activated_at"],
                _until(row),
                [f"{one['guardrail']} ({one['value']})" for one in row.get("alerts", ())],
            )
            for row in rows
        ),
    )
    if not rows:
        say("no policy is published")


def _until(row: dict[str, Any]) -> str:
    if row["deactivated_at"] is None:
        return moment(row.get("ends_at") or "")
    because = row.get("ended_because")
    return moment(row["deactivated_at"]) + (f" ({because})" if because else "")


def _active_for(row: dict[str, Any]) -> str:
    share = row.get("share", 100)
    part = "" if share == 100 else f", {share} % of the customers"
    return _scope(row["scope"]) + part


def _scope(scope: dict[str, Any]) -> str:
    parts = [f"{name.replace('_', ' ')} {value}" for name, value in scope.items() if value]
    return ", ".join(parts) or "all orders"


@decision.command("show")
def show_decision(
    decision_id: DecisionId, url: UrlOption = None, as_json: JsonOption = True
) -> None:
    """Print a decision's whole record, always as JSON: request, snapshot, policy, decision."""
    show(_decision(decision_id, "", url), as_json, print_json)


@decision.command("explain")
def explain_decision(
    decision_id: DecisionId, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """Say in words why these nodes were chosen."""
    answer = _decision(decision_id, "/explain", url)
    show(answer, as_json, lambda found: say(found["explanation"]))


@decision.command("replay")
def replay_decision(
    decision_id: DecisionId, url: UrlOption = None, as_json: JsonOption = False
) -> int:
    """Decide again from the record. Fails when the plan comes out differently."""
    answer = _decision(decision_id, "/replay", url)

    def human(found: dict[str, Any]) -> None:
        same = "the same bytes" if found["same_bytes"] else "not the same bytes"
        plan = "the same plan" if found["same_plan"] else "ANOTHER PLAN"
        say(f"{same}, {plan} (kernel {found['recorded_kernel']} then, {found['kernel']} now)")

    show(answer, as_json, human)
    return 0 if answer["same_plan"] else 1


@decision.command("diff")
def diff_decision(
    decision_id: DecisionId,
    policy_version: Annotated[
        str, typer.Option("--policy", metavar="VERSION", help="The policy version to try.")
    ],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide again on what was known then, under another policy, and show what would change."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.get(f"{path_of('decisions', decision_id)}/diff", policy=policy_version)
    show(answer, as_json, _print_changes)


def _decision(decision_id: str, part: str, url: str | None) -> dict[str, Any]:
    from starter.commands.client import path_of

    with connect(url) as api:
        answer: dict[str, Any] = api.get(f"{path_of('decisions', decision_id)}{part}")
    return answer
