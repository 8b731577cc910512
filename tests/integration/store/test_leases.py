"""Messages claimed by a process that died are free at once, those of a living one are not."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from starter.leases import LeaseKeeper, is_running
from store import inbox
from store.engine import transaction
from store.leases import SILENCE, Owner, beat, free_leases_of_the_dead
from tests.integration.store.builders import NOW

ME = Owner("here/1/new/1", "here", 1)


def claimed_by(engine: Engine, owner: Owner) -> None:
    """One message, claimed by that process a moment after it said that it lives."""
    with transaction(engine) as session:
        inbox.put(session, kind="signal", name="hold", now=NOW)
        beat(session, owner, NOW)
        assert len(inbox.claim(session, 10, NOW, owner=owner.owner)) == 1


def claims(engine: Engine) -> int:
    with transaction(engine) as session:
        return len(inbox.claim(session, 10, NOW, owner=ME.owner))


@pytest.mark.parametrize(
    "dead",
    [
        pytest.param(Owner("here/7/a/1", "here", 7), id="no such process on this machine"),
        pytest.param(Owner("here/1/old/1", "here", 1), id="its own predecessor in a container"),
    ],
)
def test_what_a_dead_process_had_claimed_is_free_at_once(engine: Engine, dead: Owner) -> None:
    claimed_by(engine, dead)
    assert claims(engine) == 0

    with transaction(engine) as session:
        freed = free_leases_of_the_dead(session, ME, NOW, lives=lambda process: False)

    assert freed == 1
    assert claims(engine) == 1


def test_a_living_process_keeps_what_it_claimed(engine: Engine) -> None:
    claimed_by(engine, Owner("here/7/a/1", "here", 7))
    claimed_elsewhere = Owner("there/1/b/1", "there", 1)
    claimed_by(engine, claimed_elsewhere)
    claimed_by(engine, Owner("here/1/new/2", "here", 1))  # a second dispatcher of this process

    with transaction(engine) as session:
        freed = free_leases_of_the_dead(
            session, ME, NOW + SILENCE - timedelta(seconds=1), lives=lambda process: True
        )

    assert freed == 0
    assert claims(engine) == 0


def test_a_process_of_another_machine_is_dead_once_it_is_silent(engine: Engine) -> None:
    claimed_by(engine, Owner("there/1/b/1", "there", 1))

    with transaction(engine) as session:
        freed = free_leases_of_the_dead(session, ME, NOW + SILENCE, lives=lambda process: True)

    assert freed == 1
    assert claims(engine) == 1


def test_a_keeper_frees_at_its_first_beat_what_an_ended_process_had(engine: Engine) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    keeper = LeaseKeeper()
    host = keeper.owner.split("/")[0]
    claimed_by(engine, Owner("old", host, int(ended.stdout)))

    with transaction(engine) as session:
        keeper.keep(session, NOW)

    assert claims(engine) == 1


def test_a_process_is_told_from_one_that_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert is_running(os.getpid())
    assert not is_running(ended.pid)
