"""The database steps of the Return workflow, one transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.orders.returns import ReceiveReturn, RefuseReturn, ReturnRef, ReturnSnapshot

if TYPE_CHECKING:
    from models.db.session import Database


class Returns:
    def __init__(self, database: Database) -> None:
        from models.db.repositories.orders import returns

        self._database = database
        self._returns = returns

    @activity.defn
    def load_return(self, ref: ReturnRef) -> ReturnSnapshot:
        """Loads the return for its workflow."""
        with self._database.autocommit() as connection:
            return self._returns.load_snapshot(connection, ref.return_id)

    @activity.defn
    def receive_return(self, command: ReceiveReturn) -> ReturnSnapshot:
        """Receives the goods. Raises InvalidTransition, NotEnoughToReturn, InvalidRequest."""
        with self._database.transaction() as connection:
            self._returns.receive(connection, command)
            return self._returns.load_snapshot(connection, command.return_id)

    @activity.defn
    def refuse_return(self, command: RefuseReturn) -> ReturnSnapshot:
        """Raises InvalidTransition."""
        with self._database.transaction() as connection:
            self._returns.refuse(connection, command.return_id, command.initiator)
            return self._returns.load_snapshot(connection, command.return_id)

    @activity.defn
    def expire_return(self, ref: ReturnRef) -> ReturnSnapshot:
        """Expires the return unless it has been received meanwhile."""
        with self._database.transaction() as connection:
            self._returns.expire(connection, ref.return_id)
            return self._returns.load_snapshot(connection, ref.return_id)
