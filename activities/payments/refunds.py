"""Refunds at the provider, and what the books make of its word: every part once, whatever is lost in between."""

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
        """Where it stands; None where there is no such refund."""
        with self._database.autocommit() as connection:
            return self._outcomes.snapshot(connection, ref.refund_id)

    @activity.defn
    def refund_payment(self, part: RefundPart) -> ProviderRefund:
        """What the provider has for this part; asked of it only where it has none yet and none has ended.

        ABSENT only of a part that has ended. Raises ProviderUnavailable, OutcomeUnknown.
        """
        gateway = self._gateways[part.provider]
        if part.reference is not None:
            return gateway.retrieve_refund(part.reference)
        found = self._find(gateway, part)
        if part.status is not RefundStatus.PENDING or _whole(found, part):
            return found
        return self._refund(gateway, part)

    def _refund(self, gateway: PaymentGateway, part: RefundPart) -> ProviderRefund:
        metadata = {"refund_id": part.name, "order_id": part.order_id, "payment_id": part.payment_id}
        for key in idempotency_keys.key_sequence(part.key):
            try:
                return gateway.refund(part.payment, part.amount, metadata, key)
            except RefundExceedsBalance as error:
                found = self._find(gateway, part)  # perhaps it is ours that has taken it
                if found.state is ProviderRefundStatus.ABSENT:
                    return ProviderRefund(state=ProviderRefundStatus.FAILED, payment=part.payment, reason=error.slug)
                return found
            except OutcomeUnknown as error:
                if not error.extra.get("answered"):
                    raise
            found = self._find(gateway, part)
            if _whole(found, part):
                return found
        raise OutcomeUnknown("The provider goes on answering with errors")

    def _find(self, gateway: PaymentGateway, part: RefundPart) -> ProviderRefund:
        return gateway.search_refund(part.payment, {"refund_id": part.name})

    @activity.defn
    def record_refund(self, part: RefundPart, found: ProviderRefund) -> None:
        """The provider's word in the books: state, ledger, events, a mail, or a task, in one transaction."""
        with self._database.transaction() as connection:
            self._outcomes.record(connection, part, found)

    @activity.defn
    def retry_refund(self, ref: RefundRef) -> None:
        """A person wants it tried again. Where that can't be, the person is told why by another task."""
        try:
            with self._database.transaction() as connection:
                self._outcomes.retry(connection, ref.refund_id)
        except Conflict as error:
            with self._database.transaction() as connection:
                self._outcomes.escalate(connection, ref.refund_id, error.detail)

    @activity.defn
    def adopt_refund(self, ref: RefundRef) -> bool:
        """One that somebody made at the provider becomes the order's, once. False: there is nothing to adopt.

        Raises RefundExceedsBalance while refunds of ours have a claim on it.
        """
        assert ref.found is not None
        found = self._gateways[ref.found.provider].retrieve_refund(ref.found.reference)
        if found.state is ProviderRefundStatus.ABSENT:
            return False
        with self._database.transaction() as connection:
            return self._found.adopt(connection, ref, found)


def _whole(found: ProviderRefund, part: RefundPart) -> bool:
    """Where a provider takes it from several captures (PayPal), a lost worker may have left it half done."""
    return found.state is not ProviderRefundStatus.ABSENT and (found.amount is None or found.amount >= part.amount)
