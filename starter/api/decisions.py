"""Every decision can be read, explained and replayed from its record."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from domain.routing.decision import KERNEL_VERSION
from domain.routing.explain import explain
from domain.routing.solve import decide
from domain.values import ID_PATTERN
from starter.api.context import PathId, Services, TheCaller, TheServices
from starter.auth import ANALYST, INTAKE, OPERATIONS, SUPPORT, Caller, require
from starter.differences import differences, plan_facts
from store import brokering, decisions, policies
from store.decisions import DecisionRecord
from store.engine import reading

router = APIRouter(prefix="/decisions", tags=["decisions"])


def _load(decision_id: str, services: Services, caller: Caller) -> DecisionRecord:
    require(caller, SUPPORT, OPERATIONS, ANALYST, INTAKE)
    services.records.settle(decision_id)
    with reading(services.engine) as session:
        return decisions.load_decision(session, decision_id)


@router.get("/{decision_id}")
def show(decision_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """The whole record: request, snapshot, policy and decision."""
    record = _load(decision_id, services, caller)
    return JSONResponse(record.model_dump(mode="json"))


@router.get("/{decision_id}/explain")
def explanation(decision_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """In words: which nodes were considered and why these were chosen."""
    record = _load(decision_id, services, caller)
    with reading(services.engine) as session:
        moved = brokering.why(session, decision_id)
    parts = [explain(record.decision, record.request)]
    if record.request.forced_nodes:
        forced = ", ".join(record.request.forced_nodes)
        parts.insert(0, f"Chosen by people, or granted there: only {forced} may serve.")
    if moved is not None:
        parts.insert(0, f"Re-planned with other orders: {moved}.")
    text = " ".join(parts)
    return JSONResponse({"decision_id": decision_id, "explanation": text})


@router.get("/{decision_id}/diff")
def diff(
    decision_id: PathId,
    policy: Annotated[str, Query(pattern=ID_PATTERN)],
    services: TheServices,
    caller: TheCaller,
) -> JSONResponse:
    """Decide again on what was known then, under another policy version: what would change."""
    record = _load(decision_id, services, caller)
    with reading(services.engine) as session:
        other = policies.routing_policy(session, policy)
    again = decide(record.request, record.snapshot, other)
    return JSONResponse(
        {
            "decision_id": decision_id,
            "policy": policy,
            "same_plan": record.decision.plan == again.plan,
            "changes": [
                change.as_json()
                for change in differences(plan_facts(record.decision), plan_facts(again))
            ],
            "explanation": explain(again, record.request),
        }
    )


@router.get("/{decision_id}/replay")
def replay(decision_id: PathId, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Decide again from the record: the same bytes under the same kernel version."""
    record = _load(decision_id, services, caller)
    again = decide(record.request, record.snapshot, record.policy)
    first, second = record.decision.model_dump_json(), again.model_dump_json()
    return JSONResponse(
        {
            "decision_id": decision_id,
            "recorded_kernel": record.decision.kernel_version,
            "kernel": KERNEL_VERSION,
            "same_bytes": first == second,
            "same_plan": record.decision.plan == again.plan,
        }
    )
