"""Customers, their payment methods, and cards kept for later."""

from typing import Any

import pytest
import stripe


@pytest.fixture
def customer(sandbox: Any) -> str:
    return str(sandbox.client().v1.customers.create({"email": "a@example.com", "name": "Ada"}).id)


def test_a_customers_life(sandbox: Any, customer: str) -> None:
    customers = sandbox.client().v1.customers
    card = sandbox.client().v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    updated = customers.update(
        customer, {"name": "", "metadata": {"tier": "gold"}, "invoice_settings": {"default_payment_method": card.id}}
    )
    assert (updated.name, updated.invoice_settings.default_payment_method) == (None, card.id)
    assert customers.search({"query": "metadata['tier']:'gold' AND email:'a@example.com'"}).data[0].id == customer
    assert customers.list({"email": "a@example.com"}).data[0].id == customer
    assert sandbox.seen("/stripe/customers")[0]["metadata"] == {"tier": "gold"}

    assert customers.delete(customer).deleted
    assert customers.retrieve(customer).deleted
    with pytest.raises(stripe.InvalidRequestError):
        customers.update(customer, {"name": "x"})
    with pytest.raises(stripe.InvalidRequestError) as gone:
        sandbox.intent(payment_method=card.id)
    assert "may not be used again" in str(gone.value)
    with pytest.raises(stripe.InvalidRequestError):
        customers.retrieve("cus_none")


