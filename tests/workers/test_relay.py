"""The relays: at least once, in order for each aggregate, any number of them, and nothing lost with one that dies."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from temporalio.common import MetricMeter
from temporalio.service import RPCError, RPCStatusCode

from models.base import Record
from models.db.repositories.delivery import deliveries, outbox
from models.topics import TOPICS, Consumer, Topic
from workers.outbox.consumers import Context, file_of
from workers.outbox.metrics import Metrics, Monitor
from workers.outbox.relay import Relay
from workers.outbox.wake_ups import WakeUps

NEVER = 3600.0  # seconds
SOON = 0.02

_numbers = itertools.count(1)


class Numbered(Record):
    n: int


class Bench:
    """A consumer of the test's own in a database without other relays."""

    def __init__(self, database):
        self.database = database
        self.consumer = f"relayed {next(_numbers)}"

    def publish(self, *numbers, aggregate="a", consumers=(), topic="t"):
        topic = Topic(topic, Numbered, consumers or (self.consumer,))
        with self.database.transaction() as connection:
            outbox.publish_all(connection, topic, [(aggregate, Numbered(n=n)) for n in numbers])

    def relay(self, handler, *, wake_up=None, metrics=None, consumer=None, **options):
        handlers = {"t": handler} if callable(handler) else handler
        return Relay(
            consumer or self.consumer,
            handlers,
            self.database,
            wake_up or asyncio.Event(),
            metrics or Metrics(MetricMeter.noop),
            **{"poll": SOON, **options},
        )

    def sql(self, statement, **values):
        with self.database.autocommit() as connection:
            rows = connection.execute(text(statement), {"consumer": self.consumer, **values})
            return rows.all() if rows.returns_rows else []

    def left(self, consumer=None):
        found = self.sql("SELECT data FROM outbox WHERE consumer = :c ORDER BY id", c=consumer or self.consumer)
        return [row.data["n"] for row in found]

    def attempts(self):
        return [row.attempts for row in self.sql("SELECT attempts FROM outbox WHERE consumer = :consumer ORDER BY id")]


@pytest.fixture
def bench(outbox_database):
    return Bench(outbox_database)


@asynccontextmanager
async def running(*relays):
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    yield tasks
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def until(check, within=15.0):
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.01)


class Handler:
    """Notes what it handled; `fails` may raise for a message."""

    def __init__(self, fails=lambda message: None):
        self.handled = []
        self._fails = fails

    async def __call__(self, message):
        await asyncio.sleep(random.random() / 1000)
        self._fails(message)
        self.handled.append((message.aggregate, message.data["n"]))

    def of(self, aggregate):
        return [n for name, n in self.handled if name == aggregate]


def raising(error, *, numbers):
    def fails(message):
        if message.data["n"] in numbers:
            raise error

    return fails


class TestDelivery:
    def test_in_order_and_deleted_when_delivered(self, bench):
        bench.publish(1, 3)
        bench.publish(2, 4, aggregate="b")
        handler = Handler()
        assert asyncio.run(bench.relay(handler).round()) == 4
        assert (handler.of("a"), handler.of("b"), bench.left()) == ([1, 3], [2, 4], [])

    @pytest.mark.parametrize(
        "error",
        [
            RPCError("down", RPCStatusCode.UNAVAILABLE, b""),
            RuntimeError("no connection"),
            ConnectionError(),
            KeyError("x"),
        ],
    )
    def test_what_fails_waits_and_so_does_what_is_behind_it(self, bench, error):
        bench.publish(1, 2)
        bench.publish(3, aggregate="b")
        handler = Handler(raising(error, numbers=[1]))
        asyncio.run(bench.relay(handler).round())
        assert (handler.handled, bench.left(), bench.attempts()) == ([("b", 3)], [1, 2], [1, 0])
        (row,) = bench.sql("SELECT error FROM outbox WHERE consumer = :consumer AND attempts = 1")
        assert type(error).__name__ in row.error

    def test_repeats_are_delivered_once(self, bench):
        """A hundred webhooks about one payment are one signal."""
        bench.publish(1, 1, 1, 2, 1)
        handler = Handler()
        assert asyncio.run(bench.relay(handler).round()) == 5
        assert handler.of("a") == [1, 2, 1]
        assert bench.left() == []

    def test_and_when_that_fails_the_last_is_still_there(self, bench):
        bench.publish(1, 1, 1)
        asyncio.run(bench.relay(Handler(raising(ConnectionError(), numbers=[1]))).round())
        assert (bench.left(), bench.attempts()) == ([1], [1])

    def test_an_unknown_topic_is_set_aside_for_a_build_that_knows_it(self, bench):
        bench.publish(1, topic="newer")
        bench.publish(2)
        bench.publish(3, aggregate="b")
        handler = Handler()
        asyncio.run(bench.relay(handler).round())
        assert handler.handled == [("b", 3)]
        assert (bench.left(), bench.attempts()) == ([1, 2], [0, 0])
        bench.sql("UPDATE outbox SET due_at = now() WHERE consumer = :consumer")
        asyncio.run(bench.relay({"t": handler, "newer": handler}).round())
        assert (handler.of("a"), bench.left()) == ([1, 2], [])

    def test_after_the_last_attempt_it_is_a_dead_letter(self, bench):
        bench.publish(1, 2)
        handler = Handler(raising(ConnectionError("down"), numbers=[1]))

        async def fail_twice():
            relay = bench.relay(handler, attempts=2)
            for _ in range(2):
                bench.sql("UPDATE outbox SET due_at = now() WHERE consumer = :consumer")
                await relay.round()
            assert (await relay.round(), handler.handled) == (1, [("a", 2)])

        asyncio.run(fail_twice())
        with bench.database.autocommit() as connection:
            (letter,) = deliveries.list_dead_letters(connection, bench.consumer)
            assert (letter.attempts, letter.error) == (2, "ConnectionError: down")
            assert deliveries.requeue(connection, consumer=bench.consumer) == 1
        assert bench.left() == [1]


