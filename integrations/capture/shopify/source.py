"""A Shopify shop's orders as it tells them when it is asked: the Admin API, page by page."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import httpx
from pydantic_core import to_json

from domain.errors import OutsideUnavailableError
from domain.network import Connection
from integrations.capture.shopify.orders import ShopifySettings, translate
from integrations.errors import NothingToDoError, QuarantineError
from integrations.http import Reply, call
from integrations.reading import understood
from integrations.settings import secret_of, settings_of
from integrations.vendor import Secrets

_PAGE = 250
_MOST_PAGES = 1_000
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')


class ShopifyOrders:
    """See CaptureSource."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read settings and token. Raises ValueError naming what is missing."""
        settings = settings_of(connection, ShopifySettings)
        token = secret_of(connection, secrets, settings.token_env)
        self._headers = {"X-Shopify-Access-Token": token}
        self._connection = connection
        self._base = connection.base_url.rstrip("/")
        self._api = f"{self._base}/admin/api/{settings.version}"
        self._client = client

    def changed_since(self, moment: datetime) -> Iterator[bytes]:
        """See CaptureSource.changed_since: orders with something to send, oldest change first."""
        asked = {
            "status": "any",
            "updated_at_min": moment.isoformat(),
            "order": "updated_at asc",
            "limit": _PAGE,
        }
        address: str | None = f"{self._api}/orders.json?{urlencode(asked)}"
        for _ in range(_MOST_PAGES):
            if address is None:
                return
            reply = self._get(address)
            for order in understood(lambda reply=reply: list(reply.body["orders"])):  # type: ignore[misc]
                raw = to_json(order)
                if self._has_work(raw):
                    yield raw
            address = self._next(reply.headers)
        raise OutsideUnavailableError("Shopify's pages have no end")

    def check(self) -> str:
        """See CaptureSource.check."""
        self._get(f"{self._api}/shop.json")
        return "Shopify takes the token"

    def _has_work(self, raw: bytes) -> bool:
        try:
            translate(self._connection, raw)
        except NothingToDoError:
            return False
        except QuarantineError:
            return True
        return True

    def _next(self, headers: Mapping[str, str]) -> str | None:
        """The address of the next page: the token is sent to nobody but the shop."""
        found = _NEXT.search(headers.get("link", ""))
        if found is None:
            return None
        here, there = urlsplit(self._base), urlsplit(found[1])
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise OutsideUnavailableError(f"Shopify's next page is elsewhere: {there.netloc}")
        return found[1]

    def _get(self, address: str) -> Reply:
        return call(
            self._client,
            "GET",
            address,
            headers=self._headers,
            connection_id=self._connection.connection_id,
        )
