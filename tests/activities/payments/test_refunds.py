"""A refund at the provider and in the ledger: each part once, a lost answer looked up, a refusal certain."""

from __future__ import annotations

import pytest

from models.errors import OutcomeUnknown, RefundExceedsBalance
from models.ids import derived_id, new_id
from models.payments.provider import ProviderRefundStatus
from models.payments.refunds import FoundRefund, RefundRef
from models.states import RefundStatus
from tests.fixtures.refunds import FAILS, WAITS, balances

REFUNDS = {"path": "/v1/refunds", "method": "POST"}


@pytest.fixture
def shipped(steps):
    def make(method="pm_card_visa"):
        order = steps.place(quantity=1, method=method)
        steps.ship(order, 1)
        return order

    return make


@pytest.fixture
def load(steps):
    return lambda refund_id: steps.refunds.load_refund(RefundRef(refund_id=refund_id))


@pytest.fixture
def give(steps):
    """What the provider has for that part."""
    return lambda part: steps.run(steps.refunds.refund_payment, part)


@pytest.fixture
def made(sandbox):
    """The provider's refunds of an order's payment."""

    def read(order):
        return [each for each in sandbox.seen("/stripe/refunds") if each["payment_intent"] == order.reference]

    return read


def refunded(steps, order):
    """By our books, in minor units."""
    return steps.sql("SELECT refunded FROM payments WHERE id = :id", id=order.payment_id)[0].refunded


def tasks(steps, refund_id):
    return [row.kind for row in steps.sql("SELECT kind FROM tasks WHERE subject = :id", id=refund_id)]


class TestLoadRefund:
    def test_is_none_where_there_is_no_such_refund(self, load):
        assert load(new_id("rfd")) is None

    def test_has_a_part_for_the_payment(self, steps, shipped, load):
        order = shipped()
        snapshot = load(steps.request_refund(order, 700))
        (part,) = snapshot.parts
        assert (snapshot.status, snapshot.amount.amount, snapshot.finished) == (RefundStatus.PENDING, 700, False)
        assert (part.payment, part.amount, part.attempt, part.reference) == (order.reference, snapshot.amount, 1, None)


class TestRefundPayment:
    def test_gives_the_money_back_once(self, steps, shipped, load, give, made):
        order = shipped()
        (part,) = load(steps.request_refund(order, 700)).parts
        found = [give(part) for _ in range(2)]
        assert found[0] == found[1]
        assert (found[0].state, found[0].amount) == (ProviderRefundStatus.SUCCEEDED, part.amount)
        assert [(each["amount"], each["metadata"]["refund_id"]) for each in made(order)] == [(700, part.refund_id)]

    @pytest.mark.parametrize("kind", ["reset_connection_before", "reset_connection_after", "timeout_after"])
    def test_a_lost_answer_is_looked_up(self, steps, sandbox, shipped, load, give, made, kind):
        order = shipped()
        (part,) = load(steps.request_refund(order, 700)).parts
        sandbox.script({"kind": kind}, **REFUNDS)
        with pytest.raises(OutcomeUnknown):
            give(part)
        assert give(part).state is ProviderRefundStatus.SUCCEEDED
        assert [each["amount"] for each in made(order)] == [700]

    @pytest.mark.parametrize("kind", ["status_before", "status_after"])
    def test_an_error_kept_under_the_key_is_looked_up_and_another_key_used(
        self, steps, sandbox, shipped, load, give, made, kind
    ):
        order = shipped()
        (part,) = load(steps.request_refund(order, 700)).parts
        sandbox.script({"kind": kind, "status": 500}, **REFUNDS)
        assert give(part).state is ProviderRefundStatus.SUCCEEDED
        assert [each["amount"] for each in made(order)] == [700]

    def test_more_than_the_provider_has_left_is_a_certain_failure(self, steps, sandbox, shipped, load, give, made):
        order = shipped()
        (part,) = load(steps.request_refund(order)).parts
        by_hand = sandbox.client().v1.refunds.create({"payment_intent": order.reference})
        found = give(part)
        assert (found.state, found.reason) == (ProviderRefundStatus.FAILED, "refund-exceeds-balance")
        assert [each["id"] for each in made(order)] == [by_hand.id]


