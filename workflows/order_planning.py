"""Promise, route, reserve, wait for supply, release: from open units to running fulfillments."""

import asyncio
from collections import Counter
from datetime import datetime

from temporalio import workflow

from workflows.order_core import ASKS_AND_GOES_ON, OrderCore
from workflows.order_details import moment
from workflows.order_fulfillments import Fulfillments
from workflows.order_moves import Moves, nodes_of, units_of
from workflows.order_state import PendingPlan, WaitingBackorder
from workflows.reactor import DECIDING_TIMEOUT, Deadline

with workflow.unsafe.imports_passed_through():
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
    from activities.route import REFUSED, RouteActivities, RouteTask
    from domain.counting import counted
    from domain.events import SupplyGranted
    from domain.fulfillments import FulfillmentLine, FulfillmentOrder
    from domain.orders import PaymentStatus
    from domain.plans import (
        Plan,
        PlanLine,
        chosen_nodes,
    )
    from domain.process_policy import LastResort
    from domain.quantities import Bucket
    from domain.routing.decision import Exclusion
    from domain.stages import Choice, Hold

PAYMENT_HOLD = "payment"
MOST_REFUSALS = 10
NOBODY_HAS_IT = "no node can supply it: the routing policy asks people"
"""How often one planning round may be refused at reserve before its units wait for supply."""


