"""Refunds: requested in one transaction under the order's lock, and split over the order's captured payments.

`payments.refunded` grows with the request and falls with its failure; a CHECK limits it to `captured`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories.delivery import outbox
from models.db.repositories.orders import notes
from models.db.repositories.orders.orders import StoredOrder, append, lock_order
from models.errors import RefundExceedsBalance
from models.money import Money
from models.orders import orders
from models.orders.orders import Actor, LineQuantity, Order, OrderRefund
from models.payments.refunds import RefundPlan, plan


class Requested(NamedTuple):
    """The order after the request, and the refund."""

    stored: StoredOrder
    refund: OrderRefund


# Newest payment first: a replacement payment has the card that the buyer uses now.
_ROOM = text("""
SELECT id, captured - refunded - disputed AS room FROM payments
WHERE order_id = :order_id AND captured > refunded + disputed ORDER BY attempt DESC FOR UPDATE
""")

_REQUEST = text("""
WITH refund AS (
        INSERT INTO refunds (id, order_id, state, currency, amount, cause, note_id)
        VALUES (:refund_id, :order_id, 'pending', :currency, :amount, :cause, :note_id)),
    given AS (SELECT * FROM unnest(CAST(:payments AS text[]), CAST(:amounts AS bigint[])) AS g (payment_id, amount)),
    parts AS (
        INSERT INTO refund_parts (refund_id, payment_id, amount, state)
        SELECT :refund_id, payment_id, amount, 'pending' FROM given)
UPDATE payments p SET refunded = p.refunded + g.amount FROM given g WHERE p.id = g.payment_id
""")


def request(
    connection: Connection,
    order_id: str,
    *,
    amount: Money | None,
    lines: list[LineQuantity],
    cause: str,
    actor: Actor,
    refund_id: str,
    reason: str | None = None,
) -> Requested:
    """Requests a refund of an amount, of lines, of a part of the lines' cost, or, with neither, of all that is left.

    Idempotent by `refund_id`; the order's lock serialises requests. Raises RefundExceedsBalance, CurrencyMismatch,
    InvalidRequest or NotFound, without a change.
    """
    stored, now = lock_order(connection, order_id)
    known = stored.order.refund(refund_id)
    if known is not None:
        return Requested(stored, known)
    planned = plan(stored.order, amount, lines)
    parts = _split(connection, order_id, planned.amount)
    order = append(
        connection,
        stored.order,
        [(orders.REFUND_REQUESTED, fact(refund_id, planned))],
        now=now,
        actor=actor,
        cause=cause,
    )
    note_id = notes.store_note(connection, order_id, "refund", reason, actor)
    write(connection, order_id, refund_id, planned.amount, parts, cause, note_id)
    publish_changed(connection, refund_id, order_id)
    refund = order.refund(refund_id)
    assert refund is not None
    return Requested(stored._replace(order=order), refund)


def publish_changed(connection: Connection, refund_id: str, order_id: str) -> None:
    """Publishes the event that starts the refund's workflow; a repeat for a running one has no effect."""
    event = topics.RefundChanged(refund_id=refund_id, order_id=order_id)
    outbox.publish(connection, topics.REFUND_REQUESTED, refund_id, event)


def fact(refund_id: str, planned: RefundPlan) -> dict[str, Any]:
    """The data of the event `refund.requested`."""
    return {"refund_id": refund_id, **planned.model_dump()}


def _split(connection: Connection, order_id: str, amount: Money) -> dict[str, int]:
    """Minor units by payment."""
    parts: dict[str, int] = {}
    missing = amount.amount
    for payment_id, room in connection.execute(_ROOM, {"order_id": order_id}).all():
        if part := min(room, missing):
            parts[payment_id] = part
            missing -= part
    if missing:
        left = Money(amount=amount.amount - missing, currency=amount.currency)
        raise RefundExceedsBalance(f"{left.amount} {left.currency} are left to refund", left=left.model_dump())
    return parts


def write(
    connection: Connection,
    order_id: str,
    refund_id: str,
    amount: Money,
    parts: dict[str, int],
    cause: str,
    note_id: str | None = None,
) -> None:
    """Inserts the rows of the refund and its parts; `parts`: minor units by payment."""
    connection.execute(
        _REQUEST,
        {
            "refund_id": refund_id,
            "order_id": order_id,
            "currency": amount.currency,
            "amount": amount.amount,
            "cause": cause,
            "note_id": note_id,
            "payments": list(parts),
            "amounts": list(parts.values()),
        },
    )


# Support's view


_OF_ORDER = text("""
SELECT r.id, r.cause, n.text AS reason, (
        SELECT coalesce(jsonb_agg(jsonb_build_object('payment_id', f.payment_id, 'provider', p.provider,
            'amount', jsonb_build_object('amount', f.amount, 'currency', r.currency), 'status', f.state,
            'reference', f.reference) ORDER BY p.attempt DESC), '[]')
        FROM refund_parts f JOIN payments p ON p.id = f.payment_id WHERE f.refund_id = r.id) AS parts
FROM refunds r LEFT JOIN order_notes n ON n.id = r.note_id WHERE r.order_id = :order_id
""")


def views(connection: Connection, order: Order) -> list[dict[str, Any]]:
    """The order's refunds, oldest first, each with its reason and its parts by payment."""
    rows = {row.id: row for row in connection.execute(_OF_ORDER, {"order_id": order.id})}
    return [
        {
            **refund.model_dump(mode="json", exclude={"shares"}),
            "order_id": order.id,
            "reason": rows[refund.id].reason,
            "cause": rows[refund.id].cause,
            "parts": rows[refund.id].parts,
        }
        for refund in order.refunds
    ]
