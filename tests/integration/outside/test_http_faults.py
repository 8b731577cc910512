"""Faults of outside systems. They are synthetic: no recording of a vendor holds a 429 or a 5xx."""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from domain.errors import OutsideUnavailableError, RefusedError
from integrations.guards import FAILURES_TO_OPEN, FIRST_PAUSE
from integrations.http import CALLS, LEFT_ALONE, Reply, call, guard_of, open_client

URL = "http://vendor.test/shipments"
Step = httpx.Response | Exception


class Vendor:
    """A connection whose answers and whose clock the test decides."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.now = 1_000.0
        self.waits: list[float] = []
        self.client = open_client(transport=httpx.MockTransport(self._answer))
        self.guard = guard_of(self.client, "acct-1", lambda: self.now)

    def send(self, *, attempts: int = 1, body: object = None, key: str = "k-secret-1") -> Reply:
        return call(
            self.client,
            "POST",
            URL,
            body=body,
            headers={"Authorization": f"Bearer {key}"},
            connection_id="acct-1",
            attempts=attempts,
            sleep=self._sleep,
        )

    def fail(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(OutsideUnavailableError):
                self.send()

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0) if self.steps else httpx.Response(200, json={})
        if isinstance(step, Exception):
            raise step
        return step


def said(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(
        status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        json={"message": "told"},
    )


THEIR_NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
"""A vendor whose clock is three hours behind."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3"}, 3.0),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "4"}, 4.0),
        ({"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "2"}, 2.0),
        ({"x-remaining-calls": "0", "x-retry-after": "5"}, 5.0),
        ({"X-Shopify-Shop-Api-Call-Limit": "40/40"}, 1.0),
        (
            {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int(THEIR_NOW.timestamp()) + 4),
                "Date": format_datetime(THEIR_NOW, usegmt=True),
            },
            4.0,
        ),
        (
            {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str((int(THEIR_NOW.timestamp()) + 4) * 1_000),
                "Date": format_datetime(THEIR_NOW, usegmt=True),
            },
            4.0,
        ),
    ],
)
def test_a_used_up_limit_is_waited_for_before_it_bites(
    headers: dict[str, str], seconds: float
) -> None:
    vendor = Vendor(httpx.Response(200, headers=headers, json={}))
    vendor.send()
    assert vendor.waits == []

    vendor.send()

    assert vendor.waits == [seconds]
    assert len(vendor.requests) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "60"},
        {"X-Shopify-Shop-Api-Call-Limit": "39/40"},
        {"X-Shopify-Shop-Api-Call-Limit": "many"},
        {"X-RateLimit-Remaining": "plenty"},
        {"X-RateLimit-Reset": "60"},
    ],
)
def test_while_calls_are_left_nothing_waits(headers: dict[str, str]) -> None:
    vendor = Vendor(httpx.Response(200, headers=headers, json={}))

    vendor.send()
    vendor.send()

    assert vendor.waits == []


def test_a_long_limit_sends_the_caller_away_without_a_request_until_it_ends() -> None:
    vendor = Vendor(said(200, X_RateLimit_Remaining="0", X_RateLimit_Reset="60"))
    vendor.send()

    with pytest.raises(OutsideUnavailableError, match="acct-1 allows no call for 60 s") as caught:
        vendor.send()

    assert caught.value.retry_after == 60.0
    assert len(vendor.requests) == 1
    vendor.now += 60
    assert vendor.send().status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "20"},
        {"x-retry-after": "20"},
        {
            "Retry-After": format_datetime(THEIR_NOW + timedelta(seconds=20), usegmt=True),
            "Date": format_datetime(THEIR_NOW, usegmt=True),
        },
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"},
    ],
    ids=["seconds", "x-retry-after", "date, by their clock", "limit headers"],
)
def test_a_429_keeps_everybody_of_that_connection_away_as_long_as_it_says(
    headers: dict[str, str],
) -> None:
    vendor = Vendor(httpx.Response(429, headers=headers, json={"message": "slow down"}))

    with pytest.raises(OutsideUnavailableError, match="answered 429: slow down") as caught:
        vendor.send(attempts=3)

    assert caught.value.retry_after == 20.0
    with pytest.raises(OutsideUnavailableError, match="rate limit"):
        vendor.send()
    assert len(vendor.requests) == 1


def test_a_short_429_is_waited_out_once_within_the_call() -> None:
    vendor = Vendor(said(429, Retry_After="2"))

    assert vendor.send(attempts=3).status == 200
    assert vendor.waits == [2.0]


def test_a_429_never_opens_the_circuit() -> None:
    vendor = Vendor(*(said(429) for _ in range(FAILURES_TO_OPEN + 1)))

    vendor.fail(FAILURES_TO_OPEN + 1)

    assert len(vendor.requests) == FAILURES_TO_OPEN + 1
    assert not vendor.guard.is_open


@pytest.mark.parametrize(
    "broken",
    [
        lambda: httpx.Response(500),
        lambda: httpx.Response(503),
        lambda: httpx.ConnectError("refused"),
        lambda: httpx.ReadTimeout("10 s"),
        lambda: httpx.Response(200, text="<html>"),
    ],
    ids=["500", "503", "no connection", "no answer", "no JSON"],
)
def test_a_storm_opens_the_circuit_and_nothing_more_is_sent(broken: Callable[[], Step]) -> None:
    vendor = Vendor(*(broken() for _ in range(FAILURES_TO_OPEN)))
    vendor.fail(FAILURES_TO_OPEN)

    with pytest.raises(OutsideUnavailableError, match="5 requests in a row failed") as caught:
        vendor.send()

    assert caught.value.retry_after == FIRST_PAUSE
    assert len(vendor.requests) == FAILURES_TO_OPEN
    assert LEFT_ALONE.labels("acct-1")._value.get() == 1


