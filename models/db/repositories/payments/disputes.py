"""Disputes: events are stored once, in any order; one transaction per dispute updates order, payment and ledger."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from models import topics
from models.db.repositories import ledger
from models.db.repositories.delivery import outbox, tasks
from models.db.repositories.orders.orders import append, lock_order
from models.delivery.tasks import OpenTask
from models.errors import Unavailable
from models.ledger import EntryKind
from models.money import Money
from models.orders import orders
from models.orders.orders import SYSTEM
from models.payments.disputes import DisputeState

_LOCK = text("SELECT * FROM disputes WHERE provider = :provider AND reference = :reference FOR UPDATE")

_PAYMENT = text("SELECT id, order_id FROM payments WHERE provider = :provider AND reference = :payment")

_BOOKED = text("""
UPDATE disputes SET booked = :state, payment_id = :payment_id, updated_at = now()
WHERE provider = :provider AND reference = :reference
""")

_MOVE = text("""
UPDATE payments SET disputed = disputed + :delta WHERE id = :id AND disputed + :delta BETWEEN 0 AND captured
RETURNING id
""")

_STEPS = {
    DisputeState.OPEN: (orders.PAYMENT_DISPUTED, EntryKind.DISPUTE),
    DisputeState.WON: (orders.PAYMENT_DISPUTE_WON, EntryKind.DISPUTE_WON),
    DisputeState.LOST: (orders.PAYMENT_DISPUTE_LOST, EntryKind.WRITE_OFF),
}


def record(connection: Connection, provider: str, reference: str) -> None:
    """Records the dispute's provider state: events, payment, ledger, and a manual task while it is open. Idempotent.

    Raises Unavailable until the disputed capture is recorded: a dispute's event may arrive before it.
    """
    key = {"provider": provider, "reference": reference}
    known = connection.execute(_LOCK, key).one()  # lock order: the dispute, then its order
    if known.booked == known.state:
        return
    payment = connection.execute(_PAYMENT, {"provider": provider, "payment": known.payment}).first()
    if payment is None:
        detail = f"{provider} reports the dispute {reference} about {known.payment}, which is not ours"
        tasks.open_task(connection, OpenTask(kind="unknown-payment", subject=known.payment or reference, detail=detail))
        return
    steps = [DisputeState(known.state)]
    if known.booked is None and known.state != DisputeState.OPEN:
        steps.insert(0, DisputeState.OPEN)
    _follow(connection, known, payment, steps)
    connection.execute(_BOOKED, {**key, "state": known.state, "payment_id": payment.id})
    detail = f"{known.amount} {known.currency} ({known.reason}), {reference} at {provider}"
    if known.state == DisputeState.OPEN:
        tasks.open_task(connection, OpenTask(kind="dispute", subject=payment.order_id, detail=detail))


def _follow(connection: Connection, known: Row[Any], payment: Row[Any], steps: list[DisputeState]) -> None:
    stored, now = lock_order(connection, payment.order_id)
    amount = Money.of(known.amount, known.currency)
    fact = {"payment_id": payment.id, "dispute_id": known.reference, "amount": amount.model_dump()}
    for step in steps:
        delta = {DisputeState.OPEN: known.amount, DisputeState.WON: -known.amount, DisputeState.LOST: 0}[step]
        if connection.execute(_MOVE, {"id": payment.id, "delta": delta}).first() is None:
            raise Unavailable("The disputed capture is not in the ledger yet")
        ledger.post(connection, _STEPS[step][1], payment.id, known.reference, amount)
    facts = [(_STEPS[step][0], fact) for step in steps]
    append(connection, stored.order, facts, now=now, actor=SYSTEM, cause=known.reference)


_FIND = text("""
INSERT INTO disputes AS d (provider, reference, payment, state, currency, amount, reason)
VALUES (:provider, :reference, :payment, :state, :currency, :amount, 'unknown')
ON CONFLICT (provider, reference) DO UPDATE SET state = excluded.state, updated_at = now() WHERE d.state = 'open'
""")


def record_found(
    connection: Connection, provider: str, reference: str, *, payment: str, amount: Money, state: DisputeState
) -> None:
    """Stores a dispute from the provider's list and publishes it as its webhook would have."""
    values = {"provider": provider, "reference": reference, "payment": payment, "state": state}
    connection.execute(_FIND, {**values, "currency": amount.currency, "amount": amount.amount})
    event = topics.DisputeChanged(provider=provider, reference=reference)
    outbox.publish(connection, topics.DISPUTE_CHANGED, reference, event)
