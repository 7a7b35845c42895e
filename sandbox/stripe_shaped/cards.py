"""Stripe's documented test cards and what each does; source: docs.stripe.com/testing."""

from dataclasses import dataclass

from sandbox.stripe_shaped.errors import BadParameter


@dataclass(frozen=True)
class Card:
    """A test card. `decline`: decline code of every charge. `refund`: the outcome of its refunds."""

    number: str
    brand: str = "visa"
    decline: str | None = None
    attachable: bool = True
    authenticate: bool = False
    dispute: bool = False
    refund: str = "succeeded"


_DECLINES = {  # the name's ending: last digits of the number, decline code
    "": ("0002", "generic_decline"),
    "InsufficientFunds": ("9995", "insufficient_funds"),
    "LostCard": ("9987", "lost_card"),
    "StolenCard": ("9979", "stolen_card"),
    "ExpiredCard": ("0069", "expired_card"),
    "IncorrectCvc": ("0127", "incorrect_cvc"),
    "ProcessingError": ("0119", "processing_error"),
    "VelocityLimitExceeded": ("6975", "card_velocity_exceeded"),
    "Fraudulent": ("0019", "fraudulent"),
}

_CARDS = {
    "visa": Card("4242424242424242"),
    "visa_debit": Card("4000056655665556"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "mastercard_debit": Card("5200828282828210", "mastercard"),
    "amex": Card("378282246310005", "amex"),
    "discover": Card("6011111111111117", "discover"),
    "authenticationRequired": Card("4000002760003184", authenticate=True),
    "threeDSecure2Required": Card("4000000000003220", authenticate=True),
    "threeDSecureRequired": Card("4000000000003063", authenticate=True),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "4000008260003178", authenticate=True, decline="insufficient_funds"
    ),
    "chargeCustomerFail": Card("4000000000000341", decline="generic_decline"),
    "createDispute": Card("4000000000000259", dispute=True),
    "refundFail": Card("4000000000005126", refund="failed"),
    "pendingRefund": Card("4000000000007726", refund="pending"),
}
for _ending, (_digits, _code) in _DECLINES.items():
    _declined = Card(f"400000000000{_digits}", decline=_code, attachable=False)
    _CARDS[f"visa_chargeDeclined{_ending}"] = _CARDS[f"chargeDeclined{_ending}"] = _declined

# error code and message to the buyer, by decline code; all others are a plain card_declined
_ERRORS = {
    "insufficient_funds": ("card_declined", "Your card has insufficient funds."),
    "expired_card": ("expired_card", "Your card has expired."),
    "incorrect_cvc": ("incorrect_cvc", "Your card's security code is incorrect."),
    "incorrect_number": ("incorrect_number", "Your card number is incorrect."),
    "processing_error": ("processing_error", "An error occurred while processing your card. Try again later."),
    "authentication_required": (
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}


def by_name(name: str) -> Card | None:
    """The card that `pm_card_…` names, or None."""
    return _CARDS.get(name.removeprefix("pm_card_")) if name.startswith("pm_card_") else None


def by_details(number: str | None, token: str | None) -> tuple[str, Card]:
    """Name and card of a test number or of `tok_…`. Raises BadParameter for any other."""
    for name, card in _CARDS.items():
        if (number and card.number == number.replace(" ", "")) or (token and f"tok_{name}" == token):
            return name, card
    raise BadParameter("Your card number is incorrect.", "incorrect_number", "card[number]")


def named(name: str) -> Card:
    """The card behind a name that was accepted before."""
    return _CARDS[name]


def error_of(decline_code: str) -> tuple[str, str]:
    """Error code and message for a decline code."""
    return _ERRORS.get(decline_code, ("card_declined", "Your card was declined."))
