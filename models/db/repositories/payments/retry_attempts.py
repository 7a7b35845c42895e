"""The transactions of one attempt of a payment retry: plan, record, require action, accept, void."""

from __future__ import annotations

import json

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories import ledger
from models.db.repositories.delivery import outbox, stored_responses
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders.orders import append, lock_order
from models.db.repositories.payments import methods as payment_methods
from models.db.repositories.payments.retry import end, own_method, payment_row, resume_covered, row_of
from models.delivery.stored_responses import StoredResponse, rfc3339
from models.ids import payment_of
from models.ledger import EntryKind
from models.money import Money
from models.orders import orders
from models.orders.notices import OrderNotice
from models.payments.methods import is_saved_id
from models.payments.provider import ProviderPayment, ProviderPaymentStatus
from models.payments.retry import (
    AcceptPayment,
    AttemptPlanned,
    ChargeOrder,
    PlanAttempt,
    RequirePayerAction,
    RetryEnded,
    RetryState,
)
from models.states import OrderStatus

_PLAN = text("""
WITH planned AS (
    INSERT INTO payments (id, checkout_id, attempt, order_id, provider, state, currency, amount, payment_method_id)
    VALUES (:id, :checkout_id, :attempt, :order_id, :provider, 'pending', :currency, :amount, :method)
    ON CONFLICT (checkout_id, attempt) DO UPDATE
        SET provider = excluded.provider, payment_method_id = excluded.payment_method_id
        WHERE payments.state = 'pending' AND payments.reference IS NULL)
UPDATE payment_retries SET open_try = CAST(:open_try AS jsonb), waits_for = 'provider', updated_at = now()
WHERE order_id = :order_id
""")


def plan(connection: Connection, command: PlanAttempt) -> AttemptPlanned:
    """Plans the charge of the amount due. Raises NotFound for a saved method that is not the order's customer's."""
    stored, now = lock_order(connection, command.order_id)
    order = resume_covered(connection, stored.order, now)
    row = row_of(connection, order.id)
    if order.status is not OrderStatus.PAYMENT_RETRYING:
        return AttemptPlanned(state=RetryState(row["state"]), status=order.status)
    own = payment_row(connection, row["payment_id"])["payment_method_id"]
    saved = command.method if command.method and is_saved_id(command.method) else None if command.method else own
    if command.method is None:
        usable = own_method(connection, order, own)
        if usable is None:
            return AttemptPlanned(state=RetryState.RETRYING, status=order.status)
    else:
        usable = payment_methods.usable(connection, order.customer_id or "", saved) if saved else None
    due = order.due - order.payment.captured
    charge = ChargeOrder(
        order_id=order.id,
        checkout_id=order.checkout_id,
        cart_id=order.cart_id,
        payment_id=payment_of(order.checkout_id, command.number + 1),
        number=command.number,
        amount=due,
        provider=usable.provider if usable else str(command.provider),
        method=usable.reference if usable else str(command.method),
        customer=usable.customer if usable else None,
        off_session=command.method is None,
        not_before=now,
        request=command.request,
    )
    connection.execute(
        _PLAN,
        {
            **charge.model_dump(include={"checkout_id", "order_id", "provider"}),
            "id": charge.payment_id,
            "attempt": command.number + 1,
            "currency": due.currency,
            "amount": due.amount,
            "method": saved,
            "open_try": charge.model_dump_json(),
        },
    )
    event = topics.OrderRef(order_id=order.id)
    outbox.schedule(connection, charge.payment_id, topics.PAYMENT_RETRY_CHANGED, event)
    return AttemptPlanned(state=RetryState.RETRYING, status=order.status, charge=charge, own_method=saved == own)


_STATES = {
    ProviderPaymentStatus.AUTHORISED: "pending",  # until the order accepts it
    ProviderPaymentStatus.CAPTURED: "pending",
    ProviderPaymentStatus.REQUIRES_ACTION: "requires_action",
    ProviderPaymentStatus.PROCESSING: "requires_action",
    ProviderPaymentStatus.DECLINED: "declined",
    ProviderPaymentStatus.CANCELLED: "voided",
    ProviderPaymentStatus.ABSENT: "voided",
}

_RECORD_ATTEMPT = text("""
WITH tried AS (UPDATE payments SET state = :state, reference = coalesce(:reference, reference)
    WHERE id = :payment_id AND state IN ('pending', 'requires_action'))
UPDATE payment_retries SET next_action = CAST(:next_action AS jsonb), updated_at = now(),
    open_try = CASE WHEN :state = 'pending' THEN open_try ELSE NULL END
WHERE order_id = :order_id
""")


def record_attempt(connection: Connection, order_id: str, payment_id: str, payment: ProviderPayment) -> None:
    """Stores the provider's payment, so that no workflow payload contains its challenge."""
    outbox.withdraw(connection, payment_id)
    connection.execute(
        _RECORD_ATTEMPT,
        {
            "order_id": order_id,
            "payment_id": payment_id,
            "state": _STATES[payment.state],
            "reference": payment.reference,
            "next_action": json.dumps(payment.next_action) if payment.next_action else None,
        },
    )


