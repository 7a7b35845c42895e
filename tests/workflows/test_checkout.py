"""The Checkout workflow on a real Temporal: what operators see of it, and what happens when they step in."""

from __future__ import annotations

import threading
import time

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from models.ids import checkout_workflow
from models.states import CheckoutStatus
from tests.fixtures import paypal
from tests.fixtures.executions import details, event_types, listed
from tests.fixtures.record import clean_up
from tests.fixtures.shop import THREE_D_SECURE, VISA, eventually, new_key
from workflows.checkout import Checkout


@pytest.fixture
def at_the_bank(shop):
    """A checkout whose buyer is at the bank: buyer, checkout id, the one SKU there was."""
    sku = shop.sku(stock=1)
    buyer = shop.buyer(sku)
    return buyer, buyer.checkout(THREE_D_SECURE).json()["checkout_id"], sku


class TestWhatOperatorsSee:
    def test_a_checkout_is_found_by_cart_order_and_status(self, shop, at_the_bank):
        buyer, checkout_id, _ = at_the_bank
        workflow_id = checkout_workflow(checkout_id)
        query = f'CartId = "{buyer.cart_id}" AND CheckoutStatus = "{CheckoutStatus.REQUIRES_ACTION}"'
        assert eventually(lambda: listed(shop, query)) == [workflow_id]
        shop.world.authenticate(buyer.cart_id)
        order_id = buyer.ended(checkout_id)["order"]["id"]
        query = f'OrderId = "{order_id}" AND CheckoutStatus = "{CheckoutStatus.CONFIRMED}"'
        assert eventually(lambda: listed(shop, query)) == [workflow_id]

    def test_a_summary_says_what_it_is_and_details_where_it_is(self, shop, at_the_bank):
        buyer, checkout_id, _ = at_the_bank
        workflow_id = checkout_workflow(checkout_id)

        async def summary(client):
            return await (await client.get_workflow_handle(workflow_id).describe()).static_summary()

        assert buyer.cart_id in shop.temporal(summary)
        assert "Waiting for the buyer at the bank" in details(shop, workflow_id)

    def test_the_result_is_how_it_ended(self, shop):
        checkout_id = shop.buyer().checkout("pm_card_visa_chargeDeclined").json()["checkout_id"]

        async def result(client):
            return await client.get_workflow_handle_for(Checkout.run, checkout_workflow(checkout_id)).result()

        assert shop.temporal(result) == CheckoutStatus.DECLINED

    def test_a_checkout_at_once_is_a_handful_of_events_and_one_workflow_task(self, shop):
        checkout_id = shop.buyer().checkout().json()["checkout_id"]
        workflow_id = checkout_workflow(checkout_id)
        eventually(lambda: shop.ended(workflow_id))
        types = event_types(shop, workflow_id)
        assert types.count("workflow_task_scheduled_event_attributes") <= 2
        assert types.count("activity_task_scheduled_event_attributes") == 0


class TestWhatIsRefused:
    def test_another_body_leaves_no_trace(self, shop, at_the_bank):
        _, checkout_id, _ = at_the_bank
        workflow_id = checkout_workflow(checkout_id)
        before = event_types(shop, workflow_id)

        async def submit(client):
            await client.get_workflow_handle(workflow_id).execute_update(Checkout.submit, "f" * 64)

        with pytest.raises(WorkflowUpdateFailedError) as refused:
            shop.temporal(submit)
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "IdempotencyKeyReused"
        assert not [t for t in event_types(shop, workflow_id)[len(before) :] if "update" in t]

    def test_coming_back_before_the_bank_was_asked_is_too_early(self, shop, world):
        buyer = shop.buyer()
        world.script(buyer.cart_id, {"kind": "delay", "ms": 1500})
        click = threading.Thread(target=buyer.checkout)
        click.start()
        rows = eventually(lambda: shop.sql("SELECT id FROM checkouts WHERE cart_id = :id", id=buyer.cart_id))
        answer = buyer.resume(rows[0].id)
        click.join()
        assert answer.status_code in (200, 409), answer.text  # 200: the worker took it up only after the charge


