"""A checkout's money at the provider: held once, looked up where the outcome is unknown, undone once."""

from __future__ import annotations

import pytest

from models.checkout.checkouts import FindPayment
from models.errors import OutcomeUnknown, PaymentMethodInvalid, ProviderUnavailable
from models.payments.provider import ProviderPaymentStatus
from tests.fixtures.steps import lately

INTENTS = {"path": "/v1/payment_intents", "method": "POST"}


@pytest.fixture
def begun(steps):
    """The click, the stock that it holds, and the command that authorises its payment."""

    def make(**changes):
        begin = steps.begin(steps.sku(), **changes)
        held = steps.checkouts.hold_stock(begin)
        return begin, held, steps.authorisation(begin, held)

    return make


@pytest.fixture
def intents(sandbox):
    """What Stripe holds for a checkout."""

    def read(begin):
        found = sandbox.seen("/stripe/payment_intents")
        return [intent for intent in found if intent["metadata"].get("checkout_id") == begin.checkout_id]

    return read


def find(begin, reference=None):
    return FindPayment(
        checkout_id=begin.checkout_id, attempt=1, provider=begin.provider, not_before=lately(), reference=reference
    )


class TestAuthorisePayment:
    def test_holds_the_total_once(self, steps, begun, intents):
        begin, held, command = begun()
        payments = [steps.payments.authorise_payment(command) for _ in range(2)]
        assert payments[0] == payments[1]
        assert (payments[0].state, payments[0].amount) == (ProviderPaymentStatus.AUTHORISED, held.total)
        (intent,) = intents(begin)
        assert (intent["amount_capturable"], intent["amount_received"]) == (held.total.amount, 0)
        names = ("order_id", "payment_id", "cart_id", "attempt")
        assert [intent["metadata"][name] for name in names] == [begin.order_id, held.payment_id, begin.cart_id, "1"]

    def test_a_decline_is_a_result(self, steps, begun, intents):
        begin, _, command = begun(method="pm_card_visa_chargeDeclinedInsufficientFunds")
        for _ in range(2):
            payment = steps.payments.authorise_payment(command)
            assert (payment.state, payment.decline_code) == (ProviderPaymentStatus.DECLINED, "insufficient_funds")
        assert [intent["amount_capturable"] for intent in intents(begin)] == [0]

    def test_a_method_that_the_provider_does_not_know_is_certain(self, steps, begun, intents):
        begin, _, command = begun(method="pm_none")
        with pytest.raises(PaymentMethodInvalid):
            steps.payments.authorise_payment(command)
        assert intents(begin) == []

    def test_a_provider_that_takes_no_request_is_certain(self, steps, begun, sandbox, intents):
        begin, _, command = begun()
        sandbox.script({"kind": "status_before", "status": 429}, **INTENTS)
        with pytest.raises(ProviderUnavailable):
            steps.payments.authorise_payment(command)
        assert intents(begin) == []


class TestResolvePaymentOutcome:
    @pytest.mark.parametrize("kind", ["reset_connection_before", "reset_connection_after", "timeout_after"])
    def test_a_lost_answer_is_one_authorisation(self, steps, begun, sandbox, intents, kind):
        begin, held, command = begun()
        sandbox.script({"kind": kind}, **INTENTS)
        with pytest.raises(OutcomeUnknown):
            steps.payments.authorise_payment(command)
        for _ in range(2):
            found = steps.payments.resolve_payment_outcome(command)
            assert (found.state, found.amount) == (ProviderPaymentStatus.AUTHORISED, held.total)
        assert [intent["id"] for intent in intents(begin)] == [found.reference]

    def test_a_lost_decline_is_a_decline(self, steps, begun, sandbox):
        _, _, command = begun(method="pm_card_visa_chargeDeclinedInsufficientFunds")
        sandbox.script({"kind": "reset_connection_after"}, **INTENTS)
        with pytest.raises(OutcomeUnknown):
            steps.payments.authorise_payment(command)
        found = steps.payments.resolve_payment_outcome(command)
        assert (found.state, found.decline_code) == (ProviderPaymentStatus.DECLINED, "insufficient_funds")

    def test_an_error_kept_under_the_key_is_a_certain_absence(self, steps, begun, sandbox, intents):
        begin, held, command = begun()
        sandbox.script({"kind": "status_before", "status": 500}, **INTENTS)
        with pytest.raises(OutcomeUnknown):
            steps.payments.authorise_payment(command)
        assert steps.payments.resolve_payment_outcome(command).state is ProviderPaymentStatus.ABSENT
        second = steps.payments.authorise_payment(steps.authorisation(begin, held, attempt=2))
        assert second.state is ProviderPaymentStatus.AUTHORISED
        assert [intent["id"] for intent in intents(begin)] == [second.reference]


