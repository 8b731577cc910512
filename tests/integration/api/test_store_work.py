"""The page on which a store's people work: how it is served, and what it calls."""

import re

import httpx
import pytest

from domain.events import ShortReason
from starter.api.nodes import Action, WorkBody


@pytest.mark.parametrize("path", ["/store/store-1", "/store/assets/page.js"])
async def test_the_page_may_load_and_call_nothing_but_its_own_server(
    api: httpx.AsyncClient, path: str
) -> None:
    answer = await api.get(path)

    assert answer.status_code == 200
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_page_has_no_script_or_style_of_its_own_and_loads_what_is_there(
    api: httpx.AsyncClient,
) -> None:
    page = (await api.get("/store/store-1")).text

    loaded = [x for x in re.findall(r'(?:src|href)="([^"]+)"', page) if not x.startswith("data:")]

    assert sorted(loaded) == ["/store/assets/page.css", "/store/assets/page.js"]
    assert not re.search(r"<style|\son\w+=|\sstyle=", page)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
    for address in loaded:
        assert (await api.get(address)).status_code == 200


@pytest.mark.parametrize("path", ["/store/assets/page.html", "/store/assets/..%2fnodes.py"])
async def test_nothing_else_of_its_folder_is_served(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 404


async def test_what_the_page_calls_is_in_the_description_of_the_api(
    api: httpx.AsyncClient,
) -> None:
    script = (await api.get("/store/assets/page.js")).text
    described = (await api.get("/openapi.json")).json()
    actions = set(re.findall(r'report\(task, "([a-z-]+)"', script))

    assert "`/v1/nodes/${encodeURIComponent(NODE)}/work`" in script
    assert "`${WORK}/${encodeURIComponent(id)}/${action}`" in script
    assert set(described["paths"]["/v1/nodes/{node_id}/work"]) == {"get"}
    assert set(described["paths"]["/v1/nodes/{node_id}/work/{fulfillment_id}/{action}"]) == {"post"}
    assert actions == set(Action)
    assert "innerHTML" not in script


async def test_the_reasons_the_page_offers_are_those_the_api_knows(api: httpx.AsyncClient) -> None:
    script = (await api.get("/store/assets/page.js")).text
    offered = re.search(r"SHORT_REASONS = \{(.*?)\}", script)
    assert offered is not None

    reasons = re.findall(r"(\w+):", offered[1])

    assert set(reasons) == set(ShortReason)
    fact = {"line_id": "1", "picked": 1, "short": 1, "reason": reasons[0]}
    assert WorkBody.model_validate({"lines": [fact]}).lines[0].short == 1
