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
    FulfillmentCancel,
    PlaceHold,
    ReleaseHold,
)
from workflows.order_approval import Approval
from workflows.order_core import OrderCore
from workflows.order_planning import PAYMENT_HOLD, Planning
from workflows.order_state import PendingPlan
from workflows.reactor import Deadline, StepAbandonedError

with workflow.unsafe.imports_passed_through():
    from activities.change import AddressTask, ChangeActivities, VersionTask
    from activities.reserve import FreedUnits, FreeTask, ReserveActivities
    from domain.events import Replanned, SupplyGranted
    from domain.order_book import Track
    from domain.orders import PaymentStatus
    from domain.plans import (
        OrderFacts,
        Plan,
        PlanLine,
        PlannedFulfillment,
        version_address,
    )
    from domain.process_policy import ApprovalRule
    from domain.quantities import Bucket
    from domain.stages import Choice, Hold

REPLANS_CHANGES = 4
"""The behavior from which a changed order's reserved units are planned again with the new ones."""


def _has_left(track: Track) -> bool:
    """Whether nothing of a fulfillment is at its node any more."""
    asked = sum(line.quantity for line in track.order.lines)
    gone = sum(x.shipped + x.cancelled + x.returned_to_order for x in track.lines.values())
    return gone >= asked


def no_hold(type_: str, held: Collection[str]) -> str:
    """What there is instead of a hold of that type."""
    there = f"there is {', '.join(sorted(held))}" if held else "the order is not held"
    return f"There is no hold {type_}: {there}"


Command = Cancel | ChangeAddress | Amend | PlaceHold | ReleaseHold | SupplyGranted | Replanned


