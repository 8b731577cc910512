"""`doms inventory`, against an API that answers as told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from starter.cli import main

URL = "http://doms.test"

NODE = {"protections": {}, "not_usable": {}, "supply": [], "reason": ""}
EXPLAINED = {
    "sku": "SET",
    "total": {"usable": 9, "available": None},
    "nodes": [{"node_id": "A", "usable": 9, "available": 0, "not_promised": "recount"}],
    "dates": [
        {"at": "2026-05-02", "available": 0},
        {"at": "2026-05-03", "available": None},
    ],
    "by": {"at": "2026-05-04T23:59:59+00:00", "available": None},
    "explanation": {
        "nodes": [
            {
                "node_id": "A",
                "parts": [
                    {"part": "usable", "units": 9},
                    {"part": "held", "units": -2},
                    {"part": "safety_stock", "units": -1},
                ],
                "sum": 6,
                "promised_from": "2026-05-03",
                "reason": "recount",
                "protections": {"vip": {"kept": 1, "level": 3}},
                "not_usable": {"damaged": 4},
                "supply": [
                    {
                        "supply_id": "PO-1",
                        "quantity": 5,
                        "due": "2026-05-03",
                        "supply_type": "purchase_order",
                        "promised_from": "2026-05-03",
                        "reason": "",
                        "to_debt": 0,
                        "to_backorders": 2,
                        "to_channels": {"vip": 2},
                        "open": 1,
                    },
                    {
                        "supply_id": "P-1",
                        "quantity": 7,
                        "due": "2026-05-01",
                        "supply_type": "planned",
                        "promised_from": None,
                        "reason": "overdue",
                    },
                ],
            }
        ],
        "waiting": [
            {
                "order_id": "W-1",
                "line_id": "1",
                "quantity": 2,
                "demand_class": "b",
                "promise_at": "2026-06-01",
            }
        ],
        "unlimited_from": None,
        "rules_version": "abc",
        "components": [
            {
                "sku": "CUP",
                "quantity": 2,
                "nodes": [
                    {
                        **NODE,
                        "node_id": "B",
                        "parts": [{"part": "usable", "units": 3}],
                        "sum": 3,
                        "promised_from": None,
                        "reason": "flood",
                    }
                ],
                "waiting": [],
                "unlimited_from": "2026-05-02",
                "rules_version": None,
                "components": [],
            }
        ],
    },
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


def test_stock_is_explained_down_to_its_parts(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    route = api.get("/v1/inventory/SET").respond(json=EXPLAINED)

    arguments = ["inventory", "show", "SET", "--explain", "--channel", "vip", "--by", "2026-05-04"]
    assert main(arguments) == 0

    assert dict(route.calls.last.request.url.params) == {
        "channel": "vip",
        "by": "2026-05-04",
        "explain": "true",
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[-12:] == [
        "by 2026-05-04T23:59:59Z: no limit",
        "",
        "A: 9 usable - 2 held - 1 safety stock = 6, from 2026-05-03: recount",
        "  kept for vip: 1 of 3 wanted",
        "  4 damaged, not for sale",
        "  5 due 2026-05-03 (purchase_order PO-1): 2 for orders that wait, 2 kept for vip, 1 open",
        "  7 due 2026-05-01 (planned P-1): not promised, overdue",
        "2 waited for by W-1 line 1 (class b, promised for 2026-06-01)",
        "stock rules abc",
        "2 x CUP in each:",
        "  B: 3 usable = 3, not promised: flood",
        "  without limit from 2026-05-02 on",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "stock.csv",
            "node_id,sku,quantity,condition\ndc-east,MUG,9,\n\ndc-east,PAN,0,damaged\n",
        ),
        (
            "stock.ndjson",
            '{"node_id": "dc-east", "sku": "MUG", "quantity": 9}\n\n'
            '{"node_id": "dc-east", "sku": "PAN", "quantity": 0, "condition": "damaged"}\n',
        ),
        (
            "stock.txt",
            '{"node_id": "dc-east", "sku": "MUG", "quantity": 9}\n'
            '{"node_id": "dc-east", "sku": "PAN", "quantity": 0, "condition": "damaged"}',
        ),
    ],
)
def test_a_stock_count_is_imported(
    api: respx.MockRouter, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    route = api.put("/v1/inventory/snapshots").respond(json={"rows": 2, "refused": []})

    arguments = ["inventory", "import", name, "--counted-at", "2026-05-01T00:00:00Z"]
    assert main(arguments) == 0

    body = body_of(route)
    assert body.pop("request_id").startswith("import-")
    assert body == {
        "counted_at": "2026-05-01T00:00:00Z",
        "skip_unknown": True,
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
        ("node_id,sku,quantity\na,,1\n", "line 2: sku: is missing"),
        ("node_id,sku,quantity\na,b c,1\n", "line 2: sku: 'b c' is no id"),
        ("node_id,sku,quantity,condition\na,b,1,new\n", "line 2: condition: 'new' is none of"),
        ("{]", "line 1: is no JSON"),
        ('{"a": 1}\n[1]\n', "line 2: is no JSON object"),
        ('{"node_id": "a", "sku": "b", "quantity": true}', "line 1: quantity: True is no whole"),
        ('{"node_id": "a", "sku": "b", "quantity": 1, "x": 1}', "line 1: x: unknown field"),
    ],
)
def test_a_stock_count_with_nothing_to_take_is_not_sent(
    api: respx.MockRouter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    (tmp_path / "stock.csv").write_text(text)
    route = api.put("/v1/inventory/snapshots").respond(json={"rows": 1})

    assert main(["inventory", "import", "stock.csv"]) == 1

    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert not route.called


def test_lines_that_are_refused_are_told_and_the_others_imported(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stock.csv").write_text("node_id,sku,quantity\na,b,1\na,c,x\na,d,2\na,b,3\n")
    refused = [{"row": 1, "path": "rows.1.sku", "message": "no product 'd'"}]
    route = api.put("/v1/inventory/snapshots").respond(json={"rows": 1, "refused": refused})

    assert main(["inventory", "import", "stock.csv", "--json"]) == 1

    assert [row["sku"] for row in body_of(route)["rows"]] == ["b", "d"]
    answer = json.loads(capsys.readouterr().out)
    assert (answer["read"], answer["taken"]) == (4, 1)
    assert answer["refused"] == [
        {"line": 3, "message": "quantity: 'x' is no whole number from 0 up"},
        {"line": 4, "message": "sku: no product 'd'"},
        {"line": 5, "message": "b at a was counted on an earlier line"},
    ]


def test_counts_that_are_too_old_are_told_and_not_said_to_be_imported(
    api: respx.MockRouter,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("starter.commands.stock_file._IGNORED_SHOWN", 1)
    (tmp_path / "stock.csv").write_text("node_id,sku,quantity\na,b,1\na,c,2\na,d,2\n")
    why = "older than the last count, of 2026-05-02T00:00:00Z"
    ignored = [{"row": row, "path": f"rows.{row}.counted_at", "message": why} for row in (0, 2)]
    answer = {"rows": 3, "refused": [], "ignored_rows": 2, "ignored": ignored}
    api.put("/v1/inventory/snapshots").respond(json=answer)

    assert main(["inventory", "import", "stock.csv"]) == 0
    assert main(["inventory", "import", "stock.csv", "--json"]) == 0

    printed = capsys.readouterr().out
    text, _, shown = printed.partition("{")
    assert text == (
        "1 counts imported, 2 ignored as too old, 0 lines refused\n"
        f"  line 2 ignored: counted_at: {why}\n"
        "  ... 1 more ignored\n"
    )
    found = json.loads("{" + shown)
    assert (found["taken"], found["ignored_rows"]) == (1, 2)
    assert found["ignored"][1] == {"line": 4, "message": f"counted_at: {why}"}


def test_an_import_that_stopped_goes_on_where_it_was_and_a_whole_one_starts_anew(
    api: respx.MockRouter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starter.commands.stock_file.ROWS_AT_ONCE", 1)
    (tmp_path / "stock.csv").write_text("node_id,sku,quantity\na,b,1\na,c,2\n")
    good = httpx.Response(200, json={"rows": 1, "refused": []})
    route = api.put("/v1/inventory/snapshots")

    route.side_effect = [good, httpx.Response(422, json={"detail": "no"})]
    assert main(["inventory", "import", "stock.csv"]) == 1
    route.side_effect = [good]
    assert main(["inventory", "import", "stock.csv"]) == 0
    assert [row["sku"] for row in body_of(route)["rows"]] == ["c"]
    route.side_effect = [good, good]
    assert main(["inventory", "import", "stock.csv"]) == 0
    assert route.call_count == 5


def test_rules_are_checked_here_put_there_and_shown(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.yaml").write_text("safety_stock:\n- units: 2\n")
    (tmp_path / "wrong.yaml").write_text("safety_stock:\n- unit: 2\n")
    put = api.put("/v1/inventory/rules").respond(
        json={"version": "abc", "positions": 3, "evaluated": False}
    )
    api.get("/v1/inventory/rules").respond(
        json={
            "version": "abc",
            "activated_at": "2026-05-01",
            "evaluated": False,
            "document": {"name": "mine"},
        }
    )

    assert main(["inventory", "rules", "wrong.yaml"]) == 1
    assert "safety_stock.0" in capsys.readouterr().err
    assert main(["inventory", "rules", "rules.yaml"]) == 0
    assert "abc are in force, 3 positions evaluated; the rest follows" in capsys.readouterr().out
    assert body_of(put)["safety_stock"][0]["units"] == 2
    assert main(["inventory", "rules"]) == 0
    assert "name: mine" in capsys.readouterr().out


def test_nodes_are_excluded_listed_and_allowed_again(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"node_id": "A", "sku": None, "until": None, "reason": "flood"}
    short = {**row, "sku": "MUG", "until": "2027-01-01T00:00:00+00:00"}
    put = api.put("/v1/inventory/exclusions").respond(json=row)
    listed = api.get("/v1/inventory/exclusions")
    listed.respond(json={"exclusions": []})
    assert main(["inventory", "exclusions"]) == 0
    assert capsys.readouterr().out == "nothing is excluded\n"
    listed.respond(json={"exclusions": [row]})
    deleted = api.delete("/v1/inventory/exclusions/A").respond(204)

    assert main(["inventory", "exclude", "A", "--reason", "flood"]) == 0
    assert body_of(put) == row
    assert capsys.readouterr().out == "A promises nothing\n"
    put.respond(json=short)
    until = ["--sku", "MUG", "--until", "2027-01-01T00:00:00Z"]
    assert main(["inventory", "exclude", "A", "--reason", "flood", *until]) == 0
    assert capsys.readouterr().out == "A promises nothing of MUG until 2027-01-01T00:00:00Z\n"
    assert main(["inventory", "exclusions"]) == 0
    assert "flood" in capsys.readouterr().out
    assert main(["inventory", "allow", "A", "--sku", "MUG"]) == 0
    assert dict(deleted.calls.last.request.url.params) == {"sku": "MUG"}


def test_discrepancies_and_what_is_owed_are_listed(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "noted_at": "2026-05-01",
        "kind": "count",
        "node_id": "A",
        "sku": "MUG",
        "condition": "usable",
        "expected": 5,
        "found": 3,
    }
    owed = {
        "node_id": "A",
        "sku": "MUG",
        "usable": 3,
        "promised": 4,
        "orders": [{"order_id": "W-1", "quantity": 1}],
    }
    route = api.get("/v1/inventory/discrepancies")
    route.respond(json={"discrepancies": [row], "oversold": [owed]})
    assert main(["inventory", "discrepancies", "--node", "A"]) == 0
    printed = capsys.readouterr().out
    assert "MUG at A: 4 promised, 3 there; short: 1 of W-1" in printed
    assert dict(route.calls.last.request.url.params) == {"node_id": "A"}
    route.respond(json={"discrepancies": [], "oversold": []})
    assert main(["inventory", "discrepancies"]) == 0
    assert capsys.readouterr().out == "everything agrees\n"
