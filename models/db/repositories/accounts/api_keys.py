"""API keys: machines' credentials, stored as digests. Every request checks that its key is still valid."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.accounts.access import Scope

_CREATE = text("""
INSERT INTO api_keys (id, name, hint, digest, scopes, created_by, expires_at)
VALUES (:id, :name, :hint, :digest, :scopes, :created_by, :expires_at)
RETURNING id, name, hint, scopes, created_by, created_at, expires_at, used_at
""")

_LIST = text("""
SELECT id, name, hint, scopes, created_by, created_at, expires_at, used_at FROM api_keys
WHERE revoked_at IS NULL AND id < :before
ORDER BY id DESC LIMIT :limit
""")

_REVOKE = text("UPDATE api_keys SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL")

_AFTER_ALL_IDS = "key_~"


class ApiKey(NamedTuple):
    """A key without its secret."""

    id: str
    name: str
    hint: str  # its last characters
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None  # to the hour

    def view(self) -> dict[str, Any]:
        return self._asdict()


def create(
    connection: Connection,
    key_id: str,
    *,
    name: str,
    hint: str,
    digest: bytes,
    scopes: list[Scope],
    created_by: str,
    expires_at: datetime | None,
) -> ApiKey:
    row = connection.execute(
        _CREATE,
        {
            "id": key_id,
            "name": name,
            "hint": hint,
            "digest": digest,
            "scopes": [scope.value for scope in scopes],
            "created_by": created_by,
            "expires_at": expires_at,
        },
    ).one()
    return ApiKey(*row)


def page(connection: Connection, *, before: str | None, limit: int) -> list[ApiKey]:
    """Keys that aren't revoked, newest first."""
    rows = connection.execute(_LIST, {"before": before or _AFTER_ALL_IDS, "limit": limit})
    return [ApiKey(*row) for row in rows]


def revoke(connection: Connection, key_id: str) -> bool:
    """False if there is no such key, or it was revoked before."""
    return connection.execute(_REVOKE, {"id": key_id}).rowcount == 1
