"""The core of a fulfillment workflow: its state, what it shows, and what it records."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from workflows.messages import FulfillmentInput
from workflows.order_details import fulfillment_details, moment
from workflows.reactor import Deadline, Reactor
from workflows.search_attributes import BLOCKED_STEP, CARRIERS, FULFILLMENT_STATUS
from workflows.step_keys import entry_key, revision_after

with workflow.unsafe.imports_passed_through():
    from activities.deliver import DeliverActivities
    from activities.recording import FulfillmentRecord
    from domain.events import (
        AddressAnswer,
        CancelAnswer,
        CancelOutcome,
        FulfillmentProgress,
        Shortfall,
    )
    from domain.fulfillment_state import FulfillmentState, progress_of, view_of
    from domain.fulfillments import FulfillmentStatus
    from domain.plans import FulfillmentView, TimelineEntry
    from domain.stages import Choice


class FulfillmentCore(Reactor):
    """State and its projections."""

    def __init__(self, start: FulfillmentInput) -> None:
        """Nothing has been handed to the node yet."""
        super().__init__(start.timings, start.behavior)
        self.start = start
        self.state = FulfillmentState.of(start.order)
        self.holds: set[str] = set()
        self.story: list[TimelineEntry] = []
        self.entries = 0
        self.revision = 0
        self.shortfalls: list[Shortfall] = []
        self.cancel_answers: list[CancelAnswer] = []
        self.address_answers: list[AddressAnswer] = []
        self._answers_told = 0
        self.waits: list[Deadline] = []
        self._shown: tuple[object, ...] = ()
        self._told: tuple[object, ...] = ()

    @property
    def fulfillment_id(self) -> str:
        """The fulfillment's id."""
        return self.start.order.fulfillment_id

    @property
    def runs_in_doms(self) -> bool:
        """Whether the node's people work in doms, without a system of their own."""
        return self.start.connection_id is None

    @property
    def acknowledgement(self) -> timedelta:
        """How long the node may take to accept, before it is reminded and before it is given up."""
        return self.timings.acknowledgement_of(people=self.runs_in_doms)

    def note(self, kind: str, text: str) -> None:
        """Add to the order's story; written with the next step."""
        self.entries += 1
        self.story.append(
            TimelineEntry(
                key=entry_key(self.fulfillment_id, self.entries, text),
                at=workflow.now(),
                kind=kind,
                text=f"{self.start.order.node_id}: {text}",
            )
        )

    def answer_cancel(self, request_id: str, outcome: CancelOutcome) -> None:
        """Keep the answer to a cancel; the next report tells the order."""
        self.cancel_answers.append(CancelAnswer(request_id=request_id, outcome=outcome))
        self.note("cancel", f"asked to cancel: {outcome.value.replace('_', ' ')}")

    def progress(self) -> FulfillmentProgress:
        """What the order is told. Answers are repeated: no report that is overtaken loses one."""
        return progress_of(self.state, revision=self.revision).model_copy(
            update={
                "shortfalls": tuple(self.shortfalls),
                "cancel_answers": tuple(self.cancel_answers),
                "address_answers": tuple(self.address_answers),
            }
        )

    def written(self, *, tell: bool = False) -> dict[str, object]:
        """The fields with which a step records the fulfillment along with its own work."""
        # The first one says only that the work was handed on; its number tells the store so.
        is_first = self.revision == 0
        self.revision = 1 if is_first else revision_after(self.revision, workflow.now())
        story, self.story = tuple(self.story), []
        self._told = self._essence()
        progress = self.progress() if tell else None
        if tell:
            self._answers_told = self._answers
        return {"view": self._view(), "timeline": story, "progress": progress}

    @property
    def _answers(self) -> int:
        return len(self.cancel_answers) + len(self.address_answers) + len(self.shortfalls)

    @property
    def _has_untold(self) -> bool:
        return self._answers > self._answers_told

    def _view(self) -> FulfillmentView:
        return view_of(
            self.state,
            revision=self.revision,
            attention=self.attention,
            awaits=self.awaits()[:250],
        )

    async def record(self, summary: str) -> None:
        """Write the read model where no step does; answers still untold reach the order."""
        record = FulfillmentRecord(**self.written(tell=self._has_untold))
        await self.call(
            DeliverActivities.deliver, record, type(None), summary=summary, is_stage=False
        )

    def awaits(self) -> str:
        """What the fulfillment waits for, in a few words."""
        if self.attention is not None:
            choices = ", ".join(choice.value for choice in self.attention.choices)
            return f"a person: {self.attention.reason}; choose {choices}"
        if self.state.is_closed:
            return "nothing"
        parts = [f"a hold to be lifted: {hold}" for hold in sorted(self.holds)]
        if self.waits:
            nearest = min(self.waits, key=lambda d: d.at)
            parts.append(f"{nearest.text} until {moment(nearest.at)}")
        return "; ".join(parts) or "the next event"

    def deadlines(self) -> list[Deadline]:
        """What will happen by itself."""
        return self.waits

    async def before_wait(self) -> None:
        """Show where it stands; record what people look at, or must be told, before sleeping."""
        self.show()
        people_look = self.runs_in_doms or self.attention or self.holds or self.story
        if self._has_untold or (people_look and self._essence() != self._told):
            await self.record(f"Record: {self.state.status.value}")

    def show(self) -> None:
        """Set the page's details and, at milestones, the search attributes."""
        workflow.set_current_details(fulfillment_details(self.state, self.attention, self.awaits()))
        blocked = self.attention.step if self.attention else None
        shown = (self._milestone(), blocked, self._carriers())
        if shown == self._shown:
            return
        had_block = bool(self._shown) and self._shown[1] is not None
        updates: list[SearchAttributeUpdate[Any]] = [
            FULFILLMENT_STATUS.value_set(self._milestone())
        ]
        if self._carriers():
            updates.append(CARRIERS.value_set(list(self._carriers())))
        if blocked is not None:
            updates.append(BLOCKED_STEP.value_set(blocked))
        elif had_block:
            updates.append(BLOCKED_STEP.value_unset())
        if self._shown or self._milestone() != "released":
            workflow.upsert_search_attributes(updates)
        self._shown = shown

    def _milestone(self) -> str:
        """The status as far as lists need it: at the node, on the way, in trouble, or its end."""
        status = self.state.status
        if self.state.is_closed or status is FulfillmentStatus.EXCEPTION:
            return status.value
        if self.state.handed_over:
            return FulfillmentStatus.SHIPPED.value
        return FulfillmentStatus.RELEASED.value

    def _carriers(self) -> tuple[str, ...]:
        """Who carries it, once it is on its way."""
        if not self.state.handed_over:
            return ()
        return tuple(sorted({p.carrier for p in self.state.packages if p.carrier}))

    async def on_abandoned(self, choice: Choice) -> None:
        """The workflow itself acts on the choice; see its steps."""

    def _essence(self) -> tuple[object, ...]:
        return (self.state.status, self.state.packages, self.attention, tuple(sorted(self.holds)))
