"""Stripe's webhooks, verified over their raw bytes, and its list of movements.

Source: Stripe's "Check the webhook signatures", its types of events, and "Balance transaction types".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import stripe

from activities.gateways.stripe.client import domain_error, options
from activities.gateways.stripe.refunds import STATES
from models.errors import BadRequest, BadSignature
from models.money import Money
from models.payments.provider import (
    Movement,
    MovementKind,
    ProviderDispute,
    ProviderDisputeStatus,
    ProviderEvent,
    ProviderRefund,
    ProviderRefundStatus,
)

# The events that the shop's webhook endpoint is subscribed to at Stripe: those that a workflow waits for.
EVENTS = frozenset(
    {
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "setup_intent.succeeded",
        "setup_intent.setup_failed",
        "setup_intent.canceled",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
    }
)

_DISPUTES = {
    "needs_response": ProviderDisputeStatus.NEEDS_RESPONSE,
    "warning_needs_response": ProviderDisputeStatus.NEEDS_RESPONSE,
    "under_review": ProviderDisputeStatus.UNDER_REVIEW,
    "warning_under_review": ProviderDisputeStatus.UNDER_REVIEW,
    "won": ProviderDisputeStatus.WON,
    "warning_closed": ProviderDisputeStatus.WON,
    "prevented": ProviderDisputeStatus.WON,
    "lost": ProviderDisputeStatus.LOST,
}
_KINDS = {
    "charge": MovementKind.CAPTURE,
    "payment": MovementKind.CAPTURE,
    "refund": MovementKind.REFUND,
    "payment_refund": MovementKind.REFUND,
    "refund_failure": MovementKind.REFUND_FAILURE,
    "payment_failure_refund": MovementKind.REFUND_FAILURE,
}


def read(body: bytes, signature: str, secret: str) -> ProviderEvent:
    """Raises BadSignature, or BadRequest for a signed body that is no event."""
    try:
        event = stripe.Webhook.construct_event(body, signature, secret)
        subject = event.data.object.to_dict()
        kind = subject.get("object")
        metadata = subject.get("metadata") or {}
        return ProviderEvent(
            id=event.id,
            type=event.type,
            subject=subject.get("id" if kind in ("payment_intent", "setup_intent") else "payment_intent"),
            checkout_id=metadata.get("checkout_id"),
            payment_method_id=metadata.get("payment_method_id"),
            refund=_refund(subject) if kind == "refund" else None,
            dispute=_dispute(subject) if kind == "dispute" else None,
        )
    except stripe.SignatureVerificationError as error:
        raise BadSignature() from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadRequest("The body is not an event") from error


def _refund(subject: dict[str, Any]) -> ProviderRefund:
    return ProviderRefund(
        state=STATES.get(subject["status"], ProviderRefundStatus.PENDING),
        reference=subject["id"],
        payment=subject.get("payment_intent"),
        amount=_money(subject),
        reason=subject.get("failure_reason"),
        refund_id=(subject.get("metadata") or {}).get("refund_id"),
    )


def _dispute(subject: dict[str, Any]) -> ProviderDispute:
    return ProviderDispute(
        reference=subject["id"],
        payment=subject.get("payment_intent"),
        amount=_money(subject),
        state=_DISPUTES.get(subject["status"], ProviderDisputeStatus.UNDER_REVIEW),
        reason=subject.get("reason") or "general",
    )


def _money(held: dict[str, Any]) -> Money:
    return Money.of(abs(held["amount"]), held["currency"].upper())


def list_movements(client: stripe.StripeClient, since: datetime) -> Iterator[Movement]:
    """The balance transactions, and the authorisations that are neither captured nor voided."""
    created: Any = {"gte": int(since.timestamp())}
    try:
        booked = client.v1.balance_transactions.list(
            {"created": created, "limit": 100, "expand": ["data.source"]}, options()
        )
        for entry in booked.auto_paging_iter():
            if (movement := _movement(entry.to_dict())) is not None:
                yield movement
        intents = client.v1.payment_intents.list({"created": created, "limit": 100}, options())
        for intent in intents.auto_paging_iter():
            if intent.status == "requires_capture":
                yield Movement(
                    kind=MovementKind.AUTHORISATION,
                    reference=intent.id,
                    payment=intent.id,
                    amount=Money.of(intent.amount, intent.currency.upper()),
                    at=_at(intent.created),
                    checkout_id=(intent.metadata.to_dict() if intent.metadata else {}).get("checkout_id"),
                )
    except stripe.StripeError as error:
        raise domain_error(error) from error


def _movement(entry: dict[str, Any]) -> Movement | None:
    """None for transactions without a payment: payouts, fees."""
    source = entry.get("source") or {}
    kind = _KINDS.get(entry["type"])
    if kind is None and source.get("object") == "dispute":
        kind = MovementKind.DISPUTE if entry["amount"] < 0 else MovementKind.DISPUTE_REVERSAL
    if kind is None:
        return None
    metadata = source.get("metadata") or {}
    return Movement(
        kind=kind,
        reference=entry["id"],
        payment=source.get("payment_intent"),
        amount=_money(entry),
        at=_at(entry["created"]),
        checkout_id=metadata.get("checkout_id"),
        refund_id=metadata.get("refund_id"),
        source=source.get("id"),
    )


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
