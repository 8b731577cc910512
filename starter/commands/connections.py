"""`doms connections check`: tries each connection of this deployment's network."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from config.settings import Settings
from domain.errors import UnknownReferenceError
from domain.network import Connection, ConnectionClass
from integrations.checking import Checked, check_connection
from integrations.http import open_client
from starter.commands.local_store import database
from starter.commands.secrets import kept_webhook_secret
from store import network
from store.engine import reading

_AT_ONCE = 8


def check_connections(settings: Settings, only: Sequence[str] = ()) -> list[Checked]:
    """Each connection tried, or those named. Raises UnknownReferenceError for an unknown name."""
    with database(settings) as engine, reading(engine) as session:
        known = network.connections(session)
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise UnknownReferenceError(
            f"no connection '{unknown[0]}'; known: {', '.join(sorted(known)) or 'none'}"
        )
    wanted = [known[name] for name in sorted(only or known)]
    outside = [x for x in wanted if x.kind is not ConnectionClass.NONE]
    common = kept_webhook_secret(settings)
    # Their vendors' secrets are read by name, as the worker of `doms up` reads them.
    given = {**({"DOMS_WEBHOOK_SECRET": common} if common else {}), **os.environ}
    with open_client() as client, ThreadPoolExecutor(_AT_ONCE) as pool:

        def check(connection: Connection) -> Checked:
            return check_connection(connection, given, client, common_secret=common)

        return list(pool.map(check, outside))
