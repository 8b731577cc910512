"""A subscriber: an HTTP server of its own that answers as told and keeps what it got."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def order_id(self) -> str:
        return str(self.document["data"]["order_id"])

    @property
    def what(self) -> tuple[str, str]:
        """Which event of which order."""
        return self.order_id, str(self.document["type"])

    def is_signed_with(self, secret: str) -> bool:
        """By the words of the specification, with nothing but the standard library."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.event_id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        made = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{made}" in self.headers["webhook-signature"].split(" ")


@dataclass
class Answer:
    """What the receiver says; with `drops` it takes the event and breaks the connection."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    drops: bool = False
    waits_for: threading.Event | None = None


class Receiver:
    """Listens on this machine from its beginning until `close`."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[Got], Answer] = lambda _: Answer()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                got = Got(self.path, headers, self.rfile.read(length))
                receiver.got.append(got)
                self._say(receiver.answer(got))

            def _say(self, answer: Answer) -> None:
                if answer.waits_for is not None:
                    answer.waits_for.wait(30)
                if answer.drops:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Which events of which orders came, in their order."""
        return [x.what for x in self.got]

    def answers(self, status: int, **facts: Any) -> None:
        """From now on it says that to everything."""
        self.answer = lambda _: Answer(status, **facts)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
