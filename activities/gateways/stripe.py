"""Stripe, through its own SDK: what happened, what did not, and what is not known are three different answers.

Statuses, error types and idempotency follow Stripe's API reference (Payment Intents; Errors; Idempotent requests;
"low-level error handling": a 5xx or a lost answer is indeterminate until looked up).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import stripe
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from activities.gateways.tracing import trace_context
from models.base import Record, Storable
from models.checkout import PaymentAt, ProviderPayment
from models.errors import (
    BadRequest,
    BadSignature,
    HoldfastError,
    OutcomeUnknown,
    PaymentMethodInvalid,
    ProviderUnavailable,
)
from models.money import Money

# The list is consistent at once, unlike the search, but knows only Stripe's clock: look back generously.
CLOCK_MARGIN = timedelta(minutes=5)

_STATES = {
    "requires_capture": PaymentAt.AUTHORISED,
    "succeeded": PaymentAt.CAPTURED,
    "requires_action": PaymentAt.REQUIRES_ACTION,
    "requires_confirmation": PaymentAt.REQUIRES_ACTION,
    "processing": PaymentAt.PROCESSING,
    "requires_payment_method": PaymentAt.DECLINED,
    "canceled": PaymentAt.CANCELLED,
}


# What the shop's webhook endpoint is subscribed to at Stripe: whatever decides what a buyer waits for.
EVENTS = frozenset(
    {
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "setup_intent.succeeded",
        "setup_intent.setup_failed",
        "setup_intent.canceled",
    }
)


class ProviderEvent(Record):
    """A verified webhook: the provider's id of the event, its type, the payment or set-up it is about, and ours."""

    id: Storable
    type: Storable
    subject: Storable | None
    checkout_id: Storable | None
    payment_method_id: Storable | None = None


class StripeGateway:
    """One client for all threads; answers within `timeout` seconds or OutcomeUnknown."""

    name = "stripe"

    def __init__(self, api_key: str, *, base: str = "", webhook_secret: str = "", timeout: float = 2.5) -> None:
        self._client = client_of(api_key, base, timeout)
        self._webhook_secret = webhook_secret

    def authorise(self, amount: Money, method: str, metadata: dict[str, str], key: str) -> ProviderPayment:
        """Create and confirm in one call, to be captured later. A decline is a result, not an error.

        Raises PaymentMethodInvalid, ProviderUnavailable (nothing happened) or OutcomeUnknown.
        """
        try:
            intent = self._client.v1.payment_intents.create(
                {
                    "amount": amount.amount,
                    "currency": amount.currency.lower(),
                    "payment_method": method,
                    # Cards that need no redirect; 3-D Secure goes through Stripe's script in the browser.
                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                    "capture_method": "manual",
                    # Parcels capture what they ship, so an authorisation may be captured in several parts.
                    "payment_method_options": {"card": {"request_multicapture": "if_available"}},
                    "confirm": True,
                    "metadata": metadata,
                },
                options(key),
            )
        except stripe.CardError as error:
            return ProviderPayment(
                state=PaymentAt.DECLINED,
                reference=_intent_of(error),
                decline_code=decline_code(error),
            )
        except stripe.StripeError as error:
            raise ours(error) from error
        return _payment(intent)

    def look(self, reference: str) -> ProviderPayment:
        """The payment by Stripe's own id. Raises ProviderUnavailable or OutcomeUnknown."""
        try:
            return _payment(self._client.v1.payment_intents.retrieve(reference, {}, options()))
        except stripe.StripeError as error:
            raise ours(error) from error

    def find(self, metadata: dict[str, str], not_before: datetime) -> ProviderPayment:
        """The payment by our metadata; ABSENT only when the list, which is consistent, has none.

        Raises ProviderUnavailable or OutcomeUnknown when it can't be looked up.
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
            raise ours(error) from error
        return ProviderPayment(state=PaymentAt.ABSENT)

    def capture(self, reference: str, amount: int, *, final: bool, key: str) -> ProviderPayment:
        """Take `amount` minor units of what was authorised; `final=False` keeps the rest authorised (multicapture).

        Raises ProviderUnavailable, OutcomeUnknown or PaymentMethodInvalid (the authorisation is gone).
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
            raise ours(error) from error

    def cancel(self, reference: str) -> ProviderPayment:
        """Release an authorisation. Where it can't be cancelled (paid, or cancelled before), what it is instead.

        Twice is once without a key of ours; with one, Stripe would repeat a 500 for a day (Idempotent requests).
        """
        try:
            return _payment(self._client.v1.payment_intents.cancel(reference, {}, options()))
        except stripe.InvalidRequestError as error:
            if error.code == "payment_intent_unexpected_state":
                return self.look(reference)
            raise ours(error) from error
        except stripe.StripeError as error:
            raise ours(error) from error

    def refund(self, reference: str) -> None:
        """Give back all that was captured; done before counts as done, so it needs no key of ours either."""
        try:
            self._client.v1.refunds.create({"payment_intent": reference}, options())
        except stripe.InvalidRequestError as error:
            if error.code != "charge_already_refunded":
                raise ours(error) from error
        except stripe.StripeError as error:
            raise ours(error) from error

    def event(self, body: bytes, signature: str) -> ProviderEvent:
        """A webhook, if Stripe signed these very bytes within five minutes; else BadSignature."""
        try:
            event = stripe.Webhook.construct_event(body, signature, self._webhook_secret)
            subject = event.data.object.to_dict()
            is_intent = subject.get("object") in ("payment_intent", "setup_intent")
            metadata = subject.get("metadata") or {}
            return ProviderEvent(
                id=event.id,
                type=event.type,
                subject=subject.get("id" if is_intent else "payment_intent"),
                checkout_id=metadata.get("checkout_id"),
                payment_method_id=metadata.get("payment_method_id"),
            )
        except stripe.SignatureVerificationError as error:
            raise BadSignature() from error
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # signed, but not an event
            raise BadRequest("The body is not an event") from error


