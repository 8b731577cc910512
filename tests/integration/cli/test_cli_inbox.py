"""`doms inbox`, against an API that answers as told."""

import json
from typing import Any

import httpx
import pytest
import respx

from starter.cli import main

URL = "http://doms.test"


def message(number: int, connection: str) -> dict[str, Any]:
    return {
        "message_id": number,
        "kind": "webhook",
        "connection_id": connection,
        "event_id": f"E-{number}",
        "reason": "no fulfillment 'W-9-1'",
        "received_at": "2026-03-02T15:00:00Z",
        "body": "{}",
    }


@pytest.fixture
def kept(respx_mock: respx.MockRouter) -> respx.MockRouter:
    """Three messages of two connections, on two pages."""
    pages = {
        "0": {"messages": [message(3, "shop"), message(4, "wms-1")], "next": 4},
        "4": {"messages": [message(9, "shop")], "next": None},
    }

    def page(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=pages[request.url.params["after"]])

    respx_mock.get(f"{URL}/v1/quarantine").mock(side_effect=page)
    return respx_mock


def released(router: respx.MockRouter) -> list[str]:
    return [x.request.url.path for x in router.calls if x.request.method == "POST"]


def test_what_is_kept_aside_is_listed_over_all_pages(
    kept: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = [
        main(["inbox", "list", "--url", URL, "--json"]),
        main(["inbox", "list", "--url", URL, "--connection", "shop"]),
    ]

    first, *table = capsys.readouterr().out.splitlines()
    assert statuses == [0, 0]
    assert [x["message_id"] for x in json.loads(first)] == [3, 4, 9]
    assert sum("no fulfillment" in line for line in table) == 2


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["4"], [4]),
        (["3", "9"], [3, 9]),
        (["--connection", "shop"], [3, 9]),
        (["--all"], [3, 4, 9]),
    ],
)
@pytest.mark.respx(assert_all_called=False)
def test_the_chosen_messages_are_tried_again_each_once(
    kept: respx.MockRouter,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    numbers: list[int],
) -> None:
    kept.post(url__regex=rf"{URL}/v1/quarantine/\d+/release").respond(202, json={})

    status = main(["inbox", "replay", *arguments, "--url", URL, "--json"])

    assert status == 0
    assert json.loads(capsys.readouterr().out) == {"replayed": numbers}
    assert released(kept) == [f"/v1/quarantine/{x}/release" for x in numbers]


@pytest.mark.parametrize("arguments", [[], ["4", "--all"], ["4", "--connection", "shop"]])
@pytest.mark.respx(assert_all_called=False)
def test_what_is_to_be_replayed_must_be_said_and_said_once(
    kept: respx.MockRouter, arguments: list[str]
) -> None:
    assert main(["inbox", "replay", *arguments, "--url", URL]) == 2
    assert released(kept) == []


@pytest.mark.respx(assert_all_called=False)
def test_a_message_that_is_not_kept_aside_is_told_and_fails(
    kept: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"title": "Not Found", "status": 404, "detail": "no quarantined message 7"}
    kept.post(f"{URL}/v1/quarantine/7/release").respond(404, json=problem)

    assert main(["inbox", "replay", "7", "--url", URL]) == 1
    assert "no quarantined message 7" in capsys.readouterr().err
