"""Periodic work that one worker does at a time: the holder of a lease in the database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import structlog
from temporalio.service import RPCError

from models.db.repositories.delivery import leases
from models.db.session import Database
from models.errors import Unavailable

ROUND_SECONDS = 30.0
LEASE_SECONDS = 120.0  # renewed each round; when it expires, another worker takes it over
LIMIT_SECONDS = LEASE_SECONDS - ROUND_SECONDS  # timeout of a round, so that it ends before its lease

FAILURES = (Unavailable, RPCError, RuntimeError, OSError)  # TimeoutError is an OSError

log = structlog.get_logger()


class Rounds:
    """Runs `work` periodically under the lease `name`. A round that fails or times out is logged; the next one runs."""

    def __init__(self, name: str, work: Callable[[], Awaitable[object]], database: Database) -> None:
        self._name = name
        self._work = work
        self._database = database
        self._holder = uuid.uuid4().hex

    async def run(self) -> None:
        while True:
            try:
                await self.one()
            except FAILURES as error:
                log.warning("round_failed", work=self._name, error=str(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def one(self) -> bool:
        """Runs one round. False: another worker has the lease."""
        if not await asyncio.to_thread(self._lease):
            return False
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._work()
        return True

    def _lease(self) -> bool:
        with self._database.autocommit() as connection:
            return leases.take(connection, self._name, self._holder, LEASE_SECONDS)
