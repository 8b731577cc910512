"""`doms demo`: everything in a fresh folder, a day of sample orders, shown live."""

import asyncio
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from config.samples import load_products, load_sample
from config.settings import Settings
from domain.catalogue import to_base_units
from starter.bulk.journal import Journal
from starter.bulk.loaded import LoadedOrder
from starter.bulk.submit import Submission, SubmissionStoppedError, Target, submit
from starter.cli_common import print_json
from starter.commands.client import Api, ApiError
from starter.commands.demo_ledger import duplicate_shipments, read_ledger
from starter.commands.demo_orders import DemoOrder, demo_orders
from starter.commands.demo_script import (
    Stage,
    act,
    end_outage,
    ended_as_expected,
    is_settled,
    look_for_parked,
    set_the_scene,
)
from starter.commands.demo_view import View, print_summary
from starter.commands.stack import Stack
from starter.supervisor import Supervisor, SupervisorError

LONGEST_SECONDS = 240.0
"""From the start; then the summary is made, whatever is left. Two quiet cores need about 60."""
_MARK = "wiped-by-doms-demo"
_LOOK_EVERY_SECONDS = 0.7
_SUBMISSIONS_AT_ONCE = 4


def run_demo(
    settings: Settings, *, home: Path | None = None, ends: bool = False, as_json: bool = False
) -> int:
    """Run the demo; exit status 1 when an order did not come out as its situation says."""
    started = time.monotonic()
    home = (home or settings.home / "demo").absolute()
    _refuse_foreign(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / _MARK).touch()
    # Its own database file, even where DOMS_DATABASE_URL names a real one.
    demo_settings = settings.model_copy(update={"home": home, "database_url": ""})
    orders = demo_orders(datetime.now(UTC))
    view = View(len(orders), started)
    with Supervisor(home, view.say) as supervisor:
        supervisor.on_signals()
        _wipe(home)
        try:
            status = _play(demo_settings, supervisor, orders, view, started, ends, as_json)
        except KeyboardInterrupt:
            status = 1
        view.say("stopping")
    view.say(f"stopped; {home} is wiped at the next `doms demo`")
    return status


def _play(
    settings: Settings,
    supervisor: Supervisor,
    orders: list[DemoOrder],
    view: View,
    started: float,
    ends: bool,
    as_json: bool,
) -> int:
    view.say(f"a fresh start in {settings.home}")
    stack = Stack(settings, supervisor, view.say, load_sample(fast=True))
    stack.start()
    with Api(stack.addresses.api) as api, httpx.Client(timeout=10.0) as http:
        simulators = Simulators(http, stack.addresses.simulators)
        stage = Stage(api, simulators.turn, view.say, {one.order_id: one for one in orders})
        set_the_scene(simulators.turn)
        submitter = Submitter(orders, stack.addresses.api, settings.home)
        with view:
            submitter.start()
            _watch(stage, supervisor, submitter, view, started + LONGEST_SECONDS)
        end_outage(stage)
        summary = _summary(stage, simulators, submitter, time.monotonic() - started)
    print_summary(summary, stack.addresses, settings.home, stays=not ends)
    if as_json:
        print_json(summary)
    if not ends:
        supervisor.watch()
    troubles = ("unfinished", "unexpected", "oversold_units", "duplicate_shipments")
    return 1 if any(summary[name] for name in troubles) else 0


def _watch(
    stage: Stage, supervisor: Supervisor, submitter: "Submitter", view: View, deadline: float
) -> None:
    """Show and act until every order is settled, the time is over, or someone asks to stop."""

    def is_over() -> bool:
        _look(stage)
        act(stage)
        view.update(stage.rows.values())
        time.sleep(_LOOK_EVERY_SECONDS)
        settled = all(is_settled(one, stage.rows.get(key)) for key, one in stage.orders.items())
        return (settled and not submitter.is_alive()) or time.monotonic() > deadline

    supervisor.watch(until=is_over)
    if supervisor.should_stop:
        raise KeyboardInterrupt


