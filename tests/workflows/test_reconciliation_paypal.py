"""What happens at PayPal behind our back: its list names transactions, of which we have to find the orders."""

from __future__ import annotations

import pytest

from activities.gateways.paypal.client import PayPalClient
from activities.gateways.paypal.payments import PayPalGateway
from models.accounts.access import Role
from models.ids import new_id
from models.money import Money
from models.payments.provider import AuthorisationRequest, ProviderPaymentStatus
from models.payments.reconciliation import RunState
from sandbox.config import SandboxConfig
from tests.fixtures.parcels import ship
from tests.fixtures.paypal import approve, held, waiting
from tests.fixtures.reconciliation import balances, differences, payment_of, reconcile
from tests.fixtures.shop import eventually, new_key


@pytest.fixture(scope="module")
def gateway(shop):
    """PayPal's own API: whoever has the secret can do everything behind our back."""
    config = SandboxConfig()
    gateway = PayPalGateway(
        config.paypal_client_id,
        config.paypal_client_secret,
        base=f"{shop.world.url}/paypal",
        webhook_id="",
        return_to=shop.url,
        timeout=5.0,
    )
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def paypal(shop):
    config = SandboxConfig()
    client = PayPalClient(config.paypal_client_id, config.paypal_client_secret, f"{shop.world.url}/paypal", 5.0)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def no_webhooks(world):
    """Each is lost: only the list tells."""
    with world.webhooks("paypal", mode="drop"):
        yield


@pytest.fixture
def bought(shop, world):
    """The order of a buyer who came back from PayPal's page, and the buyer."""

    def buy_one(quantity=1):
        buyer = shop.buyer(quantity=quantity)
        checkout_id = waiting(buyer)
        approve(world, buyer)
        answer = buyer.resume(checkout_id)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()["order"], buyer

    return buy_one


def authorise(gateway, world, metadata):
    """A promise that no process of ours has asked for; PayPal's order."""
    made = gateway.authorise(AuthorisationRequest(Money.of(4_200, "USD"), "paypal", metadata, new_id("key")))
    world.post(f"/paypal/orders/{made.reference}/approve", result="success")
    assert gateway.complete(made.reference, new_id("key")).state is ProviderPaymentStatus.AUTHORISED
    return made.reference


def captures(world, buyer):
    (order,) = held(world, buyer)
    return order["paypal"]["purchase_units"][0]["payments"]["captures"]


