"""Every domain error, in one tree.

HoldfastError                      status  slug
├── BadRequest                     400     bad-request
│   ├── MalformedJson              400     malformed-json
│   ├── BadCursor                  400     bad-cursor
│   ├── IdempotencyKeyRequired     400     idempotency-key-required
│   ├── BadIdempotencyKey          400     bad-idempotency-key
│   ├── BadSignature               400     bad-signature
│   └── SignInExpired              400     sign-in-expired
├── Unauthenticated                401     unauthenticated
│   ├── InvalidCredentials         401     invalid-credentials
│   ├── SecondFactorRequired       401     second-factor-required
│   └── SignInRefused              401     sign-in-refused
├── PaymentDeclined                402     payment-declined
├── CaptureRefused                 402     capture-refused
│   └── AuthorisationGone          402     authorisation-gone
├── CaptureDiffers                 409     capture-differs
├── Forbidden                      403     forbidden
│   └── AddressNotVerified         403     address-not-verified
├── NotFound                       404     not-found
├── MethodNotAllowed               405     method-not-allowed
├── Gone                           410     gone
├── Conflict                       409     conflict
│   ├── OutOfStock                 409     out-of-stock
│   ├── PriceChanged               409     price-changed
│   ├── CartCompleted              409     cart-completed
│   ├── CheckoutInProgress         409     checkout-in-progress
│   ├── CheckoutExpired            409     checkout-expired
│   ├── SetupExpired               409     setup-expired
│   ├── RequestInProgress          409     request-in-progress
│   ├── InvalidTransition          409     invalid-transition
│   ├── NotEnoughToShip            409     not-enough-to-ship
│   ├── NotEnoughToReturn          409     not-enough-to-return
│   ├── RefundExceedsBalance       409     refund-exceeds-balance
│   └── StockBelowReserved         409     stock-below-reserved
├── PreconditionFailed             412     precondition-failed
├── PayloadTooLarge                413     payload-too-large
├── UnsupportedMediaType           415     unsupported-media-type
├── InvalidRequest                 422     invalid-request
│   ├── CartIncomplete             422     cart-incomplete
│   ├── IdempotencyKeyReused       422     idempotency-key-reused
│   ├── UnknownLocation            422     unknown-location
│   ├── CurrencyMismatch           422     currency-mismatch
│   ├── PaymentMethodInvalid       422     payment-method-invalid
│   ├── PasswordRefused            422     password-refused
│   ├── CardNumberRefused          422     card-number-refused
│   ├── PriceUnavailable           422     price-unavailable
│   ├── ShippingOptionUnavailable  422     shipping-option-unavailable
│   ├── DiscountUnknown            422     discount-unknown
│   ├── DiscountExpired            422     discount-expired
│   ├── DiscountUsedUp             422     discount-used-up
│   └── DiscountNotApplicable      422     discount-not-applicable
├── TooManyRequests                429     too-many-requests
│   └── TooManyAttempts            429     too-many-attempts
├── InternalError                  500     internal-error
└── Unavailable                    503     unavailable
    ├── ProviderUnavailable        503     provider-unavailable  (nothing happened there)
    ├── SignInUnavailable          503     sign-in-unavailable
    └── OutcomeUnknown             503     outcome-unknown       (something may have)

The class carries the HTTP status and the slug of its RFC 9457 problem type; `extra` holds the problem's own
members (`available`, `totals`, …). An error crosses Temporal by its class name and its `extra`
(workflows/failures.py) and becomes HTTP in one place (api/problems.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from models.base import Record


class HoldfastError(Exception):
    """`detail` is for people, `extra` for programs: JSON values only, no personal data."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong"
    retryable: ClassVar[bool] = False  # whether Temporal tries the activity again

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra

    @property
    def stored(self) -> bool:
        """Whether a repeated Idempotency-Key gets this response again: a 402 or 409, never a 5xx."""
        return self.status in (402, 409)

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 members that don't depend on the request."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }


class BadRequest(HoldfastError):
    status, slug, title = 400, "bad-request", "The request can't be read"


class MalformedJson(BadRequest):
    slug, title = "malformed-json", "The body is not JSON"


class BadCursor(BadRequest):
    slug, title = "bad-cursor", "The cursor is not one of ours"


