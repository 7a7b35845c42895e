"""The sweeper restarts each orphan once, however many workers sweep."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from models.db.session import Database
from models.ids import checkout_cleanup_workflow, checkout_workflow
from tests.fixtures.shop import THREE_D_SECURE, eventually
from workers.orphans import Sweeper
from workers.rounds import Rounds


@pytest.fixture
def database(shop):
    database = Database(shop.settings.database, pool_size=4)
    yield database
    database.close()


@pytest.fixture
def orphan(shop):
    """A checkout that waits at the bank, whose workflow an operator has terminated."""
    buyer = shop.buyer()
    checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
    shop.temporal(lambda client: client.get_workflow_handle(checkout_workflow(checkout_id)).terminate())
    return buyer, checkout_id


@pytest.fixture
def last(shop):
    """An orphan whose id is behind those of two checkouts that wait at the bank."""
    ids = sorted(shop.buyer().checkout(THREE_D_SECURE).json()["checkout_id"] for _ in range(3))
    shop.temporal(lambda client: client.get_workflow_handle(checkout_workflow(ids[-1])).terminate())
    return ids[-1]


def sweeper(shop, database, client, **more):
    return Sweeper(shop.settings, database, client, margin=-1_000_000, **more)


def test_of_two_sweepers_one_restarts_it(shop, database, orphan):
    _, checkout_id = orphan
    name, found = uuid.uuid4().hex, []

    async def at_once(client):
        async def round_():
            found.append(await sweeper(shop, database, client).round())

        return await asyncio.gather(*(Rounds(name, round_, database).one() for _ in range(2)))

    assert sorted(shop.temporal(at_once)) == [False, True]
    assert [checkout_id in restarted for restarted in found] == [True]


def test_what_is_being_cleaned_up_is_no_orphan(shop, world, database, orphan):
    buyer, checkout_id = orphan
    (intent,) = world.intents(buyer.cart_id)
    match = {"path": f"/v1/payment_intents/{intent['id']}/cancel"}
    down = {"kind": "status_before", "status": 503}
    world.post("/script", service="stripe", match=match, outcomes=[down], repeat="forever")

    async def twice(client):
        return [await sweeper(shop, database, client).round() for _ in range(2)]

    assert [checkout_id in restarted for restarted in shop.temporal(twice)] == [True, False]
    assert shop.running(checkout_cleanup_workflow(checkout_id))
    world.forget_scripts()
    assert buyer.ended(checkout_id)["status"] == "expired"


def test_an_orphan_behind_a_page_of_running_ones_is_reached(shop, database, last):
    async def rounds(client):
        two_a_round, found = sweeper(shop, database, client, page=2), []
        while last not in found:
            found += await two_a_round.round()
        return True

    assert shop.temporal(lambda client: asyncio.wait_for(rounds(client), 60))


def test_the_workers_sweep_and_forget(shop):
    eventually(lambda: {row.name for row in shop.sql("SELECT name FROM leases")} >= {"orphans", "retention"})
