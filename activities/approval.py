"""Approvals: what waits for whom, and every vote, counted or not."""

from typing import Literal

from temporalio import activity

from activities.context import Context
from activities.recording import OrderRecord, now, write_order
from domain.values import Id, Model, Text, UtcTime
from store import api_keys, approvals
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
    """Who voted in which role; `key_name` is None for one of this machine's own people."""

    approver: Text
    role: Id
    key_name: Text | None = None


class Voter(Model):
    """Whether the voter has the role now."""

    has_role: bool


class ApprovalActivities:
    """The approval step of B2B orders."""

    def __init__(self, context: Context) -> None:
        """Keep the engine, and whether local votes are taken."""
        self._engine = context.engine
        self._local_may_vote = context.local_may_vote

    @activity.defn(name="check_voter", no_thread_cancel_exception=True)
    def check_voter(self, task: VoterTask) -> Voter:
        """Look up the voter's roles: what a message says of itself is not believed."""
        if task.key_name is None:
            return Voter(has_role=self._local_may_vote)
        with reading(self._engine) as session:
            roles = api_keys.roles_of(session, task.key_name)
        return Voter(
            has_role=task.approver == task.key_name and not roles.isdisjoint({task.role, ADMIN})
        )

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
