"""A payment that failed after its order was placed, and what the steps of trying again say to each other.

Nothing here that travels through a workflow names a card or holds the bank's secret: those go from the provider's
answer straight into the row.
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
    CANCELLED = "cancelled"  # by a person, meanwhile


class Waiting(StrEnum):
    """What it waits for, as support and operators read it."""

    NEXT_TRY = "next_try"
    NEW_METHOD = "new_method"
    BANK = "bank"  # the buyer is asked to authenticate
    PROVIDER = "provider"  # a try is being made
    PERSON = "person"  # see the tasks
    NOTHING = "nothing"


class RetryPayment(Record):
    """The process begins; everything else about it is in the database. Times in seconds.

    `schedule_scale` multiplies every step of the ladder (HOLDFAST_RETRY_LADDER_SCALE).
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
    """A parcel's capture was refused for good. The actor is who handed the parcel over."""

    order_id: str
    shipment_id: str
    decline_code: str
    actor: Actor = SYSTEM


class BeginRetry(Record):
    """`now` is the process's clock, on which the ladder stands."""

    order_id: str
    now: datetime


class Asked(Record):
    """The request that a try answers: who, and its Idempotency-Key where it carried one."""

    actor: Actor = SYSTEM
    key_digest: str | None = None
    fingerprint: str | None = None


class ChargeOrder(Record):
    """One try. Key `{order_id}:retry:{number}`; it is payment number + 1. `retrieve_first`: it may have been made."""

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
    retrieve_first: bool = False
    request: Asked = Asked()


class ChallengedAttempt(Record):
    """One whose buyer the bank wants to see. `until`: by the process's clock, where it has been noted."""

    order_id: str
    payment_id: str
    number: int
    provider: str
    reference: str
    expires_at: datetime | None = None
    request: Asked = Asked()


class RetrySnapshot(Record):
    """How it stands in the database. `failed`: what the old payment is at its provider, to be let go of there, and what
    was captured of it in minor units. `open_try`: one whose outcome nobody has noted; `tries` numbers them all.
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
    request: Asked = Asked()


class AttemptPlanned(Record):
    """`charge` is None where the order has no method to try, or waits for no payment any more."""

    state: RetryState
    status: OrderStatus
    charge: ChargeOrder | None = None
    own_method: bool = True


class AttemptResult(Record):
    """As much of the provider's answer as a workflow decides by: `captured` in minor units. `invalid`: it never was a
    usable method."""

    state: ProviderPaymentStatus
    reference: str | None = None
    captured: int = 0
    decline_code: str | None = None
    invalid: bool = False


class AcceptPayment(Record):
    """The try has been authorised: the order goes on."""

    order_id: str
    payment_id: str
    reference: str
    request: Asked = Asked()


class RequirePayerAction(Record):
    """The bank wants to see the buyer of this try."""

    order_id: str
    payment_id: str
    reference: str
    expires_at: datetime
    request: Asked = Asked()


class RecordRetrySchedule(Record):
    """Where the ladder stands. `tell`: the buyer is told, about this payment (an id)."""

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
    """Nothing will come of it: cancelled at the provider, its row voided. Without `payment_id`: the one that failed,
    whose row stays until another has paid or the order is cancelled."""

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
    """The buyer's new method. An operator in the Temporal UI may type `{"method": "pm_…"}`."""

    method: str
    provider: str = "stripe"
    request: Asked = Asked(actor=Actor(type="staff"))


class Steer(Record):
    """A person's word; in the Temporal UI `{}` will do."""

    actor: Actor = Actor(type="staff")
