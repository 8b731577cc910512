import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from config.samples import SAMPLE
from starter.api.reports import REPORTS
from starter.cli import main
from starter.cli_data import REPORT_NAMES

URL = "http://doms.test"

PAGE = {
    "order_id": "W-1",
    "stage": "shipped",
    "displayed": "attention: deliver",
    "awaits": "a person",
    "promise_at": "2026-05-01T00:00:00Z",
    "holds": [{"type": "fraud", "owner": "ann", "reason": "odd"}],
    "attention": None,
    "lines": [
        {
            "line_id": "1",
            "sku": "MUG",
            "ship_group": "1",
            "quantities": {"ordered": 3, "open": 0, "shipped": 2, "cancelled": 1},
        }
    ],
    "fulfillments": [
        {
            "fulfillment_id": "W-1-1",
            "node_id": "dc-east",
            "status": "exception",
            "attention": {
                "park_id": "W-1-1/1",
                "step": "deliver",
                "reason": "lost",
                "choices": ["reship", "cancel"],
            },
            "packages": [
                {
                    "package_id": "p1",
                    "status": "lost",
                    "carrier": "Parcel",
                    "tracking_number": "T1",
                }
            ],
        }
    ],
    "timeline": [{"key": "1", "at": "2026-04-30T10:00:00Z", "kind": "a", "text": "Promised"}],
    "links": {"self": f"{URL}/v1/orders/W-1"},
}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOMS_API_URL", URL)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("DOMS_API_KEY", raising=False)


@pytest.fixture
def api() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        yield router


def body_of(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["order"],
        ["order", "show"],
        ["approve", "W-1"],
        ["approve", "W-1", "--level", "0"],
        ["order", "show", "W-1", "--colour"],
        ["order", "cancel", "W-1", "--line", "1:2"],
        ["order", "change-address", "W-1", "nowhere.json"],
        ["submit", "nowhere.json"],
        ["submit", ".", "--format", "edifact"],
        ["submit", ".", "--limit", "0"],
        ["policy", "check", "nowhere.yaml"],
    ],
)
def test_wrong_use_is_status_2_and_no_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err


def test_an_error_is_one_line_that_says_what_to_do(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/orders/W-1").mock(side_effect=httpx.ConnectError("refused"))

    assert main(["order", "show", "W-1"]) == 1

    assert capsys.readouterr().err == (
        f"doms: no doms API answers at {URL}: start it with `doms up`, or say where it is with "
        "--url\n"
    )


def test_a_named_home_that_nothing_was_started_in_never_means_another_ones_api(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DOMS_API_URL")
    refusal = (
        f"doms: nothing was started in {tmp_path / 'home'}, which DOMS_HOME or --home names: start"
        " it with `doms up`, or say where the API is with --url or DOMS_API_URL\n"
    )
    with respx.mock(assert_all_called=False) as router:
        anywhere = router.route().respond(200, json={"orders": []})

        assert main(["order", "list"]) == 1
        assert capsys.readouterr().err == refusal
        assert not anywhere.called

        assert main(["order", "list", "--url", URL]) == 0
        monkeypatch.delenv("DOMS_HOME")
        assert main(["order", "list"]) == 0
        assert anywhere.calls.last.request.url.port == 8080


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            httpx.Response(404, json={"detail": "no order 'W-1'"}),
            "doms: no order 'W-1'\n",
        ),
        (
            httpx.Response(401, json={"detail": "send an API key"}),
            "doms: send an API key; put the key in DOMS_API_KEY\n",
        ),
        (
            httpx.Response(
                422,
                json={
                    "detail": "2 errors",
                    "errors": [{"path": "a.b", "message": "bad"}, {"path": "", "message": "worse"}],
                },
            ),
            "doms: a.b: bad; worse\n",
        ),
        (httpx.Response(502, text="gateway"), "doms: the API answered 502 Bad Gateway\n"),
        (httpx.Response(200, text="<html>"), f"doms: what answers at {URL} is no doms API\n"),
    ],
)
def test_what_the_api_says_is_passed_on(
    api: respx.MockRouter,
    capsys: pytest.CaptureFixture[str],
    answer: httpx.Response,
    line: str,
) -> None:
    api.get("/v1/orders/W-1").mock(return_value=answer)

    assert main(["order", "show", "W-1"]) == 1

    assert capsys.readouterr().err == line


