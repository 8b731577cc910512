"""Asks a running order for something and waits briefly for what became of it.

Only a quicker way to an answer: what is asked is kept in the inbox first, and when no answer comes
in time it is delivered from there under the same id, which the workflow obeys once.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import TimeoutError as NoAnswerError
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, TemporalError
from temporalio.service import RPCError

from workflows.messages import Answer

log = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0
"""How long somebody who asks is kept waiting; after that the inbox delivers."""
ASKED_AT_ONCE = 8
"""More are delivered from the inbox, so that slow orders do not take the threads of all others."""
_REFUSED = "Refused"


@dataclass(frozen=True)
class Told:
    """What the workflow said. `is_noted`: the refusal stands in its own story already."""

    done: bool
    text: str
    is_noted: bool = True


class Answers:
    """The way to running orders, from the threads that endpoints run in."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]] | None,
        reaches_temporal: Callable[[], bool],
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Ask through a client of `connect`; without one nobody is ever asked."""
        self._connect = connect
        self._reaches_temporal = reaches_temporal
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._turns = threading.BoundedSemaphore(ASKED_AT_ONCE)

    def bind(self) -> None:
        """Ask in the running loop."""
        self._loop = asyncio.get_running_loop()

    @property
    def are_possible(self) -> bool:
        """Whether it makes sense to ask now."""
        return self._loop is not None and self._connect is not None and self._reaches_temporal()

    @property
    def longest(self) -> timedelta:
        """After this long nobody waits for an answer any more."""
        return timedelta(seconds=self._seconds + 1)

    def ask(self, workflow_id: str, name: str, payload: Any, request_id: str) -> Told | None:
        """What became of a request; None when it cannot be said now. Not from the loop itself."""
        if self._loop is None or not self._turns.acquire(blocking=False):
            return None
        asked = asyncio.run_coroutine_threadsafe(
            self._ask(workflow_id, name, payload, request_id), self._loop
        )
        try:
            return asked.result(self._seconds + 0.5)
        except NoAnswerError:
            asked.cancel()
            return None
        finally:
            self._turns.release()

    def trigger(self, schedule_id: str) -> bool:
        """Let a schedule's workflow start now; False when it cannot. Not from the loop itself."""
        if self._loop is None or not self.are_possible:
            return False
        started = asyncio.run_coroutine_threadsafe(self._trigger(schedule_id), self._loop)
        try:
            return started.result(self._seconds + 0.5)
        except NoAnswerError:
            started.cancel()
            return False

    async def _trigger(self, schedule_id: str) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                client = await self._reach()
                await client.get_schedule_handle(schedule_id).trigger()
        except (TimeoutError, RPCError, RuntimeError, OSError) as error:
            log.info("%s cannot be started now: %s", schedule_id, error)
            return False
        return True

    async def _ask(self, workflow_id: str, name: str, payload: Any, request_id: str) -> Told | None:
        try:
            async with asyncio.timeout(self._seconds):
                client = await self._reach()
                answer = await client.get_workflow_handle(workflow_id).execute_update(
                    f"{name}_and_answer", payload, id=request_id, result_type=Answer
                )
        except WorkflowUpdateFailedError as failure:
            return _refusal(failure)
        except (TimeoutError, TemporalError, RuntimeError, OSError) as error:
            log.info("%s does not answer to %s now: %s", workflow_id, name, error)
            return None
        return Told(answer.done, answer.text)

    async def _reach(self) -> Client:
        if self._client is None:
            if self._connect is None:
                raise RuntimeError("this process does not reach Temporal")
            self._client = await self._connect()
        return self._client


def _refusal(failure: WorkflowUpdateFailedError) -> Told | None:
    """The workflow's own no; anything else, such as a build without that update, is no answer."""
    cause = failure.cause
    if isinstance(cause, ApplicationError) and cause.type == _REFUSED:
        return Told(done=False, text=cause.message, is_noted=False)
    return None
