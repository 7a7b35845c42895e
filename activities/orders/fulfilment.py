"""The database steps of shipping, one transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.orders.fulfilment import CreateShipment, OrderRef, RecordTrackingEvent, ShipmentPlanned
from models.states import OrderStatus

if TYPE_CHECKING:
    from models.db.session import Database


class Fulfilment:
    def __init__(self, database: Database) -> None:
        from models.db.repositories.delivery import stored_responses
        from models.db.repositories.orders import orders, parcels, shipments

        self._database = database
        self._answers = stored_responses
        self._orders = orders
        self._parcels = parcels
        self._shipments = shipments

    @activity.defn
    def plan_shipment(self, command: CreateShipment) -> ShipmentPlanned:
        """Plans the shipment's units and capture. Raises InvalidTransition, NotEnoughToShip, Conflict, NotFound."""
        with self._database.transaction() as connection:
            return self._shipments.plan_shipment(connection, command)

    @activity.defn
    def confirm_shipment(self, command: CreateShipment, planned: ShipmentPlanned) -> None:
        """Records the shipment: events, stock, ledger and the stored response, in one transaction."""
        with self._database.transaction() as connection:
            stored = self._shipments.confirm_shipment(connection, command, planned.capture)
            answer = self._shipments.shipment_response(connection, stored, command.shipment_id)
            self._answers.store(connection, command.key_digest, command.fingerprint, answer)

    @activity.defn
    def discard_shipment(self, command: CreateShipment) -> None:
        """The undo of the plan."""
        with self._database.transaction() as connection:
            self._shipments.drop_plan(connection, command.shipment_id)

    @activity.defn
    def record_tracking_event(self, command: RecordTrackingEvent) -> None:
        """Records a tracking event and the stored response. Raises InvalidTransition, NotFound."""
        with self._database.transaction() as connection:
            stored = self._parcels.record_tracking_event(connection, command)
            answer = self._shipments.shipment_response(connection, stored, command.shipment_id)
            self._answers.store(connection, command.key_digest, command.fingerprint, answer)

    @activity.defn
    def complete_order(self, ref: OrderRef) -> OrderStatus:
        """Completes the order after its return window, unless a return is open; returns the order's status."""
        with self._database.transaction() as connection:
            return self._orders.complete(connection, ref.order_id)
