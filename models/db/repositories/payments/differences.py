"""Differences between a provider's list and the ledger: corrected automatically if that is safe, else a manual task.

Each is resolved in one transaction under its order's lock, which repeats the comparison.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories import ledger
from models.db.repositories.delivery import outbox, tasks
from models.db.repositories.orders import shipments
from models.db.repositories.orders.orders import append, lock_order
from models.db.repositories.payments import disputes, retry
from models.db.tables.base import one_of
from models.delivery.tasks import OpenTask
from models.ids import derived_id
from models.ledger import EntryKind
from models.money import Money
from models.orders import orders
from models.orders.fulfilment import CreateShipment
from models.orders.orders import SYSTEM, LineQuantity
from models.payments.disputes import DisputeState
from models.payments.reconciliation import DifferenceKind, DifferenceState
from models.payments.refunds import FoundRefund
from models.states import LIVE_CHECKOUT, OrderStatus

_COLUMNS = (
    "id, run_id, provider, kind, subject, payment_id, order_id, checkout_id, currency, ours, theirs, state, task_id,"
    " found_at, closed_at"
)
_READ = text(f"SELECT {_COLUMNS} FROM differences WHERE id = :id")  # noqa: S608  constants
_LOCK = text(f"SELECT {_COLUMNS} FROM differences WHERE id = :id FOR UPDATE")  # noqa: S608

_PAGE = text(f"""
SELECT {_COLUMNS} FROM differences
WHERE id < :before AND (CAST(:state AS text) IS NULL OR state = :state)
    AND (CAST(:order_id AS text) IS NULL OR order_id = :order_id)
ORDER BY id DESC LIMIT :limit
""")  # noqa: S608
_AFTER_ALL = "~"

_RECORD_STATE = text("""
UPDATE differences SET state = :state, task_id = :task_id, closed_at = CASE WHEN :state = 'healed' THEN now() END
WHERE id = :id
""")

# An orphaned authorisation: its checkout has ended, and it belongs to no live payment.
_WITHOUT_OWNER = text(f"""
SELECT 1 WHERE NOT EXISTS (
        SELECT 1 FROM checkouts WHERE id = :checkout_id AND {one_of("status", LIVE_CHECKOUT)})
    AND NOT EXISTS (
        SELECT 1 FROM payments WHERE provider = :provider AND reference = :subject
            AND state NOT IN ('voided', 'declined', 'refunded'))
    AND NOT EXISTS (
        SELECT 1 FROM payments WHERE checkout_id = :checkout_id AND reference IS NULL
            AND state IN ('pending', 'requires_action'))
""")  # noqa: S608  constants

_CAPTURED = text("SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE payment_id = :id AND kind = 'capture'")

_PLAN = text("""
SELECT id, carrier, tracking_number, lines FROM shipments
WHERE order_id = :order_id AND status = 'preparing' AND capture_amount = :amount ORDER BY created_at LIMIT 1
""")

_CAPTURE = text("""
UPDATE payments SET captured = captured + :amount, state = 'captured'
WHERE id = :id AND state IN ('authorised', 'captured') AND captured + released + :amount <= amount RETURNING id
""")

# Sums of two currencies are not comparable: the provider's list is in one that the buyer didn't pay in.
_IN_OTHER_CURRENCY = text("""
SELECT 1 FROM provider_movements WHERE provider = :provider AND payment = :subject AND currency <> :currency LIMIT 1
""")

# One refund part may be several refunds at the provider: its reference lists them all.
_REFUNDS = text("""
SELECT m.source FROM provider_movements m
WHERE m.provider = :provider AND m.payment = :subject AND m.kind = 'refund' AND m.source IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM refund_parts f
        WHERE f.payment_id = :payment_id AND m.source = ANY (string_to_array(f.reference, ',')))
ORDER BY m.at
""")

_DISPUTES = text("""
SELECT m.source, m.currency, max(m.amount) AS amount, bool_or(m.kind = 'dispute_reversal') AS won
FROM provider_movements m
WHERE m.provider = :provider AND m.payment = :subject AND m.kind IN ('dispute', 'dispute_reversal')
    AND m.source IS NOT NULL
GROUP BY m.source, m.currency
""")


class Difference(NamedTuple):
    """`ours` and `theirs` in minor units; `subject`: the provider's id of a payment or a movement."""

    id: str
    run_id: str
    provider: str
    kind: DifferenceKind
    subject: str
    payment_id: str | None
    order_id: str | None
    checkout_id: str | None
    currency: str
    ours: int
    theirs: int
    state: DifferenceState
    task_id: str | None
    found_at: Any
    closed_at: Any

    @property
    def description(self) -> str:
        where = f"{self.subject} at {self.provider}"
        return f"{where}: {self.ours} in the ledger, {self.theirs} at the provider, in minor units of {self.currency}"


