"""A capture that is refused after the order was placed: the order waits, its payment is tried again, and it ends."""

from __future__ import annotations

import uuid

import pytest

from deploy.proof.invariants.facts import gather
from deploy.proof.invariants.money import ledger_is_balanced, payments_are_what_the_provider_says
from deploy.proof.invariants.orders import replay_gives_the_row
from models.accounts.access import Role
from models.ids import payment_retry_workflow
from tests.fixtures.cards import Wallet
from tests.fixtures.retries import Failed
from tests.fixtures.shop import THREE_D_SECURE, VISA, at_once, eventually, new_key, slug

DECLINED = "pm_card_visa_chargeDeclinedInsufficientFunds"


@pytest.fixture
def failed(shop):
    """With a kept card, waiting for the first step of the ladder, an hour away."""
    found = Failed(shop, shop.sku(stock=5))
    found.refuse()
    found.waits_for("next_try")
    return found


@pytest.fixture
def guest(shop):
    """Nothing was kept: only the buyer can help."""
    found = Failed(shop, shop.sku(stock=5), save=False)
    found.refuse()
    found.waits_for("new_method")
    return found


def with_phone(found, phone=None):
    found.phone = phone or f"+1415{uuid.uuid4().int % 10**7:07d}"
    found.shop.sql(
        "UPDATE orders SET shipping_address = jsonb_set(shipping_address, '{phone}', to_jsonb(CAST(:phone AS text)))"
        " WHERE id = :id",
        phone=found.phone,
        id=found.id,
    )
    return found


def settled(found):
    """The state of its text message, once there is an outcome."""
    rows = found.shop.sql(
        "SELECT state FROM notifications WHERE channel = 'sms' AND event = :id", id=found.payments()[0].id
    )
    return rows[0].state if rows and rows[0].state != "sending" else None


def books_hold(failed):
    """Of this order's payments; others' tests go on meanwhile."""
    facts = gather(failed.shop.settings)
    ids = {payment.id for payment in failed.payments()}
    facts.payments = [row for row in facts.payments if row["id"] in ids]
    facts.ledger = [row for row in facts.ledger if row["payment_id"] in ids]
    facts.orders = [row for row in facts.orders if row["id"] == failed.id]
    facts.events = [row for row in facts.events if row["order_id"] == failed.id]
    for invariant in (ledger_is_balanced, payments_are_what_the_provider_says, replay_gives_the_row):
        assert list(invariant(facts)) == []
    return True


class TestAFailedCapture:
    def test_keeps_the_parcel_and_the_order_waits_for_its_payment(self, shop, failed):
        order = failed.now()
        assert (order["status"], order["shipments"]) == ("payment_retrying", [])
        assert shop.stock(failed.sku) == (5, 1)
        assert shop.tasks(failed.id) == []
        assert failed.events()[-1] == "payment.failed"
        assert failed.retry()["decline_code"] == "insufficient_funds"
        assert failed.live() == []  # the buyer's bank holds nothing any more

    def test_is_told_by_one_mail(self, failed):
        assert eventually(lambda: [s for s in failed.subjects() if "payment did not work" in s])
        assert len([s for s in failed.subjects() if "payment did not work" in s]) == 1

    def test_ships_nothing_until_it_is_paid(self, failed):
        answer = failed.ship()
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] == "payment_retrying"

    def test_of_an_authorisation_that_has_lapsed_is_the_same(self, shop, world):
        found = Failed(shop, shop.sku(stock=2), save=False)
        reference = found.payments()[0].reference
        answer = shop.http.post(
            f"{world.url}/v1/payment_intents/{reference}/cancel", headers={"Authorization": "Bearer sk_test_sandbox"}
        )
        assert answer.status_code == 200
        answer = found.ship()
        assert (answer.status_code, slug(answer)) == (402, "authorisation-gone")
        assert found.waits_for("new_method")["decline_code"] == "authorisation_cancelled"
        assert found.pay().status_code == 200
        assert found.ship().status_code == 201
        assert books_hold(found)

    def test_of_a_second_parcel_leaves_the_first_alone(self, shop):
        found = Failed(shop, shop.sku(stock=5), 3)
        assert found.ship(1).status_code == 201
        found.refuse(quantity=2)
        found.waits_for("next_try")
        first = found.payments()[0]
        assert found.pay().status_code == 200
        assert found.status == "partially_shipped"
        shipment = found.ship(2)
        assert shipment.status_code == 201
        second = found.payments()[-1]
        assert second.amount == second.captured == shipment.json()["captured"]["amount"]
        assert first.captured + second.captured == found.buyer.total["amount"]
        assert found.now()["payment_status"] == "captured"
        assert books_hold(found)

    def test_on_a_dead_card_is_never_tried_again(self, shop):
        found = Failed(shop, shop.sku(stock=2))
        found.refuse("stolen_card")
        ladder = found.waits_for("new_method")
        assert (ladder["verdict"], ladder["next_try_at"]) == ("never", None)
        answer = found.steer("try-now")
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert len(found.payments()) == 1


