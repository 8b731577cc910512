"""Orders of a Shopify shop: its published webhooks, and what may be missing in them."""

import hmac
import json
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.errors import OutsideUnavailableError, RefusedError
from domain.network import Connection, ConnectionClass
from domain.orders import Order, PaymentStatus
from integrations import webhooks
from integrations.capture.shopify.orders import translate
from integrations.capture.shopify.source import ShopifyOrders
from integrations.checking import check_connection
from integrations.errors import BadSignatureError, NothingToDoError, QuarantineError
from integrations.http import open_client
from tests.contract.recordings import VENDORS, document, needs

recorded = needs("shopify")
SHOP = Connection(
    connection_id="shop",
    kind=ConnectionClass.CAPTURE,
    vendor="shopify",
    base_url="https://acme.myshopify.com",
    secret_env="SHOPIFY_SECRET",
)
SECRET = "hush"
TOKEN = {"SHOPIFY_TOKEN": "shpat-s3cret"}
MOMENT = datetime(2026, 3, 2, tzinfo=UTC)
PUBLISHED = sorted((VENDORS / "shopify" / "docs-2026-04").glob("*.json"))
RECORDED = sorted((VENDORS / "shopify" / "webhooks-anonymised").glob("*.json"))
ORDERS = {"create", "fulfilled", "paid", "partially_fulfilled", "updated"}


def signed(raw: bytes, **more: str) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), raw, sha256).digest()
    return {"X-Shopify-Hmac-SHA256": b64encode(digest).decode(), **more}


def a_line(**changes: Any) -> dict[str, Any]:
    return {"id": 11, "sku": "TEE", "quantity": 2, "price": "19.90", **changes}


def an_order(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1001,
        "order_number": 1,
        "currency": "USD",
        "created_at": "2026-03-02T10:00:00-08:00",
        "line_items": [a_line()],
        **changes,
    }


def read(order: Any) -> Order:
    return Order.model_validate(translate(SHOP, json.dumps(order).encode()))


@recorded
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_every_published_webhook_is_an_order_or_is_none(path: Path) -> None:
    body = document(f"shopify/docs-2026-04/{path.name}")["response"]
    topic, _, kind = path.stem.partition("-")
    if topic != "orders" or kind not in ORDERS:
        with pytest.raises(QuarantineError) as caught:
            read(body)
        assert str(caught.value)
        return

    # Shopify's example of every topic is of an order that was cancelled.
    with pytest.raises(QuarantineError, match="cancelled_at: the shop cancelled it"):
        read(body)
    order = read({**body, "cancelled_at": None})
    assert [(x.sku, x.quantity) for x in order.lines] == [
        (x["sku"], x["current_quantity"]) for x in body["line_items"]
    ]
    assert [str(x.unit_price) for x in order.lines] == [x["price"] for x in body["line_items"]]
    assert order.external_id == str(body["id"])


@recorded
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_was_recorded_of_other_topics_is_none(path: Path) -> None:
    with pytest.raises(NothingToDoError, match="no order"):
        translate(SHOP, path.read_bytes())


def test_a_webhook_is_proved_over_its_bytes_and_known_by_its_id() -> None:
    raw = json.dumps(an_order()).encode()
    headers = signed(raw, **{"X-Shopify-Webhook-Id": "b54557e4"})

    assert webhooks.verify(SHOP, SECRET, headers, raw) == "b54557e4"
    assert webhooks.verify(SHOP, SECRET, signed(raw), raw) == sha256(raw).hexdigest()
    for bad in ({}, signed(raw + b" ")):
        with pytest.raises(BadSignatureError):
            webhooks.verify(SHOP, SECRET, bad, raw)


def test_an_order_of_which_almost_everything_is_missing_is_read() -> None:
    order = read(an_order())

    assert (order.order_id, order.currency, order.payment.status) == (
        "shop-1001",
        "USD",
        PaymentStatus.PENDING,
    )
    (group,) = order.ship_groups
    assert group.address is not None
    assert (group.address.country, group.address.line1) == ("US", None)
    assert [(x.sku, x.quantity, x.unit_price) for x in order.lines] == [
        ("TEE", 2, Decimal("19.90"))
    ]


@pytest.mark.parametrize(
    ("changes", "city", "name"),
    [
        ({"shipping_address": {"city": "Reno", "name": "Ada B"}}, "Reno", "Ada B"),
        ({"billing_address": {"city": "Elko", "first_name": "Ada"}}, "Elko", "Ada"),
        (
            {"customer": {"last_name": "Byron", "default_address": {"city": "Ely"}}},
            "Ely",
            "Byron",
        ),
    ],
)
def test_the_first_address_there_is_is_where_it_goes(
    changes: dict[str, Any], city: str, name: str
) -> None:
    (group,) = read(an_order(**changes)).ship_groups

    assert group.address is not None
    assert (group.address.city, group.address.name) == (city, name)


