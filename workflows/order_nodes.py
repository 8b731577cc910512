"""Nodes that support staff force, forbid or prefer for an order that is not released yet."""

from temporalio import workflow

from workflows.messages import ChooseNode
from workflows.order_core import OrderCore
from workflows.order_planning import Planning
from workflows.reactor import DECIDING_TIMEOUT

with workflow.unsafe.imports_passed_through():
    from activities.nodes import NodesActivities, PlannedOnNodes
    from domain.counting import counted
    from domain.plans import NodeChoice, NodeOverride
    from domain.quantities import Bucket

_TOLD = {
    NodeChoice.FORCE: "forced",
    NodeChoice.FORBID: "forbidden",
    NodeChoice.PREFER: "preferred",
}


class NodeChoices:
    """What people say of an order's nodes, and the plan that follows from it."""

    def __init__(self, core: OrderCore, planning: Planning) -> None:
        """Of that order."""
        self._core = core
        self._planning = planning

    async def choose(self, command: ChooseNode) -> None:
        """Take the choice and plan by it at once; refused where units would then lack a node."""
        core, state = self._core, self._core.state
        units = state.book.all_quantities().values()
        if not any(x.open + x.backordered + x.reserved for x in units):
            core.answer(command.request_id, False, "Too late: all of it is released already")
            return
        if command.choice is None and not state.overrides:
            core.answer(command.request_id, False, "No node was chosen for the order")
            return
        before, exclusions = state.overrides, state.exclusions
        state.overrides = self._with(command)
        if command.choice is NodeChoice.FORCE:
            # Whoever forces a node knows that it refused before.
            state.exclusions = [x for x in exclusions if x.node_id != command.node_id]
        lacking = await self._plan_reserved()
        if lacking is not None:
            state.overrides, state.exclusions = before, exclusions
            core.answer(command.request_id, False, f"Nothing changed: {lacking}"[:500])
            return
        core.answer(command.request_id, True, self._text(command))

    def _with(self, command: ChooseNode) -> list[NodeOverride]:
        """The choices with this one; of a node the last one counts."""
        if command.choice is None or command.node_id is None:
            return []
        chosen = NodeOverride(
            request_id=command.request_id,
            choice=command.choice,
            node_id=command.node_id,
            actor=command.actor,
            reason=command.reason,
            at=workflow.now(),
        )
        kept = [x for x in self._core.state.overrides if x.node_id != command.node_id]
        return [*kept, chosen]

    def _text(self, command: ChooseNode) -> str:
        who = f" by {command.actor}" if command.actor else ""
        if command.choice is None:
            return f"The choice of nodes is lifted{who}"
        return f"{command.node_id} is {_TOLD[command.choice]}{who}"

    async def _plan_reserved(self) -> str | None:
        """Plan all reserved units as people say; why not, where some would lack a node."""
        core, state = self._core, self._core.state
        reserved = state.book.units(Bucket.RESERVED)
        if not reserved:
            return None
        state.plan_version += 1
        task = self._planning.route_task((), reserved)
        answer = await core.call(
            NodesActivities.plan_on_nodes,
            task,
            PlannedOnNodes,
            summary=f"Plan {counted(sum(reserved.values()), 'unit')} on chosen nodes",
            within=DECIDING_TIMEOUT,
        )
        if answer.plan is None:
            state.plan_version -= 1
            lacks = [f"{x.quantity} x {x.sku}: {x.reason}" for x in answer.missing]
            return "; ".join(["these units would have no node", *lacks])
        self._planning.moves.take_over(list(state.pending), answer.plan)
        return None
