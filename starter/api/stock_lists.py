"""What does not agree, what is owed, which nodes are excluded, and the distribution groups."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from domain.values import Id, Model, Text, UtcTime
from starter.api.context import PathId, RawBody, TheCaller, TheServices, body_as, json_body
from starter.api.problems import FieldError, InvalidDocumentError, not_found
from starter.auth import ANALYST, OPERATIONS, SUPPORT, require
from store import exclusions, feeds, promisable
from store.engine import reading, transaction

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=1_000)]
NodeFilter = Annotated[str, Query(max_length=64)]


class ExclusionBody(Model):
    """Promise nothing of a node, of one SKU or all, until then; without `until`, until lifted."""

    node_id: Id
    sku: Id | None = None
    until: UtcTime | None = None
    reason: Text


@router.get("/inventory/discrepancies")
def list_discrepancies(
    services: TheServices,
    caller: TheCaller,
    node_id: NodeFilter = "",
    sku: NodeFilter = "",
    before: Annotated[int | None, Query(ge=1)] = None,
    limit: Limit = 100,
) -> JSONResponse:
    """Counts and till sales that did not agree, newest first, and what nodes owe right now.

    `next` is the `before` of the following page; `oversold_cut_off` says that more is owed than is
    listed: raise `limit`, or ask for one node or SKU.
    """
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found = feeds.discrepancies(session, node_id=node_id, sku=sku, before=before, limit=limit)
        owed = feeds.oversold_positions(session, node_id=node_id, sku=sku, limit=limit + 1)
    return JSONResponse(
        {
            "discrepancies": [row.model_dump(mode="json") for row in found],
            "oversold": [row.model_dump(mode="json") for row in owed[:limit]],
            "oversold_cut_off": len(owed) > limit,
            "next": found[-1].id if len(found) == limit else None,
        }
    )


@router.get("/inventory/exclusions")
def list_exclusions(services: TheServices, caller: TheCaller) -> JSONResponse:
    """The nodes, and SKUs at nodes, of which nothing is promised now."""
    require(caller, OPERATIONS, SUPPORT, ANALYST)
    with reading(services.engine) as session:
        found = exclusions.all_blocks(session, services.clock())
    return JSONResponse({"exclusions": [row.model_dump(mode="json") for row in found]})


@router.put("/inventory/exclusions", openapi_extra=json_body(ExclusionBody))
def exclude(raw: RawBody, services: TheServices, caller: TheCaller) -> JSONResponse:
    """Take a node offline, for one SKU or all. Orders keep what they have there."""
    require(caller, OPERATIONS)
    body = body_as(ExclusionBody, raw)
    now = services.clock()
    if body.until is not None and body.until <= now:
        raise InvalidDocumentError([FieldError("until", "lies in the past")])
    with transaction(services.engine) as session:
        known = services.reference.known(session)
        if body.node_id not in known.nodes:
            raise InvalidDocumentError([FieldError("node_id", f"no node '{body.node_id}'")])
        if body.sku is not None and not known.products(session, [body.sku]):
            raise InvalidDocumentError([FieldError("sku", f"no product '{body.sku}'")])
        exclusions.exclude(session, body.node_id, body.sku, until=body.until, reason=body.reason)
    return JSONResponse(body.model_dump(mode="json"))


@router.delete("/inventory/exclusions/{node_id}", status_code=204)
def lift_exclusion(
    node_id: PathId, services: TheServices, caller: TheCaller, sku: NodeFilter = ""
) -> Response:
    """Promise the node's units again, of that SKU or (without) all."""
    require(caller, OPERATIONS)
    with transaction(services.engine) as session:
        if not exclusions.lift(session, node_id, sku or None, services.clock()):
            raise not_found(f"'{node_id}' is not excluded" + (f" for '{sku}'" if sku else ""))
    return Response(status_code=204)


@router.get("/inventory/groups")
def list_groups(services: TheServices, caller: TheCaller) -> JSONResponse:
    """The distribution groups and their nodes."""
    with reading(services.engine) as session:
        found = promisable.groups(session)
    return JSONResponse(
        {"groups": [{"group_id": name, "nodes": sorted(found[name])} for name in sorted(found)]}
    )
