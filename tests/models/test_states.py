"""Transition tables: complete, and asked through one function."""

from __future__ import annotations

import itertools

import pytest

from models.errors import InvalidTransition
from models.states import (
    CHECKOUT_TRANSITIONS,
    LIVE_CHECKOUT,
    ORDER_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    REFUND_TRANSITIONS,
    RETURN_TRANSITIONS,
    SHIPMENT_TRANSITIONS,
    CheckoutStatus,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    ReturnStatus,
    ShipmentStatus,
    advance,
)

TABLES = [
    (CHECKOUT_TRANSITIONS, CheckoutStatus),
    (ORDER_TRANSITIONS, OrderStatus),
    (PAYMENT_TRANSITIONS, PaymentStatus),
    (SHIPMENT_TRANSITIONS, ShipmentStatus),
    (REFUND_TRANSITIONS, RefundStatus),
    (RETURN_TRANSITIONS, ReturnStatus),
]
KINDS = [kind.__name__ for _, kind in TABLES]


@pytest.mark.parametrize(("table", "kind"), TABLES, ids=KINDS)
class TestEveryTable:
    def test_speaks_of_every_state(self, table, kind):
        assert set(table) == set(kind)
        assert all(set(following) <= set(kind) for following in table.values())

    def test_allows_what_it_lists_and_refuses_the_rest(self, table, kind):
        for state, to in itertools.product(kind, kind):
            if to in table[state]:
                assert advance(table, state, to) is to
            else:
                with pytest.raises(InvalidTransition) as refused:
                    advance(table, state, to)
                assert refused.value.extra == {"state": str(state), "requested": str(to)}

    def test_reaches_every_state_from_the_first(self, table, kind):
        first = next(iter(kind)) if kind is not PaymentStatus else PaymentStatus.AUTHORISED
        seen, ahead = {first}, [first]
        while ahead:
            for to in table[ahead.pop()] - seen:
                seen.add(to)
                ahead.append(to)
        assert seen | {PaymentStatus.NOT_REQUIRED} >= set(kind)


def test_a_checkout_that_has_ended_stays_ended():
    for status in CheckoutStatus:
        assert bool(CHECKOUT_TRANSITIONS[status]) == (status in LIVE_CHECKOUT)


def test_nothing_is_cancelled_once_it_is_on_its_way():
    for status in (OrderStatus.PARTIALLY_SHIPPED, OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.COMPLETED):
        assert OrderStatus.CANCELLED not in ORDER_TRANSITIONS[status]


def test_money_that_went_back_does_not_come_again():
    for status in (PaymentStatus.VOIDED, PaymentStatus.NOT_REQUIRED):
        assert not PAYMENT_TRANSITIONS[status]
    assert PaymentStatus.CAPTURED not in PAYMENT_TRANSITIONS[PaymentStatus.REFUNDED]
