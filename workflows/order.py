"""One order from intake to its end: approval, promise, route, reserve, release, delivery."""

from typing import NoReturn

from temporalio import workflow
from temporalio.common import VersioningBehavior

from workflows.messages import (
    Amend,
    Answer,
    Cancel,
    ChangeAddress,
    ChooseNode,
    OrderInput,
    OrderReport,
    OrderResult,
    PlaceHold,
    ReleaseHold,
    Resume,
    Timeline,
    Vote,
)
from workflows.order_approval import Approval
from workflows.order_automation import Automation
from workflows.order_commands import Command, Commands, no_hold
from workflows.order_core import OrderCore
from workflows.order_details import order_details
from workflows.order_fulfillments import Fulfillments
from workflows.order_planning import Planning
from workflows.reactor import refuse

with workflow.unsafe.imports_passed_through():
    from domain.events import FulfillmentProgress, Replanned, SupplyGranted
    from domain.orders import OrderType


@workflow.defn(name="OrderWorkflow", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class OrderWorkflow:
    """The durable life of one order."""

    @workflow.init
    def __init__(self, start: OrderInput) -> None:
        """Set up the parts before any message is handled."""
        self._start = start
        self._core = OrderCore(start)
        self._approval = Approval(self._core)
        self._fulfillments = Fulfillments(self._core)
        self._planning = Planning(self._core, self._fulfillments)
        self._commands = Commands(self._core, self._planning, self._approval)
        self._automation = Automation(self._core, self._commands)

    @workflow.run
    async def run(self, _: OrderInput) -> OrderResult:
        """Drive the order until nothing of it is open."""
        return await self._core.shielded(self._live(), self._cancelled_natively)

    def _cancelled_natively(self) -> None:
        self._commands.cancel_everything("native-cancel", "Cancelled in Temporal")

    async def _live(self) -> OrderResult:
        actions = [
            self._fulfillments.take_reports,
            self._commands.obey,
            self._commands.expire_holds,
            self._automation.act,
            self._approval.count,
            self._fulfillments.take_failure,
            self._approval.watch,
            self._approval.ask,
            self._planning.promise,
            self._planning.plan,
            self._planning.release,
            self._planning.look_again,
            self._planning.give_up_backorder,
            self._continue_as_new,
        ]
        if self._start.order_type is OrderType.B2B:
            actions.insert(0, self._approval.load)
        while not self._core.is_finished:
            await self._core.react(actions, lambda: self._core.is_finished)
            for step in list(self._core.questions):
                self._core.withdraw(step)
            # A request that comes in meanwhile is answered, and may open the order again.
            await self._core.record("Complete the order", closed=True)
        self._core.show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        quantities = self._core.state.book.all_quantities().values()
        return OrderResult(
            order_id=self._start.order_id,
            stage=self._core.state.stage,
            delivered_units=sum(x.delivered for x in quantities),
            cancelled_units=sum(x.cancelled for x in quantities),
        )

    async def _continue_as_new(self) -> bool:
        """Start over with a short history, only while no fulfillment is open."""
        state = self._core.state
        is_open = any(track.is_open for track in state.book.tracks.values())
        if is_open or not workflow.info().is_continue_as_new_suggested():
            return False
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._core.has_news():
            self._start_over()
        return True

    def _start_over(self) -> NoReturn:
        state = self._core.state
        carried = self._start.model_copy(update={"state": state.model_dump(mode="json")})
        workflow.continue_as_new(carried)

    @workflow.signal(description="Approve a level")
    def approve(self, vote: Vote) -> None:
        """Count an approver's yes."""
        self._approval.cast(vote, "approve")

    @workflow.signal(description="Reject a level")
    def reject(self, vote: Vote) -> None:
        """Count an approver's no."""
        self._approval.cast(vote, "reject")

    @workflow.signal(description="Cancel all or some units")
    def cancel(self, command: Cancel) -> None:
        """Cancel what can still be cancelled."""
        self._commands.take(command)

    @workflow.signal(description="Stop the order from moving on")
    def hold(self, command: PlaceHold) -> None:
        """Place a hold."""
        self._commands.take(command)

    @workflow.signal(description="Lift a hold")
    def release_hold(self, command: ReleaseHold) -> None:
        """Lift the holds of a type."""
        self._commands.take(command)

    @workflow.signal(description="Answer a step that waits for a person")
    def resume(self, resume: Resume) -> None:
        """Take a choice; one that does not fit changes nothing."""
        if resume.request_id in self._core.state.answers:
            return
        refusal = self._core.resume_with(resume)
        text = f"Resume refused: {refusal}" if refusal else f"A person chose {resume.choice.value}"
        self._core.answer(resume.request_id, refusal is None, text)
        self._core.wake()

    @workflow.signal(description="Send a ship group elsewhere")
    def change_address(self, command: ChangeAddress) -> None:
        """Use another stored address."""
        self._commands.take(command)

    @workflow.signal(description="Force, forbid or prefer a node")
    def choose_node(self, command: ChooseNode) -> None:
        """Plan what is not released by a person's choice of nodes."""
        self._commands.take(command)

    @workflow.signal(description="A changed document was accepted")
    def amend(self, command: Amend) -> None:
        """Change to another version of the document."""
        self._commands.take(command)

    @workflow.signal(description="A fulfillment reports")
    def fulfillment_progress(self, progress: FulfillmentProgress) -> None:
        """Take a fulfillment's report."""
        self._fulfillments.report(progress)

    @workflow.signal(description="Supply was reserved for backordered units")
    def supply_granted(self, granted: SupplyGranted) -> None:
        """Plan the granted units."""
        self._commands.take(granted)

    @workflow.signal(description="A brokering run moved the plan")
    def replanned(self, replanned: Replanned) -> None:
        """Carry out another plan."""
        self._commands.take(replanned)

    @workflow.update(description="Approve a level, and learn whether it counted")
    async def approve_and_answer(self, vote: Vote) -> Answer:
        """Count a yes and say whether it counted."""
        self._approval.cast(vote, "approve")
        return await self._answer(vote.request_id)

    @workflow.update(description="Reject a level, and learn whether it counted")
    async def reject_and_answer(self, vote: Vote) -> Answer:
        """Count a no and say whether it counted."""
        self._approval.cast(vote, "reject")
        return await self._answer(vote.request_id)

    @approve_and_answer.validator
    def _check_approve(self, vote: Vote) -> None:
        refuse(self._approval.why_not(vote))

    @reject_and_answer.validator
    def _check_reject(self, vote: Vote) -> None:
        refuse(self._approval.why_not(vote))

    @workflow.update(description="Cancel, and learn what could be cancelled")
    async def cancel_and_answer(self, command: Cancel) -> Answer:
        """Cancel and say what became of it."""
        return await self._obey(command)

    @cancel_and_answer.validator
    def _check_cancel(self, command: Cancel) -> None:
        known = self._core.state.book.lines
        strange = [x.line_id for x in command.lines or () if known and x.line_id not in known]
        refuse(f"the order has no line {strange[0]}" if strange else None)

    @workflow.update(description="Hold, and learn that it holds")
    async def hold_and_answer(self, command: PlaceHold) -> Answer:
        """Place a hold and confirm it."""
        return await self._obey(command)

    @workflow.update(description="Lift a hold, and learn whether there was one")
    async def release_hold_and_answer(self, command: ReleaseHold) -> Answer:
        """Lift a hold and say whether there was one."""
        return await self._obey(command)

    @release_hold_and_answer.validator
    def _check_release_hold(self, command: ReleaseHold) -> None:
        held = {hold.type for hold in self._core.state.holds}
        is_known = command.request_id in self._core.state.answers
        refuse(None if is_known or command.type in held else no_hold(command.type, held))

    @workflow.update(description="Answer a step that waits, and learn whether the choice fits")
    async def resume_and_answer(self, resume: Resume) -> Answer:
        """Take a choice."""
        self.resume(resume)
        return self._core.state.answers[resume.request_id]

    @resume_and_answer.validator
    def _check_resume(self, resume: Resume) -> None:
        is_known = resume.request_id in self._core.state.answers
        refuse(None if is_known else self._core.why_not_resume(resume))

    @workflow.update(description="Change an address, and learn what it reached")
    async def change_address_and_answer(self, command: ChangeAddress) -> Answer:
        """Use another stored address."""
        return await self._obey(command)

    @workflow.update(description="Choose a node, and learn whether the order can go by that")
    async def choose_node_and_answer(self, command: ChooseNode) -> Answer:
        """Plan by a person's choice of nodes."""
        return await self._obey(command)

    @workflow.update(description="Change to a new version, and learn what became of it")
    async def amend_and_answer(self, command: Amend) -> Answer:
        """Change to another version of the document."""
        return await self._obey(command)

    @workflow.query(description="Where the order stands")
    def status(self) -> OrderReport:
        """Quantities, stage, holds, attention, fulfillments."""
        core = self._core
        revision = core.state.revision
        view = core.view()
        core.state.revision = revision
        return OrderReport(
            view=view,
            fulfillments={x: track.status for x, track in core.state.book.tracks.items()},
            details=order_details(
                core.state, core.attention, core.deadlines(), core.state.book.all_quantities()
            ),
        )

    @workflow.query(description="What happened, latest last")
    def timeline(self) -> Timeline:
        """The order's story."""
        return Timeline(entries=tuple(self._core.state.timeline))

    @workflow.query(description="Why the order goes where it goes")
    def explain(self) -> str:
        """The last decision in words."""
        return self._core.state.explanation or "No routing decision has been made yet."

    async def _obey(self, command: Command) -> Answer:
        self._commands.take(command)
        return await self._answer(command.request_id)

    async def _answer(self, request_id: str) -> Answer:
        answers = self._core.state.answers
        await workflow.wait_condition(lambda: request_id in answers)
        return answers[request_id]
