"""The database steps of a return's process, one transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.orders.returns import ReceiveReturn, RefuseReturn, ReturnRef, ReturnStands

if TYPE_CHECKING:
    from models.db.session import Database


class Returns:
    def __init__(self, database: Database) -> None:
        from models.db.repositories.orders import returns

        self._database = database
        self._returns = returns

    @activity.defn
    def look_at_return(self, ref: ReturnRef) -> ReturnStands:
        """How it stands, whoever changed it."""
        with self._database.reading() as connection:
            return self._returns.stands(connection, ref.return_id)

    @activity.defn
    def receive_return(self, command: ReceiveReturn) -> ReturnStands:
        """It has arrived. Raises InvalidTransition, NotEnoughToReturn, InvalidRequest."""
        with self._database.transaction() as connection:
            self._returns.receive(connection, command)
            return self._returns.stands(connection, command.return_id)

    @activity.defn
    def refuse_return(self, command: RefuseReturn) -> ReturnStands:
        """It is not taken back. Raises InvalidTransition."""
        with self._database.transaction() as connection:
            self._returns.refuse(connection, command.return_id, command.by)
            return self._returns.stands(connection, command.return_id)

    @activity.defn
    def expire_return(self, ref: ReturnRef) -> ReturnStands:
        """Nothing has come in time; a receipt that was quicker stays."""
        with self._database.transaction() as connection:
            self._returns.expire(connection, ref.return_id)
            return self._returns.stands(connection, ref.return_id)
