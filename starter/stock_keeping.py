"""Keeps positions at what the stock rules want: after new rules, each day, and after sales."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store.engine import transaction
from store.reevaluation import evaluate_next

log = logging.getLogger("doms.stock")

LOOK_SECONDS = 30.0


class StockKeeper:
    """Evaluates the rules piece by piece until nothing is left to do, and looks again."""

    def __init__(
        self, engine: Engine, wake: Callable[[], None], clock: Callable[[], datetime]
    ) -> None:
        """Look at that store; `wake` tells the dispatcher that orders got units."""
        self._engine = engine
        self._wake = wake
        self._clock = clock

    async def run(self, _: object = None) -> None:
        """Look until cancelled. Several processes may."""
        while True:
            try:
                await asyncio.to_thread(self.keep)
            except SQLAlchemyError as error:
                log.warning("the database did not answer: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    def keep(self) -> int:
        """Evaluate what there is to evaluate now; how many positions."""
        positions = granted = 0
        while True:
            with transaction(self._engine) as session:
                piece = evaluate_next(session, self._clock())
            positions += piece.positions
            granted += piece.granted
            if piece.is_last:
                break
        if granted:
            self._wake()
        return positions
