"""Stripe's client and its errors in our words: certain and unknown outcomes are told apart here, for all calls.

Source: Stripe's API reference (Errors; Idempotent requests; "low-level error handling": a 5xx or a lost answer is
indeterminate until looked up).
"""

from __future__ import annotations

import stripe
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from models.errors import HoldfastError, OutcomeUnknown, PaymentMethodInvalid, ProviderUnavailable
from runtime.tracing import trace_context


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


def decline_code(error: stripe.CardError) -> str:
    return message_of(error.error) if error.error else str(error.code or "declined")


def message_of(error: object) -> str:
    """Stripe leaves out what does not apply: a failed authentication has a code but no decline code."""
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "declined")


def domain_error(error: stripe.StripeError, pointer: str = "/payment/method") -> HoldfastError:
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