def give(shop, order, **what):
    """A refund of ours."""
    headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
    answer = shop.post(f"/v1/support/orders/{order['id']}/refunds", {"reason": "late", **what}, headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def refunds(shop, order):
    """(status, amount), oldest first."""
    shown = shop.get(f"/v1/orders/{order['id']}", shop.bearer(Role.SUPPORT)).json()
    return [(refund["status"], refund["amount"]["amount"]) for refund in shown["refunds"]]


def give_by_hand(world, paypal, buyer, amount, capture=0):
    """As at PayPal's own page: without a word of ours."""
    name = captures(world, buyer)[capture]["id"]
    value = {"currency_code": "USD", "value": f"{amount / 100:.2f}"}
    options = {"capture_id": name, "body": {"amount": value}, "paypal_request_id": new_id("key")}
    return paypal.call(lambda sdk: sdk.payments.refund_captured_payment, options)["id"]


def test_where_nothing_happened_there_is_no_difference(shop, world, bought):
    order, _ = bought(2)
    ship(shop, order, 1)
    waiting(shop.buyer())
    assert set(reconcile(shop).values()) == {RunState.DONE}
    assert differences(shop, order["id"]) == []


def test_an_authorisation_whose_checkout_has_ended_is_voided(shop, world, gateway):
    buyer = shop.buyer()
    declined = buyer.checkout("pm_card_visa_chargeDeclined").json()["checkout_id"]
    reference = authorise(gateway, world, {"checkout_id": declined, "cart_id": buyer.cart_id, "attempt": "9"})
    reconcile(shop)
    assert gateway.retrieve(reference).state is ProviderPaymentStatus.CANCELLED
    ((order_id,),) = shop.sql("SELECT order_id FROM checkouts WHERE id = :id", id=declined)
    assert differences(shop, order_id) == [("orphaned-authorisation", "healed")]


def test_a_capture_by_hand_is_written_down(shop, gateway, bought):
    order, _ = bought()
    total = order["totals"]["total"]["amount"]
    gateway.capture(payment_of(shop, order).reference, total, final=True, key=new_id("key"))
    reconcile(shop)
    assert differences(shop, order["id"]) == [("capture-unrecorded", "healed")]
    assert balances(shop, order) == {"provider_balance": total, "sales": -total}


def test_a_refund_by_hand_becomes_the_orders(shop, world, paypal, bought):
    order, buyer = bought()
    ship(shop, order)
    give_by_hand(world, paypal, buyer, 700)
    reconcile(shop)
    assert differences(shop, order["id"]) == [("refund-unrecorded", "healed")]
    eventually(lambda: balances(shop, order)["sales"] == 700 - order["totals"]["total"]["amount"])
    reconcile(shop)
    assert differences(shop, order["id"]) == [("refund-unrecorded", "healed")]


def test_beside_a_refund_of_ours_that_two_captures_gave_only_the_hands_is_new(shop, world, paypal, bought):
    order, buyer = bought(2)
    first, second = (ship(shop, order, 1)["captured"]["amount"] for _ in range(2))
    ours = first + 100  # the second one's part would find room a second time
    give(shop, order, amount={"amount": ours, "currency": "USD"})
    eventually(lambda: refunds(shop, order) == [("succeeded", ours)])
    give_by_hand(world, paypal, buyer, 300, capture=-1)
    reconcile(shop)
    assert differences(shop, order["id"]) == [("refund-unrecorded", "healed")]
    eventually(lambda: refunds(shop, order) == [("succeeded", ours), ("succeeded", 300)])
    assert balances(shop, order)["sales"] == 400 - second


def test_a_refund_that_was_listed_as_it_waited_and_then_failed_gave_nothing(shop, world, bought):
    order, buyer = bought()
    ship(shop, order)
    match = {"path": "/paypal/v2/payments/captures", "method": "POST", "metadata": {"cart_id": buyer.cart_id}}
    world.post("/script", service="paypal", match=match, outcomes=[{"kind": "refund_status", "status": "pending"}])
    give(shop, order, amount={"amount": 700, "currency": "USD"})
    eventually(lambda: held(world, buyer)[0]["amount_refunded"] == 700)
    reconcile(shop)
    assert differences(shop, order["id"]) == []
    (waits,) = [one for one in world.get("/paypal/refunds") if one["order_id"] == held(world, buyer)[0]["id"]]
    world.post("/webhooks", service="paypal")
    world.post(f"/paypal/refunds/{waits['id']}/settle", status="failed")
    eventually(lambda: refunds(shop, order) == [("failed", 700)])
    reconcile(shop)
    assert differences(shop, order["id"]) == []


def test_a_dispute_is_a_persons_as_the_list_does_not_name_it(shop, world, bought):
    order, buyer = bought()
    ship(shop, order)
    world.post(f"/paypal/captures/{captures(world, buyer)[0]['id']}/dispute")
    reconcile(shop)
    assert differences(shop, order["id"]) == [("dispute-unrecorded", "open")]
    assert shop.tasks(order["id"]) == ["dispute-unrecorded"]


def test_a_payment_that_is_not_ours_is_a_persons(shop, world, gateway):
    taken, promised = (authorise(gateway, world, {"checkout_id": "none", "attempt": "1"}) for _ in range(2))
    gateway.capture(taken, 4_200, final=True, key=new_id("key"))
    reconcile(shop)
    assert shop.tasks(taken) == ["unknown-payment"]
    assert shop.tasks(promised) == ["unknown-payment"]
    gateway.cancel(promised)
