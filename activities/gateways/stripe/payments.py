"""Stripe, through its own SDK. Results, certain failures and unknown outcomes are distinguished.

Statuses, error types and idempotency follow Stripe's API reference (Payment Intents; Errors; Idempotent requests;
"low-level error handling": a 5xx or a lost answer is indeterminate until it is retrieved).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import stripe

from activities.gateways.stripe import events, refunds
from activities.gateways.stripe.client import client_of, decline_code, domain_error, message_of, options
from models.errors import AuthorisationGone, CaptureRefused, HoldfastError, PaymentMethodInvalid
from models.money import CURRENCIES, SMALLEST, Money
from models.payments.provider import (
    AuthorisationRequest,
    ForeignMovement,
    Movement,
    ProviderEvent,
    ProviderPayment,
    ProviderPaymentStatus,
    ProviderRefund,
)

# The list is consistent at once, unlike the search, but has only Stripe's clock: start earlier.
CLOCK_MARGIN = timedelta(minutes=5)

_STATES = {
    "requires_capture": ProviderPaymentStatus.AUTHORISED,
    "succeeded": ProviderPaymentStatus.CAPTURED,
    "requires_action": ProviderPaymentStatus.REQUIRES_ACTION,
    "requires_confirmation": ProviderPaymentStatus.REQUIRES_ACTION,
    "processing": ProviderPaymentStatus.PROCESSING,
    "requires_payment_method": ProviderPaymentStatus.DECLINED,
    "canceled": ProviderPaymentStatus.CANCELLED,
}
_EXPIRED = ("charge_expired_for_capture", "capture_charge_authorization_expired")


class StripeGateway:
    """Thread-safe; answers within `timeout` seconds or raises OutcomeUnknown."""

    name = "stripe"
    currencies = frozenset(CURRENCIES)

    def __init__(self, api_key: str, *, base: str = "", webhook_secret: str = "", timeout: float = 2.5) -> None:
        self._client = client_of(api_key, base, timeout)
        self._webhook_secret = webhook_secret

    def authorise(self, request: AuthorisationRequest) -> ProviderPayment:
        """Creates and confirms in one call, for a later capture. A decline is a result, not an error.

        Raises PaymentMethodInvalid, ProviderUnavailable (nothing happened) or OutcomeUnknown.
        """
        amount = request.amount
        if amount.amount % SMALLEST.get(amount.currency, 1):  # docs.stripe.com/currencies, three-decimal currencies
            raise PaymentMethodInvalid(
                f"Stripe takes {amount.currency} in steps of {SMALLEST[amount.currency]}",
                errors=[{"pointer": "/payment/provider", "detail": f"can't take {amount.amount} {amount.currency}"}],
            )
        wanted: stripe.params.PaymentIntentCreateParams = {
            "amount": amount.amount,
            "currency": amount.currency.lower(),
            "payment_method": request.method,
            # Cards that need no redirect; 3-D Secure goes through Stripe's script in the browser.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "capture_method": "manual",
            # Parcels capture what they ship, so an authorisation may be captured in several parts.
            "payment_method_options": {"card": {"request_multicapture": "if_available"}},
            "confirm": True,
            "metadata": request.metadata,
        }
        if request.customer is not None:
            wanted["customer"] = request.customer
        if request.save:
            wanted["setup_future_usage"] = "off_session"  # attached to the customer once it has paid
        if request.off_session:
            wanted["off_session"] = True
        try:
            intent = self._client.v1.payment_intents.create(wanted, options(request.key))
        except stripe.CardError as error:
            return ProviderPayment(
                state=ProviderPaymentStatus.DECLINED,
                reference=_intent_of(error),
                decline_code=decline_code(error),
            )
        except stripe.StripeError as error:
            raise domain_error(error) from error
        return _payment(intent)

    def retrieve(self, reference: str) -> ProviderPayment:
        """The payment by Stripe's id. Raises ProviderUnavailable or OutcomeUnknown."""
        try:
            return _payment(self._client.v1.payment_intents.retrieve(reference, {}, options()))
        except stripe.StripeError as error:
            raise domain_error(error) from error

    def complete(self, reference: str, key: str) -> ProviderPayment:
        """Retrieves the payment: Stripe itself authorises after the buyer's action."""
        return self.retrieve(reference)

    def search(self, metadata: dict[str, str], not_before: datetime) -> ProviderPayment:
        """The payment by our metadata; ABSENT only if the list, which is consistent, has none.

        Raises ProviderUnavailable or OutcomeUnknown.
        """
        try:
            query = " AND ".join(f"metadata['{name}']:'{value}'" for name, value in metadata.items())
            for intent in self._client.v1.payment_intents.search({"query": query, "limit": 1}, options()).data:
                return _payment(intent)
            since = int((not_before - CLOCK_MARGIN).timestamp())
            listed = self._client.v1.payment_intents.list({"created": {"gte": since}, "limit": 100}, options())
            for intent in listed.auto_paging_iter():
                held = intent.metadata.to_dict() if intent.metadata else {}
                if all(held.get(name) == value for name, value in metadata.items()):
                    return _payment(intent)
        except stripe.StripeError as error:
            raise domain_error(error) from error
        return ProviderPayment(state=ProviderPaymentStatus.ABSENT)

    def capture(self, reference: str, amount: int, *, final: bool, key: str) -> ProviderPayment:
        """Captures `amount` minor units; `final=False` keeps the rest authorised (multicapture).

        Raises CaptureRefused, AuthorisationGone, ProviderUnavailable or OutcomeUnknown.
        """
        try:
            return _payment(
                self._client.v1.payment_intents.capture(
                    reference,
                    {"amount_to_capture": amount, "final_capture": final},
                    options(key),
                )
            )
        except stripe.StripeError as error:
            raise self._not_captured(error, reference) from error

    def _not_captured(self, error: stripe.StripeError, reference: str) -> HoldfastError:
        """The domain error: a decline of the issuer, or a payment that has nothing left to capture."""
        if isinstance(error, stripe.CardError):
            return CaptureRefused(f"Stripe refused the capture: {error.code}", decline_code=decline_code(error))
        if not isinstance(error, stripe.InvalidRequestError):
            return domain_error(error)
        if error.code in _EXPIRED:
            return AuthorisationGone(decline_code="authorisation_expired")
        if error.code == "payment_intent_unexpected_state":
            state = self.retrieve(reference).state
            if state is ProviderPaymentStatus.CANCELLED:
                return AuthorisationGone(decline_code="authorisation_cancelled")
            return CaptureRefused(f"The payment is {state}", decline_code=error.code)
        return CaptureRefused(f"Stripe refused the capture: {error.code}", decline_code=message_of(error))

    def cancel(self, reference: str) -> ProviderPayment:
        """Voids the authorisation. Returns the payment as it is if it can't be voided (captured, or voided before).

        Idempotent without a key of ours; with one, Stripe would repeat a 500 for a day (Idempotent requests).
        """
        try:
            return _payment(self._client.v1.payment_intents.cancel(reference, {}, options()))
        except stripe.InvalidRequestError as error:
            if error.code == "payment_intent_unexpected_state":
                return self.retrieve(reference)
            raise domain_error(error) from error
        except stripe.StripeError as error:
            raise domain_error(error) from error

    def refund_rest(self, reference: str) -> None:
        """Refunds all that is left. Idempotent, so it needs no idempotency key either."""
        refunds.refund_rest(self._client, reference)

    def refund(self, reference: str, amount: Money, metadata: dict[str, str], key: str) -> ProviderRefund:
        """Refunds part or all. Raises RefundExceedsBalance, ProviderUnavailable or OutcomeUnknown."""
        return refunds.refund(self._client, reference, amount, metadata, key)

    def retrieve_refund(self, reference: str) -> ProviderRefund:
        """The refund by Stripe's id. Raises ProviderUnavailable or OutcomeUnknown."""
        return refunds.retrieve(self._client, reference)

    def search_refund(self, reference: str, metadata: dict[str, str]) -> ProviderRefund:
        """The refund of that payment by our metadata, or ABSENT. Raises ProviderUnavailable or OutcomeUnknown."""
        return refunds.search(self._client, reference, metadata)

    def event(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Raises BadSignature unless Stripe signed exactly these bytes within five minutes, or BadRequest."""
        return events.read(body, headers.get("stripe-signature", ""), self._webhook_secret)

    def list_movements(self, since: datetime) -> Iterator[Movement | ForeignMovement]:
        """Stripe's balance, and open authorisations. Raises ProviderUnavailable or OutcomeUnknown."""
        return events.list_movements(self._client, since)


def _payment(intent: stripe.PaymentIntent) -> ProviderPayment:
    state = _STATES.get(intent.status, ProviderPaymentStatus.PROCESSING)
    declined = intent.last_payment_error if state is ProviderPaymentStatus.DECLINED else None
    return ProviderPayment(
        state=state,
        reference=intent.id,
        amount=Money.of(intent.amount, intent.currency.upper()),
        captured=Money.of(intent.amount_received, intent.currency.upper()),
        next_action=_next_action(intent) if state is ProviderPaymentStatus.REQUIRES_ACTION else None,
        decline_code=message_of(declined) if declined else None,
    )


def _next_action(intent: stripe.PaymentIntent) -> dict[str, Any]:
    action = intent.next_action
    found: dict[str, Any] = {
        "type": action.type if action else "use_stripe_sdk",
        "client_secret": intent.client_secret,
    }
    if action and action.type == "redirect_to_url" and action.redirect_to_url:
        found["redirect_url"] = action.redirect_to_url.url
    return found


def _intent_of(error: stripe.CardError) -> str | None:
    intent = error.error.payment_intent if error.error else None
    return intent.id if intent else None
