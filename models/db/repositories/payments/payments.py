"""Payments and their ledger entries: voids and releases, outside the other transactions of an order."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from models.db.repositories import ledger
from models.db.repositories.orders.orders import append, lock_order
from models.ledger import EntryKind
from models.money import Money
from models.orders import orders
from models.orders.orders import SYSTEM
from models.payments.provider import ProviderPayment, ProviderPaymentStatus

# The authorisation and the void of a payment without an order are both posted to the ledger. Voided without a
# reference: its checkout was closed before the provider answered.
_VOID = text(f"""
WITH voided AS (
    UPDATE payments SET state = :state, reference = coalesce(reference, :reference)
    WHERE checkout_id = :checkout_id AND (state IN ('pending', 'requires_action', 'authorised')
        OR state = 'voided' AND reference IS NULL)
    RETURNING id, currency, amount)
{
    ledger.insert(
        ledger.entry(EntryKind.AUTHORISE, "voided", ":checkout_id"),
        ledger.entry(EntryKind.VOID, "voided", ":checkout_id"),
    )
}
ON CONFLICT (payment_id, kind, cause) DO NOTHING
""")  # noqa: S608  constants


def record_void(connection: Connection, checkout_id: str, payment: ProviderPayment) -> None:
    """Records that the payment was voided or refunded at the provider. Idempotent."""
    state = "refunded" if payment.state is ProviderPaymentStatus.CAPTURED else "voided"
    connection.execute(
        _VOID,
        {"checkout_id": checkout_id, "reference": payment.reference, "state": state},
    )


def open_reference(connection: Connection, checkout_id: str) -> str | None:
    """The provider's id of a checkout's payment that is neither voided nor of an order."""
    found = connection.execute(
        text(
            "SELECT reference FROM payments WHERE checkout_id = :checkout_id AND reference IS NOT NULL"
            " AND state IN ('pending', 'requires_action')"
        ),
        {"checkout_id": checkout_id},
    )
    return found.scalars().first()


class OpenAuthorisation(NamedTuple):
    """An open authorisation of an order. `amount`: still open, `captured`: captured of the payment, in minor units."""

    payment_id: str
    provider: str
    reference: str
    amount: int
    captured: int


_OPEN_AUTHORISATIONS = text("""
SELECT id, provider, reference, amount - captured - released, captured FROM payments
WHERE order_id = :order_id AND state IN ('authorised', 'captured') AND amount > captured + released
ORDER BY attempt
""")

_RELEASED = text(f"""
WITH released AS (
    UPDATE payments SET released = amount - captured, state = CASE WHEN captured = 0 THEN 'voided' ELSE state END
    WHERE id = :payment_id AND captured + released < amount
    RETURNING id, currency)
{ledger.insert(ledger.entry(EntryKind.VOID, "released", ":order_id", ":amount"))}
""")  # noqa: S608  constants


def open_authorisations(connection: Connection, order_id: str) -> list[OpenAuthorisation]:
    return [OpenAuthorisation(*row) for row in connection.execute(_OPEN_AUTHORISATIONS, {"order_id": order_id})]


def record_release(connection: Connection, order_id: str, authorisation: OpenAuthorisation) -> None:
    """Records that the provider has voided or released it. Idempotent."""
    stored, now = lock_order(connection, order_id)
    if authorisation not in open_authorisations(connection, order_id):
        return
    amount = Money.of(authorisation.amount, stored.order.currency)
    fact = (orders.PAYMENT_VOIDED, {"payment_id": authorisation.payment_id, "amount": amount.model_dump()})
    append(connection, stored.order, [fact], now=now, actor=SYSTEM, cause=order_id)
    connection.execute(
        _RELEASED, {"payment_id": authorisation.payment_id, "order_id": order_id, "amount": authorisation.amount}
    )
