"""HTTP POST over kept connections, for callbacks.

Written out because a benchmark of doms shares its cores with the simulators: an `httpx.AsyncClient`
takes 1.5 ms of CPU for a callback (more with many at once), this takes under 0.1 ms.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_CONNECTIONS = 32
_TIMEOUT = 10.0
_NO_CONTENT = 204


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(frozen=True)
class _Target:
    """Where a URL leads; `host` is the header."""

    name: str
    port: int
    secure: bool
    host: str
    path: str


class Poster:
    """Posts to any number of servers, on at most 32 connections at once."""

    def __init__(self) -> None:
        """Connect only when there is something to send."""
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._places = asyncio.Semaphore(_CONNECTIONS)

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """Send a body and return the status. Raises OSError when there is no proper answer."""
        target = _target(url)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(
            [
                f"POST {target.path} HTTP/1.1",
                f"Host: {target.host}",
                f"Content-Length: {len(body)}",
                *lines,
            ]
        )
        request = head.encode("latin-1") + b"\r\n\r\n" + body
        async with self._places:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await self._exchange(target, request)
            except (EOFError, ValueError, asyncio.LimitOverrunError, TimeoutError) as bad:
                raise OSError(f"no proper answer: {bad}") from bad

    async def close(self) -> None:
        """Close all connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.writer.close()
        self._idle.clear()

    async def _exchange(self, target: _Target, request: bytes) -> int:
        idle = self._idle.setdefault((target.name, target.port), [])
        while idle:
            kept = idle.pop()
            with suppress(OSError, EOFError):  # the server may have closed it meanwhile
                return await self._send(kept, request, idle)
        reader, writer = await asyncio.open_connection(
            target.name, target.port, ssl=target.secure or None
        )
        return await self._send(_Connection(reader, writer), request, idle)

    async def _send(self, connection: _Connection, request: bytes, idle: list[_Connection]) -> int:
        reusable = False
        try:
            connection.writer.write(request)
            status, headers = _parsed(await connection.reader.readuntil(b"\r\n\r\n"))
            length = "0" if status == _NO_CONTENT else headers.get("content-length")
            if length is not None:
                await connection.reader.readexactly(int(length))
                reusable = headers.get("connection", "").lower() != "close"
            return status
        finally:
            if reusable:
                idle.append(connection)
            else:
                connection.writer.close()


def _target(url: str) -> _Target:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return _Target(
        name=parts.hostname or "localhost",
        port=parts.port or (443 if secure else 80),
        secure=secure,
        host=parts.netloc,
        path=parts.path or "/",
    )


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers (names in lower case). Raises ValueError when it is no HTTP."""
    first, *rest = head.decode("latin-1").rstrip().split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError(f"'{version[:20]}' is no HTTP/1.1")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(status), headers