class TestATextMessage:
    """Besides the mail, where only the buyer can help."""

    @pytest.fixture
    def order(self, shop):
        """Not failed yet, with a phone number of its own."""
        return with_phone(Failed(shop, shop.sku(stock=5), save=False))

    def texts(self, found):
        return found.shop.world.get("/sms", to=found.phone)

    def test_leads_the_buyer_to_the_order(self, shop, order):
        order.refuse()
        (message,) = eventually(lambda: self.texts(order))
        assert f"{shop.settings.storefront_url}/orders/{order.id}/payment" in message["text"]
        assert order.order["number"] in message["text"]

    @pytest.mark.parametrize("outcome", ["reset_connection_after", "reset_connection_before", "status_after"])
    def test_whose_outcome_is_unknown_is_looked_up_before_it_is_sent_again(self, world, order, outcome):
        lost = {"kind": outcome, **({"status": 500} if "status" in outcome else {})}
        match = {"path": "/2010-04-01", "method": "POST", "to": order.phone}
        world.post("/script", service="twilio", match=match, outcomes=[lost])
        order.refuse()
        assert eventually(lambda: settled(order) == "sent")
        assert len(self.texts(order)) == 1

    def test_that_the_provider_will_never_take_is_somebodys_task(self, shop, order):
        with_phone(order, "+15005550004")  # Twilio's test number of who has unsubscribed
        order.refuse()
        assert eventually(lambda: shop.tasks(order.id) == ["sms-refused"])

    def test_is_not_sent_while_the_card_is_tried_again(self, shop):
        found = with_phone(Failed(shop, shop.sku(stock=5)))
        found.refuse()
        assert eventually(lambda: [s for s in found.subjects() if "payment did not work" in s])
        assert self.texts(found) == []
        found.charges_meet({"kind": "decline", "code": "expired_card"})
        found.steer("try-now")
        assert len(eventually(lambda: self.texts(found))) == 1

    def test_is_not_sent_to_who_does_not_want_any(self, shop):
        found = with_phone(Failed(shop, shop.sku(stock=5)))
        choice = {"sms": {"payments": False}}
        assert found.wallet.person.call("PATCH", "/v1/me/notification-preferences", choice).status_code == 200
        found.refuse("expired_card")
        assert eventually(lambda: [s for s in found.subjects() if "payment did not work" in s])
        eventually(lambda: shop.sql("SELECT 1 FROM outbox WHERE aggregate = :id", id=f"sms/{found.id}") == [])
        assert self.texts(found) == []


