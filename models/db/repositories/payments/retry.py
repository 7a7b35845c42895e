"""The transactions of a payment retry. The order's lock decides races between payment, cancellation and giving up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories.delivery import outbox
from models.db.repositories.orders import commands as order_commands
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders import shipments
from models.db.repositories.orders.orders import append, lock_order
from models.db.repositories.payments import methods as payment_methods
from models.errors import InvalidTransition, NotFound
from models.orders import orders
from models.orders.commands import Initiator
from models.orders.notices import OrderNotice
from models.orders.orders import SYSTEM, Order
from models.payments.dunning import RetryAdvice, retry_advice_of
from models.payments.retry import (
    BeginRetry,
    ChallengedAttempt,
    ChargeOrder,
    FailPayment,
    GiveUpPayment,
    RecordRetrySchedule,
    RetryEnded,
    RetrySnapshot,
    RetryState,
    Waiting,
)
from models.states import ORDER_TRANSITIONS, OrderStatus

_FAIL = text("""
INSERT INTO payment_retries (order_id, payment_id, state, waits_for, verdict, decline_code)
VALUES (:order_id, :payment_id, 'retrying', :waits_for, :verdict, :decline_code)
ON CONFLICT (order_id) DO UPDATE SET payment_id = excluded.payment_id, state = 'retrying',
    waits_for = excluded.waits_for, verdict = excluded.verdict, decline_code = excluded.decline_code, step = 0,
    extensions = 0, failed_at = NULL, next_try_at = NULL, gives_up_at = NULL, open_try = NULL, next_action = NULL,
    action_expires_at = NULL, created_at = now(), updated_at = now()
""")


def fail(connection: Connection, command: FailPayment) -> bool:
    """Drops the planned shipment and starts the order's payment retry. False if the order's status does not allow it
    (on hold, for example): then the next shipment's capture fails again. Idempotent."""
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    shipments.drop_plan(connection, command.shipment_id)
    if order.status is OrderStatus.PAYMENT_RETRYING:
        return True
    if OrderStatus.PAYMENT_RETRYING not in ORDER_TRANSITIONS[order.status] or order.payment.id is None:
        return False
    fact = {"payment_id": order.payment.id, "decline_code": command.decline_code}
    append(
        connection,
        order,
        [(orders.PAYMENT_FAILED, fact)],
        now=now,
        actor=command.actor,
        cause=command.shipment_id,
    )
    advice = retry_advice_of(command.decline_code)
    own = own_method(connection, order, payment_row(connection, order.payment.id)["payment_method_id"])
    automatic = advice is RetryAdvice.RETRY and own is not None  # may succeed without the buyer
    waits_for = Waiting.NEXT_TRY if automatic else Waiting.NEW_METHOD
    connection.execute(_FAIL, {"order_id": order.id, **fact, "waits_for": waits_for, "verdict": advice})
    outbox.publish(connection, topics.PAYMENT_FAILED, order.id, topics.OrderRef(order_id=order.id))
    _notify_buyer(connection, order.id, order.payment.id, text_too=not automatic)
    return True


def _notify_buyer(connection: Connection, order_id: str, subject: str, *, text_too: bool) -> None:
    """Queues a mail, and with `text_too` a text message."""
    order_notices.queue(connection, order_id, OrderNotice.PAYMENT_FAILED, subject)
    if text_too:
        event = topics.TextMessage(order_id=order_id, subject=subject)
        outbox.publish(connection, topics.TEXT_MESSAGE_REQUESTED, f"sms/{order_id}", event)


_BEGIN = text("""
UPDATE payment_retries SET failed_at = coalesce(failed_at, :now), updated_at = now() WHERE order_id = :order_id
RETURNING *
""")

ATTEMPTS = text("""
SELECT id, attempt, provider, reference, state FROM payments WHERE order_id = :order_id AND attempt > 1
ORDER BY attempt
""")


def begin(connection: Connection, command: BeginRetry) -> RetrySnapshot:
    """Loads the snapshot; the first call starts the retry schedule. Ends the retry of an order that no longer waits for
    its payment."""
    stored, now = lock_order(connection, command.order_id)
    order = resume_covered(connection, stored.order, now)
    row = connection.execute(_BEGIN, {"order_id": order.id, "now": command.now}).mappings().first()
    if row is None:
        return RetrySnapshot(state=RetryState.CANCELLED, status=order.status, failed_at=command.now)
    state = RetryState(row["state"])
    if state is RetryState.RETRYING and order.status is not OrderStatus.PAYMENT_RETRYING:
        state = end(connection, order.id, RetryState.CANCELLED)
    failed = payment_row(connection, row["payment_id"])
    attempts = list(connection.execute(ATTEMPTS, {"order_id": order.id}).mappings())
    open_attempt = ChargeOrder.model_validate(row["open_try"]) if row["open_try"] else None
    return RetrySnapshot(
        state=state,
        status=order.status,
        provider=failed["provider"],
        failed_reference=failed["reference"],
        captured=failed["captured"],
        failed_at=row["failed_at"],
        step=row["step"],
        extensions=row["extensions"],
        attempts=attempts[-1]["attempt"] - 1 if attempts else 0,
        retry_advice=RetryAdvice(row["verdict"]),
        decline_code=row["decline_code"],
        has_method=own_method(connection, order, failed["payment_method_id"]) is not None,
        open_attempt=open_attempt.model_copy(update={"retrieve_first": True}) if open_attempt else None,
        challenged=_challenged(row, attempts),
    )


