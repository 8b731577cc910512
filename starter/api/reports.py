"""Totals over the read model, and the check that every unit is accounted for."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from starter.api.context import TheCaller, TheServices
from starter.api.problems import not_found
from starter.auth import ANALYST, OPERATIONS, SUPPORT, require
from store import drift, order_pages, reporting
from store.engine import reading

router = APIRouter(tags=["reports"])

REPORTS: dict[str, Callable[[Session], Any]] = {
    "summary": reporting.summary,
    "by_stage": order_pages.orders_by_stage,
    "by_node": reporting.by_node,
    "consistency": reporting.consistency,
    "drift": drift.report,
}


@router.get("/reports")
def list_reports(services: TheServices, caller: TheCaller) -> JSONResponse:
    """The reports there are."""
    require(caller, SUPPORT, OPERATIONS, ANALYST)
    return JSONResponse({"reports": sorted(REPORTS)})


@router.get("/reports/{name}")
def show_report(name: str, services: TheServices, caller: TheCaller) -> JSONResponse:
    """One report: summary, by_stage, by_node, consistency or drift (plans against promises)."""
    require(caller, SUPPORT, OPERATIONS, ANALYST)
    report = REPORTS.get(name)
    if report is None:
        raise not_found(f"no report '{name}'; there are {', '.join(sorted(REPORTS))}")
    with reading(services.engine) as session:
        figures = report(session)
    return JSONResponse({"report": name, "figures": figures})
