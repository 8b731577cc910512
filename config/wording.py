"""Pydantic's mistakes in plain words: what a field must be, so that a person can mend it."""

import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"^\^\[A-Za-z0-9\]\[A-Za-z0-9\._-\]\{0,(\d+)\}\$$")
# A check of the whole model names the field itself, as `lines.0.ship_group: no such group`.
_OWN_PATH = re.compile(r"^([a-z_]+(?:\.(?:\d+|[a-z_]+))*): (.+)$", re.DOTALL)
_TIME = "2026-05-04T12:00:00Z"
_FIXED = {
    "missing": "must be given",
    "extra_forbidden": "unknown field",
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a number",
    "decimal": 'must be an amount, such as "19.90"',
    "string_type": "must be text",
    "string_sub_type": "must be text",
    "string_unicode": "must be text",
    "datetime": f"must be a time, such as {_TIME}",
    "date": "must be a date, such as 2026-05-04",
    "time_delta": "must be a duration, such as PT30M or P14D",
    "timezone": f"must have a time zone, such as {_TIME}",
    "list": "must be a list",
    "tuple": "must be a list",
    "dict": "must be an object",
    "mapping": "must be an object",
    "model": "must be an object",
    "path": "must be a path",
}
"""By the error's type, else by its longest beginning: `int_parsing` is found under `int`."""
_WITH_LIMIT = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must hold at least {min_length}, not {actual_length}",
    "too_long": "must hold at most {max_length} items",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "decimal_max_places": "must have at most {decimal_places} digits after the point",
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the point",
}


def plain_words(error: Mapping[str, Any]) -> str:
    """What is wrong, for one item of `ValidationError.errors()`; unknown kinds as pydantic says."""
    kind, message = str(error["type"]), str(error["msg"])
    context = {name: _shown(value) for name, value in (error.get("ctx") or {}).items()}
    if kind in _WITH_LIMIT:
        return _WITH_LIMIT[kind].format_map(context)
    if kind == "string_pattern_mismatch":
        return _must_match(context["pattern"])
    if kind in {"value_error", "assertion_error"}:
        return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    fitting = [name for name in _FIXED if kind == name or kind.startswith(f"{name}_")]
    return _FIXED[max(fitting, key=len)] if fitting else message


def own_path(message: str) -> tuple[tuple[str, ...], str]:
    """The field that a message of a whole model's check names itself, and the rest of it."""
    found = _OWN_PATH.match(message)
    return (tuple(found[1].split(".")), found[2]) if found else ((), message)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _must_match(pattern: str) -> str:
    found = _ID.match(pattern)
    if found is None:
        return f"must look like {pattern}"
    longest = int(found[1]) + 1
    return (
        f"must be 1 to {longest} letters, digits, '.', '_' or '-', beginning with a letter or digit"
    )
