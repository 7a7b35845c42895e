"""The audit log: appended in the transaction of what it tells; the database chains the rows and refuses to change one.

Each row's hash is SHA-256 over the previous row's hash and the row's own values (see `_HASH`), so a changed, removed
or inserted row breaks every hash from there on. Only the end can be cut off unseen: keep the head that
`holdfast audit verify` prints, elsewhere.
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

# As the trigger of migration 0003 computes it.
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
    """How many rows there are, and the last one's hash in hex."""

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
    """The number of the first row that is not as it was written, or does not follow the one before it.

    Reads all rows, however long that takes. Within a transaction: rows that come meanwhile are another time's.
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    return connection.execute(_VERIFY).scalar()


def holds(connection: Connection, hash_: str) -> bool:
    """Whether a row has this hash (hex): the head at some time, if the chain is good."""
    found = connection.execute(text("SELECT 1 FROM audit_log WHERE encode(hash, 'hex') = :hash"), {"hash": hash_})
    return found.first() is not None


def head(connection: Connection) -> Head:
    row = connection.execute(text("SELECT number, hash FROM audit_log ORDER BY number DESC LIMIT 1")).first()
    return Head(row[0], bytes(row[1]).hex()) if row else Head(0, "")


def page(
    connection: Connection, *, subject: str | None, actor: str | None, before: int | None, limit: int
) -> list[Row]:
    """Newest first; None asks for all."""
    rows = connection.execute(
        _PAGE,
        {"subject": subject, "actor": actor, "before": _AFTER_ALL if before is None else before, "limit": limit},
    )
    return [Row(*row) for row in rows]
