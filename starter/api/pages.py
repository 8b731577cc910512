"""`/docs`: the API's description to read and try, with nothing loaded from other machines."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

_ENDS = re.compile(r"[.;:]\s|\n\n")
ASSETS_PATH = "/docs/assets"


def assets() -> Path:
    """The folder with Swagger UI's script and style, which come with a package."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise RuntimeError("the package fastapi-offline is not installed: run `make install`")
    return Path(found.origin).parent / "static"


def with_summaries(schema: dict[str, Any]) -> None:
    """Head each operation with what it does: how its description begins, not the code's name."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            words = operation.get("description")
            if words:
                operation["summary"] = _ENDS.split(words.strip(), maxsplit=1)[0].rstrip(".")


def install_docs(app: FastAPI) -> None:
    """Serve `/docs`, and lead there from `/`.

    Make the app with `docs_url=None` and `redoc_url=None`.
    """

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title}: API",
            swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        )

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    app.mount(ASSETS_PATH, StaticFiles(directory=assets()), name="docs-assets")
