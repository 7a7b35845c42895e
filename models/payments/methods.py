"""Cards kept at the provider for later: their states, and what the steps of saving one say to each other.

Nothing here that travels through a workflow names a card: its brand and last digits, like the bank's secret, go from
the provider's answer straight into the row.
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
    """Ours, as models/ids.py forms it; Stripe's own begin alike and are shorter."""
    return _OURS.fullmatch(method) is not None


class PaymentMethodState(StrEnum):
    SAVING = "saving"
    REQUIRES_ACTION = "requires_action"  # the bank wants to see its owner
    SAVED = "saved"
    FAILED = "failed"
    REMOVING = "removing"  # its owner has none any more; the provider is still to be told
    REMOVED = "removed"

    @property
    def shown(self) -> str:
        """As its owner reads it: a checkout is `processing` too while it runs."""
        return "processing" if self is PaymentMethodState.SAVING else str(self)


LIVE_SETUP = (PaymentMethodState.SAVING, PaymentMethodState.REQUIRES_ACTION)

PAYMENT_METHOD_TRANSITIONS: Mapping[PaymentMethodState, frozenset[PaymentMethodState]] = {
    PaymentMethodState.SAVING: frozenset(
        {
            PaymentMethodState.REQUIRES_ACTION,
            PaymentMethodState.SAVED,
            PaymentMethodState.FAILED,
            PaymentMethodState.REMOVING,  # the same card was there already: this one goes again
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
    """What its owner tells it by."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


class ProviderSetupStatus(StrEnum):
    """Where the set-up of a card for later stands at the provider."""

    SUCCEEDED = "succeeded"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    ABSENT = "absent"  # the provider is certain that it has none
    NO_CUSTOMER = "no_customer"  # nor the person: deleted there, or known to another account of the shop's


class ProviderSetup(Record):
    """What the provider holds: never part of a history. `method` and `fingerprint` (the same for the same card
    number) once there is a card; `next_action` goes to its owner's browser as it is."""

    state: ProviderSetupStatus
    reference: str | None = None
    method: str | None = None
    card: Card | None = None
    fingerprint: str | None = None
    next_action: dict[str, Any] | None = None
    decline_code: str | None = None


class SetupResult(Record):
    """As much of it as a workflow decides by."""

    state: ProviderSetupStatus
    reference: str | None = None
    decline_code: str | None = None

    @classmethod
    def of(cls, setup: ProviderSetup) -> SetupResult:
        return cls(state=setup.state, reference=setup.reference, decline_code=setup.decline_code)


class BeginPaymentMethod(Record):
    """Somebody wants a card kept. Times in seconds; `key_digest` (where there is a key) and `fingerprint` in hex."""

    payment_method_id: str
    user_id: str
    provider: str
    method: str  # the provider's token
    key_digest: str | None
    fingerprint: str
    request_id: str
    payment_action_seconds: float
    payment_lookup_seconds: float


class PaymentMethodBegun(Record):
    """`ended` and `settled` if it had ended before; `repeated`: the steps after this one may have been done too."""

    repeated: bool = False
    ended: PaymentMethodState | None = None
    response: CommandResponse | None = None


class EnsureCustomer(Record):
    """The provider's record of this person; `not_before` bounds the look-up. `gone`: one that it does not have."""

    user_id: str
    provider: str
    not_before: datetime
    gone: str | None = None


class SetUpMethod(Record):
    """`attempt` numbers the provider's idempotency keys."""

    payment_method_id: str
    user_id: str
    provider: str
    customer: str
    method: str
    attempt: int


class FindSetup(Record):
    """One that exists, or may: by the provider's reference where it is known."""

    payment_method_id: str
    user_id: str
    provider: str
    customer: str
    attempt: int
    reference: str | None = None


class RequireSetupAction(Record):
    """The bank wants to see the card's owner."""

    payment_method_id: str
    expires_at: datetime


class SetupActionRequired(Record):
    """`news` is true when the provider's webhook came before this was recorded."""

    response: CommandResponse
    changed: bool


class ClosePaymentMethod(Record):
    """The end without a saved card."""

    begin: BeginPaymentMethod
    refusal: Refusal


class SaveCheckoutPaymentMethod(Record):
    """What has paid shall be kept: `reference` is the provider's of the payment."""

    payment_method_id: str
    user_id: str
    provider: str
    payment_id: str
    reference: str


class PaymentMethodRef(Record):
    payment_method_id: str
