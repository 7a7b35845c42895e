"""Payments and the ledger, where a provider's word changes them outside an order's own transactions."""

from __future__ import annotations

from sqlalchemy import Connection, text

from models.checkout import PaymentAt, ProviderPayment

# An authorisation that never became an order is in the books as well, and out of them again.
_VOID = text("""
WITH voided AS (
    UPDATE payments SET state = :state, reference = coalesce(reference, :reference)
    WHERE checkout_id = :checkout_id AND state IN ('pending', 'requires_action', 'authorised')
    RETURNING id, currency, amount)
INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)
SELECT e.kind, v.id, :checkout_id, e.debit, e.credit, v.currency, v.amount
FROM voided v, (VALUES ('authorise', 'provider_authorised', 'authorisations'),
    ('void', 'authorisations', 'provider_authorised')) AS e (kind, debit, credit)
ON CONFLICT (payment_id, kind, cause) DO NOTHING
""")


def record_void(connection: Connection, checkout_id: str, payment: ProviderPayment) -> None:
    """The payment is undone at the provider; repeated, it changes nothing."""
    state = "refunded" if payment.state is PaymentAt.CAPTURED else "voided"
    connection.execute(
        _VOID,
        {"checkout_id": checkout_id, "reference": payment.reference, "state": state},
    )
