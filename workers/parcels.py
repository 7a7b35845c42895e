"""Tells what the outbox holds about parcels: their processes, and the orders that carriers' words move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from temporalio.client import Client

from models import orders
from models.db.repositories import parcels
from models.db.repositories.outbox import Message
from models.db.session import Database
from models.errors import HoldfastError, Unavailable
from models.settings import Settings
from workflows import starts
from workflows.client import start
from workflows.shipment import Shipment

log = structlog.get_logger()


class ParcelNews:
    """Every listener knows a repeat: a process is started once, a word is applied once."""

    def __init__(self, settings: Settings, database: Database, client: Client) -> None:
        self._settings = settings
        self._database = database
        self._client = client

    @property
    def listeners(self) -> Mapping[str, Callable[[Message], Awaitable[None]]]:
        return {
            orders.SHIPMENT_CREATED: self.follow,
            parcels.CHANGED: self.follow,
            parcels.HEARD: self.apply,
        }

    async def follow(self, message: Message) -> None:
        """Tells the parcel's process to look; begins it where there is none, also where an operator has ended it."""
        process = starts.shipment(self._settings, message.data["order_id"], message.data["shipment_id"])
        await start(self._client, process, signal=Shipment.look)

    async def apply(self, message: Message) -> None:
        await asyncio.to_thread(self._apply, message.data["tracking_number"])

    def _apply(self, tracking_number: str) -> None:
        """A word that makes no sense of an order must not end the worker that this relay is in."""
        try:
            with self._database.transaction() as connection:
                parcels.apply_words(connection, tracking_number)
        except Unavailable:
            raise
        except HoldfastError as error:
            log.error("carrier_words_refused", tracking_number=tracking_number, error=str(error))
            raise Unavailable("The carrier's words can't be applied") from error
