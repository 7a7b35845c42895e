"""Shipments at the carrier: labels bought once, labels voided, and tracking events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.gateways import idempotency_keys
from models.errors import InvalidRequest
from models.orders.fulfilment import BuyLabel, DeclareShipmentLost, ShipmentRef, ShipmentSnapshot
from runtime.failpoints import failpoint

if TYPE_CHECKING:
    from activities.gateways.carrier import CarrierGateway
    from models.db.session import Database


class Parcels:
    """`carrier` is None where the shop has none."""

    def __init__(self, database: Database, carrier: CarrierGateway | None) -> None:
        from models.db.repositories.orders import labels, parcels

        self._database = database
        self._carrier = carrier
        self._labels = labels
        self._parcels = parcels

    @activity.defn
    def buy_label(self, command: BuyLabel) -> None:
        """Buys the label of a planned shipment, key `{shipment_id}:label`. A retry searches an earlier label first.

        Raises InvalidRequest (refused for good, or no carrier), ProviderUnavailable, OutcomeUnknown.
        """
        if self._carrier is None:
            raise InvalidRequest.at("/tracking_number", "is needed: there is no carrier to buy a label from")
        with self._database.autocommit() as connection:
            ends = self._labels.addresses_of(connection, command.shipment_id)
        retrieve_first = command.retrieve_first or activity.info().attempt > 1
        label = self._carrier.search_label(command.shipment_id) if retrieve_first else None
        if label is None:
            label = self._carrier.buy_label(
                command.shipment_id,
                command.service,
                *ends,
                keys=idempotency_keys.key_sequence(f"{command.shipment_id}:label"),
            )
        failpoint("buy_label:unrecorded")
        with self._database.transaction() as connection:
            self._labels.store(connection, command.shipment_id, label)

    @activity.defn
    def void_label(self, ref: ShipmentRef) -> None:
        """The undo: voids the label at the carrier, also one that is not recorded here."""
        if self._carrier is None:
            return
        label = self._carrier.search_label(ref.shipment_id)
        if label is not None:
            self._carrier.void_label(label.id)

    @activity.defn
    def load_shipment(self, ref: ShipmentRef) -> ShipmentSnapshot:
        """Applies the stored carrier events and loads the shipment."""
        with self._database.transaction() as connection:
            return self._parcels.load(connection, ref)

    @activity.defn
    def poll_carrier(self, ref: ShipmentRef) -> ShipmentSnapshot:
        """Polls the carrier, stores its events and loads the shipment. Raises ProviderUnavailable, OutcomeUnknown."""
        snapshot = self.load_shipment(ref)
        if self._carrier is None:
            return snapshot
        events = self._carrier.track(snapshot.tracking_number)
        if events is None:  # another carrier's parcel, which this one can't have lost
            return snapshot
        with self._database.transaction() as connection:
            self._parcels.store_carrier_events(connection, self._carrier.name, events)
            snapshot = self._parcels.load(connection, ref)
        return snapshot.model_copy(update={"polled": True})

    @activity.defn
    def declare_shipment_lost(self, command: DeclareShipmentLost) -> None:
        """Records the loss after too long a silence, opens a manual task and notifies the buyer."""
        with self._database.transaction() as connection:
            self._parcels.declare_shipment_lost(connection, command)
