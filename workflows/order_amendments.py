"""A new version of an order's document, taken over while the order lives."""

from temporalio import workflow

from workflows.messages import Amend, Cancel, CancelLine, ChangeAddress, ReleaseHold
from workflows.order_core import OrderCore
from workflows.order_pending import Pending
from workflows.order_planning import PAYMENT_HOLD, Planning
from workflows.order_tracks import tell
from workflows.reactor import StepAbandonedError

with workflow.unsafe.imports_passed_through():
    from activities.change import ChangeActivities, VersionTask
    from domain.counting import counted
    from domain.orders import PaymentStatus
    from domain.plans import OrderFacts, version_address
    from domain.process_policy import ApprovalRule
    from domain.quantities import Bucket
    from domain.stages import Choice

REPLANS_CHANGES = 4
"""The behavior from which a changed order's reserved units are planned again with the new ones."""
UNPAID_AGAIN_IS_HELD = 5
"""The behavior from which a version whose payment is pending again holds the order."""


class Amendments:
    """Takes over what a version has more, less or otherwise than the one before."""

    def __init__(self, core: OrderCore, planning: Planning, pending: Pending) -> None:
        """Of that order."""
        self._core = core
        self._planning = planning
        self._pending = pending

    async def amend(self, command: Amend) -> list[ReleaseHold | Cancel]:
        """Take the new version over; what is still to be obeyed, in this order."""
        core, state = self._core, self._core.state
        if command.version <= state.version:
            core.answer(command.request_id, False, f"Version {command.version} is not newer")
            return []
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
            return []
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
        return self._following(command, facts, less)

    def _following(
        self, command: Amend, facts: OrderFacts, less: dict[str, int]
    ) -> list[ReleaseHold | Cancel]:
        found: list[ReleaseHold | Cancel] = []
        is_held = any(hold.type == PAYMENT_HOLD for hold in self._core.state.holds)
        if facts.payment is PaymentStatus.PENDING and self._core.behavior >= UNPAID_AGAIN_IS_HELD:
            self._planning.hold_for_payment()
        elif is_held and facts.payment is not PaymentStatus.PENDING:
            paid = f"{command.request_id}/paid"
            found.append(ReleaseHold(request_id=paid, type=PAYMENT_HOLD))
        if less:
            lines = tuple(CancelLine(line_id=x, quantity=q) for x, q in less.items())
            request_id = f"{command.request_id}/less"
            found.append(Cancel(request_id=request_id, lines=lines, reason="changed order"))
        return found

    def _what_stays(self, facts: OrderFacts, less: dict[str, int]) -> list[str]:
        """What of the new version comes too late, line by line."""
        book, found = self._core.state.book, []
        quantities = book.all_quantities()
        new = {line.line_id: line for line in facts.lines}
        for line_id, own in book.lines.items():
            now = quantities[line_id]
            at_nodes = now.released + now.picked + now.shipped + now.delivered
            if line_id in new and new[line_id].sku != own.sku and at_nodes:
                units = f"{counted(at_nodes, 'unit')} of {own.sku}"
                found.append(f"line {line_id}: {units} released already: not changed")
            gone = now.shipped + now.delivered
            late = less.get(line_id, 0) - (now.unfinished - now.shipped)
            if late > 0:
                stay = counted(min(late, gone), "unit", "has left and stays", "have left and stay")
                found.append(f"line {line_id}: {stay}")
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
            reserved.update(self._pending.reserved_of(group))
        freed = self._pending.take(reserved)
        if freed:
            await self._pending.free(freed, Bucket.OPEN, "Changed order: plan again")
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
                tell(self._core, track, "change_address", message)

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
