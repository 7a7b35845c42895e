"""The outbox's metrics, at the worker's endpoint beside the SDK's.

| metric | labels | |
| --- | --- | --- |
| `holdfast_outbox_delivered`, `holdfast_outbox_failed` | consumer, topic | deliveries by this process |
| `holdfast_outbox_backlog`, `holdfast_outbox_oldest_age_seconds` | consumer | messages that wait |
| `holdfast_outbox_dead_letters` | consumer, topic | until an operator requeues them |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

import structlog
from temporalio.common import MetricMeter

from models.db.repositories.delivery import deliveries
from models.db.repositories.delivery.deliveries import Backlog, Message
from models.db.session import Database
from models.errors import Unavailable
from models.topics import TOPICS, Consumer

REPORT_SECONDS = 5.0

log = structlog.get_logger()


class Metrics:
    def __init__(self, meter: MetricMeter) -> None:
        self._delivered = meter.create_counter("holdfast_outbox_delivered")
        self._failed = meter.create_counter("holdfast_outbox_failed")
        self._backlog = meter.create_gauge("holdfast_outbox_backlog")
        self._age = meter.create_gauge_float("holdfast_outbox_oldest_age_seconds")
        self._dead = meter.create_gauge("holdfast_outbox_dead_letters")
        self._consumers = {str(consumer) for consumer in Consumer}
        self._topics = {(str(consumer), topic.name) for topic in TOPICS.values() for consumer in topic.consumers}

    def count(self, consumer: Consumer, *, delivered: Iterable[Message], failed: Iterable[Message]) -> None:
        for counter, messages in ((self._delivered, delivered), (self._failed, failed)):
            for topic, number in Counter(message.topic for message in messages).items():
                counter.add(number, {"consumer": consumer, "topic": topic})

    def report(self, backlog: Iterable[Backlog], dead: Mapping[tuple[str, str], int]) -> None:
        """Also the zeros: a gauge keeps its last value."""
        found = {each.consumer or "none": each for each in backlog}
        self._consumers |= found.keys()
        for consumer in self._consumers:
            each = found.get(consumer)
            self._backlog.set(each.messages if each else 0, {"consumer": consumer})
            self._age.set(max(0.0, each.age) if each else 0.0, {"consumer": consumer})
        self._topics |= dead.keys()
        for consumer, topic in self._topics:
            self._dead.set(dead.get((consumer, topic), 0), {"consumer": consumer, "topic": topic})


class Monitor:
    """Reports the backlog and the dead letters, and assigns the rows of older builds to their consumers.

    Logs an error while rows wait for a consumer that this build doesn't have: a newer build delivers them.
    """

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.round)
            except Unavailable:
                log.warning("outbox_unavailable")
            await asyncio.sleep(REPORT_SECONDS)

    def round(self) -> None:
        with self._database.autocommit() as connection:
            if deliveries.assign(connection):
                log.info("outbox_rows_of_older_build")
            backlog = deliveries.backlog(connection)
            dead = deliveries.dead_letters(connection)
        self._metrics.report(backlog, dead)
        for each in backlog:
            if each.consumer not in set(Consumer):
                log.error("outbox_consumer_unknown", consumer=each.consumer, messages=each.messages)
