"""Reads the stock of systems that can be asked for it, as counts of their nodes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from domain.errors import DomsError
from domain.network import Connection, FeedMeaning, Node
from domain.values import Id
from integrations.registry import NodeSystems, vendor_of
from integrations.stock import StockReading, StockSource
from integrations.vendor import News, NewsOfStock
from starter.api.context import Wakeup
from store import inventory, network
from store.engine import reading, transaction
from store.inventory import StockCount

log = logging.getLogger("doms.stock")

POLL_SECONDS = 300.0
NEWS_SECONDS = 2.0
"""How long sales are gathered before the stock is read again."""
_SKU: TypeAdapter[str] = TypeAdapter(Id)


class StockPoll:
    """Takes over each connection's stock. Two at once do no harm: a newer count stands."""

    def __init__(
        self,
        engine: Engine,
        systems: NodeSystems,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Write into that store; `wake` tells the dispatcher that orders were granted stock."""
        self._engine = engine
        self._systems = systems
        self._wake = wake
        self._clock = clock
        self._lock = Lock()
        self._news: set[str] = set()
        self._has_news = Wakeup()

    def heard_of(self, connection_id: str, news: News) -> None:
        """Ask this one next; from any thread. Where nobody runs the poll, nothing happens."""
        if isinstance(news, NewsOfStock):
            with self._lock:
                self._news.add(connection_id)
            self._has_news.set()

    async def run(self, _: object = None) -> None:
        """Read until cancelled: what webhooks told of at most every few seconds."""
        self._has_news.bind()
        clock = asyncio.get_running_loop().time
        rounds_end = clock()
        while True:
            await self._has_news.wait(max(0.0, rounds_end - clock()))
            is_round = clock() >= rounds_end
            try:
                await asyncio.to_thread(self.poll if is_round else self.ask_for_news)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            if is_round:
                rounds_end = clock() + POLL_SECONDS
            await asyncio.sleep(NEWS_SECONDS)

    def poll(self) -> int:
        """Ask every connection that tells stock; how many positions were counted."""
        with self._lock:
            self._news.clear()
        return sum(map(self._read, self._sources()))

    def ask_for_news(self) -> int:
        """Ask those whose webhooks told of a change; how many positions were counted."""
        with self._lock:
            news, self._news = self._news, set()
        return sum(self._read(x) for x in self._sources() if x.connection_id in news)

    def _sources(self) -> list[Connection]:
        with reading(self._engine) as session:
            return [x for x in network.connections(session).values() if _tells(x)]

    def _read(self, connection: Connection) -> int:
        # What moves while the other side answers is put on top of the count, so it is as of before.
        counted_at = self._clock()
        try:
            source = self._systems.get(connection)
            readings = source.stock() if isinstance(source, StockSource) else ()
        except (DomsError, ValueError) as error:
            log.warning("%s tells no stock: %s", connection.connection_id, error)
            return 0
        try:
            return self._count(connection, readings, counted_at)
        except DomsError as error:
            # Others wrote the same positions at that moment: the next round counts them.
            log.warning("%s: its stock is not counted now: %s", connection.connection_id, error)
            return 0

    def _count(
        self,
        connection: Connection,
        readings: tuple[StockReading, ...],
        counted_at: datetime,
    ) -> int:
        with reading(self._engine) as session:
            counts = _counts(session, connection, readings, counted_at)
        if counts:
            with transaction(self._engine) as session:
                key = f"feed/{connection.connection_id}/{counted_at.isoformat()}"
                taken = inventory.set_stock(session, counts, key=key, now=self._clock())
            if taken.grants:
                self._wake()
        return len(counts)


def _tells(connection: Connection) -> bool:
    try:
        return vendor_of(connection).tells_stock
    except DomsError:
        return False


def _counts(
    session: Session,
    connection: Connection,
    readings: tuple[StockReading, ...],
    counted_at: datetime,
) -> list[StockCount]:
    """What is known here of what was told, by what each node's feed means."""
    nodes = {
        node.node_id: node
        for node in network.known_network(session).nodes
        if node.connection_id == connection.connection_id
    }
    units = _units(nodes, readings)
    products = network.products(session, {sku for _, sku in units})
    strange = sorted({sku for _, sku in units if sku not in products})
    if strange:
        log.info("%s has %d products unknown here", connection.connection_id, len(strange))
    return [
        StockCount(node_id=node_id, sku=sku, quantity=max(0, quantity), counted_at=counted_at)
        for (node_id, sku), quantity in units.items()
        if sku in products
    ]


def _units(
    nodes: Mapping[str, Node], readings: tuple[StockReading, ...]
) -> dict[tuple[str, str], int]:
    """Units by node and SKU; several lots of a SKU are one position."""
    units: dict[tuple[str, str], int] = {}
    for told in readings:
        node = nodes.get(told.node_id)
        if node is None or not _is_sku(told.sku):
            continue
        is_net = node.feed_meaning is FeedMeaning.NET
        quantity = told.net if is_net else told.physical
        if quantity is not None:
            place = (told.node_id, told.sku)
            units[place] = units.get(place, 0) + quantity
    return units


def _is_sku(text: str) -> bool:
    try:
        _SKU.validate_python(text)
    except ValidationError:
        return False
    return True
