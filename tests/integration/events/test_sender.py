"""Events reach a real HTTP receiver: signed, in order, again and again, and never a private one."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from config.settings import Settings
from integrations import event_posting
from integrations.event_posting import Answer as PostAnswer
from integrations.event_posting import RefusedTargetError, post_event, refuse_target
from starter.event_sender import RETRIES, EventSender
from store import event_deliveries, subscriptions
from store.engine import reading, transaction
from store.event_deliveries import Delivery, DeliveryState
from store.order_intake import accept_order, content_hash
from store.subscriptions import Secret, Subscription, SubscriptionState
from tests.integration.api.conftest import NOW, Clock
from tests.integration.events.receiver import LOOPBACK, Answer, Got, Receiver
from tests.integration.store.builders import an_order

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
LONG = timedelta(days=2)


@pytest.fixture
def sender(engine: Engine, clock: Clock) -> EventSender:
    return EventSender(engine, {}, LOOPBACK, clock, client=httpx.Client(timeout=5))


def subscribe(engine: Engine, url: str, secret: Secret | None = None) -> str:
    with transaction(engine) as session:
        return subscriptions.add(
            session, url, ["*"], secret or Secret(value=SECRET), created_by="ada", now=NOW
        )


def accept(engine: Engine, order_id: str, version: int = 1, now: datetime = NOW) -> None:
    """Take in an order's document: one event of it."""
    order = an_order(order_id, version=version, lines=(("1", "X", version),))
    with transaction(engine) as session:
        accept_order(session, order, content_hash=content_hash(order), entered_by="x", now=now)


def subscription(engine: Engine, subscription_id: str) -> Subscription:
    with reading(engine) as session:
        return subscriptions.subscription(session, subscription_id)


def deliveries(engine: Engine, state: DeliveryState | None = None) -> list[Delivery]:
    with reading(engine) as session:
        return event_deliveries.deliveries(session, state=state)


def test_an_event_arrives_signed_as_the_specification_says(
    engine: Engine, receiver: Receiver, sender: EventSender
) -> None:
    subscribe(engine, receiver.url)
    accept(engine, "W-1")

    assert sender.tell_due() == 1

    [got] = receiver.got
    assert got.is_signed_with(SECRET)
    assert not got.is_signed_with(OTHER)
    assert got.path == "/hooks"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert got.document["type"] == "order.accepted"
    assert got.document["timestamp"] == "2026-03-02T15:00:00Z"
    [done] = deliveries(engine)
    assert (done.state, done.event_id, done.attempts) == (DeliveryState.DONE, got.event_id, 1)
    assert sender.tell_due() == 0


