"""A checkout's payment at the provider: authorise, retrieve, void. Docstrings name the idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.payments.deadlines import is_past
from models.checkout.checkouts import AuthorisePayment, FindPayment, VoidPayment
from models.errors import OutcomeUnknown
from models.payments.provider import AuthorisationRequest, ProviderPayment, ProviderPaymentStatus
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.payments import PaymentGateway
    from models.db.session import Database


def _metadata(checkout_id: str, attempt: int) -> dict[str, str]:
    return {"checkout_id": checkout_id, "attempt": str(attempt)}


class Payments:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, PaymentGateway]) -> None:
        from models.db.repositories.payments import payments

        self._database = database
        self._gateways = gateways
        self._payments = payments

    @activity.defn
    def authorise_payment(self, command: AuthorisePayment) -> ProviderPayment:
        """Step 2, key `{checkout_id}:authorise:{attempt}`. Raises PaymentMethodInvalid, ProviderUnavailable,
        OutcomeUnknown."""
        return self._authorise(command)

    @activity.defn
    def resolve_payment_outcome(self, command: AuthorisePayment) -> ProviderPayment:
        """Resolves the unknown outcome of an attempt: searches the payment, and if it is absent, authorises again with
        the same key, but not from `not_after` on. ABSENT if then, or after the provider has answered that key with an
        error, it has no payment. Raises PaymentMethodInvalid, ProviderUnavailable, OutcomeUnknown."""
        gateway = self._gateways[command.provider]
        metadata = _metadata(command.checkout_id, command.attempt)
        found = gateway.search(metadata, command.not_before)
        if found.state is not ProviderPaymentStatus.ABSENT or is_past(command.not_after):
            return found
        try:
            payment = self._authorise(command)
        except OutcomeUnknown as error:
            if not error.extra.get("answered"):
                raise
            # The provider has finished with this key, so its list is final now.
            return gateway.search(metadata, command.not_before)
        return payment

    def _authorise(self, command: AuthorisePayment) -> ProviderPayment:
        return self._gateways[command.provider].authorise(
            AuthorisationRequest(
                command.amount,
                command.method,
                {
                    **_metadata(command.checkout_id, command.attempt),
                    "cart_id": command.cart_id,
                    "order_id": command.order_id,
                    "payment_id": command.payment_id,
                },
                f"{command.checkout_id}:authorise:{command.attempt}",
                customer=command.customer,
                save=command.save,
            )
        )

    @activity.defn
    def retrieve_payment(self, command: FindPayment) -> ProviderPayment:
        """Retrieves the payment by the provider's id, or searches it by our metadata."""
        gateway = self._gateways[command.provider]
        if command.reference is not None:
            return gateway.retrieve(command.reference)
        return gateway.search(_metadata(command.checkout_id, command.attempt), command.not_before)

    @activity.defn
    def complete_payment(self, command: FindPayment) -> ProviderPayment:
        """Authorises an approved payment, key `{checkout_id}:complete:{attempt}`; retrieves it first."""
        assert command.reference is not None
        gateway = self._gateways[command.provider]
        held = gateway.retrieve(command.reference)
        if held.state is not ProviderPaymentStatus.APPROVED or is_past(command.not_after):
            return held
        return gateway.complete(command.reference, f"{command.checkout_id}:complete:{command.attempt}")

    @activity.defn
    def void_payment(self, command: VoidPayment) -> ProviderPayment:
        """The undo of step 2: voids the payment, or refunds it if it was captured. ABSENT: nothing to undo."""
        gateway = self._gateways[command.provider]
        reference = command.reference
        if reference is None:
            found = gateway.search(_metadata(command.checkout_id, command.attempt), command.not_before)
            reference = found.reference or self._recorded_reference(command.checkout_id)
            if reference is None:
                return found
        payment = gateway.cancel(reference)
        if payment.state is ProviderPaymentStatus.CAPTURED:
            gateway.refund_rest(reference)
        failpoint("void_payment:unrecorded")
        with self._database.transaction() as connection:
            self._payments.record_void(connection, command.checkout_id, payment)
        return payment

    def _recorded_reference(self, checkout_id: str) -> str | None:
        """The recorded payment, for a provider's list that doesn't show it yet (PayPal's is hours late)."""
        with self._database.autocommit() as connection:
            return self._payments.open_reference(connection, checkout_id)

    @activity.defn
    def cancel_payment(self, command: VoidPayment) -> ProviderPayment:
        """Cancels an expired payment at the provider; CANCELLED, or its state if it can't be cancelled."""
        assert command.reference is not None
        return self._gateways[command.provider].cancel(command.reference)
