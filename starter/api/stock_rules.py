"""Stock rules over HTTP: put as one document, in force at once, shown with what they have done."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from domain.stock_rules import StockRules
from starter.api.context import RawBody, Services, TheCaller, TheServices, body_as, json_body
from starter.api.problems import FieldError, InvalidDocumentError, not_found
from starter.auth import ANALYST, OPERATIONS, SUPPORT, require
from starter.times import utc_text
from store import promisable, stock_rules
from store.engine import reading, transaction
from store.reevaluation import evaluate_next, is_evaluated

router = APIRouter()

PIECES_AT_ONCE = 20
"""So many pieces are evaluated while the caller waits; the rest follows by itself."""


@router.get("/inventory/rules")
def show_rules(services: TheServices, caller: TheCaller) -> JSONResponse:
    """The rules in force, and whether every position has what they want."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found = stock_rules.rules_in_force(session)
        if found is None:
            raise not_found("no stock rules are in force: put some with `doms inventory rules`")
        is_done = is_evaluated(session, services.clock())
    return JSONResponse(
        {
            "version": found.version,
            "activated_at": utc_text(found.activated_at),
            "evaluated": is_done,
            "document": found.rules.model_dump(mode="json"),
        }
    )


@router.put("/inventory/rules", openapi_extra=json_body(StockRules))
def put_rules(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Let these rules hold from now on; the same document again changes nothing."""
    require(caller, OPERATIONS)
    rules = body_as(StockRules, raw)
    now = services.clock()
    with transaction(services.engine) as session:
        _refuse_unknown(session, services, rules)
        found = stock_rules.put_rules(session, rules, now)
    positions = 0
    for _ in range(PIECES_AT_ONCE):
        with transaction(services.engine) as session:
            piece = evaluate_next(session, now)
        positions += piece.positions
        if piece.is_last:
            break
    services.wake()
    with reading(services.engine) as session:
        is_done = is_evaluated(session, now)
    return JSONResponse({"version": found.version, "positions": positions, "evaluated": is_done})


def _refuse_unknown(session: Session, services: Services, rules: StockRules) -> None:
    nodes = services.reference.known(session).nodes
    groups = promisable.groups(session)
    errors = []
    for name in ("safety_stock", "protections"):
        for number, rule in enumerate(getattr(rules, name)):
            path = f"{name}.{number}.when"
            errors += [
                FieldError(f"{path}.nodes", f"no node '{node_id}'")
                for node_id in rule.when.nodes
                if node_id not in nodes
            ]
            errors += [
                FieldError(f"{path}.groups", f"no distribution group '{group_id}'")
                for group_id in rule.when.groups
                if group_id not in groups
            ]
    if errors:
        raise InvalidDocumentError(errors)