def test_a_wrong_setting_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOMS_API_PORT", "many")

    assert main(["order", "show", "W-1"]) == 1

    assert capsys.readouterr().err.startswith("doms: DOMS_API_PORT: must be a whole")


def test_an_order_is_shown_with_its_units_parcels_and_what_a_person_can_answer(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/orders/W-1").respond(json=PAGE)

    assert main(["order", "show", "W-1"]) == 0

    shown = capsys.readouterr().out
    assert "W-1: attention: deliver (stage shipped)" in shown
    assert "2 shipped, 1 cancelled" in shown
    assert "package p1: lost Parcel T1" in shown
    assert (
        "  answer: doms order resume W-1 W-1-1/1 reship\n"
        "      or: doms order resume W-1 W-1-1/1 cancel\n"
    ) in shown
    assert "hold fraud by ann: odd" in shown


def test_of_a_large_order_the_totals_and_the_least_advanced_lines_are_shown_unless_all_are_asked(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"line_id": f"L{n}", "sku": "MUG", "ordered": 2, "shipped": 2 if n < 999 else 0}
        | ({} if n < 999 else {"open": 2})
        for n in range(1000)
    ]
    api.get("/v1/orders/W-1").respond(json={**PAGE, "lines": lines})

    assert main(["order", "show", "W-1"]) == 0
    few = capsys.readouterr().out.splitlines()
    assert main(["order", "show", "W-1", "--all"]) == 0
    everything = capsys.readouterr().out.splitlines()

    totals = "1,000 lines, 2,000 units: 2 open, 1,998 shipped"
    start = few.index(totals)
    assert few[start + 2].split() == ["L999", "MUG", "2", "2", "open"]
    assert few[start + 22] == "... and 980 more: --all shows them"
    assert len([x for x in few if "MUG" in x]) == 20
    assert totals in everything
    assert len([x for x in everything if "MUG" in x]) == 1000


