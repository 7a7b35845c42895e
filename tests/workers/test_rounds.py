"""Rounds: any number of workers, one of them works; another takes over when its lease has run out."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from sqlalchemy import text

from models.db.session import Database
from workers import rounds
from workers.rounds import Rounds


@pytest.fixture
def database(database_url):
    database = Database(database_url, pool_size=4)
    yield database
    database.close()


@pytest.fixture
def workers(database):
    """Two of them, and what they have done."""
    name, done = uuid.uuid4().hex, []

    def work(number):
        async def act():
            done.append(number)

        return act

    return name, [Rounds(name, work(number), database) for number in range(2)], done


def test_one_of_two_at_once_works(workers):
    _, both, done = workers

    async def at_once():
        return await asyncio.gather(*(each.one() for each in both))

    assert sorted(asyncio.run(at_once())) == [False, True]
    assert len(done) == 1


def test_who_holds_the_lease_renews_it_until_it_runs_out(workers, database):
    name, (first, second), done = workers

    async def turns():
        turns = [await first.one(), await second.one(), await first.one()]
        with database.autocommit() as connection:
            connection.execute(text("UPDATE leases SET until = now() - interval '1 s' WHERE name = :n"), {"n": name})
        return [*turns, await second.one(), await first.one()]

    assert asyncio.run(turns()) == [True, False, True, True, False]
    assert done == [0, 0, 1]


def test_a_round_ends_before_its_lease(database, monkeypatch):
    monkeypatch.setattr(rounds, "LIMIT_SECONDS", 0.01)
    endless = Rounds(uuid.uuid4().hex, lambda: asyncio.sleep(3600), database)
    with pytest.raises(TimeoutError):
        asyncio.run(endless.one())
    assert issubclass(TimeoutError, rounds.FAILURES)
