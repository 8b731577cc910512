"""Commands about policies and the decisions made under them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from starter.cli_common import JsonOption, UrlOption, connect, print_json, say, show, table

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
    show(answer, as_json, lambda found: say(found["version"]))


@policy.command("activate")
def activate_policy(
    version: VersionArgument,
    brand: Annotated[str | None, typer.Option(help="Only for this brand.")] = None,
    region: Annotated[str | None, typer.Option(help="Only for this region.")] = None,
    order_type: Annotated[str | None, typer.Option(help="Only for b2c or b2b.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only for this channel.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let new orders of a scope take a version."""
    from starter.commands.client import path_of

    scope = {"brand": brand, "region": region, "order_type": order_type, "channel": channel}
    with connect(url) as api:
        answer = api.post(
            f"{path_of('policies', version)}/activate",
            {name: value for name, value in scope.items() if value is not None},
        )
    show(answer, as_json, lambda _: say(f"{version} is active"))


@policy.command("deactivate")
def deactivate_policy(
    version: VersionArgument, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """End a version everywhere. Orders not released yet go by what is active for them then."""
    from starter.commands.client import path_of

    with connect(url) as api:
        answer = api.post(f"{path_of('policies', version)}/deactivate", {})
    show(answer, as_json, _print_withdrawal)


def _print_withdrawal(answer: dict[str, Any]) -> None:
    say(f"{answer['version']} is no longer active")
    table(("order", "goes by"), ((one["order_id"], one["version"]) for one in answer["repinned"]))
    if answer["kept"]:
        say(f"nothing else is active for these, which keep it: {', '.join(answer['kept'])}")


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
    """Run a policy's cases with the kernel that routes orders. Fails when one comes out wrong."""
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
        ("version", "kind", "published", "active for", "from", "until"),
        (
            (
                row["version"],
                row["kind"],
                row["published_at"],
                _scope(row["scope"]) if row["activated_at"] else "nothing",
                row["activated_at"],
                row["deactivated_at"],
            )
            for row in rows
        ),
    )
    if not rows:
        say("no policy is published")


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
