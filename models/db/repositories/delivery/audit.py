"""The audit log: rows are appended in the transaction of their action. Triggers chain them and forbid changes.

Each row's hash is SHA-256 over the previous row's hash and the row's own values (see `_VERIFY`), so a changed, removed
or inserted row breaks every later hash. Only a truncated end is not detected: store the head that
`holdfast audit verify` prints elsewhere.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.accounts.access import Principal
from models.orders.orders import SYSTEM, Actor

_APPEND = text("""
INSERT INTO audit_log (actor_type, actor_id, action, subject, data)
VALUES (:actor_type, :actor_id, :action, :subject, CAST(:data AS jsonb))
""")

# The same computation as in the trigger of the accounts migration.
_VERIFY = text("""
WITH chained AS (
    SELECT number, previous, hash,
        lag(number, 1, 0::bigint) OVER (ORDER BY number) AS number_before,
        lag(hash, 1, '\\x'::bytea) OVER (ORDER BY number) AS hash_before,
        audit_hash(a) AS hash_now
    FROM audit_log a)
SELECT number FROM chained
WHERE number <> number_before + 1 OR previous <> hash_before OR hash <> hash_now
ORDER BY number LIMIT 1
""")

_PAGE = text("""
SELECT number, at, actor_type, actor_id, action, subject, data, encode(hash, 'hex') AS hash FROM audit_log
WHERE number < :before
    AND (CAST(:subject AS text) IS NULL OR subject = :subject) AND (CAST(:actor AS text) IS NULL OR actor_id = :actor)
ORDER BY number DESC LIMIT :limit
""")
_AFTER_ALL = 2**63 - 1


class Row(NamedTuple):
    number: int
    at: datetime
    actor_type: str
    actor_id: str | None
    action: str
    subject: str
    data: dict[str, Any]
    hash: str

    def view(self) -> dict[str, Any]:
        shown = self._asdict()
        return shown | {"actor": {"type": shown.pop("actor_type"), "id": shown.pop("actor_id")}}


class Head(NamedTuple):
    """The number of rows, and the last one's hash in hex."""

    rows: int
    hash: str


def append(connection: Connection, actor: Principal | Actor | None, action: str, subject: str, **data: Any) -> None:
    """`action` in the past tense (`session.started`); `subject` an id; `data` without personal data."""
    initiator = Actor(type=actor.kind, id=actor.user_id) if isinstance(actor, Principal) else actor or SYSTEM
    connection.execute(
        _APPEND,
        {
            "actor_type": initiator.type,
            "actor_id": initiator.id,
            "action": action,
            "subject": subject,
            "data": json.dumps(data),
        },
    )


def first_bad_row(connection: Connection) -> int | None:
    """The number of the first row whose hash or predecessor is wrong; None if the chain is intact.

    Reads all rows, without a statement timeout. Call it within a transaction, which gives one snapshot.
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    return connection.execute(_VERIFY).scalar()


def holds(connection: Connection, hash_: str) -> bool:
    """Whether a row has this hash (hex): if the chain is intact, it was the head at some time."""
    found = connection.execute(text("SELECT 1 FROM audit_log WHERE encode(hash, 'hex') = :hash"), {"hash": hash_})
    return found.first() is not None


def head(connection: Connection) -> Head:
    row = connection.execute(text("SELECT number, hash FROM audit_log ORDER BY number DESC LIMIT 1")).first()
    return Head(row[0], bytes(row[1]).hex()) if row else Head(0, "")


def page(
    connection: Connection, *, subject: str | None, actor: str | None, before: int | None, limit: int
) -> list[Row]:
    """Newest first; None: no filter."""
    rows = connection.execute(
        _PAGE,
        {"subject": subject, "actor": actor, "before": _AFTER_ALL if before is None else before, "limit": limit},
    )
    return [Row(*row) for row in rows]
