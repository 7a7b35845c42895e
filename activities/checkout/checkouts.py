"""The database steps of a checkout, one transaction each; constraints decide between concurrent checkouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.checkout.checkouts import (
    ActionRequired,
    BeginCheckout,
    CheckoutRef,
    CloseCheckout,
    ConfirmOrder,
    OrphanedCheckout,
    ReleaseHold,
    RequireAction,
    StockHeld,
)
from models.delivery.stored_responses import CommandResponse
from runtime.tracing import trace_context

if TYPE_CHECKING:
    from models.db.session import Database


class Checkouts:
    def __init__(self, database: Database) -> None:
        from models.db.repositories.checkout import checkouts, holds
        from models.db.repositories.checkout import closing as checkout_closing
        from models.db.repositories.checkout import reads as checkout_reads

        self._database = database
        self._checkouts = checkouts
        self._closing = checkout_closing
        self._reads = checkout_reads
        self._holds = holds

    @activity.defn
    def hold_stock(self, begin: BeginCheckout) -> StockHeld:
        """Step 1. Raises OutOfStock, PriceChanged, CartIncomplete, CartCompleted, CheckoutInProgress."""
        with self._database.transaction() as connection:
            return self._checkouts.hold(connection, begin)

    @activity.defn
    def require_action(self, command: RequireAction) -> ActionRequired:
        """Step 3: records the next action that the payment requires of the buyer."""
        with self._database.transaction() as connection:
            return self._checkouts.require_action(connection, command)

    @activity.defn
    def confirm_order(self, command: ConfirmOrder) -> CommandResponse:
        """Step 5. Raises OutOfStock (the hold had expired), CartCompleted, InvalidTransition (closed already)."""
        with self._database.transaction() as connection:
            return self._checkouts.confirm(connection, command, trace_context())

    @activity.defn
    def close_checkout(self, command: CloseCheckout) -> CommandResponse:
        """The undo of step 1; records the final response of the checkout."""
        with self._database.transaction() as connection:
            return self._closing.close(connection, command)

    @activity.defn
    def release_hold(self, command: ReleaseHold) -> None:
        """Releases an expired hold; the confirmation checks the stock again."""
        with self._database.transaction() as connection:
            self._holds.expire(connection, command.checkout_id)

    @activity.defn
    def orphaned_checkout(self, ref: CheckoutRef) -> OrphanedCheckout | None:
        """The state of a checkout without a workflow; None if the checkout has ended."""
        with self._database.autocommit() as connection:
            return self._reads.orphaned(connection, ref.checkout_id)
