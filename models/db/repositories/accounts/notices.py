"""Notices: what an owner is told of by one mail each, meant in the transaction of the fact, sent when it can be."""

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
    """The owner gets a mail about it at their present address, or at `email` (the old one, after a change).

    `at_most` so many of the kind in an hour; the rest are silently left out. False then.
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
