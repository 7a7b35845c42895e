"""An order is its events, folded; its parcels together take exactly its total."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checkout.pricing import Totals
from models.errors import HoldfastError, InvalidTransition, NotEnoughToShip
from models.money import Money
from models.orders.events import apply, fold
from models.orders.orders import (
    ORDER_CLAIMED,
    ORDER_CONFIRMED,
    ORDER_DELIVERED,
    ORDER_PARTIALLY_SHIPPED,
    ORDER_PROCESSING,
    ORDER_SHIPPED,
    PAYMENT_CAPTURED,
    SHIPMENT_CREATED,
    SYSTEM,
    Event,
    ShippedLine,
)
from models.states import OrderStatus, PaymentStatus

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def usd(amount):
    return Money.of(amount, "USD").model_dump()


def confirmed(lines, shipping=0):
    """The first event of an order with lines (quantity, total)."""
    items = sum(total for _, total in lines)
    return Event(
        version=1,
        type=ORDER_CONFIRMED,
        at=AT,
        actor=SYSTEM,
        cause="chk_1",
        data={
            "number": "HF-1",
            "payment_status": "authorised",
            "customer_id": None,
            "cart_id": "cart_1",
            "checkout_id": "chk_1",
            "currency": "USD",
            "lines": [
                {
                    "id": f"line_{n}",
                    "sku": f"S{n}",
                    "title": "T",
                    "quantity": quantity,
                    "unit_price": usd(1),
                    "discount": usd(0),
                    "tax": usd(0),
                    "total": usd(total),
                }
                for n, (quantity, total) in enumerate(lines)
            ],
            "totals": {
                **{name: usd(0) for name in Totals.model_fields},
                "items": usd(items),
                "shipping": usd(shipping),
                "total": usd(items + shipping),
            },
            "tax_lines": [],
            "discounts": [],
            "shipping_option": None,
            "payment": {
                "id": "pay_1",
                "provider": "stripe",
                "authorised": usd(items + shipping),
                "captured": usd(0),
                "refunded": usd(0),
            },
        },
    )


def event(order, type_, data=None):
    return Event(version=order.version + 1, type=type_, at=AT, actor=SYSTEM, cause="x", data=data or {})


def shipped(order, parcel):
    """The order after one parcel: what it takes, and what then holds."""
    amount = order.amount_to_capture(parcel)
    number = len(order.shipments)
    if amount.amount:
        order = apply(order, event(order, PAYMENT_CAPTURED, {"amount": amount.model_dump()}), order.id)
    data = {
        "id": f"shp_{number}",
        "carrier": "ups",
        "tracking_number": str(number),
        "lines": [line.model_dump() for line in parcel],
        "captured": amount.model_dump(),
    }
    return apply(order, event(order, SHIPMENT_CREATED, data), order.id), amount.amount


baskets = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 10_000)), min_size=1, max_size=4)


@given(baskets, st.integers(0, 2_000), st.randoms(use_true_random=False))
def test_parcels_in_any_split_take_exactly_the_total(lines, shipping, chance):
    order = fold([confirmed(lines, shipping)], "ord_1")
    total, taken = order.totals.total.amount, []
    while left := order.left_to_ship():
        chosen = chance.sample(sorted(left), chance.randint(1, len(left)))
        parcel = [ShippedLine(line_id=line, quantity=chance.randint(1, left[line])) for line in chosen]
        order.check_parcel(parcel)
        order, amount = shipped(order, parcel)
        taken.append(amount)
        assert 0 <= sum(taken) <= total
    assert sum(taken) == total == order.payment.captured.amount
    if total:
        assert order.payment_status is PaymentStatus.CAPTURED


def test_more_than_is_left_is_refused():
    order = fold([confirmed([(2, 100)])], "ord_1")
    order, _ = shipped(order, [ShippedLine(line_id="line_0", quantity=1)])
    for line, quantity in (("line_0", 2), ("line_9", 1)):
        with pytest.raises(NotEnoughToShip):
            order.check_parcel([ShippedLine(line_id=line, quantity=quantity)])


def test_a_gap_or_a_wrong_beginning_is_an_error():
    first = confirmed([(1, 100)])
    for events in ([], [first, first], [first.model_copy(update={"version": 2})]):
        with pytest.raises(HoldfastError):
            fold(events, "ord_1")
    with pytest.raises(HoldfastError):
        fold([first.model_copy(update={"type": ORDER_SHIPPED})], "ord_1")


def test_the_status_follows_the_table():
    order = fold([confirmed([(1, 100)])], "ord_1")
    for type_, status in (
        (ORDER_PROCESSING, OrderStatus.PROCESSING),
        (ORDER_PARTIALLY_SHIPPED, OrderStatus.PARTIALLY_SHIPPED),
        (ORDER_SHIPPED, OrderStatus.SHIPPED),
        (ORDER_DELIVERED, OrderStatus.DELIVERED),
    ):
        order = apply(order, event(order, type_), order.id)
        assert order.status is status
    with pytest.raises(InvalidTransition):
        apply(order, event(order, ORDER_PROCESSING), order.id)


def test_applying_never_changes_the_order_before():
    order = fold([confirmed([(1, 100)])], "ord_1")
    before = order.model_dump_json()
    shipped(order, [ShippedLine(line_id="line_0", quantity=1)])
    assert order.model_dump_json() == before


def test_a_guests_order_is_claimed_once_and_only_its_customer_changes():
    order = fold([confirmed([(1, 100)])], "ord_1")
    claimed = apply(order, event(order, ORDER_CLAIMED, {"customer_id": "usr_1"}), order.id)
    assert claimed == order.model_copy(update={"customer_id": "usr_1", "version": 2})
    with pytest.raises(InvalidTransition):
        apply(claimed, event(claimed, ORDER_CLAIMED, {"customer_id": "usr_2"}), order.id)


def in_kwd(event):
    """The same order in a currency whose third decimal no card network moves."""
    return Event.model_validate_json(event.model_dump_json().replace("USD", "KWD"))


def test_what_is_captured_and_refunded_can_be_moved():
    order = fold([in_kwd(confirmed([(3, 1000)]))], "ord_1")
    parcel = [ShippedLine(line_id="line_0", quantity=1)]
    first = order.amount_to_capture(parcel)
    assert first == Money.of(330, "KWD")
    captured = {"payment_id": "pay_1", "shipment_id": "shp_1", "amount": first.model_dump()}
    shipped = {
        "id": "shp_1",
        "carrier": "ups",
        "tracking_number": "1",
        "lines": [{"line_id": "line_0", "quantity": 1}],
        "captured": first.model_dump(),
    }
    for type_, data in ((ORDER_PROCESSING, {}), (PAYMENT_CAPTURED, captured), (SHIPMENT_CREATED, shipped)):
        event = Event(version=order.version + 1, type=type_, at=AT, actor=SYSTEM, cause="c", data=data)
        order = apply(order, event, "ord_1")
    assert order.amount_to_capture([ShippedLine(line_id="line_0", quantity=2)]) == Money.of(670, "KWD")
    assert order.refund_for(parcel)[0] == Money.of(330, "KWD")