def test_a_default_must_be_the_customers_own(sandbox: Any, customer: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.client().v1.customers.update(customer, {"invoice_settings": {"default_payment_method": "pm_none"}})

    assert refused.value.param == "invoice_settings[default_payment_method]"


def test_payment_methods_are_attached_listed_and_detached(sandbox: Any, customer: str) -> None:
    client = sandbox.client()
    card = client.v1.payment_methods.create(
        {"type": "card", "card": {"number": "4242 4242 4242 4242", "exp_month": 1, "exp_year": 2030}}
    )
    token = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_amex"}})
    client.v1.payment_methods.attach(card.id, {"customer": customer})
    client.v1.payment_methods.attach(token.id, {"customer": customer})
    client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": card.id}})

    listed = client.v1.payment_methods.list({"customer": customer}).data
    assert [one.card.brand for one in listed] == ["amex", "visa"]
    assert len(client.v1.customers.payment_methods.list(customer, {"limit": 1}).data) == 1
    assert client.v1.customers.payment_methods.retrieve(customer, card.id).id == card.id
    changed = client.v1.payment_methods.update(
        card.id,
        {
            "card": {"exp_year": 2040},
            "billing_details": {"name": "Ada"},
            "metadata": {"a": "1"},
            "allow_redisplay": "always",
        },
    )
    assert (changed.card.exp_year, changed.card.exp_month, changed.billing_details.name) == (2040, 1, "Ada")

    assert client.v1.payment_methods.detach(card.id).customer is None
    assert client.v1.customers.retrieve(customer).invoice_settings.default_payment_method is None
    for act in (
        lambda: client.v1.payment_methods.detach(card.id),
        lambda: client.v1.payment_methods.attach(card.id, {"customer": customer}),
        lambda: client.v1.customers.payment_methods.retrieve(customer, card.id),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            act()


def test_real_numbers_and_other_types_are_refused(sandbox: Any) -> None:
    methods = sandbox.client().v1.payment_methods

    with pytest.raises(stripe.InvalidRequestError) as number:
        methods.create({"type": "card", "card": {"number": "4000000000000000"}})
    assert number.value.code == "incorrect_number"
    with pytest.raises(stripe.InvalidRequestError):
        methods.create({"type": "ideal"})


def test_cards_that_always_decline_cannot_be_attached_but_one_can(sandbox: Any, customer: str) -> None:
    methods = sandbox.client().v1.payment_methods
    with pytest.raises(stripe.CardError):
        methods.attach("pm_card_visa_chargeDeclined", {"customer": customer})

    card = methods.attach("pm_card_chargeCustomerFail", {"customer": customer})
    with pytest.raises(stripe.CardError):
        sandbox.intent(customer=customer, payment_method=card.id)


def test_a_card_belongs_to_one_customer(sandbox: Any, customer: str) -> None:
    client = sandbox.client()
    other = client.v1.customers.create({"payment_method": "pm_card_visa"}).id
    [card] = client.v1.payment_methods.list({"customer": other}).data

    assert sandbox.intent(customer=other, payment_method=card.id, off_session=True).status == "succeeded"
    for whose in ({}, {"customer": customer}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            sandbox.intent(payment_method=card.id, **whose)
        assert refused.value.param == "payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        client.v1.payment_methods.attach(card.id, {"customer": customer})


def test_a_card_without_customer_pays_once(sandbox: Any) -> None:
    card = sandbox.intent().payment_method

    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        sandbox.intent(payment_method=card)


def test_a_payment_can_keep_its_card(sandbox: Any, customer: str) -> None:
    intent = sandbox.intent(customer=customer, setup_future_usage="off_session")

    assert sandbox.client().v1.payment_methods.retrieve(intent.payment_method).customer == customer
    assert sandbox.intent(customer=customer, payment_method=intent.payment_method).status == "succeeded"


def test_inline_card_data(sandbox: Any) -> None:
    data = {"type": "card", "card": {"token": "tok_visa"}, "billing_details": {"address": {"city": "Graz"}}}
    intent = sandbox.client().v1.payment_intents.create(
        {"amount": 1000, "currency": "eur", "confirm": True, "payment_method_data": data}
    )

    charge = sandbox.client().v1.charges.retrieve(intent.latest_charge)
    assert charge.billing_details.address.city == "Graz"


def test_a_setup_intent_keeps_a_card(sandbox: Any, customer: str) -> None:
    setups = sandbox.client().v1.setup_intents
    setup = setups.create({"customer": customer, "metadata": {"a": "1"}, "usage": "off_session"})
    assert setup.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        setups.confirm(setup.id)
    setups.update(setup.id, {"payment_method": "pm_card_visa", "metadata": {"b": "2"}, "customer": customer})

    done = setups.confirm(setup.id)

    assert (done.status, done.metadata.to_dict()) == ("succeeded", {"a": "1", "b": "2"})
    assert sandbox.intent(customer=customer, payment_method=done.payment_method, off_session=True).status == "succeeded"
    for act in (setups.confirm, setups.cancel, lambda name: setups.update(name, {"customer": customer})):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            act(setup.id)
        assert refused.value.code == "setup_intent_unexpected_state"
    assert setups.list({"customer": customer}).data[0].id == setup.id
    sandbox.eventually(lambda: "setup_intent.succeeded" in sandbox.shop.types)


@pytest.mark.parametrize(("result", "status"), [("success", "succeeded"), ("failure", "requires_payment_method")])
def test_a_setup_intent_with_3d_secure(sandbox: Any, customer: str, result: str, status: str) -> None:
    setups = sandbox.client().v1.setup_intents
    setup = setups.create(
        {
            "customer": customer,
            "confirm": True,
            "payment_method": "pm_card_threeDSecure2Required",
            "return_url": "http://x",
        }
    )
    assert setup.status == "requires_action"

    sandbox.control(f"/stripe/setup_intents/{setup.id}/authenticate", {"result": result})

    assert setups.retrieve(setup.id).status == status


def test_a_setup_intent_can_be_declined_and_cancelled(sandbox: Any) -> None:
    setups = sandbox.client().v1.setup_intents
    with pytest.raises(stripe.CardError) as declined:
        setups.create({"confirm": True, "payment_method": "pm_card_chargeDeclinedLostCard"})
    setup_id = declined.value.error.setup_intent.id
    sandbox.script({"kind": "decline", "code": "do_not_honor"})
    with pytest.raises(stripe.CardError) as scripted:
        setups.confirm(setup_id, {"payment_method_data": {"type": "card", "card": {"token": "tok_visa"}}})
    assert scripted.value.error.decline_code == "do_not_honor"

    assert setups.retrieve(setup_id).last_setup_error.decline_code == "do_not_honor"
    assert setups.cancel(setup_id, {"cancellation_reason": "abandoned"}).status == "canceled"


def test_the_control_api_shows_set_ups_and_cards(sandbox: Any, customer: str) -> None:
    setup = sandbox.client().v1.setup_intents.create(
        {"customer": customer, "confirm": True, "payment_method": "pm_card_visa", "metadata": {"a": "1"}}
    )

    (shown,) = sandbox.seen("/stripe/setup_intents")
    assert (shown["id"], shown["status"], shown["metadata"]) == (setup.id, "succeeded", {"a": "1"})
    (card,) = sandbox.seen("/stripe/payment_methods")
    assert (card["id"], card["customer"], "_card" in card) == (setup.payment_method, customer, False)
