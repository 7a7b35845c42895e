"""Finds live checkouts, cards and refunds without a process (ended by hand) and sees to them; forgets old answers."""

from __future__ import annotations

import asyncio

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from models.db.repositories import (
    account_requests,
    answers,
    attempts,
    checkout_reads,
    payment_method_saving,
    refund_settling,
    refunds,
    sessions,
)
from models.db.session import Database
from models.errors import Unavailable
from models.ids import checkout_workflow, refund_workflow, save_payment_method_workflow
from models.payment_methods import BeginSave
from workflows import starts
from workflows.client import is_running, start

ROUND_SECONDS = 30.0
MARGIN_SECONDS = 60.0

log = structlog.get_logger()


class Janitor:
    def __init__(self, database: Database, client: Client, *, margin: float = MARGIN_SECONDS) -> None:
        self._database = database
        self._client = client
        self._margin = margin

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except (Unavailable, RPCError, RuntimeError, OSError) as error:
                log.warning("janitor_round_failed", error=str(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> list[str]:
        """The checkouts, cards and refunds that it took care of."""
        checkouts, cards = await asyncio.to_thread(self._overdue)
        started = []
        for checkout_id in checkouts:
            if not await is_running(self._client, checkout_workflow(checkout_id)):
                log.warning("checkout_without_process", checkout_id=checkout_id)
                await start(self._client, starts.checkout_cleanup(checkout_id))
                started.append(checkout_id)
        for begun in cards:
            if not await is_running(self._client, save_payment_method_workflow(begun.payment_method_id)):
                await self._save_again(begun)
                started.append(begun.payment_method_id)
        return started + await self._refunds()

    async def _refunds(self) -> list[str]:
        """The relay starts them: each finds what has been done."""
        told = []
        for unfinished in await asyncio.to_thread(self._unfinished_refunds):
            if not await is_running(self._client, refund_workflow(unfinished.id)):
                log.warning("refund_without_process", refund_id=unfinished.id)
                await asyncio.to_thread(self._tell_refund, unfinished)
                told.append(unfinished.id)
        return told

    def _unfinished_refunds(self) -> list[refund_settling.Unfinished]:
        with self._database.reading() as connection:
            return refund_settling.unfinished(connection, self._margin)

    def _tell_refund(self, unfinished: refund_settling.Unfinished) -> None:
        with self._database.reading() as connection:
            refunds.tell(connection, unfinished.id, unfinished.order_id)

    async def _save_again(self, begun: BeginSave) -> None:
        """The same process once more: it finds what there is at the provider, and has no time to wait for the bank."""
        log.warning("saving_without_process", payment_method_id=begun.payment_method_id)
        await start(self._client, starts.save_payment_method(begun))

    def _overdue(self) -> tuple[list[str], list[BeginSave]]:
        with self._database.transaction() as connection:
            answers.forget_old(connection)
            account_requests.forget_old(connection)
            attempts.forget_old(connection)
            sessions.forget_old(connection)
            cards = payment_method_saving.overdue(connection, self._margin)
            return checkout_reads.overdue(connection, self._margin), cards
