"""Asks shops for the orders that changed: what they send may get lost, and some send none."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import DomsError
from domain.network import Connection, ConnectionClass
from integrations.capture import VENDORS
from integrations.capture.port import CaptureSource
from integrations.http import shared_client
from integrations.vendor import Secrets
from starter.intake import Capture
from store import network
from store.engine import reading

log = logging.getLogger("doms.capture")

POLL_SECONDS = 60.0
LOOK_BACK = timedelta(days=3)
"""How far a process that starts looks back: as long as nobody may have asked."""
OVERLAP = timedelta(minutes=5)
"""Two clocks differ, and an order may be shown a little after its time."""
ENTERED_BY = "poll"


class CapturePoll:
    """Takes what shops have. Two at once do no harm: the same document changes nothing."""

    def __init__(
        self,
        engine: Engine,
        capture: Capture,
        secrets: Secrets,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
        *,
        client: httpx.Client | None = None,
    ) -> None:
        """Hand documents to that capture; `wake` tells the dispatcher that there is news."""
        self._engine = engine
        self._capture = capture
        self._secrets = secrets
        self._wake = wake
        self._clock = clock
        self._client = client
        self._asked: dict[str, datetime] = {}
        self._sources: dict[str, tuple[Connection, CaptureSource]] = {}

    async def run(self, _: object = None) -> None:
        """Ask until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.poll)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            await asyncio.sleep(POLL_SECONDS)

    def poll(self) -> int:
        """Ask every shop that can be asked; how many orders were news."""
        with reading(self._engine) as session:
            connections = list(network.connections(session).values())
        news = sum(self._ask(x) for x in connections if x.kind is ConnectionClass.CAPTURE)
        if news:
            self._wake()
        return news

    def _ask(self, connection: Connection) -> int:
        now = self._clock()
        since = self._asked.get(connection.connection_id, now - LOOK_BACK) - OVERLAP
        news = 0
        try:
            for raw in self._changed(connection, since):
                taken = self._capture.take(connection.connection_id, raw, ENTERED_BY)
                if taken.accepted is not None:
                    news += taken.accepted.outcome != "same"
        except (DomsError, ValueError) as error:
            # The next round asks from the same moment again.
            log.warning("%s does not tell its orders: %s", connection.connection_id, error)
            return news
        self._asked[connection.connection_id] = now
        return news

    def _changed(self, connection: Connection, since: datetime) -> Iterator[bytes]:
        vendor = VENDORS.get(connection.vendor)
        if vendor is None or vendor.source is None:
            return iter(())
        known = self._sources.get(connection.connection_id)
        if known is None or known[0] != connection:
            known = (
                connection,
                vendor.source(connection, self._secrets, self._client or shared_client()),
            )
            self._sources[connection.connection_id] = known
        return known[1].changed_since(since)
