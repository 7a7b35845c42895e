"""Many writers of one order at once: each waits for the others, no event is lost, no version is missing or twice."""

from __future__ import annotations

import pytest

from deploy.cli.orders import differences_in
from models.db.repositories.orders import projections
from models.db.repositories.orders.orders import append, lock_order, read_events, read_order
from models.db.session import Database
from models.errors import InvalidTransition
from models.orders import orders
from models.orders.events import fold
from models.orders.orders import Actor
from models.states import OrderStatus
from tests.fixtures.shop import at_once

WRITERS = 20


@pytest.fixture
def database(shop):
    database = Database(shop.settings.database, pool_size=WRITERS)
    yield database
    database.close()


def write(database, order_id, number, *facts):
    """One writer's transaction; False where the order's state did not let it."""
    try:
        with database.transaction() as connection:
            stored, now = lock_order(connection, order_id)
            append(connection, stored.order, facts, now=now, actor=Actor(type="staff"), cause=f"writer_{number}")
    except InvalidTransition:
        return False
    return True


def test_twenty_writers_at_once_leave_no_gap(shop, database):
    order_id = shop.buyer().buy()["id"]
    facts = [(orders.ORDER_NOTED, {"note_id": "a"}), (orders.ORDER_NOTED, {"note_id": "b"})]
    assert all(at_once([lambda n=n: write(database, order_id, n, *facts) for n in range(WRITERS)]))
    with database.transaction() as connection:
        events = read_events(connection, order_id)
        assert [event.version for event in events] == list(range(1, 2 * WRITERS + 2))
        pairs = [(first.cause, second.cause) for first, second in zip(events[1::2], events[2::2], strict=True)]
        assert {first for first, _ in pairs} == {f"writer_{n}" for n in range(WRITERS)}
        assert all(first == second for first, second in pairs), "what one writer said stands together"
        assert read_order(connection, order_id).order == fold(events, order_id)


def test_of_twenty_that_cannot_all_be_right_one_is(shop, database):
    order_id = shop.buyer().buy()["id"]
    # The second fact of each is legal only with its first: either both stand or neither.
    facts = [(orders.ORDER_NOTED, {"note_id": "a"}), (orders.ORDER_HELD, {})]
    won = at_once([lambda n=n: write(database, order_id, n, *facts) for n in range(WRITERS)])
    assert won.count(True) == 1
    with database.transaction() as connection:
        events = read_events(connection, order_id)
        assert [event.type for event in events[-2:]] == [orders.ORDER_NOTED, orders.ORDER_HELD]
        assert sum(event.type == orders.ORDER_NOTED for event in events) == 1
        assert read_order(connection, order_id).order.status is OrderStatus.ON_HOLD


def test_a_batch_is_read_in_one_moment_beside_its_writers(shop, database):
    order_id = shop.buyer().buy()["id"]
    found = []

    def look():
        for _ in range(10):
            with database.transaction() as connection:
                batch = projections.read_batch(connection, after=order_id[:-1], limit=1)
            found.append(differences_in(batch))

    note = (orders.ORDER_NOTED, {"note_id": "a"})
    at_once([look, *(lambda n=n: [write(database, order_id, n, note) for _ in range(5)] for n in range(8))])
    assert found == [{}] * 10
