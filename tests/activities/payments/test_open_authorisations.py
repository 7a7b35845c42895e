"""An order's money at the provider: a parcel is captured once, and what nobody captures is released once."""

from __future__ import annotations

import pytest

from models.errors import AuthorisationGone, CaptureRefused, OutcomeUnknown, ProviderUnavailable, Refusal
from models.orders.commands import ReleaseAuthorisation
from models.payments.provider import ProviderPaymentStatus


@pytest.fixture
def order(steps):
    return steps.place(quantity=2)


@pytest.fixture
def parcel(steps, order):
    """Of one of its two units: the command that captures for it."""
    command = steps.parcel(order, 1)
    return steps.capture(command, steps.fulfilment.plan_shipment(command))


@pytest.fixture
def capture(steps):
    def act(command, attempt=1):
        return steps.run(steps.order_payments.capture_payment, command, attempt=attempt)

    return act


@pytest.fixture
def intent(sandbox):
    def read(order):
        (found,) = [each for each in sandbox.seen("/stripe/payment_intents") if each["id"] == order.reference]
        return found

    return read


@pytest.fixture
def captures(sandbox):
    """How often the provider was asked to capture."""

    def count(order):
        calls = sandbox.seen("/calls?service=stripe")
        return len([call for call in calls if call["path"] == f"/v1/payment_intents/{order.reference}/capture"])

    return count


def script(sandbox, order, step, outcome):
    sandbox.script(outcome, path=f"/v1/payment_intents/{order.reference}/{step}", method="POST")


class TestCapturePayment:
    def test_takes_the_parcels_share_once(self, order, parcel, capture, intent):
        for _ in range(2):
            held = capture(parcel)
            assert (held.state, held.captured) == (ProviderPaymentStatus.AUTHORISED, parcel.amount)
        found = intent(order)
        assert found["amount_received"] == parcel.amount.amount
        assert found["amount_capturable"] == order.held.total.amount - parcel.amount.amount

    def test_a_second_attempt_looks_before_it_asks(self, order, parcel, capture, captures):
        capture(parcel)
        assert capture(parcel, attempt=2).captured == parcel.amount
        assert capture(parcel.model_copy(update={"retrieve_first": True})).captured == parcel.amount
        assert captures(order) == 1

    @pytest.mark.parametrize("kind", ["reset_connection_before", "reset_connection_after", "timeout_after"])
    def test_a_lost_answer_is_looked_up(self, sandbox, order, parcel, capture, intent, kind):
        script(sandbox, order, "capture", {"kind": kind})
        with pytest.raises(OutcomeUnknown):
            capture(parcel)
        assert capture(parcel, attempt=2).captured == parcel.amount
        assert intent(order)["amount_received"] == parcel.amount.amount

    @pytest.mark.parametrize("kind", ["status_before", "status_after"])
    def test_an_error_kept_under_the_key_is_looked_up_and_another_key_used(
        self, sandbox, order, parcel, capture, intent, captures, kind
    ):
        script(sandbox, order, "capture", {"kind": kind, "status": 500})
        assert capture(parcel).captured == parcel.amount
        assert intent(order)["amount_received"] == parcel.amount.amount
        assert captures(order) == (2 if kind == "status_before" else 1)

    def test_a_provider_that_takes_no_request_is_certain(self, sandbox, order, parcel, capture, intent):
        script(sandbox, order, "capture", {"kind": "status_before", "status": 429})
        with pytest.raises(ProviderUnavailable):
            capture(parcel)
        assert intent(order)["amount_received"] == 0

    def test_a_decline_is_certain(self, sandbox, order, parcel, capture, intent):
        script(sandbox, order, "capture", {"kind": "decline", "code": "insufficient_funds"})
        with pytest.raises(CaptureRefused) as refused:
            capture(parcel)
        assert refused.value.extra["decline_code"] == "insufficient_funds"
        assert Refusal.of(refused.value).certain
        assert intent(order)["amount_received"] == 0

    def test_an_authorisation_that_is_gone_is_certain(self, sandbox, order, parcel, capture, intent):
        sandbox.client().v1.payment_intents.cancel(order.reference)
        with pytest.raises(AuthorisationGone) as gone:
            capture(parcel)
        assert Refusal.of(gone.value).certain
        assert intent(order)["amount_received"] == 0


class TestReleaseAuthorisation:
    @pytest.fixture
    def release(self, steps):
        return lambda order: steps.order_payments.release_authorisation(ReleaseAuthorisation(order_id=order.id))

    def payment(self, steps, order):
        (row,) = steps.sql("SELECT state, captured, released FROM payments WHERE id = :id", id=order.payment_id)
        return tuple(row)

    def test_voids_all_of_it_once(self, steps, order, release, intent):
        total = order.held.total.amount
        assert [release(order), release(order)] == [total, 0]
        assert intent(order)["status"] == "canceled"
        assert self.payment(steps, order) == ("voided", 0, total)
        assert steps.entries(order.payment_id) == ["authorise", "void"]

    def test_keeps_what_a_parcel_has_taken(self, steps, order, release, intent):
        steps.ship(order, 1)
        taken = intent(order)["amount_received"]
        assert [release(order), release(order)] == [order.held.total.amount - taken, 0]
        found = intent(order)
        assert (found["amount_received"], found["amount_refunded"], found["amount_capturable"]) == (taken, 0, 0)
        assert self.payment(steps, order) == ("captured", taken, order.held.total.amount - taken)

    def test_refunds_what_was_captured_without_us(self, sandbox, order, release, intent):
        sandbox.client().v1.payment_intents.capture(order.reference)
        release(order)
        assert intent(order)["amount_refunded"] == order.held.total.amount

    def test_a_lost_answer_is_one_release(self, steps, sandbox, order, release, intent):
        script(sandbox, order, "cancel", {"kind": "reset_connection_after"})
        with pytest.raises(OutcomeUnknown):
            release(order)
        assert steps.entries(order.payment_id) == ["authorise"]
        assert release(order) == order.held.total.amount
        assert intent(order)["status"] == "canceled"
        assert steps.entries(order.payment_id) == ["authorise", "void"]
