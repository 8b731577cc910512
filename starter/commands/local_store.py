"""What the command line does in this deployment's own database: keys, policies."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from config.settings import Settings
from domain.errors import FinalError
from store import api_keys
from store.engine import migrate, open_engine, transaction


@contextmanager
def database(settings: Settings) -> Iterator[Engine]:
    """The deployment's database, its schema up to date. Raises FinalError when there is none."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise FinalError(
            f"there is no database at {url.database}: run `doms up` once, or set DOMS_DATABASE_URL"
        )
    engine = open_engine(settings.database)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def create_api_key(settings: Settings, name: str, roles: Sequence[str]) -> str:
    """A new key with those roles; only its hash is kept."""
    with database(settings) as engine, transaction(engine) as session:
        return api_keys.create_key(session, name, list(roles), datetime.now(UTC))