class Planning:
    """Finds nodes for open units and hands reserved plans to their nodes in time."""

    def __init__(self, core: OrderCore, fulfillments: Fulfillments) -> None:
        """Nothing is planned yet."""
        self._core = core
        self._fulfillments = fulfillments
        self.moves = Moves(core, self._await_release)
        self._forgotten: tuple[str, ...] = ()
        """Made under the numbers that the last plan passed over, before the order was reset."""
        core.collect_deadlines.append(self.deadlines)

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
            within=DECIDING_TIMEOUT,
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
            self.hold_for_payment()
        return True

    def hold_for_payment(self) -> None:
        """Hold the order until its payment is there; once, however often it is asked."""
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
            if short is None:
                continue
            if not short:
                break
            refused += [
                Exclusion(node_id=node, sku=sku or None, reason=REFUSED) for node, sku in short
            ]
        await self._wait_for_supply(asks_people=plan.asks_people)
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
        task = self.route_task(refused, units)
        plan = await core.call(
            RouteActivities.route,
            task,
            Plan,
            summary=f"Route {counted(sum(units.values()), 'unit')} (plan {task.plan_version})",
            within=DECIDING_TIMEOUT,
            choices=(Choice.RETRY, Choice.CANCEL),
        )
        state.plan_version = plan.plan_version
        state.decision_id = plan.decision_id
        state.explanation = plan.explanation
        forgotten = range(task.plan_version, plan.plan_version)
        self._forgotten = tuple(f"{state.order_id}-r{version}" for version in forgotten)
        return plan

    def route_task(self, refused: tuple[Exclusion, ...], units: dict[str, int]) -> RouteTask:
        """What to decide for these units, with all that people and nodes have said."""
        state = self._core.state
        refused_by = {x.node_id for x in state.exclusions}
        return RouteTask(
            **self._core.task_fields,
            units=units,
            plan_version=state.plan_version,
            rerouted=state.plan_version > 1,
            exclusions=(*state.exclusions, *refused),
            promised_deliver_by=state.promise_at,
            known=tuple(state.pending),
            chosen=chosen_nodes(state.overrides, refused_by),
        )

    async def _reserve(self, plan: Plan) -> tuple[tuple[str, str], ...] | None:
        """Take the plan; what refused, or None where only its number was used meanwhile."""
        core, state = self._core, self._core.state
        lines = [line for f in plan.fulfillments for line in f.lines]
        known = tuple(state.pending)
        state.book.move_all(lines, Bucket.OPEN, Bucket.RESERVED)
        self._await_release(plan, f"{state.order_id}-r{plan.plan_version}")
        nodes = nodes_of(plan.fulfillments)
        core.note("reserved", f"Reserved at {nodes}")
        task = ReserveTask(**core.written(), plan=plan, replaces=self._forgotten, known=known)
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
            if reserved.is_overtaken:
                return None
            refusals = ", ".join(f"{sku or 'capacity'} at {node}" for node, sku in reserved.refused)
            core.note("refused", f"Not reserved, gone meanwhile: {refusals}")
            return reserved.refused
        if state.promise_at is None:
            state.promise_at = plan.deliver_by
        return ()

    def _await_release(
        self, plan: Plan, reservation_id: str, at_latest: datetime | None = None
    ) -> None:
        now = workflow.now()
        latest = min((f.order_by for f in plan.fulfillments), default=now)
        release_at = max(now, min(at_latest or now + self._core.timings.remorse, latest))
        self._core.state.pending[plan.plan_version] = PendingPlan(
            plan=plan, reservation_id=reservation_id, release_at=release_at
        )

    async def _wait_for_supply(self, *, asks_people: bool) -> None:
        """Queue what no node can serve, or end it where the order may not wait."""
        core, state = self._core, self._core.state
        short = state.book.units(Bucket.OPEN)
        if not short:
            return
        if not core.facts.allow_backorder:
            for line_id, quantity in short.items():
                state.book.move(line_id, Bucket.OPEN, Bucket.CANCELLED, quantity)
            core.note(
                "cancelled", f"{counted(sum(short.values()), 'unit')} cancelled: not in stock"
            )
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
        state.backorder.asks_people = state.backorder.asks_people or asks_people
        state.at_risk = True
        core.note(
            "backordered", counted(sum(short.values()), "unit", "waits", "wait") + " for supply"
        )
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
            summary=f"Wait for supply of {counted(sum(line.quantity for line in lines), 'unit')}",
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
            summary=f"Wait no longer for {counted(sum(units.values()), 'unit')}",
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
        found = units_of(line for planned in plan.fulfillments for line in planned.lines)
        if found:
            await self.drop_backorder(dict(found), Bucket.OPEN)
            core.note("routed", f"{counted(found.total(), 'unit')} that waited can be supplied now")
        return True

    async def give_up_backorder(self) -> bool:
        """After the longest wait: cancel what is left, or ask a person, as the policy says."""
        core, state = self._core, self._core.state
        if state.backorder is None or workflow.now() < state.backorder.until:
            return await self._ask_customer_care()
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
        await self._end_wait()
        return True

    async def _ask_customer_care(self) -> bool:
        """Ask at once, where the routing policy says so; unanswered, the wait goes on."""
        core, waiting = self._core, self._core.state.backorder
        if waiting is None or not waiting.asks_people:
            return False
        resume = core.question("backorder", NOBODY_HAS_IT, (Choice.RETRY, Choice.CANCEL))
        if resume is None:
            return False
        waiting.asks_people = False
        if resume.choice is Choice.RETRY:
            core.note("backordered", "A person chose to wait on")
        else:
            await self._end_wait()
        return True

    async def _end_wait(self) -> None:
        """Cancel the units that still wait."""
        core, state = self._core, self._core.state
        core.withdraw("backorder")
        waiting = state.book.units(Bucket.BACKORDERED)
        dropped = await self.drop_backorder(waiting, Bucket.CANCELLED)
        core.note(
            "cancelled", f"{counted(sum(dropped.values()), 'unit')} cancelled: no supply in time"
        )
        if state.backorder is not None:
            # The rest was granted at the last moment; its grant will end this wait.
            state.backorder.until = workflow.now() + core.timings.backorder

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
        for line_id, quantity in units_of(plan.missing).items():
            # Granted but not deliverable from there after all: plan these units afresh.
            again = min(quantity, waiting[line_id])
            state.book.move(line_id, Bucket.BACKORDERED, Bucket.OPEN, again)
        self._end_backorder_if_empty()
        state.plan_version = max(state.plan_version, plan.plan_version)
        state.decision_id = plan.decision_id
        if plan.fulfillments:
            self._await_release(plan, f"{state.order_id}-r{plan.plan_version}")
        core.note("granted", f"Supply granted at {nodes_of(plan.fulfillments) or 'no node'}")

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
        core.note("released", f"Released to {nodes_of(plan.fulfillments)}")
        task = ClaimTask(
            **core.written(), plan_version=plan.plan_version, fulfillments=tuple(orders)
        )
        claimed = await core.call(
            ReleaseActivities.claim_release,
            task,
            Claimed,
            summary=f"Release plan {plan.plan_version} to {nodes_of(plan.fulfillments)}"[:190],
            is_stage=False,
        )
        if not claimed.claimed:
            core.forget_story(task.timeline)
            state.book = snapshot
            if claimed.moved_to is not None:
                state.pending[plan.plan_version] = pending
                await self.moves.take(claimed.moved_to)
            elif claimed.given_back:
                # The order was reset to before units of the plan were given back.
                lines = [line for planned in plan.fulfillments for line in planned.lines]
                state.book.move_all(lines, Bucket.RESERVED, Bucket.OPEN)
                core.note("replanned", "Not released: no longer all reserved; planned again")
            else:
                state.pending[plan.plan_version] = pending
                pending.replanned = True
                core.note("replanned", "Not released: the plan was changed; its new version comes")
            return True
        state.next_fulfillment += len(orders)
        await asyncio.gather(
            *(
                self._fulfillments.start(x, y)
                for x, y in zip(orders, plan.fulfillments, strict=True)
            )
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
            if "backorder" in self._core.questions and self._may_ask:
                until += self._core.timings.backorder_answer
            found.append(Deadline(until, "give up waiting for supply"))
        return found

    @property
    def _may_ask(self) -> bool:
        return self._core.facts.backorder_last_resort is LastResort.ASK
