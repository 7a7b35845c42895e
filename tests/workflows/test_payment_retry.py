"""The PaymentRetry workflow: its schedule in business time as production has it, skipped, and attempts lost with their
worker."""

from __future__ import annotations

import pytest

from models.ids import new_id, payment_retry_workflow
from models.payments.retry import AttemptRequest
from tests.fixtures.executions import describe
from tests.fixtures.lost import lose_try
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


def test_a_new_method_is_not_charged_half_an_hour_after_its_buyer_gave_it(timeless):
    found = Failed(timeless, timeless.sku(stock=5), save=False)
    found.refuse()
    found.waits_for("new_method")
    workflow_id = payment_retry_workflow(found.id)
    with timeless.world.down():
        assert found.pay().json()["status"] == "processing"
        eventually(
            lambda: [a for a in describe(timeless, workflow_id).raw_description.pending_activities if a.attempt > 1]
        )
        timeless.skip(minutes=31)
    timeless.asleep(workflow_id)
    timeless.skip(minutes=1)
    found.waits_for("new_method")
    assert found.live() == []
    assert found.pay("pm_card_visa").status_code == 200
    assert len(found.live()) == 1


class TestACommandLostWithItsWorker:
    """It had written that it began: the process hears of it, and goes on."""

    @pytest.fixture
    def failed(self, shop):
        found = Failed(shop, shop.sku(stock=5), save=False)
        found.refuse()
        found.waits_for("new_method")
        return found

    def test_a_try_is_made_and_its_asker_finds_the_answer(self, shop, failed):
        key = new_id("key")
        planned = lose_try(shop, failed.id, AttemptRequest(key_digest=key, fingerprint="same"))
        failed.ended("paid")
        assert failed.status == "processing"
        assert [payment["metadata"]["payment_id"] for payment in failed.live()] == [planned.charge.payment_id]
        assert shop.sql("SELECT 1 FROM kept_answers WHERE key_digest = :key AND status = 200", key=key)

    def test_a_try_of_another_method_meanwhile_counts(self, shop, failed):
        """Nobody was asked for the first one's money yet."""
        lose_try(shop, failed.id)
        answer = failed.pay("pm_card_mastercard")
        assert answer.status_code in (200, 409), answer.text  # 409: the first one was quicker
        failed.ended("paid")
        assert len(failed.live()) == 1

    def test_what_has_ended_tells_nobody(self, shop, failed):
        """It costs nothing where nothing is lost."""
        assert failed.pay().status_code == 200
        assert failed.ship().status_code == 201
        begun = "SELECT count(*) FROM outbox WHERE aggregate LIKE 'scheduled/%' AND data ->> 'order_id' = :id"
        assert shop.sql(begun, id=failed.id)[0][0] == 0
