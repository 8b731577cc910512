"""Compares open orders with running workflows, and mends or shows what does not agree."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from config.settings import Settings
from domain.plans import TimelineEntry
from domain.stages import Attention
from starter.api.metrics import SWEEPS, SWEPT, SWEPT_AT
from store import recovery, timeline
from store.engine import reading, transaction
from store.order_pages import OpenOrder, open_orders

log = logging.getLogger("doms.sweeper")

Connect = Callable[[], Awaitable[Client]]

SWEEP_SECONDS = 60.0
SETTLING = timedelta(seconds=30)
"""An order this young may simply not have been started yet."""
ORDERS_AT_ONCE = 500
"""A sweep looks at so many orders and the next goes on from there, so its cost has a bound."""
CALLS_AT_ONCE = 8
RPC_TIMEOUT = timedelta(seconds=5)


class Found(StrEnum):
    """What a look at an open order's workflow found."""

    RUNNING = "running"
    MISSING = "missing"
    STOPPED = "stopped"
    CLOSED = "closed"
    """It ended while the sweep was under way."""


@dataclass(frozen=True)
class Look:
    """An open order, what was found, and for a stopped workflow how and in which run."""

    order: OpenOrder
    found: Found
    status: str = ""
    run_id: str = ""


class Sweeper:
    """Sweeps at start and then now and again. Two at once do no harm."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Look at that store; `wake` tells the dispatcher that a start was put."""
        self._retention = timedelta(days=settings.retention_days)
        self._engine = engine
        self._wake = wake
        self._clock = clock
        self._after: OpenOrder | None = None

    async def run(self, connect: Connect) -> None:
        """Sweep until cancelled."""
        client: Client | None = None
        while True:
            try:
                client = client or await connect()
                await self.sweep(client)
            except (RPCError, RuntimeError, OSError) as error:
                log.info("no sweep while Temporal cannot be reached: %s", error)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self, client: Client) -> dict[Found, int]:
        """Look at the next orders; how many were found how. Raises RPCError when out of reach.

        What was found before the server could not be reached is mended all the same; the next
        sweep looks at these orders again.
        """
        orders, after = await asyncio.to_thread(self.next_orders)
        looks: list[Look] = []
        try:
            await self._look_at(client, orders, looks)
            self._after = after
        finally:
            counted = await asyncio.to_thread(self._mend, looks)
            if counted[Found.MISSING]:
                self._wake()
            for found, number in counted.items():
                SWEPT.labels(found.value).inc(number)
        SWEEPS.inc()
        SWEPT_AT.set_to_current_time()
        return counted

    def next_orders(self) -> tuple[Sequence[OpenOrder], OpenOrder | None]:
        """Read the open orders this sweep looks at, and after which the sweep after it begins."""
        now = self._clock()
        with reading(self._engine) as session:
            page = open_orders(session, now - SETTLING, after=self._after, most=ORDERS_AT_ONCE)
        return page, page[-1] if len(page) == ORDERS_AT_ONCE else None

    async def _look_at(
        self, client: Client, orders: Sequence[OpenOrder], looks: list[Look]
    ) -> None:
        """Look at some orders at a time, adding to `looks`; the first failure ends it."""
        waiting = iter(orders)

        async def look_at_next() -> None:
            for order in waiting:
                look = await self._look(client, order)
                looks.append(look)

        lookers = [asyncio.create_task(look_at_next()) for _ in range(CALLS_AT_ONCE)]
        try:
            await asyncio.gather(*lookers)
        finally:
            for looker in lookers:
                looker.cancel()
            await asyncio.gather(*lookers, return_exceptions=True)

    async def _look(self, client: Client, order: OpenOrder) -> Look:
        handle = client.get_workflow_handle(order.workflow_id)
        try:
            described = await handle.describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return Look(order, Found.MISSING)
        if described.status in {
            WorkflowExecutionStatus.RUNNING,
            WorkflowExecutionStatus.CONTINUED_AS_NEW,
        }:
            return Look(order, Found.RUNNING)
        status = described.status.name.lower() if described.status else "unknown"
        return Look(order, Found.STOPPED, status, described.run_id)

    def _mend(self, looks: Sequence[Look]) -> dict[Found, int]:
        counted = dict.fromkeys(Found, 0)
        now = self._clock()
        for look in looks:
            found = look.found
            if found is not Found.RUNNING:
                with transaction(self._engine) as session:
                    if recovery.is_closed(session, look.order.order_id):
                        found = Found.CLOSED
                    elif found is Found.MISSING and not self._is_forgotten(look.order, now):
                        recovery.start_again(session, look.order, now)
                        log.warning("order %s had no workflow: starting it", look.order.order_id)
                    else:
                        self._show(session, look, now)
            counted[found] += 1
        return counted

    def _is_forgotten(self, order: OpenOrder, now: datetime) -> bool:
        """Older than Temporal remembers: its workflow may have run and must not run again."""
        return now - order.received_at > self._retention

    def _show(self, session: Session, look: Look, now: datetime) -> None:
        """Let people see an open order that nothing moves any more."""
        how = f"is {look.status}" if look.found is Found.STOPPED else "is no longer remembered"
        attention = Attention(
            park_id=f"workflow-{look.run_id or 'gone'}",
            step="workflow",
            reason=f"the order's workflow {how}; reset it in the Temporal UI",
            choices=(),
            since=now,
        )
        if recovery.note_stopped(session, look.order.order_id, attention, now):
            log.error("order %s: %s", look.order.order_id, attention.reason)
            entry = TimelineEntry(
                key=f"sweeper/{attention.park_id}", at=now, kind="attention", text=attention.reason
            )
            timeline.note(session, look.order.order_id, [entry])
