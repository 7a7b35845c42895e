"""Refunds at Stripe: never above the rest of the payment there, searched by our metadata after a lost answer.

Statuses and errors follow Stripe's API reference (Refunds; Error codes: `amount_too_large`,
`charge_already_refunded`, `charge_disputed`).
"""

from __future__ import annotations

import stripe

from activities.gateways.stripe.client import domain_error, options
from models.errors import OutcomeUnknown, RefundExceedsBalance
from models.money import Money
from models.payments.provider import ProviderRefund, ProviderRefundStatus

STATES = {
    "succeeded": ProviderRefundStatus.SUCCEEDED,
    "pending": ProviderRefundStatus.PENDING,
    "requires_action": ProviderRefundStatus.REQUIRES_ACTION,
    "failed": ProviderRefundStatus.FAILED,
    "canceled": ProviderRefundStatus.CANCELLED,
}
_EXCEEDS = ("amount_too_large", "charge_already_refunded")


def refund(
    client: stripe.StripeClient, reference: str, amount: Money, metadata: dict[str, str], key: str
) -> ProviderRefund:
    """See PaymentGateway. A refund that Stripe refuses for good (a disputed charge) is FAILED with its code."""
    try:
        made = client.v1.refunds.create(
            {"payment_intent": reference, "amount": amount.amount, "metadata": metadata}, options(key)
        )
    except stripe.InvalidRequestError as error:
        if error.code in _EXCEEDS:
            raise RefundExceedsBalance() from error
        if error.http_status == 409:
            raise domain_error(error) from error
        return ProviderRefund(
            state=ProviderRefundStatus.FAILED, payment=reference, amount=amount, reason=error.code or "invalid_request"
        )
    except stripe.StripeError as error:
        raise domain_error(error) from error
    return refund_of(made)


def refund_rest(client: stripe.StripeClient, reference: str) -> None:
    """Refunds all that is left; a payment that is refunded already is no error."""
    try:
        client.v1.refunds.create({"payment_intent": reference}, options())
    except stripe.InvalidRequestError as error:
        if error.code != "charge_already_refunded":
            raise domain_error(error) from error
    except stripe.StripeError as error:
        raise domain_error(error) from error


def retrieve(client: stripe.StripeClient, reference: str) -> ProviderRefund:
    """The refund by Stripe's id, or ABSENT."""
    try:
        return refund_of(client.v1.refunds.retrieve(reference, {}, options()))
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return ProviderRefund(state=ProviderRefundStatus.ABSENT)
        raise OutcomeUnknown(f"Stripe answered {error.code}") from error
    except stripe.StripeError as error:
        raise domain_error(error) from error


def search(client: stripe.StripeClient, reference: str, metadata: dict[str, str]) -> ProviderRefund:
    """Searches all refunds of the payment; the list is consistent at once."""
    try:
        listed = client.v1.refunds.list({"payment_intent": reference, "limit": 100}, options())
        for made in listed.auto_paging_iter():
            held = made.metadata.to_dict() if made.metadata else {}
            if all(held.get(name) == value for name, value in metadata.items()):
                return refund_of(made)
    except stripe.StripeError as error:
        raise domain_error(error) from error
    return ProviderRefund(state=ProviderRefundStatus.ABSENT)


def refund_of(made: stripe.Refund) -> ProviderRefund:
    """Stripe's refund as a ProviderRefund."""
    held = made.metadata.to_dict() if made.metadata else {}
    payment = made.payment_intent
    return ProviderRefund(
        state=STATES.get(made.status or "", ProviderRefundStatus.PENDING),
        reference=made.id,
        payment=payment if isinstance(payment, str) or payment is None else payment.id,
        amount=Money.of(made.amount, made.currency.upper()),
        reason=getattr(made, "failure_reason", None) or getattr(made, "pending_reason", None),
        refund_id=held.get("refund_id"),
    )
