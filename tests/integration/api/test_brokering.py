"""Brokering runs over HTTP, and the choice of nodes."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from domain.routing.decision import Decision, DecisionRequest, Purpose, Snapshot
from domain.routing.policy import RoutingPolicy
from starter.answers import Answers
from store import brokering, decisions
from store.columns import statement
from store.engine import transaction
from tests.integration.api.conftest import NOW, messages_of, order_document


def a_run(engine: Engine) -> None:
    note = statement(
        "INSERT INTO brokering_moves (run_id, order_id, from_version, to_version, decision_id,"
        " before_micros, after_micros, why, moved_at) VALUES ('run-1', 'W-1', 1, 2, 'W-1-d2-x',"
        " 12300000, 9100000, 'moved from far to near', :moved_at)",
        "brokering_moves",
    )
    with transaction(engine) as session:
        brokering.start(session, "run-1", release_after=NOW, most=10, now=NOW)
        session.execute(note, {"moved_at": NOW})
        brokering.finish(session, "run-1", NOW + timedelta(seconds=3))
        brokering.start(
            session, "run-2", release_after=NOW, most=10, now=NOW + timedelta(minutes=10)
        )


async def test_runs_are_listed_and_shown_with_what_they_moved(
    api: httpx.AsyncClient, engine: Engine
) -> None:
    # given
    a_run(engine)
    # when
    listed = (await api.get("/v1/brokering-runs")).json()["runs"]
    shown = (await api.get("/v1/brokering-runs/run-1")).json()
    # then
    assert [(x["run_id"], x["seconds"], x["moved"]) for x in listed] == [
        ("run-2", None, 0),
        ("run-1", 3.0, 1),
    ]
    assert (shown["gain_micros"], shown["looked_at"]) == (3_200_000, 0)
    [move] = shown["moves"]
    assert (move["order_id"], move["why"]) == ("W-1", "moved from far to near")
    unknown = await api.get("/v1/brokering-runs/run-9")
    assert unknown.status_code == 404


async def test_a_run_cannot_be_started_while_temporal_is_away(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/brokering-runs")
    assert answer.status_code == 503
    assert "Temporal" in answer.json()["detail"]


async def test_a_run_is_started_by_its_schedule(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def trigger(_answers: Answers, schedule_id: str) -> bool:
        started.append(schedule_id)
        return True

    monkeypatch.setattr(Answers, "trigger", trigger)
    answer = await api.post("/v1/brokering-runs")
    assert (answer.status_code, started) == (202, ["brokering"])


async def test_the_choice_of_a_node_is_kept_for_the_order_and_its_words_apart(
    api: httpx.AsyncClient, engine: Engine
) -> None:
    # given
    await api.post("/v1/orders", json=order_document())
    # when
    body = {"force": "dc-1", "reason": "Ada asked for it", "request_id": "n-1"}
    answer = await api.post("/v1/orders/W-1/nodes", json=body)
    # then
    assert answer.status_code == 202
    [kept] = [x for x in messages_of(engine) if x["name"] == "choose_node"]
    payload = kept["payload"]
    assert (json.loads(payload) if isinstance(payload, str) else payload) == {
        "request_id": "n-1",
        "choice": "force",
        "node_id": "dc-1",
        "reason": "",
        "actor": "local",
    }


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "force"),
        ({"force": "dc-1", "prefer": "dc-1"}, "force"),
        ({"force": "dc-1", "clear": True}, "force"),
        ({"forbid": "nowhere"}, "forbid"),
    ],
)
async def test_what_is_no_one_choice_of_a_known_node_is_refused(
    api: httpx.AsyncClient, engine: Engine, body: dict[str, Any], path: str
) -> None:
    # given
    await api.post("/v1/orders", json=order_document())
    before = messages_of(engine)
    # when
    answer = await api.post("/v1/orders/W-1/nodes", json=body)
    # then
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path
    assert messages_of(engine) == before


async def test_a_decision_of_a_run_is_explained_with_why_it_moved_the_order(
    api: httpx.AsyncClient, engine: Engine
) -> None:
    # given
    a_run(engine)
    request = DecisionRequest(
        request_id="W-1-d2-x",
        purpose=Purpose.REROUTE,
        now=NOW,
        lines=(),
        groups=(),
        forced_nodes=("dc-1",),
    )
    decided = Decision(
        request_id="W-1-d2-x", policy_version="p@1", snapshot_id="s", options=(), chosen=None
    )
    snapshot, policy = Snapshot(availability={}, nodes=()), RoutingPolicy(name="p")
    with transaction(engine) as session:
        decisions.save_decision(session, "W-1-d2-x", "W-1", request, snapshot, policy, decided, NOW)
    # when
    answer = await api.get("/v1/decisions/W-1-d2-x/explain")
    # then
    assert answer.json()["explanation"] == (
        "Re-planned with other orders: moved from far to near. Chosen by people, or granted there:"
        " only dc-1 may serve. No plan was made."
    )
