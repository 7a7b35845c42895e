"""What a refused payment is tried again after, and when: pure rules over the provider's decline codes.

Which codes may be retried follows Stripe's list of decline codes and what it advises for each
(https://docs.stripe.com/declines/codes): `lost_card`, `stolen_card`, `fraudulent`, `pickup_card` and the like never;
`expired_card` and `authentication_required` only with something that the buyer gives. How often stays below what the
networks allow: Visa 15 retries of one payment in 30 days (Stripe: "Payment blocked due to excessive retries"), and both
Visa (category 1) and Mastercard (merchant advice 03, 21) charge for every try of a card that its issuer will never
approve. An authorisation that has lapsed is nobody's refusal: it is tried like any other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

# After the failure, in business time; with the last, refused too, the order is given up.
RETRY_SCHEDULE = (timedelta(hours=1), timedelta(days=1), timedelta(days=3), timedelta(days=7))
# What support adds when it extends the ladder: so much more time, and one more try at the end of it.
EXTENSION = timedelta(days=7)
EXTENSIONS = 3  # no more: 28 days and 7 tries are within what the networks allow


class RetryAdvice(StrEnum):
    """What may be done with the method that was refused."""

    RETRY = "retry"  # the same again, later
    NEW_METHOD = "new_method"  # only the buyer can help: another card, or a look at the bank
    NEVER = "never"  # the same must not be tried again, whoever asks


# The issuer will not approve this card again, or its owner has said no.
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

# The card could be another or the buyer could prove who they are; the same alone gives the same refusal.
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
        "payment_method_invalid",  # ours: the provider no longer has it
        "pin_try_exceeded",
        "testmode_decline",
        "transaction_not_allowed",
    }
)


def retry_advice_of(decline_code: str | None) -> RetryAdvice:
    """What the code allows; one that nobody knows is a generic decline, which may be tried again."""
    if decline_code in _NEVER:
        return RetryAdvice.NEVER
    return RetryAdvice.NEW_METHOD if decline_code in _NEW_METHOD else RetryAdvice.RETRY


def strictest(one: RetryAdvice, other: RetryAdvice) -> RetryAdvice:
    """Of two verdicts on one method: what an issuer has once refused for ever stays refused."""
    order = (RetryAdvice.RETRY, RetryAdvice.NEW_METHOD, RetryAdvice.NEVER)
    return max(one, other, key=order.index)


def due(failed_at: datetime, step: int, scale: float, extensions: int = 0) -> datetime | None:
    """When the try number `step` (from 0) is due; None when the ladder, extensions and all, has no more.

    `scale` makes the shop's time of it (HOLDFAST_RETRY_LADDER_SCALE).
    """
    if step < len(RETRY_SCHEDULE):
        return failed_at + RETRY_SCHEDULE[step] * scale
    beyond = step - len(RETRY_SCHEDULE) + 1
    return given_up_at(failed_at, scale, beyond) if beyond <= extensions else None


def given_up_at(failed_at: datetime, scale: float, extensions: int = 0) -> datetime:
    """When the order is cancelled unless it has been paid."""
    return failed_at + (RETRY_SCHEDULE[-1] + extensions * EXTENSION) * scale
