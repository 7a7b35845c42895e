"""The consumer `orders`: applies disputes and carrier events to orders, in one transaction each."""

from __future__ import annotations

import asyncio

from models import topics
from models.db.repositories.orders import parcels
from models.db.repositories.payments import disputes
from models.db.session import Database
from models.topics import DisputeChanged, TrackingReceived
from workers.outbox.consumers import Context
from workers.outbox.relay import Handlers, on
from workflows import queues

QUEUE = queues.ORDERS


def handlers(context: Context) -> Handlers:
    orders = Orders(context.database)
    return dict(
        [
            on(topics.DISPUTE_CHANGED, orders.apply_dispute),
            on(topics.TRACKING_RECEIVED, orders.apply_tracking),
        ]
    )


class Orders:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply_dispute(self, event: DisputeChanged) -> None:
        """Raises Unavailable while the disputed capture is not recorded."""
        await asyncio.to_thread(self._apply_dispute, event)

    async def apply_tracking(self, event: TrackingReceived) -> None:
        await asyncio.to_thread(self._apply_tracking, event)

    def _apply_dispute(self, event: DisputeChanged) -> None:
        with self._database.transaction() as connection:
            disputes.record(connection, event.provider, event.reference)

    def _apply_tracking(self, event: TrackingReceived) -> None:
        with self._database.transaction() as connection:
            parcels.apply_carrier_events(connection, event.tracking_number)
