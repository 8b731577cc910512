"""What people and other systems ask of an order: cancel, hold, change address, amend, grants."""

from collections import deque
from collections.abc import Collection

from temporalio import workflow

from workflows.messages import (
    Amend,
    Answer,
    Cancel,
    CancelLine,
    ChangeAddress,
    ChooseNode,
    FulfillmentCancel,
    PlaceHold,
    ReleaseHold,
)
from workflows.order_amendments import Amendments
from workflows.order_approval import Approval
from workflows.order_core import OrderCore
from workflows.order_nodes import NodeChoices
from workflows.order_pending import Pending
from workflows.order_planning import Planning
from workflows.order_tracks import has_left, tell
from workflows.reactor import Deadline, StepAbandonedError

with workflow.unsafe.imports_passed_through():
    from activities.change import AddressTask, ChangeActivities
    from domain.counting import counted
    from domain.events import Replanned, SupplyGranted
    from domain.order_book import Track
    from domain.quantities import Bucket
    from domain.stages import Choice, Hold


def no_hold(type_: str, held: Collection[str]) -> str:
    """What there is instead of a hold of that type."""
    there = f"there is {', '.join(sorted(held))}" if held else "the order is not held"
    return f"There is no hold {type_}: {there}"


Command = (
    Cancel
    | ChangeAddress
    | ChooseNode
    | Amend
    | PlaceHold
    | ReleaseHold
    | SupplyGranted
    | Replanned
)


