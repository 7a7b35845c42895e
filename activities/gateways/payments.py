"""What every payment provider does for the shop: one contract, and one test suite that runs on each (test_contract.py).

Three kinds of answer are kept apart. *It happened* (or the provider said no) is a result. *Nothing happened* is
ProviderUnavailable. *Not known* is OutcomeUnknown, and then the caller looks it up before it tries again; its extra
`answered` is true where the provider has finished with the key, so that only another key can try again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from models.money import Money
from models.payments.provider import AuthorisationRequest, Movement, ProviderEvent, ProviderPayment, ProviderRefund


class PaymentGateway(Protocol):
    """Amounts in minor units; every effect under `key`, so that asking twice is asking once."""

    @property
    def name(self) -> str: ...

    @property
    def currencies(self) -> frozenset[str]: ...

    def authorise(self, request: AuthorisationRequest) -> ProviderPayment:
        """Hold the money, to be captured later. A decline is a result.

        Raises PaymentMethodInvalid, ProviderUnavailable, OutcomeUnknown.
        """

    def retrieve(self, reference: str) -> ProviderPayment:
        """The payment by the provider's own id.

        Raises ProviderUnavailable or OutcomeUnknown, as everything below does.
        """

    def complete(self, reference: str, key: str) -> ProviderPayment:
        """Hold the money of a payment that is APPROVED; of any other, what it is. A decline is a result."""

    def search(self, metadata: dict[str, str], not_before: datetime) -> ProviderPayment:
        """The payment by our metadata; ABSENT only when the provider is certain that it has none."""

    def capture(self, reference: str, amount: int, *, final: bool, key: str) -> ProviderPayment:
        """Take part or all of what was authorised; `final=False` keeps the rest authorised.

        Raises CaptureRefused (with its decline code) or AuthorisationGone: certain that nothing was taken.
        """

    def cancel(self, reference: str) -> ProviderPayment:
        """Release an authorisation; twice is once. Where it can't be (paid, or gone before), what it is instead."""

    def refund_rest(self, reference: str) -> None:
        """Refund all that was captured and is not yet refunded; nothing left is done."""

    def refund(self, reference: str, amount: Money, metadata: dict[str, str], key: str) -> ProviderRefund:
        """Give back part or all of what was captured; `metadata` has `refund_id`. A refusal is FAILED with its reason.

        Raises RefundExceedsBalance: certain that nothing was given.
        """

    def retrieve_refund(self, reference: str) -> ProviderRefund:
        """The refund by the provider's own id."""

    def search_refund(self, reference: str, metadata: dict[str, str]) -> ProviderRefund:
        """The refund of that payment by our metadata (`refund_id`); ABSENT only when the provider has none."""

    def event(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """A webhook, if the provider signed these very bytes lately; `headers` by lower-case name.

        Raises BadSignature, or BadRequest for what is signed but no event.
        """

    def list_movements(self, since: datetime) -> Iterator[Movement]:
        """The provider's own list of what moved, in no promised order."""