class TestSteppingIn:
    def test_cancelling_gives_money_and_stock_back(self, shop, world, at_the_bank):
        buyer, checkout_id, sku = at_the_bank
        workflow_id = checkout_workflow(checkout_id)
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).cancel())
        assert buyer.ended(checkout_id)["status"] == "refused"
        assert shop.stock(sku) == (1, 0)
        assert [intent["status"] for intent in world.intents(buyer.cart_id)] == ["canceled"]
        assert buyer.buy()["status"] == "confirmed"

    def test_cancelling_during_the_charge_charges_nobody(self, shop, world):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        world.script(buyer.cart_id, {"kind": "delay", "ms": 1200})
        answers = []
        click = threading.Thread(target=lambda: answers.append(buyer.checkout()))
        click.start()
        rows = eventually(lambda: shop.sql("SELECT id FROM checkouts WHERE cart_id = :id", id=buyer.cart_id))
        shop.temporal(lambda client: client.get_workflow_handle(checkout_workflow(rows[0].id)).cancel())
        click.join()
        ended = buyer.ended(rows[0].id)
        if ended["status"] == "confirmed":  # the cancellation came when all was done
            assert world.charged(buyer.cart_id) == buyer.total["amount"]
        else:
            eventually(lambda: world.charged(buyer.cart_id) == 0)
            assert shop.orders_of(buyer.cart_id) == []
            assert shop.stock(sku) == (1, 0)
            assert answers[0].status_code == 503

    def test_what_was_terminated_the_sweeper_cleans_up(self, shop, world, at_the_bank):
        buyer, checkout_id, sku = at_the_bank
        workflow_id = checkout_workflow(checkout_id)
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).terminate())
        assert shop.stock(sku) == (1, 1)
        assert checkout_id in clean_up(shop)
        assert buyer.ended(checkout_id)["status"] == "expired"
        assert shop.stock(sku) == (1, 0)
        assert [intent["status"] for intent in world.intents(buyer.cart_id)] == ["canceled"]
        assert buyer.buy()["status"] == "confirmed"

    def test_the_sweeper_leaves_the_living_alone(self, shop, at_the_bank):
        buyer, checkout_id, _ = at_the_bank
        assert checkout_id not in clean_up(shop)
        assert buyer.read_checkout(checkout_id)["status"] == "requires_action"

    def test_terminating_under_a_waiting_buyer_is_not_told_as_a_missing_page(self, shop, world):
        buyer = shop.buyer()
        world.script(buyer.cart_id, {"kind": "delay", "ms": 1500})
        answers = []
        click = threading.Thread(target=lambda: answers.append(buyer.checkout()))
        click.start()
        rows = eventually(lambda: shop.sql("SELECT id FROM checkouts WHERE cart_id = :id", id=buyer.cart_id))
        shop.temporal(lambda client: client.get_workflow_handle(checkout_workflow(rows[0].id)).terminate())
        click.join()
        assert answers[0].status_code == 202, answers[0].text
        time.sleep(1.5)  # the worker may finish the group of steps that it was at: then there is an order
        clean_up(shop)
        status = buyer.ended(rows[0].id)["status"]
        assert (status, world.charged(buyer.cart_id)) in [("expired", 0), ("confirmed", buyer.total["amount"])]


