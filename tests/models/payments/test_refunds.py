"""What a refund comes to: never more than is left, and in parts exactly the whole, its tax included."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checkout.pricing import Totals
from models.errors import CurrencyMismatch, InvalidRequest, RefundExceedsBalance
from models.money import Money
from models.orders.orders import LineQuantity, Order, OrderLine, OrderPayment, OrderRefund
from models.payments.refunds import RefundPart, RefundPlan, plan, plan_retry, plan_succeeded, refund_of
from models.states import OrderStatus, PaymentStatus, RefundStatus

AT = datetime(2026, 11, 22, tzinfo=UTC)


def usd(amount: int) -> Money:
    return Money.of(amount, "USD")


def shipped(quantities: list[int], price: int = 999, tax: int = 77, shipping: int = 500) -> Order:
    """Every line costs quantity × (price + tax); all of it has left and is captured."""
    lines = [
        OrderLine(
            id=f"line_{n}",
            sku=f"S{n}",
            title="Thing",
            quantity=quantity,
            unit_price=usd(price),
            discount=usd(0),
            tax=usd(tax * quantity),
            total=usd((price + tax) * quantity),
            shipped=quantity,
        )
        for n, quantity in enumerate(quantities)
    ]
    total = usd(sum(line.total.amount for line in lines) + shipping)
    zero = usd(0)
    totals = {**dict.fromkeys(Totals.model_fields, zero), "tax": usd(tax * sum(quantities)), "total": total}
    payment = {"id": "pay_1", "provider": "stripe", "authorised": total, "captured": total}
    rest: dict[str, Any] = {"refunded": zero, "released": zero, "disputed": zero}
    return Order(
        id="ord_1",
        number="HF-1",
        status=OrderStatus.SHIPPED,
        payment_status=PaymentStatus.CAPTURED,
        customer_id=None,
        cart_id="cart_1",
        checkout_id="chk_1",
        currency="USD",
        lines=lines,
        totals=Totals(**totals),
        tax_lines=[],
        discounts=[],
        shipping_option=None,
        payment=OrderPayment(**payment, **rest),
        placed_at=AT,
        version=1,
    )


def after(order: Order, planned: RefundPlan, status: RefundStatus = RefundStatus.PENDING) -> Order:
    """As the event makes it."""
    units = {item.line_id: item.quantity for item in planned.lines}
    refund = OrderRefund(id=f"rfd_{len(order.refunds)}", status=status, requested_at=AT, **dict(planned))
    lines = [line.model_copy(update={"refunded": line.refunded + units.get(line.id, 0)}) for line in order.lines]
    return order.model_copy(update={"refunds": [*order.refunds, refund], "lines": lines})


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(1, 10_000),
    st.integers(0, 999),
    st.integers(0, 999),
    st.lists(st.integers(1, 20_000), max_size=8),
)
def test_amounts_and_then_the_rest_are_exactly_all_of_it(quantities, price, tax, shipping, amounts):
    order = shipped(quantities, price, tax, shipping)
    for amount in amounts:
        if amount > order.refundable.amount:
            with pytest.raises(RefundExceedsBalance) as refused:
                plan(order, usd(amount), [])
            assert refused.value.extra["left"] == order.refundable.model_dump()
            continue
        planned = plan(order, usd(amount), [])
        assert 0 <= planned.tax.amount <= amount
        order = after(order, planned)
    if order.refundable.amount:
        order = after(order, plan(order, None, []))
    assert sum(refund.amount.amount for refund in order.refunds) == order.totals.total.amount
    assert sum(refund.tax.amount for refund in order.refunds) == order.totals.tax.amount
    with pytest.raises(RefundExceedsBalance):
        plan(order, None, [])


@given(st.integers(1, 7), st.integers(1, 10_000), st.integers(0, 999), st.data())
def test_units_one_by_one_cost_exactly_their_line(quantity, price, tax, data):
    order = shipped([quantity], price, tax)
    line = order.lines[0]
    while left := order.lines[0].shipped - order.lines[0].refunded:
        units = [LineQuantity(line_id=line.id, quantity=data.draw(st.integers(1, left)))]
        order = after(order, plan(order, None, units))
    assert sum(refund.amount.amount for refund in order.refunds) == line.total.amount
    assert sum(refund.tax.amount for refund in order.refunds) == line.tax.amount
    with pytest.raises(RefundExceedsBalance):
        plan(order, None, [LineQuantity(line_id=line.id, quantity=1)])


def test_the_rest_has_every_unit_that_is_not_refunded_yet():
    order = shipped([3, 2])
    order = after(order, plan(order, None, [LineQuantity(line_id="line_0", quantity=1)]))
    rest = plan(order, None, [])
    assert rest.lines == [LineQuantity(line_id="line_0", quantity=2), LineQuantity(line_id="line_1", quantity=2)]
    assert rest.amount == order.refundable


def test_part_of_what_units_cost_has_that_part_of_their_tax():
    order = shipped([2], price=900, tax=100)
    units = [LineQuantity(line_id="line_0", quantity=1)]
    planned = plan(order, usd(500), units)
    assert (planned.amount, planned.tax, planned.lines) == (usd(500), usd(50), units)
    with pytest.raises(RefundExceedsBalance) as refused:
        plan(order, usd(1001), units)
    assert refused.value.extra["left"] == {"amount": 1000, "currency": "USD"}


def test_a_refund_that_failed_counts_no_more():
    order = shipped([1])
    all_of_it = plan(order, None, [])
    assert plan(
        after(order, RefundPlan(amount=all_of_it.amount, tax=all_of_it.tax, lines=[]), RefundStatus.FAILED), None, []
    )


def test_what_is_in_dispute_is_not_left():
    order = shipped([1])
    payment = order.payment.model_copy(update={"disputed": usd(1000)})
    order = order.model_copy(update={"payment": payment})
    assert plan(order, None, []).amount == order.totals.total - usd(1000)


@pytest.mark.parametrize(
    ("amount", "error"),
    [(Money.of(1, "EUR"), CurrencyMismatch), (usd(0), InvalidRequest), (usd(-1), InvalidRequest)],
)
def test_an_amount_that_makes_no_sense_is_pointed_at(amount, error):
    with pytest.raises(error) as refused:
        plan(shipped([1]), amount, [])
    assert refused.value.extra["errors"][0]["pointer"] == "/amount"


def test_what_was_never_captured_is_to_be_cancelled():
    order = shipped([1])
    order = order.model_copy(update={"payment": order.payment.model_copy(update={"captured": usd(0)})})
    with pytest.raises(RefundExceedsBalance, match="cancel"):
        plan(order, None, [])


def test_every_try_has_a_name_of_its_own_that_leads_back_to_the_refund():
    part = RefundPart(
        refund_id="rfd_1",
        order_id="ord_1",
        payment_id="pay_1",
        provider="stripe",
        payment="pi_1",
        amount=usd(1),
        attempt=1,
        status=RefundStatus.PENDING,
        reference=None,
    )
    again = part.model_copy(update={"attempt": 2})
    assert [part.key, again.key] == ["rfd_1:pay_1", "rfd_1/2:pay_1"]
    assert {refund_of(part.name), refund_of(again.name)} == {"rfd_1"}


def test_a_failed_refund_of_all_of_it_is_retried_with_its_shipping() -> None:
    order = shipped([2], shipping=500)
    planned = plan(order, None, [])
    (failed,) = after(order, planned, RefundStatus.FAILED).refunds
    assert plan_retry(order, failed) == planned


def test_a_failed_refund_is_not_retried_once_its_units_or_its_money_are_refunded() -> None:
    order = shipped([2], shipping=500)
    (failed,) = after(order, plan(order, None, []), RefundStatus.FAILED).refunds
    for meanwhile in (plan(order, usd(600), []), plan(order, None, [LineQuantity(line_id="line_0", quantity=1)])):
        with pytest.raises(RefundExceedsBalance):
            plan_retry(after(order, meanwhile), failed)


def failed(order: Order, refund: OrderRefund) -> Order:
    """As the event makes it: its units may be refunded again."""
    units = {item.line_id: item.quantity for item in refund.lines}
    lines = [line.model_copy(update={"refunded": line.refunded - units.get(line.id, 0)}) for line in order.lines]
    ended = refund.model_copy(update={"status": RefundStatus.FAILED})
    return order.model_copy(
        update={"refunds": [ended if r.id == refund.id else r for r in order.refunds], "lines": lines}
    )


def open_(order: Order) -> list[OrderRefund]:
    return [refund for refund in order.refunds if refund.status is not RefundStatus.FAILED]


def test_of_a_line_that_was_refunded_in_part_only_the_rest_is_left() -> None:
    order = shipped([1, 1], price=10_000, tax=400, shipping=0)
    units = [LineQuantity(line_id="line_0", quantity=1)]
    order = after(order, plan(order, None, units))
    order = failed(order, order.refunds[0])
    order = after(order, plan_succeeded(order.refunds[0], order, usd(7400)), RefundStatus.SUCCEEDED)
    rest = plan(order, None, units)
    assert (rest.amount, rest.lines) == (usd(3000), units)
    order = after(order, rest)
    assert sum(refund.tax.amount for refund in open_(order)) == 400
    with pytest.raises(RefundExceedsBalance):
        plan(order, None, units)


def test_a_unit_asked_again_costs_what_the_others_left_of_an_odd_line() -> None:
    order = shipped([2], price=0, tax=0)
    line = order.lines[0].model_copy(update={"total": usd(5)})
    order = order.model_copy(update={"lines": [line]})
    unit = [LineQuantity(line_id="line_0", quantity=1)]
    for _ in range(2):
        order = after(order, plan(order, None, unit))
    order = failed(order, order.refunds[0])
    order = after(order, plan(order, None, unit))
    assert sum(refund.amount.amount for refund in open_(order)) == 5


@given(st.integers(1, 6), st.integers(0, 30), st.data())
def test_a_line_is_refunded_exactly_once_however_its_refunds_fail(quantity, total, data):
    """Units asked, refused, given in part and retried, in any order; then all that is left of the line."""
    order = shipped([quantity, 1], price=1000)
    line = order.lines[0].model_copy(update={"total": usd(total), "tax": usd(total // 5)})
    order = order.model_copy(update={"lines": [line, order.lines[1]]})
    retried = False  # a retry has the amount that it had, so the last unit may then cost less
    for _ in range(data.draw(st.integers(0, 8))):
        left = quantity - order.lines[0].refunded
        if left and data.draw(st.booleans()):
            order = _ask(order, data.draw(st.integers(1, left)))
        elif asked := [refund for refund in open_(order) if refund.lines]:
            refund = data.draw(st.sampled_from(asked))
            order = failed(order, refund)
            if part := data.draw(st.integers(0, refund.amount.amount - 1)):
                order = after(order, plan_succeeded(refund, order, usd(part)), RefundStatus.SUCCEEDED)
            elif data.draw(st.booleans()):
                order, retried = _retry(order, refund), True
        assert sum(refund.amount.amount for refund in open_(order)) <= total
    if left := quantity - order.lines[0].refunded:
        order = _ask(order, left)
    refunded = sum(refund.amount.amount for refund in open_(order))
    assert refunded == total or (retried and refunded < total)
    assert sum(refund.tax.amount for refund in open_(order)) <= total // 5


def _ask(order: Order, quantity: int) -> Order:
    try:
        return after(order, plan(order, None, [LineQuantity(line_id="line_0", quantity=quantity)]))
    except RefundExceedsBalance:  # these units cost nothing, or nothing more
        return order


def _retry(order: Order, refund: OrderRefund) -> Order:
    planned = plan_retry(order, refund)
    again = after(order, planned)
    return again.model_copy(update={"refunds": [*(r for r in order.refunds if r.id != refund.id), refund]})
