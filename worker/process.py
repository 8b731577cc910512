"""What every long-running process of doms does first: logging, garbage collection, metrics."""

import gc
import json
import logging
import sys
from datetime import UTC, datetime

from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from config.settings import Settings
from worker.log_lines import shorten_retried_failures


class JsonLines(logging.Formatter):
    """One JSON object a line, for a log collector."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its time in UTC and, where there is one, its traceback."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def prepare_process(settings: Settings) -> None:
    """Log as the settings say; look for cyclic garbage less often.

    What was imported lives as long as the process: looking through it again and again is waste.
    """
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonLines())
    else:
        text = "%(asctime)s %(levelname)s %(name)s %(message)s"
        handler.setFormatter(logging.Formatter(text))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    # It would log every call; what goes wrong with one is said by who made it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    shorten_retried_failures()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def runtime_of(settings: Settings) -> Runtime | None:
    """A runtime that serves the SDK's and the activities' metrics, where an address is set."""
    if not settings.worker_metrics_address:
        return None
    metrics = PrometheusConfig(bind_address=settings.worker_metrics_address)
    return Runtime(telemetry=TelemetryConfig(metrics=metrics))
