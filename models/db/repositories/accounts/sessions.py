"""Sessions: each is a family of refresh tokens, of which only the newest is valid.

Every authenticated request reads its session (one indexed read), so signing out takes effect at once, everywhere.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.accounts.access import Principal, Role, Scope
from models.accounts.accounts import SecondFactor
from models.delivery.stored_responses import rfc3339
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
WITH found AS (
    SELECT id, scopes, used_at FROM api_keys
    WHERE digest = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
), noted AS (
    UPDATE api_keys k SET used_at = date_trunc('hour', now()) FROM found
    WHERE k.id = found.id AND found.used_at IS DISTINCT FROM date_trunc('hour', now()))
SELECT id, scopes FROM found
""")

_END = text("""
UPDATE sessions SET ended_at = now(), ended_why = :why
WHERE id = :id AND user_id = :user_id AND ended_at IS NULL
""")

_END_ALL = text("""
UPDATE sessions SET ended_at = now(), ended_why = :why
WHERE user_id = :user_id AND ended_at IS NULL AND id IS DISTINCT FROM :besides
""")

_USE = text("""
UPDATE refresh_tokens SET used_at = clock_timestamp(), used_with = :used_with
WHERE digest = :digest AND used_at IS NULL
RETURNING session_id
""")

_SLIDE = text("""
UPDATE sessions s SET seen_at = now(), expires_at = now() + make_interval(secs => :seconds)
FROM users u
WHERE s.id = :id AND u.id = s.user_id AND s.ended_at IS NULL AND s.expires_at > now() AND u.disabled_at IS NULL
RETURNING u.id, u.role, s.id AS session_id, s.second_factor
""")

_ISSUE = text("INSERT INTO refresh_tokens (digest, session_id) VALUES (:digest, :session_id)")

_USED = text("""
SELECT u.id, u.role, s.id AS session_id, s.second_factor,
    coalesce(t.used_with = :used_with AND t.used_at > clock_timestamp() - make_interval(secs => :grace), false)
        AND EXISTS (SELECT FROM refresh_tokens n WHERE n.digest = :successor AND n.used_at IS NULL) AS lost_answer
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.digest = :digest AND s.ended_at IS NULL AND s.expires_at > now() AND u.disabled_at IS NULL
""")

_LIST = text("""
SELECT id, method, second_factor, user_agent, address, created_at, seen_at, expires_at FROM sessions
WHERE user_id = :user_id AND ended_at IS NULL AND expires_at > now()
    AND (CAST(:before AS text) IS NULL OR id < :before)
ORDER BY id DESC LIMIT :limit
""")

# Deletes the tokens too; until then a reused token is detected.
_FORGET_OLD = text("""
DELETE FROM sessions WHERE id IN (
    SELECT id FROM sessions WHERE expires_at < now() - interval '30 days'
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
""")

_LOST_ANSWER_SECONDS = 30


class Origin(NamedTuple):
    """The client of a session, which its owner may recognise."""

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

    def view(self, current: str | None) -> dict[str, Any]:
        return {
            "id": self.id,
            "method": self.method,
            "user_agent": self.user_agent,
            "address": self.address,
            "created_at": rfc3339(self.created_at),
            "seen_at": rfc3339(self.seen_at),
            "current": self.id == current,
        }


class Reused(NamedTuple):
    """A refresh token was used twice, so it may be stolen: the session was ended."""

    principal: Principal


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
    """Creates a session with its first refresh token; returns its id."""
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
    """The session's user with their present role; None if the session has ended."""
    row = connection.execute(_LIVE, {"id": session_id}).first()
    return _principal(row, session_id) if row else None


def rotate(
    connection: Connection, digest: bytes, successor: bytes, *, used_with: bytes | None, seconds: float
) -> Principal | Reused | None:
    """Replaces a refresh token by its successor and extends the session by `seconds`.

    Returns None if it is unknown or its session has ended. A used token ends the session (commit that) and gives
    Reused, unless the response was lost: the same request (`used_with`) soon after, with an unused successor.
    """
    used = connection.execute(_USE, {"digest": digest, "used_with": used_with}).scalar()
    if used is not None:
        row = connection.execute(_SLIDE, {"id": used, "seconds": seconds}).first()
        if row is None:
            return None
        connection.execute(_ISSUE, {"digest": successor, "session_id": used})
        return _principal(row, used)
    row = connection.execute(
        _USED,
        {"digest": digest, "used_with": used_with, "successor": successor, "grace": _LOST_ANSWER_SECONDS},
    ).first()
    if row is None:
        return None
    if row.lost_answer:
        return _principal(row, row.session_id)
    return Reused(_principal(row, row.session_id)) if end(connection, row.id, row.session_id, "reuse") else None


def forget_old(connection: Connection, limit: int = 100) -> int:
    """Deletes at most `limit` sessions that expired 30 days ago; returns their number."""
    return connection.execute(_FORGET_OLD, {"limit": limit}).rowcount


def list_live(connection: Connection, user_id: str, *, before: str | None, limit: int) -> list[Session]:
    """The user's live sessions, newest first, before the session `before`."""
    rows = connection.execute(_LIST, {"user_id": user_id, "before": before, "limit": limit})
    return [Session(*row) for row in rows]


def _principal(row: Any, session_id: str) -> Principal:
    pending = row.second_factor == SecondFactor.PENDING
    return Principal(
        user_id=row.id, role=Role(row.role), session_id=session_id, granted=frozenset() if pending else None
    )


def principal_of_key(connection: Connection, digest: bytes) -> Principal | None:
    """The machine with that API key; None if the key is unknown, revoked or expired."""
    row = connection.execute(_KEY, {"digest": digest}).first()
    if row is None:
        return None
    return Principal(user_id=row.id, granted=frozenset(Scope(scope) for scope in row.scopes))


def end(connection: Connection, user_id: str, session_id: str, why: str) -> bool:
    """Ends a session. False if the user has no such live session."""
    return connection.execute(_END, {"id": session_id, "user_id": user_id, "why": why}).rowcount == 1


def end_all(connection: Connection, user_id: str, why: str, *, besides: str | None = None) -> int:
    """Ends the user's sessions except `besides`; returns their number."""
    return connection.execute(_END_ALL, {"user_id": user_id, "why": why, "besides": besides}).rowcount
