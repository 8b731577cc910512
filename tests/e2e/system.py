"""All of doms on this machine, in processes of its own, for a test to use as a shop would."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History
from temporalio.client import Client

from config.policy_files import PolicyFile
from config.samples import Sample, load_sample
from config.settings import Settings
from domain.process_policy import ProcessPolicy
from integrations.simulators.knobs import Knobs
from starter.commands.demo_ledger import read_ledger
from starter.commands.stack import SIMULATORS, Addresses, Stack
from starter.supervisor import Supervisor
from store import inventory, reporting
from store.engine import open_engine, reading
from worker.plugin import doms_plugin

Document = dict[str, Any]
Page = dict[str, Any]
Entry = dict[str, Any]

QUICK = 0.05
"""The simulators' time scale: a warehouse picks in a tenth of a second."""
PATIENCE_SECONDS = 60.0
REMORSE = timedelta(seconds=0.5)
_LOOK_SECONDS = 0.1
_MOST_SHOWN = 3_000
_LEFT = frozenset({"order_handed_over", "order_collected"})


def quick_sample() -> Sample:
    """The sample as shipped, with a remorse window that is over at once."""
    sample = load_sample(fast=True)
    return sample.model_copy(update={"policies": tuple(_quick(x) for x in sample.policies)})


def _quick(file: PolicyFile) -> PolicyFile:
    policy = file.policy
    if not isinstance(policy, ProcessPolicy):
        return file
    timings = policy.timings.model_copy(
        update={"remorse": REMORSE, "acknowledgement": timedelta(minutes=5)}
    )
    return file.model_copy(update={"policy": policy.model_copy(update={"timings": timings})})


