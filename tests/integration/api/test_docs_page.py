"""The API's own documentation needs no other machine."""

import re

import httpx


async def test_the_docs_load_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert len(loaded) == 3
    for address in loaded:
        assert address.startswith("/docs/assets/")
        found = await api.get(address)
        assert found.status_code == 200
        assert len(found.content) > 1_000
    assert (await api.get("/openapi.json")).json()["info"]["title"] == "doms"


async def test_there_is_no_second_documentation_with_foreign_scripts(
    api: httpx.AsyncClient,
) -> None:
    assert (await api.get("/redoc")).status_code == 404
