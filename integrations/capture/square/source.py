"""The orders that Square's tills took lately, with the SKUs that Square leaves out of them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
from pydantic_core import to_json

from domain.errors import OutsideUnavailableError
from domain.network import Connection
from integrations.capture.square.orders import SquareCaptureSettings, translate
from integrations.errors import NothingToDoError, QuarantineError
from integrations.http import Reply, call
from integrations.pos.square.catalogue import Catalogue
from integrations.settings import secret_of, settings_of
from integrations.vendor import Secrets

_NOT_FOUND = 404
_ORDERS_A_PAGE = 500
_MOST_PAGES = 1_000


class SquareOrders:
    """See CaptureSource."""

    def __init__(self, connection: Connection, secrets: Secrets, client: httpx.Client) -> None:
        """Read settings and token. Raises ValueError naming what is missing."""
        self._settings = settings_of(connection, SquareCaptureSettings)
        token = secret_of(connection, secrets, self._settings.token_env)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Square-Version": self._settings.version,
        }
        self._connection = connection
        self._base = connection.base_url.rstrip("/")
        self._client = client
        self._catalogue = Catalogue(self._sku_of)

    def changed_since(self, moment: datetime) -> Iterator[bytes]:
        """See CaptureSource.changed_since: without what was carried out whole, and doms's own."""
        body: dict[str, Any] = {
            "location_ids": sorted(self._settings.locations.values()),
            "limit": _ORDERS_A_PAGE,
            "query": {
                "filter": {
                    "date_time_filter": {"updated_at": {"start_at": moment.isoformat()}},
                    "state_filter": {"states": ["OPEN", "COMPLETED"]},
                },
                "sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"},
            },
        }
        for _ in range(_MOST_PAGES):
            page = self._call("POST", "/orders/search", body).body
            for order in page.get("orders") or ():
                raw = self._document(order)
                if self._is_ours_to_do(raw):
                    yield raw
            if not page.get("cursor"):
                return
            body = {**body, "cursor": page["cursor"]}
        raise OutsideUnavailableError("Square's pages have no end")

    def check(self) -> str:
        """See CaptureSource.check."""
        self._call("GET", "/locations")
        return "Square takes the token"

    def _document(self, order: Any) -> bytes:
        items = order.get("line_items") if isinstance(order, dict) else None
        named = [x.get("catalog_object_id") for x in items or () if isinstance(x, dict)]
        skus = self._catalogue.skus(name for name in named if isinstance(name, str))
        return to_json({"order": order, "skus": skus})

    def _is_ours_to_do(self, raw: bytes) -> bool:
        try:
            translate(self._connection, raw)
        except NothingToDoError:
            return False
        except QuarantineError:
            return True
        return True

    def _sku_of(self, variation: str) -> str | None:
        path = f"/catalog/object/{quote(variation, safe='')}"
        reply = self._call("GET", path, also_accept=(_NOT_FOUND,))
        data = (reply.body.get("object") or {}).get("item_variation_data") or {}
        return data.get("sku") or None

    def _call(
        self, method: str, path: str, body: object = None, *, also_accept: tuple[int, ...] = ()
    ) -> Reply:
        return call(
            self._client,
            method,
            f"{self._base}/v2{path}",
            body=body,
            headers=self._headers,
            also_accept=also_accept,
            connection_id=self._connection.connection_id,
        )
