"""A buyer's bank takes money back: in our books once, whatever order its words come in."""

from __future__ import annotations

import itertools

import pytest

from models.accounts.access import Role
from models.db.repositories.delivery import webhook_events
from models.db.session import Database
from models.ids import new_id
from models.money import Money
from models.payments.provider import ProviderDispute, ProviderDisputeStatus, ProviderEvent
from tests.fixtures.parcels import ship
from tests.fixtures.shop import eventually, new_key, slug

DISPUTES = "pm_card_createDispute"


@pytest.fixture
def books(shop):
    """What stands on the order's accounts."""

    def read(order):
        answer = shop.get("/v1/ops/ledger", shop.bearer(Role.SUPPORT), order_id=order["id"])
        assert answer.status_code == 200, answer.text
        assert answer.json()["balanced"]
        return {account: amount for account, amount in answer.json()["balances"].items() if amount}

    return read


@pytest.fixture
def events(shop):
    def read(order):
        rows = shop.sql(
            "SELECT type FROM order_events WHERE order_id = :id AND type LIKE 'payment.disput%' ORDER BY version",
            id=order["id"],
        )
        return [row.type for row in rows]

    return read


def disputed(shop, order):
    """Its dispute's row, once our books have followed it."""

    def check():
        rows = shop.sql(
            "SELECT d.* FROM disputes d JOIN payments p ON p.id = d.payment_id WHERE p.order_id = :id"
            " AND d.booked = d.state",
            id=order["id"],
        )
        return rows[0] if rows else None

    return eventually(check)


def answer_bank(shop, reference, evidence):
    answer = shop.http.post(
        f"{shop.world.url}/v1/disputes/{reference}",
        data={"evidence[uncategorized_text]": evidence, "submit": "true"},
        headers={"Authorization": "Bearer sk_test_sandbox"},
    )
    assert answer.status_code == 200, answer.text


class TestAsTheProviderTells:
    def test_it_is_in_the_books_and_a_person_is_asked(self, shop, books, events):
        order = shop.buyer().buy(DISPUTES)
        ship(shop, order)
        row = disputed(shop, order)
        total = order["totals"]["total"]["amount"]
        assert (row.state, row.amount) == ("open", total)
        assert books(order) == {"disputes": total, "sales": -total}
        assert events(order) == ["payment.disputed"]
        assert "dispute" in shop.tasks(order["id"])

    def test_what_is_disputed_cant_be_refunded(self, shop):
        order = shop.buyer().buy(DISPUTES)
        ship(shop, order)
        disputed(shop, order)
        headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
        answer = shop.post(f"/v1/support/orders/{order['id']}/refunds", {"reason": "unhappy"}, headers)
        assert (answer.status_code, slug(answer)) == (409, "refund-exceeds-balance")

    @pytest.mark.parametrize(
        ("evidence", "state", "account"),
        [("winning_evidence", "won", "provider_balance"), ("losing_evidence", "lost", "write_offs")],
    )
    def test_the_bank_decides(self, shop, books, events, evidence, state, account):
        order = shop.buyer().buy(DISPUTES)
        ship(shop, order)
        answer_bank(shop, disputed(shop, order).reference, evidence)
        eventually(lambda: disputed(shop, order).state == state)
        total = order["totals"]["total"]["amount"]
        assert books(order) == {account: total, "sales": -total}
        assert events(order) == ["payment.disputed", f"payment.dispute_{state}"]


WORDS = {
    "created": ProviderDisputeStatus.NEEDS_RESPONSE,
    "updated": ProviderDisputeStatus.UNDER_REVIEW,
    "closed": ProviderDisputeStatus.WON,
}


class TestInAnyOrder:
    @pytest.mark.parametrize("order_of_words", list(itertools.permutations(WORDS)), ids="-".join)
    def test_the_end_is_the_same(self, shop, books, order_of_words):
        """Each of them twice."""
        order = self.bought(shop)
        reference = f"du_{new_key()}"
        for word in (*order_of_words, *order_of_words):
            self.tell(shop, order, reference, word)
        eventually(lambda: disputed(shop, order).state == "won")
        total = order["totals"]["total"]["amount"]
        assert books(order) == {"provider_balance": total, "sales": -total}
        assert shop.sql("SELECT disputed FROM payments WHERE order_id = :id", id=order["id"])[0].disputed == 0

    def test_before_the_capture_is_in_our_books_it_waits(self, shop, books):
        order = shop.buyer().buy()
        reference = f"du_{new_key()}"
        self.tell(shop, order, reference, "created")
        pending = "SELECT attempts FROM outbox WHERE aggregate = :id"
        eventually(lambda: [row.attempts for row in shop.sql(pending, id=reference)] >= [1])
        ship(shop, order)
        assert disputed(shop, order).state == "open"
        assert books(order)["disputes"] == order["totals"]["total"]["amount"]

    def test_about_a_payment_that_is_not_ours_a_person_is_asked(self, shop):
        reference, stranger = f"du_{new_key()}", f"pi_{new_key()}"
        self.store(shop, reference, stranger, Money(amount=100, currency="USD"), "created")
        eventually(lambda: shop.tasks(stranger) == ["unknown-payment"])

    def bought(self, shop):
        order = shop.buyer().buy()
        ship(shop, order)
        return order

    def tell(self, shop, order, reference, word):
        ((payment,),) = shop.sql("SELECT reference FROM payments WHERE order_id = :id", id=order["id"])
        self.store(shop, reference, payment, Money(**order["totals"]["total"]), word)

    def store(self, shop, reference, payment, amount, word):
        """As the route does."""
        event = ProviderEvent(
            id=new_id("evt"),
            type=f"charge.dispute.{word}",
            subject=payment,
            checkout_id=None,
            dispute=ProviderDispute(
                reference=reference, payment=payment, amount=amount, state=WORDS[word], reason="fraudulent"
            ),
        )
        database = Database(shop.settings.database, pool_size=1)
        with database.autocommit() as connection:
            assert webhook_events.store(connection, "stripe", event)
            assert not webhook_events.store(connection, "stripe", event)
        database.close()
