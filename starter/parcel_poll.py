"""Asks carriers for parcels on the way: webhooks get lost, and some carriers send none."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from domain.errors import DomsError
from domain.events import CarrierEvent
from domain.network import Connection, ConnectionClass
from integrations.carrier import VENDORS
from integrations.registry import Carriers
from starter.api.links import fulfillment_workflow_of
from starter.deliveries import TRACKED
from store import inbox, labels, network
from store.engine import reading, transaction
from store.labels import ParcelOnTheWay

log = logging.getLogger("doms.parcels")

POLL_SECONDS = 60.0
PARCELS_AT_ONCE = 100
"""A round asks for so many parcels and the next goes on from there, so its cost has a bound."""


class ParcelPoll:
    """Asks for the next parcels now and again. Two at once do no harm: a step counts once."""

    def __init__(
        self,
        engine: Engine,
        carriers: Carriers,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Look at that store; `wake` tells the dispatcher that there is news."""
        self._engine = engine
        self._carriers = carriers
        self._wake = wake
        self._clock = clock
        self._after = ""

    async def run(self, _: object = None) -> None:
        """Ask until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.poll)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            await asyncio.sleep(POLL_SECONDS)

    def poll(self) -> int:
        """Ask for the next parcels; how many steps were news."""
        with reading(self._engine) as session:
            connections = {
                name: connection
                for name, connection in network.connections(session).items()
                if _is_polled(connection)
            }
            parcels = labels.parcels_on_the_way(
                session, sorted(connections), self._after, PARCELS_AT_ONCE
            )
        self._after = parcels[-1].tracking_number if len(parcels) == PARCELS_AT_ONCE else ""
        news = sum(self._ask(parcel, connections[parcel.connection_id]) for parcel in parcels)
        if news:
            self._wake()
        return news

    def _ask(self, parcel: ParcelOnTheWay, connection: Connection) -> int:
        try:
            events = self._carriers.get(connection).track(parcel.tracking_number)
        except (DomsError, ValueError) as error:
            log.info("%s tells nothing of a parcel: %s", connection.connection_id, error)
            return 0
        with transaction(self._engine) as session:
            kept = [self._keep(parcel, event, session) for event in events]
        return sum(kept)

    def _keep(self, parcel: ParcelOnTheWay, event: CarrierEvent, session: Session) -> bool:
        known = event.model_copy(update={"fulfillment_id": parcel.fulfillment_id})
        _, is_new = inbox.put(
            session,
            kind="webhook",
            connection_id=parcel.connection_id,
            event_id=event.event_id,
            stream=fulfillment_workflow_of(parcel.fulfillment_id),
            name=TRACKED,
            payload=known.model_dump(mode="json"),
            now=self._clock(),
        )
        return is_new


def _is_polled(connection: Connection) -> bool:
    vendor = VENDORS.get(connection.vendor)
    is_carrier = connection.kind is ConnectionClass.CARRIER
    return is_carrier and vendor is not None and vendor.is_polled
