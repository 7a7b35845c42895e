"""Mails and webhooks: what was meant, what was told, and the order between the two."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories import outbox
from models.ids import new_id

_BEGIN = text("""
INSERT INTO notifications AS n (id, event, topic, channel, state) VALUES (:id, :event, :topic, :channel, 'sending')
ON CONFLICT (event, topic, channel) DO UPDATE SET attempts = n.attempts + 1, sending_since = now()
WHERE n.state = 'sending' AND n.sending_since < now() - make_interval(secs => :unknown_seconds)
RETURNING n.id
""")


class Sending(NamedTuple):
    """`may_send`: it is ours to send now; else it is `sent`, failed for good, or its outcome is still awaited."""

    id: str
    may_send: bool
    state: str


def begin_sending(connection: Connection, event: str, topic: str, channel: str, unknown_seconds: float) -> Sending:
    """Claims the message. A send without a known outcome is ours again only after `unknown_seconds`."""
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


class Begun(NamedTuple):
    """How often it was begun to be sent, and when the first time."""

    attempts: int
    since: datetime


def begun(connection: Connection, message_id: str) -> Begun:
    found = connection.execute(
        text("SELECT attempts, created_at FROM notifications WHERE id = :id"), {"id": message_id}
    )
    return Begun(*found.one())


def end_sending(connection: Connection, message_id: str, state: str) -> None:
    """`sent` or `failed`; what the provider's own word settled before stays."""
    connection.execute(
        text("UPDATE notifications SET state = :state WHERE id = :id AND state = 'sending'"),
        {"id": message_id, "state": state},
    )


def no_longer_wanted(connection: Connection, event: str, topic: str, channel: str) -> None:
    """Nobody looks up any more whether an unanswered send of it arrived."""
    connection.execute(
        text("""
        UPDATE notifications SET state = 'failed'
        WHERE event = :event AND topic = :topic AND channel = :channel AND state = 'sending'
        """),
        {"event": event, "topic": topic, "channel": channel},
    )


def not_sent(connection: Connection, message_id: str) -> None:
    """The provider was certainly not reached: whoever comes next may send at once."""
    connection.execute(
        text("UPDATE notifications SET sending_since = '-infinity' WHERE id = :id AND state = 'sending'"),
        {"id": message_id},
    )


# One statement. The checkout's lock orders it against `require_action`: one of the two transactions sees the other.
_WEBHOOK = outbox.statement(
    """
WITH stored AS (
        INSERT INTO webhook_events (provider, event_id, type, subject)
        VALUES (:provider, :event_id, :type, :subject) ON CONFLICT DO NOTHING RETURNING event_id),
    waiting AS (SELECT id, status FROM checkouts WHERE id = :checkout_id FOR UPDATE),
    payment AS ({payment_changed}),
    retried AS ({payment_retry_changed})
SELECT event_id FROM stored
""",
    payment_changed=outbox.insert(
        topics.PAYMENT_CHANGED,
        "SELECT w.id, jsonb_build_object('checkout_id', w.id) FROM waiting w, stored"
        " WHERE w.status = 'requires_action'",
    ),
    payment_retry_changed=outbox.insert(
        topics.PAYMENT_RETRY_CHANGED,
        "SELECT p.order_id, jsonb_build_object('order_id', p.order_id) FROM payments p, stored WHERE"
        " p.provider = :provider AND p.reference = :subject AND p.attempt > 1 AND p.state = 'requires_action'",
    ),
)


# The same for the set-up of a card (models/db/repositories/payment_method_saving.py, `ask_owner`).
_SETUP_WEBHOOK = outbox.statement(
    """
WITH stored AS (
        INSERT INTO webhook_events (provider, event_id, type, subject)
        VALUES (:provider, :event_id, :type, :subject) ON CONFLICT DO NOTHING RETURNING event_id),
    waiting AS (SELECT id, state FROM payment_methods WHERE id = :payment_method_id FOR UPDATE),
    published AS ({changed})
SELECT event_id FROM stored
""",
    changed=outbox.insert(
        topics.PAYMENT_METHOD_CHANGED,
        "SELECT w.id, jsonb_build_object('payment_method_id', w.id) FROM waiting w, stored"
        " WHERE w.state = 'requires_action'",
    ),
)


def store_setup_webhook(
    connection: Connection, provider: str, event_id: str, type_: str, subject: str | None, payment_method_id: str
) -> bool:
    """Stores it once, and tells whoever waits for that card to be saved. False: known before."""
    values = {"provider": provider, "event_id": event_id, "type": type_, "subject": subject}
    return _SETUP_WEBHOOK.execute(connection, {**values, "payment_method_id": payment_method_id}).first() is not None


def store_webhook(
    connection: Connection, provider: str, event_id: str, type_: str, subject: str | None, checkout_id: str | None
) -> bool:
    """Stores it once, and tells the checkout that waits for it through the outbox. False: known before."""
    values = {"provider": provider, "event_id": event_id, "type": type_, "subject": subject}
    return _WEBHOOK.execute(connection, {**values, "checkout_id": checkout_id}).first() is not None
