"""What a payment provider says of refunds, disputes, its own list and by webhook, and of payments.

A payment's reference stays the same from its authorisation to its last refund: Stripe's PaymentIntent, PayPal's order.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from models.base import Record, Storable
from models.money import Money


class AuthorisationRequest(NamedTuple):
    """Under `key`, so that asking twice is asking once; `metadata` has `checkout_id` and `attempt`.

    `customer` (the provider's) where the method is kept with them, or shall be (`save`). `off_session`: the buyer is
    not there, so that a bank that wants to see them declines.
    """

    amount: Money
    method: str
    metadata: dict[str, str]
    key: str
    customer: str | None = None
    save: bool = False
    off_session: bool = False


class ProviderRefundStatus(StrEnum):
    """Where a refund stands at the provider."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"  # the buyer has to say where the money shall go
    FAILED = "failed"  # the money is the shop's again, or never left
    CANCELLED = "cancelled"
    ABSENT = "absent"  # the provider is certain that it has none


class ProviderRefund(Record):
    """`reference`: the provider's own id. `reason`: its word on why a refund failed or waits.

    `refund_id`: ours, from the metadata of a webhook; None for one that somebody made at the provider by hand.
    `given`: of one that failed, what went back all the same (PayPal gives back by capture); with its own reference.
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
    """Where a dispute stands, in the words that both providers' can be brought to."""

    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"


class ProviderDispute(Record):
    """A buyer's bank (or PayPal) wants money back. `reason` is the provider's word."""

    reference: Storable
    payment: Storable | None
    amount: Money
    state: ProviderDisputeStatus
    reason: Storable


class ProviderEvent(Record):
    """A verified webhook: the provider's id of the event, its type, and what it is about.

    `subject`: the reference of the payment (or of a set-up). `checkout_id`, `payment_method_id`: ours, where the
    provider tells them. `refund` and `dispute` for events about one. Events come in any order: look before acting.
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
    REFUND_FAILURE = "refund_failure"  # a refund's money came back to the shop
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"


class Movement(Record):
    """One line of the provider's own list. `reference` is unique there; `amount` is never negative.

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


class ProviderPaymentStatus(StrEnum):
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

    state: ProviderPaymentStatus
    reference: str | None = None
    amount: Money | None = None
    captured: Money | None = None
    next_action: dict[str, Any] | None = None
    decline_code: str | None = None
