"""The database steps of the Order workflow besides shipping, one transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.orders.commands import OrderRequest, OrderSnapshot
from models.orders.fulfilment import OrderRef
from models.states import OrderStatus

if TYPE_CHECKING:
    from models.db.session import Database


class OrderCommands:
    def __init__(self, database: Database) -> None:
        from models.db.repositories.orders import commands as order_commands

        self._database = database
        self._orders = order_commands

    @activity.defn
    def load_order(self, ref: OrderRef) -> OrderSnapshot:
        """Loads the order for its workflow."""
        with self._database.autocommit() as connection:
            return self._orders.load_snapshot(connection, ref.order_id)

    @activity.defn
    def cancel_order(self, command: OrderRequest) -> OrderStatus:
        """Raises InvalidTransition if anything has shipped."""
        with self._database.transaction() as connection:
            return self._orders.cancel(connection, command.order_id, command.initiator).order.status

    @activity.defn
    def cancel_remainder(self, command: OrderRequest) -> OrderStatus:
        """Cancels the units that have not shipped. Raises InvalidTransition."""
        with self._database.transaction() as connection:
            return self._orders.cancel_remainder(connection, command.order_id, command.initiator).order.status

    @activity.defn
    def hold_order(self, command: OrderRequest) -> OrderStatus:
        """Raises InvalidTransition."""
        with self._database.transaction() as connection:
            return self._orders.hold(connection, command.order_id, command.initiator).order.status

    @activity.defn
    def release_order(self, command: OrderRequest) -> OrderStatus:
        """Raises InvalidTransition if the order is not on hold."""
        with self._database.transaction() as connection:
            return self._orders.release(connection, command.order_id, command.initiator).order.status
