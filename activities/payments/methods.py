"""Saved cards at the provider and in the database: each step records what it has done at the provider.

So no card and no secret of a challenge is in a workflow's history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.gateways import idempotency_keys
from activities.payments.deadlines import is_past
from models.delivery.stored_responses import CommandResponse
from models.errors import InvalidRequest, OutcomeUnknown, Unavailable
from models.payments.methods import (
    BeginPaymentMethod,
    ClosePaymentMethod,
    EnsureCustomer,
    FindSetup,
    PaymentMethodRef,
    PaymentMethodStarted,
    PaymentMethodState,
    ProviderSetup,
    ProviderSetupStatus,
    RequireSetupAction,
    SaveCheckoutPaymentMethod,
    SetupActionRequired,
    SetUpMethod,
    SetupResult,
)
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.stripe.cards import StripeCards
    from models.db.session import Database


def _metadata(payment_method_id: str, attempt: int) -> dict[str, str]:
    return {"payment_method_id": payment_method_id, "attempt": str(attempt)}


class PaymentMethods:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, StripeCards]) -> None:
        from models.db.repositories.payments import method_saving
        from models.db.repositories.payments import methods as payment_methods

        self._database = database
        self._gateways = gateways
        self._saving = method_saving
        self._methods = payment_methods

    @activity.defn
    def begin_payment_method(self, begin: BeginPaymentMethod) -> PaymentMethodStarted:
        """Inserts the row of the set-up. Raises Conflict (too many), IdempotencyKeyReused, NotFound."""
        with self._database.transaction() as connection:
            return self._saving.begin(connection, begin)

    @activity.defn
    def ensure_payment_customer(self, command: EnsureCustomer) -> str:
        """The provider's id of the user; created under the key `{user_id}:customer`, so two first cards share one.

        `gone` is an id that no longer exists at the provider; the key then contains it. Raises ProviderUnavailable,
        OutcomeUnknown.
        """
        with self._database.autocommit() as connection:
            known = self._methods.customer_of(connection, command.user_id)
        if known is not None and known != command.gone:
            return known
        customer = self._create_customer(command)
        failpoint("ensure_payment_customer:unrecorded")
        with self._database.autocommit() as connection:
            return self._methods.store_customer(connection, command.user_id, customer, gone=command.gone)

    def _create_customer(self, command: EnsureCustomer) -> str:
        gateway = self._gateways[command.provider]
        first = f"{command.user_id}:customer" + (f":after:{command.gone}" if command.gone else "")
        for key in idempotency_keys.key_sequence(first):
            try:
                return gateway.create_customer(command.user_id, key)
            except OutcomeUnknown as error:
                if not error.extra.get("answered"):
                    raise
            if (found := gateway.search_customer(command.user_id, command.not_before)) is not None:
                return found
        raise OutcomeUnknown("The provider keeps answering with errors")

    @activity.defn
    def set_up_payment_method(self, command: SetUpMethod) -> SetupResult:
        """Key `save-payment-method/{id}:set-up:{attempt}`. Raises PaymentMethodInvalid, ProviderUnavailable,
        OutcomeUnknown."""
        setup = self._set_up(command)
        failpoint("set_up_payment_method:unrecorded")
        return self._recorded(command.payment_method_id, setup)

    @activity.defn
    def resolve_setup_outcome(self, command: SetUpMethod) -> SetupResult:
        """Resolves the unknown outcome of a set-up: searches it, and if it is absent, sets up again with the same key,
        but not from `not_after` on.

        ABSENT if then, or after the provider has answered that key with an error, it has no set-up. Raises
        ProviderUnavailable, OutcomeUnknown.
        """
        gateway = self._gateways[command.provider]
        metadata = _metadata(command.payment_method_id, command.attempt)
        setup = gateway.search(command.customer, metadata)
        if setup.state is ProviderSetupStatus.ABSENT and not is_past(command.not_after):
            try:
                setup = self._set_up(command)
            except OutcomeUnknown as error:
                if not error.extra.get("answered"):
                    raise
                # The provider has finished with this key, so its list is final now.
                setup = gateway.search(command.customer, metadata)
            failpoint("resolve_setup_outcome:unrecorded")
        return self._recorded(command.payment_method_id, setup)

    def _set_up(self, command: SetUpMethod) -> ProviderSetup:
        return self._gateways[command.provider].set_up(
            command.customer,
            command.method,
            {**_metadata(command.payment_method_id, command.attempt), "user_id": command.user_id},
            f"save-payment-method/{command.payment_method_id}:set-up:{command.attempt}",
        )

    def _recorded(self, payment_method_id: str, setup: ProviderSetup) -> SetupResult:
        """Records the set-up. Raises OutcomeUnknown if that fails, because something has happened at the provider."""
        try:
            with self._database.autocommit() as connection:
                self._saving.record(connection, payment_method_id, setup)
        except Unavailable as error:
            raise OutcomeUnknown() from error
        return SetupResult.of(setup)

    @activity.defn
    def require_setup_action(self, command: RequireSetupAction) -> SetupActionRequired:
        """Records the challenge of the set-up; the row has the next action."""
        with self._database.transaction() as connection:
            return self._saving.require_action(connection, command)

    @activity.defn
    def retrieve_setup(self, command: FindSetup) -> SetupResult:
        """Retrieves the set-up and records it."""
        return self._recorded(command.payment_method_id, self._find(command))

    def _find(self, command: FindSetup) -> ProviderSetup:
        gateway = self._gateways[command.provider]
        if command.reference is not None:
            return gateway.retrieve(command.reference)
        return gateway.search(command.customer, _metadata(command.payment_method_id, command.attempt))

    @activity.defn
    def cancel_setup(self, command: FindSetup) -> SetupResult:
        """Cancels an expired set-up at the provider; CANCELLED, or its state if it can't be cancelled."""
        assert command.reference is not None
        setup = self._gateways[command.provider].cancel(command.reference)
        failpoint("cancel_setup:unrecorded")
        return self._recorded(command.payment_method_id, setup)

    @activity.defn
    def undo_setup(self, command: FindSetup) -> None:
        """Cancels the set-up; detaches the card that it has saved, unless another entry uses it."""
        gateway = self._gateways[command.provider]
        setup = self._find(command)
        if setup.reference is None:
            return
        setup = gateway.cancel(setup.reference)
        if (
            setup.state is ProviderSetupStatus.SUCCEEDED
            and setup.method is not None
            and not self._in_use(command, setup.method)
        ):
            gateway.detach(setup.method)

    def _in_use(self, command: FindSetup, method: str) -> bool:
        with self._database.autocommit() as connection:
            return self._methods.in_use(connection, command.user_id, method, besides=command.payment_method_id)

    @activity.defn
    def record_saved_payment_method(self, ref: PaymentMethodRef) -> CommandResponse:
        """Records the card as saved, or merges it into its existing entry."""
        with self._database.transaction() as connection:
            return self._saving.save(connection, ref.payment_method_id)

    @activity.defn
    def save_checkout_payment_method(self, command: SaveCheckoutPaymentMethod) -> None:
        """Saves the card of a payment for its buyer. Raises InvalidRequest if the provider has not saved it."""
        setup = self._gateways[command.provider].retrieve_for_payment(command.reference)
        if setup.state is not ProviderSetupStatus.SUCCEEDED:
            raise InvalidRequest("The provider has not saved the method")
        with self._database.transaction() as connection:
            self._saving.save_used(connection, command, setup)

    @activity.defn
    def close_payment_method(self, command: ClosePaymentMethod) -> CommandResponse:
        """Closes the set-up without a saved card."""
        with self._database.transaction() as connection:
            return self._saving.close(connection, command)

    @activity.defn
    def detach_payment_method(self, ref: PaymentMethodRef) -> PaymentMethodState:
        """Detaches a removed card at the provider, unless another entry uses it; returns the state."""
        with self._database.autocommit() as connection:
            stored = self._methods.at_provider(connection, ref.payment_method_id)
        if stored.state is not PaymentMethodState.REMOVING:
            return stored.state
        if stored.reference is not None:
            self._gateways[stored.provider].detach(stored.reference)
        failpoint("detach_payment_method:unrecorded")
        with self._database.autocommit() as connection:
            self._methods.removed(connection, ref.payment_method_id)
        return PaymentMethodState.REMOVED

    @activity.defn
    def record_removed_payment_method(self, ref: PaymentMethodRef) -> PaymentMethodState:
        """Records a card that was detached manually at the provider."""
        with self._database.autocommit() as connection:
            self._methods.removed(connection, ref.payment_method_id)
        return PaymentMethodState.REMOVED
