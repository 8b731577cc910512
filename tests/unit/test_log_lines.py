"""What the worker's log says of activities that failed."""

import logging

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from worker.log_lines import shorten_retried_failures


def logged(error: Exception, caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """What is logged of an activity that ends so, in the SDK's own way."""

    def fail() -> None:
        activity.logger.warning("Completing activity as failed", exc_info=error)

    caplog.clear()
    shorten_retried_failures()
    shorten_retried_failures()
    ActivityEnvironment().run(fail)
    (record,) = caplog.records
    return record


def test_an_outside_failure_that_is_tried_again_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = ApplicationError("carrier is unavailable", type="OutsideUnavailableError")

    record = logged(away, caplog)

    assert record.getMessage() == (
        "unknown of test failed on attempt 1 and is tried again: carrier is unavailable"
    )
    assert logging.Formatter().format(record) == record.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        ApplicationError("no", type="RefusedError", non_retryable=True),
        ApplicationError("no", type="OutsideUnavailableError", non_retryable=True),
        ApplicationError("odd", type="KeyError"),
        ValueError("odd"),
    ],
)
def test_any_other_failure_keeps_its_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    record = logged(error, caplog)

    assert record.getMessage().startswith("Completing activity as failed")
    assert record.exc_info is not None
    assert record.exc_info[1] is error
