"""Finds live checkouts without a process (terminated by hand) and starts their clean-up; forgets old answers."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from models.checkout import CheckoutRef
from models.db.repositories import answers, checkout_reads
from models.db.session import Database
from models.errors import Unavailable
from models.ids import checkout_workflow
from workflows import queues
from workflows.cleanup import CheckoutCleanup

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
        """The checkouts whose clean-up it started."""
        started = []
        for checkout_id in await asyncio.to_thread(self._overdue):
            if not await self._running(checkout_id):
                log.warning("checkout_without_process", checkout_id=checkout_id)
                await self._client.start_workflow(
                    CheckoutCleanup.run,
                    CheckoutRef(checkout_id=checkout_id),
                    id=f"checkout-cleanup/{checkout_id}",
                    task_queue=queues.CHECKOUT,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    static_summary="A checkout whose process is gone",
                )
                started.append(checkout_id)
        return started

    def _overdue(self) -> list[str]:
        with self._database.transaction() as connection:
            answers.forget_old(connection)
            return checkout_reads.overdue(connection, self._margin)

    async def _running(self, checkout_id: str) -> bool:
        handle: Any = self._client.get_workflow_handle(checkout_workflow(checkout_id))
        try:
            return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
