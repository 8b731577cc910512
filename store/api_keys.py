"""Callers, known by a key of which only the hash is stored."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from domain.values import Model
from store.columns import changed, query, statement

_CREATE = statement(
    "INSERT INTO api_keys (key_hash, name, roles, created_at)"
    " VALUES (:key_hash, :name, :roles, :created_at)",
    "api_keys",
)
_CHECK = query(
    "SELECT name, roles FROM api_keys WHERE key_hash = :key_hash AND revoked_at IS NULL",
    "api_keys",
)
_ROLES = query("SELECT roles FROM api_keys WHERE name = :name AND revoked_at IS NULL", "api_keys")
_REVOKE = statement(
    "UPDATE api_keys SET revoked_at = :revoked_at WHERE name = :name AND revoked_at IS NULL",
    "api_keys",
)


class Caller(Model):
    """Who calls, and what they may do."""

    name: str
    roles: tuple[str, ...]


def create_key(session: Session, name: str, roles: Iterable[str], now: datetime) -> str:
    """Make a key for a caller; the plain key, which is shown this once and never stored."""
    # The key is 256 random bits, so a plain fast hash keeps it safe.
    plain = f"doms_{secrets.token_urlsafe(32)}"
    row = {
        "key_hash": _hash(plain),
        "name": name,
        "roles": sorted(set(roles)),
        "created_at": now,
    }
    session.execute(_CREATE, row)
    return plain


def check(session: Session, plain: str) -> Caller | None:
    """Whose key it is; None when it is unknown or revoked."""
    row = session.execute(_CHECK, {"key_hash": _hash(plain)}).one_or_none()
    return None if row is None else Caller(name=row.name, roles=tuple(row.roles))


def roles_of(session: Session, name: str) -> frozenset[str]:
    """All roles of the caller's keys that are not revoked; none when there is no such caller."""
    rows = session.execute(_ROLES, {"name": name})
    return frozenset(role for row in rows for role in row.roles)


def revoke(session: Session, name: str, now: datetime) -> int:
    """End all keys of a caller; how many."""
    return changed(session, _REVOKE, {"name": name, "revoked_at": now})


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()
