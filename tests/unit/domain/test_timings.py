"""How long each wait lasts."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

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


def test_the_longest_pause_between_calls_is_no_shorter_than_the_first() -> None:
    with pytest.raises(ValidationError, match="shorter than vendor_retry_first"):
        Timings(vendor_retry_first=timedelta(seconds=2), vendor_retry_longest=timedelta(seconds=1))
