"""Promise, route, reserve, wait for supply, release: from open units to running fulfillments."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, ChildWorkflowError, WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from workflows.fulfillment import FulfillmentWorkflow
from workflows.messages import FulfillmentInput, FulfillmentResult
from workflows.order_core import OrderCore
from workflows.order_details import fulfillment_summary, moment
from workflows.order_state import PendingPlan, WaitingBackorder
from workflows.reactor import DATABASE_TIMEOUT, Deadline
from workflows.search_attributes import FULFILLMENT_NODES, FULFILLMENT_STATUS

with workflow.unsafe.imports_passed_through():
    from activities.deliver import DeliverActivities, FinalTask
    from activities.give_back import EndTask, GiveBackActivities
    from activities.promise import PromiseActivities, Promised
    from activities.release import Claimed, ClaimTask, ReleaseActivities
    from activities.reserve import (
        BackorderTask,
        Dropped,
        DropTask,
        GrantTask,
        ReserveActivities,
        Reserved,
        ReserveTask,
    )
    from activities.route import LoadPlanTask, RouteActivities, RouteTask
    from domain.events import (
        CancelOutcome,
        FulfillmentProgress,
        Replanned,
        ShortReason,
        SupplyGranted,
    )
    from domain.fulfillment_state import REJECTED
    from domain.fulfillments import FulfillmentLine, FulfillmentOrder, FulfillmentStatus
    from domain.order_book import Track
    from domain.orders import PaymentStatus
    from domain.plans import Plan, PlanLine, PlannedFulfillment, PlanShortage
    from domain.process_policy import LastResort
    from domain.quantities import Bucket
    from domain.routing.decision import Exclusion
    from domain.stages import Choice, Hold

PAYMENT_HOLD = "payment"
AT_THE_NODE = {REJECTED, *(reason.value for reason in ShortReason)}
"""Reasons for which the node that gave units back is not asked for them again."""
ROWS_INTERVAL = timedelta(minutes=5)
ASKS_AND_GOES_ON = 2
"""The behavior from which a person's answer is waited for without holding up the rest."""
MOST_REFUSALS = 10
"""How often one planning round may be refused at reserve before its units wait for supply."""


