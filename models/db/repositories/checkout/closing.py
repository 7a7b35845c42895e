"""Ends a checkout without an order: closed by its workflow, or expired by the API before it began."""

from __future__ import annotations

from sqlalchemy import Connection, text

from models.checkout.checkouts import BeginCheckout, CloseCheckout
from models.db.repositories.checkout import holds
from models.db.repositories.delivery import stored_responses
from models.db.tables.base import one_of
from models.delivery.stored_responses import CommandResponse, StoredResponse
from models.errors import HoldfastError, IdempotencyKeyReused, Unavailable
from models.states import LIVE_CHECKOUT

_CLOSE = text(f"""
WITH closed AS (
        INSERT INTO checkouts AS c (id, cart_id, order_id, customer_id, status, reason, key_digest, retryable, currency,
            total, decline_code)
        VALUES (:checkout_id, :cart_id, :order_id, :customer_id, :status, :reason, :key_digest, :retryable, :currency,
            :total, :decline_code)
        ON CONFLICT (id) DO UPDATE SET status = excluded.status, reason = excluded.reason, next_action = NULL,
            retryable = excluded.retryable, decline_code = excluded.decline_code, updated_at = now()
        WHERE {one_of("c.status", LIVE_CHECKOUT)}
        RETURNING c.id),
    payment AS (UPDATE payments p SET state = CASE WHEN :status = 'declined' THEN 'declined' ELSE 'voided' END
        FROM closed WHERE p.checkout_id = closed.id AND p.state IN ('pending', 'requires_action')),
    unused AS (DELETE FROM promotion_uses u USING closed WHERE u.checkout_id = closed.id AND NOT u.final
        RETURNING u.promotion_id)
UPDATE promotions p SET used = p.used - 1 FROM unused WHERE p.id = unused.promotion_id
""")  # noqa: S608  constants


def close(connection: Connection, command: CloseCheckout) -> CommandResponse:
    """Compensates T1: releases stock and promotions, reopens the cart, and stores the response if it may be stored."""
    begin = command.begin
    error = command.refusal.raised()
    connection.execute(
        _CLOSE,
        {
            **begin.model_dump(include={"checkout_id", "cart_id", "order_id", "customer_id", "key_digest"}),
            "status": command.status,
            "reason": error.slug,
            "retryable": not error.stored,
            "currency": begin.expected_total.currency,
            "total": begin.expected_total.amount,
            "decline_code": error.extra.get("decline_code"),
        },
    )
    holds.release(connection, begin.checkout_id)
    answer = problem_response(error, begin)
    if connection.execute(_REASON, {"checkout_id": begin.checkout_id}).scalar_one() != error.slug:
        # The API expired the checkout before: its response to the buyer stays valid, and the key can be used again.
        response = problem_response(Unavailable(), begin)
        return CommandResponse(status=response.status, body=response.body)
    if error.stored:
        stored_responses.store(connection, begin.key_digest, begin.fingerprint, answer)
    elif not isinstance(error, IdempotencyKeyReused):
        connection.execute(_FORGET, {"key_digest": begin.key_digest, "fingerprint": begin.fingerprint})
    return CommandResponse(status=answer.status, body=answer.body)


_REASON = text("SELECT reason FROM checkouts WHERE id = :checkout_id")

_FORGET = text("DELETE FROM kept_answers WHERE key_digest = :key_digest AND fingerprint = :fingerprint")


def problem_response(error: HoldfastError, begin: BeginCheckout) -> StoredResponse:
    error.extra["checkout_id"] = begin.checkout_id
    return StoredResponse.refusal(error, instance="/v1/checkouts", request_id=begin.request_id)


_EXPIRE_UNANSWERED = text("""
INSERT INTO checkouts (id, cart_id, order_id, customer_id, status, reason, key_digest, retryable, currency, total)
VALUES (:checkout_id, :cart_id, :order_id, :customer_id, 'refused', 'unavailable', :key_digest, true, :currency, :total)
ON CONFLICT (id) DO NOTHING RETURNING id
""")


def expire_unanswered(connection: Connection, begin: BeginCheckout) -> bool:
    """Closes a checkout that no worker has answered, before it begins. False: it has begun and continues."""
    return (
        connection.execute(
            _EXPIRE_UNANSWERED,
            {
                **begin.model_dump(include={"checkout_id", "cart_id", "order_id", "customer_id", "key_digest"}),
                "currency": begin.expected_total.currency,
                "total": begin.expected_total.amount,
            },
        ).first()
        is not None
    )
