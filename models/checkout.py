"""What the steps of a checkout say to each other: one command in, one result out."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from models.answers import Told
from models.base import Record
from models.errors import HoldfastError, error_named
from models.money import Money
from models.states import CheckoutStatus


class BeginCheckout(Record):
    """One buyer's click. Times in seconds; `key_digest` and `fingerprint` are hex SHA-256."""

    checkout_id: str
    order_id: str
    cart_id: str
    customer_id: str | None
    key_digest: str
    fingerprint: str
    request_id: str
    expected_total: Money
    provider: str
    method: str
    hold_seconds: float
    payment_action_seconds: float
    payment_lookup_seconds: float
    # Of a kept method: ours, and whose it is at the provider. Or it shall be kept, once it has paid.
    payment_method_id: str | None = None
    customer: str | None = None
    save: bool = False


class StockHeld(Record):
    """Step 1 is done: the stock is this checkout's, at this total. `ended` and `settled` if it had ended before.

    `repeated`: it had been done before, so the steps after it may have been too.
    """

    total: Money
    payment_id: str | None  # None when there is nothing to pay
    expires_at: datetime
    repeated: bool = False
    ended: CheckoutStatus | None = None
    settled: Told | None = None


class AuthorisePayment(Record):
    """Step 2. `attempt` numbers the provider's idempotency keys; `not_before` bounds the look-up."""

    checkout_id: str
    order_id: str
    cart_id: str
    payment_id: str
    attempt: int
    amount: Money
    provider: str
    method: str
    not_before: datetime
    customer: str | None = None
    save: bool = False


class PaymentAt(StrEnum):
    """Where a payment stands at the provider."""

    AUTHORISED = "authorised"
    REQUIRES_ACTION = "requires_action"
    APPROVED = "approved"  # its buyer has agreed, and nothing is held yet: complete it
    PROCESSING = "processing"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    CAPTURED = "captured"
    ABSENT = "absent"  # the provider is certain that it has none


class ProviderPayment(Record):
    """What the provider holds. `reference` is its own id; `next_action` goes to the buyer's browser as it is."""

    state: PaymentAt
    reference: str | None = None
    amount: Money | None = None
    captured: Money | None = None
    next_action: dict[str, Any] | None = None
    decline_code: str | None = None


class FindPayment(Record):
    """Look one up by our metadata, or by the provider's reference where it is known."""

    checkout_id: str
    attempt: int
    provider: str
    not_before: datetime
    reference: str | None = None


class RequireAction(Record):
    """Step 3: the bank wants to see the buyer."""

    checkout_id: str
    reference: str
    next_action: dict[str, Any]
    expires_at: datetime


class ActionRequired(Record):
    """`news` is true when the provider's webhook came before this was recorded."""

    answer: Told
    news: bool


class ConfirmOrder(Record):
    """Step 5."""

    checkout_id: str
    order_id: str
    payment_id: str | None
    provider: str
    reference: str | None


class VoidPayment(Record):
    """Undo of step 2: cancel it, or refund what was captured."""

    checkout_id: str
    attempt: int
    provider: str
    not_before: datetime
    reference: str | None = None


class Refusal(Record):
    """A domain error on its way through Temporal: class name, detail and extra members."""

    error: str
    detail: str
    extra: dict[str, Any] = {}

    @classmethod
    def of(cls, error: HoldfastError) -> Refusal:
        return cls(error=type(error).__name__, detail=error.detail, extra=error.extra)

    @property
    def certain(self) -> bool:
        """Final, and known to have had no effect."""
        return not type(self.raised()).retryable

    def raised(self) -> HoldfastError:
        return (error_named(self.error) or HoldfastError)(self.detail, **self.extra)


class CloseCheckout(Record):
    """Undo of step 1, and the end: stock and promotion go back, the answer stays."""

    begin: BeginCheckout
    status: CheckoutStatus
    refusal: Refusal


class ReleaseHold(Record):
    """The hold has run out while the buyer was at the bank."""

    checkout_id: str


class OpenTask(Record):
    """Something that only a person can finish. `kind` and `subject` (an id) make it unique while open."""

    kind: str
    subject: str
    detail: str
    resumes: bool = False  # its process waits for the outcome


class CheckoutRef(Record):
    checkout_id: str


class OrphanedCheckout(Record):
    """A live checkout without a process, as far as the database remembers it."""

    begin: BeginCheckout
    paying: bool
    created_at: datetime
