"""Keeps this process's name on what it claims, and frees what dead processes had claimed."""

import itertools
import logging
import os
import secrets
import socket
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from store.leases import Owner, beat, free_leases_of_the_dead

log = logging.getLogger("doms.dispatcher")

BEAT_EVERY = timedelta(seconds=2)
_START = secrets.token_hex(6)
_numbers = itertools.count(1)


class LeaseKeeper:
    """One for each dispatcher."""

    def __init__(self) -> None:
        """A new owner, whatever ran here before."""
        host, process = socket.gethostname(), os.getpid()
        self._owner = Owner(f"{host}/{process}/{_START}/{next(_numbers)}", host, process)
        self._beaten_at: datetime | None = None

    @property
    def owner(self) -> str:
        """What claims are made under."""
        return self._owner.owner

    def keep(self, session: Session, now: datetime) -> None:
        """At first and then every few seconds: say that it lives, free what the dead had."""
        if self._beaten_at is not None and now - self._beaten_at < BEAT_EVERY:
            return
        beat(session, self._owner, now)
        freed = free_leases_of_the_dead(session, self._owner, now, is_running)
        self._beaten_at = now
        if freed:
            log.info("%s messages of a process that ended are delivered again", freed)


def is_running(process: int) -> bool:
    """Whether this machine has such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