def test_while_a_secret_changes_both_sign(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribed = subscribe(engine, receiver.url)
    until = NOW + timedelta(hours=1)
    with transaction(engine) as session:
        new = Secret(value=OTHER)
        subscriptions.change_secret(session, subscribed, new, keep_until=until, now=NOW)
    accept(engine, "W-1")
    sender.tell_due()
    clock.pass_time(timedelta(hours=1))
    accept(engine, "W-2")
    sender.tell_due()

    both, new_alone = receiver.got

    assert both.is_signed_with(OTHER)
    assert both.is_signed_with(SECRET)
    assert new_alone.is_signed_with(OTHER)
    assert not new_alone.is_signed_with(SECRET)


def test_a_secret_may_stay_in_the_environment(
    engine: Engine, receiver: Receiver, clock: Clock
) -> None:
    subscribe(engine, receiver.url, Secret(variable="EVENTS_SECRET_A"))
    accept(engine, "W-1")

    assert EventSender(engine, {}, LOOPBACK, clock).tell_due() == 0

    assert receiver.got == []
    assert deliveries(engine)[0].error == "set the variable EVENTS_SECRET_A, which signs its events"
    clock.pass_time(timedelta(minutes=1))
    assert EventSender(engine, {"EVENTS_SECRET_A": OTHER}, LOOPBACK, clock).tell_due() == 1
    assert receiver.got[0].is_signed_with(OTHER)


def test_events_arrive_in_their_order(
    engine: Engine, receiver: Receiver, sender: EventSender
) -> None:
    subscribe(engine, receiver.url)
    expected = []
    for number in range(60):
        accept(engine, f"W-{number}")
        accept(engine, f"W-{number}", 2)
        expected += [(f"W-{number}", "order.accepted"), (f"W-{number}", "order.amended")]

    assert sender.tell_due() == 120

    assert receiver.heard == expected


def refusing(order_id: str, status: int) -> Callable[[Got], Answer]:
    return lambda got: Answer(status if got.order_id == order_id else 200)


def test_an_event_that_is_refused_holds_up_only_later_ones_of_its_order(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribe(engine, receiver.url)
    for order_id, version in (("W-1", 1), ("W-2", 1), ("W-1", 2), ("W-2", 2)):
        accept(engine, order_id, version)
    receiver.answer = refusing("W-1", 400)

    assert sender.tell_due() == 2

    first = ("W-1", "order.accepted")
    assert receiver.heard == [first, ("W-2", "order.accepted"), ("W-2", "order.amended")]
    receiver.answers(204, body=b"")
    assert sender.tell_due() == 0
    clock.pass_time(RETRIES[0] * 1.1)
    assert sender.tell_due() == 2
    assert receiver.heard[3:] == [first, ("W-1", "order.amended")]
    assert receiver.got[3].event_id == receiver.got[0].event_id


def test_an_event_is_tried_for_three_days_then_given_up_and_told_again_on_request(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    receiver.answers(500, body=b'{"message": "no room"}')
    pauses = []
    while not deliveries(engine, DeliveryState.DEAD):
        sender.tell_due()
        [one] = deliveries(engine)
        pauses.append(one.next_at - clock.now)
        clock.now = max(one.next_at, clock.now + timedelta(minutes=1))

    [dead] = deliveries(engine)

    assert len(receiver.got) == dead.attempts == len(RETRIES) + 1
    assert {x.event_id for x in receiver.got} == {dead.event_id}
    assert dead.error == "answered 500: no room"
    for pause, least in zip(pauses, RETRIES, strict=False):
        assert least <= pause <= least * 1.1
    assert timedelta(days=3) <= sum(RETRIES, timedelta()) <= timedelta(days=3.5)
    receiver.answers(200)
    clock.pass_time(LONG)
    assert sender.tell_due() == 0
    with transaction(engine) as session:
        event_deliveries.again(session, dead.id, clock.now)
    assert sender.tell_due() == 1
    assert receiver.got[-1].event_id == dead.event_id


def test_a_receiver_that_is_away_is_left_alone_and_tried_again_soon(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribed = subscribe(engine, receiver.url)
    for number in range(5):
        accept(engine, f"W-{number}")
    receiver.answers(503)

    sender.tell_due()
    sender.tell_due()

    assert len(receiver.got) == 1
    assert subscription(engine, subscribed).failures == 1
    clock.pass_time(timedelta(seconds=2))
    sender.tell_due()
    assert receiver.heard[1] == ("W-1", "order.accepted")
    receiver.answers(200)
    clock.pass_time(timedelta(seconds=4))
    assert sender.tell_due() == 4
    assert receiver.heard[2] == ("W-0", "order.accepted")
    assert subscription(engine, subscribed).failures == 0
    clock.pass_time(RETRIES[0])
    assert sender.tell_due() == 1


def test_a_receiver_that_asks_for_rest_gets_it(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    accept(engine, "W-2")
    receiver.answers(429, headers={"Retry-After": "120"})
    sender.tell_due()
    receiver.answers(200)

    clock.pass_time(timedelta(seconds=119))
    assert sender.tell_due() == 0
    clock.pass_time(timedelta(seconds=1))
    assert sender.tell_due() == 2
    assert receiver.heard == [("W-1", "order.accepted")] + [
        (f"W-{number}", "order.accepted") for number in (1, 2)
    ]


def test_a_receiver_that_is_gone_is_told_nothing_more(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribed = subscribe(engine, receiver.url)
    accept(engine, "W-1")
    accept(engine, "W-2")
    receiver.answers(410)

    sender.tell_due()

    found = subscription(engine, subscribed)
    assert (found.state, found.why) == (
        SubscriptionState.DISABLED,
        "the receiver answered 410 Gone",
    )
    assert [x.order_id for x in deliveries(engine, DeliveryState.DEAD)] == ["W-1", "W-2"]
    clock.pass_time(LONG)
    accept(engine, "W-3")
    assert sender.tell_due() == 0
    assert len(receiver.got) == 1


def test_an_answer_that_is_lost_is_told_again_under_the_same_id(
    engine: Engine, receiver: Receiver, sender: EventSender, clock: Clock
) -> None:
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    receiver.answers(200, drops=True)
    assert sender.tell_due() == 0
    receiver.answers(200)
    clock.pass_time(RETRIES[0] * 1.1)

    assert sender.tell_due() == 1

    first, again = receiver.got
    assert first.event_id == again.event_id
    assert first.body == again.body


def test_a_receiver_that_does_not_answer_in_time_is_asked_again(
    engine: Engine, receiver: Receiver, clock: Clock
) -> None:
    release = threading.Event()
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    receiver.answers(200, waits_for=release)
    impatient = EventSender(engine, {}, LOOPBACK, clock, client=httpx.Client(timeout=0.2))

    assert impatient.tell_due() == 0

    release.set()
    assert deliveries(engine)[0].error == "no answer: ReadTimeout"
    assert deliveries(engine)[0].state is DeliveryState.WAITING


def test_a_redirect_is_not_followed(
    engine: Engine, receiver: Receiver, sender: EventSender
) -> None:
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    receiver.answers(302, headers={"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"})

    assert sender.tell_due() == 0

    assert [x.path for x in receiver.got] == ["/hooks"]
    assert deliveries(engine)[0].error.startswith("answered 302")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nothing_is_sent_to_a_private_address_that_was_not_allowed(
    engine: Engine, receiver: Receiver, clock: Clock, host: str
) -> None:
    subscribe(engine, f"http://{host}:{receiver.port}/hooks")
    accept(engine, "W-1")

    assert EventSender(engine, {}, (), clock).tell_due() == 0

    assert receiver.got == []
    [waiting] = deliveries(engine)
    assert waiting.error == (
        "127.0.0.1 is a private address; DOMS_EVENTS_PRIVATE_NETWORKS names those that may be told"
    )


def test_a_proxy_does_not_hide_where_an_event_goes(
    engine: Engine, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a proxy that may be told, as the environment names it, and an address that may not
    proxy = Receiver()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    subscribe(engine, f"http://127.0.0.2:{receiver.port}/hooks")
    accept(engine, "W-1")
    sender = EventSender(engine, {}, (ip_network("127.0.0.1/32"),), clock)

    # when
    taken = sender.tell_due()
    proxy.close()

    # then
    assert (taken, proxy.got, receiver.got) == (0, [], [])
    assert deliveries(engine)[0].state is DeliveryState.WAITING


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1/x", "is a private address"),
        ("https://localhost/x", "is a private address"),
        ("https://10.1.2.3/x", "is a private address"),
        ("https://169.254.169.254/latest", "is a private address"),
        ("https://[::1]/x", "is a private address"),
        ("https://[::ffff:10.0.0.1]/x", "is a private address"),
        ("https://[64:ff9b::a00:1]/x", "10.0.0.1 is a private address"),
        ("https://[2002:a00:1::]/x", "10.0.0.1 is a private address"),
        ("https://[fe80::1]/x", "is a private address"),
        ("https://[64:ff9b:1::a00:1]/x", "64:ff9b:1::a00:1 is a private address"),
        ("https://[::a00:1]/x", "::a00:1 is a private address"),
        ("https://[::5db8:d822]/x", "::5db8:d822 is a private address"),
        ("https://[::ffff:0:a00:1]/x", "::ffff:0:a00:1 is a private address"),
        ("https://224.0.0.251/x", "is a private address"),
        ("https://2130706433/x", "is a private address"),
        ("http://93.184.216.34/x", "is not in your own network, so use https"),
        ("http://nowhere.invalid/x", "cannot be found, so use https"),
        (f"http://{'a' * 70}.example/x", "cannot be found, so use https"),
        ("ftp://example.com/x", "send a full address"),
        ("https:///x", "send a full address"),
        ("not an address", "send a full address"),
        ("https://example.com:99999/", "send a full address"),
        ("https://ada:secret@93.184.216.34/", "leave out the name"),
    ],
)
def test_an_address_that_must_not_be_told_is_refused_in_a_line(url: str, why: str) -> None:
    with pytest.raises(RefusedTargetError, match=why):
        refuse_target(url, ())


def test_public_and_allowed_addresses_may_be_told() -> None:
    refuse_target("https://93.184.216.34/hooks", ())
    refuse_target("http://127.0.0.1:9/hooks", LOOPBACK)
    refuse_target("http://[::1]:9/hooks", [ip_network("::1/128")])
    refuse_target("https://nowhere.invalid/hooks", ())


def test_words_of_a_receiver_are_shortened_to_one_printable_line(receiver: Receiver) -> None:
    receiver.answers(500, body=b"a\x00b\n" + b"c" * 100_000)
    with httpx.Client() as client:
        answer = post_event(client, receiver.url, "evt-1", "{}", [SECRET], NOW, LOOPBACK)
    assert answer.words.startswith("answered 500: a b c")
    assert len(answer.words) <= 300
    assert answer.words.isprintable()


def drips(connection: socket.socket, before: bytes) -> None:
    """Read a request, say that, and then a byte every twentieth of a second for five seconds."""
    connection.recv(65_536)
    connection.sendall(before)
    with suppress(OSError):
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes], str]]:
    """Begins a receiver that says so much and then drips; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve(before: bytes) -> None:
            with suppress(OSError), server.accept()[0] as connection:
                drips(connection, before)

        def begin(before: bytes) -> str:
            threading.Thread(target=serve, args=[before], daemon=True).start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/hooks"

        yield begin


def post(url: str) -> PostAnswer:
    with httpx.Client(timeout=5) as client:
        return post_event(client, url, "evt-1", "{}", [SECRET], NOW, LOOPBACK)


def test_headers_that_drip_are_waited_for_as_long_as_an_answer_and_no_longer(
    dripping: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(event_posting, "ANSWER_SECONDS", 0.3)
    url = dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")

    # when
    answer = post(url)

    # then
    assert (answer.status, answer.words) == (None, "no answer within 0.3 seconds")


def test_a_refusal_whose_body_drips_counts_with_the_words_that_came(
    dripping: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(event_posting, "WORDS_SECONDS", 0.3)
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 1000\r\n\r\n"
    url = dripping(head + b"later ")

    # when
    answer = post(url)

    # then
    assert (answer.status, answer.retry_after) == (429, 7)
    assert answer.words.startswith("answered 429: later")


def test_a_success_whose_body_drips_is_taken_at_once(
    dripping: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: read, the body would outlast the time of an answer
    monkeypatch.setattr(event_posting, "ANSWER_SECONDS", 2.0)
    url = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    # when
    answer = post(url)

    # then
    assert answer == PostAnswer(200)


def test_a_success_whose_body_breaks_off_is_not_told_again(
    engine: Engine, receiver: Receiver, sender: EventSender
) -> None:
    # given
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    receiver.answers(200, headers={"Transfer-Encoding": "chunked"}, body=b"no chunk")

    # when
    taken = [sender.tell_due(), sender.tell_due()]

    # then
    assert taken == [1, 0]
    assert receiver.heard == [("W-1", "order.accepted")]


async def told(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_slow_receiver_does_not_hold_up_another(
    engine: Engine, receiver: Receiver, sender: EventSender
) -> None:
    slow, release = Receiver(), threading.Event()
    slow.answers(200, waits_for=release)
    subscribe(engine, slow.url)
    subscribe(engine, receiver.url)
    accept(engine, "W-1")
    running = asyncio.create_task(sender.run())

    await told(lambda: receiver.got and slow.got)
    accept(engine, "W-2")
    await told(lambda: len(receiver.got) == 2)

    assert len(slow.got) == 1
    release.set()
    await told(lambda: len(slow.got) == 2)
    await told(lambda: len(deliveries(engine, DeliveryState.DONE)) == 4)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    slow.close()


async def test_a_sender_that_is_stopped_settles_what_it_sends_and_leaves_the_rest(
    engine: Engine, receiver: Receiver, sender: EventSender
) -> None:
    release = threading.Event()
    receiver.answers(200, waits_for=release)
    subscribe(engine, receiver.url)
    for number in range(3):
        accept(engine, f"W-{number}")
    running = asyncio.create_task(sender.run())
    await told(lambda: receiver.got)

    running.cancel()
    await asyncio.sleep(0)
    release.set()
    with suppress(asyncio.CancelledError):
        await running

    assert [x.state for x in deliveries(engine)] == ["done", "waiting", "waiting"]
    assert sender.tell_due() == 0
    again = EventSender(engine, {}, LOOPBACK, lambda: NOW)
    assert again.tell_due() == 2
    assert receiver.heard == [(f"W-{number}", "order.accepted") for number in range(3)]


_PROCESS = """
import sys
from datetime import UTC, datetime
from ipaddress import ip_network
from starter.event_sender import EventSender
from store.engine import open_engine

sender = EventSender(open_engine(sys.argv[1]), {}, (ip_network("127.0.0.0/8"),),
                     lambda: datetime.now(UTC))
sender.tell_due()
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[Any]]]:
    started: list[subprocess.Popen[Any]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_process_that_is_killed_in_the_middle_loses_no_event(
    engine: Engine,
    database_url: str,
    receiver: Receiver,
    sender: EventSender,
    clock: Clock,
    processes: list[subprocess.Popen[Any]],
) -> None:
    release = threading.Event()
    subscribe(engine, receiver.url)
    for number in range(3):
        accept(engine, f"W-{number}")
    receiver.answer = lambda got: Answer(waits_for=release if got.order_id == "W-1" else None)
    killed = subprocess.Popen([sys.executable, "-c", _PROCESS, database_url])
    processes.append(killed)
    deadline = time.monotonic() + 60
    while len(receiver.got) < 2:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)

    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    release.set()
    receiver.answers(200)
    clock.now = datetime.now(tz=NOW.tzinfo)
    assert sender.tell_due() == 0
    clock.pass_time(subscriptions.LEASE)

    assert sender.tell_due() == 3

    first, second = receiver.got[:2]
    assert receiver.heard[2:] == [(f"W-{number}", "order.accepted") for number in range(3)]
    assert [x.event_id for x in receiver.got[2:4]] == [first.event_id, second.event_id]


def test_own_networks_are_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMS_EVENTS_PRIVATE_NETWORKS", " 127.0.0.0/8, fd00::/8,")
    assert Settings(_env_file=None).events_private_networks == (*LOOPBACK, ip_network("fd00::/8"))

    monkeypatch.setenv("DOMS_EVENTS_PRIVATE_NETWORKS", "10.0.0.1/8")
    with pytest.raises(ValidationError, match=r"'10.0.0.1/8' is no network, such as 10.1.0.0/16"):
        Settings(_env_file=None)
