import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from starter.cli import main

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
    assert "doms order resume W-1 W-1-1/1 reship | cancel" in shown
    assert "hold fraud by ann: odd" in shown


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


def test_stock_is_shown_by_node(api: respx.MockRouter, capsys: pytest.CaptureFixture[str]) -> None:
    api.get("/v1/inventory/MUG").respond(
        json={
            "sku": "MUG",
            "total": {"usable": 9, "available": 7},
            "nodes": [{"node_id": "dc-east", "usable": 9, "available": 7}],
        }
    )

    assert main(["inventory", "show", "MUG"]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:3] == ["dc-east", "7", "9"]
    assert rows[2][:3] == ["all", "7", "9"]


def test_a_stock_count_is_imported_whole(api: respx.MockRouter, tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_text(
        "node_id,sku,quantity,condition\ndc-east,MUG,9,\ndc-east,PAN,0,damaged\n"
    )
    route = api.put("/v1/inventory/snapshots").respond(json={"rows": 2})

    arguments = ["inventory", "import", "stock.csv", "--counted-at", "2026-05-01T00:00:00Z"]
    assert main(arguments) == 0

    assert body_of(route) == {
        "counted_at": "2026-05-01T00:00:00Z",
        "rows": [
            {"node_id": "dc-east", "sku": "MUG", "quantity": 9},
            {"node_id": "dc-east", "sku": "PAN", "quantity": 0, "condition": "damaged"},
        ],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node_id,sku\n", "the header has no column 'quantity'"),
        ("node_id,sku,quantity,colour\n", "unknown column 'colour'"),
        ("node_id,sku,quantity\n", "there are no rows below the header"),
        ("node_id,sku,quantity\na,b,-1\n", "line 2: quantity: '-1' is no whole number from 0 up"),
        ("node_id,sku,quantity\na,b\n", "line 2: cells and header do not match"),
        ("node_id,sku,quantity\na,b,1,2\n", "line 2: cells and header do not match"),
    ],
)
def test_a_broken_stock_count_is_not_sent(
    api: respx.MockRouter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    (tmp_path / "stock.csv").write_text(text)
    route = api.put("/v1/inventory/snapshots").respond(json={"rows": 1})

    assert main(["inventory", "import", "stock.csv"]) == 1

    assert message in capsys.readouterr().err
    assert not route.called


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

    for arguments in (["report"], ["report", "summary"], ["report", "by_node"]):
        assert main(arguments) == 0

    shown = capsys.readouterr().out
    assert '{"open": 1}' in shown
    assert "dc-east" in shown


def test_a_promise_is_asked_for_a_file(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cart.json").write_text('{"items": [{"sku": "MUG"}]}')
    option = {
        "service_level": "standard",
        "deliver_at": "2026-05-02T00:00:00Z",
        "cost": "5.00",
        "shipments": [{"node_id": "dc-east"}],
        "missing": [],
    }
    route = api.post("/v1/promises").respond(json={"promise_id": "p-1", "options": [option]})

    assert main(["promise", "cart.json"]) == 0

    assert body_of(route) == {"items": [{"sku": "MUG"}]}
    assert "dc-east" in capsys.readouterr().out


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