def test_units_taken_out_by_edits_and_goods_the_shop_sends_itself_are_left_out() -> None:
    items = [
        a_line(quantity=3, current_quantity=1, tax_lines=[{"price": "1.00"}]),
        a_line(id=12, sku="GONE", current_quantity=0),
        a_line(id=13, sku="GIFT-CARD", requires_shipping=False),
        a_line(id=14, sku=None, variant_id=77, discount_allocations=[{"amount": "0.50"}]),
    ]

    lines = read(an_order(line_items=items)).lines

    assert [(x.external_line_id, x.sku, x.quantity) for x in lines] == [
        ("11", "TEE", 1),
        ("14", "shopify-77", 2),
    ]
    assert [(x.tax, x.discount) for x in lines] == [
        (Decimal("0.33"), Decimal(0)),
        (Decimal(0), Decimal("0.50")),
    ]


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("paid", "paid"),
        ("partially_refunded", "paid"),
        ("authorized", "authorized"),
        ("pending", "pending"),
        ("voided", "pending"),
        (None, "pending"),
    ],
)
def test_what_shopify_knows_of_the_money_decides_whether_it_is_released(
    status: str | None, ours: str
) -> None:
    assert read(an_order(financial_status=status)).payment.status.value == ours


def test_a_later_state_has_a_higher_version_and_a_late_original_a_lower_one() -> None:
    times = ["10:00:00", "10:00:01", "10:30:00"]
    versions = [read(an_order(updated_at=f"2026-03-02T{x}-08:00")).version for x in times]
    versions += [
        read(an_order(updated_at=f"2026-{x}T10:00:00-08:00")).version
        for x in ("03-08", "03-12", "06-01", "12-31")
    ]

    assert versions[:3] == [1, 2, 1801]
    assert versions == sorted(set(versions))
    assert read(an_order(updated_at="2031-01-01T00:00:00Z")).version == 1_000_000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "id"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [a_line(price=None)]}, r"line_items\.0\.price"),
        ({"currency": "???"}, "currency"),
        ({"created_at": "yesterday"}, "created_at"),
    ],
)
def test_what_lacks_id_lines_or_money_is_set_aside_with_its_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(QuarantineError, match=reason) as caught:
        read(an_order(**changes))

    assert not isinstance(caught.value, NothingToDoError)


def test_an_order_of_nothing_to_send_is_none() -> None:
    with pytest.raises(NothingToDoError, match="nothing is to be sent"):
        read(an_order(line_items=[a_line(requires_shipping=False)]))


def asked(*answers: httpx.Response) -> tuple[ShopifyOrders, list[httpx.Request]]:
    """The shop, which gives those answers, and what it was asked."""
    steps, requests = iter(answers), list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return next(steps)

    return ShopifyOrders(SHOP, TOKEN, open_client(transport=httpx.MockTransport(answer))), requests


def a_page(*orders: Any, link: str = "") -> httpx.Response:
    return httpx.Response(200, json={"orders": list(orders)}, headers={"Link": link})


def test_a_shop_is_asked_page_by_page_for_orders_that_changed() -> None:
    following = "https://acme.myshopify.com/admin/api/2026-04/orders.json?page_info=abc&limit=250"
    before = "https://acme.myshopify.com/admin/api/2026-04/orders.json?page_info=zzz"
    services = an_order(id=2, line_items=[a_line(requires_shipping=False)])
    bad = an_order(id=3, line_items=[])
    shop, requests = asked(
        a_page(an_order(), services, link=f'<{before}>; rel="previous", <{following}>; rel="next"'),
        a_page(bad, link=f'<{before}>; rel="previous"'),
    )

    found = [json.loads(raw)["id"] for raw in shop.changed_since(MOMENT)]

    # What cannot be read is handed on, to be kept with its reason.
    assert found == [1001, 3]
    assert requests[0].url.path == "/admin/api/2026-04/orders.json"
    assert requests[0].url.params["updated_at_min"] == "2026-03-02T00:00:00+00:00"
    assert requests[0].url.params["status"] == "any"
    assert requests[0].headers["X-Shopify-Access-Token"] == "shpat-s3cret"
    assert str(requests[1].url) == following


def test_the_token_goes_to_no_other_host_that_a_page_names() -> None:
    shop, requests = asked(a_page(link='<https://evil.example/orders.json>; rel="next"'))

    with pytest.raises(OutsideUnavailableError, match=r"elsewhere: evil\.example"):
        list(shop.changed_since(MOMENT))
    assert len(requests) == 1


def test_a_bucket_that_is_full_is_not_asked_again_at_once() -> None:
    full = {"X-Shopify-Shop-Api-Call-Limit": "40/40", "Retry-After": "30"}
    shop, requests = asked(
        httpx.Response(200, json={"orders": []}, headers=full), a_page(an_order())
    )
    list(shop.changed_since(MOMENT))

    with pytest.raises(OutsideUnavailableError, match="its rate limit is used") as caught:
        list(shop.changed_since(MOMENT))

    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 25
    assert len(requests) == 1


@pytest.mark.parametrize("body", [{}, {"orders": 3}])
def test_an_answer_of_another_shape_counts_as_a_failing_system(body: dict[str, Any]) -> None:
    shop, _ = asked(httpx.Response(200, json=body))

    with pytest.raises(OutsideUnavailableError, match="makes no sense"):
        list(shop.changed_since(MOMENT))


def test_a_token_that_is_not_taken_is_told_by_the_check() -> None:
    well, _ = asked(httpx.Response(200, json={"shop": {}}))
    ill, _ = asked(httpx.Response(401, json={"errors": "[API] Invalid API key or access token"}))

    assert well.check() == "Shopify takes the token"
    with pytest.raises(RefusedError, match="Invalid API key"):
        ill.check()
    assert "set the variable SHOPIFY_TOKEN" in check_connection(SHOP, {}, open_client()).text
