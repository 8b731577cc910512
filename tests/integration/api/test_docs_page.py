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


async def test_the_address_alone_leads_to_the_docs(api: httpx.AsyncClient) -> None:
    answer = await api.get("/")

    assert answer.status_code == 307
    assert answer.headers["location"] == "/docs"


async def test_each_operation_is_headed_by_what_it_does(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    heads = [operation["summary"] for path in paths.values() for operation in path.values()]

    assert paths["/v1/inventory/{sku}"]["get"]["summary"] == (
        "Units of a SKU by node and over the network"
    )
    assert [head for head in heads if " " not in head or "\n" in head or len(head) > 120] == []
