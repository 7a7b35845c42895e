"""Tells what the outbox holds about parcels: their processes, and the orders that carriers' words move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from models import orders
from models.db.repositories import parcels
from models.db.repositories.outbox import Message
from models.db.session import Database
from models.errors import HoldfastError, Unavailable
from models.fulfilment import FollowParcel
from models.ids import shipment_workflow
from models.search_attributes import ORDER_ID
from models.settings import Settings
from workflows import queues
from workflows.shipment import Shipment

TASK_TIMEOUT = timedelta(seconds=5)

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
        order_id, shipment_id = message.data["order_id"], message.data["shipment_id"]
        about = SearchAttributePair(SearchAttributeKey.for_keyword(ORDER_ID), order_id)
        try:
            await self._client.start_workflow(
                Shipment.run,
                FollowParcel(
                    order_id=order_id,
                    shipment_id=shipment_id,
                    poll_seconds=self._settings.parcel_poll_seconds,
                    silent_seconds=self._settings.parcel_silent_seconds,
                ),
                id=shipment_workflow(shipment_id),
                task_queue=queues.ORDERS,
                task_timeout=TASK_TIMEOUT,
                start_signal="look",
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=TypedSearchAttributes([about]),
                static_summary=f"Parcel of {order_id}",
            )
        except WorkflowAlreadyStartedError:
            return  # it has come to its end

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
