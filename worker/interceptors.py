"""Errors become retryable or final in one place, for every activity."""

from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from domain.errors import FinalError, RetryableError

MANY_ATTEMPTS = 10


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