class TestSeveral:
    def test_a_dead_consumer_delays_no_other(self, bench):
        alive, dead = f"{bench.consumer} alive", f"{bench.consumer} dead"
        never = asyncio.Event()

        async def hang(message):
            await never.wait()

        async def both():
            handler = Handler()
            relays = bench.relay(handler, consumer=alive), bench.relay(hang, consumer=dead)
            async with running(*relays):
                for number in range(50):
                    bench.publish(number, aggregate=f"a {number % 5}", consumers=(alive, dead))
                await until(lambda: len(handler.handled) == 50)
                assert len(bench.left(dead)) == 50

        asyncio.run(both())

    @pytest.mark.parametrize("relays", [2, 4])
    def test_each_is_delivered_once_and_in_order(self, bench, relays):
        """By relays in threads with loops of their own, while it is published."""
        handler, messages, aggregates = Handler(), 400, 20
        stop = threading.Event()
        claimed = Counter()

        class Counted(Handler):
            async def __call__(self, message):
                claimed[threading.get_ident()] += 1
                await handler(message)

        async def work():
            async with running(bench.relay(Counted())):
                while not stop.is_set():
                    await asyncio.sleep(0.01)

        threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(relays)]
        for thread in threads:
            thread.start()
        try:
            for number in range(messages):
                bench.publish(number, aggregate=f"a {number % aggregates}")
            asyncio.run(until(lambda: not bench.left()))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert len(handler.handled) == messages
        for aggregate in range(aggregates):
            assert handler.of(f"a {aggregate}") == list(range(aggregate, messages, aggregates))
        assert len(claimed) > 1, "they shared the work"

    def test_what_a_dead_relay_claimed_is_delivered_when_its_lease_ends(self, bench):
        bench.publish(1, 2)
        with bench.database.autocommit() as connection:
            assert len(deliveries.claim(connection, bench.consumer, "killed", limit=10, lease=1.0)) == 2
        handler = Handler()

        async def deliver():
            relay = bench.relay(handler, poll=NEVER)
            assert await relay.round() == 0
            async with running(relay):
                await until(lambda: not bench.left())

        asyncio.run(deliver())
        assert handler.of("a") == [1, 2]

    def test_a_slow_handler_keeps_its_lease(self, bench):
        """Longer than the lease lasts without renewal."""
        bench.publish(1)
        handler = Handler()
        started, finish = asyncio.Event(), asyncio.Event()

        async def slow(message):
            started.set()
            await finish.wait()
            await handler(message)

        async def deliver():
            other = bench.relay(handler)
            async with running(bench.relay(slow, lease=0.6)):
                await started.wait()
                (row,) = bench.sql("SELECT due_at FROM outbox WHERE consumer = :consumer")
                lapsed = "SELECT 1 FROM outbox WHERE consumer = :consumer AND now() > :lease"
                await until(lambda: bench.sql(lapsed, lease=row.due_at))
                assert await other.round() == 0
                finish.set()
                await until(lambda: not bench.left())

        asyncio.run(deliver())
        assert handler.of("a") == [1]

    def test_one_that_is_stopped_gives_back_what_it_has_not_delivered(self, bench):
        bench.publish(1, 2)
        bench.publish(3, aggregate="b")
        reached = asyncio.Event()
        handler = Handler()

        async def stuck(message):
            if message.data["n"] == 2:
                reached.set()
                await asyncio.Event().wait()
            await handler(message)

        async def stop():
            async with running(bench.relay(stuck, lease=NEVER)):
                await reached.wait()
                await until(lambda: len(handler.handled) == 2)
            assert (bench.left(), bench.attempts()) == ([2], [0])
            assert await bench.relay(handler).round() == 1

        asyncio.run(stop())
        assert (handler.of("a"), handler.of("b")) == ([1, 2], [3])


