"""Paying with a saved method, and keeping the one that has just paid."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from models.ids import checkout_workflow
from tests.fixtures.cards import Wallet
from tests.fixtures.shop import THREE_D_SECURE, VISA, at_once, eventually, new_key, slug

MASTERCARD = "pm_card_mastercard"


@pytest.fixture
def wallet(shop):
    return Wallet(shop)


@pytest.fixture
def buyer(shop, wallet):
    """The wallet's owner, with a cart that is ready."""
    return shop.buyer(customer=wallet.person.id)


def pay(buyer, method, *, key=None, **more):
    body = buyer.body(method)
    body["payment"] |= more
    return buyer.call("POST", "/v1/checkouts", body, Idempotency_Key=key or new_key())


def paid_with(shop, order):
    (row,) = shop.sql("SELECT payment_method_id FROM payments WHERE order_id = :id", id=order["id"])
    return row.payment_method_id


class TestKeeping:
    def test_what_has_paid_is_saved_and_can_pay_again(self, shop, wallet, buyer):
        answer = pay(buyer, VISA, save=True)
        assert answer.status_code == 201, answer.text
        (entry,) = eventually(wallet.items)
        assert entry["card"]["last4"] == "4242"
        assert entry["default"]
        assert len(wallet.attached()) == 1
        assert eventually(lambda: paid_with(shop, answer.json()["order"])) == entry["id"]
        assert pay(shop.buyer(customer=wallet.person.id), entry["id"]).status_code == 201

    def test_without_save_nothing_is_kept(self, shop, world, wallet, buyer):
        order = buyer.buy()
        assert wallet.items() == wallet.customers() == []
        assert paid_with(shop, order) is None

    def test_after_the_bank_has_seen_its_owner(self, shop, world, wallet, buyer):
        answer = pay(buyer, THREE_D_SECURE, save=True)
        assert answer.status_code == 202
        assert wallet.items() == []
        world.authenticate(buyer.cart_id)
        assert buyer.ended(answer.json()["checkout_id"])["status"] == "confirmed"
        assert len(eventually(wallet.items)) == 1

    def test_a_declined_one_is_not_kept(self, wallet, buyer):
        answer = pay(buyer, "pm_card_visa_chargeDeclined", save=True)
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert wallet.items() == wallet.attached() == []

    def test_the_same_card_twice_is_one_entry(self, shop, wallet, buyer):
        entry = wallet.saved(VISA)
        order = pay(buyer, VISA, save=True).json()["order"]
        assert eventually(lambda: paid_with(shop, order)) == entry["id"]
        assert [item["id"] for item in wallet.items()] == [entry["id"]]
        eventually(lambda: len(wallet.attached()) == 1)

    def test_the_same_key_again_keeps_it_once(self, shop, wallet, buyer):
        key = new_key()
        answers = at_once([lambda: pay(buyer, MASTERCARD, save=True, key=key)] * 3)
        assert {answer.status_code for answer in answers} <= {201, 409}
        eventually(wallet.items)
        checkout_id = next(a for a in answers if a.status_code == 201).json()["checkout_id"]
        eventually(lambda: shop.ended(checkout_workflow(checkout_id)))
        assert len(wallet.items()) == len(wallet.attached()) == 1

    def test_an_unknown_outcome_is_looked_up_and_kept(self, world, wallet, buyer):
        world.script(buyer.cart_id, {"kind": "reset_connection_after"})
        assert pay(buyer, VISA, save=True).status_code == 201
        assert len(eventually(wallet.items)) == 1
        assert len(world.intents(buyer.cart_id)) == 1

    def test_without_an_answer_about_the_customer_nothing_is_charged(self, shop, world, wallet, buyer):
        wallet.script({"kind": "status_before", "status": 429}, path="/v1/customers")
        answer = pay(buyer, VISA, save=True)
        assert (answer.status_code, slug(answer)) == (503, "provider-unavailable")
        assert world.intents(buyer.cart_id) == []

    def test_guests_have_nowhere_to_keep_it(self, shop, world):
        buyer = shop.buyer()
        answer = pay(buyer, VISA, save=True)
        assert (answer.status_code, slug(answer)) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "/payment/save"
        assert world.intents(buyer.cart_id) == []

    def test_nor_has_who_has_no_account(self, shop):
        assert pay(shop.buyer(customer="usr_nobody"), VISA, save=True).status_code == 404


class TestPayingWithASavedOne:
    def test_charges_that_card_of_that_customer(self, shop, world, wallet, buyer):
        entry = wallet.saved(MASTERCARD)
        answer = pay(buyer, entry["id"])
        assert answer.status_code == 201, answer.text
        (intent,) = world.intents(buyer.cart_id)
        found = wallet.provider(f"/payment_intents/{intent['id']}")
        assert [found["customer"]] == wallet.customers()
        assert [found["payment_method"]] == wallet.attached()
        assert paid_with(shop, answer.json()["order"]) == entry["id"]

    def test_the_bank_may_still_want_to_see_its_owner(self, world, wallet, buyer):
        answer = wallet.save(THREE_D_SECURE)
        wallet.authenticate(answer.json()["id"])
        entry = wallet.ended(answer.json()["id"])
        answer = pay(buyer, entry.id)
        assert answer.status_code == 202
        assert answer.json()["next_action"]["client_secret"]
        world.authenticate(buyer.cart_id)
        assert buyer.ended(answer.json()["checkout_id"])["status"] == "confirmed"

    def test_its_key_gives_the_same_bytes_again(self, wallet, buyer, world):
        entry, key = wallet.saved(), new_key()
        first, second = (pay(buyer, entry["id"], key=key) for _ in range(2))
        assert first.content == second.content
        assert second.headers["Idempotency-Replayed"] == "true"
        assert len(world.intents(buyer.cart_id)) == 1

    def test_anothers_is_not_found_and_charges_nothing(self, shop, world, wallet):
        entry = wallet.saved()
        stranger = shop.buyer(customer=Wallet(shop).person.id)
        guest = shop.buyer()
        for buyer in (stranger, guest):
            answer = pay(buyer, entry["id"])
            assert (answer.status_code, slug(answer)) == (404, "not-found")
            assert world.intents(buyer.cart_id) == []
        unknown = pay(stranger, "pm_" + "0" * 32)
        assert (unknown.status_code, slug(unknown)) == (404, "not-found")

    def test_nor_is_a_removed_one(self, wallet, buyer):
        entry = wallet.saved()
        assert wallet.call("DELETE", f"/{entry['id']}").status_code == 204
        assert pay(buyer, entry["id"]).status_code == 404

    def test_staff_cannot_pay_with_a_customers(self, shop, wallet, buyer):
        entry = wallet.saved()
        headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
        body = buyer.body(entry["id"])
        assert shop.http.post(f"{shop.url}/v1/checkouts", json=body, headers=headers).status_code == 404
