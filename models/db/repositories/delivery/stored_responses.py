"""Stored responses: the same Idempotency-Key and body get the same bytes again, for 30 days."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from models.delivery.stored_responses import StoredResponse
from models.errors import IdempotencyKeyReused, RequestInProgress

_CLAIM = text("""
INSERT INTO kept_answers (key_digest, fingerprint) VALUES (:key_digest, :fingerprint)
ON CONFLICT (key_digest) DO NOTHING RETURNING key_digest
""")

_STORE = text("""
INSERT INTO kept_answers (key_digest, fingerprint, status, body) VALUES (:key_digest, :fingerprint, :status, :body)
ON CONFLICT (key_digest) DO UPDATE SET status = excluded.status, body = excluded.body
WHERE kept_answers.fingerprint = excluded.fingerprint
""")


class KeyState(NamedTuple):
    """`running`: the first request with that key has not ended. `spent`: the checkouts with it that ended in a 5xx."""

    answer: StoredResponse | None
    running: bool
    spent: int


_LOAD = text("""
SELECT (SELECT json_build_array(k.fingerprint, k.status, k.body) FROM kept_answers k WHERE k.key_digest = :key_digest),
    (SELECT count(*) FROM checkouts c WHERE c.key_digest = :key_digest AND c.retryable)
""")


def load(connection: Connection, key_digest: str, fingerprint: str) -> KeyState:
    """The state of a key, in one round trip. Raises IdempotencyKeyReused."""
    stored, spent = connection.execute(_LOAD, {"key_digest": key_digest}).one()
    if stored is None:
        return KeyState(None, running=False, spent=spent)
    known, status, body = stored
    if known != fingerprint:
        raise IdempotencyKeyReused()
    if status is None:
        return KeyState(None, running=True, spent=spent)
    return KeyState(StoredResponse(status=status, body=body), running=False, spent=spent)


def find(connection: Connection, key_digest: str, fingerprint: str) -> StoredResponse | None:
    """The stored response of that key, or None. Raises IdempotencyKeyReused."""
    row = connection.execute(
        text("SELECT fingerprint, status, body FROM kept_answers WHERE key_digest = :key_digest"),
        {"key_digest": key_digest},
    ).first()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyKeyReused()
    return StoredResponse(status=row.status, body=row.body) if row.status is not None else None


def claim(connection: Connection, key_digest: str, fingerprint: str) -> StoredResponse | None:
    """Claims the key in the caller's transaction, or returns its stored response. Waits for a concurrent claim. Raises
    RequestInProgress, IdempotencyKeyReused."""
    key = {"key_digest": key_digest, "fingerprint": fingerprint}
    if connection.execute(_CLAIM, key).first() is not None:
        return None
    answer = find(connection, key_digest, fingerprint)
    if answer is None:
        raise RequestInProgress()
    return answer


def store(connection: Connection, key_digest: str | None, fingerprint: str | None, answer: StoredResponse) -> None:
    """Stores the response, in the transaction of the change. Does nothing without a key."""
    if key_digest is not None:
        connection.execute(
            _STORE,
            {"key_digest": key_digest, "fingerprint": fingerprint, "status": answer.status, "body": answer.body},
        )


def forget_old(connection: Connection) -> None:
    """Deletes responses that are older than 30 days."""
    connection.execute(text("DELETE FROM kept_answers WHERE created_at < now() - interval '30 days'"))
