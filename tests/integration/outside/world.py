"""What these tests run: real simulator processes, and a small server that takes their callbacks."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import httpx

from domain.fulfillments import FulfillmentLine, FulfillmentOrder
from domain.network import Connection, ConnectionClass
from domain.orders import Address
from integrations.node_system import Handover

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
API_KEY = "key-of-the-third-party"
SECRETS = {"OUTSIDE_SECRET": SECRET, "OUTSIDE_API_KEY": API_KEY}
DEADLINE = 15.0
HTTP = httpx.Client(trust_env=False)
"""For what a test itself asks of a simulator."""
QUICK = 0.01
"""time_scale: a second of work takes 10 ms."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE} s in vain for {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Delivery:
    """One callback as it came in."""

    at: float
    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any]


@dataclass
class Receiver:
    """Takes callbacks. `failures` counts down, by reference, the answers of 500 still to give."""

    deliveries: list[Delivery] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    changed: Condition = field(default_factory=Condition)
    url: str = ""

    def take(self, delivery: Delivery) -> int:
        reference = delivery.body["reference"]
        with self.changed:
            if self.failures.get(reference, 0):
                self.failures[reference] -= 1
                self.changed.notify_all()
                return 500
            self.deliveries.append(delivery)
            self.changed.notify_all()
            return 204

    def of(self, reference: str) -> list[Delivery]:
        return [x for x in self.deliveries if x.body["reference"] == reference]

    def told(self, reference: str) -> list[str]:
        """What a reference was told of, in the order it came in."""
        return [x.body.get("status") or x.body["type"] for x in self.of(reference)]

    def wait_for(self, reference: str, what: str, *, times: int = 1) -> list[Delivery]:
        """Wait until an event type or tracker status came in, and return all of that reference."""
        with self.changed:
            came = self.changed.wait_for(
                lambda: self.told(reference).count(what) >= times, timeout=DEADLINE
            )
        assert came, f"waited in vain for {what} of {reference}; came: {self.told(reference)}"
        return self.of(reference)


def receiving() -> tuple[Receiver, ThreadingHTTPServer]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            headers = dict(self.headers.items())
            status = receiver.take(
                Delivery(time.monotonic(), self.path, headers, raw, json.loads(raw))
            )
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name)
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    return receiver, server


class Simulator:
    """One simulator process and what tests ask of it."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        callback: str,
        *,
        carrier: str = "",
        options: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.connection_id = f"{kind}-test"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "integrations.simulators", kind]
        self._command += ["--port", str(self.port), "--database", str(folder / f"{kind}.db")]
        self._command += ["--callback", callback, "--connection", self.connection_id]
        self._command += ["--secret-env", "OUTSIDE_SECRET", "--carrier", carrier]
        self._command += ["--knobs", json.dumps({"time_scale": QUICK}), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env={**os.environ, **SECRETS}, stdout=subprocess.DEVNULL
        )

    def wait(self) -> None:
        wait_until(self._answers, f"the {self.kind} simulator to answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(DEADLINE)

    def connection(self, **settings: str) -> Connection:
        return Connection(
            connection_id=self.connection_id,
            kind=ConnectionClass(self.kind),
            vendor="reference",
            base_url=self.url,
            secret_env="OUTSIDE_SECRET",
            settings=settings,
        )

    def get(self, path: str) -> dict[str, Any]:
        body: dict[str, Any] = HTTP.get(self.url + path).json()
        return body

    def turn(self, **knobs: object) -> None:
        HTTP.put(f"{self.url}/knobs", json=knobs).raise_for_status()

    def turn_for(self, reference: str, **knobs: object) -> None:
        """Turn knobs for one fulfillment or order; others are left alone."""
        overrides = self.get("/knobs")["by_reference"]
        self.turn(by_reference={**overrides, reference: knobs})

    def reset(self) -> None:
        HTTP.delete(f"{self.url}/knobs").raise_for_status()
        self.turn(time_scale=QUICK)

    def done(self, reference: str) -> list[str]:
        """The kinds of ledger entries of a reference, in their order."""
        return [x["kind"] for x in self.get(f"/ledger?reference={reference}")["entries"]]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the {self.kind} simulator has ended"
        try:
            return HTTP.get(f"{self.url}/healthz").is_success
        except httpx.TransportError:
            return False


def handover(
    reference: str,
    *quantities: int,
    node_id: str = "DC-1",
    method: str = "ship",
    skus: tuple[str, ...] = ("SHIRT", "SHOES", "SOCKS"),
) -> Handover:
    """A fulfillment with one line per quantity, `1`, `2` ..., of 200 g a unit."""
    return Handover(
        order=FulfillmentOrder(
            fulfillment_id=reference,
            order_id=reference.rpartition("-")[0],
            node_id=node_id,
            ship_group="1",
            method=method,
            service_id="standard",
            lines=tuple(
                FulfillmentLine(line_id=str(n), sku=sku, quantity=quantity)
                for n, (quantity, sku) in enumerate(zip(quantities, skus, strict=False), 1)
            ),
        ),
        ship_to=address(),
        customer_name="Ada Example",
        weights=dict.fromkeys(skus, 200),
    )


def address(postal_code: str = "94105") -> Address:
    return Address(
        name="Ada Example",
        line1="1 Main St",
        city="San Francisco",
        region="CA",
        postal_code=postal_code,
        country="US",
    )
