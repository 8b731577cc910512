"""What a connection is configured with: its vendor's own settings, and the secrets they name."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from domain.network import Connection
from integrations.reading import problems
from integrations.vendor import Secrets

Settings = TypeVar("Settings", bound=BaseModel)


def settings_of(connection: Connection, model: type[Settings]) -> Settings:
    """The connection's settings. Raises ValueError naming what is wrong."""
    if not connection.base_url:
        raise ValueError(f"connection {connection.connection_id}: base_url is empty")
    try:
        return model.model_validate(connection.settings)
    except ValidationError as bad:
        raise ValueError(
            f"connection {connection.connection_id}: settings: {problems(bad)}"
        ) from bad


def secret_of(connection: Connection, secrets: Secrets, name: str) -> str:
    """The secret in that variable. Raises ValueError when it is not set."""
    if not secrets.get(name):
        raise ValueError(f"connection {connection.connection_id}: set the variable {name}")
    return secrets[name]
