"""One fulfillment: a node, a ship group, some units: pick, ship, deliver."""

from collections import deque
from collections.abc import Callable, Iterable

from temporalio import workflow
from temporalio.common import VersioningBehavior

from workflows.fulfillment_core import FulfillmentCore
from workflows.fulfillment_node import ConfirmedCancel, ExpiredPickup, Fact, NodeWork
from workflows.messages import (
    Answer,
    ChangeAddress,
    FulfillmentCancel,
    FulfillmentInput,
    FulfillmentReport,
    FulfillmentResult,
    PlaceHold,
    ReleaseHold,
    Resume,
)
from workflows.order_details import fulfillment_details
from workflows.reactor import (
    OUTSIDE_TIMEOUT,
    Deadline,
    StepAbandonedError,
    StepInterruptedError,
    never,
    refuse,
)
from workflows.step_keys import revision_after, step_key

with workflow.unsafe.imports_passed_through():
    from activities.deliver import DeliverActivities, HandOverTask
    from activities.give_back import GiveBackActivities, GiveBackTask, GivenBack
    from activities.recording import FulfillmentRecord
    from activities.ship import Labelled, ShipActivities, ShipTask
    from domain.counting import counted
    from domain.events import CarrierEvent, NodeEvent, ShortReason
    from domain.fulfillment_actions import (
        apply_cancel,
        attach_labels,
        expire_pickup,
        give_up_packages,
    )
    from domain.fulfillment_effects import Effects
    from domain.fulfillment_reports import apply_carrier_event, apply_node_event
    from domain.fulfillment_state import FulfillmentState
    from domain.fulfillments import FulfillmentStatus, PackageLine, PackageStatus
    from domain.stages import Choice

SUSPECT = {ShortReason.NOT_FOUND.value, ShortReason.DAMAGED.value}
"""Short picks for these reasons make the units suspect until somebody counts (DESIGN section 7)."""

LATE = "not delivered in time"
CANCEL_REACHES_A_LABEL = 5
"""The behavior from which a cancel or a new address is obeyed while the carrier is away or a person
is asked about labels; before, it waited for them."""


