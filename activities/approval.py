"""Approvals: what waits for whom, and every vote, counted or not."""

from typing import Literal

from sqlalchemy.orm import Session
from temporalio import activity

from activities.context import Context
from activities.orders import OrderTask
from activities.recording import OrderRecord, now, write_order
from domain.values import Id, Model, Text, UtcTime
from store import api_keys, approvals, orders, pins, policies
from store.engine import reading, transaction

ADMIN = "admin"
"""Who may do everything may vote in every role, as at the edge."""


class AskedLevel(Model):
    """A level now waiting for someone with the role."""

    level: int
    role: Id
    expires_at: UtcTime


class CastVote(Model):
    """A vote and why it counted or did not."""

    request_id: str
    level: int
    approver: Text
    role: Id
    verdict: Literal["approve", "reject"]
    counted: bool
    why: Text = ""


class ClosedLevel(Model):
    """A level that waits no longer: approved, rejected, expired or withdrawn."""

    level: int
    outcome: Literal["approved", "rejected", "expired", "withdrawn"]


class ApprovalRecord(OrderRecord):
    """What changed in the approvals of an order."""

    asked: AskedLevel | None = None
    votes: tuple[CastVote, ...] = ()
    closed: ClosedLevel | None = None


class VoterTask(Model):
    """Who voted in which role; `key_name` is None for one of this machine's own people.

    A task without `order`, of an older workflow's worker, asks about the role alone.
    """

    approver: Text
    role: Id
    key_name: Text | None = None
    order: OrderTask | None = None
    level: int = 0


class Voter(Model):
    """Whether the voter has the role now, and what else forbids the vote."""

    has_role: bool
    changed_order: bool = False
    """Whether a later version of the order is the voter's own."""
    decided_level: int | None = None
    """Another level that the voter decided."""


class ApprovalActivities:
    """The approval step of B2B orders."""

    def __init__(self, context: Context) -> None:
        """Keep the engine, and whether local votes are taken."""
        self._engine = context.engine
        self._local_may_vote = context.local_may_vote

    @activity.defn(name="check_voter", no_thread_cancel_exception=True)
    def check_voter(self, task: VoterTask) -> Voter:
        """Look up the voter's roles and earlier votes: what a message says is not believed."""
        with reading(self._engine) as session:
            return Voter(
                has_role=self._has_role(session, task),
                changed_order=_changed_order(session, task),
                decided_level=_other_level(session, task),
            )

    def _has_role(self, session: Session, task: VoterTask) -> bool:
        if task.key_name is None:
            return self._local_may_vote
        roles = api_keys.roles_of(session, task.key_name)
        return task.approver == task.key_name and not roles.isdisjoint({task.role, ADMIN})

    @activity.defn(name="record_approval", no_thread_cancel_exception=True)
    def record_approval(self, task: ApprovalRecord) -> None:
        """Write who is asked and who voted what."""
        with transaction(self._engine) as session:
            for vote in task.votes:
                approvals.record_vote(
                    session,
                    task.order_id,
                    vote.level,
                    request_id=vote.request_id,
                    approver=vote.approver,
                    role=vote.role,
                    verdict=vote.verdict,
                    counted=vote.counted,
                    why=vote.why,
                    at=now(),
                )
            if task.closed is not None:
                approvals.close(
                    session, task.order_id, task.closed.level, task.closed.outcome, now()
                )
            if task.asked is not None:
                approvals.ask(
                    session,
                    task.order_id,
                    task.asked.level,
                    task.asked.role,
                    now(),
                    task.asked.expires_at,
                )
            write_order(session, task)


def _changed_order(session: Session, task: VoterTask) -> bool:
    if task.order is None:
        return False
    return task.approver in orders.changed_by(session, task.order.order_id)


def _other_level(session: Session, task: VoterTask) -> int | None:
    """A level of the order that the voter decided, unless one person may decide several."""
    if task.order is None:
        return None
    order = task.order
    decided = [
        level
        for level in approvals.decided_by(session, order.order_id, task.approver)
        if level != task.level
    ]
    if not decided:
        return None
    version = pins.pinned(session, order.order_id, "process", order.process_policy)
    may_decide_several = policies.process_policy(session, version).same_person_may_approve
    return None if may_decide_several else decided[0]
