"""Reserved plans that others took the place of: brokering runs, or people who chose nodes."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from temporalio import workflow

from workflows.order_core import OrderCore
from workflows.order_state import PendingPlan

with workflow.unsafe.imports_passed_through():
    from activities.route import LoadPlanTask, RouteActivities
    from domain.events import Replanned
    from domain.plans import MovedPlan, Plan, PlanLine, PlannedFulfillment, PlanShortage
    from domain.quantities import Bucket

AwaitRelease = Callable[[Plan, str, datetime | None], None]


class Moves:
    """Puts plans that are reserved already in the place of those the order knows."""

    def __init__(self, core: OrderCore, await_release: AwaitRelease) -> None:
        """Of that order; `await_release` lets a plan wait, no longer than a given time."""
        self._core = core
        self._await_release = await_release

    async def replan(self, replanned: Replanned) -> None:
        """A brokering run moved the reservation: carry out its plan instead."""
        await self.take(replanned.plan_version)

    async def take(self, plan_version: int) -> None:
        """Carry out what a run made of reserved plans; late word of it changes nothing.

        Late it is when those plans were released, given up or planned again meanwhile, or when
        the release has found the move first.
        """
        core, state = self._core, self._core.state
        plan = await core.call(
            RouteActivities.load_plan,
            LoadPlanTask(order_id=state.order_id, plan_version=plan_version),
            MovedPlan,
            summary=f"Load plan {plan_version} of the brokering run",
        )
        replaced = [x for x in plan.replaces if x in state.pending]
        if not replaced:
            return
        before = nodes_of(tuple(x for v in replaced for x in state.pending[v].plan.fulfillments))
        self.take_over(replaced, plan)
        text = (
            f"Moved by a brokering run from {before} to {nodes_of(plan.fulfillments) or 'no node'}"
        )
        core.note("replanned", text)

    def take_over(self, versions: list[int], plan: Plan) -> None:
        """Let a plan that is reserved already wait for release in the place of those plans."""
        state = self._core.state
        replaced = [state.pending.pop(version) for version in versions]
        self._plan_what_is_lost(replaced, plan)
        state.plan_version = max(state.plan_version, plan.plan_version)
        state.decision_id = plan.decision_id
        state.explanation = plan.explanation
        if plan.fulfillments:
            release_at = min(pending.release_at for pending in replaced)
            self._await_release(plan, f"{state.order_id}-r{plan.plan_version}", release_at)

    def _plan_what_is_lost(self, replaced: list[PendingPlan], plan: Plan) -> None:
        """Plan again what the moved plan holds less than the ones before, as after a reset."""
        lost = units_of(x for p in replaced for f in p.plan.fulfillments for x in f.lines)
        lost -= units_of(line for planned in plan.fulfillments for line in planned.lines)
        for line_id, quantity in lost.items():
            self._core.state.book.move(line_id, Bucket.RESERVED, Bucket.OPEN, quantity)


def units_of(parts: Iterable[PlanShortage | PlanLine]) -> Counter[str]:
    """Line id -> units."""
    units: Counter[str] = Counter()
    for part in parts:
        units[part.line_id] += part.quantity
    return units


def nodes_of(fulfillments: tuple[PlannedFulfillment, ...]) -> str:
    """Their nodes, as people read them."""
    return ", ".join(sorted({fulfillment.node_id for fulfillment in fulfillments}))
