"""Stock as it stands and can be promised, and the reports of nodes that change it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator

from domain.values import UtcTime
from starter.api import stock_feeds, stock_lists, stock_rules
from starter.api.context import PathId, TheCaller, TheServices
from starter.api.problems import FieldError, InvalidDocumentError, not_found
from starter.api.stock_shown import Asked, shown
from store import promisable
from store.engine import reading

router = APIRouter(tags=["inventory"])
# Their fixed paths come before the path of any SKU.
for part in (stock_rules, stock_lists, stock_feeds):
    router.include_router(part.router)


def _plain_date_is_its_end(value: object) -> object:
    if isinstance(value, str) and len(value) == len("2026-03-02"):
        return f"{value}T23:59:59Z"
    return value


By = Annotated[UtcTime, BeforeValidator(_plain_date_is_its_end)]


@router.get("/inventory/{sku}")
def show_inventory(
    sku: PathId,
    services: TheServices,
    caller: TheCaller,
    channel: Annotated[str, Query(max_length=64)] = "",
    group: Annotated[str, Query(max_length=64)] = "",
    by: By | None = None,
    explain: bool = False,
) -> JSONResponse:
    """Units of a SKU by node and over the network; `available` is what can still be sold.

    `channel` adds what is kept for it, `group` looks at one distribution group, `by` (a time or a
    date) adds what can be promised by then; `explain` shows every part of the figures.
    """
    with reading(services.engine) as session:
        if not services.reference.known(session).products(session, [sku]):
            raise not_found(f"no product '{sku}'")
        if group and group not in promisable.groups(session):
            raise InvalidDocumentError([FieldError("group", f"no distribution group '{group}'")])
        nodes = promisable.nodes_of_group(session, group) if group else None
        now: datetime = services.clock()
        if by is not None and by < now:
            raise InvalidDocumentError([FieldError("by", "lies in the past")])
        found = promisable.promise_of(session, sku, now, channel)
    asked = Asked(now=now, channel=channel, group=group, nodes=nodes, by=by, explain=explain)
    return JSONResponse(shown(found, asked))
