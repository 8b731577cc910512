from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from domain.errors import OutsideUnavailableError, RefusedError
from integrations.http import Reply, call, open_client

Step = httpx.Response | Exception


class Scripted:
    """A server that answers as it is told, and remembers what it was sent."""

    def __init__(self, *steps: Step) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self._steps = list(steps)

    def send(
        self, method: str = "POST", body: object = None, also_accept: tuple[int, ...] = ()
    ) -> Reply:
        with open_client(transport=httpx.MockTransport(self._answer)) as client:
            return call(
                client,
                method,
                "http://vendor.test/things?token=secret",
                body=body,
                also_accept=also_accept,
                sleep=self.waits.append,
            )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def ok() -> httpx.Response:
    return httpx.Response(200, json={"id": "1"})


def test_an_answer_comes_back_with_its_status_and_json() -> None:
    server = Scripted(httpx.Response(201, json={"id": "7"}))

    reply = server.send(body={"quantity": 2})

    assert reply == Reply(201, {"id": "7"})
    assert server.requests[0].content == b'{"quantity":2}'
    assert server.requests[0].headers["content-type"] == "application/json"


def test_an_empty_answer_is_an_empty_object() -> None:
    assert Scripted(httpx.Response(204)).send() == Reply(204, {})


@pytest.mark.parametrize(
    "blip",
    [
        lambda: httpx.Response(502),
        lambda: httpx.Response(503),
        lambda: httpx.Response(504),
        lambda: httpx.Response(429),
        lambda: httpx.ConnectError("refused"),
        lambda: httpx.ConnectTimeout("slow"),
        lambda: httpx.RemoteProtocolError("closed without an answer"),
    ],
)
def test_a_short_blip_is_tried_again_within_the_call(blip: Callable[[], Step]) -> None:
    server = Scripted(blip(), blip(), ok())

    assert server.send() == Reply(200, {"id": "1"})
    assert server.waits == [0.1, 0.4]


def test_after_three_attempts_a_blip_is_reported() -> None:
    server = Scripted(*(httpx.Response(503, json={"message": "tired"}) for _ in range(3)))

    with pytest.raises(OutsideUnavailableError, match=r"/things answered 503: tired$") as caught:
        server.send()

    assert len(server.requests) == 3
    assert caught.value.retry_after is None


def test_a_retry_after_of_five_seconds_is_waited_out() -> None:
    server = Scripted(httpx.Response(429, headers={"Retry-After": "5"}), ok())

    server.send()

    assert server.waits == [5.0]


def test_a_longer_retry_after_is_left_to_the_caller() -> None:
    server = Scripted(httpx.Response(429, headers={"Retry-After": "30"}))

    with pytest.raises(OutsideUnavailableError) as caught:
        server.send()

    assert caught.value.retry_after == 30.0
    assert server.waits == []


def test_a_retry_after_may_be_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(minutes=2)
    server = Scripted(httpx.Response(503, headers={"Retry-After": format_datetime(moment, True)}))

    with pytest.raises(OutsideUnavailableError) as caught:
        server.send()

    assert caught.value.retry_after == pytest.approx(120, abs=5)


@pytest.mark.parametrize("nonsense", ["soon", "nan", "Tue, 99 Foo 2020"])
def test_a_retry_after_that_says_nothing_is_ignored(nonsense: str) -> None:
    server = Scripted(httpx.Response(429, headers={"Retry-After": nonsense}), ok())

    server.send()

    assert server.waits == [0.1]


@pytest.mark.parametrize("status", [500, 501, 408])
def test_a_failing_system_is_left_to_the_caller_at_once(status: int) -> None:
    server = Scripted(httpx.Response(status, text="boom"))

    with pytest.raises(OutsideUnavailableError, match=f"answered {status}: boom"):
        server.send()

    assert server.waits == []


def test_no_answer_in_time_is_left_to_the_caller_at_once() -> None:
    server = Scripted(httpx.ReadTimeout("10 s"))

    with pytest.raises(OutsideUnavailableError, match="gave no answer: ReadTimeout"):
        server.send()

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"message": "sku X is unknown"}, "sku X is unknown"),
        ({"error": {"code": "X", "message": "bad address"}}, "bad address (X)"),
        ({"error": "no such thing"}, "no such thing"),
        ({"errors": ["a", "b"]}, "a; b"),
        ({"title": "Invalid", "detail": "lines: empty"}, "lines: empty"),
    ],
)
def test_a_refusal_keeps_the_vendors_own_words(answer: dict[str, object], words: str) -> None:
    server = Scripted(httpx.Response(422, json=answer))

    with pytest.raises(RefusedError) as caught:
        server.send()

    assert str(caught.value) == f"POST http://vendor.test/things answered 422: {words}"


def test_a_refusal_with_a_page_of_text_keeps_its_start() -> None:
    server = Scripted(httpx.Response(403, text="x" * 10_000))

    with pytest.raises(RefusedError) as caught:
        server.send()

    assert str(caught.value).endswith("answered 403: " + "x" * 500)


def test_a_status_the_caller_wants_to_read_is_returned() -> None:
    server = Scripted(httpx.Response(404, json={"message": "unknown"}))

    assert server.send(also_accept=(404,)) == Reply(404, {"message": "unknown"})


def test_a_success_without_json_counts_as_a_failing_system() -> None:
    server = Scripted(httpx.Response(200, text="<html>maintenance</html>"))

    with pytest.raises(OutsideUnavailableError, match="without a JSON object: <html>"):
        server.send()
