"""Security notices to owners: queued in the transaction of their event and mailed through the outbox."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.accounts.accounts import NoticeKind
from models.db.repositories.delivery import outbox
from models.ids import new_id

_QUEUE = text("""
INSERT INTO notices (id, user_id, kind, email)
SELECT :id, u.id, :kind, coalesce(:email, u.email) FROM users u
WHERE u.id = :user_id AND (CAST(:at_most AS integer) IS NULL OR :at_most > (
    SELECT count(*) FROM notices n
    WHERE n.user_id = u.id AND n.kind = :kind AND n.created_at > now() - interval '1 hour'))
RETURNING id
""")


class Notice(NamedTuple):
    id: str
    user_id: str
    kind: NoticeKind
    email: str


def queue(
    connection: Connection,
    user_id: str,
    kind: NoticeKind,
    *,
    email: str | None = None,
    at_most: int | None = None,
) -> bool:
    """Queues a mail to the account's address, or to `email` (the old one, after a change).

    At most `at_most` of the kind per hour; returns False if it was dropped for that.
    """
    values = {"id": new_id("notice"), "user_id": user_id, "kind": kind, "email": email, "at_most": at_most}
    notice_id = connection.execute(_QUEUE, values).scalar()
    if notice_id is None:
        return False
    event = topics.AccountNotification(notice_id=notice_id)
    outbox.publish(connection, topics.ACCOUNT_NOTIFICATION_REQUESTED, user_id, event)
    return True


def read_notice(connection: Connection, notice_id: str) -> Notice | None:
    row = connection.execute(
        text("SELECT id, user_id, kind, email FROM notices WHERE id = :id"), {"id": notice_id}
    ).first()
    return Notice(row.id, row.user_id, NoticeKind(row.kind), row.email) if row else None