def client_of(api_key: str, base: str, timeout: float) -> stripe.StripeClient:
    """Answers or fails within `timeout` seconds and the second that a connection may take."""
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": base} if base else None,
        http_client=stripe.RequestsClient(timeout=(1.0, timeout)),
        max_network_retries=0,  # Temporal retries, and looks up first
    )


def options(key: str | None = None) -> stripe.RequestOptions:
    """What goes with a call beside its parameters: our key, and the buyer's trace (W3C Trace Context)."""
    options: stripe.RequestOptions = {"headers": trace_context()}
    if key is not None:
        options["idempotency_key"] = key
    return options


def _payment(intent: stripe.PaymentIntent) -> ProviderPayment:
    state = _STATES.get(intent.status, PaymentAt.PROCESSING)
    declined = intent.last_payment_error if state is PaymentAt.DECLINED else None
    return ProviderPayment(
        state=state,
        reference=intent.id,
        amount=Money.of(intent.amount, intent.currency.upper()),
        captured=Money.of(intent.amount_received, intent.currency.upper()),
        next_action=_next_action(intent) if state is PaymentAt.REQUIRES_ACTION else None,
        decline_code=why(declined) if declined else None,
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


def decline_code(error: stripe.CardError) -> str:
    return why(error.error) if error.error else str(error.code or "declined")


def why(error: object) -> str:
    """Stripe leaves out what does not apply: a failed authentication has a code but no decline code."""
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "declined")


def _intent_of(error: stripe.CardError) -> str | None:
    intent = error.error.payment_intent if error.error else None
    return intent.id if intent else None


def ours(error: stripe.StripeError, pointer: str = "/payment/method") -> HoldfastError:
    """What we can be certain of. Anything else is unknown, and is looked up before it is tried again.

    `pointer` says where a body names the payment method.
    """
    if isinstance(error, stripe.APIConnectionError):
        return ProviderUnavailable() if _never_sent(error) else OutcomeUnknown()
    if isinstance(error, stripe.RateLimitError | stripe.AuthenticationError | stripe.PermissionError):
        return ProviderUnavailable(f"Stripe answered {error.http_status}")
    if isinstance(error, stripe.IdempotencyError) or error.http_status == 409:
        return OutcomeUnknown("An earlier request with this key is still running at Stripe")
    if isinstance(error, stripe.InvalidRequestError | stripe.CardError):
        return PaymentMethodInvalid(
            f"Stripe refused the payment method: {error.code or 'invalid_request'}",
            errors=[{"pointer": pointer, "detail": "is not a usable payment method"}],
        )
    return OutcomeUnknown(f"Stripe answered {error.http_status}", answered=True)


def _never_sent(error: BaseException) -> bool:
    """True when no connection was made, so not a byte of the request left."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, RequestsConnectionError) and cause.args:
        reason = cause.args[0].reason if isinstance(cause.args[0], MaxRetryError) else cause.args[0]
        return isinstance(reason, NewConnectionError)
    return False
