"""What Prometheus scrapes: requests, the backlog, the dispatcher and the sweeper."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("doms_http_requests", "Requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "doms_http_request_seconds",
    "Time to answer",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
MESSAGES = Gauge("doms_messages", "Messages kept, by direction and state", ["direction", "state"])
OLDEST_WAITING = Gauge(
    "doms_messages_oldest_waiting_seconds", "Age of the oldest waiting message", ["direction"]
)
DELIVERIES = Counter("doms_dispatcher_deliveries", "Messages settled", ["kind", "outcome"])
DELIVERY_SECONDS = Histogram(
    "doms_dispatcher_delivery_seconds",
    "From kept to delivered",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 300, 3600),
)
IN_FLIGHT = Gauge("doms_dispatcher_in_flight", "Messages being delivered")
TEMPORAL_UP = Gauge("doms_temporal_up", "1 while the dispatcher reaches Temporal")
EVENTS = Gauge("doms_events", "Events kept for active subscriptions, by state", ["state"])
OLDEST_EVENT = Gauge("doms_events_oldest_waiting_seconds", "Age of the oldest waiting event")
VIEW_MEGABYTES = Gauge("doms_view_megabytes", "Memory of the availability view")
VIEW_DIFFERENCES = Gauge(
    "doms_view_differences", "Parts of the view that were unlike the database and mended"
)
PROMISES_WAITING = Gauge("doms_promises_waiting", "Promises answered and not yet written")
POLICY_ALERTS = Gauge("doms_policy_alerts", "Broken guardrails of policies in force")
POLICY_ALERTS_RAISED = Counter("doms_policy_alerts_raised", "Guardrails found broken here")
SWEEPS = Counter("doms_sweeper_sweeps", "Sweeps done")
SWEPT = Counter("doms_sweeper_orders", "Open orders looked at, by what was found", ["found"])
SWEPT_AT = Gauge("doms_sweeper_last_success_timestamp_seconds", "When the last sweep ended")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestMetrics:
    """Counts and times requests by route; plain ASGI, for the hot path."""

    def __init__(self, app: App) -> None:
        """Wrap that app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # The route's pattern, never the path: a label per order would grow for ever.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"]
            REQUESTS.labels(method, route, str(status)).inc()
            REQUEST_SECONDS.labels(method, route).observe(time.perf_counter() - started)