def read(connection: Connection, difference_id: str) -> Difference:
    return Difference(*connection.execute(_READ, {"id": difference_id}).one())


def page(
    connection: Connection, *, state: str | None, order_id: str | None, before: str | None, limit: int
) -> list[dict[str, Any]]:
    """Newest first."""
    values = {"state": state, "order_id": order_id, "before": before or _AFTER_ALL, "limit": limit}
    return [Difference(*row)._asdict() for row in connection.execute(_PAGE, values)]


def has_no_owner(connection: Connection, difference: Difference) -> bool:
    """Whether the authorisation is orphaned: checked again right before it is voided."""
    return connection.execute(_WITHOUT_OWNER, difference._asdict()).first() is not None


def heal(connection: Connection, difference_id: str) -> DifferenceState:
    """Corrects our records if the cause is certain; else opens a manual task. Idempotent."""
    difference = Difference(*connection.execute(_LOCK, {"id": difference_id}).one())
    if difference.state != DifferenceState.FOUND:
        return DifferenceState(difference.state)
    healer = {
        DifferenceKind.CAPTURE_UNRECORDED: _record_capture,
        DifferenceKind.REFUND_UNRECORDED: _publish_refunds,
        DifferenceKind.DISPUTE_UNRECORDED: _record_disputes,
    }.get(difference.kind)
    comparable = connection.execute(_IN_OTHER_CURRENCY, difference._asdict()).first() is None
    if healer is not None and comparable and healer(connection, difference):
        return record_state(connection, difference, healed=True)
    return record_state(connection, difference, healed=False)


def record_state(connection: Connection, difference: Difference, *, healed: bool) -> DifferenceState:
    task_id = None
    if not healed:
        subject = difference.order_id or difference.checkout_id or difference.subject
        task = OpenTask(kind=difference.kind, subject=subject, detail=difference.description)
        task_id = tasks.open_task(connection, task).task_id
    state = DifferenceState.HEALED if healed else DifferenceState.OPEN
    connection.execute(_RECORD_STATE, {"id": difference.id, "state": state, "task_id": task_id})
    return state


def _record_capture(connection: Connection, difference: Difference) -> bool:
    """Records a capture that is only at the provider: of an interrupted shipment, or made by hand."""
    if difference.order_id is None or difference.payment_id is None:
        return False
    missing = difference.theirs - difference.ours
    stored, now = lock_order(connection, difference.order_id)
    if connection.execute(_CAPTURED, {"id": difference.payment_id}).scalar_one() != difference.ours:
        return True  # recorded meanwhile; the next run compares the rest
    amount = Money.of(missing, difference.currency)
    plan = connection.execute(_PLAN, {"order_id": difference.order_id, "amount": missing}).first()
    if plan is not None:
        shipments.confirm_shipment(
            connection,
            CreateShipment(
                order_id=difference.order_id,
                shipment_id=plan.id,
                lines=[LineQuantity.model_validate(line) for line in plan.lines],
                carrier=plan.carrier,
                tracking_number=plan.tracking_number,
                actor=SYSTEM,
                cause=difference.id,
            ),
            amount,
        )
        return True
    if stored.order.status is OrderStatus.CANCELLED:
        return False
    if connection.execute(_CAPTURE, {"id": difference.payment_id, "amount": missing}).first() is None:
        return False
    for kind in (EntryKind.CAPTURE, EntryKind.AUTHORISATION_USED):
        ledger.post(connection, kind, difference.payment_id, difference.id, amount)
    fact = {"payment_id": difference.payment_id, "shipment_id": None, "amount": amount.model_dump()}
    order = append(
        connection, stored.order, [(orders.PAYMENT_CAPTURED, fact)], now=now, actor=SYSTEM, cause=difference.id
    )
    retry.resume_covered(connection, order, now)
    return True


def _publish_refunds(connection: Connection, difference: Difference) -> bool:
    """Publishes refunds that were made at the provider by hand and whose webhook was lost."""
    if difference.order_id is None:
        return False
    found = connection.execute(_REFUNDS, difference._asdict())
    references = list(found.scalars())
    for reference in references:
        refund_id = derived_id("rfd", difference.provider, reference)
        made = FoundRefund(provider=difference.provider, reference=reference, payment=difference.subject)
        event = topics.RefundFound(refund_id=refund_id, order_id=difference.order_id, **made.model_dump())
        outbox.publish(connection, topics.REFUND_FOUND, refund_id, event)
    return bool(references)


def _record_disputes(connection: Connection, difference: Difference) -> bool:
    """Records disputes whose webhook was lost."""
    rows = connection.execute(_DISPUTES, {"provider": difference.provider, "subject": difference.subject}).all()
    for row in rows:
        disputes.record_found(
            connection,
            difference.provider,
            row.source,
            payment=difference.subject,
            amount=Money.of(row.amount, row.currency),
            state=DisputeState.WON if row.won else DisputeState.OPEN,
        )
    return bool(rows)