class TestANewMethod:
    def test_pays_at_once_and_the_order_goes_on(self, shop, guest):
        answer = guest.pay()
        assert answer.status_code == 200, answer.text
        assert (answer.json()["id"], answer.json()["status"]) == (guest.id, "processing")
        guest.ended("paid")
        (live,) = guest.live()
        assert live["amount"] == guest.buyer.total["amount"]
        assert guest.ship().json()["order"]["status"] == "shipped"
        assert eventually(lambda: [s for s in guest.subjects() if "payment has worked" in s])
        assert books_hold(guest)

    def test_that_is_declined_is_402_and_the_order_goes_on_waiting(self, guest):
        answer = guest.pay(DECLINED)
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert answer.json()["decline_code"] == "insufficient_funds"
        assert guest.status == "payment_retrying"
        assert guest.live() == []
        assert guest.pay().status_code == 200
        assert books_hold(guest)

    def test_that_is_none_is_422(self, guest):
        answer = guest.pay("pm_nothing")
        assert (answer.status_code, slug(answer)) == (422, "payment-method-invalid")
        assert guest.pay().status_code == 200
        assert books_hold(guest)

    def test_may_be_a_saved_one_of_the_buyers_own(self, failed):
        entry = failed.wallet.saved("pm_card_mastercard")
        assert failed.pay(entry["id"]).status_code == 200
        assert failed.payments()[-1].payment_method_id == entry["id"]

    def test_of_somebody_else_is_not_found(self, shop, failed, guest):
        entry = Wallet(shop).saved()
        for found in (failed, guest):
            answer = found.pay(entry["id"])
            assert (answer.status_code, slug(answer)) == (404, "not-found")
            assert found.live() == []

    def test_may_need_the_bank_to_see_its_owner(self, world, guest):
        answer = guest.pay(THREE_D_SECURE)
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "requires_action"
        assert answer.json()["next_action"]["client_secret"]
        assert guest.retry()["waits_for"] == "bank"
        world.authenticate(guest.buyer.cart_id)
        eventually(lambda: guest.status == "processing")
        guest.ended("paid")
        assert books_hold(guest)

    def test_that_fails_at_the_bank_leaves_the_order_waiting(self, world, guest):
        assert guest.pay(THREE_D_SECURE).status_code == 202
        world.authenticate(guest.buyer.cart_id, "failure")
        guest.waits_for("new_method")
        assert guest.pay().status_code == 200
        assert books_hold(guest)

    def test_replaces_one_whose_buyer_is_still_at_the_bank(self, world, guest):
        assert guest.pay(THREE_D_SECURE).status_code == 202
        assert guest.pay().status_code == 200
        statuses = sorted(intent["status"] for intent in world.intents(guest.buyer.cart_id))
        assert statuses == ["canceled", "canceled", "requires_capture"]
        assert books_hold(guest)

    def test_with_the_same_key_is_one_try_and_the_same_bytes(self, world, guest):
        key = new_key()
        answers = at_once([lambda: guest.pay(key=key)] * 4)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in [*answers, guest.pay(key=key)]}) == 1
        assert len(guest.payments()) == 2
        reused = guest.pay(VISA, key=key)
        assert (reused.status_code, slug(reused)) == (422, "idempotency-key-reused")

    def test_ten_at_once_pay_once(self, guest):
        answers = at_once([guest.pay] * 10)
        codes = sorted(answer.status_code for answer in answers)
        assert codes[0] == 200
        assert set(codes[1:]) <= {409}
        assert len(guest.live()) == 1
        assert books_hold(guest)

    @pytest.mark.parametrize("outcome", ["reset_connection_after", "status_after", "status_before"])
    def test_whose_outcome_is_unknown_is_looked_up(self, guest, outcome):
        guest.charges_meet({"kind": outcome, **({"status": 500} if "status" in outcome else {})})
        assert guest.pay().status_code == 200
        assert len(guest.live()) == 1
        assert books_hold(guest)

    def test_is_409_naming_the_state_when_nothing_is_retried(self, shop):
        buyer = shop.buyer()
        order = buyer.buy()
        answer = buyer.call("POST", f"/v1/orders/{order['id']}/payment-method", {"method": VISA})
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert answer.json()["state"] == "confirmed"

    def test_of_a_strangers_order_is_not_found(self, shop, guest):
        path = f"/v1/orders/{guest.id}/payment-method"
        for headers in ({}, shop.bearer(Role.CUSTOMER), shop.bearer(Role.SUPPORT), shop.bearer(Role.ADMIN)):
            assert shop.post(path, {"method": VISA}, headers).status_code == 404


