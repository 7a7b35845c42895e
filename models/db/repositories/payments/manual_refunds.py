"""Refunds that were made at the provider by hand: each is added to its order, once."""

from __future__ import annotations

from sqlalchemy import Connection, text

from models.db.repositories.orders import refunds
from models.db.repositories.orders.orders import append, lock_order
from models.db.repositories.payments import refund_outcomes
from models.orders import orders
from models.orders.orders import SYSTEM
from models.payments.provider import ProviderRefund
from models.payments.refunds import STATUS_OF, RefundPart, RefundRef, plan
from models.states import RefundStatus

_PAYMENT = text("""
SELECT p.id, p.order_id FROM payments p JOIN orders o ON o.id = p.order_id
WHERE p.provider = :provider AND p.reference = :payment AND p.captured > 0
""")


_KNOWN = text("""
SELECT 1 FROM refund_parts
WHERE payment_id = :payment_id AND :reference = ANY (string_to_array(reference, ','))
""")


def adopt(connection: Connection, ref: RefundRef, found: ProviderRefund) -> bool:
    """Adds a refund that we did not request to its order. Idempotent. False: it has no order, failed, or is ours.

    Raises RefundExceedsBalance while our own refunds reserve everything that is left.
    """
    assert ref.found is not None
    assert found.amount is not None
    made = {"provider": ref.found.provider, "payment": ref.found.payment}
    payment = connection.execute(_PAYMENT, made).first()
    if payment is None or STATUS_OF[found.state] is RefundStatus.FAILED:
        return False
    stored, now = lock_order(connection, payment.order_id)
    if stored.order.refund(ref.refund_id) is not None:
        return True
    if connection.execute(_KNOWN, {"payment_id": payment.id, "reference": ref.found.reference}).first() is not None:
        return False  # requested by us
    planned = plan(stored.order, found.amount, [])
    part = RefundPart(
        refund_id=ref.refund_id,
        order_id=payment.order_id,
        payment_id=payment.id,
        provider=ref.found.provider,
        payment=ref.found.payment,
        amount=found.amount,
        attempt=1,
        status=RefundStatus.PENDING,
        reference=ref.found.reference,
    )
    refund_outcomes.reserve(connection, part)
    fact = (orders.REFUND_REQUESTED, refunds.fact(ref.refund_id, planned))
    append(connection, stored.order, [fact], now=now, actor=SYSTEM, cause=ref.found.reference)
    refunds.write(connection, payment.order_id, ref.refund_id, found.amount, {}, ref.found.reference)
    connection.execute(
        _ADOPT,
        {
            **part.model_dump(include={"refund_id", "payment_id", "reference"}),
            "amount": part.amount.amount,
        },
    )
    refund_outcomes.close_tasks(connection, ref.refund_id)
    return True


_ADOPT = text("""
INSERT INTO refund_parts (refund_id, payment_id, amount, state, reference)
VALUES (:refund_id, :payment_id, :amount, 'pending', :reference)
""")
