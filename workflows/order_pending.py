"""Plans of an order that are reserved and wait for release: what is taken out of them again."""

from temporalio import workflow

from workflows.order_core import OrderCore
from workflows.order_state import PendingPlan

with workflow.unsafe.imports_passed_through():
    from activities.reserve import FreedUnits, FreeTask, ReserveActivities
    from domain.plans import Plan, PlanLine, PlannedFulfillment
    from domain.quantities import Bucket


class Pending:
    """The reserved units of an order."""

    def __init__(self, core: OrderCore) -> None:
        """Of that order."""
        self._core = core

    def take(self, wanted: dict[str, int]) -> list[FreedUnits]:
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

    def reserved_of(self, ship_group: str) -> dict[str, int]:
        """Line id -> reserved units of a ship group."""
        units: dict[str, int] = {}
        for pending in self._core.state.pending.values():
            for planned in pending.plan.fulfillments:
                for line in planned.lines if planned.ship_group == ship_group else ():
                    units[line.line_id] = units.get(line.line_id, 0) + line.quantity
        return units

    async def free(self, freed: list[FreedUnits], target: Bucket, why: str) -> None:
        """Give units back that were taken out of the plans."""
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

    def _keep(self, version: int, pending: PendingPlan, kept: list[PlannedFulfillment]) -> None:
        if not kept:
            del self._core.state.pending[version]
            return
        plan: Plan = pending.plan.model_copy(update={"fulfillments": tuple(kept)})
        pending.plan = plan
