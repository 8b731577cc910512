"""Sentences say one unit and two units."""

import pytest

from domain.counting import counted


@pytest.mark.parametrize(
    ("number", "bare", "with_verb"),
    [
        (0, "0 units", "0 units wait"),
        (1, "1 unit", "1 unit waits"),
        (2, "2 units", "2 units wait"),
    ],
)
def test_noun_and_verb_follow_the_number(number: int, bare: str, with_verb: str) -> None:
    assert counted(number, "unit") == bare
    assert counted(number, "unit", "waits", "wait") == with_verb
