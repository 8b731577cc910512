"""Callbacks and calls that must get through: kept in the file until the other side took them."""

import asyncio
import time
from datetime import UTC, datetime
from http import HTTPStatus

from integrations.simulators.database import Database, Message
from integrations.simulators.posting import Poster
from integrations.standard_webhooks import sign, signer

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0


class Outbox:
    """Sends each stream's messages one after the other, and the streams side by side."""

    def __init__(self, database: Database, secret: str) -> None:
        """`secret` signs the callbacks. Raises ValueError when it is no such secret."""
        self._database = database
        self._key = signer(secret)
        self._poster = Poster()
        self._senders: dict[str, asyncio.Task[None]] = {}
        self._open = asyncio.Event()
        self._open.set()

    def hold(self, *, stopped: bool) -> None:
        """Let nothing out while `stopped`."""
        if stopped:
            self._open.clear()
        else:
            self._open.set()

    def wake(self, stream: str) -> None:
        """Send what a stream has waiting, unless that is already under way."""
        if stream not in self._senders:
            self._senders[stream] = asyncio.create_task(self._empty(stream))

    async def close(self) -> None:
        """Stop sending; what is unsent stays in the file."""
        senders = list(self._senders.values())
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        await self._poster.close()

    async def _empty(self, stream: str) -> None:
        try:
            while message := self._database.first_message(stream):
                await asyncio.sleep(max(0.0, message.due - time.time()))
                await self._open.wait()
                if await self._taken(message):
                    self._database.message_done(message.id)
                else:
                    wait = min(_FIRST_WAIT * 2**message.attempts, _LONGEST_WAIT)
                    self._database.try_again(message.id, time.time() + wait)
        finally:
            del self._senders[stream]

    async def _taken(self, message: Message) -> bool:
        headers = {"Content-Type": "application/json", "User-Agent": "doms-simulator"}
        if message.delivery_id:
            headers |= sign(self._key, message.delivery_id, datetime.now(UTC), message.body)
        try:
            status = await self._poster.post(message.url, headers, message.body.encode())
        except OSError:
            return False
        if not message.delivery_id and 400 <= status < 500:
            return status != HTTPStatus.TOO_MANY_REQUESTS
        return 200 <= status < 300
