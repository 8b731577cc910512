"""The secrets of a deployment on this machine: as set, else made once and kept in its home."""

import base64
import secrets
from pathlib import Path

from config.settings import Settings

_SECRET_BYTES = 24


def webhook_secret(settings: Settings) -> str:
    """The secret simulators sign with: as set, else one made once and kept in the home."""
    found = kept_webhook_secret(settings)
    if found:
        return found
    made = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    return _keep(settings.home / "webhook_secret", made)


def kept_webhook_secret(settings: Settings) -> str | None:
    """The same where there is one already; None in a home that nothing was started in."""
    return settings.webhook_secret or _kept(settings.home / "webhook_secret")


def hash_secret(settings: Settings) -> str:
    """The secret customers are hashed with: as set, else one made once and kept in the home."""
    if settings.hash_secret:
        return settings.hash_secret
    path = settings.home / "hash_secret"
    return _kept(path) or _keep(path, secrets.token_hex(_SECRET_BYTES))


def _kept(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def _keep(path: Path, made: str) -> str:
    path.touch(mode=0o600)
    path.write_text(made)
    return made
