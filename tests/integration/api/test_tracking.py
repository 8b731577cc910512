"""A customer follows an order by an address nobody can guess, and sees nothing personal."""

import base64
import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine

from config.settings import Settings
from domain.fulfillments import FulfillmentStatus, Package, PackageLine, PackageStatus
from domain.plans import FulfillmentView
from starter.api.app import create_app
from store import approvals, fulfillments
from store.engine import transaction
from tests.integration.api.conftest import NOW, calling, order_document, release_fulfillment


async def page_of(api: httpx.AsyncClient, order_id: str = "W-1") -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/v1/orders/{order_id}")).json()
    return found


async def tracking_path(api: httpx.AsyncClient, order_id: str = "W-1") -> str:
    page = await page_of(api, order_id)
    return urlsplit(str(page["links"]["track"])).path


def ship(engine: Engine) -> None:
    release_fulfillment(engine)
    sent = Package(
        package_id="W-1-1-p1",
        lines=(PackageLine(line_id="1", quantity=2),),
        carrier="Parcel",
        tracking_number="1Z-1",
        status=PackageStatus.SHIPPED,
    )
    voided = sent.model_copy(
        update={"package_id": "W-1-1-p0", "tracking_number": "1Z-0", "status": PackageStatus.VOIDED}
    )
    view = FulfillmentView(
        fulfillment_id="W-1-1",
        order_id="W-1",
        revision=2,
        status=FulfillmentStatus.SHIPPED,
        packages=(voided, sent),
    )
    with transaction(engine) as session:
        fulfillments.record_fulfillment(session, view, NOW)


async def test_every_order_has_a_token_of_its_own_that_says_nothing(
    api: httpx.AsyncClient,
) -> None:
    await api.post("/v1/orders", json=order_document())
    other = order_document(order_id="W-2", external_id="1002")
    await api.post("/v1/orders", json=other)

    first, second = await tracking_path(api, "W-1"), await tracking_path(api, "W-2")

    assert first != second
    assert re.fullmatch(r"/v1/track/[0-9a-f]{32}", first)
    assert await tracking_path(api, "W-1") == first


async def test_a_customer_sees_stage_items_and_parcels_and_nothing_personal(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    ship(filled)

    answer = await api.get(await tracking_path(api))

    assert answer.json() == {
        "order_id": "W-1",
        "stage": "received",
        "text": "We have your order",
        "promised_by": None,
        "items": [{"sku": "TEE", "ordered": 2, "on_the_way": 0, "delivered": 0, "cancelled": 0}],
        "parcels": [
            {
                "status": "shipped",
                "text": "is on its way",
                "carrier": "Parcel",
                "tracking_number": "1Z-1",
            }
        ],
    }
    for secret in ("Ada", "Main St", "10001", "C-7", "dc-1", "example.com"):
        assert secret not in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_a_browser_gets_a_page(api: httpx.AsyncClient, filled: Engine) -> None:
    await api.post("/v1/orders", json=order_document())
    ship(filled)

    answer = await api.get(await tracking_path(api), headers={"Accept": "text/html,*/*;q=0.8"})

    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>We have your order</h1>" in answer.text
    assert "2 &times; TEE" in answer.text
    assert "A parcel is on its way (Parcel 1Z-1)" in answer.text
    assert "http" not in answer.text  # nothing is loaded from elsewhere
    assert "Ada" not in answer.text
    [style] = re.findall("<style>(.*?)</style>", answer.text)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


async def test_it_needs_the_token_and_no_key(filled: Engine, settings: Settings) -> None:
    closed = create_app(settings.model_copy(update={"require_api_key": True}), filled)
    open_app = create_app(settings, filled)
    async with calling(open_app) as staff, calling(closed) as customer:
        await staff.post("/v1/orders", json=order_document())
        path = await tracking_path(staff)

        assert (await customer.get(path)).status_code == 200
        assert (await customer.get("/v1/orders/W-1")).status_code == 401
        unknown = await customer.get(f"/v1/track/{'0' * 32}")

    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "nothing is tracked under that address"


async def test_an_order_shows_who_was_asked_and_who_voted_what(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    vote = {"verdict": "approve", "level": 1, "role": "clerk", "comment": "go", "approver": "Eve"}
    await api.post("/v1/orders/W-1/approvals", json={**vote, "request_id": "V-1"})
    with transaction(filled) as session:
        approvals.ask(session, "W-1", 1, "manager", NOW, None)
        approvals.record_vote(
            session, "W-1", 1, "V-1", "Eve", "clerk", "approve", False, "not a manager", NOW
        )

    found = (await page_of(api))["approvals"]

    [level], [cast] = found["levels"], found["votes"]
    assert (level["level"], level["role"], level["outcome"]) == (1, "manager", None)
    assert (cast["approver"], cast["role"], cast["verdict"]) == ("Eve", "clerk", "approve")
    assert (cast["comment"], cast["counted"], cast["why"]) == ("go", False, "not a manager")