class Commands:
    """A queue of requests, obeyed one at a time; a request id is obeyed once."""

    def __init__(self, core: OrderCore, planning: Planning, approval: Approval) -> None:
        """Nothing is asked yet."""
        self._core = core
        self._planning = planning
        self._approval = approval
        self._pending = Pending(core)
        self._nodes = NodeChoices(core, planning)
        self._amendments = Amendments(core, planning, self._pending)
        self._queue: deque[Command] = deque()
        self._seen: set[str] = set(core.state.answers)
        core.collect_deadlines.append(self.deadlines)
        core.cancel_all_is_waiting = self._cancel_all_is_waiting
        core.cancel_everything = self.cancel_everything
        core.news.append(lambda: bool(self._queue))

    def take(self, command: Command) -> None:
        """Note a request; a second one with the same id changes nothing."""
        if command.request_id in self._seen:
            return
        self._seen.add(command.request_id)
        self._queue.append(command)
        self._core.wake()

    def cancel_everything(self, request_id: str, reason: str) -> None:
        """Ask for a cancel of all that can still be cancelled."""
        self.take(Cancel(request_id=request_id, reason=reason))

    def _cancel_all_is_waiting(self) -> bool:
        return any(isinstance(x, Cancel) and x.lines is None for x in self._queue)

    async def obey(self) -> bool:
        """Obey the oldest request, once the order's facts are known."""
        if not self._queue or self._core.state.facts is None:
            return False
        command = self._queue.popleft()
        match command:
            case Cancel():
                await self._cancel(command)
            case ChangeAddress():
                await self._change_address(command)
            case ChooseNode():
                await self._nodes.choose(command)
            case Amend():
                for following in await self._amendments.amend(command):
                    if isinstance(following, ReleaseHold):
                        self._release_hold(following)
                    else:
                        await self._cancel(following)
            case PlaceHold():
                self._place_hold(command)
            case ReleaseHold():
                self._release_hold(command)
            case SupplyGranted():
                await self._planning.take_grant(command)
                await self._cancel_granted()
                self._remember(command, "Supply granted")
            case Replanned():
                await self._planning.moves.replan(command)
                self._remember(command, "Re-planned")
        return True

    def _remember(self, command: SupplyGranted | Replanned, text: str) -> None:
        """What is not told to anybody is still not to be done twice, in a later run either."""
        answer = Answer(request_id=command.request_id, done=True, text=text)
        self._core.state.answers[command.request_id] = answer

    async def expire_holds(self) -> bool:
        """Lift holds whose time is over."""
        state, now = self._core.state, workflow.now()
        over = [hold for hold in state.holds if hold.expires_at and hold.expires_at <= now]
        for hold in over:
            state.holds.remove(hold)
            self._core.note("hold", f"Hold {hold.type} expired")
            self._let_go(ReleaseHold(request_id=f"{hold.hold_id}/expired", type=hold.type))
        return bool(over)

    def deadlines(self) -> list[Deadline]:
        """When holds expire."""
        return [
            Deadline(hold.expires_at, f"hold {hold.type} expires")
            for hold in self._core.state.holds
            if hold.expires_at is not None
        ]

    def _place_hold(self, command: PlaceHold) -> None:
        self._core.state.holds.append(
            Hold(
                hold_id=f"{command.type}-{len(self._seen)}",
                type=command.type,
                owner=command.owner,
                reason=command.reason,
                expires_at=command.expires_at,
                request_id=command.request_id,
            )
        )
        running = [x for x in self._core.state.book.tracks.values() if x.is_open]
        text = f"Held: {command.type}"
        if not all(has_left(track) for track in running):
            text += "; what is already with the nodes is asked to wait"
        if any(has_left(track) for track in running):
            text += "; what has left goes on"
        for track in running:
            tell(self._core, track, "hold", command)
        self._core.answer(command.request_id, True, text)

    def _release_hold(self, command: ReleaseHold) -> None:
        state = self._core.state
        held = {hold.type for hold in state.holds}
        kept = [hold for hold in state.holds if hold.type != command.type]
        lifted = len(state.holds) - len(kept)
        state.holds = kept
        self._let_go(command)
        text = f"Hold {command.type} lifted" if lifted else no_hold(command.type, held)
        self._core.answer(command.request_id, bool(lifted), text)

    def _let_go(self, command: ReleaseHold) -> None:
        """Let fulfillments go on, unless another hold of that type still stands."""
        if any(hold.type == command.type for hold in self._core.state.holds):
            return
        for track in self._core.state.book.tracks.values():
            if track.is_open:
                tell(self._core, track, "release_hold", command)

    async def _cancel(self, command: Cancel) -> None:
        core = self._core
        wanted = self._wanted(command)
        now_free = 0
        if any(wanted.values()):
            now_free += self._cancel_open(wanted)
            now_free += await self._cancel_backordered(wanted)
            now_free += await self._cancel_reserved(wanted)
        granted = self._cancel_once_granted(wanted)
        asked = self._ask_fulfillments(command, wanted)
        left = sum(wanted.values()) if command.lines is not None else 0
        parts = []
        if now_free:
            parts.append(f"{counted(now_free, 'unit')} cancelled")
        if asked:
            parts.append(f"{counted(asked, 'unit')} asked back from nodes")
        if granted:
            parts.append(f"{counted(granted, 'unit')} to be cancelled once supply is reserved")
        if left:
            parts.append(counted(left, "unit", "is past cancelling", "are past cancelling"))
        text = "; ".join(parts) or "Nothing is left to cancel"
        if command.reason:
            text += f" ({command.reason})"
        if not any(x.unfinished for x in core.state.book.all_quantities().values()):
            await self._approval.withdraw()
        core.answer(command.request_id, bool(now_free or asked or granted), text[:500])

    def _wanted(self, command: Cancel) -> dict[str, int]:
        quantities = self._core.state.book.all_quantities()
        if command.lines is None:
            return {line_id: x.unfinished for line_id, x in quantities.items()}
        wanted: dict[str, int] = {}
        for line in command.lines:
            if line.line_id in quantities:
                wanted[line.line_id] = wanted.get(line.line_id, 0) + line.quantity
        return wanted

    def _cancel_open(self, wanted: dict[str, int]) -> int:
        book, cancelled = self._core.state.book, 0
        for line_id, there in book.units(Bucket.OPEN).items():
            quantity = min(wanted.get(line_id, 0), there)
            book.move(line_id, Bucket.OPEN, Bucket.CANCELLED, quantity)
            wanted[line_id] = wanted.get(line_id, 0) - quantity
            cancelled += quantity
        return cancelled

    async def _cancel_backordered(self, wanted: dict[str, int]) -> int:
        waiting = self._core.state.book.units(Bucket.BACKORDERED)
        units = {
            line_id: min(quantity, wanted.get(line_id, 0))
            for line_id, quantity in waiting.items()
            if wanted.get(line_id, 0)
        }
        if units:
            units = await self._planning.drop_backorder(units, Bucket.CANCELLED)
            for line_id, quantity in units.items():
                wanted[line_id] -= quantity
        return sum(units.values())

    def _cancel_once_granted(self, wanted: dict[str, int]) -> int:
        """What still stands as backordered got its supply just now: its message is on the way."""
        book, noted = self._core.state.book, 0
        for line_id, there in book.units(Bucket.BACKORDERED).items():
            own = book.lines[line_id]
            quantity = min(wanted.get(line_id, 0), there - own.cancel_wanted)
            if quantity > 0:
                own.cancel_wanted += quantity
                wanted[line_id] -= quantity
                noted += quantity
        return noted

    async def _cancel_granted(self) -> None:
        """Cancel the granted units that were to be cancelled when they waited."""
        book = self._core.state.book
        wanted = {line_id: own.cancel_wanted for line_id, own in book.lines.items()}
        if any(wanted.values()):
            self._cancel_open(wanted)
            await self._cancel_reserved(wanted)
        for line_id, own in book.lines.items():
            own.cancel_wanted = min(wanted[line_id], own.backordered)

    async def _cancel_reserved(self, wanted: dict[str, int]) -> int:
        freed = self._pending.take(wanted)
        if freed:
            await self._pending.free(freed, Bucket.CANCELLED, "Cancel before release")
        return sum(unit.quantity for unit in freed)

    def _ask_fulfillments(self, command: Cancel, wanted: dict[str, int]) -> int:
        book, asked = self._core.state.book, 0
        for track in book.tracks.values():
            lines = []
            for line_id in sorted({line.line_id for line in track.order.lines}):
                quantity = min(wanted.get(line_id, 0), book.held_by(track, line_id))
                if track.is_open and quantity > 0:
                    wanted[line_id] -= quantity
                    track.cancel_wanted[line_id] = track.cancel_wanted.get(line_id, 0) + quantity
                    lines.append(CancelLine(line_id=line_id, quantity=quantity))
            if lines:
                asked += sum(line.quantity for line in lines)
                message = FulfillmentCancel(
                    request_id=command.request_id, lines=tuple(lines), reason=command.reason
                )
                tell(self._core, track, "cancel", message)
        return asked

    async def _change_address(self, command: ChangeAddress) -> None:
        core, state = self._core, self._core.state
        running = [
            track
            for track in state.book.tracks.values()
            if track.is_open and track.order.ship_group == command.ship_group
        ]
        try:
            await core.call(
                ChangeActivities.use_address,
                AddressTask(order_id=state.order_id, address_id=command.address_id),
                type(None),
                summary=f"Use the new address for ship group {command.ship_group}",
                choices=(Choice.RETRY, Choice.SKIP),
            )
        except StepAbandonedError:
            core.answer(command.request_id, False, "The new address cannot be used")
            return
        freed = self._pending.take(self._pending.reserved_of(command.ship_group))
        if freed:
            await self._pending.free(freed, Bucket.OPEN, "New address: plan again")
        for track in running:
            tell(self._core, track, "change_address", command)
        done, text = self._addressed(command.ship_group, running, bool(freed))
        core.answer(command.request_id, done, text)

    def _addressed(
        self, ship_group: str, running: list[Track], has_plan_to_make: bool
    ) -> tuple[bool, str]:
        """Whether a new address reaches anything that is on its way or to be sent, in words."""
        left = [track for track in running if has_left(track)]
        parts = ["The new address is used"]
        if len(running) > len(left):
            parts = ["The new address was given to the nodes that already have the order"]
        elif left and not has_plan_to_make and not self._is_unplaced(ship_group):
            return False, "Too late: it has left; the new address counts only if it is sent again"
        if left:
            parts.append("what has left goes to the address before")
        return True, "; ".join(parts)

    def _is_unplaced(self, ship_group: str) -> bool:
        """Whether units of the group are at no node."""
        lines = {x.line_id for x in self._core.facts.lines if x.ship_group == ship_group}
        own = self._core.state.book.lines
        return any(own[x].open + own[x].backordered + own[x].reserved for x in lines & own.keys())
