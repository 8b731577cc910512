"""Reading what others send: whatever is wrong with it becomes one of doms's own errors."""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from config.wording import plain_words
from domain.errors import OutsideUnavailableError
from integrations.errors import QuarantineError

_TOLD = 3
Result = TypeVar("Result")


def json_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises QuarantineError when it is anything else."""
    try:
        body = from_json(raw, allow_inf_nan=False)
    except ValueError as bad:
        raise QuarantineError(f"the body is no JSON: {bad}") from bad
    if not isinstance(body, dict):
        raise QuarantineError(f"the body is a JSON {type(body).__name__}, not an object")
    return body


def quarantined(read: Callable[[], Result]) -> Result:
    """Run a reader of a document; what it cannot read becomes a QuarantineError with the path."""
    try:
        return read()
    except ValidationError as bad:
        raise QuarantineError(problems(bad)) from bad
    except (ValueError, OverflowError) as bad:
        raise QuarantineError(str(bad)) from bad


def understood(read: Callable[[], Result]) -> Result:
    """Run a reader of an answer; an answer that makes no sense counts as a failing system."""
    try:
        return read()
    except ValidationError as bad:
        raise OutsideUnavailableError(f"the answer makes no sense: {problems(bad)}") from bad
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as bad:
        raise OutsideUnavailableError(f"the answer makes no sense: {bad!r}") from bad


def problems(bad: ValidationError) -> str:
    """The first three bad fields as `path: why`, without the values (they may be personal)."""
    errors = bad.errors(include_url=False, include_input=False)
    told = [
        f"{'.'.join(str(part) for part in error['loc']) or 'document'}: {plain_words(error)}"
        for error in errors[:_TOLD]
    ]
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
    return "; ".join(told) + more
