"""Sessions: where somebody is signed in. Each is a family of refresh tokens, of which only the newest is good.

Every authenticated request asks whether its session lives (one indexed read), so signing out is at once, everywhere.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.access import Principal, Role, Scope
from models.accounts import SecondFactor
from models.ids import new_id

_BEGIN = text("""
WITH begun AS (
    INSERT INTO sessions (id, user_id, method, second_factor, user_agent, address, expires_at)
    VALUES (:id, :user_id, :method, :second_factor, :user_agent, :address, now() + make_interval(secs => :seconds)))
INSERT INTO refresh_tokens (digest, session_id) VALUES (:digest, :id)
""")

_LIVE = text("""
SELECT u.id, u.role, s.second_factor
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = :id AND s.ended_at IS NULL AND s.expires_at > now() AND u.disabled_at IS NULL
""")

_KEY = text("""
UPDATE api_keys SET used_at = date_trunc('hour', now())
WHERE digest = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    AND used_at IS DISTINCT FROM date_trunc('hour', now())
RETURNING id, scopes
""")
_KEY_AGAIN = text("""
SELECT id, scopes FROM api_keys
WHERE digest = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
""")

_END = text("""
UPDATE sessions SET ended_at = now(), ended_why = :why
WHERE id = :id AND user_id = :user_id AND ended_at IS NULL
""")

_END_ALL = text("""
UPDATE sessions SET ended_at = now(), ended_why = :why
WHERE user_id = :user_id AND ended_at IS NULL AND id IS DISTINCT FROM :besides
""")


class Origin(NamedTuple):
    """Where a request comes from, for its owner to recognise."""

    user_agent: str
    address: str


class Session(NamedTuple):
    id: str
    method: str
    second_factor: str
    user_agent: str
    address: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime

    def view(self) -> dict[str, Any]:
        return self._asdict()


def begin(
    connection: Connection,
    user_id: str,
    *,
    method: str,
    second_factor: SecondFactor,
    origin: Origin,
    refresh_digest: bytes,
    seconds: float,
) -> str:
    """A new session with its first refresh token; its id."""
    session_id = new_id("ses")
    connection.execute(
        _BEGIN,
        {
            "id": session_id,
            "user_id": user_id,
            "method": method,
            "second_factor": second_factor,
            "user_agent": origin.user_agent[:200],
            "address": origin.address,
            "seconds": seconds,
            "digest": refresh_digest,
        },
    )
    return session_id


def principal_of(connection: Connection, session_id: str) -> Principal | None:
    """Who is signed in there, with the role that they have now; None when the session has ended."""
    row = connection.execute(_LIVE, {"id": session_id}).first()
    if row is None:
        return None
    pending = row.second_factor == SecondFactor.PENDING
    return Principal(
        user_id=row.id, role=Role(row.role), session_id=session_id, granted=frozenset() if pending else None
    )


def principal_of_key(connection: Connection, digest: bytes) -> Principal | None:
    """The machine with that API key; None when it is unknown, revoked or has expired."""
    row = (
        connection.execute(_KEY, {"digest": digest}).first()
        or connection.execute(_KEY_AGAIN, {"digest": digest}).first()
    )
    if row is None:
        return None
    return Principal(user_id=row.id, granted=frozenset(Scope(scope) for scope in row.scopes))


def end(connection: Connection, user_id: str, session_id: str, why: str) -> bool:
    """False when there is no such live session of this user."""
    return connection.execute(_END, {"id": session_id, "user_id": user_id, "why": why}).rowcount == 1


def end_all(connection: Connection, user_id: str, why: str, *, besides: str | None = None) -> int:
    """Everywhere, except in the session `besides`; how many."""
    return connection.execute(_END_ALL, {"user_id": user_id, "why": why, "besides": besides}).rowcount
