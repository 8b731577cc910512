"""Sends an event to a subscriber's address: signed, never to this network by mistake."""

import socket
import ssl
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from integrations.guards import retry_after
from integrations.standard_webhooks import sign, signer
from integrations.stopwatch import Stopwatch
from integrations.wording import words_of

Networks = Collection[IPv4Network | IPv6Network]

ANSWER_SECONDS = 15.0
"""From connecting to the last header of the answer; less than is left of a lease by then."""
WORDS_SECONDS = 5.0
"""For the words of an answer that is no success."""
_LOOKED_AT = 2_000
"""Bytes that are read of such words."""
_LONGEST_WORDS = 300
_TRANSLATED = IPv6Network("64:ff9b::/96")
_INSIDE = (
    # Forms of IPv4 addresses that only a network's own gateways understand: RFC 4291, 2765, 8215.
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("64:ff9b:1::/48"),
)
_CONNECTED = "connection.connect_tcp.complete"
_SECURED = "connection.start_tls.complete"
# Each event has a connection of its own: only a new one can be looked at and timed.
_HEADERS = {"Content-Type": "application/json", "Connection": "close"}


class RefusedTargetError(Exception):
    """An address that events are not sent to; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What a receiver said: `status` is None where there was no answer; `words` say why not."""

    status: int | None
    words: str = ""
    retry_after: float | None = None
    """Seconds after which it wants to be asked again."""

    @property
    def is_taken(self) -> bool:
        """Whether the event has reached it."""
        return self.status is not None and httpx.codes.is_success(self.status)


def refuse_target(url: str, allowed: Networks) -> None:
    """Raise RefusedTargetError for an address that events cannot or must not be sent to.

    A host that cannot be found now is let through: sending looks again.
    """
    parts = _parts(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    for *_, place in found:
        _refuse_address(parts.scheme, str(place[0]), allowed)
    if not found and parts.scheme == "http":
        raise RefusedTargetError(f"{parts.hostname} cannot be found, so use https")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_well = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        is_well = False
    if not is_well:
        raise RefusedTargetError("send a full address, such as https://example.com/hooks/doms")
    if parts.username or parts.password or parts.fragment:
        raise RefusedTargetError("leave out the name, password and fragment of the address")
    return parts


def _refuse_address(scheme: str, text: str, allowed: Networks) -> None:
    address = _plain(ip_address(text.partition("%")[0]))
    if any(address in network for network in allowed):
        return
    is_inside = any(address in network for network in _INSIDE)
    if is_inside or not address.is_global or address.is_multicast:
        raise RefusedTargetError(
            f"{address} is a private address; DOMS_EVENTS_PRIVATE_NETWORKS names those that may"
            " be told"
        )
    if scheme != "https":
        raise RefusedTargetError(f"{address} is not in your own network, so use https")


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where it is of such a kind."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def post_event(
    client: httpx.Client,
    url: str,
    event_id: str,
    body: str,
    secrets: Collection[str],
    now: datetime,
    allowed: Networks,
) -> Answer:
    """Send one event, signed with each secret; redirects are not followed.

    The address is looked at again once it is connected, before anything is sent: a name may lead
    elsewhere than when it was subscribed.
    """
    with Stopwatch(ANSWER_SECONDS) as stopwatch:
        try:
            parts = _parts(url)
            with client.stream(
                "POST",
                url,
                content=body.encode(),
                headers={**_signed(event_id, body, secrets, now), **_HEADERS},
                follow_redirects=False,
                extensions={"trace": _watch(parts.scheme, allowed, stopwatch)},
            ) as response:
                return _answer(response, stopwatch)
        except (RefusedTargetError, ValueError) as refusal:
            return Answer(None, str(refusal))
        except httpx.TimeoutException as silence:
            return Answer(None, f"no answer: {type(silence).__name__}")
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as broken:
            if stopwatch.is_over:
                return Answer(None, f"no answer within {ANSWER_SECONDS:g} seconds")
            return Answer(None, f"cannot be reached: {broken}"[:_LONGEST_WORDS])


def _signed(event_id: str, body: str, secrets: Collection[str], now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature by each secret."""
    if not secrets:
        raise ValueError("there is no secret to sign with")
    signed = [sign(signer(secret), event_id, now, body) for secret in secrets]
    signatures = " ".join(headers["webhook-signature"] for headers in signed)
    return {**signed[0], "webhook-signature": signatures}


def _watch(scheme: str, allowed: Networks, stopwatch: Stopwatch) -> Any:
    def watch(event: str, facts: Mapping[str, Any]) -> None:
        if event in {_CONNECTED, _SECURED}:
            stopwatch.hold(facts["return_value"])
        if event == _CONNECTED:
            stream = facts["return_value"]
            address = stream.get_extra_info("server_addr")
            try:
                _refuse_address(scheme, str(address[0]), allowed)
            except RefusedTargetError:
                stream.close()
                raise

    return watch


def _answer(response: httpx.Response, stopwatch: Stopwatch) -> Answer:
    """What was said. A success's body is not read: whatever becomes of it, the event was taken."""
    status = response.status_code
    if response.is_success:
        return Answer(status)
    stopwatch.give(WORDS_SECONDS)
    said = httpx.Response(status, content=_beginning(response))
    words = "".join(x if x.isprintable() else " " for x in words_of(said))
    told = f"answered {status}: {words}"[:_LONGEST_WORDS]
    return Answer(status, told.rstrip(": "), retry_after(response.headers))


def _beginning(response: httpx.Response) -> bytes:
    """The body's first bytes, as far as they came."""
    read = bytearray()
    # What breaks off after the status has still said it.
    with suppress(httpx.HTTPError, ssl.SSLError, OSError):
        for part in response.iter_raw():
            read += part
            if len(read) >= _LOOKED_AT:
                break
    return bytes(read[:_LOOKED_AT])
