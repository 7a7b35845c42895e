"""The database steps of shipping, one transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.failpoints import failpoint
from models.answers import Answer
from models.fulfilment import OrderRef, ParcelPlanned, ParcelScanned, ScanParcel, ShipParcel

if TYPE_CHECKING:
    from models.db.session import Database


class Fulfilment:
    def __init__(self, database: Database) -> None:
        from models.db.repositories import answers, orders, shipments

        self._database = database
        self._answers = answers
        self._orders = orders
        self._shipments = shipments

    @activity.defn
    def plan_shipment(self, command: ShipParcel) -> ParcelPlanned:
        """What the parcel takes. Raises InvalidTransition, NotEnoughToShip, Conflict, NotFound."""
        failpoint("plan_shipment:before")
        with self._database.transaction() as connection:
            planned = self._shipments.plan_shipment(connection, command)
        failpoint("plan_shipment:after")
        return planned

    @activity.defn
    def confirm_shipment(self, command: ShipParcel, planned: ParcelPlanned) -> Answer:
        """The parcel is out: events, stock, ledger and the kept answer, in one transaction."""
        failpoint("confirm_shipment:before")
        with self._database.transaction() as connection:
            answer = self._shipments.confirm_shipment(connection, command, planned.capture)
            self._answers.keep(connection, command.key_digest, command.fingerprint, answer)
        failpoint("confirm_shipment:after")
        return answer

    @activity.defn
    def drop_shipment(self, command: ShipParcel) -> None:
        """The undo of the plan: the parcel stays."""
        with self._database.transaction() as connection:
            self._shipments.drop_plan(connection, command.shipment_id)

    @activity.defn
    def record_scan(self, command: ScanParcel) -> ParcelScanned:
        """A carrier's word. Raises InvalidTransition, NotFound."""
        failpoint("record_scan:before")
        with self._database.transaction() as connection:
            scanned = self._shipments.record_scan(connection, command)
            self._answers.keep(connection, command.key_digest, command.fingerprint, scanned.answer)
        failpoint("record_scan:after")
        return scanned

    @activity.defn
    def complete_order(self, ref: OrderRef) -> None:
        """The return window has closed."""
        failpoint("complete_order:before")
        with self._database.transaction() as connection:
            self._orders.complete(connection, ref.order_id)
        failpoint("complete_order:after")
