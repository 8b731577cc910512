"""The one shared HTTP client: JSON calls, short blips tried again, errors in doms's terms."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx
from pydantic_core import from_json, to_json
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from domain.errors import OutsideUnavailableError, RefusedError

ATTEMPTS = 3
"""Tries inside one call; longer waits belong to the caller's own retry policy."""
LONGEST_WAIT = 5.0
"""Seconds of Retry-After that are waited out inside one call."""
LONGEST_MESSAGE = 500
"""Characters kept of the other side's words."""

_BLIPS = frozenset({429, 502, 503, 504})
_UNAVAILABLE = frozenset({408, 425, 429})
_BROKEN_CONNECTIONS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.RemoteProtocolError,
    httpx.ReadError,
    httpx.WriteError,
)


@dataclass(frozen=True)
class Reply:
    """An answer that was understood: its status and its JSON object ({} when the body is empty)."""

    status: int
    body: dict[str, Any]


class _BlipError(OutsideUnavailableError):
    """Worth another try within the same call."""


def open_client(*, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client for many threads: 3 s to connect, 10 s to answer, up to 100 kept connections."""
    return httpx.Client(
        timeout=httpx.Timeout(10.0, connect=3.0),
        limits=httpx.Limits(
            max_connections=200, max_keepalive_connections=100, keepalive_expiry=30.0
        ),
        headers={"User-Agent": "doms", "Accept": "application/json"},
        transport=transport,
    )


@cache
def shared_client() -> httpx.Client:
    """The process's client; connections are shared by all activities."""
    return open_client()


def call(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    also_accept: Collection[int] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> Reply:
    """Send one JSON request and return its answer.

    Connection errors, 429 and 502 to 504 are tried up to `ATTEMPTS` times; a Retry-After of up to
    `LONGEST_WAIT` seconds is waited out. So the request must be idempotent. `also_accept` are
    statuses beside 2xx that the caller wants to read itself, such as 404.
    Raises OutsideUnavailableError (with `retry_after`) when the other side cannot be reached, is
    overloaded or failed, and RefusedError with its own message when it understood and said no.
    """
    content = None if body is None else to_json(body)
    sent = dict(headers or {})
    if content is not None:
        sent["Content-Type"] = "application/json"
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=_wait,
        retry=retry_if_exception_type(_BlipError),
        sleep=sleep,
        reraise=True,
    )
    return retrying(_once, client, method, url, content, sent, also_accept)


def _once(
    client: httpx.Client,
    method: str,
    url: str,
    content: bytes | None,
    headers: dict[str, str],
    also_accept: Collection[int],
) -> Reply:
    try:
        response = client.request(method, url, content=content, headers=headers)
    except _BROKEN_CONNECTIONS as broken:
        raise _BlipError(f"{_where(method, url)} cannot be reached: {broken}") from broken
    except httpx.TransportError as broken:
        raise OutsideUnavailableError(
            f"{_where(method, url)} gave no answer: {type(broken).__name__} {broken}".rstrip()
        ) from broken
    if response.is_success or response.status_code in also_accept:
        return Reply(response.status_code, _object(response, _where(method, url)))
    raise _error(response, _where(method, url))


def _error(response: httpx.Response, where: str) -> Exception:
    status = response.status_code
    message = f"{where} answered {status}: {_words(response)}"
    if status not in _UNAVAILABLE and status < httpx.codes.INTERNAL_SERVER_ERROR:
        return RefusedError(message)
    retry_after = _retry_after(response.headers)
    short = retry_after is None or retry_after <= LONGEST_WAIT
    kind = _BlipError if status in _BLIPS and short else OutsideUnavailableError
    return kind(message, retry_after=retry_after)


def _object(response: httpx.Response, where: str) -> dict[str, Any]:
    if not response.content:
        return {}
    try:
        body = from_json(response.content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    if response.is_success:
        raise OutsideUnavailableError(
            f"{where} answered {response.status_code} without a JSON object: {_words(response)}"
        )
    return {"message": _words(response)}


def _words(response: httpx.Response) -> str:
    """What the other side said: its JSON message where there is one, else the start of the text."""
    try:
        body = from_json(response.content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        for name in ("message", "detail", "error", "title", "errors"):
            if body.get(name):
                found = body[name]
                if isinstance(found, dict) and isinstance(found.get("message"), str):
                    found = found["message"]
                return str(found)[:LONGEST_MESSAGE]
    return response.text[:LONGEST_MESSAGE] or response.reason_phrase


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds the other side asks to wait, from a number or an HTTP date."""
    value = headers.get("Retry-After") or headers.get("X-Retry-After")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return max(0.0, seconds) if seconds == seconds else None


def _seconds_until(value: str) -> float:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return float("nan")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()


def _wait(state: RetryCallState) -> float:
    """The other side's own waiting time, else 0.1 s and then 0.4 s."""
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, _BlipError) and failure.retry_after is not None:
        return failure.retry_after
    return float(0.1 * 4 ** (state.attempt_number - 1))


def _where(method: str, url: str) -> str:
    return f"{method} {url.split('?')[0]}"