class IdempotencyKeyRequired(BadRequest):
    slug, title = "idempotency-key-required", "This call needs an Idempotency-Key"


class BadIdempotencyKey(BadRequest):
    slug, title = "bad-idempotency-key", "The Idempotency-Key must be 1 to 255 visible ASCII characters"


class BadSignature(BadRequest):
    slug, title = "bad-signature", "The signature does not match"


class SignInExpired(BadRequest):
    """The sign-in was started in another browser, or too long ago, or has been completed."""

    slug, title = "sign-in-expired", "This sign-in was not begun here, has expired or has been used"


class Unauthenticated(HoldfastError):
    status, slug, title = 401, "unauthenticated", "Sign in first"


class InvalidCredentials(Unauthenticated):
    """The same response for a wrong password, an unknown address and an unverified one."""

    slug, title = "invalid-credentials", "The address or the password is not right"


class SecondFactorRequired(Unauthenticated):
    """The password was right: repeat the call with `code`."""

    slug, title = "second-factor-required", "A code from your authenticator is needed as well"


class SignInRefused(Unauthenticated):
    """The user refused consent at Google or Facebook, or the provider's response failed verification."""

    slug, title = "sign-in-refused", "Signing in there did not work"


class PaymentDeclined(HoldfastError):
    """`extra`: decline_code (the provider's)."""

    status, slug, title = 402, "payment-declined", "The payment was declined"


class CaptureRefused(HoldfastError):
    """Nothing was captured, for certain. `extra`: decline_code (the provider's)."""

    status, slug, title = 402, "capture-refused", "The payment could not be taken"


class AuthorisationGone(CaptureRefused):
    """The authorisation has expired or was voided: only a new payment can be captured. `extra`: decline_code."""

    slug, title = "authorisation-gone", "The payment is no longer authorised"


class CaptureDiffers(HoldfastError):
    """The payment was captured at the provider without us, with less than this shipment costs: a person decides."""

    status, slug, title = 409, "capture-differs", "The payment was captured in another way"


class Forbidden(HoldfastError):
    status, slug, title = 403, "forbidden", "Not allowed"


class AddressNotVerified(Forbidden):
    slug, title = "address-not-verified", "The provider has not verified your e-mail address"


class NotFound(HoldfastError):
    status, slug, title = 404, "not-found", "Not found"


class MethodNotAllowed(HoldfastError):
    status, slug, title = 405, "method-not-allowed", "That method is not offered here"


class Gone(HoldfastError):
    status, slug, title = 410, "gone", "This link has been used, replaced, or has expired"


class Conflict(HoldfastError):
    status, slug, title = 409, "conflict", "The request conflicts with the present state"


class OutOfStock(Conflict):
    """`extra`: sku, available; several: items [{sku, requested, available}]."""

    slug, title = "out-of-stock", "Not enough in stock"


class PriceChanged(Conflict):
    """`extra`: totals, as of now."""

    slug, title = "price-changed", "The total is now higher than the one you saw"


class CartCompleted(Conflict):
    """`extra`: order_id."""

    slug, title = "cart-completed", "This cart has become an order"


class CheckoutInProgress(Conflict):
    """`extra`: checkout_id. Not stored: the key can be used again."""

    slug, title = "checkout-in-progress", "Another checkout of this cart is under way"

    @property
    def stored(self) -> bool:
        return False


class CheckoutExpired(Conflict):
    slug, title = "checkout-expired", "The payment was not completed in time, and nothing was charged"


class SetupExpired(Conflict):
    slug, title = "setup-expired", "The card was not confirmed in time, and nothing was saved"


class RequestInProgress(Conflict):
    slug, title = "request-in-progress", "The first request with this key is still running"

    @property
    def stored(self) -> bool:
        return False


class InvalidTransition(Conflict):
    """`extra`: state, requested."""

    slug, title = "invalid-transition", "Not possible in the present state"


class NotEnoughToShip(Conflict):
    slug, title = "not-enough-to-ship", "More than what is left to ship"


class NotEnoughToReturn(Conflict):
    """`extra`: line_id, left."""

    slug, title = "not-enough-to-return", "More than was shipped and not yet returned"


class RefundExceedsBalance(Conflict):
    """`extra`: left [Money], where it is known."""

    slug, title = "refund-exceeds-balance", "More than what is left to refund"