class TestRetrievePayment:
    def test_by_reference_or_by_our_metadata(self, steps, begun):
        begin, _, command = begun()
        assert steps.payments.retrieve_payment(find(begin)).state is ProviderPaymentStatus.ABSENT
        made = steps.payments.authorise_payment(command)
        assert steps.payments.retrieve_payment(find(begin)) == made
        assert steps.payments.retrieve_payment(find(begin, made.reference)) == made


class TestCompletePayment:
    def test_holds_the_money_once_its_buyer_has_agreed(self, steps, begun, sandbox):
        begin, held, command = begun(provider="paypal", method="paypal")
        reference = steps.payments.authorise_payment(command).reference
        early = steps.payments.complete_payment(find(begin, reference))
        assert early.state is ProviderPaymentStatus.REQUIRES_ACTION
        sandbox.control(f"/paypal/orders/{reference}/approve", {"result": "success"})
        for _ in range(2):
            done = steps.payments.complete_payment(find(begin, reference))
            assert (done.state, done.amount) == (ProviderPaymentStatus.AUTHORISED, held.total)
        (seen,) = [one for one in sandbox.seen("/paypal/orders") if one["id"] == reference]
        assert seen["amount_capturable"] == held.total.amount

    def test_a_lost_answer_is_looked_up(self, steps, begun, sandbox):
        begin, _, command = begun(provider="paypal", method="paypal")
        reference = steps.payments.authorise_payment(command).reference
        sandbox.control(f"/paypal/orders/{reference}/approve", {"result": "success"})
        sandbox.script(
            {"kind": "reset_connection_after"}, service="paypal", path="/paypal/v2/checkout/orders", method="POST"
        )
        with pytest.raises(OutcomeUnknown):
            steps.payments.complete_payment(find(begin, reference))
        assert steps.payments.complete_payment(find(begin, reference)).state is ProviderPaymentStatus.AUTHORISED


class TestVoidPayment:
    @pytest.mark.parametrize("known", [True, False], ids=["by-reference", "by-metadata"])
    def test_cancels_it_and_writes_it_down_once(self, steps, begun, intents, known):
        begin, held, command = begun()
        reference = steps.payments.authorise_payment(command).reference
        for _ in range(2):
            undone = steps.payments.void_payment(steps.void(begin, reference if known else None))
            assert undone.state is ProviderPaymentStatus.CANCELLED
        assert [intent["status"] for intent in intents(begin)] == ["canceled"]
        assert steps.sql("SELECT state FROM payments WHERE id = :id", id=held.payment_id)[0].state == "voided"
        assert steps.entries(held.payment_id) == ["authorise", "void"]

    def test_refunds_what_was_captured(self, steps, begun, sandbox, intents):
        begin, held, command = begun()
        reference = steps.payments.authorise_payment(command).reference
        sandbox.client().v1.payment_intents.capture(reference)
        for _ in range(2):
            assert steps.payments.void_payment(steps.void(begin, reference)).state is ProviderPaymentStatus.CAPTURED
        assert [intent["amount_refunded"] for intent in intents(begin)] == [held.total.amount]
        assert steps.sql("SELECT state FROM payments WHERE id = :id", id=held.payment_id)[0].state == "refunded"

    def test_a_lost_answer_is_one_cancellation(self, steps, begun, sandbox, intents):
        begin, held, command = begun()
        reference = steps.payments.authorise_payment(command).reference
        sandbox.script({"kind": "reset_connection_after"}, **INTENTS)
        with pytest.raises(OutcomeUnknown):
            steps.payments.void_payment(steps.void(begin, reference))
        assert steps.entries(held.payment_id) == []
        assert steps.payments.void_payment(steps.void(begin, reference)).state is ProviderPaymentStatus.CANCELLED
        assert steps.entries(held.payment_id) == ["authorise", "void"]

    def test_nothing_to_undo_is_absent(self, steps, begun):
        begin, held, _ = begun()
        assert steps.payments.void_payment(steps.void(begin)).state is ProviderPaymentStatus.ABSENT
        assert steps.entries(held.payment_id) == []


class TestCancelPayment:
    def test_says_what_it_turned_out_to_be(self, steps, begun, sandbox):
        begin, _, command = begun()
        reference = steps.payments.authorise_payment(command).reference
        sandbox.client().v1.payment_intents.capture(reference)
        assert steps.payments.cancel_payment(steps.void(begin, reference)).state is ProviderPaymentStatus.CAPTURED

    def test_twice_is_once(self, steps, begun):
        begin, _, command = begun(method="pm_card_threeDSecure2Required")
        payment = steps.payments.authorise_payment(command)
        assert payment.state is ProviderPaymentStatus.REQUIRES_ACTION
        for _ in range(2):
            cancelled = steps.payments.cancel_payment(steps.void(begin, payment.reference))
            assert cancelled.state is ProviderPaymentStatus.CANCELLED
