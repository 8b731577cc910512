"""A failure that is tried again takes one line of the log; every other keeps its traceback."""

import logging
from typing import Any

from temporalio.exceptions import ApplicationError

from domain.errors import RetryableError

_SDK_LOGGER = "temporalio.activity"


def shorten_retried_failures() -> None:
    """From now on, in this process."""
    logger = logging.getLogger(_SDK_LOGGER)
    if not any(isinstance(one, _Shortening) for one in logger.filters):
        logger.addFilter(_Shortening())


class _Shortening(logging.Filter):
    """A system that is away for an hour would fill the log with tracebacks that say nothing new."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ApplicationError) and _is_expected(error):
            about: dict[str, Any] = getattr(record, "temporal_activity", {})
            record.msg = "%s of %s failed on attempt %s and is tried again: %s"
            names = ("activity_type", "workflow_id", "attempt")
            record.args = (*(about.get(name, "?") for name in names), error.message)
            record.exc_info = record.exc_text = None
        return True


def _is_expected(error: ApplicationError) -> bool:
    """Whether it is one of doms's own errors that another attempt may mend."""
    return not error.non_retryable and error.type in _names(RetryableError)


def _names(kind: type[RetryableError]) -> set[str]:
    return {kind.__name__}.union(*(_names(one) for one in kind.__subclasses__()))
