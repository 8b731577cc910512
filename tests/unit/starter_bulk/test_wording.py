"""What a person reads about a bad field says what it must be."""

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from config.wording import plain_words
from domain.values import Id, Money, Quantity
from starter.bulk.submit import Refusal


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)

    quantity: Quantity | None = None
    id: Id | None = None
    amount: Money | None = None
    cost: Annotated[Decimal, Field(decimal_places=2)] | None = None
    color: Color | None = None
    at: AwareDatetime | None = None
    wait: timedelta | None = None
    flag: bool | None = None
    names: Annotated[list[str], Field(min_length=2, max_length=3)] | None = None
    part: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("quantity", 0, "must be at least 1"),
        ("quantity", 2_000_000, "must be at most 1,000,000"),
        ("quantity", "two", "must be a whole number"),
        ("quantity", 1.5, "must be a whole number"),
        ("id", "a/b", "must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter"),
        ("amount", "much", 'must be an amount, such as "19.90"'),
        ("cost", "1.234", "must have at most 2 digits after the point"),
        ("color", "green", "must be 'red' or 'blue'"),
        ("at", "noon", "must be a time, such as 2026-05-04T12:00:00Z"),
        ("at", "2026-05-04T12:00:00", "must have a time zone, such as 2026-05-04T12:00:00Z"),
        ("wait", "soon", "must be a duration, such as PT30M or P14D"),
        ("flag", "perhaps", "must be true or false"),
        ("names", ["a"], "must hold at least 2, not 1"),
        ("names", list("abcd"), "must hold at most 3 items"),
        ("names", "abc", "must be a list"),
        ("part", [1], "must be an object"),
        ("strange", 1, "unknown field"),
    ],
)
def test_a_mistake_is_told_in_plain_words(field: str, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Everything.model_validate({field: value})

    [error] = raised.value.errors()
    assert plain_words(error).startswith(words)


def test_a_line_is_named_once() -> None:
    refusal = Refusal(2, "W-1", (("", "line 4: sku: is empty"), ("lines.0.sku", "no product")))

    assert list(refusal.lines()) == [
        "line 4 (W-1): sku: is empty",
        "line 2 (W-1): lines.0.sku: no product",
    ]
