"""What the steps of a checkout say to each other: one command in, one result out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.base import Record
from models.delivery.stored_responses import CommandResponse
from models.errors import Refusal
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
    response: CommandResponse | None = None


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

    response: CommandResponse
    changed: bool


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


class CloseCheckout(Record):
    """Undo of step 1, and the end: stock and promotion go back, the answer stays."""

    begin: BeginCheckout
    status: CheckoutStatus
    refusal: Refusal


class ReleaseHold(Record):
    """The hold has run out while the buyer was at the bank."""

    checkout_id: str


class CheckoutRef(Record):
    checkout_id: str


class OrphanedCheckout(Record):
    """A live checkout without a process, as far as the database remembers it."""

    begin: BeginCheckout
    paying: bool
    created_at: datetime
