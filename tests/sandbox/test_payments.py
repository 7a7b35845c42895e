"""PaymentIntents through Stripe's own SDK: charged, declined, authenticated, captured, cancelled."""

from typing import Any

import pytest
import stripe

MULTI = {"capture_method": "manual", "payment_method_options": {"card": {"request_multicapture": "if_available"}}}


def test_a_confirmed_payment_is_charged_at_once(sandbox: Any) -> None:
    intent = sandbox.intent(metadata={"checkout_id": "co_1"})

    assert (intent.status, intent.amount_received, intent.amount_capturable) == ("succeeded", 1000, 0)
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    charge = sandbox.client().v1.charges.retrieve(intent.latest_charge, {"expand": ["balance_transaction"]})
    assert (charge.captured, charge.amount_captured, charge.payment_method_details.card.last4) == (True, 1000, "4242")
    assert (charge.balance_transaction.amount, charge.balance_transaction.fee) == (1000, 59)
    [truth] = sandbox.seen("/stripe/payment_intents")
    expected = {"id": intent.id, "amount": 1000, "currency": "eur", "amount_received": 1000, "amount_refunded": 0}
    assert expected.items() <= truth.items()
    assert (truth["status"], truth["metadata"]) == ("succeeded", {"checkout_id": "co_1"})


def test_the_steps_can_be_taken_one_by_one(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    bare = intents.create({"amount": 500, "currency": "usd"})
    assert bare.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method") as refused:
        intents.confirm(bare.id)
    assert refused.value.code == "payment_intent_unexpected_state"

    updated = intents.update(
        bare.id,
        {"amount": 700, "currency": "gbp", "payment_method": "pm_card_mastercard", "metadata": {"a": "1", "b": "2"}},
    )
    assert (updated.status, updated.amount, updated.currency) == ("requires_confirmation", 700, "gbp")
    assert intents.update(bare.id, {"metadata": {"a": ""}}).metadata.to_dict() == {"b": "2"}
    assert intents.confirm(bare.id).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="cannot update") as late:
        intents.update(bare.id, {"amount": 1})
    assert late.value.code == "payment_intent_unexpected_state"
    assert intents.update(bare.id, {"metadata": ""}).metadata.to_dict() == {}


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_visa_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
def test_cards_that_decline(sandbox: Any, method: str, code: str, decline_code: str) -> None:
    with pytest.raises(stripe.CardError) as declined:
        sandbox.intent(payment_method=method)

    assert (declined.value.http_status, declined.value.code) == (402, code)
    assert declined.value.error.decline_code == decline_code
    intent = sandbox.client().v1.payment_intents.retrieve(declined.value.error.payment_intent.id)
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.decline_code == decline_code
    assert sandbox.client().v1.charges.retrieve(intent.latest_charge).status == "failed"
    assert (
        sandbox.client().v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_amex"}).status == "succeeded"
    )


def test_authorise_now_and_capture_a_part_later(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(capture_method="manual")
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 1000, 0)

    captured = intents.capture(intent.id, {"amount_to_capture": 600, "metadata": {"shipment": "1"}})

    assert (captured.status, captured.amount_capturable, captured.amount_received) == ("succeeded", 0, 600)
    charge = sandbox.client().v1.charges.retrieve(captured.latest_charge)
    assert (charge.amount_captured, charge.amount_refunded) == (600, 400)
    with pytest.raises(stripe.InvalidRequestError) as again:
        intents.capture(intent.id)
    assert again.value.code == "payment_intent_unexpected_state"
    assert again.value.error.payment_intent.status == "succeeded"


def test_capture_is_manual_when_only_the_card_options_say_so(sandbox: Any) -> None:
    intent = sandbox.intent(payment_method_options={"card": {"capture_method": "manual"}})

    assert intent.status == "requires_capture"


