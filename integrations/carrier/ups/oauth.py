"""UPS's key: a token that client credentials buy, kept until shortly before it expires."""

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from integrations.http import call
from integrations.reading import understood

_MARGIN = 60.0
"""Seconds before its end that a token counts as expired: a call takes time on the way."""


@dataclass
class Token:
    """One account's token; safe for many threads.

    Its life is counted from when it was asked for, on a clock of our own that never goes back: what
    UPS's clock or ours says of the hour does not matter.
    """

    client: httpx.Client
    url: str
    client_id: str
    client_secret: str
    account: str
    connection_id: str
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self._lock = threading.Lock()
        self._value = ""
        self._expires = 0.0

    def value(self) -> str:
        """A token that is good for another minute, asked for when there is none."""
        with self._lock:
            if not self._value or self.clock() >= self._expires:
                self._renew()
            return self._value

    def refuse(self, value: str) -> None:
        """UPS no longer takes that token: the next caller asks for another."""
        with self._lock:
            if self._value == value:
                self._value = ""

    def _renew(self) -> None:
        asked = self.clock()
        basic = b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        answer = call(
            self.client,
            "POST",
            self.url,
            form={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {basic}", "x-merchant-id": self.account},
            connection_id=self.connection_id,
        ).body
        life = understood(lambda: float(answer["expires_in"]))
        self._value = understood(lambda: str(answer["access_token"]))
        # A life shorter than the margin still counts for half of itself.
        self._expires = asked + max(life - _MARGIN, life / 2)
