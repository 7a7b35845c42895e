"""Stripe's client, and its errors as domain errors: certain and unknown outcomes are distinguished here, for all calls.

Source: Stripe's API reference (Errors; Idempotent requests; "low-level error handling": a 5xx or a lost answer is
indeterminate until it is retrieved).
"""

from __future__ import annotations

import stripe
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from models.errors import HoldfastError, OutcomeUnknown, PaymentMethodInvalid, ProviderUnavailable
from runtime.tracing import trace_context


def client_of(api_key: str, base: str, timeout: float) -> stripe.StripeClient:
    """Its calls answer or fail within `timeout` seconds, plus one second to connect."""
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": base} if base else None,
        http_client=stripe.RequestsClient(timeout=(1.0, timeout)),
        max_network_retries=0,  # activities retry, after they have resolved the outcome
    )


def options(key: str | None = None) -> stripe.RequestOptions:
    """Options of a call: our idempotency key and the trace context (W3C Trace Context)."""
    options: stripe.RequestOptions = {"headers": trace_context()}
    if key is not None:
        options["idempotency_key"] = key
    return options


def decline_code(error: stripe.CardError) -> str:
    return message_of(error.error) if error.error else str(error.code or "declined")


def message_of(error: object) -> str:
    """The decline code, or else the code: a failed authentication has no decline code."""
    return str(getattr(error, "decline_code", None) or getattr(error, "code", None) or "declined")


def domain_error(error: stripe.StripeError, pointer: str = "/payment/method") -> HoldfastError:
    """The domain error; OutcomeUnknown where the outcome is not certain.

    `pointer` is the JSON pointer of the payment method in the request body.
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
