"""The API process: `python -m starter.api.main` or `doms api`."""

import sys

import uvicorn

from config.settings import Settings, load_settings
from starter.api.app import create_app
from store.engine import migrate
from worker.composition import connect, engine_of
from worker.process import prepare_process

_SWITCH_SECONDS = 0.0005


def serve(settings: Settings) -> None:
    """Serve until told to stop. Brings the database's schema up to date first."""
    engine = engine_of(settings)
    migrate(engine)
    # Threads hand over sooner than Python's 5 ms: an answer must not wait for a background thread.
    sys.setswitchinterval(_SWITCH_SECONDS)
    delivers = settings.api_delivers
    app = create_app(settings, engine, connect=(lambda: connect(settings)) if delivers else None)
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_level=settings.log_level.lower(),
        log_config=None,
        access_log=False,
        # Who calls decides what a keyless API allows, so a proxy's word for it is never taken.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    engine.dispose()


def main() -> None:
    """Run the API process."""
    settings = load_settings()
    prepare_process(settings)
    serve(settings)


if __name__ == "__main__":
    main()
