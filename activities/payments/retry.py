"""The steps of trying a payment again, one idempotent effect each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.errors import OutcomeUnknown, PaymentMethodInvalid
from models.payments.provider import AuthorisationRequest, PaymentAt, ProviderPayment
from models.payments.retry import (
    AcceptPayment,
    AskPayer,
    BankTry,
    BeginRetry,
    ChargeOrder,
    FailPayment,
    GiveUp,
    NoteLadder,
    PlanTry,
    ReleaseTry,
    RetryEnded,
    RetryStands,
    TryPlanned,
    TryStands,
)
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.payments import PaymentGateway
    from models.db.session import Database

INVALID = "payment_method_invalid"


def _metadata(checkout_id: str, number: int) -> dict[str, str]:
    return {"checkout_id": checkout_id, "attempt": f"retry-{number}"}


class PaymentRetries:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, PaymentGateway]) -> None:
        from models.db.repositories.payments import retry as payment_retry
        from models.db.repositories.payments import retry_attempts

        self._database = database
        self._gateways = gateways
        self._retries = payment_retry
        self._tries = retry_attempts

    @activity.defn
    def fail_payment(self, command: FailPayment) -> bool:
        """The capture was refused for good: the parcel stays, the order waits. False where it can't wait."""
        with self._database.transaction() as connection:
            return self._retries.fail(connection, command)

    @activity.defn
    def begin_payment_retry(self, command: BeginRetry) -> RetryStands:
        """How things stand; the first time the ladder begins."""
        with self._database.transaction() as connection:
            return self._retries.begin(connection, command)

    @activity.defn
    def plan_payment_try(self, command: PlanTry) -> TryPlanned:
        """What is due, of whom. Raises NotFound for a saved method that is not the buyer's."""
        with self._database.transaction() as connection:
            return self._tries.plan(connection, command)

    @activity.defn
    def charge_order(self, command: ChargeOrder) -> TryStands:
        """Key `{order_id}:retry:{number}`. From the second time on it is looked up before it is asked again.

        ABSENT when the provider has answered that key with an error and holds nothing. Raises ProviderUnavailable,
        OutcomeUnknown.
        """
        gateway = self._gateways[command.provider]
        metadata = _metadata(command.checkout_id, command.number)
        if command.look_first or activity.info().attempt > 1:
            found = gateway.find(metadata, command.not_before)
            if found.state is not PaymentAt.ABSENT:
                return self._noted(command, found)
        try:
            payment = self._authorise(command, metadata)
        except PaymentMethodInvalid:
            refused = ProviderPayment(state=PaymentAt.DECLINED, decline_code=INVALID)
            return self._noted(command, refused).model_copy(update={"invalid": True})
        except OutcomeUnknown as error:
            if not error.extra.get("answered"):
                raise
            # The provider has finished with this key, so what its list says now is final.
            payment = gateway.find(metadata, command.not_before)
        failpoint("charge_order:unrecorded")
        return self._noted(command, payment)

    def _authorise(self, command: ChargeOrder, metadata: dict[str, str]) -> ProviderPayment:
        return self._gateways[command.provider].authorise(
            AuthorisationRequest(
                command.amount,
                command.method,
                {
                    **metadata,
                    "cart_id": command.cart_id,
                    "order_id": command.order_id,
                    "payment_id": command.payment_id,
                },
                f"{command.order_id}:retry:{command.number}",
                customer=command.customer,
                off_session=command.off_session,
            )
        )

    def _noted(self, command: ChargeOrder, payment: ProviderPayment) -> TryStands:
        with self._database.transaction() as connection:
            self._tries.note_try(connection, command.order_id, command.payment_id, payment)
        return _stands(payment)

    @activity.defn
    def look_at_try(self, bank: BankTry) -> TryStands:
        """What the provider holds now; a refusal is noted."""
        payment = self._gateways[bank.provider].look(bank.reference)
        if payment.state in (PaymentAt.DECLINED, PaymentAt.CANCELLED):
            with self._database.transaction() as connection:
                self._tries.note_try(connection, bank.order_id, bank.payment_id, payment)
        return _stands(payment)

    @activity.defn
    def accept_payment(self, command: AcceptPayment) -> RetryEnded:
        """The order goes on with its new payment; one that no longer waits says how it ended."""
        with self._database.transaction() as connection:
            return self._tries.accept(connection, command)

    @activity.defn
    def ask_payer(self, command: AskPayer) -> bool:
        """The bank wants to see the buyer: what they are answered. True if the provider has said more meanwhile."""
        with self._database.transaction() as connection:
            return self._tries.ask_payer(connection, command)

    @activity.defn
    def note_ladder(self, command: NoteLadder) -> None:
        """Where it stands, for people to see; the buyer is told where only they can help."""
        with self._database.transaction() as connection:
            self._retries.note(connection, command)

    @activity.defn
    def release_try(self, command: ReleaseTry) -> TryStands:
        """Cancelled at the provider, where twice is once. A try that was taken after all is refunded.

        One that the order goes on with is left alone: its acceptance may outlive the worker that was to tell of it.
        Raises ProviderUnavailable, OutcomeUnknown.
        """
        with self._database.reading() as connection:
            if self._tries.is_accepted(connection, command.order_id, command.payment_id):
                return TryStands(state=PaymentAt.AUTHORISED, reference=command.reference)
        gateway = self._gateways[command.provider]
        held = gateway.cancel(command.reference)
        taken = held.state is PaymentAt.CAPTURED and command.payment_id is not None
        if taken:
            gateway.give_back(command.reference)
        failpoint("release_try:unrecorded")
        if command.payment_id is not None:
            with self._database.transaction() as connection:
                self._tries.void_try(connection, command.order_id, command.payment_id, given_back=taken)
        return _stands(held)

    @activity.defn
    def give_up_payment(self, command: GiveUp) -> RetryEnded:
        """The order, or what is left of it, is cancelled. Raises InvalidTransition while a parcel is handed over."""
        with self._database.transaction() as connection:
            return self._retries.give_up(connection, command)


def _stands(payment: ProviderPayment) -> TryStands:
    return TryStands(
        state=payment.state,
        reference=payment.reference,
        captured=payment.captured.amount if payment.captured else 0,
        decline_code=payment.decline_code,
    )
