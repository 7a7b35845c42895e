"""Commands and results of the checkout's activities."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models.base import Record
from models.delivery.stored_responses import CommandResponse
from models.errors import Refusal
from models.money import Money
from models.states import CheckoutStatus


class BeginCheckout(Record):
    """The input of a checkout. Times in seconds; `key_digest` and `fingerprint` are hex SHA-256."""

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
    # Of a saved method: our id, and the provider's customer. `save`: saves the method after the payment.
    payment_method_id: str | None = None
    customer: str | None = None
    save: bool = False


class StockHeld(Record):
    """Result of step 1: the stock is held, at this total. `ended` and `response`: of a checkout that has ended before.

    `repeated`: the step was done before, so later steps may have been too.
    """

    total: Money
    payment_id: str | None  # None when there is nothing to pay
    expires_at: datetime
    repeated: bool = False
    ended: CheckoutStatus | None = None
    response: CommandResponse | None = None


class AuthorisePayment(Record):
    """Step 2. `attempt` is part of the provider's idempotency key; `not_before` limits the search at the provider.

    `not_after`: from then on the outcome is only searched for, never asked for again. None: of an old execution.
    """

    checkout_id: str
    order_id: str
    cart_id: str
    payment_id: str
    attempt: int
    amount: Money
    provider: str
    method: str
    not_before: datetime
    not_after: datetime | None = None
    customer: str | None = None
    save: bool = False


class FindPayment(Record):
    """Retrieves a payment by the provider's reference, or searches for it by our metadata. An approved payment is not
    authorised from `not_after` on."""

    checkout_id: str
    attempt: int
    provider: str
    not_before: datetime
    not_after: datetime | None = None
    reference: str | None = None


class RequireAction(Record):
    """Step 3: the buyer has to complete a challenge or an approval."""

    checkout_id: str
    reference: str
    next_action: dict[str, Any]
    expires_at: datetime


class ActionRequired(Record):
    """`changed`: the provider's webhook arrived before this was recorded."""

    response: CommandResponse
    changed: bool


class ConfirmOrder(Record):
    """Step 5: creates the order."""

    checkout_id: str
    order_id: str
    payment_id: str | None
    provider: str
    reference: str | None


class VoidPayment(Record):
    """Compensation of step 2: voids the payment, or refunds what was captured."""

    checkout_id: str
    attempt: int
    provider: str
    not_before: datetime
    reference: str | None = None


class CloseCheckout(Record):
    """Compensation of step 1: releases stock and promotions, and stores the response."""

    begin: BeginCheckout
    status: CheckoutStatus
    refusal: Refusal


class ReleaseHold(Record):
    """Releases a hold that expired during the challenge."""

    checkout_id: str


class CheckoutRef(Record):
    checkout_id: str


class OrphanedCheckout(Record):
    """A live checkout whose workflow is gone, as stored in the database."""

    begin: BeginCheckout
    paying: bool
    created_at: datetime
