"""Captures an order's payment for each shipment, and voids its open authorisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.gateways import idempotency_keys
from models.errors import CaptureDiffers, CaptureRefused, OutcomeUnknown
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
        """Captures once per shipment, key `{shipment_id}:capture`. A retry retrieves the payment first.

        A payment that was captured at the provider by hand, with enough for this shipment, counts as captured. Raises
        CaptureRefused, AuthorisationGone, CaptureDiffers, ProviderUnavailable, OutcomeUnknown.
        """
        gateway = self._gateways[command.provider]
        try:
            return self._capture(gateway, command)
        except CaptureRefused:
            held = gateway.retrieve(command.reference)
            if _includes(held, command):
                return held
            if held.captured is not None and held.captured > command.captured_before:
                elsewhere = held.captured - command.captured_before
                raise CaptureDiffers(
                    f"{elsewhere.amount} {elsewhere.currency} were captured at {command.provider} without us;"
                    f" the shipment costs {command.amount.amount}"
                ) from None
            raise

    def _capture(self, gateway: PaymentGateway, command: CapturePayment) -> ProviderPayment:
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
        raise OutcomeUnknown("The provider keeps answering with errors")

    @activity.defn
    def release_authorisation(self, command: ReleaseAuthorisation) -> int:
        """Voids the open authorisations at the provider, idempotently; returns the minor units that are released.

        Refunds a capture that was made at the provider without us. Raises ProviderUnavailable, OutcomeUnknown.
        """
        with self._database.autocommit() as connection:
            authorisations = self._payments.open_authorisations(connection, command.order_id)
        for open_ in authorisations:
            gateway = self._gateways[open_.provider]
            held = gateway.cancel(open_.reference)
            captured = held.captured.amount if held.captured is not None else 0
            if held.state is ProviderPaymentStatus.CAPTURED and captured > open_.captured and not open_.captured:
                gateway.refund_rest(open_.reference)
            failpoint("release_authorisation:unrecorded")
            with self._database.transaction() as connection:
                self._payments.record_release(connection, command.order_id, open_)
        return sum(open_.amount for open_ in authorisations)


def _includes(held: ProviderPayment, command: CapturePayment) -> bool:
    """Shipments of an order are captured one after the other, so the captured amount tells whether this one is."""
    return held.captured is not None and held.captured >= command.captured_before + command.amount
