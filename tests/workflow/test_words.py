"""What people and other systems say is shown with the order and never reaches Temporal."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from starter.api.app import create_app
from tests.replay.record import B2B, LEVELS
from tests.workflow.world import World, document
from worker.interceptors import _order_of, _without_values

MARKER = "Ada Lovelace, 12 St James's Square"


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The API over the world's store; its dispatcher delivers what the API keeps."""
    app = create_app(world.settings, world.engine)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


async def ask(api: httpx.AsyncClient, path: str, **body: Any) -> None:
    answer = await api.post(f"/v1/{path}", json=body)
    assert answer.status_code == 202, answer.text


async def page_of(api: httpx.AsyncClient) -> dict[str, Any]:
    page: dict[str, Any] = (await api.get("/v1/orders/W-1")).json()
    return page


async def nothing_is_told(world: World) -> None:
    """No history of the order or its fulfillments has the marker in it."""
    for workflow_id in ("order-W-1", *(f"fulfillment-{x}" for x in world.statuses())):
        history = await world.plain_history(workflow_id)
        assert "W-1" in history
        assert "Lovelace" not in history, workflow_id


async def test_the_reasons_of_a_hold_and_a_cancel_stay_in_the_store(
    world: World, api: httpx.AsyncClient
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await ask(api, "orders/W-1/hold", request_id="h-1", type="fraud", reason=f"{MARKER} called")
    await world.until_shown(order, "hold: fraud")
    # then
    held = await page_of(api)
    assert [hold["reason"] for hold in held["holds"]] == [f"{MARKER} called"]
    # when
    await ask(api, "orders/W-1/cancel", request_id="c-1", reason=f"{MARKER} moved")
    assert await world.result(order) == ("cancelled", 0, 2)
    # then
    assert f"local, hold fraud: {MARKER} called" in world.story()
    assert f"local, cancel: {MARKER} moved" in world.story()
    assert world.wms.reasons == [f"{MARKER} moved"]
    await nothing_is_told(world)


async def test_a_reason_that_is_a_code_may_be_known_to_the_workflow(
    world: World, api: httpx.AsyncClient
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await ask(api, "orders/W-1/cancel", request_id="c-1", reason="customer")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert "2 units cancelled (customer)" in world.story()
    assert not any(" on cancel: " in text for text in world.story())


async def test_the_comments_of_votes_stay_in_the_store(
    world: World, api: httpx.AsyncClient
) -> None:
    # given
    world.prepare(process=LEVELS)
    world.stock(dc_1__TEA=5)
    order = await world.submit(document(**B2B))
    await world.until_attribute("order-W-1", "PendingApproval", "manager")
    vote = {"approver": "mia", "role": "manager", "level": 1, "comment": f"{MARKER} said yes"}
    # when
    await ask(api, "orders/W-1/approvals", request_id="v-1", verdict="approve", **vote)
    await world.until_attribute("order-W-1", "PendingApproval", "finance")
    # then
    [waiting] = (await api.get("/v1/approvals")).json()["approvals"]
    assert (waiting["role"], waiting["comments"]) == ("finance", [f"{MARKER} said yes"])
    # when
    vote = {"approver": "tom", "role": "finance", "level": 2, "comment": f"{MARKER} owes us"}
    await ask(api, "orders/W-1/approvals", request_id="v-2", verdict="reject", **vote)
    assert (await world.result(order))[0] == "rejected"
    # then
    votes = (await page_of(api))["approvals"]["votes"]
    assert [one["comment"] for one in votes] == [f"{MARKER} said yes", f"{MARKER} owes us"]
    assert f"tom, approval level 2: {MARKER} owes us" in world.story()
    await nothing_is_told(world)


async def test_what_a_node_s_people_say_stays_in_the_store(
    world: World, api: httpx.AsyncClient
) -> None:
    # given
    world.prepare()
    world.stock(store_2__TEA=2, dc_2__TEA=2)
    await world.at_node(document(), status="released")
    # when
    await ask(api, "nodes/store-2/work/W-1-1/reject", reason=f"{MARKER} has them already")
    await world.until_planned(version=2)
    # then
    assert world.statuses()["W-1-1"] == "rejected"
    assert f"store-2, rejected: {MARKER} has them already" in world.story()
    await nothing_is_told(world)


async def test_a_refusal_is_shown_in_full_and_known_to_the_workflow_by_its_key(
    world: World, api: httpx.AsyncClient
) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2)
    world.wms.refusal = f"POST http://wms/orders answered 422: no street for {MARKER}"
    await world.reserved(document())
    # when
    await world.skip(minutes=31)
    park_id = await world.until_asked("W-1-1", "pick")
    # then
    [fulfillment] = (await page_of(api))["fulfillments"]
    full = f"wms answered 422: no street for {MARKER}"
    assert fulfillment["attention"]["reason"] == full
    assert full in fulfillment["awaits"]
    assert f"wms, pick: no street for {MARKER}" in world.story()
    history = await world.plain_history("fulfillment-W-1-1")
    assert "wms answered 422; words kept under pick-" in history
    # when
    correction = f"the street is known to {MARKER}"
    body = {"park_id": park_id, "choice": "retry", "correction": correction}
    world.wms.refusal = None
    await ask(api, "orders/W-1/resume", request_id="r-1", **body)
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")
    assert f"local, retry of {park_id}: {correction}" in world.story()
    await nothing_is_told(world)


async def test_what_a_system_that_is_away_says_stays_in_the_store(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2)
    world.wms.outages = 1
    world.wms.outage_words = f"busy with {MARKER}"
    # when
    await world.at_node(document())
    # then: it went through, so the story has nothing to tell
    assert not any("Lovelace" in text for text in world.story())
    await nothing_is_told(world)


def test_a_document_that_is_wrong_is_told_without_what_stands_in_it() -> None:
    class Person(BaseModel):
        age: int

    with pytest.raises(ValidationError) as wrong:
        Person.model_validate({"age": MARKER})
    assert str(_without_values(wrong.value)) == "Person: age: int_parsing"


@pytest.mark.parametrize("workflow_id", ["order-W-1", "fulfillment-W-1-2", "return-W-1-1"])
def test_a_workflow_s_id_says_which_order_it_is_about(workflow_id: str) -> None:
    assert _order_of(workflow_id) == "W-1"
