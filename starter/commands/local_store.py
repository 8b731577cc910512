"""What the command line does in this deployment's own database: keys, network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from config.samples import load_network, load_products
from config.settings import Settings
from domain.errors import FinalError
from store import api_keys
from store import network as network_store
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


def revoke_api_key(settings: Settings, name: str) -> int:
    """End every key of that name; how many there were."""
    with database(settings) as engine, transaction(engine) as session:
        return api_keys.revoke(session, name, datetime.now(UTC))


def import_network(settings: Settings, network: Path, products: Path | None) -> tuple[int, int]:
    """Add or replace nodes, services, connections and products; how many nodes and products.

    What the files do not name stays. Raises ConfigError with the file and field that is wrong.
    """
    places = load_network(network)
    catalogue = load_products(products) if products is not None else ()
    with database(settings) as engine, transaction(engine) as session:
        network_store.import_network(session, places, catalogue, datetime.now(UTC))
    return len(places.nodes), len(catalogue)