def resume_covered(connection: Connection, order: Order, now: datetime) -> Order:
    """An order whose payment was captured after all resumes, and its payment retry ends as paid."""
    if not order.is_covered:
        return order
    fact = {"payment_id": order.payment.id}
    order = append(connection, order, [(orders.PAYMENT_COVERED, fact)], now=now, actor=SYSTEM, cause=order.id)
    end(connection, order.id, RetryState.PAID)
    ref = topics.OrderRef(order_id=order.id)
    outbox.publish(connection, topics.ORDER_CHANGED, order.id, ref)
    outbox.publish(connection, topics.PAYMENT_RETRY_CHANGED, order.id, ref)
    return order


def _challenged(row: Any, attempts: list[Any]) -> ChallengedAttempt | None:
    waiting = [found for found in attempts if found["state"] == "requires_action"]
    if not waiting:
        return None
    found = waiting[-1]
    return ChallengedAttempt(
        order_id=row["order_id"],
        payment_id=found["id"],
        number=found["attempt"] - 1,
        provider=found["provider"],
        reference=found["reference"],
        expires_at=row["action_expires_at"],
    )


def payment_row(connection: Connection, payment_id: str) -> Any:
    found = connection.execute(text("SELECT * FROM payments WHERE id = :id"), {"id": payment_id})
    return found.mappings().one()


def own_method(connection: Connection, order: Order, method: str | None) -> payment_methods.Usable | None:
    """The saved method that the order was paid with; None if there is none or it was removed."""
    if method is None or order.customer_id is None:
        return None
    try:
        return payment_methods.usable(connection, order.customer_id, method)
    except NotFound:
        return None


_RECORD_SCHEDULE = text("""
UPDATE payment_retries SET waits_for = :waits_for, verdict = :retry_advice, decline_code = :decline_code, step = :step,
    extensions = :extensions, next_try_at = :next_try_at, gives_up_at = :gives_up_at, next_action = NULL,
    action_expires_at = NULL, updated_at = now()
WHERE order_id = :order_id AND state = 'retrying' RETURNING order_id
""")


def record_schedule(connection: Connection, command: RecordRetrySchedule) -> None:
    """Records the position in the retry schedule and notifies the buyer; a repeat sends no second mail."""
    recorded = connection.execute(_RECORD_SCHEDULE, command.model_dump(exclude={"notify_about"})).first()
    if recorded is not None and command.notify_about is not None:
        _notify_buyer(connection, command.order_id, command.notify_about, text_too=True)


def give_up(connection: Connection, command: GiveUpPayment) -> RetryEnded:
    """Cancels the unshipped units of an order whose payment was not collected. Idempotent.

    Raises InvalidTransition while a shipment is in progress.
    """
    stored, _ = lock_order(connection, command.order_id)
    order = stored.order
    row = row_of(connection, order.id)
    if order.status is not OrderStatus.PAYMENT_RETRYING:
        if row["state"] == RetryState.RETRYING:
            return RetryEnded(state=end(connection, order.id, RetryState.CANCELLED), status=order.status)
        return RetryEnded(state=RetryState(row["state"]), status=order.status)
    initiator = Initiator(actor=command.actor, cause=row["payment_id"])
    cancel = order_commands.cancel_remainder if order.shipments else order_commands.cancel
    status = cancel(connection, order.id, initiator).order.status
    return RetryEnded(state=end(connection, order.id, RetryState.GAVE_UP), status=status)


_END = text("""
UPDATE payment_retries SET state = :state, waits_for = 'nothing', open_try = NULL, next_action = NULL,
    action_expires_at = NULL, next_try_at = NULL, updated_at = now()
WHERE order_id = :order_id AND state = 'retrying'
""")


def end(connection: Connection, order_id: str, state: RetryState) -> RetryState:
    connection.execute(_END, {"order_id": order_id, "state": state})
    return RetryState(row_of(connection, order_id)["state"])


def row_of(connection: Connection, order_id: str) -> Any:
    found = connection.execute(text("SELECT * FROM payment_retries WHERE order_id = :id"), {"id": order_id})
    row = found.mappings().first()
    if row is None:
        raise InvalidTransition("The order's payment has not failed", state="unknown", requested="payment-retry")
    return row