def test_times_are_shown_in_whole_seconds_of_utc(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    story = [
        {"at": "2026-05-04T12:00:00.123456Z", "text": "Routed"},
        {"at": "2026-05-04T12:00:01+00:00", "text": "Reserved"},
    ]
    page = {**PAGE, "timeline": story, "promise_at": "2026-05-06T17:00:00.000001Z"}
    api.get("/v1/orders/W-1").respond(json=page)

    assert main(["order", "show", "W-1"]) == 0

    shown = capsys.readouterr().out
    assert "promised by: 2026-05-06T17:00:00Z\n" in shown
    assert "2026-05-04T12:00:00Z  Routed" in shown
    assert "2026-05-04T12:00:01Z  Reserved" in shown


def test_json_is_the_apis_answer_on_one_line(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/orders/W-1").respond(json=PAGE)

    assert main(["order", "show", "W-1", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == PAGE


def test_the_key_and_the_actor_are_sent(
    api: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMS_API_KEY", "secret")
    route = api.post("/v1/orders/W-1/hold").respond(202, json={})

    assert main(["order", "hold", "W-1", "--as", "ann", "--reason", "odd"]) == 0

    assert route.calls.last.request.headers["X-API-Key"] == "secret"
    assert route.calls.last.request.headers["X-Doms-Actor"] == "ann"
    assert body_of(route) == {"type": "support", "reason": "odd", "expires_at": None}


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (["order", "cancel", "W/1"], "/v1/orders/W%2F1/cancel", {"reason": ""}),
        (
            ["order", "cancel", "W-1", "--line", "1=2", "--line", "b=1", "--reason", "late"],
            "/v1/orders/W-1/cancel",
            {
                "reason": "late",
                "lines": [{"line_id": "1", "quantity": 2}, {"line_id": "b", "quantity": 1}],
            },
        ),
        (
            ["order", "release-hold", "W-1", "--type", "fraud", "--request-id", "r1"],
            "/v1/orders/W-1/release-hold",
            {"type": "fraud", "request_id": "r1"},
        ),
        (
            ["order", "resume", "W-1", "p-1", "reship"],
            "/v1/orders/W-1/resume",
            {"park_id": "p-1", "choice": "reship", "correction": ""},
        ),
        (
            ["approve", "W-1", "--level", "2", "--role", "manager", "--comment", "fine"],
            "/v1/orders/W-1/approvals",
            {"verdict": "approve", "level": 2, "comment": "fine", "role": "manager"},
        ),
        (
            ["reject", "W-1", "--level", "1"],
            "/v1/orders/W-1/approvals",
            {"verdict": "reject", "level": 1, "comment": ""},
        ),
    ],
)
def test_what_is_asked_of_an_order_is_posted(
    api: respx.MockRouter, arguments: list[str], path: str, body: dict[str, Any]
) -> None:
    route = api.post(url=f"{URL}{path}").respond(202, json={"request_id": "r"})

    assert main(arguments) == 0

    assert body_of(route) == body


def test_an_address_comes_from_a_file(api: respx.MockRouter, tmp_path: Path) -> None:
    (tmp_path / "address.json").write_text('\ufeff{"country": "US"}', encoding="utf-8")
    route = api.post("/v1/orders/W-1/address").respond(202, json={})

    assert main(["order", "change-address", "W-1", "address.json", "--ship-group", "2"]) == 0

    assert body_of(route) == {"address": {"country": "US"}, "ship_group": "2"}


def test_what_waits_for_approval_is_listed(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = {"order_id": "B-1", "level": 1, "role": "manager", "asked_at": "2026-05-01"}
    route = api.get("/v1/approvals").respond(json={"approvals": [waiting]})

    assert main(["approvals", "list", "--role", "manager"]) == 0

    assert "B-1" in capsys.readouterr().out
    assert route.calls.last.request.url.params["role"] == "manager"


def test_a_policy_is_checked_here_and_published_there(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_text("name: mine\nshipment_cost: '2.00'\n")
    published = api.post("/v1/policies").respond(201, json={"version": "routing-1"})
    activated = api.post("/v1/policies/routing-1/activate").respond(json={})

    assert main(["policy", "check", "policy.yaml"]) == 0
    assert not published.called
    assert main(["policy", "publish", "policy.yaml"]) == 0
    assert main(["policy", "activate", "routing-1", "--brand", "acme"]) == 0

    assert body_of(published)["kind"] == "routing"
    assert body_of(published)["document"]["shipment_cost"] == "2.00"
    assert body_of(activated) == {"brand": "acme"}
    assert capsys.readouterr().out == (
        "policy.yaml: a valid routing policy\nrouting-1\nrouting-1 is active\n"
    )


@pytest.mark.parametrize(("same_plan", "status"), [(True, 0), (False, 1)])
def test_a_replay_that_gives_another_plan_fails(
    api: respx.MockRouter, same_plan: bool, status: int
) -> None:
    api.get("/v1/decisions/d-1/replay").respond(
        json={
            "same_bytes": same_plan,
            "same_plan": same_plan,
            "recorded_kernel": "1",
            "kernel": "1",
        }
    )

    assert main(["decision", "replay", "d-1"]) == status


def test_reports_are_printed_whatever_their_shape(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/reports").respond(json={"reports": ["by_node", "summary"]})
    api.get("/v1/reports/summary").respond(json={"figures": {"orders": 3, "units": {"open": 1}}})
    api.get("/v1/reports/by_node").respond(json={"figures": [{"node_id": "dc-east", "n": 2}]})
    api.get("/v1/reports/drift").respond(json={"figures": {"cost_micros": -1_755_000}})

    for arguments in (["report"], *(["report", x] for x in ("summary", "by_node", "drift"))):
        assert main(arguments) == 0

    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    assert ["orders", "3"] in rows
    assert ["units.open", "1"] in rows
    assert ["cost", "(base", "currency)", "-1.76"] in rows
    assert "dc-east" in shown


@pytest.mark.parametrize(
    ("cost", "currency", "printed"),
    [("15.2078", "USD", "15.21 USD"), ("7.25", "USD", "7.25 USD"), ("700.5", "JPY", "701 JPY")],
)
def test_a_promise_is_asked_for_a_file_and_its_costs_are_amounts_of_the_currency(
    api: respx.MockRouter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cost: str,
    currency: str,
    printed: str,
) -> None:
    (tmp_path / "cart.json").write_text('{"items": [{"sku": "MUG"}]}')
    option = {
        "service_level": "standard",
        "deliver_at": "2026-05-02T00:00:00Z",
        "cost": cost,
        "shipments": [{"node_id": "dc-east"}],
        "missing": [],
    }
    answer = {"promise_id": "p-1", "currency": currency, "options": [option]}
    route = api.post("/v1/promises").respond(json=answer)

    assert main(["promise", "cart.json"]) == 0

    assert body_of(route) == {"items": [{"sku": "MUG"}]}
    shown = capsys.readouterr().out
    assert "dc-east" in shown
    assert f"  {printed}  " in shown


def test_orders_are_submitted_and_refusals_make_status_1(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.ndjson").write_text('{"order_id": "A"}\n{oops\n{"order_id": "B"}\n')
    api.get("/healthz").respond(json={})

    def take(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["order_id"] == "A":
            return httpx.Response(202, json={})
        errors = [{"path": "lines", "message": "Field required"}]
        return httpx.Response(422, json={"errors": errors})

    api.post("/v1/orders").mock(side_effect=take)

    assert main(["submit", "orders.ndjson", "--json"]) == 1

    answer = json.loads(capsys.readouterr().out)
    assert (answer["accepted"], answer["refused"]) == (1, 2)
    assert answer["refusals"] == [
        {
            "line": 2,
            "order_id": None,
            "errors": [
                {
                    "path": "",
                    "message": (
                        "broken JSON at column 2: Expecting property name enclosed in double quotes"
                    ),
                }
            ],
        },
        {"line": 3, "order_id": "B", "errors": [{"path": "lines", "message": "Field required"}]},
    ]


def test_an_api_that_is_not_there_is_said_before_anything_is_sent(
    api: respx.MockRouter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "orders.ndjson").write_text('{"order_id": "A"}\n')
    monkeypatch.setattr("starter.bulk.submit.FIRST_CONTACT_SECONDS", 0.1)
    api.get("/healthz").mock(side_effect=httpx.ConnectError("refused"))
    posted = api.post("/v1/orders")

    assert main(["submit", "orders.ndjson"]) == 1

    assert "see `doms doctor`" in capsys.readouterr().err
    assert not posted.called


def test_olist_without_a_database_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(__file__).parents[3].parent / "shared" / "data" / "olist"
    if not data.is_dir():
        pytest.skip("the Olist data set is not at shared/data/olist")

    assert main(["submit", str(data), "--limit", "1"]) == 1

    assert "run `doms up` once" in capsys.readouterr().err


def test_a_demo_never_wipes_a_folder_it_did_not_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "doms.db").write_text("orders")

    assert main(["demo", "--exit", "--home", str(precious)]) == 1

    assert "choose another with --home" in capsys.readouterr().err
    assert (precious / "doms.db").read_text() == "orders"


def test_a_key_needs_a_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "create", "shop", "--role", "intake"]) == 1

    assert "run `doms up` once, or set DOMS_DATABASE_URL" in capsys.readouterr().err


def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["order", "-h"], ["submit", "--help"], ["policy", "--help"]):
        assert main(arguments) == 0
    assert "change-address" in capsys.readouterr().out


def test_help_does_not_load_what_only_commands_need() -> None:
    script = (
        "import sys; from starter.cli import main; main(['--help']);"
        "heavy = {'pydantic', 'httpx', 'sqlalchemy', 'temporalio', 'numpy', 'fastapi'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


APPROVED = {
    **PAGE,
    "decision_id": "W-1-d1",
    "approvals": {
        "levels": [
            {
                "level": 1,
                "role": "manager",
                "outcome": "approved",
                "asked_at": "2026-04-30T09:00:00Z",
                "expires_at": None,
            }
        ],
        "votes": [
            {
                "at": "2026-04-30T09:30:00Z",
                "level": 1,
                "approver": "Maria",
                "role": "clerk",
                "verdict": "approve",
                "counted": False,
                "why": "a manager is asked",
                "comment": "please",
            }
        ],
    },
    "links": {"self": f"{URL}/v1/orders/W-1", "track": f"{URL}/v1/track/abc"},
}


def test_an_order_shows_who_voted_and_whether_it_counts_its_decision_and_its_links(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/orders/W-1").respond(json=APPROVED)

    assert main(["order", "show", "W-1"]) == 0

    shown = capsys.readouterr().out
    assert "decision: W-1-d1" in shown
    assert f"track: {URL}/v1/track/abc" in shown
    row = next(line for line in shown.splitlines() if "Maria" in line)
    for part in ("clerk", "approve", "no: a manager is asked", "please"):
        assert part in row
    assert any({"1", "manager", "approved"} <= set(line.split()) for line in shown.splitlines())


def test_a_table_that_is_no_terminal_s_has_each_row_on_one_line(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "what happened, " * 20
    page = {**PAGE, "timeline": [{"key": "1", "at": "2026-04-30T10:00:00Z", "text": text}]}
    api.get("/v1/orders/W-1").respond(json=page)

    assert main(["order", "show", "W-1"]) == 0

    assert text.strip() in capsys.readouterr().out


def test_a_list_says_how_many_there_are_and_how_to_go_on(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"order_id": f"W-{number}", "stage": "shipped"} for number in (3, 2)]
    page = {"orders": rows, "next": "W-2", "total": 3}
    route = api.get("/v1/orders").respond(json=page)

    assert main(["order", "list", "--limit", "2", "--after", "W-4"]) == 0

    asked = dict(route.calls.last.request.url.params)
    assert asked == {"limit": "2", "after": "W-4", "count": "true"}
    shown = capsys.readouterr().out
    assert shown.split()[:3] == ["order", "status", "brand"]
    assert shown.endswith("2 of 3; the next: --after W-2\n")


def test_what_became_of_a_request_is_said(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    done = {"request_id": "R", "status": "done", "answer": "2 units cancelled", "links": {}}
    kept = {"request_id": "R", "status": "accepted", "links": {}}
    refused = httpx.Response(409, json={"detail": "level 2 is waited for, not 1"})
    api.post("/v1/orders/W-1/cancel").mock(
        side_effect=[httpx.Response(200, json=done), httpx.Response(202, json=kept), refused]
    )

    statuses = [main(["order", "cancel", "W-1"]) for _ in range(3)]

    shown = capsys.readouterr()
    assert statuses == [0, 0, 1]
    assert shown.out == (
        "2 units cancelled\nkept, and carried out as soon as possible: see `doms order show W-1`\n"
    )
    assert shown.err == "doms: level 2 is waited for, not 1\n"


def test_an_order_id_is_escaped_in_the_address(api: respx.MockRouter) -> None:
    route = api.get(url=f"{URL}/v1/orders/a%2Fb%3F").respond(404, json={"detail": "no order"})

    assert main(["order", "show", "a/b?"]) == 1

    assert route.called


def test_the_reports_that_help_names_are_those_the_api_has() -> None:
    assert tuple(sorted(REPORTS)) == REPORT_NAMES


def test_a_policy_is_withdrawn_and_its_orders_named(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {
        "version": "routing-2",
        "status": "inactive",
        "repinned": [{"order_id": "W-1", "version": "routing-1"}],
        "kept": ["W-2"],
    }
    api.post("/v1/policies/routing-2/deactivate").respond(json=answer)

    assert main(["policy", "deactivate", "routing-2"]) == 0

    shown = capsys.readouterr().out
    assert "routing-2 is no longer active" in shown
    assert ["W-1", "routing-1"] in [line.split() for line in shown.splitlines()]
    assert "which keep it: W-2" in shown


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["policy", "diff", "routing-1", "routing-2"], "/v1/policies/routing-1/diff/routing-2"),
        (["decision", "diff", "D-1", "--policy", "routing-2"], "/v1/decisions/D-1/diff"),
    ],
)
def test_differences_are_shown_field_by_field(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str], arguments: list[str], path: str
) -> None:
    changes = [{"path": "kind_cost.store", "from": "2.00", "to": None}]
    api.get(path).respond(json={"changes": changes})

    assert main(arguments) == 0

    assert "kind_cost.store  2.00" in capsys.readouterr().out


SAMPLE_POLICY = SAMPLE / "routing.yaml"


def test_a_policy_file_is_compared_with_a_file_and_with_a_version(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: standard-b2b\norder_types: [b2b]\nreroute_attempts: 3\n")
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("name: standard-b2b\norder_types: [b2b]\n")
    document = {"name": "standard-b2b", "order_types": ["b2b"], "reroute_attempts": 7}
    api.get("/v1/policies/process-1").respond(json={"kind": "process", "document": document})

    assert main(["policy", "diff", str(mine), str(theirs), "--json"]) == 0
    with_file = json.loads(capsys.readouterr().out)
    assert main(["policy", "diff", "process-1", str(mine)]) == 0
    with_version = capsys.readouterr().out

    assert with_file["changes"] == [{"path": "reroute_attempts", "from": 3, "to": 5}]
    assert "reroute_attempts  7     3" in with_version


def test_policies_are_listed_with_the_orders_they_are_active_for(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    at = "2026-05-04T12:00:00.5Z"
    row = {"kind": "routing", "published_at": at, "activated_at": at, "deactivated_at": None}
    nowhere = {"brand": None, "region": None, "order_type": None, "channel": None}
    narrow = {**nowhere, "brand": "acme", "order_type": "b2b"}
    rows = [
        {**row, "version": "routing-1", "scope": nowhere},
        {**row, "version": "routing-2", "scope": narrow},
        {**row, "version": "routing-3", "scope": nowhere, "activated_at": None},
    ]
    api.get("/v1/policies").respond(json={"policies": rows})

    assert main(["policy", "list"]) == 0

    _, first, second, third = capsys.readouterr().out.splitlines()
    assert "all orders" in first
    assert "brand acme, order type b2b" in second
    assert third.split() == ["routing-3", "routing", "2026-05-04T12:00:00Z", "nothing"]


def test_policies_of_two_kinds_and_files_that_are_not_there_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = str(SAMPLE / "process-b2b.yaml")

    assert main(["policy", "diff", str(SAMPLE_POLICY), process]) == 1
    assert main(["policy", "diff", process, "nowhere.yaml"]) == 1

    first, second = capsys.readouterr().err.splitlines()
    assert first == f"doms: '{SAMPLE_POLICY}' is a routing policy, '{process}' a process policy"
    assert second == "doms: nowhere.yaml: no such file"


def test_every_mistake_in_a_policy_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "bad.yaml"
    policy.write_text("name: bad\nreroute_attempts: many\ncolour: red\napprovals: [{level: 0}]\n")

    assert main(["policy", "check", str(policy)]) == 1

    assert capsys.readouterr().out.splitlines() == [
        f"{policy}:2:19: reroute_attempts: must be a whole number",
        f"{policy}:3:1: colour: unknown field",
        f"{policy}:4:13: approvals.0.role: must be given",
        f"{policy}:4:21: approvals.0.level: must be at least 1",
    ]


def test_the_sample_policy_decides_its_cases_as_they_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["policy", "test", str(SAMPLE_POLICY)]) == 0

    assert capsys.readouterr().out.endswith("5 of 5 cases as expected\n")


def test_a_case_that_comes_out_wrong_fails_and_says_what_came_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "centers-closed.yaml"
    policy.write_text("name: no-centers\nexcluded_kinds: [dc]\nrelax: []\n")

    cases = SAMPLE / "routing.cases.yaml"
    assert main(["policy", "test", str(cases), "--policy", str(policy), "--json"]) == 1

    answer = json.loads(capsys.readouterr().out)
    wrong = {case["name"]: case["wrong"] for case in answer["cases"] if not case["passed"]}
    assert answer["failed"] == len(wrong) == 3
    assert wrong["the center that is near serves an order it has whole"] == [
        "served by no node, expected dc-newark",
        "missing {'TEE-BLACK-M': 2}, expected {}",
    ]


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("{name: a, at: noon, order: {}, stock: {}, expect: {}}", "cases.0.at: must be a time"),
        (
            "{name: a, at: 2026-05-04T15:00:00Z, order: {lines: [{sku: MUG-BLUE, quantity: 1}],"
            " ship_groups: [{id: '1', address: {country: US}}]}, stock: {MUG-BLUE: {dc-x: 1}},"
            " expect: {}}",
            "case 'a': no node 'dc-x' in the network",
        ),
        (
            "{name: a, at: 2026-05-04T15:00:00Z, order: {lines: [{sku: MUG-BLUE}],"
            " ship_groups: [{id: '1', address: {country: US}}]}, stock: {}, expect: {}}",
            "case 'a': lines.0.quantity: must be given",
        ),
    ],
)
def test_a_broken_case_is_named_with_its_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, error: str
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "mine.cases.yaml").write_text(f"policy: mine.yaml\ncases: [{case}]\n")

    assert main(["policy", "test", str(tmp_path / "mine.yaml")]) == 1

    assert error in capsys.readouterr().err
