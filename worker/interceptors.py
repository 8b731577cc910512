"""Errors become retryable or final in one place, for every activity, and lose their free text.

What another system said may quote a name or an address. It is kept in the store; the error that
reaches Temporal's history, and the log, says who refused and under which key the words are kept.
"""

import asyncio
import logging
import re
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from domain.errors import FinalError, OutsideUnavailableError, RefusedError, RetryableError
from store import words
from store.engine import transaction

log = logging.getLogger(__name__)

MANY_ATTEMPTS = 10
_STATUS = re.compile(r"answered (\d{3}): (.+)", re.DOTALL)
_CONNECTION = re.compile(r"doms-[a-z]+-(.+)")


class ErrorMapping(Interceptor):
    """Tells Temporal which of doms's errors are worth another attempt, and when."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 (the SDK's name)
        """Wrap every activity."""
        return _Mapping(next)


class _Mapping(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 (the SDK's name)
        info = activity.info()
        if info.attempt == MANY_ATTEMPTS:
            counter = activity.metric_meter().create_counter(
                "doms_many_attempts", "Activities that needed many attempts"
            )
            counter.add(1, {"activity_type": info.activity_type})
        try:
            return await super().execute_activity(input)
        except FinalError as error:
            raise ApplicationError(
                str(error), type=type(error).__name__, non_retryable=True
            ) from error
        except RetryableError as error:
            wait = None if error.retry_after is None else timedelta(seconds=error.retry_after)
            raise ApplicationError(
                str(error), type=type(error).__name__, next_retry_delay=wait
            ) from error


class WordsApart(Interceptor):
    """Keeps what other systems say in the store, and only there. It stands around ErrorMapping."""

    def __init__(self, engine: Engine) -> None:
        """Keep it in that store."""
        self._engine = engine

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 (the SDK's name)
        """Wrap every activity."""
        return _KeepingApart(next, self._engine)


class _KeepingApart(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, engine: Engine) -> None:
        super().__init__(following)
        self._engine = engine

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 (the SDK's name)
        try:
            return await super().execute_activity(input)
        except ApplicationError as error:
            said = error.__cause__
            if not isinstance(said, RefusedError | OutsideUnavailableError):
                raise
            message = await asyncio.to_thread(
                self._keep, activity.info(), str(said), error.non_retryable
            )
            raise ApplicationError(
                message,
                type=error.type,
                non_retryable=error.non_retryable,
                next_retry_delay=error.next_retry_delay,
            ).with_traceback(error.__traceback__) from None
        except ValidationError as error:
            raise _without_values(error).with_traceback(error.__traceback__) from None

    def _keep(self, info: activity.Info, said: str, is_final: bool) -> str:
        """Keep the words; what may be said without them."""
        found = _CONNECTION.fullmatch(info.task_queue)
        who = found[1] if found else info.activity_type
        status = _STATUS.search(said)
        done = f"answered {status[1]}" if status else "refused" if is_final else "is unavailable"
        key = f"{info.activity_type}-{(info.workflow_run_id or '')[:8]}-{info.activity_id}"
        try:
            with transaction(self._engine) as session:
                words.keep(
                    session,
                    _order_of(info.workflow_id or ""),
                    key,
                    status[2] if status else said,
                    about=info.activity_type,
                    said_by=who,
                    at=info.current_attempt_scheduled_time,
                    in_story=is_final,
                )
        except SQLAlchemyError:
            log.warning("what %s said to %s could not be kept", who, info.activity_id)
            return f"{who} {done}"
        return f"{who} {done}{words.reference(key)}"


def _order_of(workflow_id: str) -> str:
    """The order a workflow is about: `order-{id}`, `fulfillment-{id}-{n}`, `return-{id}-{n}`."""
    kind, _, subject = workflow_id.partition("-")
    return subject if kind == "order" else subject.rpartition("-")[0]


def _without_values(error: ValidationError) -> ValueError:
    """Which fields were wrong and how, without what stood in them."""
    wrong = [
        f"{'.'.join(map(str, one['loc']))}: {one['type']}"
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValueError(f"{error.title}: {'; '.join(wrong)}")