class TestBusinessTime:
    """Without a webhook: the times that production has, skipped."""

    def test_stock_is_held_for_a_quarter_and_the_payment_waits_for_half_an_hour(self, timeless):
        sku = timeless.sku(stock=1)
        buyer = timeless.buyer(sku)
        with timeless.world.webhooks(mode="drop"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            timeless.asleep(checkout_workflow(checkout_id))
            timeless.skip(minutes=14, seconds=50)
            assert timeless.stock(sku) == (1, 1)
            timeless.skip(seconds=20)
            eventually(lambda: timeless.stock(sku) == (1, 0))
            timeless.asleep(checkout_workflow(checkout_id))
            timeless.skip(minutes=14, seconds=30)
            assert buyer.read_checkout(checkout_id)["status"] == "requires_action"
            timeless.skip(seconds=30)
            assert buyer.ended(checkout_id)["status"] == "expired"
        assert [intent["status"] for intent in timeless.world.intents(buyer.cart_id)] == ["canceled"]

    def test_a_payment_that_the_bank_has_approved_is_polled_within_half_a_minute(self, timeless):
        buyer = timeless.buyer(timeless.sku(stock=1))
        with timeless.world.webhooks(mode="drop"):
            checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
            timeless.asleep(checkout_workflow(checkout_id))
            timeless.world.authenticate(buyer.cart_id)
            timeless.skip(seconds=31)
            assert buyer.ended(checkout_id)["status"] == "confirmed"
        assert timeless.world.charged(buyer.cart_id) == buyer.total["amount"]


class TestDeadline:
    """Nothing is authorised later than HOLDFAST_PAYMENT_ACTION_SECONDS after the click, 30 minutes here."""

    def test_a_provider_that_is_down_past_it_authorises_nothing_and_frees_stock_and_cart(self, timeless):
        world, sku = timeless.world, timeless.sku(stock=1)
        buyer, key = timeless.buyer(sku), new_key()
        body = buyer.body(VISA)
        with world.down():
            checkout_id = buyer.checkout(VISA, key=key).json()["checkout_id"]
            timeless.asleep(checkout_workflow(checkout_id))
            timeless.skip(minutes=16)
            eventually(lambda: timeless.stock(sku) == (1, 0))
            assert buyer.read_checkout(checkout_id)["status"] == "processing"
            timeless.skip(minutes=16)
            assert buyer.ended(checkout_id)["status"] == "expired"
            order = paypal.buy(world, buyer)
            assert order["status"] == "confirmed"
        eventually(lambda: _searched_again(timeless, checkout_id))
        assert world.intents(buyer.cart_id) == []
        refusal = buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=key)
        assert (refusal.status_code, refusal.json()["type"].rpartition("/")[2]) == (409, "checkout-expired")

    def test_an_authorisation_found_after_it_is_voided(self, timeless):
        world, sku = timeless.world, timeless.sku(stock=1)
        buyer = timeless.buyer(sku)
        world.script(buyer.cart_id, {"kind": "reset_connection_after"})
        with world.down(method="GET"):
            checkout_id = buyer.checkout(VISA).json()["checkout_id"]
            timeless.asleep(checkout_workflow(checkout_id))
            timeless.skip(minutes=32)
            assert buyer.ended(checkout_id)["status"] == "expired"
        eventually(lambda: _searched_again(timeless, checkout_id))
        assert [intent["status"] for intent in world.intents(buyer.cart_id)] == ["canceled"]
        assert timeless.stock(sku) == (1, 0)
        sql = "SELECT p.state, count(*) FROM payments p JOIN ledger_entries l ON l.payment_id = p.id"
        rows = timeless.sql(f"{sql} WHERE p.checkout_id = :id GROUP BY p.state", id=checkout_id)
        assert [tuple(row) for row in rows] == [("voided", 2)]

    def test_a_provider_that_is_down_when_a_challenge_expires_keeps_no_cart(self, timeless):
        world, buyer = timeless.world, timeless.buyer(timeless.sku(stock=1))
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        timeless.asleep(checkout_workflow(checkout_id))
        timeless.skip(minutes=29, seconds=45)
        timeless.asleep(checkout_workflow(checkout_id))
        with world.down():
            timeless.skip(minutes=2)
            assert buyer.ended(checkout_id)["status"] == "expired"
            paypal.waiting(buyer)
        eventually(lambda: _searched_again(timeless, checkout_id))
        assert [intent["status"] for intent in world.intents(buyer.cart_id)] == ["canceled"]


def _searched_again(timeless, checkout_id):
    """Whether the compensation has ended; each call skips its longest pause."""
    timeless.skip(minutes=5)
    return timeless.ended(checkout_workflow(checkout_id))
