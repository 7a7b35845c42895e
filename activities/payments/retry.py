"""The steps of a payment retry, one idempotent effect each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.payments.deadlines import is_past
from models.errors import OutcomeUnknown, PaymentMethodInvalid
from models.payments.provider import AuthorisationRequest, ProviderPayment, ProviderPaymentStatus
from models.payments.retry import (
    AcceptPayment,
    AttemptPlanned,
    AttemptResult,
    BeginRetry,
    ChallengedAttempt,
    ChargeOrder,
    FailPayment,
    GiveUpPayment,
    PlanAttempt,
    RecordRetrySchedule,
    RequirePayerAction,
    RetryEnded,
    RetrySnapshot,
    VoidPaymentAttempt,
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
        self._attempts = retry_attempts

    @activity.defn
    def fail_payment(self, command: FailPayment) -> bool:
        """Records a declined capture: discards the shipment, and the order waits for another payment.

        False if the order can't wait.
        """
        with self._database.transaction() as connection:
            return self._retries.fail(connection, command)

    @activity.defn
    def begin_payment_retry(self, command: BeginRetry) -> RetrySnapshot:
        """Loads the payment retry; the first call begins its schedule."""
        with self._database.transaction() as connection:
            return self._retries.begin(connection, command)

    @activity.defn
    def plan_payment_attempt(self, command: PlanAttempt) -> AttemptPlanned:
        """Plans the charge: amount and method. Raises NotFound for a saved method that is not the buyer's."""
        with self._database.transaction() as connection:
            return self._attempts.plan(connection, command)

    @activity.defn
    def charge_order(self, command: ChargeOrder) -> AttemptResult:
        """Charges, key `{order_id}:retry:{number}`. A retry of the activity searches the payment first, and from
        `not_after` on does nothing else.

        ABSENT if then, or after the provider has answered that key with an error, it has no payment. Raises
        ProviderUnavailable, OutcomeUnknown.
        """
        gateway = self._gateways[command.provider]
        metadata = _metadata(command.checkout_id, command.number)
        late = is_past(command.not_after)
        if command.retrieve_first or activity.info().attempt > 1 or late:
            found = gateway.search(metadata, command.not_before)
            if found.state is not ProviderPaymentStatus.ABSENT or late:
                return self._recorded(command, found)
        try:
            payment = self._authorise(command, metadata)
        except PaymentMethodInvalid:
            refused = ProviderPayment(state=ProviderPaymentStatus.DECLINED, decline_code=INVALID)
            return self._recorded(command, refused).model_copy(update={"invalid": True})
        except OutcomeUnknown as error:
            if not error.extra.get("answered"):
                raise
            # The provider has finished with this key, so its list is final now.
            payment = gateway.search(metadata, command.not_before)
        failpoint("charge_order:unrecorded")
        return self._recorded(command, payment)

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

    def _recorded(self, command: ChargeOrder, payment: ProviderPayment) -> AttemptResult:
        with self._database.transaction() as connection:
            self._attempts.record_attempt(connection, command.order_id, command.payment_id, payment)
        return _result_of(payment)

    @activity.defn
    def retrieve_payment_attempt(self, challenge: ChallengedAttempt) -> AttemptResult:
        """Retrieves the payment; records a decline or cancellation."""
        payment = self._gateways[challenge.provider].retrieve(challenge.reference)
        if payment.state in (ProviderPaymentStatus.DECLINED, ProviderPaymentStatus.CANCELLED):
            with self._database.transaction() as connection:
                self._attempts.record_attempt(connection, challenge.order_id, challenge.payment_id, payment)
        return _result_of(payment)

    @activity.defn
    def accept_payment(self, command: AcceptPayment) -> RetryEnded:
        """Records the order's new payment. If the order no longer waits for one, returns how the retry ended."""
        with self._database.transaction() as connection:
            return self._attempts.accept(connection, command)

    @activity.defn
    def require_payer_action(self, command: RequirePayerAction) -> bool:
        """Records the next action for the buyer; true if a provider event has arrived in the meantime."""
        with self._database.transaction() as connection:
            return self._attempts.require_payer_action(connection, command)

    @activity.defn
    def record_retry_schedule(self, command: RecordRetrySchedule) -> None:
        """Records the schedule for the API; notifies the buyer if the command says so."""
        with self._database.transaction() as connection:
            self._retries.record_schedule(connection, command)

    @activity.defn
    def void_payment_attempt(self, command: VoidPaymentAttempt) -> AttemptResult:
        """Voids the payment at the provider, idempotently; refunds an attempt that was captured.

        An accepted payment is not voided: the acceptance may be recorded although the worker died before it returned.
        Raises ProviderUnavailable, OutcomeUnknown.
        """
        with self._database.autocommit() as connection:
            if self._attempts.is_accepted(connection, command.order_id, command.payment_id):
                return AttemptResult(state=ProviderPaymentStatus.AUTHORISED, reference=command.reference)
        gateway = self._gateways[command.provider]
        held = gateway.cancel(command.reference)
        captured = held.state is ProviderPaymentStatus.CAPTURED and command.payment_id is not None
        if captured:
            gateway.refund_rest(command.reference)
        failpoint("void_payment_attempt:unrecorded")
        if command.payment_id is not None:
            with self._database.transaction() as connection:
                self._attempts.void_attempt(connection, command.order_id, command.payment_id, given_back=captured)
        return _result_of(held)

    @activity.defn
    def give_up_payment(self, command: GiveUpPayment) -> RetryEnded:
        """Cancels what has not shipped of the order. Raises InvalidTransition while a shipment is in progress."""
        with self._database.transaction() as connection:
            return self._retries.give_up(connection, command)


def _result_of(payment: ProviderPayment) -> AttemptResult:
    return AttemptResult(
        state=payment.state,
        reference=payment.reference,
        captured=payment.captured.amount if payment.captured else 0,
        decline_code=payment.decline_code,
    )
