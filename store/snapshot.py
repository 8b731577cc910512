"""All facts a decision looks at, read from the database for one request.

The same code as the availability view's decides what counts, so both say the same of one moment.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from domain.routing.decision import Snapshot
from domain.routing.facts import KernelFacts, snapshot_of
from store.view_updates import view_of


def build_facts(
    session: Session, skus: Iterable[str], now: datetime, channel: str = ""
) -> KernelFacts:
    """What is true at this moment of these SKUs: stock, capacity, inbound supply, network.

    `channel` is who asks: what is protected for it is there, what is for others is not. Capacity
    is that of nodes' work dates from today on that are used already.
    """
    wanted = sorted(set(skus))
    return view_of(session.connection(), wanted, now).facts(wanted, channel, now)


def build_snapshot(
    session: Session, skus: Iterable[str], now: datetime, channel: str = ""
) -> Snapshot:
    """The same in the form that is recorded."""
    return snapshot_of(build_facts(session, skus, now, channel))
