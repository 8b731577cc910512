"""What keeps calls to one connection polite: its announced rate limits, and a circuit breaker."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from domain.errors import OutsideUnavailableError

FAILURES_TO_OPEN = 5
"""Failed requests in a row after which a connection is left alone."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
"""Seconds a connection is left alone: doubled while the one call let through fails, up to this."""
_PROBE_SECONDS = 30.0

_REMAINING = (
    "x-ratelimit-remaining",
    "ratelimit-remaining",
    "x-rate-limit-remaining",
    "x-remaining-calls",
)
_RESET = ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset")
_USED_OF_LIMIT = ("x-shopify-shop-api-call-limit",)
_RETRY_AFTER = ("retry-after", "x-retry-after")
_MILLISECONDS_FROM = 1e12
_EPOCH_FROM = 1e9
_UNTOLD_RESET = 1.0
"""Seconds to wait where nothing is left and the vendor does not say until when."""


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds the other side asks to wait, from a number or an HTTP date; None: it does not say.

    A date is read against the other side's own clock (its `Date` header), so that two clocks that
    disagree do not matter.
    """
    for name in _RETRY_AFTER:
        value = headers.get(name)
        if value:
            return _seconds(value, headers)
    return None


def pause_asked(headers: httpx.Headers) -> float | None:
    """Seconds until the next call may go out: set when the answer says that no call is left."""
    if not _is_spent(headers):
        return None
    for name in _RESET:
        seconds = _seconds(headers.get(name, ""), headers)
        if seconds is not None:
            return seconds
    asked = retry_after(headers)
    return _UNTOLD_RESET if asked is None else asked


def _is_spent(headers: httpx.Headers) -> bool:
    for name in _REMAINING:
        left = _number(headers.get(name, ""))
        if left is not None:
            return left < 1
    for name in _USED_OF_LIMIT:
        used, _, limit = headers.get(name, "").partition("/")
        spent, most = _number(used), _number(limit)
        if spent is not None and most is not None:
            return spent >= most
    return False


def _seconds(value: str, headers: httpx.Headers) -> float | None:
    number = _number(value)
    if number is None:
        moment = _date(value)
        return None if moment is None else max(0.0, (moment - _their_now(headers)).total_seconds())
    if number >= _MILLISECONDS_FROM:
        number /= 1_000
    if number >= _EPOCH_FROM:
        number -= _their_now(headers).timestamp()
    return max(0.0, number)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


def _date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _their_now(headers: httpx.Headers) -> datetime:
    return _date(headers.get("date", "")) or datetime.now(UTC)


@dataclass
class Guard:
    """One connection's state in this process; safe for many threads.

    `clock` gives seconds that never go back.
    """

    connection_id: str
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        """Start closed: nothing is known against it."""
        self._lock = threading.Lock()
        self._failures = 0
        self._last_failure = ""
        self._pause = FIRST_PAUSE
        self._shut_until = 0.0
        self._silent_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused because too many failed in a row."""
        return self._failures >= FAILURES_TO_OPEN

    def admit(self, longest_wait: float) -> float:
        """Seconds to wait before this call, at most `longest_wait`.

        Raises OutsideUnavailableError with `retry_after` where it should not be made now. When a
        broken connection's pause is over, one call is let through to see whether it is well.
        """
        with self._lock:
            now = self.clock()
            if self.is_open and now < self._shut_until:
                raise OutsideUnavailableError(
                    f"{self.connection_id} is left alone: {self._failures} requests in a row"
                    f" failed; the last: {self._last_failure}",
                    retry_after=self._shut_until - now,
                )
            wait = max(0.0, self._silent_until - now)
            if wait > longest_wait:
                raise OutsideUnavailableError(
                    f"{self.connection_id} allows no call for {wait:.0f} s: its rate limit is used",
                    retry_after=wait,
                )
            if self.is_open:
                # Others wait while this one finds out.
                self._shut_until = now + _PROBE_SECONDS
            return wait

    def be_silent(self, seconds: float) -> None:
        """No call for so long: the other side said so."""
        with self._lock:
            self._silent_until = max(self._silent_until, self.clock() + seconds)

    def answered(self) -> None:
        """The other side is well, whatever it said."""
        with self._lock:
            self._failures = 0
            self._pause = FIRST_PAUSE

    def failed(self, reason: str) -> None:
        """It could not be reached, or failed."""
        with self._lock:
            self._failures += 1
            self._last_failure = reason
            if self._failures > FAILURES_TO_OPEN:
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if self.is_open:
                self._shut_until = self.clock() + self._pause
