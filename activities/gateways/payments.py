"""The contract of every payment gateway; one test suite runs on each (test_contract.py).

There are three kinds of outcome. *It happened*, or was declined, is a result. *Nothing happened* is
ProviderUnavailable. *Not known* is OutcomeUnknown, which the caller resolves before a retry; its extra `answered` is
true if the provider has finished with the key, so that a retry needs another key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from models.money import Money
from models.payments.provider import (
    AuthorisationRequest,
    ForeignMovement,
    Movement,
    ProviderEvent,
    ProviderPayment,
    ProviderRefund,
)


class PaymentGateway(Protocol):
    """Amounts are in minor units. Every effect is idempotent under `key`."""

    @property
    def name(self) -> str: ...

    @property
    def currencies(self) -> frozenset[str]: ...

    def authorise(self, request: AuthorisationRequest) -> ProviderPayment:
        """Authorise, for a later capture. A decline is a result.

        Raises PaymentMethodInvalid, ProviderUnavailable, OutcomeUnknown.
        """

    def retrieve(self, reference: str) -> ProviderPayment:
        """The payment by the provider's id.

        Raises ProviderUnavailable or OutcomeUnknown, as all methods below do.
        """

    def complete(self, reference: str, key: str) -> ProviderPayment:
        """Authorise a payment that is APPROVED; return any other unchanged. A decline is a result."""

    def search(self, metadata: dict[str, str], not_before: datetime) -> ProviderPayment:
        """The payment by our metadata; ABSENT only when the provider is certain that it has none."""

    def capture(self, reference: str, amount: int, *, final: bool, key: str) -> ProviderPayment:
        """Capture part or all of the authorisation, `amount` minor units; `final=False` keeps the rest authorised.

        Raises CaptureRefused (with its decline code) or AuthorisationGone: nothing was captured.
        """

    def cancel(self, reference: str) -> ProviderPayment:
        """Void the authorisation. Idempotent. Returns the payment as it is if it can't be voided (captured, gone)."""

    def refund_rest(self, reference: str) -> None:
        """Refund all that was captured and is not refunded yet. Idempotent."""

    def refund(self, reference: str, amount: Money, metadata: dict[str, str], key: str) -> ProviderRefund:
        """Refund part or all of the captures; `metadata` has `refund_id`. A refusal is FAILED with its reason.

        Raises RefundExceedsBalance: nothing was refunded.
        """

    def retrieve_refund(self, reference: str) -> ProviderRefund:
        """The refund by the provider's id."""

    def search_refund(self, reference: str, metadata: dict[str, str]) -> ProviderRefund:
        """The refund of that payment by our metadata (`refund_id`); ABSENT only when the provider has none."""

    def event(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Verifies and reads a webhook; `headers` by lower-case name.

        Raises BadSignature unless the provider signed exactly these bytes lately, BadRequest if they are no event.
        """

    def list_movements(self, since: datetime) -> Iterator[Movement | ForeignMovement]:
        """The provider's list of movements since then, in no particular order."""
