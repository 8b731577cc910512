"""The other side's own words in an error: shortened, without secrets and personal facts."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from pydantic_core import from_json

LONGEST_MESSAGE = 500
"""Characters kept of the other side's words."""
HIDDEN = "[...]"
_LOOKED_AT = 10 * LONGEST_MESSAGE
"""What is looked through: the time it takes grows with the square of it."""

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_TOKEN = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_PERSONAL = re.compile(
    r"(?i)name|attention|company|street|address_?line|^line[12]$|^address[12]?$|city|phone|mail"
    r"|signer|signed|recipient"
)
_SHORTEST_HIDDEN = 3
_MESSAGE_NAMES = ("message", "detail", "error", "title", "errors", "error_description")


def words_of(response: httpx.Response, *secrets: str) -> str:
    """What it said: its JSON message where there is one, else the start of the text.

    Left out: e-mail addresses, tokens, `secrets`, and whatever the request said under a name that
    looks personal (a vendor likes to quote it back).
    """
    said = _message(response)[:_LOOKED_AT]
    for fact in sorted({*_sent_facts(response), *filter(None, secrets)}, key=len, reverse=True):
        said = re.sub(re.escape(fact), HIDDEN, said, flags=re.IGNORECASE)
    said = _TOKEN.sub(HIDDEN, _EMAIL.sub(HIDDEN, said))
    return said[:LONGEST_MESSAGE] or response.reason_phrase


def _message(response: httpx.Response) -> str:
    try:
        body = from_json(response.content)
    except ValueError:
        return response.text
    return told(body) or response.text


def told(body: Any) -> str:
    """The message of an error document, however it is nested; empty where there is none.

    Entries of a list of errors, be they objects or texts, follow the message they belong to.
    """
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(told, body)))
    if not isinstance(body, Mapping):
        return ""
    if isinstance(body.get("response"), Mapping):
        body = body["response"]
    parts = [_listed(body[name]) for name in _MESSAGE_NAMES if body.get(name)][:1]
    if body.get("errors") and any(body.get(name) for name in _MESSAGE_NAMES[:-2]):
        parts.append(_listed(body["errors"]))
    said = "; ".join(filter(None, parts))
    code, field = body.get("code"), body.get("field")
    where = f"{field}: " if isinstance(field, str) and field else ""
    return f"{where}{said} ({code})" if isinstance(code, str) and code and said else where + said


def _listed(errors: Any) -> str:
    if isinstance(errors, Mapping) and not any(name in errors for name in _MESSAGE_NAMES):
        return "; ".join(f"{field}: {told(error)}" for field, error in errors.items())
    return told(errors)


def _sent_facts(response: httpx.Response) -> Iterator[str]:
    try:
        content = response.request.content
        sent = from_json(content) if content else None
    except (RuntimeError, ValueError, httpx.RequestNotRead):
        return
    yield from _personal(sent, told=False)


def _personal(value: Any, *, told: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _personal(inner, told=told or _PERSONAL.search(str(name)) is not None)
    elif isinstance(value, list):
        for inner in value:
            yield from _personal(inner, told=told)
    elif told and isinstance(value, str) and len(value) >= _SHORTEST_HIDDEN:
        yield value