class Commands:
    """A queue of requests, obeyed one at a time; a request id is obeyed once."""

    def __init__(self, core: OrderCore, planning: Planning, approval: Approval) -> None:
        """Nothing is asked yet."""
        self._core = core
        self._planning = planning
        self._approval = approval
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
            case Amend():
                await self._amend(command)
            case PlaceHold():
                self._place_hold(command)
            case ReleaseHold():
                self._release_hold(command)
            case SupplyGranted():
                await self._planning.take_grant(command)
                await self._cancel_granted()
                self._remember(command, "Supply granted")
            case Replanned():
                await self._planning.replan(command)
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
        if not all(_has_left(track) for track in running):
            text += "; what is already with the nodes is asked to wait"
        if any(_has_left(track) for track in running):
            text += "; what has left goes on"
        for track in running:
            self._tell(track, "hold", command)
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
                self._tell(track, "release_hold", command)

    def _tell(self, track: Track, signal: str, message: object) -> None:
        handle = workflow.get_external_workflow_handle(f"fulfillment-{track.order.fulfillment_id}")
        self._core.send(handle, signal, message)

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
            parts.append(f"{now_free} units cancelled")
        if asked:
            parts.append(f"{asked} units asked back from their nodes")
        if granted:
            parts.append(f"{granted} units to be cancelled once their supply is reserved")
        if left:
            parts.append(f"{left} units are past cancelling")
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
        freed = self._take_from_pending(wanted)
        if freed:
            await self._free(freed, Bucket.CANCELLED, "Cancel before release")
        return sum(unit.quantity for unit in freed)

    def _take_from_pending(self, wanted: dict[str, int]) -> list[FreedUnits]:
        """Take wanted units out of the plans that wait for release; plans shrink or vanish."""
        freed: list[FreedUnits] = []
        for version, pending in list(self._core.state.pending.items()):
            kept: list[PlannedFulfillment] = []
            for planned in pending.plan.fulfillments:
                lines: list[PlanLine] = []
                for line in planned.lines:
                    taken = min(line.quantity, wanted.get(line.line_id, 0))
                    if taken:
                        wanted[line.line_id] -= taken
                        freed.append(
                            FreedUnits(
                                reservation_id=pending.reservation_id,
                                node_id=planned.node_id,
                                line_id=line.line_id,
                                quantity=taken,
                            )
                        )
                    if line.quantity > taken:
                        lines.append(line.model_copy(update={"quantity": line.quantity - taken}))
                if lines:
                    kept.append(planned.model_copy(update={"lines": tuple(lines)}))
            self._keep(version, pending, kept)
        return freed

    def _keep(self, version: int, pending: PendingPlan, kept: list[PlannedFulfillment]) -> None:
        if not kept:
            del self._core.state.pending[version]
            return
        plan: Plan = pending.plan.model_copy(update={"fulfillments": tuple(kept)})
        pending.plan = plan

    async def _free(self, freed: list[FreedUnits], target: Bucket, why: str) -> None:
        core, state = self._core, self._core.state
        for unit in freed:
            state.book.move(unit.line_id, Bucket.RESERVED, target, unit.quantity)
        rows = [(f"{x.reservation_id}/{x.node_id}/{x.line_id}", x.quantity) for x in freed]
        may_plan = not state.approvals_left or core.facts.hold_stock_during_approval
        task = FreeTask(
            **core.written(),
            key=state.key_of("free", rows),
            units=tuple(freed),
            planned_again=target is Bucket.OPEN and may_plan,
        )
        await core.call(
            ReserveActivities.free,
            task,
            type(None),
            summary=f"{why}: free {sum(unit.quantity for unit in freed)} reserved units",
        )

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
                self._tell(track, "cancel", message)
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
        freed = self._take_from_pending(self._reserved_of(command.ship_group))
        if freed:
            await self._free(freed, Bucket.OPEN, "New address: plan again")
        for track in running:
            self._tell(track, "change_address", command)
        done, text = self._addressed(command.ship_group, running, bool(freed))
        core.answer(command.request_id, done, text)

    def _addressed(
        self, ship_group: str, running: list[Track], has_plan_to_make: bool
    ) -> tuple[bool, str]:
        """Whether a new address reaches anything that is on its way or to be sent, in words."""
        left = [track for track in running if _has_left(track)]
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

    def _reserved_of(self, ship_group: str) -> dict[str, int]:
        units: dict[str, int] = {}
        for pending in self._core.state.pending.values():
            for planned in pending.plan.fulfillments:
                for line in planned.lines if planned.ship_group == ship_group else ():
                    units[line.line_id] = units.get(line.line_id, 0) + line.quantity
        return units

    async def _amend(self, command: Amend) -> None:
        core, state = self._core, self._core.state
        if command.version <= state.version:
            core.answer(command.request_id, False, f"Version {command.version} is not newer")
            return
        replans = core.behavior >= REPLANS_CHANGES
        task = VersionTask(
            **{**core.task_fields, "version": command.version},
            known=state.version if replans else None,
        )
        try:
            facts = await core.call(
                ChangeActivities.load_version,
                task,
                OrderFacts,
                summary=f"Load version {command.version} of the order",
                choices=(Choice.RETRY, Choice.SKIP),
            )
        except StepAbandonedError:
            core.answer(command.request_id, False, f"Version {command.version} cannot be used")
            return
        groups_before = {line.line_id: line.ship_group for line in core.facts.lines}
        less = self._add_what_is_more(facts)
        state.version = command.version
        state.facts = facts.model_copy(
            update={"approvals": self._chain_with(facts), "moved_groups": ()}
        )
        text = f"Changed to version {command.version}"
        if replans:
            stays = self._what_stays(facts, less)
            await self._plan_changes_again(facts, groups_before)
            self._tell_moved(command, facts)
            text = "; ".join([text, *stays])[:500]
        core.answer(command.request_id, True, text)
        is_held = any(hold.type == PAYMENT_HOLD for hold in state.holds)
        if is_held and facts.payment is not PaymentStatus.PENDING:
            paid = f"{command.request_id}/paid"
            self._release_hold(ReleaseHold(request_id=paid, type=PAYMENT_HOLD))
        if less:
            lines = tuple(CancelLine(line_id=x, quantity=q) for x, q in less.items())
            cancel = Cancel(
                request_id=f"{command.request_id}/less", lines=lines, reason="changed order"
            )
            await self._cancel(cancel)

    def _what_stays(self, facts: OrderFacts, less: dict[str, int]) -> list[str]:
        """What of the new version comes too late, line by line."""
        book, found = self._core.state.book, []
        quantities = book.all_quantities()
        new = {line.line_id: line for line in facts.lines}
        for line_id, own in book.lines.items():
            now = quantities[line_id]
            at_nodes = now.released + now.picked + now.shipped + now.delivered
            if line_id in new and new[line_id].sku != own.sku and at_nodes:
                found.append(
                    f"line {line_id}: {at_nodes} units of {own.sku} stay, they were released"
                )
            gone = now.shipped + now.delivered
            late = less.get(line_id, 0) - (now.unfinished - now.shipped)
            if late > 0:
                found.append(f"line {line_id}: {min(late, gone)} units have left and stay")
        return found

    async def _plan_changes_again(self, facts: OrderFacts, groups_before: dict[str, str]) -> None:
        """Plan afresh, as one, what is not released yet of the ship groups that changed."""
        state, book = self._core.state, self._core.state.book
        other = [x for x in facts.lines if x.sku != book.lines[x.line_id].sku]
        may_plan = not state.approvals_left or facts.hold_stock_during_approval
        growing = book.units(Bucket.OPEN) if may_plan else {}
        changed = set(facts.moved_groups)
        for line in facts.lines:
            before = groups_before.get(line.line_id, line.ship_group)
            if line in other or line.line_id in growing or before != line.ship_group:
                changed |= {before, line.ship_group}
        reserved: dict[str, int] = {}
        for group in sorted(changed):
            reserved.update(self._reserved_of(group))
        freed = self._take_from_pending(reserved)
        if freed:
            await self._free(freed, Bucket.OPEN, "Changed order: plan again")
        waiting = book.units(Bucket.BACKORDERED)
        units = {x.line_id: waiting[x.line_id] for x in other if x.line_id in waiting}
        if units:
            await self._planning.drop_backorder(units, Bucket.OPEN)
        for line in other:
            state.book.lines[line.line_id].sku = line.sku

    def _tell_moved(self, command: Amend, facts: OrderFacts) -> None:
        """Ask the nodes that already have a moved ship group to send it to its new place."""
        for track in self._core.state.book.tracks.values():
            group = track.order.ship_group
            if track.is_open and group in facts.moved_groups:
                message = ChangeAddress(
                    request_id=f"{command.request_id}/{group}",
                    address_id=version_address(self._core.state.order_id, command.version),
                    ship_group=group,
                )
                self._tell(track, "change_address", message)

    def _chain_with(self, facts: OrderFacts) -> tuple[ApprovalRule, ...]:
        """The levels passed before stay passed; those that the new version adds are asked."""
        state, known = self._core.state, self._core.facts.approvals
        asked_at = state.approval.position if state.approval else 0
        passed = known[:asked_at] if state.approvals_left else known
        levels = {rule.level for rule in passed}
        added = tuple(rule for rule in facts.approvals if rule.level not in levels)
        if state.approvals_left:
            return (*passed, *added) if added else known
        if not added or state.rejected:
            return known
        state.approvals_left = True
        self._core.note("approval", "The changed order needs further approval")
        return added

    def _add_what_is_more(self, facts: OrderFacts) -> dict[str, int]:
        """Add units the new version has more; returns line id -> units it has less."""
        book, less = self._core.state.book, {}
        new = {line.line_id: line for line in facts.lines}
        for line_id, line in new.items():
            quantities = book.quantities(line_id) if line_id in book.lines else None
            known = quantities.ordered - quantities.cancelled if quantities else 0
            if line.quantity > known:
                book.add_units(line_id, line.sku, line.quantity - known)
            elif line.quantity < known:
                less[line_id] = known - line.quantity
        for line_id in sorted(book.lines.keys() - new.keys()):
            quantities = book.quantities(line_id)
            if quantities.unfinished:
                less[line_id] = quantities.unfinished
        return dict(sorted(less.items()))
