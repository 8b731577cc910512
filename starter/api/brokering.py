"""Brokering runs: what they moved, why, and what that gained; and one at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from domain.brokering_runs import BrokeringRun
from starter.api.context import PathId, TheCaller, TheServices
from starter.api.problems import ProblemError
from starter.auth import ANALYST, OPERATIONS, SUPPORT, require
from store import brokering
from store.engine import reading
from workflows.brokering import BROKERING

router = APIRouter(prefix="/brokering-runs", tags=["brokering"])


@router.post(
    "",
    status_code=202,
    responses={503: {"description": "Temporal cannot be reached, or has no such schedule"}},
)
def start_run(services: TheServices, caller: TheCaller) -> JSONResponse:
    """Let a run start now, besides those of the schedule; one under way is not overtaken."""
    require(caller, OPERATIONS)
    if not services.answers.trigger(BROKERING):
        raise ProblemError(503, "Temporal cannot be reached now: try again")
    return JSONResponse({"status": "started"}, 202)


@router.get("")
def list_runs(
    services: TheServices,
    caller: TheCaller,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JSONResponse:
    """The latest runs, newest first."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found = brokering.runs(session, limit=limit)
    return JSONResponse({"runs": [_run(run) for run in found]})


@router.get("/{run_id}")
def show_run(run_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """A run with every order it moved, and why."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        run = brokering.run(session, run_id)
        moves = brokering.moves_of(session, run_id)
    return JSONResponse(_run(run) | {"moves": [move.model_dump(mode="json") for move in moves]})


def _run(run: BrokeringRun) -> dict[str, Any]:
    return {**run.model_dump(mode="json"), "seconds": run.seconds}
