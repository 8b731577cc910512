"""Asks what became of the work that nodes' systems have.

At once where a webhook says that there is news, and now and again anyhow: webhooks get lost.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from threading import Lock

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from domain.errors import DomsError
from domain.events import CarrierEvent, NodeEvent, NodeEventType
from domain.fulfillments import FulfillmentStatus
from domain.network import Connection, ConnectionClass
from integrations.node_system import NamesOrders
from integrations.registry import NodeSystems, vendor_of
from integrations.vendor import News, NewsOf, NewsOfOrder, NewsOfStock
from starter.api.context import Wakeup
from starter.api.links import fulfillment_workflow_of
from starter.deliveries import REPORTED, TRACKED
from store import inbox, network
from store.engine import reading, transaction
from store.node_reports import OpenWork, open_among, open_work

log = logging.getLogger("doms.nodes")

POLL_SECONDS = 60.0
WORK_AT_ONCE = 60
"""A round asks for so many fulfillments and the next goes on from there, so its cost has a bound.
"""
_UNACCEPTED = frozenset({FulfillmentStatus.CREATED.value, FulfillmentStatus.RELEASED.value})
_RUN_NODES = frozenset({ConnectionClass.WMS, ConnectionClass.POS, ConnectionClass.THREEPL})


class NodePoll:
    """Asks for the next fulfillments. Two at once do no harm: what is told counts once."""

    def __init__(
        self,
        engine: Engine,
        systems: NodeSystems,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Look at that store; `wake` tells the dispatcher that there is news."""
        self._engine = engine
        self._systems = systems
        self._wake = wake
        self._clock = clock
        self._after = ""
        self._lock = Lock()
        self._news: set[tuple[str, NewsOf | NewsOfOrder]] = set()
        self._has_news = Wakeup()

    def heard_of(self, connection_id: str, news: News) -> None:
        """Ask about this next; from any thread. Where nobody runs the poll, nothing happens."""
        if not isinstance(news, NewsOfStock):
            with self._lock:
                self._news.add((connection_id, news))
            self._has_news.set()

    async def run(self, _: object = None) -> None:
        """Ask until cancelled."""
        self._has_news.bind()
        rounds_end = asyncio.get_running_loop().time()
        while True:
            left = rounds_end - asyncio.get_running_loop().time()
            if left > 0:
                await self._has_news.wait(left)
            is_round = asyncio.get_running_loop().time() >= rounds_end
            try:
                await asyncio.to_thread(self.poll if is_round else self.ask_for_news)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            if is_round:
                rounds_end = asyncio.get_running_loop().time() + POLL_SECONDS

    def ask_for_news(self) -> int:
        """Ask about the work that webhooks told of; how many steps were new."""
        with self._lock:
            news, self._news = self._news, set()
        if not news:
            return 0
        with reading(self._engine) as session:
            nodes = _polled_nodes(session)
            connections = network.connections(session)
        named = {self._named(connections.get(name), one) for name, one in news}
        with reading(self._engine) as session:
            work = open_among(session, sorted(nodes), sorted(named - {""}))
        return self._ask_all(work, nodes)

    def _named(self, connection: Connection | None, news: NewsOf | NewsOfOrder) -> str:
        """The fulfillment that has news; empty where nobody can tell."""
        if isinstance(news, NewsOf):
            return news.fulfillment_id
        if connection is None:
            return ""
        try:
            system = self._systems.get(connection)
            if isinstance(system, NamesOrders):
                return system.fulfillment_of(news.external_id) or ""
        except (DomsError, ValueError) as error:
            log.info("nobody tells whose order it is: %s", error)
        return ""

    def poll(self) -> int:
        """Ask for the next open fulfillments; how many steps were new."""
        with reading(self._engine) as session:
            nodes = _polled_nodes(session)
            work = open_work(session, sorted(nodes), self._after, WORK_AT_ONCE)
        self._after = work[-1].fulfillment_id if len(work) == WORK_AT_ONCE else ""
        return self._ask_all(work, nodes)

    def _ask_all(self, work: list[OpenWork], nodes: dict[str, Connection]) -> int:
        news = sum(self._ask(one, nodes[one.node_id]) for one in work)
        if news:
            self._wake()
        return news

    def _ask(self, work: OpenWork, connection: Connection) -> int:
        try:
            events = self._systems.get(connection).reports(work.fulfillment_id)
        except (DomsError, ValueError) as error:
            log.info("%s tells nothing of its work: %s", connection.connection_id, error)
            return 0
        with transaction(self._engine) as session:
            return sum(
                self._keep(session, connection, work.fulfillment_id, event)
                for event in events
                if not _is_known(event, work)
            )

    def _keep(
        self,
        session: Session,
        connection: Connection,
        fulfillment_id: str,
        event: NodeEvent | CarrierEvent,
    ) -> bool:
        _, is_new = inbox.put(
            session,
            kind="webhook",
            connection_id=connection.connection_id,
            event_id=event.event_id,
            stream=fulfillment_workflow_of(fulfillment_id),
            name=REPORTED if isinstance(event, NodeEvent) else TRACKED,
            payload=event.model_dump(mode="json"),
            now=self._clock(),
        )
        return is_new


def _polled_nodes(session: Session) -> dict[str, Connection]:
    """The connection of each node whose system is to be asked."""
    connections = {
        name: connection
        for name, connection in network.connections(session).items()
        if connection.kind in _RUN_NODES and _is_polled(connection)
    }
    return {
        node.node_id: connections[node.connection_id]
        for node in network.known_network(session).nodes
        if node.connection_id in connections
    }


def _is_polled(connection: Connection) -> bool:
    try:
        return vendor_of(connection).is_polled
    except DomsError:
        return False


def _is_known(event: NodeEvent | CarrierEvent, work: OpenWork) -> bool:
    """An acceptance tells nothing of work that was accepted when it was handed over."""
    is_acceptance = isinstance(event, NodeEvent) and event.type is NodeEventType.ACKNOWLEDGED
    return is_acceptance and work.status not in _UNACCEPTED
