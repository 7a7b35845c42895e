"""The outbox's relay: in order per aggregate, at least once, and nothing overtakes a message that waits."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from temporalio.service import RPCError, RPCStatusCode

from models.db.repositories import outbox
from models.db.repositories.outbox import Message
from workers.relay import Relay


class Books:
    """The outbox in memory."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.postponed = []

    @contextmanager
    def reading(self):
        yield self

    transaction = reading


@pytest.fixture
def books(monkeypatch):
    def make(*messages):
        books = Books(*messages)
        monkeypatch.setattr(outbox, "pending", lambda connection, limit, **_: books.messages[:limit])
        monkeypatch.setattr(
            outbox,
            "told",
            lambda connection, ids: setattr(books, "messages", [m for m in books.messages if m.id not in ids]),
        )
        monkeypatch.setattr(outbox, "postpone", lambda connection, ids: books.postponed.extend(ids))
        return books

    return make


def message(number, aggregate="a", *, due=True, topic="t"):
    return Message(number, topic, aggregate, {"n": number}, None, due)


def relay_of(books, hear):
    relay = Relay(None, books, None)
    relay._listeners = {"t": hear}
    return relay


def test_tells_in_order_and_forgets_what_is_told(books):
    heard = []

    async def hear(message):
        heard.append(message.id)

    kept = books(message(1), message(2, "b"), message(3), message(4, "b"))
    assert asyncio.run(relay_of(kept, hear).round()) == 4
    assert [n for n in heard if n in (1, 3)] == [1, 3]
    assert [n for n in heard if n in (2, 4)] == [2, 4]
    assert kept.messages == []


@pytest.mark.parametrize(
    "error",
    [RPCError("down", RPCStatusCode.UNAVAILABLE, b""), RuntimeError("no connection"), ConnectionError(), KeyError("x")],
)
def test_what_fails_waits_and_so_does_what_is_behind_it(books, error):
    async def hear(message):
        if message.id == 1:
            raise error

    kept = books(message(1), message(2), message(3, "b"))
    assert asyncio.run(relay_of(kept, hear).round()) == 1
    assert [m.id for m in kept.messages] == [1, 2]
    assert kept.postponed == [1]


def test_nothing_overtakes_one_that_is_not_due(books):
    async def hear(message):
        raise AssertionError("told too early")

    kept = books(message(1, due=False), message(2))
    assert asyncio.run(relay_of(kept, hear).round()) == 0
    assert kept.postponed == []


def test_a_topic_that_nobody_knows_stops_nothing(books):
    async def hear(message):
        return

    kept = books(message(1, topic="unheard"), message(2))
    asyncio.run(relay_of(kept, hear).round())
    assert kept.messages == []


def test_what_says_the_same_as_the_next_is_told_once(books):
    """A storm of webhooks about one payment is one look at it."""
    heard = []

    async def hear(message):
        heard.append(message.id)

    same = [message(n)._replace(data={"checkout_id": "chk_1"}) for n in range(1, 6)]
    kept = books(*same, message(6), message(7)._replace(data={"checkout_id": "chk_1"}))
    assert asyncio.run(relay_of(kept, hear).round()) == 7
    assert heard == [5, 6, 7]
    assert kept.messages == []


def test_and_when_that_fails_it_is_still_there(books):
    async def hear(message):
        raise ConnectionError

    kept = books(*(message(n)._replace(data={}) for n in range(1, 4)))
    asyncio.run(relay_of(kept, hear).round())
    assert [m.id for m in kept.messages] == [3]
