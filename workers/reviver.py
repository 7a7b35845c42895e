"""Finds what is not at its end and has no process (ended by hand in the Temporal UI), and has it begun anew.

Nothing is asked about each: a page of ids from the database, and one question to Temporal which of them run. Only
those that are missing there, whose list trails by a moment, are looked at one by one.
"""

from __future__ import annotations

import asyncio
from itertools import islice

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from models.db.repositories import unfinished
from models.db.repositories.unfinished import Kind, Unfinished
from models.db.session import Database
from models.errors import Unavailable
from workflows.client import is_running

ROUND_SECONDS = 30.0
MARGIN_SECONDS = 120.0  # younger ones may still be on their way through the outbox and Temporal's list
PAGE = 1000  # of each kind in a round; the next round goes on behind it
AT_ONCE = 200  # ids in one question

log = structlog.get_logger()


class Reviver:
    """`margin` in seconds."""

    def __init__(self, database: Database, client: Client, *, margin: float = MARGIN_SECONDS, page: int = PAGE) -> None:
        self._database = database
        self._client = client
        self._margin = margin
        self._page = page
        self._after = dict.fromkeys((kind.name for kind in unfinished.KINDS), "")

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except (Unavailable, RPCError, RuntimeError, OSError) as error:
                log.warning("reviver_round_failed", error=str(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> list[str]:
        """Ids of those whose process is begun anew."""
        told: list[str] = []
        for kind in unfinished.KINDS:
            found = await asyncio.to_thread(self._next, kind)
            for lost in await self._without_process(kind, found):
                log.warning("process_missing", kind=kind.name, id=lost.id)
                await asyncio.to_thread(self._tell, kind, lost)
                told.append(lost.id)
        return told

    def _next(self, kind: Kind) -> list[Unfinished]:
        """The page behind the last round's; from the beginning once the end was reached."""
        with self._database.reading() as connection:
            found = unfinished.page(
                connection, kind, after=self._after[kind.name], margin=self._margin, limit=self._page
            )
        self._after[kind.name] = found[-1].id if len(found) == self._page else ""
        return found

    async def _without_process(self, kind: Kind, found: list[Unfinished]) -> list[Unfinished]:
        lost = []
        remaining = iter(found)
        while some := list(islice(remaining, AT_ONCE)):
            running = await self._running([kind.workflow_id(each.id) for each in some])
            missing = [each for each in some if kind.workflow_id(each.id) not in running]
            lost += [each for each in missing if not await is_running(self._client, kind.workflow_id(each.id))]
        return lost

    async def _running(self, workflow_ids: list[str]) -> set[str]:
        """Ours only: they are made of letters, digits, `_`, `-` and `/`."""
        listed = ", ".join(f"'{workflow_id}'" for workflow_id in workflow_ids)
        query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({listed})"
        return {execution.id async for execution in self._client.list_workflows(query, page_size=AT_ONCE)}

    def _tell(self, kind: Kind, lost: Unfinished) -> None:
        with self._database.transaction() as connection:
            unfinished.tell(connection, kind, lost)
