"""Payment retries: records of collecting a payment that failed after its order was placed.

No workflow payload here names a card or has a challenge's secret: the activity that gets them from the provider stores
them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from models.base import Record
from models.money import Money
from models.orders.orders import SYSTEM, Actor
from models.payments.dunning import RetryAdvice
from models.payments.provider import ProviderPaymentStatus
from models.states import OrderStatus

if TYPE_CHECKING:
    from runtime.settings import Settings


class RetryState(StrEnum):
    RETRYING = "retrying"
    PAID = "paid"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"  # the order was cancelled manually


class Waiting(StrEnum):
    """The API's `waits_for`."""

    NEXT_TRY = "next_try"
    NEW_METHOD = "new_method"
    BANK = "bank"  # a challenge is open
    PROVIDER = "provider"  # an attempt is in progress
    PERSON = "person"  # a manual task is open
    NOTHING = "nothing"


class RetryPayment(Record):
    """The input of the workflow; everything else about the retry is in the database. Times in seconds.

    `schedule_scale` multiplies every delay of the retry schedule (HOLDFAST_RETRY_LADDER_SCALE).
    """

    order_id: str
    schedule_scale: float = 1.0
    payment_action_seconds: float = 1800.0
    payment_lookup_seconds: float = 30.0

    @classmethod
    def of(cls, settings: Settings, order_id: str) -> Self:
        return cls(
            order_id=order_id,
            schedule_scale=settings.retry_ladder_scale,
            payment_action_seconds=settings.payment_action_seconds,
            payment_lookup_seconds=settings.payment_lookup_seconds,
        )


class FailPayment(Record):
    """Records that a shipment's capture failed finally. `actor`: of the shipment's command."""

    order_id: str
    shipment_id: str
    decline_code: str
    actor: Actor = SYSTEM


class BeginRetry(Record):
    """`now`: the workflow's clock, which the retry schedule uses."""

    order_id: str
    now: datetime


class AttemptRequest(Record):
    """The request for an attempt: its actor, and its Idempotency-Key, if any."""

    actor: Actor = SYSTEM
    key_digest: str | None = None
    fingerprint: str | None = None


class ChargeOrder(Record):
    """One attempt, with the idempotency key `{order_id}:retry:{number}`; it is the order's payment `number` + 1.
    `retrieve_first`: the charge may have been made already. `not_after`: from then on it is only searched for."""

    order_id: str
    checkout_id: str
    cart_id: str
    payment_id: str
    number: int
    amount: Money
    provider: str
    method: str
    customer: str | None
    off_session: bool
    not_before: datetime
    not_after: datetime | None = None
    retrieve_first: bool = False
    request: AttemptRequest = AttemptRequest()


class ChallengedAttempt(Record):
    """An attempt waiting for its challenge. `expires_at`: by the workflow's clock, once recorded."""

    order_id: str
    payment_id: str
    number: int
    provider: str
    reference: str
    expires_at: datetime | None = None
    request: AttemptRequest = AttemptRequest()


class RetrySnapshot(Record):
    """A payment retry as stored. `failed_reference`: the failed payment at the provider, to be voided there;
    `captured`: minor units captured of it. `open_attempt`: without a recorded outcome; `attempts`: their number.
    """

    state: RetryState
    status: OrderStatus
    provider: str = ""
    failed_reference: str = ""
    captured: int = 0
    failed_at: datetime
    step: int = 0
    extensions: int = 0
    attempts: int = 0
    retry_advice: RetryAdvice = RetryAdvice.RETRY
    decline_code: str = ""
    has_method: bool = False
    open_attempt: ChargeOrder | None = None
    challenged: ChallengedAttempt | None = None


class PlanAttempt(Record):
    """`method`: the buyer's new one (the provider's token, or a saved method's id); None: the order's own."""

    order_id: str
    number: int
    provider: str | None = None
    method: str | None = None
    request: AttemptRequest = AttemptRequest()


class AttemptPlanned(Record):
    """`charge` is None if the order has no method to charge, or no longer waits for a payment."""

    state: RetryState
    status: OrderStatus
    charge: ChargeOrder | None = None
    own_method: bool = True


class AttemptResult(Record):
    """The part of ProviderPayment that a workflow needs: `captured` in minor units. `invalid`: the method never was
    usable."""

    state: ProviderPaymentStatus
    reference: str | None = None
    captured: int = 0
    decline_code: str | None = None
    invalid: bool = False


class AcceptPayment(Record):
    """Records an authorised attempt: the order resumes."""

    order_id: str
    payment_id: str
    reference: str
    request: AttemptRequest = AttemptRequest()


class RequirePayerAction(Record):
    """The buyer has to complete a challenge for this attempt."""

    order_id: str
    payment_id: str
    reference: str
    expires_at: datetime
    request: AttemptRequest = AttemptRequest()


class RecordRetrySchedule(Record):
    """Records the position in the retry schedule. `notify_about`: notifies the buyer about this payment (an id)."""

    order_id: str
    waits_for: Waiting
    retry_advice: RetryAdvice
    decline_code: str
    step: int
    extensions: int
    next_try_at: datetime | None
    gives_up_at: datetime
    notify_about: str | None = None


class VoidPaymentAttempt(Record):
    """Voids an attempt at the provider and in its row. Without `payment_id` it is the payment that failed, whose row
    stays until another one is accepted or the order is cancelled."""

    order_id: str
    provider: str
    reference: str
    payment_id: str | None = None


class GiveUpPayment(Record):
    order_id: str
    actor: Actor = SYSTEM


class RetryEnded(Record):
    state: RetryState
    status: OrderStatus


class PayWith(Record):
    """Pays with the buyer's new method. An operator in the Temporal UI may send `{"method": "pm_…"}`."""

    method: str
    provider: str = "stripe"
    request: AttemptRequest = AttemptRequest(actor=Actor(type="staff"))


class RetryCommand(Record):
    """The input of an update from support; in the Temporal UI it may be `{}`."""

    actor: Actor = Actor(type="staff")
