"""A payment that was captured at the provider by hand: it is this order's money, and the buyer never pays twice."""

from __future__ import annotations

import pytest

from activities.gateways.paypal.payments import PayPalGateway
from activities.gateways.stripe.payments import StripeGateway
from models.accounts.access import Role
from models.db.repositories.orders.orders import append, lock_order
from models.db.session import Database
from models.money import Money
from models.orders import orders
from models.orders.orders import SYSTEM
from tests.fixtures import paypal
from tests.fixtures.reconciliation import balances, differences, payment_of, reconcile
from tests.fixtures.retries import Failed
from tests.fixtures.shop import eventually, new_key, slug


@pytest.fixture(params=["stripe", "paypal"])
def provider(shop, request):
    """What whoever has the account's key can do behind our back."""
    url = shop.world.url
    if request.param == "stripe":
        return StripeGateway("sk_test_sandbox", base=url)
    return PayPalGateway("sandbox-paypal", "sandbox-paypal-secret", base=f"{url}/paypal")


@pytest.fixture
def order(shop, provider):
    """Of two units."""
    buyer = shop.buyer(shop.sku(stock=5), 2)
    bought = buyer.buy() if provider.name == "stripe" else paypal.buy(shop.world, buyer)
    return {**bought, "buyer": buyer}


def capture(shop, provider, order, amount=None):
    """By hand, and no webhook tells of it."""
    payment = payment_of(shop, order)
    with shop.world.webhooks(service=provider.name, mode="drop"):
        provider.capture(payment.reference, amount or payment.amount, final=True, key=new_key())
    return payment


def ship(shop, order, quantity):
    lines = [{"line_id": line["id"], "quantity": quantity} for line in order["lines"]]
    body = {"lines": lines, "carrier": "ups", "tracking_number": f"1Z{new_key()}"}
    return shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, shop.bearer(Role.WAREHOUSE))


def status(shop, order):
    return shop.get(f"/v1/orders/{order['id']}", shop.bearer(Role.SUPPORT)).json()["status"]


def charged(shop, provider, payment):
    return provider.retrieve(payment.reference).captured.amount


class TestCapturedBeforeTheParcel:
    @pytest.mark.parametrize("parcels", [[2], [1, 1]])
    def test_is_the_parcels_money(self, shop, world, provider, order, parcels):
        payment = capture(shop, provider, order)
        for quantity in parcels:
            answer = ship(shop, order, quantity)
            assert answer.status_code == 201, answer.text
        assert status(shop, order) == "shipped"
        assert balances(shop, order) == {"provider_balance": payment.amount, "sales": -payment.amount}
        assert charged(shop, provider, payment) == payment.amount
        assert not [mail for mail in world.mail(order["buyer"].email) if "did not work" in mail["subject"]]
        assert shop.tasks(order["id"]) == []
        reconcile(shop)
        assert differences(shop, order["id"]) == []

    def test_another_amount_is_for_a_person(self, shop, world, provider, order):
        payment = capture(shop, provider, order, amount=100)
        answer = ship(shop, order, 2)
        assert (answer.status_code, slug(answer)) == (409, "capture-differs")
        assert shop.tasks(order["id"]) == ["capture-differs"]
        assert status(shop, order) == "processing"
        assert not [mail for mail in world.mail(order["buyer"].email) if "did not work" in mail["subject"]]
        assert charged(shop, provider, payment) == 100


class TestCapturedWhileItsPaymentIsRetried:
    """The issuer declined the capture; then somebody captured it at the provider."""

    @pytest.fixture
    def failed(self, shop):
        """Its payment can't be voided at first."""
        found = Failed(shop, shop.sku(stock=5), save=False)
        reference = found.payments()[0].reference
        cancel = {"path": f"/v1/payment_intents/{reference}/cancel"}
        outcomes = [{"kind": "status_before", "status": 503}]
        shop.world.post("/script", service="stripe", match=cancel, outcomes=outcomes, forever=True)
        found.refuse()
        yield found
        shop.world.forget_scripts()

    @pytest.fixture
    def stripe(self, shop):
        return StripeGateway("sk_test_sandbox", base=shop.world.url)

    def test_no_other_method_is_charged(self, shop, stripe, failed):
        payment = capture(shop, stripe, failed.order)
        shop.world.forget_scripts()
        eventually(lambda: failed.retry()["gives_up_at"])
        assert shop.tasks(failed.id) == ["capture-differs"]
        answer = failed.pay()
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")
        assert len(failed.live()) == 1
        reconcile(shop)
        failed.ended("paid")
        assert failed.status == "processing"
        assert failed.ship().status_code == 201
        assert charged(shop, stripe, payment) == payment.amount
        assert balances(shop, failed.order) == {"provider_balance": payment.amount, "sales": -payment.amount}

    def test_an_order_that_is_paid_already_is_not_charged(self, shop, failed):
        """As an earlier version left it: the capture is recorded and the order waits."""
        shop.world.forget_scripts()
        failed.waits_for("new_method")
        (payment,) = failed.payments()
        record_capture(shop, failed, payment)
        assert failed.pay().status_code == 200
        failed.ended("paid")
        assert failed.status == "processing"
        assert len(failed.payments()) == 1


def record_capture(shop, failed, payment):
    """The event of a capture by hand."""
    amount = Money.of(payment.amount, payment.currency).model_dump()
    database = Database(shop.settings.database, pool_size=1)
    with database.transaction() as connection:
        stored, now = lock_order(connection, failed.id)
        fact = {"payment_id": payment.id, "shipment_id": None, "amount": amount}
        append(connection, stored.order, [(orders.PAYMENT_CAPTURED, fact)], now=now, actor=SYSTEM, cause="test")
    database.close()
    shop.sql("UPDATE payments SET captured = amount, state = 'captured' WHERE id = :id", id=payment.id)
