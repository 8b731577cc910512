"""An order's running fulfillments: starting them, what they report, and how they end."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from workflows.fulfillment import FulfillmentWorkflow
from workflows.messages import FulfillmentInput, FulfillmentResult
from workflows.order_core import ASKS_AND_GOES_ON, OrderCore
from workflows.order_details import fulfillment_summary
from workflows.reactor import DATABASE_TIMEOUT
from workflows.search_attributes import FULFILLMENT_NODES, FULFILLMENT_STATUS

with workflow.unsafe.imports_passed_through():
    from activities.deliver import DeliverActivities, FinalTask
    from activities.give_back import EndTask, GiveBackActivities
    from domain.counting import counted
    from domain.events import CancelOutcome, FulfillmentProgress, ShortReason
    from domain.fulfillment_state import REJECTED
    from domain.fulfillments import FulfillmentOrder, FulfillmentStatus
    from domain.order_book import Track
    from domain.plans import PlannedFulfillment
    from domain.routing.decision import Exclusion
    from domain.stages import Choice

AT_THE_NODE = {REJECTED, *(reason.value for reason in ShortReason)}
"""Reasons for which the node that gave units back is not asked for them again."""
ROWS_INTERVAL = timedelta(minutes=5)


class Fulfillments:
    """The child workflows of one order, and what they report."""

    def __init__(self, core: OrderCore) -> None:
        """Nothing runs yet."""
        self._core = core
        self._watchers: set[asyncio.Task[None]] = set()
        self._results: list[FulfillmentProgress] = []
        self._failed: list[str] = []
        core.news.append(lambda: bool(self._results))

    async def start(self, order: FulfillmentOrder, planned: PlannedFulfillment) -> None:
        """Start the workflow of a fulfillment, and wait for its end."""
        start = FulfillmentInput(
            order=order,
            node_place=planned.node_place,
            connection_id=planned.connection_id,
            connection_kind=planned.connection_kind,
            carrier_connection_id=planned.carrier_connection_id,
            carrier=planned.carrier,
            timings=self._core.timings,
            behavior=self._core.behavior,
        )
        try:
            handle = await workflow.start_child_workflow(
                FulfillmentWorkflow.run,
                start,
                id=f"fulfillment-{order.fulfillment_id}",
                parent_close_policy=ParentClosePolicy.ABANDON,
                search_attributes=_child_attributes(order),
                static_summary=fulfillment_summary(order),
            )
        except WorkflowAlreadyStartedError:
            # The order was reset to before this release: its fulfillment goes on as it was.
            self._keep(self._watch_rows(order.fulfillment_id))
        else:
            self._keep(self._watch(order.fulfillment_id, handle))

    def _keep(self, watching: Coroutine[Any, Any, None]) -> None:
        watcher = asyncio.create_task(watching)
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch_rows(self, fulfillment_id: str) -> None:
        """Wait for the end of a fulfillment that has another parent; its reports come anyway."""
        try:
            final = await workflow.execute_activity_method(
                DeliverActivities.final_report,
                FinalTask(fulfillment_id=fulfillment_id),
                start_to_close_timeout=DATABASE_TIMEOUT,
                retry_policy=RetryPolicy(initial_interval=ROWS_INTERVAL, backoff_coefficient=1),
                summary=f"Wait for the end of {fulfillment_id}",
            )
        except ActivityError:
            if self._core.behavior < ASKS_AND_GOES_ON:
                raise
            self._failed.append(fulfillment_id)
        else:
            self._results.append(final)
        self._core.wake()

    async def _watch(
        self,
        fulfillment_id: str,
        handle: ChildWorkflowHandle[FulfillmentWorkflow, FulfillmentResult],
    ) -> None:
        try:
            result = await handle
        except ChildWorkflowError:
            self._failed.append(fulfillment_id)
        else:
            self._results.append(result.progress)
        self._core.wake()

    def report(self, progress: FulfillmentProgress) -> None:
        """Note what a fulfillment reports."""
        self._results.append(progress)
        self._core.wake()

    async def take_reports(self) -> bool:
        """Apply what fulfillments reported; units that came back are routed again."""
        if not self._results:
            return False
        for progress in self._take_results():
            await self._apply(progress)
        return True

    def _take_results(self) -> list[FulfillmentProgress]:
        results, self._results = self._results, []
        return results

    async def _apply(self, progress: FulfillmentProgress) -> None:
        core, state = self._core, self._core.state
        known = state.book.tracks.get(progress.fulfillment_id)
        if known is None or progress.revision <= known.revision:
            return
        before = known.status
        reopened = state.book.apply(progress)
        if progress.status is not before:
            core.tell("fulfillment", f"{progress.fulfillment_id}: {progress.status.value}")
        self._hear_answers(known, progress)
        if reopened:
            self._take_back(progress, reopened, known.order.node_id)

    def _hear_answers(self, track: Track, progress: FulfillmentProgress) -> None:
        core = self._core
        for answer in progress.cancel_answers[track.cancels_answered :]:
            core.note("cancel", f"Cancel {answer.request_id}: {answer.outcome.value}")
            if answer.outcome is CancelOutcome.TOO_LATE:
                track.cancel_wanted.clear()
        for taken in progress.address_answers[track.addresses_answered :]:
            text = "uses the new address" if taken.taken else "is past changing its address"
            core.note("address", f"{progress.fulfillment_id} {text}")
        track.cancels_answered = len(progress.cancel_answers)
        track.addresses_answered = len(progress.address_answers)

    def _take_back(
        self, progress: FulfillmentProgress, reopened: dict[str, int], node_id: str
    ) -> None:
        core, state = self._core, self._core.state
        state.at_risk = True
        last = {x.line_id: x.reason for x in progress.shortfalls}
        reasons = {line_id: last[line_id] for line_id in reopened if line_id in last}
        why = ", ".join(sorted(set(reasons.values()))) or progress.status.value
        core.note(
            "returned", f"{node_id} gave back {counted(sum(reopened.values()), 'unit')}: {why}"
        )
        # A lost parcel says nothing against its node: that one may send again.
        at_node = {x: reason for x, reason in reasons.items() if reason in AT_THE_NODE}
        state.reroutes += bool(at_node)
        state.exclusions += [
            Exclusion(node_id=node_id, sku=state.book.lines[line_id].sku, reason=at_node[line_id])
            for line_id in at_node
        ]

    async def take_failure(self) -> bool:
        """A fulfillment's workflow was ended from outside: only a person can say what is true."""
        if not self._failed:
            return False
        if self._core.behavior >= ASKS_AND_GOES_ON:
            return await self._ask_about_ended(self._failed[0])
        answer = await self._core.ask(
            "fulfillment",
            f"the workflow of {self._failed[0]} ended without a result: reset it, then skip",
            (Choice.SKIP,),
            unless=self._core.has_news,
        )
        if answer is not None:
            self._keep(self._watch_rows(self._failed.pop(0)))
        return True

    async def _ask_about_ended(self, fulfillment_id: str) -> bool:
        core = self._core
        answer = core.question(
            "fulfillment",
            f"the workflow of {fulfillment_id} was ended: reset it and choose retry, or choose what"
            " becomes of its units once the node confirmed that it sends no more",
            (Choice.RETRY, Choice.REROUTE, Choice.CANCEL),
        )
        if answer is None:
            return False
        self._failed.pop(0)
        if answer.choice is Choice.RETRY:
            self._keep(self._watch_rows(fulfillment_id))
            return True
        target: Literal["reroute", "cancel"] = (
            "reroute" if answer.choice is Choice.REROUTE else "cancel"
        )
        final = await core.call(
            GiveBackActivities.end_fulfillment,
            EndTask(fulfillment_id=fulfillment_id, target=target),
            FulfillmentProgress,
            summary=f"Take back what {fulfillment_id} has not sent",
        )
        await self._apply(final)
        return True


def _child_attributes(order: FulfillmentOrder) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(FULFILLMENT_STATUS, FulfillmentStatus.RELEASED.value),
            SearchAttributePair(FULFILLMENT_NODES, [order.node_id]),
        ]
    )
