"""Saved payment methods: their states, and the commands and results of saving one.

No workflow payload here names a card: its brand and last digits, like the challenge's secret, are stored by the
activity that gets them from the provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.base import Record
from models.delivery.stored_responses import CommandResponse
from models.errors import Refusal

MAX_METHODS = 50

_OURS = re.compile(r"pm_[0-9a-f]{32}")


def is_saved_id(method: str) -> bool:
    """Whether it is an id of ours (models/ids.py); Stripe's ids have the same prefix and are shorter."""
    return _OURS.fullmatch(method) is not None


class PaymentMethodState(StrEnum):
    SAVING = "saving"
    REQUIRES_ACTION = "requires_action"  # its owner has to complete a challenge
    SAVED = "saved"
    FAILED = "failed"
    REMOVING = "removing"  # hidden from its owner; to be detached at the provider
    REMOVED = "removed"

    @property
    def shown(self) -> str:
        """The API's status: `saving` is shown as `processing`, as for a checkout."""
        return "processing" if self is PaymentMethodState.SAVING else str(self)


LIVE_SETUP = (PaymentMethodState.SAVING, PaymentMethodState.REQUIRES_ACTION)

PAYMENT_METHOD_TRANSITIONS: Mapping[PaymentMethodState, frozenset[PaymentMethodState]] = {
    PaymentMethodState.SAVING: frozenset(
        {
            PaymentMethodState.REQUIRES_ACTION,
            PaymentMethodState.SAVED,
            PaymentMethodState.FAILED,
            PaymentMethodState.REMOVING,  # the same card was saved already
            PaymentMethodState.REMOVED,
        }
    ),
    PaymentMethodState.REQUIRES_ACTION: frozenset(
        {
            PaymentMethodState.SAVED,
            PaymentMethodState.FAILED,
            PaymentMethodState.REMOVING,
            PaymentMethodState.REMOVED,
        }
    ),
    PaymentMethodState.SAVED: frozenset({PaymentMethodState.REMOVING}),
    PaymentMethodState.FAILED: frozenset(),
    PaymentMethodState.REMOVING: frozenset({PaymentMethodState.REMOVED}),
    PaymentMethodState.REMOVED: frozenset(),
}


class Card(Record):
    """The card's details that its owner sees."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


class ProviderSetupStatus(StrEnum):
    """Of a set-up at the provider."""

    SUCCEEDED = "succeeded"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    ABSENT = "absent"  # the provider is certain that it has none
    NO_CUSTOMER = "no_customer"  # nor the customer: deleted there, or of another merchant account


class ProviderSetup(Record):
    """A set-up at the provider; never a workflow payload. `method` and `fingerprint` (equal for equal card numbers) are
    set once there is a card; `next_action` is passed to the owner's browser unchanged."""

    state: ProviderSetupStatus
    reference: str | None = None
    method: str | None = None
    card: Card | None = None
    fingerprint: str | None = None
    next_action: dict[str, Any] | None = None
    decline_code: str | None = None


class SetupResult(Record):
    """The part of ProviderSetup that a workflow needs."""

    state: ProviderSetupStatus
    reference: str | None = None
    decline_code: str | None = None

    @classmethod
    def of(cls, setup: ProviderSetup) -> SetupResult:
        return cls(state=setup.state, reference=setup.reference, decline_code=setup.decline_code)


class BeginPaymentMethod(Record):
    """The input of saving a card. Times in seconds; `key_digest` (if there is a key) and `fingerprint` in hex."""

    payment_method_id: str
    user_id: str
    provider: str
    method: str  # the provider's token
    key_digest: str | None
    fingerprint: str
    request_id: str
    payment_action_seconds: float
    payment_lookup_seconds: float


class PaymentMethodStarted(Record):
    """`ended` and `response`: if it had ended before; `repeated`: later steps may have been done too."""

    repeated: bool = False
    ended: PaymentMethodState | None = None
    response: CommandResponse | None = None


class EnsureCustomer(Record):
    """Creates or finds the user's customer at the provider. `not_before` limits the search there; `gone`: a customer id
    that the provider no longer has."""

    user_id: str
    provider: str
    not_before: datetime
    gone: str | None = None


class SetUpMethod(Record):
    """`attempt` is part of the provider's idempotency key; from `not_after` on the outcome is only searched for."""

    payment_method_id: str
    user_id: str
    provider: str
    customer: str
    method: str
    attempt: int
    not_after: datetime | None = None


class FindSetup(Record):
    """Retrieves a set-up by the provider's reference, or searches for it by our metadata."""

    payment_method_id: str
    user_id: str
    provider: str
    customer: str
    attempt: int
    reference: str | None = None


class RequireSetupAction(Record):
    """The card's owner has to complete a challenge."""

    payment_method_id: str
    expires_at: datetime


class SetupActionRequired(Record):
    """`changed`: the provider's webhook arrived before this was recorded."""

    response: CommandResponse
    changed: bool


class ClosePaymentMethod(Record):
    """Ends it without a saved card."""

    begin: BeginPaymentMethod
    refusal: Refusal


class SaveCheckoutPaymentMethod(Record):
    """Saves the method of a payment; `reference`: the provider's id of the payment."""

    payment_method_id: str
    user_id: str
    provider: str
    payment_id: str
    reference: str


class PaymentMethodRef(Record):
    payment_method_id: str
