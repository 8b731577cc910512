"""Promises that a process answered and lost before it could write them (promise_records.py).

An order that names one is accepted and promised afresh. A checkout's promise is written before it
is answered: one that is not known was never made, or is long forgotten.
"""

import re
from datetime import datetime

from sqlalchemy.orm import Session

from domain.plans import TimelineEntry
from domain.routing.decision import Purpose
from store import decisions, timeline

AFRESH = "the promise is not known; promised afresh"
_LOSABLE = re.compile("promise-[0-9a-f]{32}")


def prefix_of(purpose: Purpose) -> str:
    """How the id of such a promise begins: a checkout's is told by it, as it is never lost."""
    return "checkout-" if purpose is Purpose.CHECKOUT else "promise-"


def is_lost(session: Session, promise_id: str) -> bool:
    """Whether the promise may have been made, though nothing is known of it."""
    may_be = _LOSABLE.fullmatch(promise_id) is not None
    return may_be and not decisions.is_known(session, promise_id)


def tell_if_lost(session: Session, order_id: str, promise_id: str, now: datetime) -> None:
    """A line on the order's timeline, when its promise is lost."""
    if is_lost(session, promise_id):
        told = TimelineEntry(key=f"promise/{promise_id}", at=now, kind="promise", text=AFRESH)
        timeline.note(session, order_id, [told])
