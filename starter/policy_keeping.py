"""Ends activations whose time is over, and watches the guardrails of those in force."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import ConflictError
from domain.guardrails import breaches
from starter.api.metrics import POLICY_ALERTS_RAISED
from store import pins, policies, policy_alerts, policy_measures
from store.engine import reading, transaction
from store.pins import Withdrawal
from store.policy_alerts import Alert, Watched

log = logging.getLogger("doms.policies")

LOOK_SECONDS = 30.0
WATCHED_ORDERS = 5_000
"""A guardrail looks at so many, the newest: enough to tell a rate to a percent or two."""
ROLLED_BACK = "rolled back for a guardrail"


class PolicyKeeper:
    """Looks now and again. Several processes may: each end and each alert happens once."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        """Look at that store."""
        self._engine = engine
        self._clock = clock

    async def run(self, _: object = None) -> None:
        """Look until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.keep)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    def keep(self) -> None:
        """End what is over, settle what was under way meanwhile, raise the alerts there are."""
        self.end_what_is_over()
        with transaction(self._engine) as session:
            pins.settle(session, self._clock())
        self.check_guardrails()

    def end_what_is_over(self) -> list[Withdrawal]:
        """End activations whose time is over; their unreleased orders go by what is active now."""
        now = self._clock()
        with reading(self._engine) as session:
            over = policies.activations_over(session, now)
        done = []
        for activation_id, version in over:
            with transaction(self._engine) as session:
                done.append(pins.end_activation(session, version, activation_id, pins.ENDED, now))
            log.info("policy %s: its time is over", version)
        return done

    def check_guardrails(self) -> list[Alert]:
        """Measure every activation with guardrails; the alerts raised now, and no more after."""
        now = self._clock()
        with reading(self._engine) as session:
            watched = policy_alerts.watched(session, now)
        return [alert for one in watched for alert in self._check(one, now)]

    def _check(self, one: Watched, now: datetime) -> list[Alert]:
        with reading(self._engine) as session:
            counts = policy_measures.counts(
                session,
                one.kind,
                one.version,
                now,
                since=one.since,
                scope=one.scope,
                most=WATCHED_ORDERS,
            )
        broken = breaches(one.guardrails, counts, one.minimum_orders)
        if not broken:
            return []
        with transaction(self._engine) as session:
            raised = policy_alerts.raise_alerts(session, one.activation_id, broken, now)
        POLICY_ALERTS_RAISED.inc(len(raised))
        for alert in raised:
            log.error("policy %s broke %s with %s", one.version, alert.guardrail, alert.value)
        if one.rolls_back:
            self._roll_back(one, now)
        return raised

    def _roll_back(self, one: Watched, now: datetime) -> None:
        """End it, unless orders would be left without a policy: those could not be taken in."""
        try:
            with transaction(self._engine) as session:
                pins.end_activation(
                    session, one.version, one.activation_id, ROLLED_BACK, now, only_covered=True
                )
        except ConflictError:
            log.warning("policy %s stays: no other is active for all its orders", one.version)
        else:
            log.warning("policy %s was rolled back", one.version)
