"""Brokering: plan unreleased orders again, together, and move those that gain by it."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.kernel import learned_transits
from activities.recording import now
from domain.brokering import Moved, Standing, rebroker
from domain.brokering_runs import Batch, BrokeringRun
from domain.errors import FinalError
from domain.planning import plan_of
from domain.routing.decision import Exclusion
from domain.routing.explain import explain
from domain.routing.facts import KernelFacts, snapshot_of
from domain.routing.policy import RoutingPolicy
from domain.values import Count, DerivedId, Model
from store import brokering, decisions, network, policies, reservations
from store.brokering import Move
from store.engine import reading, transaction
from store.snapshot import build_facts

log = logging.getLogger(__name__)


class RunTask(Model):
    """A run, and what it is set to."""

    run_id: DerivedId
    min_gain_micros: Count
    """What moving an order must save, in micros of the base currency."""
    margin: timedelta
    """Orders that are released sooner than this are left alone."""
    most_orders: Count


class BatchTask(RunTask):
    """Some of the run's orders, to be planned together."""

    batch: Batch


class Batches(Model):
    """The run's work."""

    batches: tuple[Batch, ...]


class BrokeringActivities:
    """The periodic brokering run."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="start_brokering", no_thread_cancel_exception=True)
    def start_brokering(self, task: RunTask) -> Batches:
        """Note the run and choose its orders."""
        with transaction(self._engine) as session:
            found = brokering.start(
                session,
                task.run_id,
                release_after=now() + task.margin,
                most=task.most_orders,
                now=now(),
            )
        return Batches(batches=found)

    @activity.defn(name="rebroker", no_thread_cancel_exception=True)
    def rebroker(self, task: BatchTask) -> int:
        """Plan the orders together and move those that gain; how many.

        A repeat after a crash looks at where the orders are by then: what was moved has moved.
        """
        at = now()
        with reading(self._engine) as session:
            standings, facts, policy = self._look(session, task, at)
        groups = rebroker(standings, facts, policy, task.min_gain_micros)
        moved = 0
        for group in groups:
            activity.heartbeat()
            moved += self._move(task.run_id, group, policy, at)
        return moved

    @activity.defn(name="finish_brokering", no_thread_cancel_exception=True)
    def finish_brokering(self, task: RunTask) -> BrokeringRun:
        """Note the run's end; what it did."""
        with transaction(self._engine) as session:
            return brokering.finish(session, task.run_id, now())

    def _look(
        self, session: Session, task: BatchTask, at: datetime
    ) -> tuple[list[Standing], KernelFacts, RoutingPolicy]:
        batch = task.batch
        standings = brokering.standings(
            session, task.run_id, batch, release_after=at + task.margin, now=at
        )
        policy = policies.routing_policy(session, batch.policy)
        skus = {line.sku for x in standings for line in x.request.lines}
        cooling = reservations.cool_offs(session, skus, at)
        standings = [_where_asked(x, cooling) for x in standings]
        facts = build_facts(session, skus, at, batch.channel)
        if policy.delivery_dates == "learned":
            requests = [x.request for x in standings]
            known = learned_transits(session, facts.network.nodes, requests, policy, at)
            facts = replace(facts, transits=known)
        return standings, facts, policy

    def _move(
        self, run_id: str, group: tuple[Moved, ...], policy: RoutingPolicy, at: datetime
    ) -> int:
        """Move the group; 0 when others were quicker, and then nothing was changed."""
        try:
            with transaction(self._engine) as session:
                moves = [_as_move(session, moved, policy, at) for moved in group]
                brokering.move_together(session, run_id, moves, at)
        except FinalError as refusal:
            log.info("not moved: %s", refusal)
            return 0
        return len(group)


def _where_asked(standing: Standing, cooling: Iterable[Exclusion]) -> Standing:
    """The order without the nodes that cool off; where it stands already it may stay."""
    own = {node_id for node_id, _ in standing.places}
    others = tuple(x for x in cooling if x.node_id not in own)
    exclusions = (*standing.request.exclusions, *others)
    request = standing.request.model_copy(update={"exclusions": exclusions})
    return replace(standing, request=request)


def _as_move(session: Session, moved: Moved, policy: RoutingPolicy, at: datetime) -> Move:
    """The move as the store makes it, with the decision's record and its words."""
    standing, request = moved.standing, moved.request
    snapshot = snapshot_of(moved.facts, request)
    decisions.keep_network(session, snapshot)
    explanation = f"Re-planned with other orders: {moved.why}. {explain(moved.decision, request)}"
    plan = plan_of(
        moved.decision,
        snapshot,
        network.connections(session),
        decision_id=request.request_id,
        plan_version=standing.next_version,
        explanation=explanation,
    )
    decision = decisions.packed(
        request.request_id, standing.order_id, request, snapshot, policy, moved.decision, at
    )
    return Move(standing, plan, moved.option, decision, moved.before, moved.why)
