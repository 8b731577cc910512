"""Where a customer sees their order: by an address nobody can guess, with nothing personal."""

import base64
import hashlib
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from domain.fulfillments import FulfillmentStatus, Package, PackageStatus
from domain.stages import CLOSED_STAGES, Stage
from starter.api.context import PathId, TheServices
from starter.times import utc_text
from store import order_pages, tracking
from store.engine import reading
from store.fulfillments import FulfillmentPage
from store.order_pages import OrderPage

router = APIRouter(tags=["orders"])

_WORDS = {
    Stage.RECEIVED: "We have your order",
    Stage.PENDING_APPROVAL: "Your order waits for approval",
    Stage.PROMISED: "We have your order",
    Stage.BACKORDERED: "Your order waits for supply",
    Stage.RESERVED: "Your items are set aside",
    Stage.RELEASED: "Your order is being prepared",
    Stage.PICKING: "Your order is being prepared",
    Stage.SHIPPED: "Your order is on its way",
    Stage.DELIVERED: "Your order is delivered",
    Stage.COMPLETED: "Your order is complete",
    Stage.CANCELLED: "Your order is cancelled",
    Stage.REJECTED: "Your order was not accepted",
}
_PREPARED = "is being prepared"
_PARCEL_WORDS = {
    PackageStatus.PACKED: _PREPARED,
    PackageStatus.LABELLED: _PREPARED,
    PackageStatus.SHIPPED: "is on its way",
    PackageStatus.OUT_FOR_DELIVERY: "is out for delivery",
    PackageStatus.DELIVERED: "is delivered",
}
_STYLE = "body{font:1.1rem/1.5 sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}"
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_UNSEEN = frozenset({FulfillmentStatus.REJECTED, FulfillmentStatus.CANCELLED})


@router.get("/track/{token}", response_model=None)
def track(token: PathId, request: Request, services: TheServices) -> Response:
    """An order as its customer may see it, as JSON, or as a page where a browser asks.

    Needs no key: the token is the permission. 404 for an unknown one.
    """
    with reading(services.engine) as session:
        page = order_pages.order_page(session, tracking.tracked_order(session, token))
    shown = shown_to_customer(page)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    accepted = request.headers.get("accept", "")
    if "text/html" in accepted:
        return HTMLResponse(_html(shown), headers={**headers, **_PAGE_HEADERS})
    return JSONResponse(shown, headers=headers)


def shown_to_customer(page: OrderPage) -> dict[str, Any]:
    """Stage, dates, items and parcels in plain words: no names, places, nodes or reasons."""
    is_open = page.stage not in CLOSED_STAGES
    return {
        "order_id": page.order_id,
        "stage": page.stage.value,
        "text": _WORDS[page.stage],
        "promised_by": utc_text(page.promise_at) if is_open and page.promise_at else None,
        "items": [
            {
                "sku": line.sku,
                "ordered": line.quantities.ordered,
                "on_the_way": line.quantities.shipped,
                "delivered": line.quantities.delivered,
                "cancelled": line.quantities.cancelled,
            }
            for line in page.lines
        ],
        "parcels": [
            parcel
            for fulfillment in page.fulfillments
            if fulfillment.status not in _UNSEEN
            for parcel in _parcels(fulfillment)
        ],
    }


def _parcels(fulfillment: FulfillmentPage) -> list[dict[str, Any]]:
    if fulfillment.status is FulfillmentStatus.READY_FOR_PICKUP:
        return [{"status": "ready_for_pickup", "text": "is ready for you to collect"}]
    return [_parcel(one) for one in fulfillment.packages if one.status is not PackageStatus.VOIDED]


def _parcel(package: Package) -> dict[str, Any]:
    return {
        "status": package.status.value,
        "text": _PARCEL_WORDS.get(package.status, "is being looked after"),
        "carrier": package.carrier,
        "tracking_number": package.tracking_number,
    }


def _html(shown: dict[str, Any]) -> str:
    items = "".join(
        f"<li>{item['ordered']} &times; {escape(item['sku'])}{escape(_where(item))}</li>"
        for item in shown["items"]
    )
    parcels = "".join(
        f"<li>A parcel {escape(parcel['text'])}"
        + (
            f" ({escape(parcel['carrier'] or 'carrier')} {escape(parcel['tracking_number'])})"
            if parcel.get("tracking_number")
            else ""
        )
        + "</li>"
        for parcel in shown["parcels"]
    )
    promised = shown["promised_by"]
    day = f"<p>Expected by {escape(promised[:10])}.</p>" if promised else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><title>Your order</title>'
        f"<style>{_STYLE}</style></head><body>"
        f"<h1>{escape(shown['text'])}</h1><p>Order {escape(shown['order_id'])}</p>{day}"
        f"<h2>Items</h2><ul>{items}</ul>"
        + (f"<h2>Parcels</h2><ul>{parcels}</ul>" if parcels else "")
        + "</body></html>"
    )


def _where(item: dict[str, Any]) -> str:
    parts = [
        f"{item[name]} {words}"
        for name, words in (
            ("on_the_way", "on the way"),
            ("delivered", "delivered"),
            ("cancelled", "cancelled"),
        )
        if item[name]
    ]
    return f": {', '.join(parts)}" if parts else ""
