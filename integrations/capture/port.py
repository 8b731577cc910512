"""The port of order capture: a vendor's own order document becomes doms's."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import httpx

from domain.network import Connection
from integrations.vendor import Secrets, Verify

_LONGEST_ID = 64
_UNSAFE = re.compile(rb"[^A-Za-z0-9.-]")


class Translate(Protocol):
    """Reads one vendor's order documents."""

    def __call__(self, connection: Connection, raw: bytes) -> dict[str, Any]:
        """The document as the JSON of a `domain.orders.Order`. Raises QuarantineError."""
        ...


class CaptureSource(Protocol):
    """A shop that can be asked for its orders, since what it sends may get lost."""

    def changed_since(self, moment: datetime) -> Iterator[bytes]:
        """The documents of all orders that changed since, each as `translate` reads it.

        Raises OutsideUnavailableError or RefusedError, maybe after the first ones.
        """
        ...

    def check(self) -> str:
        """Ask for something harmless with the account's key; a few words on what answered."""
        ...


@dataclass(frozen=True)
class CaptureVendor:
    """One row of the capture vendor table."""

    verify: Verify
    translate: Translate
    source: Callable[[Connection, Secrets, httpx.Client], CaptureSource] | None = None
    """Asks the shop; None: it only sends."""
    takes_webhooks: bool = False
    """Whether its webhooks carry whole orders, which are taken in when they come."""


def captured_order_id(connection_id: str, external_id: str) -> str:
    """`{connection}-{external id, escaped}`, the same for the same pair.

    Bytes other than letters, digits, `.` and `-` become `_` and two hex digits; what is then
    longer than an id may be ends in a hash.
    """
    escaped = _UNSAFE.sub(lambda found: b"_%02x" % found.group()[0], external_id.encode())
    order_id = f"{connection_id}-{escaped.decode()}"
    if len(order_id) <= _LONGEST_ID:
        return order_id
    digest = hashlib.sha256(order_id.encode()).hexdigest()[:16]
    return f"{order_id[: _LONGEST_ID - 18]}_-{digest}"
