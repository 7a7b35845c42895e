"""The retry schedule and the retry advice for a declined payment: pure rules over the provider's decline codes.

The advice follows Stripe's list of decline codes and its next steps for each
(https://docs.stripe.com/declines/codes): `lost_card`, `stolen_card`, `fraudulent`, `pickup_card` and the like are never
retried; `expired_card` and `authentication_required` only with input of the buyer. The number of attempts stays below
the networks' limits: Visa allows 15 retries of one payment in 30 days (Stripe: "Payment blocked due to excessive
retries"), and both Visa (category 1) and Mastercard (merchant advice 03, 21) charge for every attempt with a card that
its issuer will never approve. An authorisation that has expired was not declined: it is retried like any other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

# Delays after the failure, in business time. When the last attempt is declined too, the order is cancelled.
RETRY_SCHEDULE = (timedelta(hours=1), timedelta(days=1), timedelta(days=3), timedelta(days=7))
# Each extension by support adds so much time, and one attempt at the end of it.
EXTENSION = timedelta(days=7)
EXTENSIONS = 3  # at most: 28 days and 7 attempts are within the networks' limits


class RetryAdvice(StrEnum):
    """Of the method that was declined."""

    RETRY = "retry"  # the same method, later
    NEW_METHOD = "new_method"  # another card, or authentication by the buyer
    NEVER = "never"  # the same method must not be charged again


# The issuer will not approve this card again, or its owner has stopped the payment.
_NEVER = frozenset(
    {
        "fraudulent",
        "lost_card",
        "merchant_blacklist",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "stolen_card",
        "stop_payment_order",
    }
)

# Another card or an authenticated buyer may succeed; the same charge would be declined again.
_NEW_METHOD = frozenset(
    {
        "authentication_required",
        "card_not_supported",
        "currency_not_supported",
        "expired_card",
        "incorrect_address",
        "incorrect_cvc",
        "incorrect_number",
        "incorrect_pin",
        "incorrect_zip",
        "invalid_account",
        "invalid_amount",
        "invalid_cvc",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "invalid_pin",
        "new_account_information_available",
        "not_permitted",
        "offline_pin_required",
        "online_or_offline_pin_required",
        "payment_intent_authentication_failure",
        "payment_method_invalid",  # our own code: the provider no longer has the method
        "pin_try_exceeded",
        "testmode_decline",
        "transaction_not_allowed",
    }
)


def retry_advice_of(decline_code: str | None) -> RetryAdvice:
    """The advice for a decline code; an unknown code is a generic decline, which may be retried."""
    if decline_code in _NEVER:
        return RetryAdvice.NEVER
    return RetryAdvice.NEW_METHOD if decline_code in _NEW_METHOD else RetryAdvice.RETRY


def strictest(one: RetryAdvice, other: RetryAdvice) -> RetryAdvice:
    """The stricter of two advices for one method: `never` is final."""
    order = (RetryAdvice.RETRY, RetryAdvice.NEW_METHOD, RetryAdvice.NEVER)
    return max(one, other, key=order.index)


def due(failed_at: datetime, step: int, scale: float, extensions: int = 0) -> datetime | None:
    """When attempt `step` (from 0) is due; None after the end of the schedule and its extensions.

    `scale` multiplies the delays (HOLDFAST_RETRY_LADDER_SCALE).
    """
    if step < len(RETRY_SCHEDULE):
        return failed_at + RETRY_SCHEDULE[step] * scale
    beyond = step - len(RETRY_SCHEDULE) + 1
    return given_up_at(failed_at, scale, beyond) if beyond <= extensions else None


def given_up_at(failed_at: datetime, scale: float, extensions: int = 0) -> datetime:
    """When the order is cancelled unless it has been paid."""
    return failed_at + (RETRY_SCHEDULE[-1] + extensions * EXTENSION) * scale
