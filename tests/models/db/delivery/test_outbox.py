"""The outbox: a row for each consumer, claimed by one relay at a time in the order of its aggregate."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import text

from models import topics
from models.base import Record
from models.db.repositories.delivery import deliveries, outbox
from models.db.session import Database
from models.topics import Topic
from tests.fixtures.shop import eventually

_numbers = itertools.count(1)


class Numbered(Record):
    n: int


@pytest.fixture
def consumer():
    """Of this test alone."""
    return f"consumer {next(_numbers)}"


@pytest.fixture
def books(outbox_database):
    """A connection whose statements stand alone."""
    with outbox_database.autocommit() as connection:
        yield connection


def publish(books, consumers, aggregate, *numbers, **more):
    topic = Topic("test.published", Numbered, tuple(consumers))
    outbox.publish_all(books, topic, [(aggregate, Numbered(n=n)) for n in numbers], **more)


def claim(books, consumer, relay="relay", *, limit=10, lease=60.0):
    return deliveries.claim(books, consumer, relay, limit=limit, lease=lease)


def numbers(messages):
    return [message.data["n"] for message in messages]


def make_due(books, consumer):
    books.execute(text("UPDATE outbox SET due_at = now() WHERE consumer = :consumer"), {"consumer": consumer})


class TestPublish:
    def test_a_row_for_each_consumer(self, books, consumer):
        publish(books, (consumer, f"{consumer} too"), "a", 1)
        assert numbers(claim(books, consumer)) == numbers(claim(books, f"{consumer} too")) == [1]

    def test_without_a_consumer_there_is_no_statement(self):
        outbox.publish(None, topics.STOCK_CHANGED, "sku", topics.StockChanged(sku="sku"))

    def test_a_statement_of_its_own_publishes_the_same(self, books, consumer):
        topic = Topic("test.published", Numbered, (consumer, f"{consumer} too"))
        source = "SELECT CAST(:aggregate AS text), jsonb_build_object('n', 7) WHERE :happened"
        statement = outbox.statement(
            "WITH published AS ({published}) SELECT 1",
            published=outbox.insert(topic, source, trace="""'{"traceparent": "x"}'"""),
        )
        for happened in (True, False):
            statement.execute(books, {"aggregate": "a", "happened": happened})
        for each in topic.consumers:
            (message,) = claim(books, each)
            assert (message.topic, message.aggregate, message.data) == ("test.published", "a", {"n": 7})
            assert message.trace == {"traceparent": "x"}

    def test_a_topic_without_consumers_in_a_statement_publishes_nothing(self, books):
        statement = outbox.statement(
            "WITH published AS ({published}) SELECT 1",
            published=outbox.insert(topics.STOCK_CHANGED, "SELECT 'nobody', jsonb_build_object('sku', 'x')"),
        )
        statement.execute(books, {})
        assert books.execute(text("SELECT 1 FROM outbox WHERE aggregate = 'nobody'")).first() is None

    def test_what_is_scheduled_is_withdrawn(self, books):
        event = topics.OrderRef(order_id="ord_1")
        step = f"shp_{next(_numbers)}"
        rows = text("SELECT due_at > now() AS waits FROM outbox WHERE aggregate = :aggregate")
        outbox.schedule(books, step, topics.ORDER_CHANGED, event)
        assert [row.waits for row in books.execute(rows, {"aggregate": f"scheduled/{step}"})] == [True]
        outbox.withdraw(books, step)
        assert books.execute(rows, {"aggregate": f"scheduled/{step}"}).first() is None


class TestClaim:
    def test_oldest_first(self, books, consumer):
        for number, aggregate in enumerate("abac"):
            publish(books, [consumer], aggregate, number)
        assert numbers(claim(books, consumer, limit=2)) == [0, 1, 2]
        assert numbers(claim(books, consumer)) == [3]

    def test_one_that_waits_delays_its_own_aggregate_from_there_on(self, books, consumer):
        publish(books, [consumer], "a", 0)
        publish(books, [consumer], "a", 1, after_seconds=60)
        publish(books, [consumer], "a", 2)
        publish(books, [consumer], "b", 3)
        assert numbers(claim(books, consumer)) == [0, 3]
        assert claim(books, consumer) == []
        assert 0 < deliveries.next_due(books, consumer) <= 60

    def test_many_that_wait_delay_no_other(self, books, consumer):
        for number in range(12):
            publish(books, [consumer], f"stuck {number}", number)
        for message in claim(books, consumer, limit=12):
            deliveries.postpone(books, "relay", message.id, "away")
        publish(books, [consumer], "fresh", 99)
        assert numbers(claim(books, consumer, limit=10)) == [99]

    def test_what_is_claimed_is_nobody_elses_until_the_lease_ends(self, books, consumer):
        publish(books, [consumer], "a", 0, 1)
        assert numbers(claim(books, consumer)) == [0, 1]
        publish(books, [consumer], "a", 2)
        assert claim(books, consumer, "another") == []
        make_due(books, consumer)
        assert numbers(claim(books, consumer, "another")) == [0, 1, 2]

    def test_the_rest_of_an_aggregate_waits_for_its_claimed_part(self, books, consumer):
        many = deliveries.PER_AGGREGATE + 1
        publish(books, [consumer], "a", *range(many))
        first = claim(books, consumer)
        assert numbers(first) == list(range(deliveries.PER_AGGREGATE))
        deliveries.delivered(books, [message.id for message in first[:-1]])
        assert claim(books, consumer, "another") == []
        deliveries.delivered(books, [first[-1].id])
        assert numbers(claim(books, consumer, "another")) == [many - 1]

    def test_two_at_the_same_time_never_share_an_aggregate(self, outbox_database, books, consumer):
        publish(books, [consumer], "a", 0, 1)
        publish(books, [consumer], "b", 2)
        with outbox_database.transaction() as one, outbox_database.transaction() as other:
            claimed = [numbers(claim(one, consumer, "one", limit=1)), numbers(claim(other, consumer, "other"))]
        assert claimed == [[0, 1], [2]]

    def test_a_lease_that_was_lost_changes_nothing(self, books, consumer):
        publish(books, [consumer], "a", 0)
        (message,) = claim(books, consumer, "slow", lease=-1)
        assert [m.id for m in claim(books, consumer, "quick")] == [message.id]
        deliveries.postpone(books, "slow", message.id, "away")
        deliveries.renew(books, "slow", [message.id], lease=3600)
        deliveries.release(books, "slow", [message.id])
        assert claim(books, consumer) == []
        assert deliveries.next_due(books, consumer) <= 60

    def test_a_row_of_an_older_build_is_given_to_its_consumer(self, books):
        aggregate = f"older {next(_numbers)}"
        for topic in ("order.confirmed", "notice.sms", "nobody.knows"):
            books.execute(
                text("INSERT INTO outbox (topic, aggregate, data) VALUES (:topic, :aggregate, '{}')"),
                {"topic": topic, "aggregate": aggregate},
            )
        assert deliveries.assign(books) == 2
        rows = books.execute(
            text("SELECT consumer, topic FROM outbox WHERE aggregate = :a ORDER BY id"), {"a": aggregate}
        )
        assert [tuple(row) for row in rows] == [
            ("processes", "order.confirmed"),
            ("notifications", "text_message.requested"),
            (None, "nobody.knows"),
        ]
        books.execute(text("DELETE FROM outbox WHERE aggregate = :a"), {"a": aggregate})


class TestFailures:
    def test_waits_longer_after_every_failure_up_to_a_minute(self, outbox_database, consumer):
        waits = []
        with outbox_database.transaction() as clock:  # stands still
            publish(clock, [consumer], "a", 0)
            for _ in range(9):
                (message,) = claim(clock, consumer)
                deliveries.postpone(clock, "relay", message.id, "away")
                waits.append(deliveries.next_due(clock, consumer))
                make_due(clock, consumer)
        assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]

    def test_a_dead_letter_delays_its_aggregate_no_more_and_can_be_requeued(self, books, consumer):
        publish(books, [consumer], "a", 0, 1)
        dead, behind = claim(books, consumer)
        deliveries.bury(books, "relay", dead.id, "KeyError: 'x'")
        deliveries.release(books, "relay", [behind.id])
        assert numbers(claim(books, consumer)) == [1]
        deliveries.delivered(books, [behind.id])
        (letter,) = deliveries.list_dead_letters(books, consumer)
        assert (letter.id, letter.topic, letter.attempts, letter.error) == (dead.id, dead.topic, 1, "KeyError: 'x'")
        assert deliveries.dead_letters(books)[consumer, dead.topic] == 1
        assert deliveries.requeue(books, [letter.id]) == 1
        (again,) = claim(books, consumer)
        assert (again.data, again.attempts) == ({"n": 0}, 0)
        assert deliveries.list_dead_letters(books, consumer) == []

    def test_the_backlog_is_told_by_consumer(self, books, consumer):
        publish(books, [consumer], "a", 0, 1)
        (found,) = [each for each in deliveries.backlog(books) if each.consumer == consumer]
        assert found.messages == 2
        assert found.age >= 0


def test_plans_use_the_indexes(books, consumer):
    """With a backlog a scan would be minutes of work a minute."""
    books.execute(
        text("""
        INSERT INTO outbox (consumer, topic, aggregate, data, due_at)
        SELECT :consumer, 't', 'a' || n, '{}', now() + interval '1 hour' FROM generate_series(1, 20000) n
        """),
        {"consumer": consumer},
    )
    books.exec_driver_sql("ANALYZE outbox")
    withdrawn = "DELETE FROM outbox WHERE aggregate = 'scheduled/x'"
    plan = "\n".join(row[0] for row in books.exec_driver_sql(f"EXPLAIN {withdrawn}"))
    assert "ix_outbox_aggregate_consumer_id" in plan
    statement = str(deliveries._CLAIM).replace(":consumer", f"'{consumer}'").replace(":relay", "'r'")
    for name, value in (("limit", 100), ("lease", 10), ("per_aggregate", 20)):
        statement = statement.replace(f":{name}", str(value))
    plan = "\n".join(row[0] for row in books.exec_driver_sql(f"EXPLAIN {statement}"))
    books.execute(text("DELETE FROM outbox WHERE consumer = :consumer"), {"consumer": consumer})
    assert "Seq Scan on outbox" not in plan, plan


class TestNotifier:
    """Wakes after the commit, by another transaction."""

    @pytest.fixture
    def woken(self, fresh_database_url):
        import threading

        import psycopg

        heard = []
        with psycopg.connect(fresh_database_url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("LISTEN outbox")
            stop = threading.Event()

            def hear():
                while not stop.is_set():
                    heard.extend(n.payload for n in connection.notifies(timeout=0.1))

            thread = threading.Thread(target=hear)
            thread.start()
            yield heard
            stop.set()
            thread.join()

    def test_after_commit_and_only_then(self, fresh_database_url, woken):
        from models.db.wake_ups import wake_after_commit

        database = Database(fresh_database_url, pool_size=1)

        def roll_back():
            with database.transaction() as connection:
                wake_after_commit(connection, ["rolled back"])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            roll_back()
        with database.transaction() as connection:
            wake_after_commit(connection, ["committed"])
        eventually(lambda: "committed" in woken)
        with database.autocommit() as connection:
            wake_after_commit(connection, ["alone"])
        database.close()  # sends what is pending
        eventually(lambda: "alone" in woken)
        assert "rolled back" not in woken