def _look(stage: Stage) -> None:
    try:
        page = stage.api.get("/v1/orders", limit=500)
        stage.rows = {row["order_id"]: row for row in page["orders"]}
        look_for_parked(stage)
    except ApiError as error:
        # The API may be starting again; what it keeps is there when it is back.
        stage.say(f"({error})")


@dataclass
class Simulators:
    """The stand-ins: their knobs and their ledgers."""

    http: httpx.Client
    addresses: dict[str, str]

    def turn(self, name: str, knobs: dict[str, Any]) -> None:
        """Set some knobs of one simulator. Raises SupervisorError when it refuses."""
        try:
            self.http.put(f"{self.addresses[name]}/knobs", json=knobs).raise_for_status()
        except httpx.HTTPError as error:
            raise SupervisorError(f"the simulator {name} cannot be set: {error}") from error

    def ledgers(self) -> list[dict[str, Any]]:
        """What all of them did. Raises SupervisorError when one does not answer."""
        return [
            entry for url in self.addresses.values() for entry in read_ledger(self._reader(url))
        ]

    def _reader(self, url: str) -> Callable[[str], Any]:
        def get(path: str) -> Any:
            try:
                return self.http.get(f"{url}{path}").raise_for_status().json()
            except httpx.HTTPError as error:
                raise SupervisorError(f"the simulator at {url} does not answer: {error}") from error

        return get


@dataclass
class Submitter:
    """Sends the orders to the API in the background, as a shop would."""

    orders: list[DemoOrder]
    url: str
    home: Path
    submission: Submission = field(default_factory=Submission)
    failure: str = ""
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the thread ends with the last order."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether orders are still being sent."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        loaded = [
            LoadedOrder(position, document=one.document)
            for position, one in enumerate(self.orders, start=1)
        ]
        source = self.home / "ports.json"
        with Journal(self.home / "submit", source, self.url) as journal:
            try:
                self.submission = asyncio.run(
                    submit(loaded, Target(self.url), journal, concurrency=_SUBMISSIONS_AT_ONCE)
                )
            except SubmissionStoppedError as error:
                self.failure = str(error)


def _summary(
    stage: Stage, simulators: Simulators, submitter: Submitter, seconds: float
) -> dict[str, Any]:
    figures = stage.api.get("/v1/reports/consistency")["figures"]
    unfinished = {
        key for key, one in stage.orders.items() if not is_settled(one, stage.rows.get(key))
    }
    unexpected = {
        key for key, one in stage.orders.items() if not ended_as_expected(one, stage.rows.get(key))
    }
    for refusal in submitter.submission.refused:
        stage.say("; ".join(refusal.lines()))
    if submitter.failure:
        stage.say(submitter.failure)
    return {
        "orders": len(stage.rows),
        "by_status": dict(Counter(str(row["displayed"]) for row in stage.rows.values())),
        "oversold_units": figures["oversold_units"],
        "duplicate_shipments": duplicate_shipments(simulators.ledgers(), _ordered(stage)),
        "seconds": round(seconds, 1),
        "unfinished": sorted(unfinished),
        "unexpected": sorted(unexpected - unfinished),
    }


def _ordered(stage: Stage) -> dict[tuple[str, str], int]:
    products = {product.sku: product for product in load_products()}
    return {
        (key, line["line_id"]): to_base_units(
            products[line["sku"]], line["quantity"], line.get("ordered_uom", "EA")
        )
        for key, one in stage.orders.items()
        for line in one.document["lines"]
    }


def _refuse_foreign(home: Path) -> None:
    """Never wipe a folder that no demo made, such as the home of `doms up`."""
    if home.exists() and any(home.iterdir()) and not (home / _MARK).exists():
        raise SupervisorError(
            f"{home} holds something else than a demo, which starts by wiping its folder: "
            "choose another with --home"
        )


def _wipe(home: Path) -> None:
    for path in home.iterdir():
        if path.name in {"lock", _MARK}:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (home / "logs").mkdir()
