"""Periodic work that one of all workers does: a lease in the database decides which."""

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
LEASE_SECONDS = 120.0  # renewed each round; after a holder's death another worker takes it over
LIMIT_SECONDS = LEASE_SECONDS - ROUND_SECONDS  # of a round, which so ends before its lease

FAILURES = (Unavailable, RPCError, RuntimeError, OSError)  # a time-out is an OSError

log = structlog.get_logger()


class Rounds:
    """Of the work `name`. `work` is one round of it; a round that fails or is cut off is followed by the next."""

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
        """False: another worker has the lease."""
        if not await asyncio.to_thread(self._lease):
            return False
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._work()
        return True

    def _lease(self) -> bool:
        with self._database.autocommit() as connection:
            return leases.take(connection, self._name, self._holder, LEASE_SECONDS)
