"""Webhooks of payment providers: one statement stores an event, once, and publishes its messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from models import topics
from models.db.repositories.delivery import outbox
from models.ids import derived_id
from models.payments.disputes import state_of
from models.payments.provider import ProviderDispute, ProviderEvent, ProviderRefund
from models.payments.refunds import STATUS_OF, refund_of


def _statement(effects: str, **inserts: outbox.Insert) -> outbox.Statement:
    """`effects`: CTEs after `stored`, which has no row for a repeated event."""
    return outbox.statement(
        f"""
WITH stored AS (
        INSERT INTO webhook_events (provider, event_id, type, subject)
        VALUES (:provider, :event_id, :type, :subject) ON CONFLICT DO NOTHING RETURNING event_id),
{effects}
SELECT event_id FROM stored
""",  # noqa: S608  constants
        **inserts,
    )


# The checkout's lock serialises this with `require_action`: one of the two transactions sees the other.
_PAYMENT = _statement(
    """
    waiting AS (SELECT id, status FROM checkouts WHERE id = :checkout_id FOR UPDATE),
    payment AS ({payment_changed}),
    retried AS ({payment_retry_changed})
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

# The same for a set-up (method_saving.py, `require_action`).
_SETUP = _statement(
    """
    waiting AS (SELECT id, state FROM payment_methods WHERE id = :payment_method_id FOR UPDATE),
    published AS ({changed})
""",
    changed=outbox.insert(
        topics.PAYMENT_METHOD_CHANGED,
        "SELECT w.id, jsonb_build_object('payment_method_id', w.id) FROM waiting w, stored"
        " WHERE w.state = 'requires_action'",
    ),
)

# Signals a refund's workflow if the event's state is not recorded yet. A refund that we did not request is published as
# found if its payment belongs to an order.
_REFUND = _statement(
    """
    reported AS (
        SELECT CAST(:provider AS text) AS provider, CAST(:payment AS text) AS payment, CAST(:state AS text) AS state,
            CAST(:reference AS text) AS reference, CAST(:refund_id AS text) AS refund_id,
            CAST(:found_id AS text) AS found_id),
    ours AS (
        SELECT r.id, r.order_id FROM reported s JOIN refunds r ON r.id = coalesce(
            (SELECT f.refund_id FROM refund_parts f WHERE f.reference = s.reference), s.refund_id)),
    unrecorded AS (
        SELECT o.id, o.order_id FROM ours o, stored WHERE NOT EXISTS (
            SELECT 1 FROM refund_parts f JOIN reported s ON f.reference = s.reference
            WHERE f.state = s.state OR s.state = 'pending')),
    changed AS ({changed}),
    found AS ({found})
""",
    changed=outbox.insert(
        topics.REFUND_CHANGED,
        "SELECT n.id, jsonb_build_object('refund_id', n.id, 'order_id', n.order_id) FROM unrecorded n",
    ),
    found=outbox.insert(
        topics.REFUND_FOUND,
        """
        SELECT s.found_id, jsonb_build_object('refund_id', s.found_id, 'order_id', o.id,
            'provider', s.provider, 'reference', s.reference, 'payment', s.payment)
        FROM reported s JOIN payments p ON p.provider = s.provider AND p.reference = s.payment
            JOIN orders o ON o.id = p.order_id, stored
        WHERE s.state <> 'failed' AND NOT EXISTS (SELECT 1 FROM ours)""",
    ),
)

# A decided dispute is never reopened by a late event.
_DISPUTE = _statement(
    """
    recorded AS (
        INSERT INTO disputes AS d (provider, reference, payment, state, currency, amount, reason)
        SELECT :provider, :reference, CAST(:payment AS text), :state, :currency, :amount, :reason FROM stored
        ON CONFLICT (provider, reference) DO UPDATE SET state = excluded.state, updated_at = now()
        WHERE d.state = 'open'),
    published AS ({dispute_changed})
""",
    dispute_changed=outbox.insert(
        topics.DISPUTE_CHANGED,
        "SELECT CAST(:reference AS text), jsonb_build_object("
        "'provider', CAST(:provider AS text), 'reference', CAST(:reference AS text)) FROM stored",
    ),
)


def store(connection: Connection, provider: str, event: ProviderEvent) -> bool:
    """Stores an event and publishes its messages. False: it was stored before."""
    common = {"provider": provider, "event_id": event.id, "type": event.type, "subject": event.subject}
    statement, values = _effects_of(provider, event)
    return statement.execute(connection, {**common, **values}).first() is not None


def _effects_of(provider: str, event: ProviderEvent) -> tuple[outbox.Statement, Mapping[str, Any]]:
    if event.dispute is not None:
        return _DISPUTE, _dispute(event.dispute)
    if event.refund is not None:
        return _REFUND, _refund(provider, event.id, event.refund)
    if event.payment_method_id is not None:
        return _SETUP, {"payment_method_id": event.payment_method_id}
    return _PAYMENT, {"checkout_id": event.checkout_id}


def _dispute(dispute: ProviderDispute) -> dict[str, Any]:
    return {
        "reference": dispute.reference,
        "payment": dispute.payment,
        "state": state_of(dispute.state),
        "currency": dispute.amount.currency,
        "amount": dispute.amount.amount,
        "reason": dispute.reason,
    }


def _refund(provider: str, event_id: str, refund: ProviderRefund) -> dict[str, Any]:
    return {
        "reference": refund.reference,
        "refund_id": refund_of(refund.refund_id) if refund.refund_id else None,
        "payment": refund.payment,
        "state": STATUS_OF[refund.state],
        "found_id": derived_id("rfd", provider, refund.reference or event_id),
    }
