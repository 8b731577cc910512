"""`doms events`, against an API that answers as told."""

import json
from typing import Any

import pytest
import respx

from starter.cli import main

URL = "http://doms.test"
MADE = {
    "subscription_id": "sub-1",
    "url": "https://example.com/hooks",
    "event_types": ["order.*", "package.delivered"],
    "brand": "acme",
    "channel": None,
    "state": "active",
    "why": "",
    "secret": "whsec_shown-once",
}
DEAD = {
    "delivery_id": 7,
    "subscription_id": "sub-1",
    "event_id": "evt-1",
    "event_type": "order.completed",
    "order_id": "W-1",
    "status": "dead",
    "attempts": 10,
    "error": "answered 500: no room",
    "created_at": "2026-03-02T15:00:00Z",
    "next_at": None,
    "done_at": "2026-03-05T15:00:00Z",
}


def sent(router: respx.MockRouter) -> list[dict[str, Any]]:
    """The bodies of what was posted."""
    return [json.loads(x.request.content) for x in router.calls if x.request.method == "POST"]


def test_a_subscription_is_added_and_its_secret_shown_once(
    respx_mock: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    respx_mock.post(f"{URL}/v1/subscriptions").respond(201, json=MADE)
    types = ["--type", "order.*", "--type", "package.delivered"]
    target = "https://example.com/hooks"

    status = main(
        ["events", "subscriptions", "add", target, *types, "--brand", "acme", "--url", URL]
    )

    assert status == 0
    assert sent(respx_mock) == [
        {"url": target, "event_types": ["order.*", "package.delivered"], "brand": "acme"}
    ]
    assert capsys.readouterr().out == (
        "sub-1 is told order.*, package.delivered\nits secret, shown only now: whsec_shown-once\n"
    )


def test_subscriptions_are_listed_removed_enabled_and_get_another_secret(
    respx_mock: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{URL}/v1/subscriptions"
    respx_mock.get(place).respond(200, json={"subscriptions": [MADE]})
    respx_mock.delete(f"{place}/sub-1").respond(204)
    respx_mock.post(f"{place}/sub-1/enable").respond(200, json=MADE)
    respx_mock.post(f"{place}/sub-1/secret").respond(200, json=MADE)
    own = ["events", "subscriptions"]

    statuses = [
        main([*own, "list", "--url", URL]),
        main([*own, "remove", "sub-1", "--url", URL]),
        main([*own, "enable", "sub-1", "--url", URL]),
        main([*own, "new-secret", "sub-1", "--keep-hours", "2", "--url", URL]),
    ]

    out = capsys.readouterr().out
    assert statuses == [0, 0, 0, 0]
    assert sent(respx_mock) == [{}, {"keep_hours": 2}]
    assert "sub-1 is removed" in out
    assert "acme" in out.splitlines()[1]


def test_what_was_given_up_is_listed(
    respx_mock: respx.MockRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = respx_mock.get(f"{URL}/v1/events/deliveries", params={"status": "dead"})
    asked.respond(200, json={"deliveries": [DEAD], "next": 7})

    assert main(["events", "list", "--dead", "--url", URL]) == 0

    _, row, more = capsys.readouterr().out.splitlines()
    assert row.split()[:6] == ["7", "order.completed", "W-1", "sub-1", "dead", "10"]
    assert row.rstrip().endswith("answered 500: no room")
    assert more == "more: --after 7"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["7", "9"], {"delivery_ids": [7, 9], "dead": False}),
        (["--dead"], {"delivery_ids": [], "dead": True}),
        (
            ["--since", "2026-03-02", "--subscription", "sub-1"],
            {
                "delivery_ids": [],
                "dead": False,
                "since": "2026-03-02T00:00:00Z",
                "subscription_id": "sub-1",
            },
        ),
    ],
)
def test_the_chosen_events_are_told_again(
    respx_mock: respx.MockRouter, arguments: list[str], body: dict[str, Any]
) -> None:
    respx_mock.post(f"{URL}/v1/events/replay").respond(202, json={"replayed": 2})

    assert main(["events", "replay", *arguments, "--url", URL]) == 0

    assert sent(respx_mock) == [body]


@pytest.mark.parametrize(
    "arguments",
    [["replay"], ["replay", "7", "--dead"], ["list", "--dead", "--waiting"]],
)
def test_what_is_not_said_or_said_twice_is_wrong_use(arguments: list[str]) -> None:
    assert main(["events", *arguments, "--url", URL]) == 2


def test_types_are_listed(respx_mock: respx.MockRouter, capsys: pytest.CaptureFixture[str]) -> None:
    types = [{"type": "order.held", "says": "a hold was placed on it"}]
    respx_mock.get(f"{URL}/v1/events/types").respond(200, json={"types": types})

    assert main(["events", "types", "--url", URL]) == 0

    assert "order.held  a hold was placed on it" in capsys.readouterr().out
