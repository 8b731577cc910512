"""The waits of a demo or a test: every one of the policy's, so many times as long."""

from datetime import timedelta

from domain.process_policy import Timings
from starter.deliveries import scaled


def test_every_wait_that_a_policy_sets_is_scaled() -> None:
    timings = Timings(acknowledgement_by_people=timedelta(hours=12))

    fast = scaled(timings, 0.5)

    before, after = timings.model_dump(), fast.model_dump()
    assert after == {name: wait / 2 for name, wait in before.items()}


def test_a_wait_that_a_policy_leaves_unset_stays_unset() -> None:
    fast = scaled(Timings(acknowledgement=timedelta(hours=4)), 0.25)

    assert fast.acknowledgement_by_people is None
    assert fast.acknowledgement_of(people=True) == timedelta(hours=1)