class TestSupport:
    def test_tries_the_kept_method_now(self, failed):
        key = new_key()
        answer = failed.steer("try-now", key=key)
        assert (answer.status_code, answer.json()["state"]) == (200, "paid")
        again = failed.steer("try-now", key=key)
        assert (again.content, again.headers["Idempotency-Replayed"]) == (answer.content, "true")
        assert failed.payments()[-1].payment_method_id
        assert failed.status == "processing"
        (live,) = failed.live()
        found = failed.wallet.provider(f"/payment_intents/{live['id']}")
        assert [found["customer"]] == failed.wallet.customers()
        assert books_hold(failed)

    def test_learns_that_it_was_declined_again(self, failed):
        failed.charges_meet({"kind": "decline", "code": "insufficient_funds"})
        answer = failed.steer("try-now")
        assert (answer.status_code, answer.json()["state"], answer.json()["tries"]) == (200, "retrying", 1)
        assert answer.json()["waits_for"] == "next_try"

    def test_a_card_that_is_reported_stolen_meanwhile_is_never_tried_again(self, failed):
        failed.charges_meet({"kind": "decline", "code": "stolen_card"})
        assert failed.steer("try-now").json()["verdict"] == "never"
        assert failed.steer("try-now").status_code == 409
        assert eventually(lambda: len([s for s in failed.subjects() if "payment did not work" in s]) == 2)

    def test_cannot_try_what_was_not_kept(self, guest):
        answer = guest.steer("try-now")
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")

    def test_extends_the_ladder_three_times(self, failed):
        before = failed.retry()["gives_up_at"]
        for number in (1, 2, 3):
            answer = failed.steer("extend")
            assert (answer.status_code, answer.json()["extensions"]) == (200, number)
        assert failed.retry()["gives_up_at"] > before
        assert failed.steer("extend").status_code == 409

    def test_gives_up_and_the_stock_is_free(self, shop, failed):
        answer = failed.steer("give-up")
        assert (answer.status_code, answer.json()["state"]) == (200, "gave_up")
        assert failed.status == "cancelled"
        assert shop.stock(failed.sku) == (5, 0)
        failed.ended("gave_up")
        assert eventually(lambda: [s for s in failed.subjects() if "cancelled" in s])
        assert failed.pay().status_code == 409
        assert eventually(lambda: books_hold(failed))

    def test_gives_up_on_the_rest_once_a_parcel_has_left(self, shop):
        found = Failed(shop, shop.sku(stock=5), 3)
        assert found.ship(1).status_code == 201
        found.refuse(quantity=2)
        found.waits_for("next_try")
        assert found.steer("give-up").json()["state"] == "gave_up"
        assert found.status == "shipped"
        assert shop.stock(found.sku) == (4, 0)
        assert eventually(lambda: books_hold(found))

    def test_needs_its_scope(self, failed):
        for how in ("try-now", "extend", "give-up"):
            assert failed.steer(how, Role.WAREHOUSE).status_code == 403
            assert failed.steer(how, Role.CUSTOMER).status_code == 403

    def test_of_an_order_that_has_not_failed_is_told_so(self, shop):
        order = shop.buyer().buy()
        support = shop.bearer(Role.SUPPORT)
        assert shop.get(f"/v1/support/orders/{order['id']}/payment-retry", support).status_code == 404
        path = f"/v1/support/orders/{order['id']}/payment-retry/try-now"
        assert shop.http.post(shop.url + path, headers=support).status_code == 409

    def test_types_the_same_in_the_temporal_ui(self, shop, guest):
        async def type_(client):
            handle = client.get_workflow_handle(payment_retry_workflow(guest.id))
            await handle.execute_update("extend", {})
            return await handle.execute_update("pay", {"method": VISA})

        assert shop.temporal(type_)["status"] == 200
        assert guest.retry()["extensions"] == 1
        assert guest.status == "processing"


class TestItsEnd:
    def test_comes_when_the_buyer_cancels(self, shop, failed):
        assert failed.buyer.call("POST", f"/v1/orders/{failed.id}/cancel", {}).status_code == 200
        failed.ended("cancelled")
        assert shop.stock(failed.sku) == (5, 0)
        assert failed.pay().status_code == 409
        assert eventually(lambda: books_hold(failed))

    def test_takes_along_who_is_at_the_bank(self, world, guest):
        assert guest.pay(THREE_D_SECURE).status_code == 202
        assert guest.buyer.call("POST", f"/v1/orders/{guest.id}/cancel", {}).status_code == 200
        guest.ended("cancelled")
        assert guest.live() == []
        assert {intent["status"] for intent in world.intents(guest.buyer.cart_id)} == {"canceled"}
        assert eventually(lambda: books_hold(guest))

    def test_paying_and_cancelling_at_once_agree_about_the_money(self, shop):
        for _ in range(3):
            found = Failed(shop, shop.sku(stock=5), save=False)
            found.refuse()
            found.waits_for("new_method")
            cancel = lambda found=found: found.buyer.call("POST", f"/v1/orders/{found.id}/cancel", {})  # noqa: E731
            at_once([found.pay, cancel])
            eventually(lambda found=found: shop.ended(payment_retry_workflow(found.id)))
            status = found.status
            assert status in ("cancelled", "processing")
            eventually(lambda found=found, paid=status == "processing": len(found.live()) == paid)
            assert eventually(lambda found=found: books_hold(found))

    def test_is_no_end_of_the_order_which_may_fail_and_be_paid_again(self, shop):
        found = Failed(shop, shop.sku(stock=5), 2)
        for waits_for in ("next_try", "new_method"):  # what paid for the first parcel was not kept
            found.refuse(quantity=1)
            found.waits_for(waits_for)
            assert found.pay().status_code == 200
            assert found.ship(1).status_code == 201
        assert found.now()["payment_status"] == "captured"
        assert [payment.attempt for payment in found.payments()] == [1, 2, 3]
        assert books_hold(found)

    def test_survives_the_operator_who_terminates_it(self, shop, guest):
        shop.temporal(lambda client: client.get_workflow_handle(payment_retry_workflow(guest.id)).terminate())
        assert guest.pay().status_code == 200
        guest.ended("paid")
        assert books_hold(guest)
