"""How long each wait lasts."""

from datetime import timedelta

import pytest

from domain.process_policy import Timings

FOUR, TWELVE = timedelta(hours=4), timedelta(hours=12)


@pytest.mark.parametrize(
    ("by_people", "people", "expected"),
    [(None, False, FOUR), (None, True, FOUR), (TWELVE, False, FOUR), (TWELVE, True, TWELVE)],
)
def test_people_who_work_in_doms_have_their_own_time_where_one_is_set(
    by_people: timedelta | None, people: bool, expected: timedelta
) -> None:
    timings = Timings(acknowledgement=FOUR, acknowledgement_by_people=by_people)
    assert timings.acknowledgement_of(people=people) == expected
