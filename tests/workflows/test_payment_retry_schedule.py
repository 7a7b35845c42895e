"""The ladder of a failed payment in business time as production has it, skipped."""

from __future__ import annotations

import pytest

from models.ids import payment_retry_workflow
from tests.fixtures.retries import Failed
from tests.fixtures.shop import eventually

DECLINE = {"kind": "decline", "code": "insufficient_funds"}


@pytest.fixture
def fail(timeless):
    """An order whose capture was refused with that code, and whose ladder waits for time to pass."""

    def make(code="insufficient_funds", **more):
        found = Failed(timeless, timeless.sku(stock=5), **more)
        found.refuse(code)
        eventually(lambda: found.retry()["gives_up_at"])
        timeless.asleep(payment_retry_workflow(found.id))
        return found

    return make


def skip(found, tries, **units):
    """And so many tries have been made by then."""
    found.shop.skip(**units)
    eventually(lambda: found.retry()["tries"] == tries)
    if found.shop.running(payment_retry_workflow(found.id)):
        found.shop.asleep(payment_retry_workflow(found.id))


def test_an_hour_then_a_day_and_the_card_works_again(fail):
    found = fail()
    found.charges_meet(DECLINE)
    skip(found, 0, minutes=59)
    skip(found, 1, minutes=2)
    assert found.status == "payment_retrying"
    skip(found, 1, hours=22, minutes=50)
    found.shop.skip(minutes=20)
    found.ended("paid")
    assert found.status == "processing"
    assert found.retry()["tries"] == 2
    assert len(found.live()) == 1
    assert found.ship().status_code == 201


def test_after_a_week_of_refusals_the_order_is_given_up(fail):
    found = fail()
    found.charges_meet(DECLINE, repeat="forever")
    for tries, days in ((1, 0.05), (2, 1), (3, 2)):
        skip(found, tries, days=days)
    assert found.status == "payment_retrying"
    found.shop.skip(days=4)
    found.ended("gave_up")
    assert found.retry()["tries"] == 4
    assert found.status == "cancelled"
    assert found.shop.stock(found.sku) == (5, 0)
    assert found.live() == []
    assert eventually(lambda: [s for s in found.subjects() if "cancelled" in s])


@pytest.mark.parametrize("code", ["expired_card", "stolen_card"])
def test_a_card_that_waiting_does_not_mend_is_left_alone(fail, code):
    found = fail(code)
    skip(found, 0, days=6.9)
    assert found.status == "payment_retrying"
    found.shop.skip(days=0.2)
    found.ended("gave_up")
    assert [payment.attempt for payment in found.payments()] == [1]
    assert found.status == "cancelled"


def test_an_extension_is_a_week_more_and_one_more_try(fail):
    found = fail()
    found.charges_meet(DECLINE, repeat=4)
    assert found.steer("extend").json()["extensions"] == 1
    skip(found, 1, hours=1.5)
    skip(found, 2, days=1)
    skip(found, 3, days=2)
    skip(found, 4, days=4)
    assert found.status == "payment_retrying"
    found.shop.skip(days=7)
    found.ended("paid")
    assert found.status == "processing"


def test_a_provider_that_is_down_is_waited_for(fail):
    found = fail()
    found.charges_meet({"kind": "status_before", "status": 429}, repeat=3)
    found.shop.skip(hours=1.1)
    found.ended("paid")
    assert len(found.live()) == 1
