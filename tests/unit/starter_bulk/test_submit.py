import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from starter.bulk.journal import Journal
from starter.bulk.loaded import LoadedOrder
from starter.bulk.submit import (
    Refusal,
    SubmissionStoppedError,
    Target,
    submit,
    wait_until_closed,
)

URL = "http://doms.test"


class FakeApi:
    """Accepts orders once, refuses those whose currency is ZZZ, and can be away for some calls."""

    def __init__(self) -> None:
        self.orders: dict[str, Any] = {}
        self.posted: list[str] = []
        self.away: list[httpx.Response | Exception] = []
        self.lists = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and self.away:
            answer = self.away.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if request.url.path == "/healthz":
            return httpx.Response(200, json={})
        if request.method == "POST":
            return self._take(json.loads(request.content))
        if request.url.path == "/v1/orders":
            return self._list(request)
        known = request.url.path.rpartition("/")[2] in self.orders
        return httpx.Response(200 if known else 404, json={})

    def _take(self, document: dict[str, Any]) -> httpx.Response:
        order_id = document["order_id"]
        self.posted.append(order_id)
        if document.get("currency") == "ZZZ":
            errors = [{"path": "currency", "message": "'ZZZ' is no currency"}]
            return httpx.Response(422, json={"detail": "1 error", "errors": errors})
        if order_id in self.orders and self.orders[order_id] != document:
            return httpx.Response(409, json={"detail": "another document has this version"})
        is_new = order_id not in self.orders
        self.orders[order_id] = document
        return httpx.Response(202 if is_new else 200, json={"order_id": order_id})

    def _list(self, request: httpx.Request) -> httpx.Response:
        self.lists += 1
        stage = "completed" if self.lists > 2 else "shipped"
        found = sorted(self.orders)
        after = request.url.params.get("after")
        page = [x for x in found if after is None or x > after][:2]
        rows = [{"order_id": x, "stage": stage, "closed": stage == "completed"} for x in page]
        following = page[-1] if len(page) == 2 else None
        return httpx.Response(200, json={"orders": rows, "next": following})

    def target(self) -> Target:
        return Target(URL, transport=httpx.MockTransport(self))


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "orders.ndjson"
    path.write_text("the content only names the journal")
    return path


def order(number: int, **more: Any) -> LoadedOrder:
    return LoadedOrder(number, document={"order_id": f"W-{number}", **more})


async def run(
    api: FakeApi, source: Path, orders: list[LoadedOrder], patience: float = 5.0, **more: Any
) -> Any:
    with Journal(source.parent / "submit", source, URL) as journal:
        return await submit(orders, api.target(), journal, patience=patience, **more)


async def test_every_order_is_sent_once_and_counted(api: FakeApi, source: Path) -> None:
    seen: list[int] = []

    done = await run(
        api, source, [order(n) for n in range(1, 21)], progress=lambda x: seen.append(x.read)
    )

    assert (done.accepted, done.known, done.refused) == (20, 0, [])
    assert sorted(api.posted) == sorted(f"W-{n}" for n in range(1, 21))
    assert sorted(done.order_ids) == sorted(api.orders)
    assert max(seen) == 20


async def test_what_is_refused_is_told_line_by_line_and_holds_up_nothing(
    api: FakeApi, source: Path
) -> None:
    orders = [
        order(1),
        LoadedOrder(2, error="broken JSON"),
        order(3, currency="ZZZ"),
        LoadedOrder(4, document={"order_id": "W-1", "brand": "other"}),
        order(5),
    ]

    done = await run(api, source, orders, concurrency=1)

    assert done.accepted == 2
    assert done.refused == [
        Refusal(2, None, (("", "broken JSON"),)),
        Refusal(3, "W-3", (("currency", "'ZZZ' is no currency"),)),
        Refusal(4, "W-1", (("", "another document has this version"),)),
    ]
    assert list(done.refused[1].lines()) == ["line 3 (W-3): currency: 'ZZZ' is no currency"]
    assert done.refused[1].as_json() == {
        "line": 3,
        "order_id": "W-3",
        "errors": [{"path": "currency", "message": "'ZZZ' is no currency"}],
    }


async def test_a_run_that_was_stopped_goes_on_where_it_was(api: FakeApi, source: Path) -> None:
    orders = [order(n) for n in range(1, 11)]
    await run(api, source, orders[:6])
    api.posted.clear()

    done = await run(api, source, orders)

    assert (done.accepted, done.known, done.skipped) == (4, 6, 6)
    assert sorted(api.posted) == ["W-10", "W-7", "W-8", "W-9"]
    assert len(done.order_ids) == 10


async def test_without_a_journal_the_api_says_what_it_has(
    api: FakeApi, source: Path, tmp_path: Path
) -> None:
    await run(api, source, [order(1)])
    other = tmp_path / "copy.ndjson"
    other.write_text("another name, another journal")

    done = await run(api, other, [order(1), order(2)])

    assert (done.accepted, done.known, done.skipped) == (1, 1, 0)


async def test_a_new_version_of_an_order_is_sent_though_an_older_one_was_accepted(
    api: FakeApi, source: Path
) -> None:
    await run(api, source, [order(1)])

    done = await run(api, source, [order(1), order(1, version=2)], concurrency=1)

    assert done.skipped == 1
    assert api.posted == ["W-1", "W-1"]


async def test_a_journal_of_orders_the_api_no_longer_has_is_forgotten(
    api: FakeApi, source: Path
) -> None:
    await run(api, source, [order(1)])
    api.orders.clear()

    done = await run(api, source, [order(1)])

    assert (done.accepted, done.skipped) == (1, 0)


async def test_an_api_that_is_away_for_a_moment_is_asked_again(api: FakeApi, source: Path) -> None:
    api.away = [
        httpx.ConnectError("refused"),
        httpx.Response(503, json={}),
        httpx.Response(429, json={}),
    ]

    done = await run(api, source, [order(1), order(2)], concurrency=1)

    assert (done.accepted, done.refused) == (2, [])


async def test_an_api_that_stays_away_stops_the_run_with_what_to_do(
    api: FakeApi, source: Path
) -> None:
    api.away = [httpx.ConnectError("refused")] * 99

    with pytest.raises(SubmissionStoppedError, match="run the same command again to go on"):
        await run(api, source, [order(1)], patience=0.3)


async def test_a_caller_without_the_right_key_stops_the_run(api: FakeApi, source: Path) -> None:
    api.away = [httpx.Response(401, json={"detail": "send an API key"})]

    with pytest.raises(SubmissionStoppedError, match="send an API key"):
        await run(api, source, [order(1), order(2)], concurrency=1)

    assert api.orders == {}


async def test_a_journal_line_that_a_kill_cut_short_counts_for_nothing(source: Path) -> None:
    with Journal(source.parent, source, URL) as journal:
        journal.add("W-1 abc")
    with journal.path.open("a") as file:
        file.write("W-2 ab")

    with Journal(source.parent, source, URL) as again:
        assert again.accepted == {"W-1 abc"}
        again.add("W-3 abc")

    assert journal.path.read_text() == "W-1 abc\nW-3 abc\n"


async def test_waiting_ends_when_every_order_is_closed(api: FakeApi, source: Path) -> None:
    await run(api, source, [order(n) for n in range(1, 4)])
    seen: list[int] = []

    standing = await wait_until_closed(
        ["W-1", "W-2", "W-3"], api.target(), lambda x: seen.append(x.closed), every=0.01
    )

    assert standing.by_stage == {"completed": 3}
    assert seen == [0, 3]
