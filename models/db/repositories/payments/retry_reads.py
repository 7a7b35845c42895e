"""Reads payment retries: the API's view, and the recipient of text messages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.db.repositories.orders.orders import StoredOrder
from models.db.repositories.payments.retry import ATTEMPTS
from models.delivery.stored_responses import rfc3339
from models.errors import NotFound
from models.payments.retry import RetryState


def view(connection: Connection, stored: StoredOrder) -> dict[str, Any]:
    """The API's PaymentRetry of an order. Raises NotFound if its payment has not failed."""
    order = stored.order
    found = connection.execute(text("SELECT * FROM payment_retries WHERE order_id = :id"), {"id": order.id})
    row = found.mappings().first()
    if row is None:
        raise NotFound("The order's payment has not failed")
    attempts = connection.execute(ATTEMPTS, {"order_id": order.id}).mappings().all()
    retrying = row["state"] == RetryState.RETRYING
    return {
        "order_id": order.id,
        "order_status": order.status,
        "state": row["state"],
        "waits_for": row["waits_for"],
        "decline_code": row["decline_code"],
        "verdict": row["verdict"],
        "step": row["step"],
        "tries": len(attempts),
        "extensions": row["extensions"],
        "amount_due": (order.due - order.payment.captured).model_dump() if retrying else None,
        "next_try_at": _moment(row["next_try_at"]),
        "gives_up_at": _moment(row["gives_up_at"]) if retrying else None,
    }


def _moment(at: datetime | None) -> str | None:
    return rfc3339(at) if at else None


def attempt_in_progress(connection: Connection, order_id: str) -> bool:
    """Whether the outcome of an attempt is not known yet."""
    found = connection.execute(
        text("SELECT open_try IS NOT NULL FROM payment_retries WHERE order_id = :id"), {"id": order_id}
    )
    return bool(found.scalar())


class Recipient(NamedTuple):
    """The recipient of a text message: `phone` in E.164, `choices` as in models/accounts/preferences.py."""

    number: str
    phone: str
    choices: dict[str, dict[str, bool]]


_RECIPIENT = text("""
SELECT o.number, coalesce(o.shipping_address ->> 'phone', o.billing_address ->> 'phone') AS phone, u.preferences
FROM orders o LEFT JOIN users u ON u.id = o.customer_id
WHERE o.id = :order_id AND o.status = 'payment_retrying'
""")


def recipient_of(connection: Connection, order_id: str) -> Recipient | None:
    """None without a phone number, or if the order no longer waits for a payment."""
    row = connection.execute(_RECIPIENT, {"order_id": order_id}).first()
    if row is None or row.phone is None:
        return None
    return Recipient(row.number, row.phone, dict(row.preferences or {}))
