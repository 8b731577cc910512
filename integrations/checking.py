"""Whether a connection works: its settings, its secrets, and one harmless call."""

from dataclasses import dataclass

import httpx

from domain.errors import DomsError
from domain.network import Connection, ConnectionClass
from integrations.registry import capture_vendor_of, vendor_of
from integrations.vendor import Secrets


@dataclass(frozen=True)
class Checked:
    """One connection tried: well, or what is wrong, in a line."""

    connection_id: str
    vendor: str
    is_well: bool
    text: str


def check_connection(
    connection: Connection,
    secrets: Secrets,
    client: httpx.Client,
    *,
    common_secret: str | None = None,
) -> Checked:
    """Try a connection; `common_secret` proves webhooks of those that name no `secret_env`."""
    try:
        if connection.kind is ConnectionClass.CAPTURE:
            source = capture_vendor_of(connection).source
            told = "waits to be called"
            if source is not None:
                told = source(connection, secrets, client).check()
        else:
            told = vendor_of(connection).connect(connection, secrets, client).check()
        missing = _missing_secret(connection, secrets, common_secret)
    except (DomsError, ValueError) as wrong:
        return _checked(connection, is_well=False, text=" ".join(str(wrong).split()))
    if missing:
        return _checked(connection, is_well=False, text=f"{told}, but {missing}")
    return _checked(connection, is_well=True, text=told)


def _missing_secret(connection: Connection, secrets: Secrets, common: str | None) -> str:
    name = connection.secret_env
    if name is not None and not secrets.get(name):
        return f"its webhooks cannot be proved: set the variable {name}"
    if name is None and not common and connection.kind is ConnectionClass.CAPTURE:
        return "its documents cannot be proved: set its secret_env, or DOMS_WEBHOOK_SECRET"
    return ""


def _checked(connection: Connection, *, is_well: bool, text: str) -> Checked:
    return Checked(connection.connection_id, connection.vendor, is_well, text)
