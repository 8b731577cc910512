import httpx
from sqlalchemy import Engine

from store import labels
from store.engine import transaction
from store.labels import LabelImage
from tests.integration.api.conftest import NOW, order_document, release_fulfillment


async def test_a_label_that_came_as_a_picture_is_fetched_by_its_token_alone(
    api: httpx.AsyncClient, filled: Engine
) -> None:
    await api.post("/v1/orders", json=order_document())
    release_fulfillment(filled)
    picture = LabelImage(media_type="image/gif", content=b"GIF89a")
    with transaction(filled) as session:
        token = labels.save_image(session, "W-1-1", "W-1-1/p1/label", picture, NOW)

    found = await api.get(f"/v1/labels/{token}")
    guessed = await api.get("/v1/labels/0123456789abcdef")

    assert (found.status_code, found.content) == (200, b"GIF89a")
    assert found.headers["content-type"] == "image/gif"
    assert found.headers["cache-control"] == "no-store"
    assert guessed.status_code == 404
