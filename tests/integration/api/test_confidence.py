"""The chance that a promised date holds: told once delivery dates were learned, left out before."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine

from domain.learned_dates import Lane, LaneDays, LearnedDates
from domain.policy_rollout import Scope
from starter.learned_dates import LearnedReader
from store import delivery_dates
from store.engine import transaction
from store.policies import activate, publish
from tests.integration.api.conftest import NOW, calling, until

ASKED = {
    "items": [{"sku": "MUG", "quantity": 1}],
    "destination": {"country": "US", "region": "NY", "postal_code": "10001"},
}


def learned(centre: float) -> LearnedDates:
    return LearnedDates(
        learned_at=NOW,
        shipments=3_000,
        first_planned=NOW - timedelta(days=200),
        weekday_shares=(1.0,) * 7,
        deviations=(-1.0, 0.0, 1.0),
        lanes=tuple(
            LaneDays(lane=Lane(service_id=service), shipments=900, centre=centre, spread=0.5)
            for service in ("ground", "express", "courier", "standard")
        ),
    )


def rename(engine: Engine, table: str, to: str) -> None:
    with transaction(engine) as session:
        session.connection().exec_driver_sql(f"ALTER TABLE {table} RENAME TO {to}")


async def options(app: FastAPI) -> list[dict[str, Any]]:
    async with calling(app) as client:
        answer = await client.post("/v1/promises", json=ASKED)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["options"]
    return found


async def test_nothing_is_said_of_confidence_while_nothing_was_learned(app: FastAPI) -> None:
    assert all("confidence" not in option for option in await options(app))


async def test_a_date_that_history_always_met_is_sure_and_one_it_never_met_is_not(
    app: FastAPI,
) -> None:
    for centre, chance in ((-3.0, 1.0), (6.0, 0.0)):
        known = learned(centre)
        app.state.services = replace(
            app.state.services, learned=partial(LearnedDates.model_copy, known)
        )
        [first, *_] = await options(app)
        assert first["confidence"] == chance


async def test_what_is_learned_later_is_read_without_making_anyone_wait(filled: Engine) -> None:
    reader = LearnedReader(filled, look_again_seconds=-1)
    assert reader.current() is None
    with transaction(filled) as session:
        delivery_dates.keep(session, learned(1.0))
    await until(lambda: reader.current() == learned(1.0))


async def test_a_database_that_is_away_leaves_what_was_known(filled: Engine) -> None:
    reader = LearnedReader(filled, look_again_seconds=-1)
    with transaction(filled) as session:
        delivery_dates.keep(session, learned(1.0))
    await until(lambda: reader.current() == learned(1.0))
    rename(filled, "learned_dates", "away")
    try:
        for _ in range(3):
            assert reader.current() == learned(1.0)
    finally:
        rename(filled, "away", "learned_dates")


async def test_a_policy_may_date_by_what_was_learned(app: FastAPI, filled: Engine) -> None:
    # Deviations of one spread at most: days are at most the centre's, times about 1.6.
    known = learned(3.0)
    with transaction(filled) as session:
        document = {"name": "by-history", "delivery_dates": "learned"}
        activate(session, publish(session, "routing", document, NOW), Scope(), NOW)
    [configured, *_] = await options(app)
    app.state.services = replace(
        app.state.services, learned=partial(LearnedDates.model_copy, known)
    )

    [first, *_] = await options(app)

    assert first["deliver_at"] > configured["deliver_at"]
    assert first["ship_at"] == configured["ship_at"]
    assert first["confidence"] >= 0.9
