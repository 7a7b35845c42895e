"""Refunds at the provider and in the ledger: each part is refunded once and recorded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.gateways import idempotency_keys
from models.errors import Conflict, OutcomeUnknown, RefundExceedsBalance
from models.payments.provider import ProviderRefund, ProviderRefundStatus
from models.payments.refunds import RefundPart, RefundRef, RefundSnapshot
from models.states import RefundStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.payments import PaymentGateway
    from models.db.session import Database


class Refunds:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, PaymentGateway]) -> None:
        from models.db.repositories.payments import manual_refunds, refund_outcomes

        self._database = database
        self._gateways = gateways
        self._outcomes = refund_outcomes
        self._found = manual_refunds

    @activity.defn
    def load_refund(self, ref: RefundRef) -> RefundSnapshot | None:
        """Loads the refund for its workflow; None if there is none."""
        with self._database.autocommit() as connection:
            return self._outcomes.snapshot(connection, ref.refund_id)

    @activity.defn
    def refund_payment(self, part: RefundPart) -> ProviderRefund:
        """Retrieves the provider's refund of this part; creates it only if the part is pending and has none.

        ABSENT only for a part that has ended. Raises ProviderUnavailable, OutcomeUnknown.
        """
        gateway = self._gateways[part.provider]
        if part.reference is not None:
            return gateway.retrieve_refund(part.reference)
        found = self._find(gateway, part)
        if part.status is not RefundStatus.PENDING or _is_complete(found, part):
            return found
        return self._refund(gateway, part)

    def _refund(self, gateway: PaymentGateway, part: RefundPart) -> ProviderRefund:
        metadata = {"refund_id": part.name, "order_id": part.order_id, "payment_id": part.payment_id}
        for key in idempotency_keys.key_sequence(part.key):
            try:
                return gateway.refund(part.payment, part.amount, metadata, key)
            except RefundExceedsBalance as error:
                found = self._find(gateway, part)  # our own refund may have used up the balance
                if found.state is ProviderRefundStatus.ABSENT:
                    return ProviderRefund(state=ProviderRefundStatus.FAILED, payment=part.payment, reason=error.slug)
                return found
            except OutcomeUnknown as error:
                if not error.extra.get("answered"):
                    raise
            found = self._find(gateway, part)
            if _is_complete(found, part):
                return found
        raise OutcomeUnknown("The provider keeps answering with errors")

    def _find(self, gateway: PaymentGateway, part: RefundPart) -> ProviderRefund:
        return gateway.search_refund(part.payment, {"refund_id": part.name})

    @activity.defn
    def record_refund(self, part: RefundPart, found: ProviderRefund) -> None:
        """Records the provider's status: refund, ledger, events, a mail or a manual task, in one transaction."""
        with self._database.transaction() as connection:
            self._outcomes.record(connection, part, found)

    @activity.defn
    def retry_refund(self, ref: RefundRef) -> None:
        """Retries a failed refund after the outcome `retry`. If that is not possible, opens another manual task."""
        try:
            with self._database.transaction() as connection:
                self._outcomes.retry(connection, ref.refund_id)
        except Conflict as error:
            with self._database.transaction() as connection:
                self._outcomes.escalate(connection, ref.refund_id, error.detail)

    @activity.defn
    def adopt_refund(self, ref: RefundRef) -> bool:
        """Adopts a refund that was made at the provider, once. False: there is nothing to adopt.

        Raises RefundExceedsBalance while refunds of ours have reserved the balance, ProviderUnavailable,
        OutcomeUnknown.
        """
        assert ref.found is not None
        found = self._gateways[ref.found.provider].retrieve_refund(ref.found.reference)
        if found.state is ProviderRefundStatus.ABSENT:
            return False
        with self._database.transaction() as connection:
            return self._found.adopt(connection, ref, found)


def _is_complete(found: ProviderRefund, part: RefundPart) -> bool:
    """False for a refund of several captures (PayPal) that a lost worker has left incomplete."""
    return found.state is not ProviderRefundStatus.ABSENT and (found.amount is None or found.amount >= part.amount)
