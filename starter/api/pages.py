"""`/docs`: the API's description to read and try, with nothing loaded from other machines."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS_PATH = "/docs/assets"


def assets() -> Path:
    """The folder with Swagger UI's script and style, which come with a package."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise RuntimeError("the package fastapi-offline is not installed: run `make install`")
    return Path(found.origin).parent / "static"


def install_docs(app: FastAPI) -> None:
    """Serve `/docs`. Make the app with `docs_url=None` and `redoc_url=None`."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title}: API",
            swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        )

    app.mount(ASSETS_PATH, StaticFiles(directory=assets()), name="docs-assets")
