"""Business times as production has them, skipped."""

from __future__ import annotations

from datetime import timedelta

from models.ids import order_workflow
from tests.fixtures.parcels import deliver, ship
from tests.fixtures.shop import eventually


def status_of(timeless, order_id):
    return timeless.sql("SELECT status FROM orders WHERE id = :id", id=order_id)[0].status


def test_the_return_window_closes_after_thirty_days_and_not_before(timeless):
    order = timeless.buyer().buy()
    deliver(timeless, ship(timeless, order))
    timeless.asleep(order_workflow(order["id"]))
    began = timeless.today
    timeless.skip(days=29, hours=23)
    assert timeless.today - began >= timedelta(days=29, hours=23)
    assert status_of(timeless, order["id"]) == "delivered"
    assert timeless.running(order_workflow(order["id"]))
    timeless.skip(hours=1, minutes=1)
    eventually(lambda: status_of(timeless, order["id"]) == "completed")
    eventually(lambda: timeless.ended(order_workflow(order["id"])))
