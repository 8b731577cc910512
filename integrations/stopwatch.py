"""Ends a connection whose time is over, however slowly its other end goes on sending."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self


class Stopwatch:
    """Shuts the connection it was given when the seconds are over.

    A client's timeout is for each read, so an end that sends a byte now and then is never too
    slow for it. Shutting wakes the thread that reads, which then fails as if the other end left.
    """

    def __init__(self, seconds: float) -> None:
        """Begin at once."""
        self._lock = threading.Lock()
        self._stream: Any = None
        self._timer: threading.Timer | None = None
        self._until = 0.0
        self._is_over = False
        self.give(seconds)

    @property
    def is_over(self) -> bool:
        """Whether the time was over before `stop`."""
        return self._is_over

    def give(self, seconds: float) -> None:
        """So many seconds from now on, instead of what was left."""
        with self._lock:
            self._cancel()
            self._until = time.monotonic() + seconds
            self._timer = threading.Timer(seconds, self._end)
            self._timer.daemon = True
            self._timer.start()

    def hold(self, stream: Any) -> None:
        """Watch this network stream of httpcore from now on, the one before no more."""
        with self._lock:
            self._stream = stream
            if self._is_over:
                _shut(stream)

    def stop(self) -> None:
        """Let the connection be."""
        with self._lock:
            self._cancel()
            self._stream = None

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        with self._lock:
            # A timer that was cancelled as it went off has nothing to end.
            if self._timer is not None and time.monotonic() >= self._until:
                self._is_over = True
                _shut(self._stream)

    def __enter__(self) -> Self:
        """It has begun."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


def _shut(stream: Any) -> None:
    if stream is not None:
        # The plain socket's, also under TLS: TLS's own would change what the reading thread uses.
        with suppress(OSError):
            socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)
