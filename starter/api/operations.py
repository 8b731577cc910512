"""Whether the process lives, whether it can serve, and what it measures."""

from datetime import datetime

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from starter.api.context import Services, TheServices
from starter.api.metrics import (
    EVENTS,
    MESSAGES,
    OLDEST_EVENT,
    OLDEST_WAITING,
    POLICY_ALERTS,
    PROMISES_WAITING,
    VIEW_DIFFERENCES,
    VIEW_MEGABYTES,
)
from store import backlog, event_deliveries, network, policy_alerts
from store.engine import reading

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(services: TheServices) -> JSONResponse:
    """Orders are accepted and promises are true: the database answers, its changes are followed.

    Temporal may be away, what is kept waits.
    """
    temporal = services.temporal_ready()
    try:
        with reading(services.engine) as session:
            network.network_version(session)
    except SQLAlchemyError:
        return JSONResponse({"status": "no database", "database": False, "temporal": temporal}, 503)
    if not services.following.is_current:
        return JSONResponse({"status": "stale stock", "database": True, "temporal": temporal}, 503)
    return JSONResponse({"status": "ready", "database": True, "temporal": temporal})


@router.get("/metrics")
def metrics(services: TheServices) -> Response:
    """Prometheus text."""
    with reading(services.engine) as session:
        _measure_backlog(session, services.clock())
        POLICY_ALERTS.set(policy_alerts.standing(session))
    _measure_promises(services)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _measure_backlog(session: Session, now: datetime) -> None:
    for kept in backlog.backlogs(session):
        MESSAGES.labels(kept.direction, "waiting").set(kept.waiting)
        MESSAGES.labels(kept.direction, "quarantined").set(kept.quarantined)
        age = (now - kept.oldest).total_seconds() if kept.oldest else 0.0
        OLDEST_WAITING.labels(kept.direction).set(max(0.0, age))
    events = event_deliveries.backlog(session)
    EVENTS.labels("waiting").set(events.waiting)
    EVENTS.labels("dead").set(events.dead)
    waited = (now - events.oldest).total_seconds() if events.oldest else 0.0
    OLDEST_EVENT.set(max(0.0, waited))


def _measure_promises(services: Services) -> None:
    VIEW_MEGABYTES.set(services.following.view().megabytes())
    VIEW_DIFFERENCES.set(services.following.differences)
    PROMISES_WAITING.set(services.records.waiting)
