"""The database steps of a checkout: each repeated as a lost worker repeats it, each refusal certain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.checkout.checkouts import CheckoutRef, CloseCheckout, ReleaseHold, RequireAction
from models.db.repositories.delivery import stored_responses, webhook_events
from models.errors import (
    CartCompleted,
    CheckoutInProgress,
    InvalidTransition,
    OutOfStock,
    PaymentDeclined,
    PriceChanged,
    Refusal,
)
from models.ids import new_id
from models.money import Money
from models.payments.provider import ProviderEvent
from models.states import CheckoutStatus


def close(begin):
    declined = PaymentDeclined(decline_code="insufficient_funds")
    return CloseCheckout(begin=begin, status=CheckoutStatus.DECLINED, refusal=Refusal.of(declined))


def require_action(begin):
    return RequireAction(
        checkout_id=begin.checkout_id,
        reference=f"pi_{begin.checkout_id}",
        next_action={"type": "use_stripe_sdk", "client_secret": "secret"},
        expires_at=datetime.now(UTC) + timedelta(minutes=30),
    )


def status(steps, begin):
    return steps.sql("SELECT status FROM checkouts WHERE id = :id", id=begin.checkout_id)[0].status


def stored(steps, begin):
    with steps.database.autocommit() as connection:
        return stored_responses.find(connection, begin.key_digest, begin.fingerprint)


class TestHoldStock:
    def test_reserves_what_the_cart_wants_once(self, steps):
        sku = steps.sku(stock=3)
        begin = steps.begin(sku, 2)
        held = steps.checkouts.hold_stock(begin)
        assert (held.total, held.repeated, held.ended) == (begin.expected_total, False, None)
        assert steps.checkouts.hold_stock(begin) == held.model_copy(update={"repeated": True})
        assert steps.stock(sku) == (3, 2)

    def test_refuses_what_is_sold_out_and_takes_nothing(self, steps):
        sku = steps.sku(stock=1)
        with pytest.raises(OutOfStock):
            steps.checkouts.hold_stock(steps.begin(sku, 2))
        assert steps.stock(sku) == (1, 0)

    def test_refuses_a_higher_total_than_the_buyer_saw(self, steps):
        sku = steps.sku()
        with pytest.raises(PriceChanged):
            steps.checkouts.hold_stock(steps.begin(sku, expected_total=Money.of(1, "USD")))
        assert steps.stock(sku) == (3, 0)

    def test_refuses_a_second_checkout_of_the_cart(self, steps):
        sku = steps.sku()
        begin = steps.begin(sku)
        held = steps.checkouts.hold_stock(begin)
        second = steps.click(begin.cart_id, expected_total=begin.expected_total)
        with pytest.raises(CheckoutInProgress):
            steps.checkouts.hold_stock(second)
        steps.checkouts.confirm_order(steps.confirmation(begin, held, f"pi_{begin.checkout_id}"))
        with pytest.raises(CartCompleted):
            steps.checkouts.hold_stock(second)
        assert steps.stock(sku) == (3, 1)


class TestRequireAction:
    def test_stores_what_the_buyer_has_to_do(self, steps):
        begin = steps.begin(steps.sku())
        steps.checkouts.hold_stock(begin)
        command = require_action(begin)
        for _ in range(2):
            required = steps.checkouts.require_action(command)
            assert (required.response.status, required.response.body, required.changed) == (202, None, False)
        assert status(steps, begin) == "requires_action"
        assert "secret" in stored(steps, begin).body

    def test_says_that_a_webhook_came_before_it(self, steps):
        begin = steps.begin(steps.sku())
        steps.checkouts.hold_stock(begin)
        command = require_action(begin)
        event = ProviderEvent(
            id=new_id("evt"),
            type="payment_intent.amount_capturable_updated",
            subject=command.reference,
            checkout_id=None,
        )
        with steps.database.transaction() as connection:
            assert webhook_events.store(connection, "stripe", event)
        assert steps.checkouts.require_action(command).changed


class TestConfirmOrder:
    def test_places_one_order(self, steps):
        order = steps.place()
        again = steps.checkouts.confirm_order(steps.confirmation(order.begin, order.held, order.reference))
        assert (again.status, again.body) == (201, None)
        assert len(steps.sql("SELECT 1 FROM orders WHERE cart_id = :id", id=order.begin.cart_id)) == 1
        assert steps.entries(order.payment_id) == ["authorise"]
        assert steps.stock(order.sku) == (2, 2)
        assert stored(steps, order.begin).status == 201

    def test_takes_the_stock_again_whose_hold_had_run_out(self, steps):
        sku = steps.sku(stock=1)
        begin = steps.begin(sku)
        held = steps.checkouts.hold_stock(begin)
        for _ in range(2):
            steps.checkouts.release_hold(ReleaseHold(checkout_id=begin.checkout_id))
            assert steps.stock(sku) == (1, 0)
        other = steps.begin(sku)
        steps.checkouts.hold_stock(other)
        with pytest.raises(OutOfStock):
            steps.checkouts.confirm_order(steps.confirmation(begin, held, f"pi_{begin.checkout_id}"))
        steps.checkouts.close_checkout(close(other))
        assert steps.checkouts.confirm_order(steps.confirmation(begin, held, f"pi_{begin.checkout_id}")).status == 201
        assert steps.stock(sku) == (1, 1)


class TestCloseCheckout:
    def test_gives_the_stock_back_once_and_keeps_the_answer(self, steps):
        sku = steps.sku()
        begin = steps.begin(sku)
        held = steps.checkouts.hold_stock(begin)
        other = steps.begin(sku)
        steps.checkouts.hold_stock(other)
        for _ in range(2):
            assert steps.checkouts.close_checkout(close(begin)).status == 402
        assert steps.stock(sku) == (3, 1)
        assert (status(steps, begin), stored(steps, begin).status) == ("declined", 402)
        with pytest.raises(InvalidTransition):
            steps.checkouts.confirm_order(steps.confirmation(begin, held, f"pi_{begin.checkout_id}"))
        steps.checkouts.hold_stock(steps.click(begin.cart_id, expected_total=begin.expected_total))

    def test_a_step_that_comes_after_it_is_told_the_end(self, steps):
        begin = steps.begin(steps.sku())
        steps.checkouts.hold_stock(begin)
        steps.checkouts.close_checkout(close(begin))
        late = steps.checkouts.hold_stock(begin)
        assert (late.ended, late.response.status) == (CheckoutStatus.DECLINED, 402)


class TestOrphanedCheckout:
    def test_is_found_until_it_has_ended(self, steps):
        begin = steps.begin(steps.sku())
        ref = CheckoutRef(checkout_id=begin.checkout_id)
        assert steps.checkouts.orphaned_checkout(ref) is None
        steps.checkouts.hold_stock(begin)
        found = steps.checkouts.orphaned_checkout(ref)
        assert found.paying
        assert (found.begin.order_id, found.begin.expected_total) == (begin.order_id, begin.expected_total)
        steps.checkouts.close_checkout(close(begin))
        assert steps.checkouts.orphaned_checkout(ref) is None
