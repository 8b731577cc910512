"""The core of an order workflow: its state, what it shows to people, and what it records."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ApplicationError

from workflows.messages import Answer, OrderInput
from workflows.order_details import awaited, order_details
from workflows.order_state import OrderState
from workflows.reactor import Deadline, Reactor
from workflows.search_attributes import (
    AT_RISK,
    BLOCKED_STEP,
    CARRIERS,
    FULFILLMENT_NODES,
    ORDER_STATUS,
    PENDING_APPROVAL,
    PROMISE_DATE,
    SLA_DUE_AT,
)
from workflows.step_keys import revision_after

with workflow.unsafe.imports_passed_through():
    from activities.orders import OrderActivities, OrderTask
    from activities.recording import OrderRecord
    from domain.order_book import OrderBook
    from domain.plans import OrderFacts, OrderView, TimelineEntry
    from domain.quantities import Bucket
    from domain.stages import CLOSED_STAGES, Choice, Stage

ASKS_AND_GOES_ON = 2
"""The behavior from which a person's answer is waited for without holding up the rest."""
BRIEF_STAGES_UNSHOWN = 3
"""The behavior from which search attributes leave out a stage that is over within two seconds."""
RISK_PASSES = 4
"""The behavior from which `AtRisk` is false again once nothing is at risk any more."""
LATE_IS_A_RISK = 5
"""The behavior from which a plan later than promised is a risk, however it came about."""


