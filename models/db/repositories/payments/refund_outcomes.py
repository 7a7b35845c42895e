"""Refund outcomes: records a provider's refund status in events, payments and ledger, in one transaction each.

Each status is compared with the recorded one under the order's lock, so the result does not depend on their order.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from models.db.repositories import ledger
from models.db.repositories.delivery import tasks
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders import refunds, returns
from models.db.repositories.orders.orders import append, lock_order
from models.delivery.tasks import OpenTask, TaskOutcome
from models.errors import InvalidTransition, NotFound, RefundExceedsBalance
from models.ids import derived_id, refund_workflow
from models.ledger import EntryKind
from models.money import Money, sum_money
from models.orders import orders
from models.orders.notices import OrderNotice
from models.orders.orders import SYSTEM, Actor, Order
from models.payments.provider import ProviderRefund, ProviderRefundStatus
from models.payments.refunds import STATUS_OF, RefundPart, RefundSnapshot, RefundTask, plan_retry, plan_succeeded
from models.states import RefundStatus

_SNAPSHOT = text("""
SELECT r.order_id, r.currency, r.amount, r.state, t.id AS task_id, t.closed_at > r.updated_at AS decided, t.outcome,
    t.closed_at
FROM refunds r LEFT JOIN LATERAL (
    SELECT id, outcome, closed_at FROM tasks WHERE subject = r.id AND kind = 'refund-failed' ORDER BY id DESC LIMIT 1
) t ON true
WHERE r.id = :refund_id
""")

_PARTS = text("""
SELECT f.payment_id, p.provider, p.reference AS payment, p.currency, f.amount, f.attempt, f.state, f.reference
FROM refund_parts f JOIN payments p ON p.id = f.payment_id
WHERE f.refund_id = :refund_id ORDER BY p.attempt DESC, p.id
""")

_NAME = text("""
UPDATE refund_parts SET reference = :reference
WHERE refund_id = :refund_id AND payment_id = :payment_id AND reference IS NULL
""")

_SET_PART_STATE = text("""
UPDATE refund_parts SET state = :state, reference = coalesce(:reference, reference)
WHERE refund_id = :refund_id AND payment_id = :payment_id
""")

_SET_STATE = text("UPDATE refunds SET state = :state, updated_at = now() WHERE id = :refund_id")

_SHIFT = text("""
UPDATE payments SET refunded = refunded + :amount
WHERE id = :payment_id AND captured - refunded - disputed >= :amount
""")


def snapshot(connection: Connection, refund_id: str) -> RefundSnapshot | None:
    """The refund as stored; None: no such refund."""
    row = connection.execute(_SNAPSHOT, {"refund_id": refund_id}).first()
    if row is None:
        return None
    return RefundSnapshot(
        order_id=row.order_id,
        amount=Money.of(row.amount, row.currency),
        status=RefundStatus(row.state),
        parts=_parts(connection, refund_id, row.order_id),
        task=row.task_id if row.closed_at is None else None,
        resolution=TaskOutcome(row.outcome) if row.decided and row.outcome else None,
    )


def _parts(connection: Connection, refund_id: str, order_id: str) -> list[RefundPart]:
    return [
        RefundPart(
            refund_id=refund_id,
            order_id=order_id,
            payment_id=row.payment_id,
            provider=row.provider,
            payment=row.payment,
            amount=Money.of(row.amount, row.currency),
            attempt=row.attempt,
            status=RefundStatus(row.state),
            reference=row.reference,
        )
        for row in connection.execute(_PARTS, {"refund_id": refund_id})
    ]


def record(connection: Connection, requested: RefundPart, found: ProviderRefund) -> None:
    """Records the provider's status of one part. A repeated or late status, or an earlier attempt's, has no effect."""
    stored, now = lock_order(connection, requested.order_id)
    part = next((p for p in _parts(connection, requested.refund_id, requested.order_id) if _same(p, requested)), None)
    if part is None or found.state is ProviderRefundStatus.ABSENT:
        return
    key = {"refund_id": part.refund_id, "payment_id": part.payment_id}
    reported = STATUS_OF[found.state]
    if reported is part.status or reported is RefundStatus.PENDING:
        if found.reference is not None:
            connection.execute(_NAME, {**key, "reference": found.reference})
        return
    if part.status is RefundStatus.FAILED:  # a late success
        reserve(connection, part)
    connection.execute(_SET_PART_STATE, {**key, "state": reported, "reference": found.reference})
    if reported is RefundStatus.SUCCEEDED:
        _post(connection, part, EntryKind.REFUND)
    else:
        if part.status is RefundStatus.SUCCEEDED:  # returned by the buyer's bank
            _post(connection, part, EntryKind.REFUND_FAILED)
        _release(connection, part)
    status = _conclude(connection, stored.order, part.refund_id, found.reason or str(found.state), now)
    if status is RefundStatus.FAILED and found.refunded is not None and found.refunded < part.amount:
        _split_off_share(connection, part, found.refunded, found.refunded_reference)


def _same(part: RefundPart, requested: RefundPart) -> bool:
    return (part.payment_id, part.attempt) == (requested.payment_id, requested.attempt)


def reserve(connection: Connection, part: RefundPart) -> None:
    """Reserves the amount on the payment. Raises RefundExceedsBalance if other refunds use it."""
    values = {"payment_id": part.payment_id, "amount": part.amount.amount}
    if connection.execute(_SHIFT, values).rowcount != 1:
        raise RefundExceedsBalance(
            "Another refund uses this amount", left=Money.zero(part.amount.currency).model_dump()
        )


def _release(connection: Connection, part: RefundPart) -> None:
    connection.execute(
        text("UPDATE payments SET refunded = refunded - :amount WHERE id = :payment_id"),
        {"payment_id": part.payment_id, "amount": part.amount.amount},
    )


def _post(connection: Connection, part: RefundPart, kind: EntryKind) -> None:
    ledger.post(connection, kind, part.payment_id, part.name, part.amount)


def _conclude(connection: Connection, order: Order, refund_id: str, why: str, now: datetime) -> RefundStatus:
    """Ends the refund once all parts have ended; returns its status."""
    parts = _parts(connection, refund_id, order.id)
    ends = {part.status for part in parts}
    if RefundStatus.PENDING in ends:
        return RefundStatus.PENDING
    if ends == {RefundStatus.SUCCEEDED}:
        _succeeded(connection, order, refund_id, sum_money((part.amount for part in parts), order.currency), now)
        return RefundStatus.SUCCEEDED
    _failed(connection, order, refund_id, why, now)
    given = [part for part in parts if part.status is RefundStatus.SUCCEEDED]
    if given:
        _split_off_succeeded(connection, order.id, refund_id, given)
    return RefundStatus.FAILED


def _succeeded(connection: Connection, order: Order, refund_id: str, amount: Money, now: datetime) -> None:
    fact = (orders.PAYMENT_REFUNDED, {"refund_id": refund_id, "amount": amount.model_dump()})
    order = append(connection, order, [fact], now=now, actor=SYSTEM, cause=refund_id)
    returns.record_refunded(connection, order, refund_id, now=now, actor=SYSTEM, cause=refund_id)
    connection.execute(_SET_STATE, {"refund_id": refund_id, "state": RefundStatus.SUCCEEDED})
    order_notices.queue(connection, order.id, OrderNotice.REFUNDED, refund_id)
    close_tasks(connection, refund_id)


def _failed(connection: Connection, order: Order, refund_id: str, why: str, now: datetime) -> None:
    refund = order.refund(refund_id)
    if refund is not None and refund.status is not RefundStatus.FAILED:
        fact = (orders.REFUND_FAILED, {"refund_id": refund_id, "why": why})
        append(connection, order, [fact], now=now, actor=SYSTEM, cause=refund_id)
    connection.execute(_SET_STATE, {"refund_id": refund_id, "state": RefundStatus.FAILED})
    escalate(connection, refund_id, why)


def _split_off_succeeded(connection: Connection, order_id: str, refund_id: str, given: list[RefundPart]) -> None:
    """Moves the succeeded parts of a failed refund to a refund of their own, so that the rest can be refunded again."""
    amount = sum_money((part.amount for part in given), given[0].amount.currency)
    new_id = _succeeded_refund(connection, order_id, refund_id, refund_id, amount, {})
    connection.execute(
        text("UPDATE refund_parts SET refund_id = :new_id WHERE refund_id = :refund_id AND state = 'succeeded'"),
        {"new_id": new_id, "refund_id": refund_id},
    )


def _split_off_share(connection: Connection, part: RefundPart, given: Money, reference: str | None) -> None:
    """Moves the refunded share of a failed part to a refund of its own."""
    share = {part.payment_id: given.amount}
    new_id = _succeeded_refund(connection, part.order_id, part.refund_id, part.name, given, share)
    connection.execute(
        text("UPDATE refund_parts SET amount = amount - :given WHERE refund_id = :id AND payment_id = :payment_id"),
        {"given": given.amount, "id": part.refund_id, "payment_id": part.payment_id},
    )
    succeeded = {"state": RefundStatus.SUCCEEDED, "reference": reference}
    connection.execute(_SET_PART_STATE, {"refund_id": new_id, "payment_id": part.payment_id, **succeeded})
    _post(connection, part.model_copy(update={"refund_id": new_id, "amount": given, "attempt": 1}), EntryKind.REFUND)


def _succeeded_refund(
    connection: Connection, order_id: str, refund_id: str, name: str, amount: Money, parts: dict[str, int]
) -> str:
    """Adds a succeeded refund for the refunded amount of a failed one; returns its id."""
    stored, now = lock_order(connection, order_id)
    failed, new_id = stored.order.refund(refund_id), derived_id("rfd", name, "given")
    facts = [
        (orders.REFUND_REQUESTED, refunds.fact(new_id, plan_succeeded(failed, stored.order, amount))),
        (orders.PAYMENT_REFUNDED, {"refund_id": new_id, "amount": amount.model_dump()}),
    ]
    append(connection, stored.order, facts, now=now, actor=SYSTEM, cause=refund_id)
    refunds.write(connection, order_id, new_id, amount, parts, refund_id)
    connection.execute(_SET_STATE, {"refund_id": new_id, "state": RefundStatus.SUCCEEDED})
    order_notices.queue(connection, order_id, OrderNotice.REFUNDED, new_id)
    return new_id


def retry(connection: Connection, refund_id: str) -> None:
    """Requests a failed refund again, after its task was resolved; a pending one does not change.

    Raises NotFound, InvalidTransition (it has succeeded, or failed only in part: request a new one), or
    RefundExceedsBalance if its amount or units were refunded in another way.
    """
    found = snapshot(connection, refund_id)
    if found is None:
        raise NotFound("There is no such refund")
    stored, now = lock_order(connection, found.order_id)
    order, refund = stored.order, stored.order.refund(refund_id)
    parts = _parts(connection, refund_id, order.id)
    if refund is None or refund.status is RefundStatus.PENDING:
        return
    if refund.status is not RefundStatus.FAILED or sum_money((p.amount for p in parts), order.currency) < refund.amount:
        raise InvalidTransition(
            "Part of this refund has succeeded: request a new one for the rest",
            state=str(refund.status),
            requested="pending",
        )
    planned = plan_retry(order, refund)
    for part in parts:
        reserve(connection, part)
    append(
        connection,
        order,
        [(orders.REFUND_REQUESTED, refunds.fact(refund_id, planned))],
        now=now,
        actor=Actor(type="staff"),
        cause=refund_id,
    )
    connection.execute(_SET_STATE, {"refund_id": refund_id, "state": RefundStatus.PENDING})
    connection.execute(
        text("""
        UPDATE refund_parts SET state = 'pending', attempt = attempt + 1, reference = NULL WHERE refund_id = :refund_id
        """),
        {"refund_id": refund_id},
    )
    close_tasks(connection, refund_id)


def escalate(connection: Connection, refund_id: str, why: str) -> None:
    """Opens a manual task: refund in another way, or retry."""
    task = OpenTask(kind=RefundTask.FAILED, subject=refund_id, detail=why, resumes=True)
    tasks.open_task(connection, task, workflow_id=refund_workflow(refund_id))


_OPEN_TASKS = text("SELECT id FROM tasks WHERE subject = :subject AND kind LIKE 'refund-%' AND closed_at IS NULL")


def close_tasks(connection: Connection, refund_id: str) -> None:
    """Closes the refund's open tasks as obsolete."""
    for task_id in connection.execute(_OPEN_TASKS, {"subject": refund_id}).scalars().all():
        tasks.close_obsolete(connection, task_id)
