"""Refunds: never more than was captured, sometimes late, sometimes never."""

from typing import Any

import pytest
import stripe


def test_in_parts_until_nothing_is_left(sandbox: Any) -> None:
    refunds = sandbox.client().v1.refunds
    intent = sandbox.intent()
    first = refunds.create({"payment_intent": intent.id, "amount": 400, "metadata": {"why": "late"}})
    assert (first.status, first.amount, first.charge) == ("succeeded", 400, intent.latest_charge)

    with pytest.raises(stripe.InvalidRequestError) as over:
        refunds.create({"payment_intent": intent.id, "amount": 601})
    assert (over.value.code, over.value.param) == ("amount_too_large", "amount")
    assert refunds.create({"charge": intent.latest_charge, "reason": "duplicate"}).amount == 600
    with pytest.raises(stripe.InvalidRequestError) as done:
        refunds.create({"payment_intent": intent.id, "amount": 1})
    assert done.value.code == "charge_already_refunded"

    [truth] = sandbox.seen("/stripe/payment_intents")
    assert (truth["amount_received"], truth["amount_refunded"]) == (1000, 1000)
    assert [one["amount_refunded"] for one in sandbox.seen("/stripe/refunds")] == [400, 600]
    assert sandbox.client().v1.charges.retrieve(intent.latest_charge).refunded
    assert [one.amount for one in refunds.list({"payment_intent": intent.id}).data] == [600, 400]
    entry = sandbox.client().v1.balance_transactions.retrieve(first.balance_transaction)
    assert (entry.amount, entry.type, entry.source) == (-400, "refund", first.id)
    sandbox.eventually(lambda: sandbox.shop.types.count("charge.refunded") == 2)
    assert sandbox.shop.types.count("refund.created") == 2


def test_what_was_never_captured_cannot_be_refunded(sandbox: Any) -> None:
    refunds = sandbox.client().v1.refunds
    intent = sandbox.intent(capture_method="manual")

    for target in ({"payment_intent": intent.id}, {"charge": intent.latest_charge}):
        with pytest.raises(stripe.InvalidRequestError):
            refunds.create(target)
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        refunds.create({"amount": 1})
    assert nothing.value.code == "parameter_missing"
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        refunds.create({"payment_intent": "pi_none"})
    assert unknown.value.code == "resource_missing"


def test_after_a_partial_capture_only_that_part_returns(sandbox: Any) -> None:
    client = sandbox.client()
    intent = sandbox.intent(capture_method="manual")
    client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 300})

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 301})
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 300


@pytest.mark.parametrize(
    ("method", "script"),
    [("pm_card_pendingRefund", None), ("pm_card_visa", {"kind": "refund_status", "status": "pending"})],
)
def test_a_refund_that_takes_its_time(sandbox: Any, method: str, script: Any) -> None:
    client = sandbox.client()
    intent = sandbox.intent(payment_method=method)
    if script:
        sandbox.script(script)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert (refund.status, refund.balance_transaction) == ("pending", None)

    with pytest.raises(stripe.InvalidRequestError):  # it counts from the start
        client.v1.refunds.create({"payment_intent": intent.id})
    settled = sandbox.control(f"/stripe/refunds/{refund.id}/settle", {"status": "succeeded"})
    assert (settled["status"], settled["amount_refunded"]) == ("succeeded", 1000)
    assert client.v1.refunds.retrieve(refund.id).balance_transaction
    sandbox.eventually(lambda: "refund.updated" in sandbox.shop.types)


@pytest.mark.parametrize(
    ("method", "script"), [("pm_card_refundFail", None), ("pm_card_visa", {"kind": "refund_status", "code": "failed"})]
)
def test_a_refund_that_fails_gives_the_amount_back(sandbox: Any, method: str, script: Any) -> None:
    client = sandbox.client()
    intent = sandbox.intent(payment_method=method)
    if script:
        sandbox.script(script)
    refund = client.v1.refunds.create({"payment_intent": intent.id})

    assert (refund.status, refund.failure_reason) == ("failed", "expired_or_canceled_card")
    failure = client.v1.balance_transactions.retrieve(refund.failure_balance_transaction)
    assert failure.amount == 1000
    assert sandbox.seen("/stripe/payment_intents")[0]["amount_refunded"] == 0
    sandbox.eventually(lambda: "refund.failed" in sandbox.shop.types)
    again = sandbox.http.post(f"{sandbox.url}/_sandbox/stripe/refunds/{refund.id}/settle", json={"status": "succeeded"})
    assert again.status_code == 400


def test_a_refund_that_waits_for_the_buyer(sandbox: Any) -> None:
    client = sandbox.client()
    intent = sandbox.intent()
    sandbox.script({"kind": "refund_status", "status": "requires_action"}, repeat=2)
    first = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    second = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    assert (first.status, first.next_action.type) == ("requires_action", "display_details")

    assert client.v1.refunds.cancel(first.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.cancel(first.id)
    failed = sandbox.control(f"/stripe/refunds/{second.id}/settle", {"status": "failed", "failure_reason": "declined"})
    assert (failed["failure_reason"], failed["failure_balance_transaction"]) == ("declined", None)
    assert sandbox.seen("/stripe/payment_intents")[0]["amount_refunded"] == 0


def test_metadata_can_be_changed(sandbox: Any) -> None:
    client = sandbox.client()
    refund = client.v1.refunds.create({"payment_intent": sandbox.intent().id, "metadata": {"a": "1"}})

    assert client.v1.refunds.update(refund.id, {"metadata": {"b": "2"}}).metadata.to_dict() == {"a": "1", "b": "2"}
    assert client.v1.refunds.update(refund.id, {}).id == refund.id