class OrderCore(Reactor):
    """State and its projections. The parts (approval, planning, commands) all work on this."""

    def __init__(self, start: OrderInput) -> None:
        """Start from the input, or from the state a continue-as-new carried over."""
        super().__init__(start.timings, start.behavior)
        self.state = (
            OrderState.model_validate(start.state)
            if start.state is not None
            else OrderState(order_id=start.order_id, version=start.version, pins=start.pins)
        )
        self.collect_deadlines: list[Callable[[], list[Deadline]]] = []
        self.cancel_all_is_waiting: Callable[[], bool] = lambda: False
        self.cancel_everything: Callable[[str, str], None] = lambda _request, _reason: None
        self.news: list[Callable[[], bool]] = []
        self.news.append(lambda: bool(self._chosen))
        self.questions = self.state.questions
        self.attention = self._first_question
        self._sending: set[asyncio.Task[None]] = set()
        self._shown: dict[str, object] = {}
        self._recorded: tuple[object, ...] | None = None

    @property
    def facts(self) -> OrderFacts:
        """The order's facts; loaded by the first step."""
        if self.state.facts is None:
            raise RuntimeError("the order's facts are used before they are loaded")
        return self.state.facts

    def send(
        self, handle: workflow.ExternalWorkflowHandle[object], signal: str, message: object
    ) -> None:
        """Signal a fulfillment; one that has ended meanwhile has said all it will say."""
        task = asyncio.create_task(self._send(handle, signal, message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(
        self, handle: workflow.ExternalWorkflowHandle[object], signal: str, message: object
    ) -> None:
        try:
            await handle.signal(signal, message)
        except ApplicationError:
            self.note("signal", f"{handle.id} has ended before it heard: {signal}")
            self.wake()

    def take_facts(self, facts: OrderFacts) -> None:
        """Keep the facts; the first time, open the book with every unit open."""
        if self.state.facts is None:
            self.state.book = OrderBook.of(facts.lines)
        self.state.facts = facts

    @property
    def parks(self) -> int:
        """How many questions were asked, in earlier runs too."""
        return self.state.parks

    @parks.setter
    def parks(self, asked: int) -> None:
        self.state.parks = asked

    @property
    def task(self) -> OrderTask:
        """Which order an activity is about."""
        return OrderTask(**self.task_fields)

    @property
    def task_fields(self) -> dict[str, object]:
        """The fields every order step's task begins with."""
        return {
            "order_id": self.state.order_id,
            "version": self.state.version,
            "routing_policy": self.state.pins.routing,
            "process_policy": self.state.pins.process,
        }

    def note(self, kind: str, text: str) -> None:
        """Add to the order's story."""
        self.state.note(workflow.now(), kind, text)

    def tell(self, kind: str, text: str) -> None:
        """Add to the story what a fulfillment has already written to the read model."""
        self.state.note(workflow.now(), kind, text)
        self.state.unwritten.pop()

    def answer(self, request_id: str, done: bool, text: str) -> None:
        """Keep what became of a request, for its sender and the story."""
        self.state.answers[request_id] = Answer(request_id=request_id, done=done, text=text)
        self.note("answer", text)

    def view(self, *, closed: bool = False) -> OrderView:
        """The order as it is now, one revision on."""
        self.state.revision = revision_after(self.state.revision, workflow.now())
        quantities = self.state.book.all_quantities()
        stage = self.state.stage_of(quantities)
        return OrderView(
            order_id=self.state.order_id,
            revision=self.state.revision,
            stage=stage,
            displayed=self.state.displayed_with(self.attention, stage),
            lines=quantities,
            holds=tuple(self.state.holds),
            attention=self.attention,
            promise_at=self.state.promise_at,
            decision_id=self.state.decision_id,
            plan_version=self.state.plan_version,
            awaits=awaited(self.state, self.attention, self.deadlines(), names_nodes=False)[:250],
            closed=closed,
            release_at=min((x.release_at for x in self.state.pending.values()), default=None),
            overrides=tuple(self.state.overrides),
        )

    def take_story(self) -> tuple[TimelineEntry, ...]:
        """The lines of the story that no step has written yet."""
        story, self.state.unwritten = tuple(self.state.unwritten), []
        return story

    def written(self) -> dict[str, object]:
        """The fields with which a step records the order along with its own work."""
        self._recorded = self._essence()
        return {
            "order_id": self.state.order_id,
            "view": self.view(),
            "timeline": self.take_story(),
        }

    async def record(self, summary: str, *, closed: bool = False) -> None:
        """Write the read model where no step does."""
        record = OrderRecord(
            order_id=self.state.order_id,
            view=self.view(closed=closed),
            timeline=self.take_story(),
        )
        self._recorded = self._essence()
        await self.call(OrderActivities.record, record, type(None), summary=summary, is_stage=False)

    def deadlines(self) -> list[Deadline]:
        """Everything that will happen to the order by itself."""
        found: list[Deadline] = []
        for collect in self.collect_deadlines:
            found.extend(collect())
        return found

    async def before_wait(self) -> None:
        """Show and record where the order stands, if that changed."""
        self.show()
        if self.state.facts is None and self.attention is None:
            return
        if self.state.unwritten or self._essence() != self._recorded:
            await self.record(f"Record: {self.state.displayed_with(self.attention)}"[:190])

    def show(self) -> None:
        """Set the page's details and, where they changed, the search attributes."""
        if self.behavior >= LATE_IS_A_RISK:
            self.state.at_risk = (self.state.at_risk and self._has_unplaced_units) or self.is_late
        elif self.behavior >= RISK_PASSES and self.state.at_risk:
            self.state.at_risk = self._has_unplaced_units or self.is_late
        # Of an order of 1,000 lines this is the costly part: once for all that is shown.
        quantities = self.state.book.all_quantities()
        details = order_details(self.state, self.attention, self.deadlines(), quantities)
        workflow.set_current_details(details)
        if self._is_passing:
            return
        shown = self._attributes(self.state.stage_of(quantities))
        changed = [
            update for name, (value, update) in shown.items() if self._shown.get(name) != value
        ]
        if changed:
            workflow.upsert_search_attributes(changed)
            self._shown = {name: value for name, (value, _) in shown.items()}

    @property
    def _is_passing(self) -> bool:
        """Whether it moves on so soon that a list would show where it no longer is."""
        if self.behavior < BRIEF_STAGES_UNSHOWN or self.is_finished or self.attention is not None:
            return False
        soon = workflow.now() + timedelta(seconds=2)
        return any(deadline.at <= soon for deadline in self.deadlines())

    def _attributes(self, stage: Stage) -> dict[str, tuple[object, SearchAttributeUpdate[Any]]]:
        """Name -> (value, update); one that never had a value and has none now is left out."""
        state = self.state
        tracks = state.book.tracks.values()
        dues = [x.ship_by for p in state.pending.values() for x in p.plan.fulfillments]
        dues += [t.order.ship_by for t in tracks if t.is_open and t.order.ship_by]
        level = self.facts.approvals[state.approval.position] if state.approval else None
        values: list[tuple[SearchAttributeKey[Any], object]] = [
            (ORDER_STATUS, stage.value),
            (PROMISE_DATE, state.promise_at),
            (SLA_DUE_AT, min(dues, default=None)),
            (FULFILLMENT_NODES, sorted({track.order.node_id for track in tracks})),
            (CARRIERS, sorted({carrier for track in tracks for carrier in track.carriers})),
            (BLOCKED_STEP, self.attention.step if self.attention else None),
            (PENDING_APPROVAL, level.role if level else None),
            (AT_RISK, state.at_risk),
        ]
        is_told_false = self.behavior >= RISK_PASSES
        return {
            key.name: (
                value,
                key.value_set(value)
                if value or (key is AT_RISK and is_told_false)
                else key.value_unset(),
            )
            for key, value in values
            if value or key.name in self._shown
        }

    @property
    def _has_unplaced_units(self) -> bool:
        book = self.state.book
        return bool(book.units(Bucket.OPEN) or book.units(Bucket.BACKORDERED))

    @property
    def is_late(self) -> bool:
        """Whether units are planned to come later than promised."""
        state = self.state
        dates: list[datetime | None] = [
            x.deliver_by for p in state.pending.values() for x in p.plan.fulfillments
        ]
        dates += [track.order.deliver_by for track in state.book.tracks.values() if track.is_open]
        promised = state.promise_at
        return promised is not None and any(date > promised for date in dates if date is not None)

    def must_stop_parking(self) -> bool:
        """A whole cancel answers any parked step."""
        return self.cancel_all_is_waiting()

    async def on_abandoned(self, choice: Choice) -> None:
        """Act on the choice that ended a parked step."""
        if choice is Choice.CANCEL and not self.cancel_all_is_waiting():
            self.cancel_everything(f"park/{self.parks}", "A person chose to cancel")

    def has_news(self) -> bool:
        """Whether a message waits to be looked at."""
        return any(is_waiting() for is_waiting in self.news)

    def forget_story(self, story: tuple[TimelineEntry, ...]) -> None:
        """A step was refused: its last line is not true, and those before are still to write."""
        *kept, untrue = story
        self.state.unwritten = [*kept, *self.state.unwritten]
        self.state.timeline = [x for x in self.state.timeline if x.key != untrue.key]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is open any more, and nothing waits to be answered."""
        state = self.state
        return (
            state.facts is not None
            and not self._sending
            and not self.has_news()
            and not self._is_clearly_open
            and state.stage in CLOSED_STAGES
            and state.book.is_finished
        )

    @property
    def _is_clearly_open(self) -> bool:
        """Asked after every step, so what is quickly seen is looked at first."""
        book = self.state.book
        return any(track.is_open for track in book.tracks.values()) or any(
            own.open or own.backordered or own.reserved for own in book.lines.values()
        )

    def _essence(self) -> tuple[object, ...]:
        """What must be recorded before a wait; what fulfillments hold is in their own rows."""
        state = self.state
        own = tuple(
            (line_id, x.ordered, x.open, x.backordered, x.reserved, x.cancelled)
            for line_id, x in state.book.lines.items()
        )
        waits = (state.approval.position if state.approval else None, state.approvals_left)
        return (own, tuple(state.holds), self.attention, state.promise_at, waits)