class Planning:
    """Finds nodes for open units and hands reserved plans to their nodes in time."""

    def __init__(self, core: OrderCore) -> None:
        """Nothing is planned yet."""
        self._core = core
        self._watchers: set[asyncio.Task[None]] = set()
        self._results: list[FulfillmentProgress] = []
        self._failed: list[str] = []
        core.collect_deadlines.append(self.deadlines)
        core.news.append(lambda: bool(self._results))

    @property
    def _planning_is_due(self) -> bool:
        state = self._core.state
        if state.rejected or self._core.cancel_all_is_waiting():
            return False
        may_plan = not state.approvals_left or self._core.facts.hold_stock_during_approval
        return may_plan and bool(state.book.units(Bucket.OPEN))

    async def promise(self) -> bool:
        """Ask once what can be promised; also the step that loads a consumer order's facts."""
        core, state = self._core, self._core.state
        if state.promised:
            return False
        if state.facts is not None and not self._planning_is_due:
            return False
        promised = await core.call(
            PromiseActivities.promise,
            core.task,
            Promised,
            summary="Promise: what can be delivered, and when",
        )
        # The chain was settled when the order was checked; promising does not ask again.
        chain = state.facts.approvals if state.facts is not None else ()
        core.take_facts(promised.facts.model_copy(update={"approvals": chain}))
        state.promised = True
        state.promise_at = promised.deliver_by
        state.decision_id = promised.decision_id
        by = moment(promised.deliver_by) if promised.deliver_by else "no date yet"
        core.tell("promised", f"Promised: delivery {by}")
        if promised.facts.payment is PaymentStatus.PENDING:
            self._hold_for_payment()
        return True

    def _hold_for_payment(self) -> None:
        if any(hold.type == PAYMENT_HOLD for hold in self._core.state.holds):
            return
        hold = Hold(
            hold_id=f"{PAYMENT_HOLD}-1",
            type=PAYMENT_HOLD,
            owner="doms",
            reason="the payment is pending: nothing is released",
        )
        self._core.state.holds.append(hold)
        self._core.note("hold", "Held: the payment is pending")

    async def plan(self) -> bool:
        """Route open units and reserve the plan; a refusal is masked and routed again."""
        if not self._planning_is_due:
            self._core.withdraw("reroute")
            return False
        if self._core.state.reroutes > self._core.facts.reroute_attempts:
            return await self._ask_about_rerouting()
        refused: list[Exclusion] = []
        for _ in range(MOST_REFUSALS):
            plan = await self._route(tuple(refused), self._core.state.book.units(Bucket.OPEN))
            if not plan.fulfillments:
                break
            short = await self._reserve(plan)
            if not short:
                break
            refused += [
                Exclusion(node_id=node, sku=sku or None, reason="refused at reserve")
                for node, sku in short
            ]
        await self._wait_for_supply()
        return True

    async def _ask_about_rerouting(self) -> bool:
        core, state = self._core, self._core.state
        reason = f"routed again {core.facts.reroute_attempts} times without success"
        choices = (Choice.RETRY, Choice.CANCEL)
        if core.behavior >= ASKS_AND_GOES_ON:
            resume = core.question("reroute", reason, choices)
            if resume is None:
                return False
        else:
            resume = await core.ask("reroute", reason, choices, unless=core.has_news)
            if resume is None:
                return True
        state.reroutes = 0
        if resume.choice is Choice.CANCEL:
            core.cancel_everything(f"{resume.park_id}/cancel", "No node could serve the order")
        return True

    async def _route(self, refused: tuple[Exclusion, ...], units: dict[str, int]) -> Plan:
        core, state = self._core, self._core.state
        state.plan_version += 1
        task = RouteTask(
            **core.task_fields,
            units=units,
            plan_version=state.plan_version,
            rerouted=state.plan_version > 1,
            exclusions=(*state.exclusions, *refused),
            promised_deliver_by=state.promise_at,
        )
        plan = await core.call(
            RouteActivities.route,
            task,
            Plan,
            summary=f"Route {sum(units.values())} units (plan {task.plan_version})",
            choices=(Choice.RETRY, Choice.CANCEL),
        )
        state.decision_id = plan.decision_id
        state.explanation = plan.explanation
        return plan

    async def _reserve(self, plan: Plan) -> tuple[tuple[str, str], ...]:
        core, state = self._core, self._core.state
        lines = [line for f in plan.fulfillments for line in f.lines]
        state.book.move_all(lines, Bucket.OPEN, Bucket.RESERVED)
        self._await_release(plan, f"{state.order_id}-r{plan.plan_version}")
        nodes = _nodes(plan.fulfillments)
        core.note("reserved", f"Reserved at {nodes}")
        task = ReserveTask(**core.written(), plan=plan)
        reserved = await core.call(
            ReserveActivities.reserve,
            task,
            Reserved,
            summary=f"Reserve stock and capacity at {nodes}"[:190],
        )
        if reserved.reservation_id is None:
            core.forget_story(task.timeline)
            del state.pending[plan.plan_version]
            state.book.move_all(lines, Bucket.RESERVED, Bucket.OPEN)
            refusals = ", ".join(f"{sku or 'capacity'} at {node}" for node, sku in reserved.refused)
            core.note("refused", f"Not reserved, gone meanwhile: {refusals}")
            return reserved.refused
        if state.promise_at is None:
            state.promise_at = plan.deliver_by
        return ()

    def _await_release(self, plan: Plan, reservation_id: str) -> None:
        now = workflow.now()
        latest = min((f.order_by for f in plan.fulfillments), default=now)
        release_at = max(now, min(now + self._core.timings.remorse, latest))
        self._core.state.pending[plan.plan_version] = PendingPlan(
            plan=plan, reservation_id=reservation_id, release_at=release_at
        )

    async def _wait_for_supply(self) -> None:
        """Queue what no node can serve, or end it where the order may not wait."""
        core, state = self._core, self._core.state
        short = state.book.units(Bucket.OPEN)
        if not short:
            return
        if not core.facts.allow_backorder:
            for line_id, quantity in short.items():
                state.book.move(line_id, Bucket.OPEN, Bucket.CANCELLED, quantity)
            core.note("cancelled", f"{sum(short.values())} units cancelled: not in stock")
            return
        lines = self._plan_lines(short)
        state.book.move_all(lines, Bucket.OPEN, Bucket.BACKORDERED)
        now = workflow.now()
        if state.backorder is None:
            state.backorder = WaitingBackorder(
                since=now,
                until=now + core.timings.backorder,
                look_at=now + core.timings.backorder_look,
            )
        state.at_risk = True
        core.note("backordered", f"{sum(short.values())} units wait for supply")
        task = BackorderTask(
            **core.written(),
            key=state.key_of("backorder", short.items()),
            lines=lines,
            promise_at=state.promise_at,
        )
        await core.call(
            ReserveActivities.backorder,
            task,
            type(None),
            summary=f"Wait for supply of {sum(line.quantity for line in lines)} units",
        )

    def _plan_lines(self, units: dict[str, int]) -> tuple[PlanLine, ...]:
        lines = self._core.state.book.lines
        return tuple(
            PlanLine(line_id=line_id, sku=lines[line_id].sku, quantity=quantity)
            for line_id, quantity in units.items()
        )

    async def drop_backorder(self, units: dict[str, int], target: Bucket) -> dict[str, int]:
        """Take units off the queue for supply; line id -> units that are open or cancelled now.

        Fewer than asked means that supply was granted meanwhile: its message is on the way.
        """
        core, state = self._core, self._core.state
        dropped = await core.call(
            ReserveActivities.drop_backorder,
            DropTask(
                order_id=state.order_id,
                key=state.key_of("drop-backorder", units.items()),
                lines=self._plan_lines(units),
            ),
            Dropped,
            summary=f"Wait no longer for {sum(units.values())} units",
        )
        for line_id, quantity in dropped.units.items():
            state.book.move(line_id, Bucket.BACKORDERED, target, quantity)
        self._end_backorder_if_empty()
        return dropped.units

    def _end_backorder_if_empty(self) -> None:
        if not self._core.state.book.units(Bucket.BACKORDERED):
            self._core.state.backorder = None
            self._core.withdraw("backorder")

    async def look_again(self) -> bool:
        """See whether stock that others gave back can serve what waits.

        Arriving supply is granted in the store; units that a cancel or a rejection freed are not.
        """
        core, state = self._core, self._core.state
        waiting = state.backorder
        if waiting is None or workflow.now() < waiting.look_at or core.has_news():
            return False
        waiting.look_at = workflow.now() + (workflow.now() - waiting.since)
        plan = await self._route((), state.book.units(Bucket.BACKORDERED))
        found = _units(line for planned in plan.fulfillments for line in planned.lines)
        if found:
            await self.drop_backorder(dict(found), Bucket.OPEN)
            core.note("routed", f"{found.total()} units that waited can be supplied now")
        return True

    async def give_up_backorder(self) -> bool:
        """After the longest wait: cancel what is left, or ask a person, as the policy says."""
        core, state = self._core, self._core.state
        if state.backorder is None or workflow.now() < state.backorder.until:
            return False
        answer_by = state.backorder.until + core.timings.backorder_answer
        if self._may_ask and workflow.now() < answer_by:
            reason, choices = "units could not be supplied in time", (Choice.RETRY, Choice.CANCEL)
            if core.behavior >= ASKS_AND_GOES_ON:
                resume = core.question("backorder", reason, choices)
                if resume is None:
                    return False
            else:
                resume = await core.ask(
                    "backorder", reason, choices, unless=core.has_news, until=answer_by
                )
                if resume is None:
                    return True
            if resume.choice is Choice.RETRY:
                state.backorder.until = workflow.now() + core.timings.backorder
                core.note("backordered", "A person chose to wait on")
                return True
        core.withdraw("backorder")
        waiting = state.book.units(Bucket.BACKORDERED)
        dropped = await self.drop_backorder(waiting, Bucket.CANCELLED)
        core.note("cancelled", f"{sum(dropped.values())} units cancelled: no supply in time")
        if state.backorder is not None:
            # The rest was granted at the last moment; its grant will end this wait.
            state.backorder.until = workflow.now() + core.timings.backorder
        return True

    async def take_grant(self, grant: SupplyGranted) -> None:
        """Supply arrived and was reserved for this order: plan it."""
        core, state = self._core, self._core.state
        state.plan_version += 1
        plan = await core.call(
            ReserveActivities.take_grant,
            GrantTask(
                **core.task_fields,
                reservation_id=grant.reservation_id,
                plan_version=state.plan_version,
                promised_deliver_by=state.promise_at,
            ),
            Plan,
            summary="Plan the units that supply was granted for",
        )
        waiting = Counter(state.book.units(Bucket.BACKORDERED))
        for line in (line for f in plan.fulfillments for line in f.lines):
            known = min(line.quantity, waiting[line.line_id])
            waiting[line.line_id] -= known
            state.book.move(line.line_id, Bucket.BACKORDERED, Bucket.RESERVED, known)
        for line_id, quantity in _units(plan.missing).items():
            # Granted but not deliverable from there after all: plan these units afresh.
            again = min(quantity, waiting[line_id])
            state.book.move(line_id, Bucket.BACKORDERED, Bucket.OPEN, again)
        self._end_backorder_if_empty()
        state.decision_id = plan.decision_id
        if plan.fulfillments:
            self._await_release(plan, f"{state.order_id}-r{plan.plan_version}")
        core.note("granted", f"Supply granted at {_nodes(plan.fulfillments) or 'no node'}")

    async def replan(self, replanned: Replanned) -> None:
        """A brokering run moved the reservation: carry out its plan instead."""
        core, state = self._core, self._core.state
        plan = await core.call(
            RouteActivities.load_plan,
            LoadPlanTask(order_id=state.order_id, plan_version=replanned.plan_version),
            Plan,
            summary=f"Load plan {replanned.plan_version} of the brokering run",
        )
        for version in list(state.pending):
            del state.pending[version]
        state.plan_version = max(state.plan_version, plan.plan_version)
        state.decision_id = plan.decision_id
        self._await_release(plan, f"{state.order_id}-r{plan.plan_version}")
        core.note("replanned", f"Re-planned to {_nodes(plan.fulfillments)}")

    def _due(self) -> PendingPlan | None:
        state = self._core.state
        if state.holds or state.approvals_left or state.rejected:
            return None
        now = workflow.now()
        return next(
            (x for x in state.pending.values() if x.release_at <= now and not x.replanned), None
        )

    async def release(self) -> bool:
        """Freeze a due plan and start a child workflow for each of its fulfillments."""
        core, state = self._core, self._core.state
        pending = self._due()
        if pending is None:
            return False
        plan = pending.plan
        orders = self._fulfillment_orders(plan)
        snapshot = state.book.model_copy(deep=True)
        for order in orders:
            state.book.release(order)
        del state.pending[plan.plan_version]
        core.note("released", f"Released to {_nodes(plan.fulfillments)}")
        task = ClaimTask(
            **core.written(), plan_version=plan.plan_version, fulfillments=tuple(orders)
        )
        claimed = await core.call(
            ReleaseActivities.claim_release,
            task,
            Claimed,
            summary=f"Release plan {plan.plan_version} to {_nodes(plan.fulfillments)}"[:190],
            is_stage=False,
        )
        if not claimed.claimed:
            core.forget_story(task.timeline)
            state.book = snapshot
            state.pending[plan.plan_version] = pending
            pending.replanned = True
            core.note("replanned", "Not released: the plan was changed; its new version comes")
            return True
        state.next_fulfillment += len(orders)
        await asyncio.gather(
            *(self._start(x, y) for x, y in zip(orders, plan.fulfillments, strict=True))
        )
        return True

    def _fulfillment_orders(self, plan: Plan) -> list[FulfillmentOrder]:
        state = self._core.state
        return [
            FulfillmentOrder(
                fulfillment_id=f"{state.order_id}-{number}",
                order_id=state.order_id,
                node_id=planned.node_id,
                ship_group=planned.ship_group,
                method=planned.method,
                service_id=planned.service_id,
                lines=tuple(
                    FulfillmentLine(line_id=x.line_id, sku=x.sku, quantity=x.quantity)
                    for x in planned.lines
                ),
                ship_by=planned.ship_by,
                deliver_by=planned.deliver_by,
            )
            for number, planned in enumerate(plan.fulfillments, state.next_fulfillment)
        ]

    async def _start(self, order: FulfillmentOrder, planned: PlannedFulfillment) -> None:
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
        core.note("returned", f"{node_id} gave back {sum(reopened.values())} units: {why}")
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

    def deadlines(self) -> list[Deadline]:
        """Releases that are due, and the end of the wait for supply."""
        state = self._core.state
        found = []
        if not (state.holds or state.approvals_left):
            found += [
                Deadline(pending.release_at, "release to the nodes")
                for pending in state.pending.values()
                if not pending.replanned
            ]
        if state.backorder is not None:
            found.append(Deadline(state.backorder.look_at, "look again for stock"))
            until = state.backorder.until
            if "backorder" in self._core.questions:
                until += self._core.timings.backorder_answer
            found.append(Deadline(until, "give up waiting for supply"))
        return found

    @property
    def _may_ask(self) -> bool:
        return self._core.facts.backorder_last_resort is LastResort.ASK


def _units(parts: Iterable[PlanShortage | PlanLine]) -> Counter[str]:
    units: Counter[str] = Counter()
    for part in parts:
        units[part.line_id] += part.quantity
    return units


def _nodes(fulfillments: tuple[PlannedFulfillment, ...]) -> str:
    return ", ".join(sorted({fulfillment.node_id for fulfillment in fulfillments}))


def _child_attributes(order: FulfillmentOrder) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(FULFILLMENT_STATUS, FulfillmentStatus.RELEASED.value),
            SearchAttributePair(FULFILLMENT_NODES, [order.node_id]),
        ]
    )
