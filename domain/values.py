"""The small value types every model is made of: identifiers, money, quantities, times."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MAX_QUANTITY = 1_000_000
MICROS = 1_000_000
"""Costs are integers in millionths of the base currency's unit, so sums are exact."""


class Model(BaseModel):
    """An immutable value that refuses unknown fields; its errors do not echo what was sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _refuse_binary_float(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError('send money as a string, such as "19.90": a float loses cents')  # noqa: TRY004 (pydantic turns ValueError into a field error)
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value.isoformat()} lies outside the calendar in UTC") from None


Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
DerivedId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
"""An id made from another, such as `{order_id}-{n}`."""
Text = Annotated[str, StringConstraints(max_length=256, strip_whitespace=True)]
Money = Annotated[
    Decimal,
    BeforeValidator(_refuse_binary_float),
    Field(max_digits=18, decimal_places=4, allow_inf_nan=False),
]
PositiveMoney = Annotated[Money, Field(ge=0)]
Quantity = Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]
Count = Annotated[int, Field(ge=0)]
UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
