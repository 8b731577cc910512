"""Labels that a carrier sent as pictures: whoever prints them fetches them here."""

from fastapi import APIRouter
from fastapi.responses import Response

from starter.api.context import PathId, TheServices
from store import labels
from store.engine import reading

router = APIRouter(tags=["orders"])


@router.get("/labels/{token}", response_class=Response)
def label(token: PathId, services: TheServices) -> Response:
    """A label's picture. Needs no key: the token, which nobody can guess, is the permission."""
    with reading(services.engine) as session:
        found = labels.label_image(session, token)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(found.content, media_type=found.media_type, headers=headers)