class StockBelowReserved(Conflict):
    """`extra`: on_hand, reserved."""

    slug, title = "stock-below-reserved", "Stock can't fall below what is reserved"


class PreconditionFailed(HoldfastError):
    status, slug, title = 412, "precondition-failed", "The version has moved on"


class PayloadTooLarge(HoldfastError):
    status, slug, title = 413, "payload-too-large", "The body is too large"


class UnsupportedMediaType(HoldfastError):
    status, slug, title = 415, "unsupported-media-type", "The body must be application/json"


class InvalidRequest(HoldfastError):
    """`extra`: errors [{pointer, detail}] (RFC 6901 pointers into the body)."""

    status, slug, title = 422, "invalid-request", "The request is not valid"

    @classmethod
    def at(cls, pointer: str, detail: str, **extra: Any) -> InvalidRequest:
        return cls(detail, errors=[{"pointer": pointer, "detail": detail}], **extra)


class CartIncomplete(InvalidRequest):
    """`extra`: requirements, and the same as errors."""

    slug, title = "cart-incomplete", "The cart is not ready for checkout"


class IdempotencyKeyReused(InvalidRequest):
    slug, title = "idempotency-key-reused", "This key came with another body before"


class UnknownLocation(InvalidRequest):
    slug, title = "unknown-location", "There is no such stock location"


class CurrencyMismatch(InvalidRequest):
    slug, title = "currency-mismatch", "The currencies differ"


class PaymentMethodInvalid(InvalidRequest):
    slug, title = "payment-method-invalid", "The payment method can't be used"


class PasswordRefused(InvalidRequest):
    """`extra`: errors with the reason: too short, too long, too common, …"""

    slug, title = "password-refused", "Choose another password"


class CardNumberRefused(InvalidRequest):
    slug, title = "card-number-refused", "Card numbers are for the payment provider, not for us"


class PriceUnavailable(InvalidRequest):
    slug, title = "price-unavailable", "There is no price in this currency"


class ShippingOptionUnavailable(InvalidRequest):
    slug, title = "shipping-option-unavailable", "This shipping option is not offered for the address"


class DiscountUnknown(InvalidRequest):
    slug, title = "discount-unknown", "There is no such discount code"


class DiscountExpired(InvalidRequest):
    slug, title = "discount-expired", "The discount code is not valid now"


class DiscountUsedUp(InvalidRequest):
    slug, title = "discount-used-up", "The discount code has been used up"


class DiscountNotApplicable(InvalidRequest):
    slug, title = "discount-not-applicable", "The discount code does not apply to this cart"


class TooManyRequests(HoldfastError):
    status, slug, title = 429, "too-many-requests", "Too many requests"


class TooManyAttempts(TooManyRequests):
    """`extra`: retry_after, seconds."""

    slug, title = "too-many-attempts", "Too many attempts"


class InternalError(HoldfastError):
    pass


class Unavailable(HoldfastError):
    status, slug, title = 503, "unavailable", "Not available for the moment"
    retryable = True


class ProviderUnavailable(Unavailable):
    """Nothing happened at the provider: it said so, or the request never reached it."""

    slug, title = "provider-unavailable", "The payment provider is not available for the moment"


class SignInUnavailable(Unavailable):
    slug, title = "sign-in-unavailable", "Signing in there is not available for the moment"


class OutcomeUnknown(Unavailable):
    """The effect may have taken place: retrieve it from the provider before retrying."""

    slug, title = "outcome-unknown", "It is not yet known whether this took effect"


def error_named(name: str) -> type[HoldfastError] | None:
    """The class of that name in the tree, or None."""
    return _NAMED.get(name)


def _tree(root: type[HoldfastError]) -> dict[str, type[HoldfastError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_NAMED = _tree(HoldfastError)


class Refusal(Record):
    """A domain error as a Temporal payload: class name, detail and extra members."""

    error: str
    detail: str
    extra: dict[str, Any] = {}

    @classmethod
    def of(cls, error: HoldfastError) -> Refusal:
        return cls(error=type(error).__name__, detail=error.detail, extra=error.extra)

    @property
    def certain(self) -> bool:
        """Whether the error is final and had no effect."""
        return not type(self.raised()).retryable

    def raised(self) -> HoldfastError:
        return (error_named(self.error) or HoldfastError)(self.detail, **self.extra)