def quiet_ports() -> dict[str, int]:
    """A free port for each server, where no outgoing connection takes it while its server is away.

    Ports that the kernel hands out to callers start at 32768.
    """
    names = ("temporal", "temporal_ui", "api", "wms", "pos", "threepl", "carrier")
    found: dict[str, int] = {}
    while len(found) < len(names):
        port = random.randint(15_000, 30_000)  # noqa: S311 (no secret)
        if port not in found.values() and _is_free(port):
            found[names[len(found)]] = port
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def settings_in(home: Path) -> Settings:
    """Settings for a home of its own, whatever this machine's environment says."""
    ports = quiet_ports()
    return Settings(
        _env_file=None,
        home=home,
        database_url="",
        api_url="",
        api_key=None,
        temporal_address=f"127.0.0.1:{ports['temporal']}",
        temporal_ui_port=ports["temporal_ui"],
        api_port=ports["api"],
        wms_port=ports["wms"],
        pos_port=ports["pos"],
        threepl_port=ports["threepl"],
        carrier_port=ports["carrier"],
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """What a `doms` command needs to know to work in that home."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DOMS_", "TEMPORAL_"))}
    return {
        **inherited,
        "DOMS_HOME": str(settings.home),
        "DOMS_TEMPORAL_ADDRESS": settings.temporal_address,
        "DOMS_TEMPORAL_UI_PORT": str(settings.temporal_ui_port),
        "DOMS_API_PORT": str(settings.api_port),
        "DOMS_WMS_PORT": str(settings.wms_port),
        "DOMS_POS_PORT": str(settings.pos_port),
        "DOMS_THREEPL_PORT": str(settings.threepl_port),
        "DOMS_CARRIER_PORT": str(settings.carrier_port),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


def doms_command(*arguments: str) -> list[str]:
    """The `doms` that belongs to this Python."""
    return [str(Path(sys.executable).parent / "doms"), *arguments]


def wait_for(
    answer: Callable[[], Any],
    what: str,
    seconds: float = PATIENCE_SECONDS,
    shown: Callable[[], object] = lambda: "",
) -> Any:
    """The first true answer; fails with what was awaited. An API that is away is asked again."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = answer()
        except httpx.HTTPError as error:
            last = error
        else:
            if last:
                return last
        time.sleep(_LOOK_SECONDS)
    seen = f"{last!r} {shown()!r}"[:_MOST_SHOWN]
    raise AssertionError(f"not within {seconds:.0f} s: {what} (last: {seen})")


@dataclass
class Doms:
    """A running doms: what a client, a person and an auditor ask of it."""

    settings: Settings
    addresses: Addresses
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20.0))

    def close(self) -> None:
        """Close connections."""
        self.http.close()

    # As a shop and as people.

    def submit(self, document: Document) -> httpx.Response:
        """The answer to an order document."""
        return self.http.post(f"{self.addresses.api}/v1/orders", json=document)

    def accept(self, *documents: Document) -> None:
        """Submit orders that must be taken."""
        for document in documents:
            answer = self.submit(document)
            assert answer.status_code == 202, answer.text

    def ask(self, path: str, **body: Any) -> Page:
        """The answer to a command, which must be accepted."""
        answer = self.http.post(f"{self.addresses.api}/v1/{path}", json=body)
        assert answer.is_success, answer.text
        found: Page = answer.json()
        return found

    def refused(self, path: str, **body: Any) -> str:
        """Why a command is refused."""
        answer = self.http.post(f"{self.addresses.api}/v1/{path}", json=body)
        assert answer.status_code == httpx.codes.CONFLICT, answer.text
        return str(answer.json()["detail"])

    def get(self, path: str) -> Page:
        """A page of the API."""
        found: Page = self.http.get(f"{self.addresses.api}{path}").raise_for_status().json()
        return found

    def page(self, order_id: str) -> Page:
        """An order's page."""
        return self.get(f"/v1/orders/{order_id}")

    def until(self, order_id: str, is_true: Callable[[Page], Any], what: str) -> Page:
        """The order's page once that is true of it."""

        seen: Page = {}

        def look() -> bool:
            seen.update(self.page(order_id))
            return bool(is_true(seen))

        wait_for(look, f"{order_id} {what}", shown=lambda: seen)
        return seen

    def until_status(self, order_id: str, status: str) -> Page:
        """The order's page once one of its fulfillments stands there."""
        return self.until(
            order_id,
            lambda page: any(x["status"] == status for x in page["fulfillments"]),
            f"has a fulfillment that is {status}",
        )

    def closed(self, order_id: str) -> Page:
        """The page of an order that has come to its end."""
        return self.until(order_id, lambda page: page["closed"], "ends")

    def completed(self, order_id: str) -> Page:
        """The page of an order that was delivered in whole."""
        page = self.closed(order_id)
        assert page["stage"] == "completed", page
        for line in page["lines"]:
            units = line["quantities"]
            assert units["delivered"] == units["ordered"], line
        return page

    def statuses(self, order_id: str) -> dict[str, str]:
        """Node of each fulfillment, and where that stands."""
        return {x["node_id"]: x["status"] for x in self.page(order_id)["fulfillments"]}

    def run(self, *arguments: str, input_text: str | None = None) -> "Ran":
        """A `doms` command in this home."""
        done = subprocess.run(
            doms_command(*arguments),
            env=environment_of(self.settings),
            cwd=self.settings.home,
            input=input_text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    # As the outside companies.

    def turn(self, simulator: str, **knobs: Any) -> None:
        """Turn some knobs of one simulator."""
        url = self.addresses.simulators[simulator]
        self.http.put(f"{url}/knobs", json=knobs).raise_for_status()

    def turn_all(self, **knobs: Any) -> None:
        """Turn some knobs of all simulators."""
        for name in SIMULATORS:
            self.turn(name, **knobs)

    def behave(self) -> None:
        """Put all knobs of all simulators back."""
        self.turn_all(**Knobs(time_scale=QUICK).model_dump(mode="json"))

    def ledger(self, simulator: str, order_id: str | None = None) -> list[Entry]:
        """What a simulator did, all of it or for one order."""
        url = self.addresses.simulators[simulator]

        def read(path: str) -> Any:
            return self.http.get(f"{url}{path}").raise_for_status().json()

        return [
            entry
            for entry in read_ledger(read)
            if order_id is None or order_of(entry["reference"]) == order_id
        ]

    def done_by(self, simulator: str, order_id: str) -> Counter[str]:
        """How often a simulator did what for one order."""
        return Counter(entry["kind"] for entry in self.ledger(simulator, order_id))

    def everything_done(self) -> list[Entry]:
        """The ledgers of all simulators."""
        return [entry for name in SIMULATORS for entry in self.ledger(name)]

    # As an auditor.

    def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        engine = open_engine(self.settings.database)
        try:
            with reading(engine) as session:
                return [tuple(row) for row in session.execute(text(query), values)]
        finally:
            engine.dispose()

    def books_are_right(self) -> None:
        """The ledger explains every unit, nothing is oversold, and no closed order holds stock."""
        engine = open_engine(self.settings.database)
        try:
            with reading(engine) as session:
                assert inventory.unexplained(session) == []
                assert inventory.oversold(session) == []
                found = reporting.consistency(session)
        finally:
            engine.dispose()
        assert {name: n for name, n in found.items() if n} == {}

    def consumed(self) -> Counter[tuple[str, str, str]]:
        """Units that left by doms's books: fulfillment, node and SKU."""
        rows = self.sql(
            "SELECT l.fulfillment_id, l.node_id, l.sku, -sum(l.delta) FROM ledger l"
            " JOIN nodes n ON n.node_id = l.node_id"
            " WHERE l.kind = 'consume' AND l.bucket = 'usable'"
            " AND n.connection_id IS NOT NULL GROUP BY 1, 2, 3"
        )
        return Counter({(row[0], row[1], row[2]): row[3] for row in rows})

    def nothing_is_astray(self, *order_ids: str) -> None:
        """Once these orders are closed: books and stand-ins agree on every unit, none doubled.

        Nodes whose people work in doms itself have no other side to compare with.
        """
        self.books_are_right()
        done = [x for x in self.everything_done() if order_of(x["reference"]) in order_ids]
        assert doubled(done) == {}
        consumed = {x: n for x, n in self.consumed().items() if order_of(x[0]) in order_ids}
        assert consumed == units_that_left(done)

    def history(self, workflow_id: str) -> History:
        """A workflow's history as the server keeps it."""

        async def fetch() -> History:
            client = await Client.connect(self.addresses.temporal, plugins=[doms_plugin()])
            found = await client.get_workflow_handle(workflow_id).fetch_history()
            return History(events=found.events)

        return asyncio.run(fetch())

    def workflow_ids(self, query: str) -> list[str]:
        """One id for each workflow run that the server finds; a new run of a workflow counts."""

        async def find() -> list[str]:
            client = await Client.connect(self.addresses.temporal, plugins=[doms_plugin()])
            return [found.id async for found in client.list_workflows(query)]

        return asyncio.run(find())

    def histories_of(self, order_id: str) -> dict[str, History]:
        """Histories of an order and of its fulfillments, by workflow id."""
        children = [x["fulfillment_id"] for x in self.page(order_id)["fulfillments"]]
        ids = [f"order-{order_id}", *(f"fulfillment-{child}" for child in children)]
        return {workflow_id: self.history(workflow_id) for workflow_id in ids}


@dataclass(frozen=True)
class Ran:
    """A finished `doms` command."""

    status: int
    out: str
    err: str

    @property
    def last_json(self) -> Any:
        """The last line of its output, as JSON."""
        return json.loads(self.out.strip().splitlines()[-1])


def order_of(fulfillment_id: str) -> str:
    """The order a fulfillment belongs to."""
    return fulfillment_id.rpartition("-")[0]


def units_that_left(done: Sequence[Entry]) -> Counter[tuple[str, str, str]]:
    """Units that left by the stand-ins' ledgers: fulfillment, node and SKU."""
    left = {x["reference"] for x in done if x["kind"] in _LEFT}
    skus = {
        (entry["reference"], line["line_id"]): line["sku"]
        for entry in done
        if entry["kind"] == "order_created"
        for line in entry["lines"]
    }
    units: Counter[tuple[str, str, str]] = Counter()
    for entry in done:
        if entry["kind"] == "order_picked" and entry["reference"] in left:
            for line in entry["lines"]:
                if line["picked"]:
                    sku = skus[entry["reference"], line["line_id"]]
                    units[entry["reference"], entry["node_id"], sku] += line["picked"]
    return units


def doubled(done: Sequence[Entry]) -> dict[tuple[str, str], int]:
    """What was done more than once though once was asked: (what, for whom) -> how often."""
    once = ("order_created", "order_picked", "order_handed_over", "order_collected")
    counted: Counter[tuple[str, str]] = Counter()
    for entry in done:
        kind = entry["kind"]
        if kind in once:
            counted[kind, entry["reference"]] += 1
        elif kind == "label_bought":
            counted[kind, entry["package_reference"]] += 1
        elif kind == "parcel_picked_up":
            counted[kind, entry["tracking_number"]] += 1
    return {what: times for what, times in counted.items() if times > 1}


def events(history: History) -> Counter[str]:
    """How many events of each type, without the prefix of the enum."""
    return Counter(
        EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events
    )


@dataclass
class Machine:
    """The supervisor of a stack in this test process, tended in the background."""

    supervisor: Supervisor
    said: list[str]
    _pause: threading.Event = field(default_factory=threading.Event)
    _end: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._tend, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _tend(self) -> None:
        while not self._end.wait(0.1):
            if not self._pause.is_set():
                with self._lock:
                    self.supervisor.tend()

    def runs(self, name: str) -> bool:
        """Whether that process runs now."""
        try:
            stat = Path(f"/proc/{self.supervisor.pids()[name]}/stat").read_text()
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def kill(self, name: str) -> None:
        """kill -9 of a process and whatever it started, for the supervisor to notice."""
        with self._lock:
            os.killpg(self.supervisor.pids()[name], signal.SIGKILL)

    @contextmanager
    def away(self, name: str) -> Iterator[None]:
        """A killed process that stays away until the end of the block."""
        self._pause.set()
        self.kill(name)
        try:
            yield
        finally:
            self._pause.clear()


@contextmanager
def running(home: Path) -> Iterator[tuple[Doms, Machine]]:
    """A whole doms in that folder, with quick waits and simulators; gone at the end."""
    settings = settings_in(home)
    said: list[str] = []
    with Supervisor(home, said.append) as supervisor:
        stack = Stack(settings, supervisor, said.append, quick_sample())
        stack.start()
        doms = Doms(settings, stack.addresses)
        try:
            doms.behave()
            with Machine(supervisor, said) as machine:
                yield doms, machine
        finally:
            doms.close()


def address(city: str = "New York") -> Document:
    """Somewhere in that city; the words in it are found nowhere else."""
    return {"name": PERSON, "line1": STREET, "country": "US", **_PLACES[city]}


PERSON = "Zebulon Quackenbush"
STREET = "42 Xanadu Terrace"
EMAIL = "zebulon.quackenbush@mailbox.example"
PHONE = "+15550142"
PERSONAL = ("Zebulon", "Quackenbush", "Xanadu", "mailbox.example", "5550142")
_PLACES: dict[str, Document] = {
    "New York": {
        "city": "New York",
        "region": "NY",
        "postal_code": "10001",
        "latitude": 40.75,
        "longitude": -73.99,
    },
    "Dallas": {
        "city": "Dallas",
        "region": "TX",
        "postal_code": "75201",
        "latitude": 32.78,
        "longitude": -96.80,
    },
    "Phoenix": {
        "city": "Phoenix",
        "region": "AZ",
        "postal_code": "85004",
        "latitude": 33.45,
        "longitude": -112.07,
    },
}


def order(
    order_id: str,
    *items: tuple[str, int] | tuple[str, int, str],
    city: str = "New York",
    pickup_at: str | None = None,
    **changes: Any,
) -> Document:
    """An order of these (sku, quantity[, group]); group `1` is shipped, `2` picked up."""
    groups = sorted({item[2] if len(item) > 2 else "1" for item in items})
    known = {
        "1": {"id": "1", "address": address(city)},
        "2": {"id": "2", "method": "pickup", "node_id": pickup_at},
    }
    return {
        "order_id": order_id,
        "source": "shop",
        "external_id": order_id,
        "brand": "acme",
        "region": "US-NY",
        "currency": "USD",
        "placed_at": datetime.now(UTC).isoformat(),
        "customer": {"customer_id": "C-9", "name": PERSON, "email": EMAIL, "phone": PHONE},
        "ship_groups": [known[group] for group in groups],
        "lines": [
            {
                "line_id": str(position),
                "ship_group": item[2] if len(item) > 2 else "1",
                "sku": item[0],
                "quantity": item[1],
                "unit_price": "19.90",
            }
            for position, item in enumerate(items, 1)
        ],
        **changes,
    }


def business_order(order_id: str, *items: tuple[str, int], price: str, **changes: Any) -> Document:
    """An order of a company on account, at that unit price."""
    document = order(
        order_id,
        *items,
        order_type="b2b",
        channel="sales",
        customer={"account_id": "ACC-CONTOSO", "name": PERSON},
        payment={"status": "terms"},
        payment_terms="NET30",
        po_number=f"PO-{order_id}",
        **changes,
    )
    for line in document["lines"]:
        line["unit_price"] = price
    return document
