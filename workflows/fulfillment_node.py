"""Working with the node: hand-over of the work, silence, cancels, a changed address."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from temporalio import workflow

from workflows.fulfillment_core import FulfillmentCore
from workflows.messages import ChangeAddress, FulfillmentCancel
from workflows.reactor import Deadline, StepAbandonedError

with workflow.unsafe.imports_passed_through():
    from activities.give_back import CancelReplied, CancelTask, GiveBackActivities
    from activities.pick import AddressTaken, HandedToNode, NodeTask, PickActivities, PickTask
    from activities.ship import ShipActivities, VoidTask
    from domain.events import (
        AddressAnswer,
        CancelOutcome,
        CarrierEvent,
        NodeEvent,
        NodeEventType,
    )
    from domain.fulfillments import FulfillmentStatus, Package, PackageLine
    from domain.stages import Choice

SILENT = "silent"
ASKS_BEFORE_GIVING_UP = "asks-the-node-before-giving-up"


@dataclass(frozen=True)
class ConfirmedCancel:
    """The node will not send these units, by line id; None: nothing that it still has."""

    request_id: str
    units: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True)
class ExpiredPickup:
    """Nobody collected the goods in time."""


Fact = NodeEvent | CarrierEvent | ConfirmedCancel | ExpiredPickup


class NodeWork:
    """What doms asks of the node."""

    def __init__(self, core: FulfillmentCore, facts: deque[Fact]) -> None:
        """Nothing is asked yet. What the node confirms joins `facts`, in order of arrival."""
        self._core = core
        self._facts = facts
        self._cancels: deque[FulfillmentCancel] = deque()
        self._addresses: deque[ChangeAddress] = deque()
        self._seen: set[str] = set()
        self._pending: FulfillmentCancel | None = None
        self._given = False
        self._reminded = False
        self._given_up = 0
        self._own_requests: set[str] = set()
        self.refused_addresses: list[str] = []
        self.labels_given_up = False
        """A person chose not to buy labels; the node is asked to stop."""

    def ask_cancel(self, command: FulfillmentCancel) -> None:
        """Note a cancel of the order; a second one of the same id changes nothing."""
        if command.request_id not in self._seen:
            self._seen.add(command.request_id)
            self._cancels.append(command)
            self._core.wake()

    def give_up_labels(self, *, reroute: bool) -> None:
        """No label can be bought: ask for everything back, for another node or for good."""
        self.labels_given_up = True
        self._given_up += 1
        request_id = self._own_request() if reroute else f"no-label-{self._given_up}"
        self._cancels.append(FulfillmentCancel(request_id=request_id, reason="no label"))

    def _own_request(self) -> str:
        """A new id for asking all back, to route it elsewhere: a node answers each id once."""
        number = len(self._own_requests) + 1
        request_id = SILENT if number == 1 else f"{SILENT}-{number}"
        self._own_requests.add(request_id)
        return request_id

    def ask_address(self, command: ChangeAddress) -> None:
        """Note a new address."""
        if command.request_id not in self._seen:
            self._seen.add(command.request_id)
            self._addresses.append(command)
            self._core.wake()

    @property
    def is_busy(self) -> bool:
        """Whether a request still waits to be answered."""
        return bool(self._cancels or self._addresses)

    @property
    def has_request(self) -> bool:
        """Whether a request can be acted on now."""
        return bool(self._addresses) or (bool(self._cancels) and self._pending is None)

    async def give_work(self) -> bool:
        """Hand the fulfillment to the node; a refusal lets a person choose another node."""
        if self._given:
            return False
        core = self._core
        self._given = True
        task = PickTask(
            **core.written(), order=core.start.order, connection_id=core.start.connection_id
        )
        try:
            handed = await core.call(
                PickActivities.pick,
                task,
                HandedToNode,
                summary=f"Hand the work to {core.start.order.node_id}",
                queue=core.start.task_queue,
                choices=(Choice.RETRY, Choice.REROUTE, Choice.CANCEL),
            )
        except StepAbandonedError as abandoned:
            await self._not_handed_over(reroute=abandoned.choice is Choice.REROUTE)
            return True
        core.state = core.state.model_copy(update={"ships_itself": handed.ships_itself})
        now = workflow.now()
        if handed.acknowledged:
            core.waits = [Deadline(now + core.timings.pick, "the node to pick")]
            self._hear(NodeEventType.ACKNOWLEDGED, "accepted")
        else:
            core.waits = [Deadline(now + core.acknowledgement, "the node to accept")]
        return True

    async def _not_handed_over(self, *, reroute: bool) -> None:
        """The node may have the work although its answers were lost: only it can give it back."""
        if not workflow.patched(ASKS_BEFORE_GIVING_UP):
            self._give_up("not handed over", cancelled=not reroute)
            return
        request_id = self._own_request() if reroute else "not-handed-over"
        await self._ask_node(FulfillmentCancel(request_id=request_id, reason="not handed over"))

    def _hear(self, what: NodeEventType, reason: str) -> None:
        """Take as the node's word what it said in an answer, or confirmed by staying silent."""
        self._facts.append(
            NodeEvent(
                event_id=f"{self._core.fulfillment_id}/{what.value}/{reason}"[:200],
                occurred_at=workflow.now(),
                fulfillment_id=self._core.fulfillment_id,
                type=what,
                reason=reason,
            )
        )

    def _give_up(self, reason: str, *, cancelled: bool = False) -> None:
        if cancelled:
            self._facts.append(ConfirmedCancel(request_id=reason, units=None))
        else:
            self._hear(NodeEventType.REJECTED, reason)

    async def watch(self) -> bool:
        """Act when a wait is over: remind, ask to cancel, ask a person."""
        core = self._core
        over = [wait for wait in core.waits if wait.at <= workflow.now()]
        if not over or core.state.handed_over:
            return False
        if self._pending is not None:
            await self._no_answer(self._pending)
        elif core.state.status is FulfillmentStatus.RELEASED:
            await self._silent()
        elif core.state.status is FulfillmentStatus.READY_FOR_PICKUP:
            return False
        else:
            await self._late_pick()
        return True

    async def _silent(self) -> None:
        core = self._core
        if not self._reminded:
            self._reminded = True
            core.note("silent", "has not accepted in time: reminded")
            core.waits = [Deadline(workflow.now() + core.acknowledgement, "the node to accept")]
            if not core.runs_in_doms:
                with suppress(StepAbandonedError):
                    await core.call(
                        PickActivities.remind,
                        self._node_task(),
                        type(None),
                        summary=f"Remind {core.start.order.node_id}",
                        queue=core.start.task_queue,
                        choices=(Choice.RETRY, Choice.SKIP),
                    )
            return
        core.note("silent", "still silent: asked to cancel, to route elsewhere")
        core.waits = []
        request_id = self._own_request()
        await self._ask_node(FulfillmentCancel(request_id=request_id, reason="no acknowledgement"))

    async def _late_pick(self) -> None:
        core = self._core
        resume = await core.ask(
            "pick",
            f"{core.start.order.node_id} has not finished in time",
            (Choice.RETRY, Choice.REROUTE, Choice.CANCEL),
            unless=lambda: bool(self._facts) or self.is_busy,
        )
        if resume is None:
            return
        core.waits = [Deadline(workflow.now() + core.timings.pick, "the node to pick")]
        if resume.choice is Choice.RETRY:
            return
        is_own = resume.choice is Choice.REROUTE
        request_id = self._own_request() if is_own else resume.request_id
        await self._ask_node(FulfillmentCancel(request_id=request_id, reason="late"))

    async def _no_answer(self, command: FulfillmentCancel) -> None:
        core = self._core
        resume = await core.ask(
            "cancel",
            f"{core.start.order.node_id} does not say whether it cancelled",
            (Choice.RETRY, Choice.CANCEL, Choice.SKIP),
            unless=lambda: bool(self._facts),
        )
        if resume is None:
            return
        self._pending = None
        self._await_pick()
        if resume.choice is Choice.RETRY:
            await self._ask_node(command)
        elif resume.choice is Choice.CANCEL:
            self._confirmed(command, ())
        else:
            self._refused(command)

    def _await_pick(self) -> None:
        core = self._core
        core.waits = [Deadline(workflow.now() + core.timings.pick, "the node to pick")]

    async def obey_cancel(self) -> bool:
        """Ask the node to cancel what its order no longer wants."""
        if not self._cancels or not self._given or self._pending is not None:
            return False
        await self._ask_node(self._cancels.popleft())
        return True

    async def _ask_node(self, command: FulfillmentCancel) -> None:
        core = self._core
        if core.state.handed_over or core.state.is_closed:
            self._settle(command)
            return
        if core.runs_in_doms:
            # A person may have packed it a moment ago; then only that person can stop it.
            packed = core.state.status in {
                FulfillmentStatus.PACKED,
                FulfillmentStatus.READY_FOR_PICKUP,
            }
            if packed and command.request_id not in self._own_requests:
                self._refused(command)
            else:
                self._confirmed(command, ())
            return
        lines = None
        if command.lines is not None:
            lines = tuple(
                PackageLine(line_id=x.line_id, quantity=x.quantity) for x in command.lines
            )
        task = CancelTask(
            fulfillment_id=core.fulfillment_id,
            connection_id=core.start.connection_id,
            request_id=command.request_id,
            lines=lines,
            reason=command.reason,
        )
        try:
            reply = await core.call(
                GiveBackActivities.request_cancel,
                task,
                CancelReplied,
                summary=f"Ask {core.start.order.node_id} to cancel",
                queue=core.start.task_queue,
                choices=(Choice.RETRY, Choice.SKIP),
            )
        except StepAbandonedError:
            self._refused(command)
            return
        await self._take_reply(command, reply)

    async def _take_reply(self, command: FulfillmentCancel, reply: CancelReplied) -> None:
        core = self._core
        if reply.outcome is None:
            self._pending = command
            core.waits = [
                Deadline(
                    workflow.now() + core.timings.cancel_answer, "the node's answer to the cancel"
                )
            ]
        elif reply.outcome is CancelOutcome.CANCELLED:
            self._confirmed(command, reply.lines)
        elif reply.outcome is CancelOutcome.TOO_LATE:
            self._refused(command)
        else:
            self._pending = command
            self._tell(command, CancelOutcome.UNKNOWN)
            core.waits = [Deadline(workflow.now(), "a person to say what the node did")]

    def hear_cancel_answer(self, event: NodeEvent) -> NodeEvent:
        """Take a node's late answer to a cancel, and return the report to apply.

        Units a silent node gives up go to another node, so its cancel is applied as a rejection.
        """
        answers = {NodeEventType.CANCELLED, NodeEventType.CANCEL_REFUSED}
        if event.type not in answers:
            return event
        command = self._pending
        if command is None or event.request_id not in {None, command.request_id}:
            return self._unasked(event)
        self._pending = None
        self._await_pick()
        if event.type is NodeEventType.CANCEL_REFUSED:
            self._refused(command)
        elif command.request_id in self._own_requests:
            return event.model_copy(update={"type": NodeEventType.REJECTED, "reason": SILENT})
        else:
            self._tell(command, CancelOutcome.CANCELLED)
        return event

    def _unasked(self, event: NodeEvent) -> NodeEvent:
        """A node that cancels by itself rejects: the customer still wants the goods."""
        was_asked = bool(self._seen) or self.labels_given_up or bool(self._own_requests)
        if event.type is NodeEventType.CANCEL_REFUSED or was_asked:
            return event
        return event.model_copy(update={"type": NodeEventType.REJECTED})

    def settle_pending(self) -> None:
        """What has left or ended answers a cancel that the node has not answered."""
        core = self._core
        if self._pending is not None and (core.state.handed_over or core.state.is_closed):
            command, self._pending = self._pending, None
            self._settle(command)

    def _settle(self, command: FulfillmentCancel) -> None:
        gone = {
            FulfillmentStatus.CANCELLED,
            FulfillmentStatus.REJECTED,
            FulfillmentStatus.PICKUP_EXPIRED,
        }
        if self._core.state.status in gone:
            self._tell(command, CancelOutcome.CANCELLED)
        else:
            self._refused(command)

    def _tell(self, command: FulfillmentCancel, outcome: CancelOutcome) -> None:
        """Answer the order; what the fulfillment asked for itself it only remembers."""
        if command.request_id in self._own_requests:
            self._core.note("cancel", f"asked back: {outcome.value}")
        else:
            self._core.answer_cancel(command.request_id, outcome)

    def _confirmed(self, command: FulfillmentCancel, lines: tuple[PackageLine, ...]) -> None:
        """Only what the node confirmed is freed; a silent node's units go to another node."""
        if command.request_id in self._own_requests:
            self._give_up(SILENT)
            return
        units = tuple((line.line_id, line.quantity) for line in lines)
        if not units and command.lines is not None:
            units = tuple((line.line_id, line.quantity) for line in command.lines)
        self._tell(command, CancelOutcome.CANCELLED)
        self._facts.append(ConfirmedCancel(request_id=command.request_id, units=units or None))

    def _refused(self, command: FulfillmentCancel) -> None:
        core = self._core
        self.labels_given_up = False
        self._tell(command, CancelOutcome.TOO_LATE)
        if core.state.status is FulfillmentStatus.RELEASED:
            # Who cannot stop has begun.
            self._hear(NodeEventType.ACKNOWLEDGED, f"cannot cancel {command.request_id}")

    async def obey_address(self) -> bool:
        """Give the node a new address, unless the label is bought or the goods are gone."""
        if not self._addresses or not self._given:
            return False
        command = self._addresses.popleft()
        core = self._core
        labelled = any(package.tracking_number for package in core.state.packages)
        taken = False
        if not (labelled or core.state.handed_over or core.state.is_closed):
            taken = core.runs_in_doms or await self._update_address()
        if not taken:
            self.refused_addresses.append(command.address_id)
        elif command.address_id in self.refused_addresses:
            self.refused_addresses.remove(command.address_id)
        core.address_answers.append(AddressAnswer(request_id=command.request_id, taken=taken))
        core.note("address", "new address taken" if taken else "past changing the address")
        return True

    async def _update_address(self) -> bool:
        core = self._core
        try:
            answer = await core.call(
                PickActivities.update_address,
                self._node_task(),
                AddressTaken,
                summary=f"Give {core.start.order.node_id} the new address",
                queue=core.start.task_queue,
                choices=(Choice.RETRY, Choice.SKIP),
            )
        except StepAbandonedError:
            return False
        return answer.taken

    def _node_task(self) -> NodeTask:
        order = self._core.start.order
        return NodeTask(
            order_id=order.order_id,
            ship_group=order.ship_group,
            fulfillment_id=order.fulfillment_id,
            connection_id=self._core.start.connection_id or "",
        )

    async def expire_pickup(self) -> bool:
        """Nobody came: the goods go back on the shelf, the units are cancelled."""
        core = self._core
        if core.state.status is not FulfillmentStatus.READY_FOR_PICKUP:
            return False
        if not any(wait.at <= workflow.now() for wait in core.waits):
            return False
        core.waits = []
        core.note("pickup", "not collected in time")
        if not core.runs_in_doms:
            with suppress(StepAbandonedError):
                await core.call(
                    PickActivities.pickup_expired,
                    self._node_task(),
                    type(None),
                    summary=f"Tell {core.start.order.node_id} that nobody came",
                    queue=core.start.task_queue,
                    choices=(Choice.RETRY, Choice.SKIP),
                )
        self._facts.append(ExpiredPickup())
        return True

    async def void(self, packages: tuple[Package, ...]) -> None:
        """Void the labels of packages that will not leave."""
        core = self._core
        bought = tuple(package for package in packages if package.shipment_id)
        if not bought or core.start.carrier_connection_id is None:
            return
        task = VoidTask(
            order_id=core.start.order.order_id,
            fulfillment_id=core.fulfillment_id,
            carrier_connection_id=core.start.carrier_connection_id,
            packages=bought,
        )
        with suppress(StepAbandonedError):
            await core.call(
                ShipActivities.void_labels,
                task,
                type(None),
                summary=f"Void {len(bought)} labels",
                queue=f"doms-carrier-{core.start.carrier_connection_id}",
                choices=(Choice.RETRY, Choice.SKIP),
            )
