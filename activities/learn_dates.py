"""Learning delivery dates again, from what was delivered up to now."""

from datetime import UTC, datetime, timedelta

import holidays
from temporalio import activity

from activities.context import Context
from activities.recording import now
from domain.learned_dates import LearnedDates, Shipment, learn_dates
from domain.values import Model
from store import delivery_dates
from store.engine import reading, transaction

LOOK_BACK = timedelta(days=540)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).date()


class LearnedSummary(Model):
    """What a run learned; nothing when too little was delivered."""

    shipments: int = 0
    lanes: int = 0


class LearnDatesActivities:
    """The periodic learning run."""

    def __init__(self, context: Context) -> None:
        """Keep the engine."""
        self._engine = context.engine

    @activity.defn(name="learn_delivery_dates", no_thread_cancel_exception=True)
    def learn_delivery_dates(self) -> LearnedSummary:
        """Learn from the shipments of the last year and a half, and keep it."""
        at = now()
        with reading(self._engine) as session:
            known = list(delivery_dates.shipments(session, at - LOOK_BACK))
        learned = learn_dates(known, _holidays(known, at), at)
        if learned is None:
            return LearnedSummary()
        self._keep(learned)
        return LearnedSummary(shipments=learned.shipments, lanes=len(learned.lanes))

    def _keep(self, learned: LearnedDates) -> None:
        with transaction(self._engine) as session:
            delivery_dates.keep(session, learned)


def _holidays(known: list[Shipment], at: datetime) -> frozenset[int]:
    """National holidays where everything goes to one country; else none are known for all."""
    countries = {one.destination.country for one in known}
    if len(countries) != 1:
        return frozenset()
    years = range(at.year - 2, at.year + 3)
    days = holidays.country_holidays(countries.pop(), years=years)
    return frozenset((day - _EPOCH).days for day in days)
