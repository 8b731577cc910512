"""Requests sent when they are due, whatever became of the ones before: no wait is left out.

A small HTTP/1.1 client over kept connections, because a full client costs more CPU than the answer
it measures.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KERNEL = re.compile(rb"\r\nserver-timing: *kernel;dur=([\d.]+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200"


@dataclass
class Answers:
    """Milliseconds from the time each request was due, and what of that the kernel took."""

    milliseconds: list[float] = field(default_factory=list)
    kernel: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Poster:
    """Posts JSON bodies to one address over as many connections as are needed at a time."""

    def __init__(self, url: str) -> None:
        """Connects when something is sent."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> tuple[bytes, bytes]:
        """The answer's head and body."""
        if not self._free:
            self._free.append(await asyncio.open_connection(self._host, self._port))
        reader, writer = self._free.pop()
        length = b"Content-Length: %d\r\nContent-Type: application/json\r\n\r\n" % len(body)
        writer.write(self._head + length + body)
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        answer = await reader.readexactly(int(found.group(1))) if found else b""
        self._free.append((reader, writer))
        return head, answer

    async def close(self) -> None:
        """Close the connections."""
        for _, writer in self._free:
            writer.close()


async def send_at_rate(url: str, bodies: Sequence[bytes], rate: float) -> Answers:
    """Post the bodies, one every `1 / rate` seconds, and wait for every answer."""
    poster, answers = Poster(url), Answers()
    begun = time.perf_counter() + 0.1

    async def send(due: float, body: bytes) -> None:
        head, answer = await poster.post(body)
        if not head.startswith(_OK):
            answers.failed.append(answer[:300].decode(errors="replace"))
            return
        answers.milliseconds.append(1000 * (time.perf_counter() - due))
        took = _KERNEL.search(head)
        answers.kernel.append(float(took.group(1)) if took else 0.0)

    tasks = []
    for number, body in enumerate(bodies):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(send(due, body)))
    await asyncio.gather(*tasks)
    await poster.close()
    return answers
