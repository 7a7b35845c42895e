"""Stripe's webhooks, verified over their raw bytes, and its list of movements.

Source: Stripe's "Check the webhook signatures", its types of events, "Balance transaction types" and "Currency
conversions": a balance transaction is in the account's settlement currency, its source in the payment's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import stripe

from activities.gateways.stripe.client import domain_error, options
from activities.gateways.stripe.refunds import STATES
from models.errors import BadRequest, BadSignature
from models.money import CURRENCIES, Money, allocate
from models.payments.provider import (
    ForeignMovement,
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


def list_movements(client: stripe.StripeClient, since: datetime) -> Iterator[Movement | ForeignMovement]:
    """The balance transactions, and the authorisations that are neither captured nor voided."""
    created: Any = {"gte": int(since.timestamp())}
    try:
        booked = client.v1.balance_transactions.list(
            {"created": created, "limit": 100, "expand": ["data.source"]}, options()
        )
        for entry in booked.auto_paging_iter():
            yield from _movements(client, entry.to_dict())
        intents = client.v1.payment_intents.list({"created": created, "limit": 100}, options())
        for intent in intents.auto_paging_iter():
            if intent.status == "requires_capture":
                yield _open_authorisation(intent)
    except stripe.StripeError as error:
        raise domain_error(error) from error


def _open_authorisation(intent: stripe.PaymentIntent) -> Movement | ForeignMovement:
    if (currency := intent.currency.upper()) not in CURRENCIES:
        return ForeignMovement(reference=intent.id, currency=currency)
    return Movement(
        kind=MovementKind.AUTHORISATION,
        reference=intent.id,
        payment=intent.id,
        amount=Money.of(intent.amount, currency),
        at=_at(intent.created),
        checkout_id=(intent.metadata.to_dict() if intent.metadata else {}).get("checkout_id"),
    )


def _movements(client: stripe.StripeClient, entry: dict[str, Any]) -> Iterator[Movement | ForeignMovement]:
    """None for transactions without a payment: payouts, fees. Of a converted charge all its captures."""
    source = entry.get("source") or {}
    kind = _kind(entry, source)
    if kind is None:
        return
    currency = (source.get("currency") or entry["currency"]).upper()
    if currency not in CURRENCIES:
        yield ForeignMovement(reference=entry["id"], currency=currency)
        return
    metadata = source.get("metadata") or {}
    for booked, amount in _in_payment_currency(client, entry, source):
        yield Movement(
            kind=kind,
            reference=booked["id"],
            payment=source.get("payment_intent"),
            amount=Money.of(amount, currency),
            at=_at(booked["created"]),
            checkout_id=metadata.get("checkout_id"),
            refund_id=metadata.get("refund_id"),
            source=source.get("id"),
        )


def _kind(entry: dict[str, Any], source: dict[str, Any]) -> MovementKind | None:
    if source.get("object") == "dispute" and entry["type"] not in _KINDS:
        return MovementKind.DISPUTE if entry["amount"] < 0 else MovementKind.DISPUTE_REVERSAL
    return _KINDS.get(entry["type"])


def _in_payment_currency(
    client: stripe.StripeClient, entry: dict[str, Any], source: dict[str, Any]
) -> list[tuple[dict[str, Any], int]]:
    """The entry with its amount in the source's currency.

    A charge that is captured in parts has an entry for each, and only their sum in its own currency: then all of its
    entries, each with its share of the sum.
    """
    if source.get("currency", entry["currency"]) == entry["currency"]:
        return [(entry, abs(entry["amount"]))]
    if source["object"] != "charge":
        return [(entry, source["amount"])]
    entries = [entry]
    if _multicapture(source):
        listed = client.v1.balance_transactions.list({"source": source["id"], "limit": 100}, options())
        entries = [one.to_dict() for one in listed.auto_paging_iter() if one.type == entry["type"]]
    shares = allocate(source["amount_captured"], [abs(one["amount"]) for one in entries])
    return list(zip(entries, shares, strict=True))


def _multicapture(charge: dict[str, Any]) -> bool:
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    return (card.get("multicapture") or {}).get("status") == "available"


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