@workflow.defn(name="FulfillmentWorkflow", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class FulfillmentWorkflow:
    """The durable life of one fulfillment."""

    @workflow.init
    def __init__(self, start: FulfillmentInput) -> None:
        """Set up before any message is handled."""
        self._core = FulfillmentCore(start)
        self._facts: deque[Fact] = deque()
        self._node = NodeWork(self._core, self._facts)
        self._trouble: str | None = None
        self._done: dict[str, int] = {}
        self._answers: dict[str, Answer] = {}

    @workflow.run
    async def run(self, _: FulfillmentInput) -> FulfillmentResult:
        """Drive the fulfillment until its units are delivered, cancelled or given back."""
        return await self._core.shielded(self._live(), self._cancelled_natively)

    def _cancelled_natively(self) -> None:
        self._node.ask_cancel(
            FulfillmentCancel(request_id="native-cancel", reason="cancelled in Temporal")
        )

    async def _live(self) -> FulfillmentResult:
        actions = [
            self._take_fact,
            self._node.give_work,
            self._node.obey_cancel,
            self._node.obey_address,
            self._label,
            self._node.expire_pickup,
            self._node.watch,
            self._watch_delivery,
            self._settle_parcels,
        ]
        await self._core.react(actions, self._is_finished)
        core = self._core
        core.revision = revision_after(core.revision, workflow.now())
        progress = core.progress()
        core.show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return FulfillmentResult(progress=progress)

    def _is_finished(self) -> bool:
        return self._core.state.is_closed and not self._node.is_busy and not self._facts

    async def _take_fact(self) -> bool:
        if not self._facts:
            return False
        fact = self._facts.popleft()
        core = self._core
        match fact:
            case NodeEvent():
                fact = self._node.hear_cancel_answer(fact)
                state, effects = apply_node_event(core.state, fact)
            case CarrierEvent():
                state, effects = apply_carrier_event(core.state, fact)
            case ConfirmedCancel():
                state, effects = apply_cancel(core.state, fact.units, request_id=fact.request_id)
            case ExpiredPickup():
                state, effects = expire_pickup(core.state)
        if not effects.duplicate:
            before, core.state = core.state, state
            await self._act_on(fact, before, effects)
        return True

    async def _act_on(self, fact: Fact, before: FulfillmentState, effects: Effects) -> None:
        core = self._core
        self._update_waits(before)
        if effects.shortfalls or effects.cancelled:
            await self._give_back(fact, before, effects)
        if effects.handed_over_lines:
            await self._hand_over(fact, effects)
        self._node.settle_pending()
        if effects.needs_attention is not None:
            self._trouble = effects.needs_attention
            core.note("exception", effects.needs_attention)
        if core.state.is_closed or effects.delivered_lines:
            await self._deliver()

    def _update_waits(self, before: FulfillmentState) -> None:
        core, now = self._core, workflow.now()
        status = core.state.status
        if status is before.status:
            return
        if core.state.is_closed:
            core.waits = []
        elif status is FulfillmentStatus.READY_FOR_PICKUP:
            core.waits = [Deadline(now + core.timings.pickup_expiry, "the customer to collect")]
            core.note("pickup", "ready for pick-up")
        elif core.state.handed_over and not before.handed_over:
            core.waits = [Deadline(now + core.timings.delivery, "delivery")]
        elif before.status is FulfillmentStatus.RELEASED:
            core.waits = [Deadline(now + core.timings.pick, "the node to pick and pack")]

    async def _give_back(self, fact: Fact, before: FulfillmentState, effects: Effects) -> None:
        """Free units the node will not send; those wrongly on the books become suspect."""
        core = self._core
        skus = {line.line_id: line.sku for line in core.start.order.lines}
        units, reasons = [], []
        for short in effects.shortfalls:
            effect = "suspect" if short.reason in SUSPECT else "shelf"
            units.append(
                GivenBack(
                    line_id=short.line_id,
                    sku=skus[short.line_id],
                    quantity=short.quantity,
                    effect=effect,
                )
            )
            reasons.append(short.reason)
            core.shortfalls.append(short)
        units += [
            GivenBack(line_id=line_id, sku=skus[line_id], quantity=quantity, effect="shelf")
            for line_id, quantity in effects.cancelled
        ]
        why = ", ".join(sorted(set(reasons))) or core.state.status.value
        total = sum(unit.quantity for unit in units)
        core.note("gave_back", f"{counted(total, 'unit')} not sent: {why}")
        task = GiveBackTask(
            **core.written(tell=True),
            fulfillment_id=core.fulfillment_id,
            node_id=core.start.order.node_id,
            key=self._key_of("give-back", ((x.line_id, x.quantity) for x in units)),
            units=tuple(units),
            cool_off_until=workflow.now() + core.timings.cool_off if reasons else None,
            reason=why,
        )
        await core.call(
            GiveBackActivities.give_back,
            task,
            type(None),
            summary=f"Give back {counted(total, 'unit')}: {why}"[:190],
        )
        kept = {package.package_id for package in core.state.packages}
        await self._node.void(tuple(x for x in before.packages if x.package_id not in kept))

    def _key_of(self, step: str, units: Iterable[tuple[str, int]]) -> str:
        return step_key(self._core.fulfillment_id, step, self._done, units)

    async def _label(self) -> bool:
        core = self._core
        carrier, packages = core.start.carrier_connection_id, core.state.unlabelled
        if carrier is None or not packages or core.holds or self._node.labels_given_up:
            return False
        core.note("labelled", f"{counted(len(packages), 'package')} labelled")
        task = ShipTask(
            **core.written(),
            order=core.start.order,
            packages=packages,
            connection_id=core.start.connection_id,
            carrier_connection_id=carrier,
            refused_addresses=tuple(self._node.refused_addresses),
        )
        try:
            labelled = await core.call(
                ShipActivities.ship,
                task,
                Labelled,
                summary=f"Rate-shop and label {counted(len(packages), 'package')}",
                queue=f"doms-carrier-{carrier}",
                choices=(Choice.RETRY, Choice.REROUTE, Choice.CANCEL),
                within=OUTSIDE_TIMEOUT * len(packages),
                unless=self._interrupting_label,
            )
        except StepInterruptedError:
            return True
        except StepAbandonedError as abandoned:
            self._node.give_up_labels(reroute=abandoned.choice is Choice.REROUTE)
            return True
        core.state = attach_labels(core.state, labelled.packages)
        return True

    @property
    def _interrupting_label(self) -> Callable[[], bool]:
        """Whether a cancel or a new address came in while no label could be bought."""
        if self._core.behavior < CANCEL_REACHES_A_LABEL:
            return never
        return lambda: self._node.has_request

    async def _hand_over(self, fact: Fact, effects: Effects) -> None:
        core = self._core
        units = sum(quantity for _, quantity in effects.handed_over_lines)
        core.note("shipped", f"{counted(units, 'unit')} handed over")
        task = HandOverTask(
            **core.written(tell=not core.state.is_closed),
            fulfillment_id=core.fulfillment_id,
            key=self._key_of("hand-over", effects.handed_over_lines),
            lines=tuple(
                PackageLine(line_id=line_id, quantity=quantity)
                for line_id, quantity in effects.handed_over_lines
            ),
            occurred_at=fact.occurred_at if isinstance(fact, NodeEvent | CarrierEvent) else None,
        )
        await core.call(
            DeliverActivities.hand_over,
            task,
            type(None),
            summary=f"Hand over {counted(units, 'unit')}: stock leaves the books",
            is_stage=False,
        )

    async def _deliver(self) -> None:
        core = self._core
        core.note(core.state.status.value, core.state.status.value.replace("_", " "))
        record = FulfillmentRecord(**core.written(tell=not core.state.is_closed))
        await core.call(
            DeliverActivities.deliver,
            record,
            type(None),
            summary=f"Deliver: {core.state.status.value}",
        )

    async def _watch_delivery(self) -> bool:
        core = self._core
        over = any(wait.at <= workflow.now() for wait in core.waits)
        if not over or not core.state.handed_over or core.state.is_closed:
            return False
        core.waits = []
        if self._trouble is None:
            self._trouble = LATE
            core.note("exception", LATE)
        return True

    async def _settle_parcels(self) -> bool:
        """Ask a person about parcels in trouble, until they turn up."""
        core = self._core
        if self._trouble is None:
            return False
        if core.state.is_closed or (self._trouble != LATE and not self._is_lost_or_returned):
            self._trouble = None
            return False
        resume = await core.ask(
            "deliver",
            self._trouble,
            (Choice.RESHIP, Choice.CANCEL, Choice.SKIP, Choice.RETRY),
            unless=lambda: bool(self._facts),
        )
        if resume is not None:
            what, self._trouble = self._trouble, None
            await self._settle(what, resume.choice)
        return True

    @property
    def _is_lost_or_returned(self) -> bool:
        gone = {PackageStatus.LOST, PackageStatus.RETURNED}
        return any(package.status in gone for package in self._core.state.packages)

    async def _settle(self, what: str, choice: Choice) -> None:
        """A person decided: send again, cancel, believe it arrived, or wait on."""
        core = self._core
        core.note("exception", f"a person chose {choice.value}")
        if choice is Choice.RETRY:
            core.waits = [Deadline(workflow.now() + core.timings.delivery, "delivery")]
            return
        core.state, effects = give_up_packages(core.state, choice, what)
        core.shortfalls += effects.shortfalls
        await self._deliver()

    @workflow.signal(description="The node reports")
    def node_event(self, event: NodeEvent) -> None:
        """Take a node's report."""
        self._facts.append(event)
        self._core.wake()

    @workflow.signal(description="The carrier reports")
    def carrier_event(self, event: CarrierEvent) -> None:
        """Take a carrier's report."""
        self._facts.append(event)
        self._core.wake()

    @workflow.signal(description="The order wants units back")
    def cancel(self, command: FulfillmentCancel) -> None:
        """Ask the node to cancel."""
        self._node.ask_cancel(command)

    @workflow.signal(description="Stop before the label")
    def hold(self, command: PlaceHold) -> None:
        """Nothing is labelled while a hold stands."""
        self._core.holds.add(command.type)
        late = self._core.state.handed_over
        self._core.note("hold", f"hold {command.type}" + (": already on its way" if late else ""))
        self._core.wake()

    @workflow.signal(description="Lift a hold")
    def release_hold(self, command: ReleaseHold) -> None:
        """Go on."""
        self._core.holds.discard(command.type)
        self._core.note("hold", f"hold {command.type} lifted")
        self._core.wake()

    @workflow.signal(description="Answer a step that waits for a person")
    def resume(self, resume: Resume) -> None:
        """Take a choice; one that does not fit, or was answered before, changes nothing."""
        if resume.request_id not in self._answers:
            self._resume(resume)

    def _resume(self, resume: Resume) -> str | None:
        refusal = self._core.resume_with(resume)
        if refusal is not None:
            self._core.note("resume", f"resume refused: {refusal}")
        self._core.wake()
        return refusal

    @workflow.update(description="Answer a step that waits, and learn whether the choice fits")
    async def resume_and_answer(self, resume: Resume) -> Answer:
        """Take a choice, once."""
        known = self._answers.get(resume.request_id)
        if known is None:
            refusal = self._resume(resume)
            text = f"A person chose {resume.choice.value}" if refusal is None else refusal
            known = Answer(request_id=resume.request_id, done=refusal is None, text=text)
            self._answers[resume.request_id] = known
        return known

    @resume_and_answer.validator
    def _check_resume(self, resume: Resume) -> None:
        is_known = resume.request_id in self._answers
        refuse(None if is_known else self._core.why_not_resume(resume))

    @workflow.signal(description="The destination changed")
    def change_address(self, command: ChangeAddress) -> None:
        """Give the node the new address if it still can use it."""
        self._node.ask_address(command)

    @workflow.query(description="Where the fulfillment stands")
    def status(self) -> FulfillmentReport:
        """Status, quantities, and the page's text."""
        core = self._core
        return FulfillmentReport(
            fulfillment_id=core.fulfillment_id,
            status=core.state.status,
            lines=core.progress().lines,
            details=fulfillment_details(core.state, core.attention, core.awaits()),
        )
