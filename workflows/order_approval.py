"""Approvals: each level waits for a person with the role; timers remind, escalate and expire."""

from collections import deque
from typing import Literal

from temporalio import workflow

from workflows.messages import Answer, Vote
from workflows.order_core import OrderCore
from workflows.order_state import AskedApproval
from workflows.reactor import Deadline

with workflow.unsafe.imports_passed_through():
    from activities.approval import (
        ApprovalActivities,
        ApprovalRecord,
        AskedLevel,
        CastVote,
        ClosedLevel,
        Voter,
        VoterTask,
    )
    from activities.orders import OrderActivities
    from domain.approvals import Ballot, Verdict, count_vote, own_change, second_level
    from domain.plans import OrderFacts
    from domain.process_policy import ApprovalRule

_SAID = {"approve": "approved", "reject": "rejected"}
CHECKS_VOTERS = 2
"""The behavior from which an activity looks up the voter's roles."""


class Approval:
    """The approval chain of one order."""

    def __init__(self, core: OrderCore) -> None:
        """Nothing is asked yet; the first action loads the chain."""
        self._core = core
        self._votes: deque[tuple[Vote, str]] = deque()
        core.collect_deadlines.append(self.deadlines)
        core.news.append(lambda: bool(self._votes))

    def cast(self, vote: Vote, verdict: str) -> None:
        """Note a vote (`approve` or `reject`); it is counted by the loop."""
        self._votes.append((vote, verdict))
        self._core.wake()

    def why_not(self, vote: Vote) -> str | None:
        """Why a vote would not be taken now; None when it would be looked at."""
        if vote.request_id in self._core.state.answers:
            return None
        if not self._core.state.approvals_left:
            return "no approval is waited for"
        if vote.level != self._rule.level:
            return f"level {self._rule.level} is waited for, not {vote.level}"
        return None

    async def load(self) -> bool:
        """Learn whether approvals are needed. The first step of a B2B order."""
        core = self._core
        if core.state.facts is not None:
            return False
        facts = await core.call(
            OrderActivities.check_approval,
            core.task,
            OrderFacts,
            summary="Check which approvals this order needs",
        )
        core.take_facts(facts)
        core.state.approvals_left = bool(facts.approvals)
        if not facts.approvals:
            core.note("approval", "No approval needed")
        return True

    async def ask(self) -> bool:
        """Ask the next level."""
        state = self._core.state
        if not state.approvals_left or state.approval is not None:
            return False
        await self._ask(0)
        return True

    async def count(self) -> bool:
        """Count the oldest vote."""
        if not self._votes or self._core.state.facts is None:
            return False
        vote, verdict = self._votes.popleft()
        state, core = self._core.state, self._core
        if vote.request_id in state.answers:
            return True
        asked = state.approval
        ballot = count_vote(
            level=vote.level,
            role=vote.role,
            approver=vote.approver,
            asked=self._rule if asked else None,
            escalated=asked.escalated if asked else False,
            entered_by=core.facts.entered_by,
            voters=tuple(asked.voters) if asked else (),
        )
        if ballot.counts and core.behavior >= CHECKS_VOTERS:
            ballot = await self._check(vote, ballot)
        text = f"Level {vote.level}: {_SAID[verdict]} by a {vote.role}" + (
            "" if ballot.counts else f", which does not count: {ballot.reason}"
        )
        state.answers[vote.request_id] = Answer(
            request_id=vote.request_id, done=ballot.counts, text=text
        )
        core.note("approval", text)
        cast = CastVote(
            request_id=vote.request_id,
            level=vote.level,
            approver=vote.approver,
            role=vote.role,
            verdict=verdict,
            counted=ballot.counts,
            why=ballot.reason,
        )
        await self._count(cast, vote, verdict, ballot)
        return True

    async def _check(self, vote: Vote, ballot: Ballot) -> Ballot:
        """The vote would count: see its voter's roles and earlier votes, whatever it says."""
        voter = await self._core.call(
            ApprovalActivities.check_voter,
            VoterTask(
                approver=vote.approver,
                role=vote.role,
                key_name=vote.key_name,
                order=self._core.task,
                level=vote.level,
            ),
            Voter,
            summary=f"Check who votes on level {vote.level}",
        )
        if not voter.has_role:
            reason = f"the voter has not the role {vote.role}"
            return Ballot(verdict=Verdict.WRONG_ROLE, reason=reason)
        if voter.changed_order:
            return own_change()
        if voter.decided_level is not None:
            return second_level(vote.level, voter.decided_level)
        return ballot

    async def _count(self, cast: CastVote, vote: Vote, verdict: str, ballot: Ballot) -> None:
        state = self._core.state
        if not ballot.counts or state.approval is None:
            await self._record(ApprovalRecord(**self._core.written(), votes=(cast,)))
            return
        state.approval.voters.append(vote.approver)
        if verdict == "reject":
            await self._refuse("rejected", (cast,))
        elif state.approval.position + 1 < len(self._core.facts.approvals):
            closed = ClosedLevel(level=vote.level, outcome="approved")
            await self._ask(state.approval.position + 1, (cast,), closed)
        else:
            state.approval, state.approvals_left = None, False
            self._core.note("approval", "Approved by every level")
            closed = ClosedLevel(level=vote.level, outcome="approved")
            await self._record(ApprovalRecord(**self._core.written(), votes=(cast,), closed=closed))

    async def watch(self) -> bool:
        """Remind, escalate or expire when it is time."""
        core, asked = self._core, self._core.state.approval
        if asked is None:
            return False
        waited = workflow.now() - asked.asked_at
        if waited >= core.timings.approval_expiry:
            await self._refuse("expired", ())
            return True
        rule = self._rule
        if not asked.escalated and waited >= core.timings.approval_escalation:
            asked.escalated = True
            to = rule.escalate_to or rule.role
            core.note("approval", f"Level {rule.level} escalated to {to}")
            await self._record(ApprovalRecord(**core.written(), asked=self._asked_level(to)))
            return True
        if not asked.reminded and waited >= core.timings.approval_reminder:
            asked.reminded = True
            core.note("approval", f"Level {rule.level}: {rule.role} reminded")
            return True
        return False

    def deadlines(self) -> list[Deadline]:
        """The next of reminder, escalation and expiry."""
        asked, timings = self._core.state.approval, self._core.timings
        if asked is None:
            return []
        found = [Deadline(asked.asked_at + timings.approval_expiry, "approval expires")]
        if not asked.escalated:
            at = asked.asked_at + timings.approval_escalation
            found.append(Deadline(at, "approval escalates"))
        if not asked.reminded:
            found.append(Deadline(asked.asked_at + timings.approval_reminder, "reminder"))
        return found

    @property
    def _rule(self) -> ApprovalRule:
        asked = self._core.state.approval
        return self._core.facts.approvals[asked.position if asked else 0]

    def _asked_level(self, role: str) -> AskedLevel:
        expires = workflow.now() + self._core.timings.approval_expiry
        return AskedLevel(level=self._rule.level, role=role, expires_at=expires)

    async def _ask(
        self,
        position: int,
        votes: tuple[CastVote, ...] = (),
        closed: ClosedLevel | None = None,
    ) -> None:
        core = self._core
        core.state.approval = AskedApproval(position=position, asked_at=workflow.now())
        rule = self._rule
        core.note("approval", f"Level {rule.level} asked of {rule.role}")
        await self._record(
            ApprovalRecord(
                **core.written(),
                asked=self._asked_level(rule.role),
                votes=votes,
                closed=closed,
            )
        )

    async def _refuse(
        self, why: Literal["rejected", "expired"], votes: tuple[CastVote, ...]
    ) -> None:
        core = self._core
        closed = ClosedLevel(level=self._rule.level, outcome=why)
        core.state.approval, core.state.approvals_left = None, False
        core.state.rejected = True
        core.cancel_everything(f"approval/{why}", f"Approval {why}")
        core.note("approval", f"Approval {why}: the order is refused")
        await self._record(ApprovalRecord(**core.written(), votes=votes, closed=closed))

    async def withdraw(self) -> None:
        """The order is cancelled as a whole: nobody is asked any more."""
        core, state = self._core, self._core.state
        if state.approval is None or state.facts is None:
            state.approvals_left = False
            return
        closed = ClosedLevel(level=self._rule.level, outcome="withdrawn")
        state.approval, state.approvals_left = None, False
        core.note("approval", "Approval withdrawn: the order is cancelled")
        await self._record(ApprovalRecord(**core.written(), closed=closed))

    async def _record(self, record: ApprovalRecord) -> None:
        await self._core.call(
            ApprovalActivities.record_approval,
            record,
            type(None),
            summary=f"Approval: {record.timeline[-1].text if record.timeline else 'recorded'}"[
                :190
            ],
        )
