"""An order's money at the provider: captured for each parcel; the authorisations left over are voided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.gateways import idempotency_keys
from models.errors import OutcomeUnknown
from models.orders.commands import ReleaseAuthorisation
from models.orders.fulfilment import CapturePayment
from models.payments.provider import ProviderPayment, ProviderPaymentStatus
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.payments import PaymentGateway
    from models.db.session import Database


class OrderPayments:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, PaymentGateway]) -> None:
        from models.db.repositories.payments import payments

        self._database = database
        self._gateways = gateways
        self._payments = payments

    @activity.defn
    def capture_payment(self, command: CapturePayment) -> ProviderPayment:
        """Key `{shipment_id}:capture`, so that a parcel is paid once. From the second time on, what the provider
        holds is looked at before it is asked again. Raises CaptureRefused, AuthorisationGone, ProviderUnavailable,
        OutcomeUnknown."""
        gateway = self._gateways[command.provider]
        if command.retrieve_first or activity.info().attempt > 1:
            held = gateway.retrieve(command.reference)
            if _includes(held, command):
                return held
        for key in idempotency_keys.key_sequence(f"{command.shipment_id}:capture"):
            try:
                return gateway.capture(command.reference, command.amount.amount, final=command.final, key=key)
            except OutcomeUnknown as error:
                if not error.extra.get("answered"):
                    raise
            held = gateway.retrieve(command.reference)
            if _includes(held, command):
                return held
        raise OutcomeUnknown("The provider goes on answering with errors")

    @activity.defn
    def release_authorisation(self, command: ReleaseAuthorisation) -> int:
        """Cancelled at the provider, where twice is once, then recorded; returns the minor units given back.

        What was captured there without us is refunded: nobody meant to take it. Raises ProviderUnavailable,
        OutcomeUnknown.
        """
        with self._database.autocommit() as connection:
            promises = self._payments.open_authorisations(connection, command.order_id)
        for promise in promises:
            gateway = self._gateways[promise.provider]
            held = gateway.cancel(promise.reference)
            taken = held.captured.amount if held.captured is not None else 0
            if held.state is ProviderPaymentStatus.CAPTURED and taken > promise.captured and not promise.captured:
                gateway.refund_rest(promise.reference)
            failpoint("release_authorisation:unrecorded")
            with self._database.transaction() as connection:
                self._payments.record_release(connection, command.order_id, promise)
        return sum(promise.amount for promise in promises)


def _includes(held: ProviderPayment, command: CapturePayment) -> bool:
    """Parcels of an order are paid one after the other, so this one is among what is taken if there is that much."""
    return held.captured is not None and held.captured >= command.captured_before + command.amount
