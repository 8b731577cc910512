"""What a vendor brings: its client, and how its webhooks are verified and translated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from domain.events import CarrierEvent, NodeEvent
from domain.network import Connection


@dataclass(frozen=True)
class NewsOf:
    """A webhook that tells only which fulfillment has news: what they are, its system is asked."""

    fulfillment_id: str


@dataclass(frozen=True)
class NewsOfOrder:
    """The same, by the id that the vendor gave the order: whose it is, its system is asked too."""

    external_id: str


@dataclass(frozen=True)
class NewsOfStock:
    """A webhook that tells that stock has changed: what lies there, its system is asked."""


News = NewsOf | NewsOfOrder | NewsOfStock
Event = NodeEvent | CarrierEvent | News
Headers = Mapping[str, str]
Secrets = Mapping[str, str]
"""Secrets by the name of their environment variable, such as `os.environ`."""
Client = TypeVar("Client", covariant=True)

Verify = Callable[[Connection, str, Headers, bytes], str]
"""(connection, secret, headers, raw body) -> the vendor's id of the delivery, for doing it once.
Raises BadSignatureError."""
Translate = Callable[[dict[str, Any]], tuple[Event, ...]]
"""JSON object -> what it tells. Raises QuarantineError."""


@dataclass(frozen=True)
class Vendor(Generic[Client]):
    """One row of a class's vendor table."""

    connect: Callable[[Connection, Secrets, httpx.Client], Client]
    verify: Verify
    translate: Translate
    is_polled: bool = False
    """Whether parcels, or a node's work, are asked for at intervals: webhooks get lost, or there
    are none."""
    tells_stock: bool = False
    """Whether the client is a StockSource, whose stock is read at intervals."""
