"""Brokering runs and chosen nodes on the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import respx

from starter.cli import main
from starter.commands.order_view import print_order

URL = "http://127.0.0.1:18089"
RUN = {
    "run_id": "brokering-1",
    "started_at": "2026-03-02T09:00:00Z",
    "finished_at": "2026-03-02T09:00:03Z",
    "looked_at": 40,
    "moved": 1,
    "gain_micros": 3_200_000,
    "seconds": 3.04,
}
MOVE = {
    "order_id": "W-1",
    "from_version": 1,
    "to_version": 2,
    "decision_id": "W-1-d2-x",
    "before_micros": 12_300_000,
    "after_micros": 9_100_000,
    "why": "moved from far to near",
    "moved_at": "2026-03-02T09:00:02Z",
}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOMS_API_URL", URL)
    monkeypatch.delenv("DOMS_API_KEY", raising=False)


@pytest.fixture
def api() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        yield router


def test_runs_are_listed_with_what_they_saved(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    under_way = {**RUN, "run_id": "brokering-2", "seconds": None, "moved": 0, "gain_micros": 0}
    api.get("/v1/brokering-runs").respond(200, json={"runs": [under_way, RUN]})

    assert main(["brokering", "list"]) == 0

    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[-3:] == ["0.00", "under", "way"]
    assert second.split() == ["brokering-1", "2026-03-02T09:00:00Z", "40", "1", "3.20", "3.0"]


def test_no_runs_are_said_to_be_none(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/brokering-runs").respond(200, json={"runs": []})
    assert main(["brokering", "list"]) == 0
    assert capsys.readouterr().out == "no runs yet\n"


def test_a_run_is_shown_with_each_order_it_moved(
    api: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    api.get("/v1/brokering-runs/brokering-1").respond(200, json={**RUN, "moves": [MOVE]})

    assert main(["brokering", "show", "brokering-1"]) == 0

    first, _, row = capsys.readouterr().out.splitlines()
    assert first == "brokering-1: 40 looked at, 1 moved, 3.20 saved"
    assert row.split() == ["W-1", "12.30", "9.10", "W-1-d2-x", "moved", "from", "far", "to", "near"]


def test_a_run_is_started(api: respx.MockRouter, capsys: pytest.CaptureFixture[str]) -> None:
    api.post("/v1/brokering-runs").respond(202, json={"status": "started"})
    assert main(["brokering", "run"]) == 0
    assert capsys.readouterr().out == "started: `doms brokering list` shows what it did\n"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["force-node", "W-1", "--node", "dc-1", "--reason", "asked"], {"force": "dc-1"}),
        (["forbid-node", "W-1", "--node", "dc-1", "--reason", "asked"], {"forbid": "dc-1"}),
        (["prefer-node", "W-1", "--node", "dc-1", "--reason", "asked"], {"prefer": "dc-1"}),
        (["clear-nodes", "W-1", "--reason", "asked"], {"clear": True}),
    ],
)
def test_a_choice_of_nodes_is_posted(
    api: respx.MockRouter, arguments: list[str], body: dict[str, Any]
) -> None:
    route = api.post("/v1/orders/W-1/nodes").respond(200, json={"answer": "done"})

    assert main(["order", *arguments]) == 0

    assert json.loads(route.calls.last.request.content) == {**body, "reason": "asked"}


def test_an_order_is_shown_with_the_nodes_people_chose(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [
        {"choice": "force", "node_id": "dc-2", "actor": "Ada", "reason": "asked for"},
        {"choice": "forbid", "node_id": "dc-1", "actor": "Ada", "reason": ""},
    ]
    print_order({"order_id": "W-1", "stage": "reserved", "overrides": overrides})
    shown = capsys.readouterr().out.splitlines()
    assert "force dc-2 by Ada: asked for" in shown
    assert "forbid dc-1 by Ada" in shown
