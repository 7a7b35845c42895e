"""Mails and text messages: claims for sending, and their outcomes."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from models.ids import new_id

_BEGIN = text("""
INSERT INTO notifications AS n (id, event, topic, channel, state) VALUES (:id, :event, :topic, :channel, 'sending')
ON CONFLICT (event, topic, channel) DO UPDATE SET attempts = n.attempts + 1, sending_since = now()
WHERE n.state = 'sending' AND n.sending_since < now() - make_interval(secs => :unknown_seconds)
RETURNING n.id
""")


class Sending(NamedTuple):
    """`may_send`: the caller has claimed it; else it is `sent`, `failed`, or its outcome is not known yet."""

    id: str
    may_send: bool
    state: str


def begin_sending(connection: Connection, event: str, topic: str, channel: str, unknown_seconds: float) -> Sending:
    """Claims the message. A send without a known outcome can be claimed again after `unknown_seconds`."""
    key = {"event": event, "topic": topic, "channel": channel}
    claimed = connection.execute(
        _BEGIN, {**key, "id": new_id("msg"), "unknown_seconds": unknown_seconds}
    ).scalar_one_or_none()
    if claimed is not None:
        return Sending(claimed, True, "sending")
    row = connection.execute(
        text("SELECT id, state FROM notifications WHERE event = :event AND topic = :topic AND channel = :channel"),
        key,
    ).one()
    return Sending(row.id, False, row.state)


class SendingHistory(NamedTuple):
    """The number of sends that were begun, and the time of the first."""

    attempts: int
    since: datetime


def sending_history(connection: Connection, message_id: str) -> SendingHistory:
    found = connection.execute(
        text("SELECT attempts, created_at FROM notifications WHERE id = :id"), {"id": message_id}
    )
    return SendingHistory(*found.one())


def end_sending(connection: Connection, message_id: str, state: str) -> None:
    """Records `sent` or `failed`, unless the provider's event has recorded an outcome before."""
    connection.execute(
        text("UPDATE notifications SET state = :state WHERE id = :id AND state = 'sending'"),
        {"id": message_id, "state": state},
    )


def cancel_sending(connection: Connection, event: str, topic: str, channel: str) -> None:
    """Ends the message without waiting for the outcome of an unanswered send."""
    connection.execute(
        text("""
        UPDATE notifications SET state = 'failed'
        WHERE event = :event AND topic = :topic AND channel = :channel AND state = 'sending'
        """),
        {"event": event, "topic": topic, "channel": channel},
    )


def not_sent(connection: Connection, message_id: str) -> None:
    """The provider was certainly not reached: the message can be claimed again at once."""
    connection.execute(
        text("UPDATE notifications SET sending_since = '-infinity' WHERE id = :id AND state = 'sending'"),
        {"id": message_id},
    )
