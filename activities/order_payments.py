"""What a bank has promised for an order and nobody will capture goes back to its buyer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.failpoints import failpoint
from models.checkout import PaymentAt
from models.order_commands import ReleaseAuthorisation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.payments import PaymentGateway
    from models.db.session import Database


class OrderPayments:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, PaymentGateway]) -> None:
        from models.db.repositories import payments

        self._database = database
        self._gateways = gateways
        self._payments = payments

    @activity.defn
    def release_authorisation(self, command: ReleaseAuthorisation) -> int:
        """Cancelled at the provider, where twice is once, then recorded; returns the minor units given back.

        What was captured there without us is refunded: nobody meant to take it. Raises ProviderUnavailable,
        OutcomeUnknown.
        """
        with self._database.reading() as connection:
            promises = self._payments.promises(connection, command.order_id)
        for promise in promises:
            gateway = self._gateways[promise.provider]
            held = gateway.cancel(promise.reference)
            taken = held.captured.amount if held.captured is not None else 0
            if held.state is PaymentAt.CAPTURED and taken > promise.captured and not promise.captured:
                gateway.give_back(promise.reference)
            failpoint("release_authorisation:unrecorded")
            with self._database.transaction() as connection:
                self._payments.record_release(connection, command.order_id, promise)
        return sum(promise.amount for promise in promises)
