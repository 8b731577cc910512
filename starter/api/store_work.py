"""The page on which a store's people work with a phone; what it calls is in `nodes`."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from starter.api.context import PathId
from starter.api.problems import not_found

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent / "store_page"
_ASSETS = {"page.js": "text/javascript", "page.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/store/{node_id}")
def store_page(node_id: PathId) -> Response:
    """The page, the same for every node: it asks for the node's work itself, with its key."""
    return FileResponse(_FOLDER / "page.html", media_type="text/html", headers=_HEADERS)


@router.get("/store/assets/{name}")
def store_asset(name: str) -> Response:
    """The page's script and style."""
    if name not in _ASSETS:
        raise not_found("no such file")
    return FileResponse(_FOLDER / name, media_type=_ASSETS[name], headers=_HEADERS)
