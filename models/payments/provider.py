"""Payment providers' records: payments, refunds, disputes, webhook events and movements.

A payment's reference stays the same from its authorisation to its last refund: Stripe's PaymentIntent, PayPal's order.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from models.base import Record, Storable
from models.money import Money


class AuthorisationRequest(NamedTuple):
    """`key`: the provider's idempotency key; `metadata` has `checkout_id` and `attempt`.

    `customer`: the provider's customer of a saved method, or of one to be saved (`save`). `off_session`: the buyer is
    absent, so a charge that would need a challenge is declined.
    """

    amount: Money
    method: str
    metadata: dict[str, str]
    key: str
    customer: str | None = None
    save: bool = False
    off_session: bool = False


class ProviderRefundStatus(StrEnum):
    """Of a refund at the provider."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"  # the buyer has to name an account for the money
    FAILED = "failed"  # the money was returned to the shop, or never left
    CANCELLED = "cancelled"
    ABSENT = "absent"  # the provider is certain that it has none


class ProviderRefund(Record):
    """`reference`: the provider's id. `reason`: the provider's reason why it failed or is pending.

    `refund_id`: ours, from the metadata of a webhook; None for a refund made at the provider by hand. `refunded`: the
    part of a failed refund that succeeded (PayPal refunds each capture), with `refunded_reference`.
    """

    state: ProviderRefundStatus
    reference: str | None = None
    payment: str | None = None
    amount: Money | None = None
    reason: str | None = None
    refund_id: Storable | None = None
    refunded: Money | None = None
    refunded_reference: str | None = None


class ProviderDisputeStatus(StrEnum):
    """Of a dispute at the provider, mapped from Stripe's and PayPal's."""

    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"


class ProviderDispute(Record):
    """A chargeback of the buyer's bank, or a PayPal dispute. `reason` is the provider's."""

    reference: Storable
    payment: Storable | None
    amount: Money
    state: ProviderDisputeStatus
    reason: Storable


class ProviderEvent(Record):
    """A verified webhook event, with the provider's event id and type.

    `subject`: the reference of the payment or set-up. `checkout_id`, `payment_method_id`: ours, if the event has them.
    `refund` and `dispute`: of events about one. Events come in any order: retrieve the present state before acting.
    """

    id: Storable
    type: Storable
    subject: Storable | None
    checkout_id: Storable | None
    payment_method_id: Storable | None = None
    refund: ProviderRefund | None = None
    dispute: ProviderDispute | None = None


class MovementKind(StrEnum):
    AUTHORISATION = "authorisation"
    CAPTURE = "capture"
    REFUND = "refund"
    REFUND_FAILURE = "refund_failure"  # a refund's money returned to the shop
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"


class Movement(Record):
    """One row of the provider's list. `reference` is unique there; `amount` is never negative, and in the currency
    that the buyer paid in, not in the one that the provider settles in.

    `source`: the provider's id of the refund or the dispute that moved it.
    """

    kind: MovementKind
    reference: str
    payment: str | None
    amount: Money
    at: datetime
    checkout_id: str | None = None
    refund_id: str | None = None
    source: str | None = None


class ForeignMovement(Record):
    """A row of the provider's list in a currency that the shop doesn't sell in: it is only counted."""

    reference: str
    currency: str


class ProviderPaymentStatus(StrEnum):
    """Of a payment at the provider."""

    AUTHORISED = "authorised"
    REQUIRES_ACTION = "requires_action"
    APPROVED = "approved"  # approved by the buyer, not yet authorised
    PROCESSING = "processing"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    CAPTURED = "captured"
    ABSENT = "absent"  # the provider is certain that it has none


class ProviderPayment(Record):
    """`reference`: the provider's id; `next_action` is passed to the buyer's browser unchanged."""

    state: ProviderPaymentStatus
    reference: str | None = None
    amount: Money | None = None
    captured: Money | None = None
    next_action: dict[str, Any] | None = None
    decline_code: str | None = None