# Voids the old authorisation and posts the new one: an order has one live payment.
_ACCEPT = text(f"""
WITH old AS (
        SELECT id, currency, amount - captured - released AS open_amount FROM payments
        WHERE order_id = :order_id AND id <> :payment_id AND state IN ('authorised', 'captured')
            AND amount > captured + released),
    voided AS (UPDATE payments p SET released = p.amount - p.captured,
            state = CASE WHEN p.captured = 0 THEN 'voided' ELSE p.state END
        FROM old WHERE p.id = old.id),
    new AS (UPDATE payments SET state = 'authorised', reference = :reference WHERE id = :payment_id
        RETURNING id, currency, amount)
{
    ledger.insert(
        ledger.entry(EntryKind.VOID, "old", ":payment_id", "open_amount"),
        ledger.entry(EntryKind.AUTHORISE, "new", ":order_id"),
    )
}
""")  # noqa: S608  constants


def accept(connection: Connection, command: AcceptPayment) -> RetryEnded:
    """Replaces the order's payment, and the order resumes. An order that no longer waits for a payment does not change:
    then the caller has to void the new one. Idempotent."""
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    payment = payment_row(connection, command.payment_id)
    if payment["state"] in ("authorised", "captured"):
        return RetryEnded(state=RetryState.PAID, status=order.status)
    if order.status is not OrderStatus.PAYMENT_RETRYING:
        return RetryEnded(state=end(connection, order.id, RetryState.CANCELLED), status=order.status)
    amount = Money.of(payment["amount"], payment["currency"])
    fact = {"payment_id": command.payment_id, "provider": payment["provider"], "amount": amount.model_dump()}
    order = append(
        connection,
        order,
        [(orders.PAYMENT_AUTHORISED, fact)],
        now=now,
        actor=command.request.actor,
        cause=command.payment_id,
    )
    connection.execute(_ACCEPT, command.model_dump(include={"order_id", "payment_id", "reference"}))
    end(connection, order.id, RetryState.PAID)
    outbox.publish(connection, topics.ORDER_CHANGED, order.id, topics.OrderRef(order_id=order.id))
    order_notices.queue(connection, order.id, OrderNotice.PAYMENT_RETRIED, command.payment_id)
    answer = StoredResponse.of(200, stored._replace(order=order).view())
    stored_responses.store(connection, command.request.key_digest, command.request.fingerprint, answer)
    return RetryEnded(state=RetryState.PAID, status=order.status)


_REQUIRE_ACTION = text("""
UPDATE payment_retries SET waits_for = 'bank', action_expires_at = :expires_at, updated_at = now()
WHERE order_id = :order_id RETURNING next_action
""")

# The events of `requires_action` itself and of `created` are not changes.
_CHANGED = text("""
SELECT EXISTS (SELECT 1 FROM webhook_events WHERE subject = :reference
    AND type NOT IN ('payment_intent.created', 'payment_intent.requires_action'))
""")


def require_payer_action(connection: Connection, command: RequirePayerAction) -> bool:
    """Stores the response to the buyer. True if the provider's webhook arrived before this."""
    connection.execute(_REQUIRE_ACTION, command.model_dump(include={"order_id", "expires_at"}))
    answer = challenge_response(connection, command.order_id)
    stored_responses.store(connection, command.request.key_digest, command.request.fingerprint, answer)
    return bool(connection.execute(_CHANGED, {"reference": command.reference}).scalar_one())


def challenge_response(connection: Connection, order_id: str) -> StoredResponse:
    """202 with the buyer's next action and its deadline."""
    row = row_of(connection, order_id)
    return StoredResponse.of(
        202,
        {
            "order_id": order_id,
            "status": "requires_action",
            "next_action": row["next_action"] or {"type": "wait"},
            "expires_at": rfc3339(row["action_expires_at"]),
        },
    )


def void_attempt(connection: Connection, order_id: str, payment_id: str, *, given_back: bool) -> None:
    """Records that an attempt was voided, or, with `given_back`, captured and refunded."""
    connection.execute(
        text("UPDATE payments SET state = :state WHERE id = :id AND state IN ('pending', 'requires_action')"),
        {"id": payment_id, "state": "refunded" if given_back else "voided"},
    )
    connection.execute(
        text("""
        UPDATE payment_retries SET open_try = NULL, next_action = NULL, action_expires_at = NULL, updated_at = now()
        WHERE order_id = :order_id
        """),
        {"order_id": order_id},
    )


def is_accepted(connection: Connection, order_id: str, payment_id: str | None) -> bool:
    """Whether it is the order's present payment."""
    found = connection.execute(
        text("SELECT document -> 'payment' ->> 'id' FROM orders WHERE id = :order_id"), {"order_id": order_id}
    ).scalar_one_or_none()
    return payment_id is not None and found == payment_id
