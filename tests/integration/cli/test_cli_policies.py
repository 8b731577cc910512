"""Commands that put policies in force for a part of the orders, watch them and take them back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import respx

from starter.cli import main

AT = "2026-05-04T12:00:00Z"
URL = "http://127.0.0.1:18080"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOMS_API_URL", URL)
    monkeypatch.delenv("DOMS_API_KEY", raising=False)


@pytest.fixture
def api() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        yield router


def body_of(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


def test_a_version_is_activated_for_a_share_a_time_and_within_guardrails(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    route = api.post("/v1/policies/routing-1/activate").respond(json={"warnings": ["a: never"]})
    options = ["--share", "0", "--from", AT, "--until", "2026-06-01T00:00:00Z", "--rolls-back"]
    limits = ["--guardrail", "split_rate<=0.25", "--guardrail", "cost_per_order<=9"]

    assert main(["policy", "activate", "routing-1", *options, *limits]) == 0

    assert body_of(route) == {
        "share": 0,
        "starts_at": AT,
        "ends_at": "2026-06-01T00:00:00Z",
        "guardrails": ["split_rate<=0.25", "cost_per_order<=9"],
        "minimum_orders": 100,
        "rolls_back": True,
    }
    assert capsys.readouterr().out == f"warning: a: never\nrouting-1 is active from {AT}\n"


def test_publishing_prints_the_version_alone_and_warnings_beside_it(
    api: respx.MockRouter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_text("name: mine\n")
    api.post("/v1/policies").respond(201, json={"version": "routing-1", "warnings": ["a: never"]})

    assert main(["policy", "publish", "policy.yaml"]) == 0

    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("routing-1\n", "warning: a: never\n")


def test_a_share_beyond_the_whole_is_wrong_use(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "activate", "routing-1", "--share", "101"]) == 2
    assert "less than or equal to 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("still_active", "told"),
    [
        (0, "routing-2 is no longer active"),
        (1, "routing-2 has an earlier activation, which holds again"),
    ],
)
def test_a_version_is_rolled_back_by_one_command_and_its_orders_named(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str], still_active: int, told: str
) -> None:
    answer = {
        "version": "routing-2",
        "still_active": still_active,
        "repinned": [{"order_id": "W-1", "version": "routing-1"}],
        "kept": [],
        "uncovered": [{"brand": "acme", "region": None}],
    }
    api.post("/v1/policies/routing-2/rollback").respond(json=answer)

    assert main(["policy", "rollback", "routing-2"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == told
    assert lines[2].split() == ["W-1", "routing-1"]
    assert lines[3] == ("warning: not every order has a policy now (brand acme): activate one")


def test_a_versions_orders_are_reported_on(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {
        "orders": 6,
        "routed_orders": 5,
        "released_orders": 4,
        "split_orders": 1,
        "assigned_lines": 8,
        "rejected_lines": 2,
        "due_orders": 0,
        "missed_orders": 0,
    }
    measures = {
        "split_rate": "0.2500",
        "cost_per_order": "7.5000",
        "rejection_rate": "0.2500",
        "promise_miss_rate": None,
    }
    answer = {"version": "routing-1", "counts": counts, "measures": measures}
    route = api.get("/v1/policies/routing-1/report").respond(json=answer)

    assert main(["policy", "report", "routing-1", "--since", AT]) == 0

    assert route.calls.last.request.url.params["since"] == AT
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "6 orders go by routing-1"
    assert [row.split() for row in rows] == [
        ["split_rate", "0.2500", "1", "of", "4", "released", "orders"],
        ["cost_per_order", "7.5000", "5", "routed", "orders"],
        ["rejection_rate", "0.2500", "2", "of", "8", "assigned", "lines"],
        ["promise_miss_rate", "none", "yet", "0", "of", "0", "due", "orders"],
    ]


def test_the_list_shows_shares_times_and_broken_guardrails(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "version": "routing-1",
        "kind": "routing",
        "published_at": AT,
        "scope": {"brand": "acme"},
        "activated_at": AT,
        "deactivated_at": None,
        "share": 10,
        "starts_at": "2026-05-05T00:00:00Z",
        "ends_at": "2026-06-01T00:00:00Z",
        "alerts": [{"guardrail": "split_rate<=0.25", "value": "0.5000"}],
    }
    ended = {**row, "deactivated_at": "2026-05-07T00:00:00Z", "ended_because": "rolled back"}
    api.get("/v1/policies").respond(json={"policies": [row, ended]})

    assert main(["policy", "list"]) == 0

    *_, shown, over = capsys.readouterr().out.splitlines()
    assert "2026-05-07T00:00:00Z (rolled back)" in over
    assert "brand acme, 10 % of the customers" in shown
    assert "2026-05-05T00:00:00Z" in shown
    assert "2026-06-01T00:00:00Z" in shown
    assert "split_rate<=0.25 (0.5000)" in shown
