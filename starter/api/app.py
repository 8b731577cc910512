"""The HTTP API as one ASGI app; the dispatcher and the sweeper run beside it in its loop."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from sqlalchemy import Engine
from temporalio.client import Client

from config.settings import Settings
from domain.routing.solve import warm
from integrations.registry import Carriers, NodeSystems
from integrations.vendor import News
from starter.answers import Answers
from starter.api import (
    brokering,
    commands,
    decisions,
    events,
    inventory,
    labels,
    nodes,
    operations,
    orders,
    policies,
    promises,
    reports,
    reservations,
    store_work,
    subscriptions,
    tracking,
    webhooks,
)
from starter.api.context import BODIES, Services, Wakeup
from starter.api.metrics import RequestMetrics
from starter.api.pages import install_docs, with_summaries
from starter.api.problems import install_problem_handlers
from starter.auth import Gatekeeper
from starter.capture_poll import CapturePoll
from starter.dispatcher import Dispatcher
from starter.event_sender import EventSender
from starter.intake import Capture, Intake, Reference
from starter.learned_dates import LearnedReader
from starter.node_poll import NodePoll
from starter.parcel_poll import ParcelPoll
from starter.policy_keeping import PolicyKeeper
from starter.promise_records import PromiseRecords
from starter.stock_keeping import StockKeeper
from starter.stock_poll import StockPoll
from starter.sweeper import Sweeper
from store.following import Following

log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[Client]]

RESTART_SECONDS = 1.0

Lifespan = Callable[[FastAPI], Any]
_PAGES = (
    *(orders, commands, nodes, promises, inventory, reservations),
    *(webhooks, decisions, reports, policies, tracking, labels, subscriptions, events),
    *(brokering,),
)
"""What is served under `/v1`."""


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


Polls = tuple[NodePoll, StockPoll]


def create_app(
    settings: Settings,
    engine: Engine,
    connect: Connect | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """The API over that store. With `connect` (to Temporal) it also delivers what it keeps.

    The schema must be up to date (`store.engine.migrate`). Temporal may be away at any time.
    """
    wakeup = Wakeup()
    reference = Reference()
    records = PromiseRecords(engine, clock)
    intake = Intake(engine, reference, clock, records.settle)
    capture = Capture(engine, reference, intake, clock)
    dispatcher = Dispatcher(settings, engine, reference, capture, wakeup, clock)
    following = Following(engine, clock)
    answers = Answers(connect, lambda: dispatcher.reaches_temporal)
    systems = NodeSystems(os.environ)
    polls: Polls = (
        NodePoll(engine, systems, wakeup.set, clock),
        StockPoll(engine, systems, wakeup.set, clock),
    )
    services = Services(
        settings=settings,
        engine=engine,
        gatekeeper=Gatekeeper(settings, engine),
        reference=reference,
        intake=intake,
        capture=capture,
        clock=clock,
        wake=wakeup.set,
        following=following,
        records=records,
        answers=answers,
        temporal_ready=lambda: dispatcher.reaches_temporal,
        learned=LearnedReader(engine).current,
        heard_of=lambda connection_id, news: _tell(polls, connection_id, news),
    )
    app = _application(_lifespan(services, dispatcher, wakeup, polls, connect))
    app.state.services = services
    return app


def _application(lifespan: Lifespan) -> FastAPI:
    """The pages and their errors, without anything behind them."""
    app = FastAPI(
        title="doms",
        version="1",
        description="Distributed order management: orders, promises, stock and node work.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(RequestMetrics)
    install_problem_handlers(app)
    install_docs(app)
    for module in _PAGES:
        app.include_router(module.router, prefix="/v1")
    app.include_router(operations.router)
    app.include_router(store_work.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _tell(polls: Polls, connection_id: str, news: News) -> None:
    for poll in polls:
        poll.heard_of(connection_id, news)


def _lifespan(
    services: Services,
    dispatcher: Dispatcher,
    wakeup: Wakeup,
    polls: Polls,
    connect: Connect | None,
) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            services.answers.bind()
            await asyncio.to_thread(_begin_promises, services)
            stack.push_async_callback(asyncio.to_thread, _end_promises, services)
            if connect is not None:
                settings, engine, clock = services.settings, services.engine, services.clock
                sweeper = Sweeper(settings, engine, wakeup.set, clock)
                keeper = StockKeeper(engine, wakeup.set, clock)
                poll = ParcelPoll(engine, Carriers(os.environ), wakeup.set, clock)
                capture = CapturePoll(engine, services.capture, os.environ, wakeup.set, clock)
                events_out = EventSender(
                    engine, os.environ, settings.events_private_networks, clock
                )
                rollouts = PolicyKeeper(engine, clock)
                keepers = (sweeper, keeper, rollouts)
                runs = (dispatcher, *keepers, poll, capture, events_out, *polls)
                for run in (x.run for x in runs):
                    task = asyncio.create_task(_keep_running(run, connect))
                    stack.push_async_callback(_stop, task)
            yield

    return lifespan


def _begin_promises(services: Services) -> None:
    """Read the availability view and compile the kernel: the first caller need not wait for it."""
    services.following.start()
    services.records.start()
    warm()


def _end_promises(services: Services) -> None:
    services.records.stop()
    services.following.stop()


async def _keep_running(run: Callable[[Connect], Awaitable[None]], connect: Connect) -> None:
    """Run it until cancelled; a fault nobody foresaw is logged and does not end it."""
    while True:
        try:
            await run(connect)
        except Exception:
            log.exception("a background task failed and starts again")
        await asyncio.sleep(RESTART_SECONDS)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the API, with the bodies that endpoints read raw."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        with_summaries(schema)
        ordered = sorted(BODIES, key=lambda model: model.__name__)
        _, definitions = models_json_schema(
            [(model, "validation") for model in ordered],
            ref_template="#/components/schemas/{model}",
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components.update(definitions.get("$defs", {}))
        app.openapi_schema = schema
    return app.openapi_schema
