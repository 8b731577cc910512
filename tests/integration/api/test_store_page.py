"""The store's page in a real browser, against an API of its own."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from config.settings import Settings
from domain.events import LineProgress
from domain.fulfillments import FulfillmentStatus, Package, PackageStatus
from domain.plans import FulfillmentView
from starter.api.app import create_app
from store import api_keys, fulfillments
from store.engine import transaction
from tests.integration.api.browser import opened
from tests.integration.api.conftest import NOW, Clock, messages_of, release_fulfillment

pytestmark = pytest.mark.slow


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The page knows nothing of databases: one kind is enough."""
    shutil.copyfile(sqlite_template, tmp_path / "doms.db")
    return f"sqlite:///{tmp_path / 'doms.db'}"


class Served:
    """An app on a port of this machine."""

    def __init__(self, app: FastAPI) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(app, port=self.port, log_level="error", lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/store/store-1"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture
def served(app: FastAPI) -> Iterator[Served]:
    running = Served(app)
    yield running
    running.stop()


def set_status(engine: Engine, revision: int, status: FulfillmentStatus, **facts: Any) -> None:
    """What the fulfillment's workflow would write."""
    view = FulfillmentView(
        fulfillment_id="W-1-1", order_id="W-1", revision=revision, status=status, **facts
    )
    with transaction(engine) as session:
        fulfillments.record_fulfillment(session, view, NOW)


def reported(engine: Engine) -> list[dict[str, Any]]:
    """What reached the inbox, in its order."""
    found = [message["payload"] for message in messages_of(engine)]
    return [json.loads(x) if isinstance(x, str) else x for x in found]


def test_a_pick_up_is_accepted_picked_short_packed_and_collected(
    served: Served, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1", method="pickup")
    set_status(filled, 1, FulfillmentStatus.RELEASED)
    done = (LineProgress(line_id="1", picked=1, returned_to_order=1),)

    with opened(served.page) as page:
        page.tap("Accept", times=3)
        page.wait("document.body.innerText.includes('sent, one moment')")
        set_status(filled, 2, FulfillmentStatus.ACKNOWLEDGED)
        page.tap("Pick")
        page.tap("\u2212")
        is_disabled = "[...document.querySelectorAll('.actions button')][0].disabled"
        page.wait(is_disabled)
        page.run(
            "(() => { const why = document.querySelector('select'); why.value = 'damaged';"
            " why.dispatchEvent(new Event('change')); })()"
        )
        page.tap("Picked 1, 1 missing", times=2)
        page.wait("document.body.innerText.includes('Picked \u2713')")
        set_status(filled, 3, FulfillmentStatus.PICKING, lines=done)
        page.tap("Packed, ready to collect")
        page.wait("document.body.innerText.includes('Packed \u2713')")
        set_status(filled, 4, FulfillmentStatus.READY_FOR_PICKUP, lines=done)
        page.tap("Collected by the customer")
        page.wait("document.body.innerText.includes('Collected \u2713')")
        set_status(filled, 5, FulfillmentStatus.COLLECTED, lines=done, closed=True)
        page.wait("document.body.innerText.includes('Nothing to do.')")

    assert [x["type"] for x in reported(filled)] == [
        "acknowledged",
        "picked",
        "ready_for_pickup",
        "collected",
    ]
    assert reported(filled)[1]["lines"] == [
        {"line_id": "1", "picked": 1, "short": 1, "reason": "damaged"}
    ]


def test_a_shipment_waits_for_its_label_before_it_is_handed_over(
    served: Served, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    box = Package(package_id="P-1")
    set_status(filled, 1, FulfillmentStatus.PACKED, packages=(box,))
    labelled = box.model_copy(
        update={
            "tracking_number": "T-1",
            "label_url": "https://labels.example/1",
            "status": PackageStatus.LABELLED,
        }
    )

    with opened(served.page) as page:
        page.wait("document.querySelector('.actions button')?.disabled === true")
        assert "Waiting for the label" in page.text()
        set_status(filled, 2, FulfillmentStatus.PACKED, packages=(labelled,))
        page.wait("document.querySelector('a.button')?.href === 'https://labels.example/1'")
        page.tap("Handed over to the carrier")
        page.wait("document.body.innerText.includes('Handed over \u2713')")

    assert [x["type"] for x in reported(filled)] == ["handed_over"]


def test_what_the_store_cannot_do_is_given_back_with_its_reason(
    served: Served, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    set_status(filled, 1, FulfillmentStatus.RELEASED)

    with opened(served.page) as page:
        page.tap("Reject")
        page.tap("No time")
        page.tap("Give it back")
        page.wait("document.body.innerText.includes('Given back \u2713')")

    assert [(x["type"], x["reason"]) for x in reported(filled)] == [("rejected", "no_capacity")]


def test_goods_in_hand_of_an_order_that_is_gone_have_to_go_back(
    served: Served, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    set_status(filled, 1, FulfillmentStatus.ACKNOWLEDGED)

    with opened(served.page) as page:
        page.wait("document.body.innerText.includes('Accepted')")
        set_status(filled, 2, FulfillmentStatus.CANCELLED, closed=True)
        page.wait("document.body.innerText.includes('W-1 is cancelled or goes elsewhere')")
        page.tap("Done")
        page.wait("!document.body.innerText.includes('W-1')")

    assert reported(filled) == []


def test_a_cancel_that_waits_for_the_store_is_answered_by_one_tap(
    served: Served, filled: Engine
) -> None:
    release_fulfillment(filled, node_id="store-1")
    waits = f"{fulfillments.CANCEL_WAITS[0]} until 2026-03-02 16:00 UTC"
    set_status(filled, 1, FulfillmentStatus.PICKING, awaits=waits)

    with opened(served.page) as page:
        page.wait("document.body.innerText.includes('The customer asks to cancel')")
        page.tap("Yes, stopped", times=2)
        page.wait("document.body.innerText.includes('Cancelled \u2713')")

    assert [x["type"] for x in reported(filled)] == ["cancelled"]


def test_a_refusal_is_shown_in_words_and_nothing_is_lost(served: Served, filled: Engine) -> None:
    release_fulfillment(filled, node_id="store-1")
    set_status(filled, 1, FulfillmentStatus.RELEASED)

    with opened(served.page) as page:
        page.tap("Reject")
        page.wait("document.body.innerText.includes('We are closed')")
        set_status(filled, 2, FulfillmentStatus.CANCELLED, closed=True)
        page.tap("We are closed")
        page.tap("Give it back")
        page.wait("document.body.innerText.includes('is cancelled already')")

    assert reported(filled) == []


def test_the_page_fits_a_phone_and_its_buttons_are_large(served: Served, filled: Engine) -> None:
    release_fulfillment(filled, node_id="store-1", method="pickup")
    set_status(filled, 1, FulfillmentStatus.ACKNOWLEDGED)

    with opened(served.page) as page:
        page.tap("Pick")
        heights = page.run(
            "[...document.querySelectorAll('button, select')]"
            ".filter(x => x.offsetParent).map(x => x.offsetHeight)"
        )
        width = page.run("document.documentElement.scrollWidth")

    assert width == 390
    assert len(heights) >= 5
    assert min(heights) >= 44


def test_a_key_is_asked_for_once_and_forgotten_with_the_tab(
    filled: Engine, settings: Settings, clock: Clock
) -> None:
    release_fulfillment(filled, node_id="store-1")
    set_status(filled, 1, FulfillmentStatus.RELEASED)
    with transaction(filled) as session:
        key = api_keys.create_key(session, "Portland", ["node:store-1"], NOW)
    running = Served(
        create_app(settings.model_copy(update={"require_api_key": True}), filled, clock=clock)
    )
    fill = "document.querySelector('#key').value = {!r}"

    with opened(running.page) as page:
        page.wait("document.querySelector('#key').offsetParent !== null")
        page.run(fill.format("wrong"))
        page.tap("Open the work list")
        page.wait("document.body.innerText.includes('That key is not known.')")
        page.run(fill.format(key))
        page.tap("Open the work list")
        page.tap("Accept")
        page.wait("document.body.innerText.includes('Accepted \u2713')")
        kept = page.run("[Object.values(sessionStorage), Object.keys(localStorage)]")

    running.stop()
    assert kept == [[key], []]
    assert [x["type"] for x in reported(filled)] == ["acknowledged"]