class TestWakeUps:
    def test_what_is_published_is_delivered_without_a_poll(self, bench, outbox_database):
        handler = Handler()

        async def deliver():
            wake_ups = WakeUps(str(outbox_database.engine.url.render_as_string(False)).replace("+psycopg", ""))
            relay = bench.relay(handler, wake_up=wake_ups.of(bench.consumer), poll=NEVER)
            listening = asyncio.create_task(wake_ups.run())
            async with running(relay):
                for number in range(5):
                    await asyncio.to_thread(bench.publish, number)
                    await until(lambda number=number: len(handler.handled) == number + 1)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

        asyncio.run(deliver())

    def test_a_lost_listener_comes_back_and_wakes_all(self, bench, outbox_database):
        async def lose():
            wake_ups = WakeUps(str(outbox_database.engine.url.render_as_string(False)).replace("+psycopg", ""))
            woken = wake_ups.of(bench.consumer)
            listening = asyncio.create_task(wake_ups.run())
            for _ in range(2):
                await asyncio.wait_for(woken.wait(), 15)
                woken.clear()
                await asyncio.to_thread(
                    bench.sql,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'holdfast-listener' AND datname = current_database()",
                )
            await asyncio.wait_for(woken.wait(), 15)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

        asyncio.run(lose())

    def test_an_idle_relay_asks_once_a_poll(self, bench):
        rounds = []

        class Counting(Relay):
            async def round(self):
                rounds.append(await super().round())
                return rounds[-1]

        async def idle():
            handler, wake_up = Handler(), asyncio.Event()
            relay = bench.relay(handler, wake_up=wake_up, poll=NEVER)
            relay.__class__ = Counting
            async with running(relay):
                await until(lambda: rounds)
                for number in range(20):
                    await asyncio.to_thread(bench.publish, number)
                assert (rounds, handler.handled) == ([0], [])
                wake_up.set()
                await until(lambda: len(handler.handled) == 20)

        asyncio.run(idle())

    def test_one_that_waits_is_delivered_when_it_is_due(self, bench):
        """Without a wake-up and long before the next poll."""
        topic = Topic("t", Numbered, (bench.consumer,))
        with bench.database.transaction() as connection:
            outbox.publish(connection, topic, "a", Numbered(n=1), after_seconds=0.3)
        handler = Handler()

        async def deliver():
            async with running(bench.relay(handler, poll=NEVER)):
                await until(lambda: handler.handled)

        asyncio.run(deliver())


class TestConsumers:
    @pytest.mark.parametrize("consumer", list(Consumer))
    def test_each_handles_its_topics_and_no_others(self, consumer, settings):
        handlers = file_of(consumer).handlers(Context(settings, None, None))
        assert set(handlers) == {topic.name for topic in TOPICS.values() if consumer in topic.consumers}

    def test_names_are_aggregates_and_what_happened_to_them(self):
        for topic in TOPICS.values():
            aggregate, _, happened = topic.name.partition(".")
            assert aggregate.replace("_", "").isalpha()
            assert happened.endswith("ed") or happened == "found", topic.name


class Meter(MetricMeter):
    """Keeps what is counted and set, by name and labels."""

    def __init__(self):
        self.values = Counter()

    def create_counter(self, name, description=None, unit=None):
        return Instrument(self, name)

    create_gauge = create_gauge_float = create_counter
    create_histogram = create_histogram_float = create_histogram_timedelta = create_counter

    def with_additional_attributes(self, additional_attributes):
        return self


class Instrument:
    def __init__(self, meter, name):
        self._meter, self._name = meter, name

    def add(self, value, labels):
        self._meter.values[self._name, *labels.values()] += value

    def set(self, value, labels):
        self._meter.values[self._name, *labels.values()] = value


class TestMetrics:
    def test_deliveries_backlog_and_dead_letters(self, bench):
        bench.publish(1, 2)
        bench.publish(3, aggregate="b")
        bench.publish(4, aggregate="c")
        meter = Meter()
        metrics = Metrics(meter)
        relay = bench.relay(Handler(raising(ConnectionError(), numbers=[1])), metrics=metrics, attempts=1)
        asyncio.run(relay.round())
        Monitor(bench.database, metrics).round()
        found = {name: value for (name, *labels), value in meter.values.items() if labels[0] == bench.consumer}
        age = found.pop("holdfast_outbox_oldest_age_seconds")
        assert age >= 0
        assert found == {
            "holdfast_outbox_delivered": 2,
            "holdfast_outbox_failed": 1,
            "holdfast_outbox_backlog": 1,
            "holdfast_outbox_dead_letters": 1,
        }
        assert meter.values["holdfast_outbox_backlog", "processes"] == 0

    def test_an_unknown_consumer_is_reported_and_keeps_its_messages(self, bench):
        bench.publish(1)
        with capture_logs() as logs:
            Monitor(bench.database, Metrics(MetricMeter.noop)).round()
        reported = [entry["log_level"] for entry in logs if entry.get("consumer") == bench.consumer]
        assert (reported, bench.left()) == (["error"], [1])