def test_after_the_pause_one_call_finds_out_whether_it_is_well_and_the_others_wait() -> None:
    vendor = Vendor(*(said(500) for _ in range(FAILURES_TO_OPEN)))
    vendor.fail(FAILURES_TO_OPEN)
    vendor.now += FIRST_PAUSE

    assert vendor.guard.admit(0) == 0.0
    with pytest.raises(OutsideUnavailableError, match="is left alone"):
        vendor.guard.admit(0)

    vendor.guard.answered()
    assert vendor.send().status == 200
    assert not vendor.guard.is_open
    assert LEFT_ALONE.labels("acct-1")._value.get() == 0


def test_a_probe_that_fails_doubles_the_pause_up_to_a_minute() -> None:
    vendor = Vendor(*(said(500) for _ in range(20)))
    vendor.fail(FAILURES_TO_OPEN)
    pauses = []
    for _ in range(6):
        with pytest.raises(OutsideUnavailableError) as caught:
            vendor.send()
        pause = caught.value.retry_after or 0.0
        pauses.append(pause)
        vendor.now += pause
        vendor.fail(1)

    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_refusal_shows_that_the_other_side_is_well() -> None:
    vendor = Vendor(*(said(500) for _ in range(FAILURES_TO_OPEN - 1)), said(422), said(500))
    vendor.fail(FAILURES_TO_OPEN - 1)

    with pytest.raises(RefusedError):
        vendor.send()
    vendor.fail(1)

    assert not vendor.guard.is_open


def test_two_connections_of_one_client_do_not_share_their_failures() -> None:
    vendor = Vendor(*(said(500) for _ in range(FAILURES_TO_OPEN)))
    vendor.fail(FAILURES_TO_OPEN)

    reply = call(vendor.client, "GET", URL, connection_id="acct-2")

    assert reply.status == 200


def test_an_expired_token_is_a_refusal_without_the_token() -> None:
    vendor = Vendor(httpx.Response(401, json={"error": "token k-secret-1 has expired"}))

    with pytest.raises(RefusedError) as caught:
        vendor.send()

    assert str(caught.value) == f"POST {URL} answered 401: token [...] has expired"


def test_what_the_vendor_quotes_back_of_a_customer_is_left_out_of_the_message() -> None:
    quoted = "no such street '12 Elm Road' for JANE DOE (jane@doe.example), SKU-77"
    vendor = Vendor(httpx.Response(422, json={"message": quoted}))

    with pytest.raises(RefusedError) as caught:
        vendor.send(
            body={
                "sku": "SKU-77",
                "to": {"name": "Jane Doe", "street1": "12 Elm Road", "state": "CA"},
            }
        )

    assert str(caught.value) == (
        f"POST {URL} answered 422: no such street '[...]' for [...] ([...]), SKU-77"
    )


def test_logs_and_metrics_tell_who_and_how_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vendor = Vendor(httpx.Response(500, json={"message": "Jane Doe is unknown"}))
    before = CALLS.labels("acct-1", "POST", "unavailable")._value.get()

    with caplog.at_level(logging.DEBUG, "doms.outside"), pytest.raises(OutsideUnavailableError):
        vendor.send(body={"name": "Jane Doe"})

    (record,) = [x for x in caplog.records if x.name == "doms.outside"]
    assert record.getMessage().startswith(f"acct-1 POST {URL} unavailable in ")
    assert vars(record)["connection"] == "acct-1"
    assert vars(record)["outcome"] == "unavailable"
    assert "Jane" not in caplog.text
    assert "secret" not in caplog.text
    assert CALLS.labels("acct-1", "POST", "unavailable")._value.get() == before + 1


HALF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{'id':"
CUT = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{"id":'
WHOLE = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"id":"7"}'
RESET = b""


@contextmanager
def wire(answers: Sequence[bytes]) -> Iterator[str]:
    """A server on a real socket that sends these bytes, one answer a connection, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                if answer == RESET:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/things"
    finally:
        listener.close()
        server.join(5)


@pytest.mark.parametrize("broken", [HALF, RESET], ids=["half a body", "reset"])
def test_a_connection_that_breaks_is_tried_again(broken: bytes) -> None:
    with wire([broken, WHOLE]) as url, open_client() as client:
        reply = call(client, "PUT", url, body={}, sleep=lambda _: None)

    assert reply == Reply(200, {"id": "7"})


@pytest.mark.parametrize("broken", [HALF, RESET], ids=["half a body", "reset"])
def test_what_must_not_be_repeated_is_sent_once(broken: bytes) -> None:
    with (
        wire([broken]) as url,
        open_client() as client,
        pytest.raises(OutsideUnavailableError, match="cannot be reached"),
    ):
        call(client, "POST", url, body={}, attempts=1)


def test_half_a_json_document_is_no_answer() -> None:
    with (
        wire([CUT]) as url,
        open_client() as client,
        pytest.raises(OutsideUnavailableError, match="without a JSON object"),
    ):
        call(client, "GET", url)


def test_a_page_of_a_megabyte_is_an_error_of_some_words() -> None:
    vendor = Vendor(httpx.Response(500, text="c" * 1_000_000))

    with pytest.raises(OutsideUnavailableError, match=r"answered 500: c+$") as raised:
        vendor.send()

    assert len(str(raised.value)) < 600
