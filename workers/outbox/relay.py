"""Delivers a consumer's messages at least once, in order for each aggregate. Handlers are idempotent.

Any number of relays share a consumer: each claims messages by a lease and renews it while handlers run. Messages of a
relay that died are claimed again when its lease has run out. A message that fails is postponed, and those behind it in
its aggregate wait; after `attempts` it becomes a dead letter, and they go on without it. A topic that this build does
not know is set aside for one that does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

import structlog
from opentelemetry import context, propagate
from temporalio.service import RPCError

from models.db.repositories.delivery import deliveries
from models.db.repositories.delivery.deliveries import Message
from models.db.session import Database
from models.errors import Unavailable
from models.topics import Consumer, P, Topic
from workers.outbox.metrics import Metrics

BATCH = 100  # aggregates
AT_ONCE = 8
LEASE_SECONDS = 10.0
POLL_SECONDS = 5.0  # without a wake-up
PAUSE_SECONDS = 0.05  # after a small batch, so that the next one is larger
RECOVERY_SECONDS = 1.0  # while the database is unavailable
SET_ASIDE_SECONDS = 30.0
ATTEMPTS = 1450  # a day: each after a minute, the first ones sooner

FAILURES = (Unavailable, RPCError, RuntimeError, OSError)  # the SDK raises RuntimeError for "no connection"

log = structlog.get_logger()

Handler = Callable[[Message], Awaitable[None]]
Handlers = Mapping[str, Handler]
"""By topic."""


def on(topic: Topic[P], handle: Callable[[P], Awaitable[None]]) -> tuple[str, Handler]:
    """A handler that gets only the payload."""

    async def handler(message: Message) -> None:
        await handle(topic.payload.model_validate(message.data))

    return topic.name, handler


@dataclass
class _Round:
    """The outcomes of the claimed messages; those in none of the lists were not tried."""

    claimed: list[Message]
    delivered: list[Message] = field(default_factory=list)
    failed: list[tuple[Message, str]] = field(default_factory=list)
    unknown: list[Message] = field(default_factory=list)

    @property
    def untried(self) -> list[int]:
        tried = {m.id for m in (*self.delivered, *self.unknown)} | {m.id for m, _ in self.failed}
        return [message.id for message in self.claimed if message.id not in tried]


class Relay:
    """`run` runs until it is cancelled. `wake_up` is set when there may be messages."""

    def __init__(
        self,
        consumer: Consumer,
        handlers: Handlers,
        database: Database,
        wake_up: asyncio.Event,
        metrics: Metrics,
        *,
        lease: float = LEASE_SECONDS,
        poll: float = POLL_SECONDS,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.name = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._consumer = consumer
        self._handlers = handlers
        self._database = database
        self._wake_up = wake_up
        self._metrics = metrics
        self._lease = lease
        self._poll = poll
        self._attempts = attempts

    async def run(self) -> None:
        while True:
            self._wake_up.clear()
            try:
                claimed = await self.round()
                wait = 0.0 if claimed else await asyncio.to_thread(self._next_due)
            except Unavailable:
                log.warning("outbox_unavailable", consumer=self._consumer)
                claimed, wait = 0, RECOVERY_SECONDS
            if wait:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake_up.wait(), wait)
            elif claimed < BATCH:
                await asyncio.sleep(PAUSE_SECONDS)

    async def round(self) -> int:
        """Delivers one batch; returns how many messages were claimed."""
        messages = await asyncio.to_thread(self._claim)
        if not messages:
            return 0
        done = _Round(messages)
        renewal = asyncio.create_task(self._renew(done))
        slots = asyncio.Semaphore(AT_ONCE)
        by_aggregate = groupby(sorted(messages, key=lambda m: (m.aggregate, m.id)), key=lambda m: m.aggregate)
        try:
            await asyncio.gather(*(self._deliver_in_order(list(group), done, slots) for _, group in by_aggregate))
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await asyncio.to_thread(self._record, done)
            raise
        finally:
            renewal.cancel()
        await asyncio.to_thread(self._record, done)
        return len(messages)

    async def _deliver_in_order(self, messages: list[Message], done: _Round, slots: asyncio.Semaphore) -> None:
        """Delivers until the first failure. A message that the next one repeats is delivered with that one: a hundred
        webhooks about one payment are one signal."""
        async with slots:
            for message, following in zip(messages, [*messages[1:], None], strict=True):
                if following is None or not message.repeats(following):
                    handler = self._handlers.get(message.topic)
                    if handler is None:
                        log.error("outbox_topic_unknown", consumer=self._consumer, topic=message.topic)
                        done.unknown.append(message)
                        return
                    error = await self._handle(handler, message)
                    if error is not None:
                        done.failed.append((message, error))
                        return
                done.delivered.append(message)

    async def _handle(self, handler: Handler, message: Message) -> str | None:
        """Returns None, or the error. Catches every exception, so that no message ends the worker."""
        token = context.attach(propagate.extract(message.trace or {}))
        about = {"id": message.id, "consumer": self._consumer, "topic": message.topic}
        try:
            await handler(message)
        except FAILURES as error:
            log.warning("outbox_delivery_failed", **about, error=str(error))
            return _described(error)
        except Exception as error:
            log.exception("outbox_handler_broken", **about)
            return _described(error)
        finally:
            context.detach(token)
        return None

    def _claim(self) -> list[Message]:
        with self._database.autocommit() as connection:
            return deliveries.claim(connection, self._consumer, self.name, limit=BATCH, lease=self._lease)

    def _next_due(self) -> float:
        with self._database.autocommit() as connection:
            seconds = deliveries.next_due(connection, self._consumer)
        return self._poll if seconds is None else min(seconds, self._poll)

    async def _renew(self, done: _Round) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            with suppress(Unavailable):
                await asyncio.to_thread(self._extend, [message.id for message in done.claimed])

    def _extend(self, ids: list[int]) -> None:
        with self._database.autocommit() as connection:
            deliveries.renew(connection, self.name, ids, lease=self._lease)

    def _record(self, done: _Round) -> None:
        with self._database.transaction() as connection:
            if done.delivered:
                deliveries.delivered(connection, [message.id for message in done.delivered])
            for message, error in done.failed:
                if message.attempts + 1 < self._attempts:
                    deliveries.postpone(connection, self.name, message.id, error)
                else:
                    log.error("outbox_dead_letter", consumer=self._consumer, topic=message.topic, id=message.id)
                    deliveries.bury(connection, self.name, message.id, error)
            for message in done.unknown:
                deliveries.set_aside(connection, self.name, message.id, "unknown topic", seconds=SET_ASIDE_SECONDS)
            if done.untried:
                deliveries.release(connection, self.name, done.untried)
        self._metrics.count(self._consumer, delivered=done.delivered, failed=[m for m, _ in done.failed])


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
