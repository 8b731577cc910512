"""The one shared HTTP client: JSON calls, short blips tried again, errors in doms's terms."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import httpx
from opentelemetry.propagate import inject
from prometheus_client import Counter, Gauge, Histogram
from pydantic_core import from_json, to_json
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from domain.errors import OutsideUnavailableError, RefusedError
from integrations.guards import Guard, pause_asked, retry_after
from integrations.wording import words_of

ATTEMPTS = 3
"""Tries inside one call; longer waits belong to the caller's own retry policy."""
LONGEST_WAIT = 5.0
"""Seconds of a rate limit or Retry-After that are waited out inside one call."""

CALLS = Counter(
    "doms_outside_calls", "Requests to outside systems", ["connection", "method", "outcome"]
)
SECONDS = Histogram(
    "doms_outside_call_seconds",
    "Time an outside system took to answer",
    ["connection"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LEFT_ALONE = Gauge(
    "doms_outside_left_alone", "1 while too many requests in a row failed", ["connection"]
)

log = logging.getLogger("doms.outside")

_BLIPS = frozenset({429, 502, 503, 504})
_UNAVAILABLE = frozenset({408, 425, 429})
_TOO_MANY = 429
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
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Names in lower case."""


class _BlipError(OutsideUnavailableError):
    """Worth another try within the same call."""


@dataclass(frozen=True)
class _Request:
    """One request as it is sent, and for whom."""

    method: str
    url: str
    content: bytes | None
    headers: Mapping[str, str]
    also_accept: Collection[int]
    list_as: str | None
    connection_id: str
    guard: Guard | None

    @property
    def where(self) -> str:
        """Method and address without the query, which may hold a secret."""
        return f"{self.method} {self.url.split('?')[0]}"


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


_guards: WeakKeyDictionary[httpx.Client, dict[str, Guard]] = WeakKeyDictionary()
_guards_lock = Lock()


def guard_of(
    client: httpx.Client, connection_id: str, clock: Callable[[], float] = time.monotonic
) -> Guard:
    """What this client knows of a connection's rate limits and failures."""
    with _guards_lock:
        known = _guards.setdefault(client, {})
        if connection_id not in known:
            known[connection_id] = Guard(connection_id, clock)
        return known[connection_id]


def call(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    body: object = None,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    also_accept: Collection[int] = (),
    list_as: str | None = None,
    connection_id: str | None = None,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> Reply:
    """Send one JSON request (or a `form`) and return its answer.

    Connection errors, 429 and 502 to 504 are tried up to `attempts` times; a Retry-After of up to
    `LONGEST_WAIT` seconds is waited out. So the request must be idempotent, or `attempts` 1.
    With a `connection_id` the limits that the connection announces are kept before they bite, and
    one that fails again and again is left alone for a while. `also_accept` are statuses beside 2xx
    that the caller wants to read itself, such as 404. An answer that is a JSON array is given as an
    object that holds it under `list_as`; without that name it makes no sense.
    Raises OutsideUnavailableError (with `retry_after`) when the other side cannot be reached, is
    overloaded or failed, and RefusedError with its own message when it understood and said no.
    """
    request = _Request(
        method=method,
        url=url,
        content=urlencode(form).encode() if form else None if body is None else to_json(body),
        headers=_headers(headers or {}, is_form=form is not None, has_body=body is not None),
        also_accept=also_accept,
        list_as=list_as,
        connection_id=connection_id or "",
        guard=guard_of(client, connection_id) if connection_id else None,
    )
    retrying = Retrying(
        stop=stop_after_attempt(attempts),
        wait=_wait,
        retry=retry_if_exception_type(_BlipError),
        sleep=sleep,
        reraise=True,
    )
    return retrying(_guarded, client, request, sleep)


def _headers(own: Mapping[str, str], *, is_form: bool, has_body: bool) -> dict[str, str]:
    sent = dict(own)
    if is_form:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    elif has_body:
        sent["Content-Type"] = "application/json"
    inject(sent)
    return sent


def _guarded(client: httpx.Client, request: _Request, sleep: Callable[[float], None]) -> Reply:
    guard = request.guard
    if guard is None:
        return _told(client, request)
    wait = guard.admit(LONGEST_WAIT)
    if wait:
        sleep(wait)
    try:
        reply = _told(client, request)
    except OutsideUnavailableError as failure:
        # An overloaded system says so: it is well, and has said when to come back.
        if isinstance(failure.__cause__, _OverloadedError):
            guard.answered()
        else:
            guard.failed(str(failure))
        raise
    except RefusedError:
        guard.answered()
        raise
    else:
        guard.answered()
        return reply
    finally:
        LEFT_ALONE.labels(request.connection_id).set(guard.is_open)


class _OverloadedError(Exception):
    """The other side answered 429."""


def _told(client: httpx.Client, request: _Request) -> Reply:
    """Send it, and tell log and metrics how it went: never a header, a query or a body."""
    started = time.perf_counter()
    outcome = "failed"
    try:
        reply = _once(client, request)
        outcome = str(reply.status)
    except RefusedError:
        outcome = "refused"
        raise
    except OutsideUnavailableError as failure:
        outcome = "overloaded" if isinstance(failure.__cause__, _OverloadedError) else "unavailable"
        raise
    else:
        return reply
    finally:
        seconds = time.perf_counter() - started
        CALLS.labels(request.connection_id, request.method, outcome).inc()
        SECONDS.labels(request.connection_id).observe(seconds)
        level = logging.DEBUG if outcome.isdigit() else logging.WARNING
        facts = {"connection": request.connection_id, "outcome": outcome, "seconds": seconds}
        log.log(
            level,
            "%s %s %s in %.3f s",
            request.connection_id or "-",
            request.where,
            outcome,
            seconds,
            extra=facts,
        )


def _once(client: httpx.Client, request: _Request) -> Reply:
    where = request.where
    try:
        response = client.request(
            request.method, request.url, content=request.content, headers=request.headers
        )
    except _BROKEN_CONNECTIONS as broken:
        raise _BlipError(f"{where} cannot be reached: {broken}") from broken
    except httpx.TransportError as broken:
        raise OutsideUnavailableError(
            f"{where} gave no answer: {type(broken).__name__} {broken}".rstrip()
        ) from broken
    except httpx.DecodingError as broken:
        raise OutsideUnavailableError(f"{where} answered what cannot be read: {broken}") from broken
    _keep_limits(response, request.guard)
    if response.is_success or response.status_code in request.also_accept:
        return Reply(response.status_code, _object(response, request), dict(response.headers))
    raise _error(response, request)


def _keep_limits(response: httpx.Response, guard: Guard | None) -> None:
    if guard is None:
        return
    pause = pause_asked(response.headers)
    if pause is None and response.status_code == _TOO_MANY:
        pause = retry_after(response.headers)
    if pause:
        guard.be_silent(pause)


def _error(response: httpx.Response, request: _Request) -> Exception:
    status = response.status_code
    message = f"{request.where} answered {status}: {_words(response, request)}"
    if status not in _UNAVAILABLE and status < httpx.codes.INTERNAL_SERVER_ERROR:
        return RefusedError(message)
    asked = retry_after(response.headers)
    if asked is None and status == _TOO_MANY:
        asked = pause_asked(response.headers)
    short = asked is None or asked <= LONGEST_WAIT
    kind = _BlipError if status in _BLIPS and short else OutsideUnavailableError
    failure = kind(message, retry_after=asked)
    if status == _TOO_MANY:
        failure.__cause__ = _OverloadedError()
    return failure


def _object(response: httpx.Response, request: _Request) -> dict[str, Any]:
    if not response.content:
        return {}
    try:
        body = from_json(response.content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    if isinstance(body, list) and request.list_as is not None:
        return {request.list_as: body}
    if response.is_success:
        raise OutsideUnavailableError(
            f"{request.where} answered {response.status_code} without a JSON object:"
            f" {_words(response, request)}"
        )
    return {"message": _words(response, request)}


def _words(response: httpx.Response, request: _Request) -> str:
    secret = request.headers.get("Authorization", "").rpartition(" ")[2]
    return words_of(response, secret)


def _wait(state: RetryCallState) -> float:
    """The other side's own waiting time, else 0.1 s and then 0.4 s."""
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, _BlipError) and failure.retry_after is not None:
        return failure.retry_after
    return float(0.1 * 4 ** (state.attempt_number - 1))
