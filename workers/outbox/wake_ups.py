"""Wakes this process's relays when any process publishes a message for their consumers."""

from __future__ import annotations

import asyncio

import structlog

from models.db.wake_ups import listen

RETRY_SECONDS = 1.0

log = structlog.get_logger()


class WakeUps:
    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._events: dict[str, asyncio.Event] = {}

    def of(self, consumer: str) -> asyncio.Event:
        return self._events.setdefault(consumer, asyncio.Event())

    async def run(self) -> None:
        """A new connection wakes all relays, because notifications before it are lost."""
        while True:
            try:
                async for consumer in listen(self._conninfo):
                    for event in [self._events.get(consumer)] if consumer else self._events.values():
                        if event is not None:
                            event.set()
            except OSError as error:
                log.warning("outbox_listener_lost", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