class TestRecordRefund:
    def test_writes_a_success_down_once(self, steps, shipped, load, give):
        order = shipped()
        refund_id = steps.request_refund(order)
        (part,) = load(refund_id).parts
        found = give(part)
        for _ in range(2):
            steps.refunds.record_refund(part, found)
        snapshot = load(refund_id)
        assert (snapshot.status, snapshot.finished) == (RefundStatus.SUCCEEDED, True)
        assert steps.entries(order.payment_id).count("refund") == 1
        assert not any(balances(steps, {"id": order.id}).values())

    def test_one_that_waits_is_retrieved_by_its_reference(self, steps, sandbox, shipped, load, give, made):
        order = shipped(WAITS)
        refund_id = steps.request_refund(order)
        (part,) = load(refund_id).parts
        steps.refunds.record_refund(part, give(part))
        snapshot = load(refund_id)
        (made_there,) = made(order)
        assert (snapshot.status, snapshot.parts[0].reference) == (RefundStatus.PENDING, made_there["id"])
        sandbox.control(f"/stripe/refunds/{made_there['id']}/settle", {"status": "succeeded"})
        steps.refunds.record_refund(snapshot.parts[0], give(snapshot.parts[0]))
        assert load(refund_id).status is RefundStatus.SUCCEEDED

    def test_a_failure_is_a_task_and_the_amount_can_be_refunded_again(self, steps, sandbox, shipped, load, give):
        order = shipped()
        refund_id = steps.request_refund(order)
        (part,) = load(refund_id).parts
        sandbox.script({"kind": "refund_status", "status": "failed"}, **REFUNDS)
        found = give(part)
        for _ in range(2):
            steps.refunds.record_refund(part, found)
        snapshot = load(refund_id)
        assert snapshot.status is RefundStatus.FAILED
        assert snapshot.task is not None
        assert tasks(steps, refund_id) == ["refund-failed"]
        assert refunded(steps, order) == 0
        assert "refund" not in steps.entries(order.payment_id)


class TestRetryRefund:
    @pytest.fixture
    def failed(self, steps, sandbox, shipped, load, give):
        order = shipped()
        refund_id = steps.request_refund(order)
        (part,) = load(refund_id).parts
        sandbox.script({"kind": "refund_status", "status": "failed"}, **REFUNDS)
        steps.refunds.record_refund(part, give(part))
        return order, refund_id

    def test_is_another_refund_at_the_provider(self, steps, load, give, made, failed):
        order, refund_id = failed
        for _ in range(2):
            steps.refunds.retry_refund(RefundRef(refund_id=refund_id))
        (part,) = load(refund_id).parts
        assert (part.attempt, part.status, part.reference) == (2, RefundStatus.PENDING, None)
        steps.refunds.record_refund(part, give(part))
        assert load(refund_id).status is RefundStatus.SUCCEEDED
        assert sorted(each["status"] for each in made(order)) == ["failed", "succeeded"]
        assert not any(balances(steps, {"id": order.id}).values())

    def test_is_refused_by_a_task_once_the_money_has_gone_another_way(self, steps, load, give, failed):
        order, refund_id = failed
        (part,) = load(steps.request_refund(order)).parts
        steps.refunds.record_refund(part, give(part))
        steps.refunds.retry_refund(RefundRef(refund_id=refund_id))
        assert load(refund_id).status is RefundStatus.FAILED
        assert refunded(steps, order) == order.held.total.amount


class TestAdoptRefund:
    def by_hand(self, sandbox, order, amount):
        made = sandbox.client().v1.refunds.create({"payment_intent": order.reference, "amount": amount})
        found = FoundRefund(provider="stripe", reference=made.id, payment=order.reference)
        return RefundRef(refund_id=derived_id("rfd", "stripe", made.id), found=found)

    def test_becomes_the_orders_once(self, steps, sandbox, shipped, load, give):
        order = shipped()
        ref = self.by_hand(sandbox, order, 700)
        assert [steps.refunds.adopt_refund(ref) for _ in range(2)] == [True, True]
        (part,) = load(ref.refund_id).parts
        assert (part.amount.amount, part.reference) == (700, ref.found.reference)
        steps.refunds.record_refund(part, give(part))
        assert load(ref.refund_id).status is RefundStatus.SUCCEEDED
        assert refunded(steps, order) == 700

    def test_what_the_provider_does_not_know_is_not_adopted(self, steps, shipped, load):
        order = shipped()
        ref = RefundRef(
            refund_id=new_id("rfd"), found=FoundRefund(provider="stripe", reference="re_none", payment=order.reference)
        )
        assert not steps.refunds.adopt_refund(ref)
        assert load(ref.refund_id) is None

    def test_waits_while_a_refund_of_ours_has_a_claim_on_it(self, steps, sandbox, shipped, load, give):
        order = shipped()
        ours = steps.request_refund(order)
        ref = self.by_hand(sandbox, order, order.held.total.amount)
        with pytest.raises(RefundExceedsBalance):
            steps.refunds.adopt_refund(ref)
        (part,) = load(ours).parts
        steps.refunds.record_refund(part, give(part))
        assert steps.refunds.adopt_refund(ref)
        assert (load(ours).status, refunded(steps, order)) == (RefundStatus.FAILED, order.held.total.amount)


def test_a_refund_that_the_card_never_takes_fails_after_it_was_made(steps, shipped, load, give):
    order = shipped(FAILS)
    refund_id = steps.request_refund(order)
    (part,) = load(refund_id).parts
    steps.refunds.record_refund(part, give(part))
    snapshot = load(refund_id)
    steps.refunds.record_refund(snapshot.parts[0], give(snapshot.parts[0]))
    assert (load(refund_id).status, refunded(steps, order)) == (RefundStatus.FAILED, 0)
