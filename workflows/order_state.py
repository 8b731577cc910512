"""Everything an order workflow remembers; it survives a continue-as-new as one document."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from domain.order_book import OrderBook
from domain.plans import NodeOverride, OrderFacts, Plan, TimelineEntry
from domain.quantities import LineQuantities
from domain.routing.decision import Exclusion
from domain.stages import Attention, Hold, Progress, Stage, displayed, order_stage
from workflows.messages import Answer, PolicyPins
from workflows.step_keys import entry_key, step_key

KEPT_TIMELINE = 200


class _Mutable(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PendingPlan(_Mutable):
    """A reserved plan that waits for its release."""

    plan: Plan
    reservation_id: str
    release_at: datetime
    replanned: bool = False


class AskedApproval(_Mutable):
    """The level an order waits at."""

    position: int
    asked_at: datetime
    reminded: bool = False
    escalated: bool = False
    voters: list[str] = Field(default_factory=list)


class WaitingBackorder(_Mutable):
    """Since when units wait for supply, until when, and when to look for freed stock."""

    since: datetime
    until: datetime
    look_at: datetime
    asks_people: bool = False
    """Whether a person is asked at once, as the routing policy says."""


class OrderState(_Mutable):
    """What the workflow knows."""

    order_id: str
    version: int
    pins: PolicyPins
    facts: OrderFacts | None = None
    book: OrderBook = Field(default_factory=OrderBook)
    promised: bool = False
    promise_at: datetime | None = None
    decision_id: str | None = None
    explanation: str = ""
    approvals_left: bool = False
    approval: AskedApproval | None = None
    rejected: bool = False
    holds: list[Hold] = Field(default_factory=list)
    pending: dict[int, PendingPlan] = Field(default_factory=dict)
    plan_version: int = 0
    next_fulfillment: int = 1
    exclusions: list[Exclusion] = Field(default_factory=list)
    reroutes: int = 0
    backorder: WaitingBackorder | None = None
    answers: dict[str, Answer] = Field(default_factory=dict)
    revision: int = 1
    timeline: list[TimelineEntry] = Field(default_factory=list)
    unwritten: list[TimelineEntry] = Field(default_factory=list)
    entries: int = 0
    steps: int = 0
    """Not counted any more; kept for orders that were under way."""
    done: dict[str, int] = Field(default_factory=dict)
    """Step and what it moved -> units it has moved so far."""
    at_risk: bool = False
    parks: int = 0
    questions: dict[str, Attention] = Field(default_factory=dict)
    """Step -> what a person is asked while everything else goes on."""
    automated: list[str] = Field(default_factory=list)
    """Names of the automation rules that have acted."""
    overrides: list[NodeOverride] = Field(default_factory=list)
    """What people said of nodes, oldest first."""

    @property
    def progress(self) -> Progress:
        """What the stage is derived from besides quantities."""
        return Progress(
            awaits_approval=self.approvals_left, rejected=self.rejected, promised=self.promised
        )

    @property
    def stage(self) -> Stage:
        """The derived stage."""
        return self.stage_of(self.book.all_quantities())

    def stage_of(self, quantities: Mapping[str, LineQuantities]) -> Stage:
        """The stage that all quantities of the order come to, for who has them already."""
        if self.facts is None:
            return Stage.RECEIVED
        return order_stage(quantities.values(), self.progress)

    def displayed_with(self, attention: Attention | None, stage: Stage | None = None) -> str:
        """What a list shows of the order."""
        return displayed(stage or self.stage, self.holds, attention)

    def note(self, at: datetime, kind: str, text: str) -> None:
        """Add a line to the order's story; it is written with the next step."""
        self.entries += 1
        key = entry_key("order", self.entries, text)
        entry = TimelineEntry(key=key, at=at, kind=kind, text=text)
        self.timeline = [*self.timeline, entry][-KEPT_TIMELINE:]
        self.unwritten.append(entry)

    def key_of(self, step: str, units: Iterable[tuple[str, int]]) -> str:
        """A business key for moving those units: the same only for the same step."""
        return step_key(self.order_id, step, self.done, units)
