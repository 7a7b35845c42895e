"""The outbox's order: what waits holds up its own aggregate, and nobody else."""

from __future__ import annotations

import pytest

from models.db.repositories import outbox


@pytest.fixture
def books(shop):
    """A transaction that is taken back, and sees no message but its own."""
    with shop.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        connection.begin()
        connection.exec_driver_sql("CREATE TEMPORARY TABLE outbox (LIKE outbox INCLUDING ALL) ON COMMIT DROP")
        yield connection
        connection.rollback()


def pending(books, limit=10, **which):
    return [message.data["n"] for message in outbox.pending(books, limit, **which)]


def publish(books, number, aggregate, topic="order.t", **more):
    outbox.publish(books, topic, aggregate, {"n": number}, **more)


def test_oldest_first(books):
    for number, aggregate in enumerate("abac"):
        publish(books, number, aggregate)
    assert pending(books) == [0, 1, 2, 3]
    assert pending(books, limit=2) == [0, 1]


def test_one_that_waits_holds_up_its_own_aggregate_only(books):
    publish(books, 0, "a", after_seconds=60)
    publish(books, 1, "a")
    publish(books, 2, "b")
    assert pending(books) == [2]


def test_many_that_wait_are_in_nobodys_way(books):
    for number in range(12):
        publish(books, number, f"stuck {number}")
    outbox.postpone(books, [message.id for message in outbox.pending(books, 12)])
    publish(books, 99, "fresh")
    assert pending(books, limit=10) == [99]


def test_kinds_are_told_apart(books):
    publish(books, 0, "a", topic="order.confirmed")
    publish(books, 1, "b", topic="account.notice")
    publish(books, 2, "c", topic="link.opened")
    publish(books, 3, "d", topic="accounting.closed")
    assert pending(books, kinds=("account", "link")) == [1, 2]
    assert pending(books, besides=("account", "link")) == [0, 3]
    assert pending(books) == [0, 1, 2, 3]