def test_multicapture(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(**MULTI)

    first = intents.capture(intent.id, {"amount_to_capture": 300, "final_capture": False})
    assert (first.status, first.amount_capturable, first.amount_received) == ("requires_capture", 700, 300)
    with pytest.raises(stripe.InvalidRequestError) as too_much:
        intents.capture(intent.id, {"amount_to_capture": 701})
    assert (too_much.value.code, too_much.value.param) == ("amount_too_large", "amount_to_capture")
    last = intents.capture(intent.id, {"amount_to_capture": 200})
    assert (last.status, last.amount_capturable, last.amount_received) == ("succeeded", 0, 500)

    sandbox.eventually(lambda: len(sandbox.shop.types) == 6)
    assert sandbox.shop.types == [
        "payment_intent.created",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]


def test_multicapture_has_to_be_asked_for_and_ends(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    plain = sandbox.intent(capture_method="manual")
    with pytest.raises(stripe.InvalidRequestError, match="multicapture"):
        intents.capture(plain.id, {"amount_to_capture": 1, "final_capture": False})

    many = sandbox.intent(**MULTI)
    for _ in range(49):
        intents.capture(many.id, {"amount_to_capture": 1, "final_capture": False})
    with pytest.raises(stripe.InvalidRequestError, match="50 times"):
        intents.capture(many.id, {"amount_to_capture": 1, "final_capture": False})
    assert intents.capture(many.id).amount_received == 1000


def test_over_capture_and_capture_after_cancel_are_refused(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(capture_method="manual")
    with pytest.raises(stripe.InvalidRequestError) as over:
        intents.capture(intent.id, {"amount_to_capture": 1001})
    assert over.value.code == "amount_too_large"

    canceled = intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.amount_capturable, canceled.cancellation_reason) == ("canceled", 0, "abandoned")
    assert sandbox.client().v1.charges.retrieve(intent.latest_charge).refunded
    for act in (intents.capture, intents.confirm, intents.cancel):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            act(intent.id)
        assert (refused.value.http_status, refused.value.code) == (400, "payment_intent_unexpected_state")


def test_cancel_after_a_partial_capture_keeps_what_was_captured(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(**MULTI)
    intents.capture(intent.id, {"amount_to_capture": 300, "final_capture": False})

    canceled = intents.cancel(intent.id)

    assert (canceled.status, canceled.amount_received, canceled.amount_capturable) == ("canceled", 300, 0)
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.client().v1.refunds.create({"payment_intent": intent.id, "amount": 301})
    assert sandbox.client().v1.refunds.create({"payment_intent": intent.id}).amount == 300


def test_a_succeeded_payment_cannot_be_cancelled(sandbox: Any) -> None:
    intent = sandbox.intent()

    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        sandbox.client().v1.payment_intents.cancel(intent.id)


@pytest.mark.parametrize("method", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"])
@pytest.mark.parametrize(("capture", "status"), [("automatic", "succeeded"), ("manual", "requires_capture")])
def test_3d_secure_passed(sandbox: Any, method: str, capture: str, status: str) -> None:
    intent = sandbox.intent(payment_method=method, capture_method=capture)
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    assert intent.latest_charge is None

    seen = sandbox.control(f"/stripe/payment_intents/{intent.id}/authenticate", {"result": "success"})

    assert seen["status"] == status
    assert sandbox.client().v1.payment_intents.retrieve(intent.id).next_action is None


def test_3d_secure_failed_and_tried_again(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(payment_method="pm_card_authenticationRequired")
    sandbox.control(f"/stripe/payment_intents/{intent.id}/authenticate", {"result": "failure"})

    failed = intents.retrieve(intent.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    again = sandbox.http.post(
        f"{sandbox.url}/_sandbox/stripe/payment_intents/{intent.id}/authenticate", json={"result": "success"}
    )
    assert again.status_code == 400
    assert intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    sandbox.eventually(lambda: "payment_intent.succeeded" in sandbox.shop.types)
    assert sandbox.shop.types == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
    ]


def test_3d_secure_by_redirect(sandbox: Any) -> None:
    back = "http://shop.test/return?cart=1"
    intent = sandbox.intent(payment_method="pm_card_threeDSecure2Required", return_url=back)
    url = intent.next_action.redirect_to_url.url
    assert (intent.next_action.type, intent.next_action.redirect_to_url.return_url) == ("redirect_to_url", back)

    assert "Approve this 3-D Secure" in sandbox.http.get(url).text
    approve = f"{sandbox.url}/_sandbox/stripe/payment_intents/{intent.id}/authenticate"
    answer = sandbox.http.post(approve, data={"result": "success", "then": f"/3ds/{intent.id}"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/3ds/{intent.id}")
    returned = sandbox.http.get(url).headers["location"]
    assert returned.startswith(f"{back}&payment_intent={intent.id}")
    assert returned.endswith("redirect_status=succeeded")


def test_the_bank_can_know_the_buyer_and_still_decline(sandbox: Any) -> None:
    method = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"
    intent = sandbox.intent(payment_method=method)

    seen = sandbox.control(f"/stripe/payment_intents/{intent.id}/authenticate", {"result": "success"})

    assert (seen["status"], seen["last_payment_error"]["decline_code"]) == (
        "requires_payment_method",
        "insufficient_funds",
    )


@pytest.mark.parametrize("how", [{"off_session": True}, {"error_on_requires_action": True}])
def test_nobody_is_there_to_authenticate(sandbox: Any, how: dict[str, bool]) -> None:
    with pytest.raises(stripe.CardError) as declined:
        sandbox.intent(payment_method="pm_card_authenticationRequired", **how)

    assert (declined.value.code, declined.value.error.decline_code) == (
        "authentication_required",
        "authentication_required",
    )


def test_a_challenge_can_be_demanded_of_any_card(sandbox: Any) -> None:
    intent = sandbox.intent(payment_method_options={"card": {"request_three_d_secure": "challenge"}})
    assert intent.status == "requires_action"

    changed = sandbox.client().v1.payment_intents.update(intent.id, {"amount": 2000})
    assert (changed.status, changed.next_action) == ("requires_confirmation", None)


def test_a_disputed_card(sandbox: Any) -> None:
    client = sandbox.client()
    intent = sandbox.intent(payment_method="pm_card_createDispute", capture_method="manual")
    assert client.v1.disputes.list().data == []
    client.v1.payment_intents.capture(intent.id)

    [dispute] = client.v1.disputes.list({"payment_intent": intent.id}).data
    assert (dispute.status, dispute.amount, dispute.charge) == ("needs_response", 1000, intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    won = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert (won.status, [entry.amount for entry in won.balance_transactions]) == ("won", [-1000, 1000])
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(dispute.id)
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "succeeded"
    sandbox.eventually(lambda: "charge.dispute.closed" in sandbox.shop.types)


def test_a_dispute_given_up(sandbox: Any) -> None:
    client = sandbox.client()
    sandbox.intent(payment_method="pm_card_createDispute")
    [dispute] = client.v1.disputes.list().data
    client.v1.disputes.update(dispute.id, {"metadata": {"seen": "1"}, "submit": False})

    assert client.v1.disputes.close(dispute.id).status == "lost"
    assert client.v1.disputes.retrieve(dispute.id).metadata.to_dict() == {"seen": "1"}


def test_an_authorisation_expires_with_the_clock(sandbox: Any) -> None:
    intent = sandbox.intent(capture_method="manual")
    sandbox.control("/clock", {"advance_s": 6 * 86_400})
    assert sandbox.client().v1.payment_intents.retrieve(intent.id).status == "requires_capture"
    sandbox.control("/clock", {"advance_s": 86_400})

    expired = sandbox.client().v1.payment_intents.retrieve(intent.id)
    assert (expired.status, expired.cancellation_reason) == ("canceled", "expired")
    sandbox.eventually(lambda: "payment_intent.canceled" in sandbox.shop.types)


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": None}, "parameter_missing", "amount"),
        ({"currency": None}, "parameter_missing", "currency"),
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"amount": -5}, "parameter_invalid_integer", "amount"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"currency": "xxx"}, None, "currency"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"shipping": {"planet": "Mars"}}, "parameter_unknown", "shipping[planet]"),
        ({"shipping": "Mars"}, None, "shipping"),
        ({"confirm": "perhaps"}, None, "confirm"),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"description": {"a": "b"}}, None, "description"),
        ({"description": "x" * 5001}, "parameter_invalid_string_blank", "description"),
        ({"metadata": "x"}, "parameter_invalid_empty", "metadata"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"expand": "latest_charge"}, "parameter_invalid_empty", "expand"),
        ({"confirm": False, "off_session": True}, "parameter_unknown", "off_session"),
        ({"off_session": True, "setup_future_usage": "off_session"}, None, "off_session"),
        ({"customer": "cus_none"}, "resource_missing", "customer"),
        ({"payment_method": "pm_none"}, "resource_missing", "payment_method"),
        ({"payment_method_types": ["card"]}, "payment_method_types_no_longer_supported", "payment_method_types"),
        ({"payment_method": None, "payment_method_data": {"type": "ideal"}}, None, "type"),
    ],
)
def test_parameters_are_checked(sandbox: Any, params: dict[str, Any], code: str | None, param: str) -> None:
    usual = {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa", **params}

    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.client().v1.payment_intents.create({key: value for key, value in usual.items() if value is not None})

    assert (refused.value.code, refused.value.param) == (code, param)
    assert sandbox.seen("/stripe/payment_intents") == []


def test_older_api_versions_still_name_payment_method_types(sandbox: Any) -> None:
    client = sandbox.client()
    params = {"amount": 1000, "currency": "eur", "payment_method_types": ["card"]}

    assert client.v1.payment_intents.create(params, {"stripe_version": "2025-09-30.clover"}).id


@pytest.mark.parametrize(("currency", "amount"), [("jpy", 500), ("bhd", 1230), ("EUR", 100)])
def test_currencies_of_any_exponent_are_plain_minor_units(sandbox: Any, currency: str, amount: int) -> None:
    intent = sandbox.intent(currency=currency, amount=amount)

    assert (intent.currency, intent.amount_received) == (currency.lower(), amount)


def test_confirming_another_amount_is_refused(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(confirm=False)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        intents.confirm(intent.id, {"amount_to_confirm": 999})
    assert refused.value.param == "amount_to_confirm"
    assert intents.confirm(intent.id, {"amount_to_confirm": 1000}).status == "succeeded"


@pytest.mark.parametrize("key", ["sk_live_1", "pk_test_1"])
def test_only_test_secret_keys_are_let_in(sandbox: Any, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError):
        sandbox.client(key=key).v1.payment_intents.list()


def test_basic_authentication_and_none_at_all(sandbox: Any) -> None:
    url = f"{sandbox.url}/v1/customers"

    assert sandbox.http.get(url, auth=("sk_test_1", "")).status_code == 200
    assert sandbox.http.get(url).json()["error"]["type"] == "invalid_request_error"
    assert sandbox.http.get(url, headers={"authorization": "Basic %%%"}).status_code == 401


def test_unknown_urls_and_objects(sandbox: Any) -> None:
    unknown = sandbox.http.post(f"{sandbox.url}/v1/payouts", headers={"authorization": "Bearer sk_test_1"})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "invalid_request_error")

    with pytest.raises(stripe.InvalidRequestError) as missing:
        sandbox.client().v1.payment_intents.retrieve("pi_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
