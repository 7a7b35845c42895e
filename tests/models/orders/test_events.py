"""Whatever happens to an order, in any order: its events, folded, are the order; what may not be changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkout.pricing import Totals
from models.errors import InvalidTransition, NotEnoughToReturn, NotEnoughToShip, RefundExceedsBalance
from models.orders import events as order_stream
from models.orders import orders
from models.orders.events import apply, fold
from models.orders.orders import Actor, Event, Order
from models.states import (
    ORDER_TRANSITIONS,
    PARCEL_ENDS,
    PAYMENT_TRANSITIONS,
    OrderStatus,
    RefundStatus,
    ReturnStatus,
    ShipmentStatus,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REFUSED = (InvalidTransition, NotEnoughToShip, NotEnoughToReturn, RefundExceedsBalance)
ACTORS = st.sampled_from([orders.SYSTEM, Actor(type="customer", id="usr_1"), Actor(type="guest"), Actor(type="staff")])
BARE = (
    *(orders.ORDER_PROCESSING, orders.ORDER_PARTIALLY_SHIPPED, orders.ORDER_SHIPPED, orders.ORDER_DELIVERED),
    *(orders.ORDER_COMPLETED, orders.ORDER_RETURNED, orders.ORDER_HELD, orders.ORDER_RELEASED),
    *(orders.ORDER_CANCELLED, orders.ORDER_REMAINDER_CANCELLED, orders.ORDER_ADDRESS_CHANGED),
)
SCANS = (orders.SHIPMENT_SCANNED, orders.SHIPMENT_DELIVERED, orders.SHIPMENT_LOST, orders.SHIPMENT_RETURNED)
LATER = sorted(order_stream._CHANGES)
USD = {"currency": "USD"}


def first(quantities: list[int], price: int, shipping: int) -> Event:
    lines = [
        {
            "id": f"line_{n}",
            "sku": f"S{n}",
            "title": "Ein Ding",
            "quantity": quantity,
            "unit_price": usd(price),
            "discount": usd(0),
            "tax": usd(quantity),
            "total": usd(quantity * price),
        }
        for n, quantity in enumerate(quantities)
    ]
    total = usd(sum(quantities) * price + shipping)
    return Event(
        version=1,
        type=orders.ORDER_CONFIRMED,
        at=AT,
        actor=Actor(type="guest"),
        cause="chk_1",
        data={
            "number": "HF-1",
            "customer_id": None,
            "cart_id": "cart_1",
            "checkout_id": "chk_1",
            **USD,
            "lines": lines,
            "tax_lines": [],
            "discounts": [],
            "shipping_option": None,
            "totals": {**{name: usd(0) for name in Totals.model_fields}, "shipping": usd(shipping), "total": total},
            "payment_status": "authorised",
            "payment": {
                "id": "pay_1",
                "provider": "stripe",
                "authorised": total,
                "captured": usd(0),
                "refunded": usd(0),
            },
        },
    )


def usd(amount: int) -> dict[str, Any]:
    return {"amount": amount, **USD}


def likely(order: Order) -> list[str]:
    """What this order is waiting for: chance alone would seldom get far."""
    waiting = {
        orders.REFUND_REQUESTED: order.refundable.amount > 0,
        orders.PAYMENT_REFUNDED: any(refund.status is RefundStatus.PENDING for refund in order.refunds),
        orders.REFUND_FAILED: any(refund.status is not RefundStatus.FAILED for refund in order.refunds),
        orders.RETURN_REQUESTED: bool(order.left_to_return()),
        **dict.fromkeys(
            (orders.RETURN_RECEIVED, orders.RETURN_REFUSED, orders.RETURN_EXPIRED),
            any(return_.status is ReturnStatus.REQUESTED for return_ in order.returns),
        ),
        orders.RETURN_REFUNDED: any(return_.status is ReturnStatus.RECEIVED for return_ in order.returns),
        orders.PAYMENT_AUTHORISED: order.status is OrderStatus.PAYMENT_RETRYING,
        orders.PAYMENT_CAPTURED: order.payment.open_authorisation.amount > 0,
        orders.ORDER_RELEASED: order.status is OrderStatus.ON_HOLD,
        orders.SHIPMENT_CREATED: bool(order.left_to_ship()),
        **dict.fromkeys(SCANS, any(shipment.status not in PARCEL_ENDS for shipment in order.shipments)),
        orders.PAYMENT_DISPUTE_WON: order.payment.disputed.amount > 0,
        orders.ORDER_PROCESSING: order.status is OrderStatus.CONFIRMED,
        orders.ORDER_SHIPPED: order.status is OrderStatus.PROCESSING,
        orders.ORDER_DELIVERED: order.status is OrderStatus.SHIPPED,
        orders.ORDER_COMPLETED: order.status is OrderStatus.DELIVERED,
    }
    found = [kind for kind, is_waiting in waiting.items() if is_waiting] or LATER
    return [kind for kind in found if kind.startswith("return.")] or found  # the rarest first


@st.composite
def data_for(draw: st.DrawFn, order: Order, kind: str) -> dict[str, Any] | None:
    """What that event could say of this order, true or not; None where nothing it could speak of is there."""
    if kind in BARE:
        return {}
    if kind == orders.ORDER_CLAIMED:
        return {"customer_id": draw(st.sampled_from(["usr_1", "usr_2"]))}
    if kind == orders.ORDER_NOTED:
        return {"note_id": "note_1"}
    units = st.lists(st.sampled_from(order.lines), unique_by=lambda line: line.id, min_size=1)
    lines = [
        {"line_id": line.id, "quantity": draw(st.sampled_from([1, line.quantity, line.quantity + 1]))}
        for line in draw(units)
    ]
    if kind == orders.SHIPMENT_CREATED:
        number = len(order.shipments)
        parcel = {"id": f"shp_{number}", "carrier": "ups", "tracking_number": f"1Z{number}", "captured": usd(0)}
        return {**parcel, "lines": lines}
    if kind in SCANS:
        status = draw(st.sampled_from(list(ShipmentStatus)))
        at = AT + timedelta(minutes=draw(st.integers(0, 99)))
        scan = {"status": str(status), "at": at.isoformat(), "location": None, "late": draw(st.booleans())}
        return {"shipment_id": draw(st.sampled_from(order.shipments)).id, **scan} if order.shipments else None
    if kind.startswith("return."):
        if kind == orders.RETURN_REQUESTED:
            return {"return_id": f"ret_{len(order.returns)}", "lines": lines}
        if not order.returns:
            return None
        chosen = draw(st.sampled_from(order.returns))
        sent = [item.model_dump() for item in chosen.lines]
        return {"return_id": chosen.id, "lines": sent, "refund_id": "rfd_0"}
    amount = usd(
        draw(st.sampled_from([1, 7, max(1, order.refundable.amount), max(1, order.payment.open_authorisation.amount)]))
    )
    if kind == orders.REFUND_REQUESTED:
        return {"refund_id": f"rfd_{len(order.refunds)}", "amount": amount, "tax": usd(0), "lines": []}
    if kind in (orders.PAYMENT_REFUNDED, orders.REFUND_FAILED):
        if not order.refunds:
            return None
        chosen_refund = draw(st.sampled_from(order.refunds))
        if chosen_refund.status is RefundStatus.FAILED and chosen_refund.amount > order.refundable:
            return None  # no provider pays back, after all, what it has paid back otherwise
        return {"refund_id": chosen_refund.id, "amount": chosen_refund.amount.model_dump(), "why": "declined"}
    if kind == orders.PAYMENT_CAPTURED and amount["amount"] > order.payment.open_authorisation.amount:
        return None  # the database holds captures to what was authorised
    if kind == orders.PAYMENT_VOIDED:
        amount = order.payment.open_authorisation.model_dump()
    if kind == orders.PAYMENT_DISPUTED:
        amount = usd(max(1, order.payment.captured.amount - order.payment.disputed.amount))
    if kind == orders.PAYMENT_DISPUTE_WON:
        amount = usd(max(1, order.payment.disputed.amount))
    payment = {"payment_id": "pay_2", "provider": "paypal", "dispute_id": "dp_1", "decline_code": "expired_card"}
    return {**payment, "shipment_id": None, "amount": amount}


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Event], Order, Counter[str]]:
    """A stream with what was tried in vain left out, its order, and how often each kind of event was taken and not."""
    events = [first(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)), draw(st.integers(1, 50)), 9)]
    order, count = fold(events, "ord_1"), Counter[str]()
    for _ in range(draw(st.integers(5, 30))):
        kind = draw(st.sampled_from(likely(order) if draw(st.booleans()) else LATER))
        data = draw(data_for(order, kind))
        if data is None:
            continue
        actor = draw(ACTORS)
        event = Event(version=order.version + 1, type=kind, at=AT, actor=actor, cause="x", data=data)
        before = order.model_dump_json()
        try:
            after = apply(order, event, order.id)
        except REFUSED:
            assert order.model_dump_json() == before
            count[f"not {kind}"] += 1
            continue
        assert order.model_dump_json() == before, "the order before is another's to read"
        one_step(order, after)
        events.append(event)
        order = after
        count[kind] += 1
    return events, order, count


def one_step(order: Order, after: Order) -> None:
    assert after.version == order.version + 1
    for state, to, table in (
        (order.status, after.status, ORDER_TRANSITIONS),
        (order.payment_status, after.payment_status, PAYMENT_TRANSITIONS),
    ):
        failed_after_all = len(after.refunds) == len(order.refunds) and after.refunds != order.refunds
        assert state == to or to in table[state] or failed_after_all  # type: ignore[index]
    for line in after.lines:
        assert 0 <= line.shipped + line.cancelled <= line.quantity
        assert 0 <= line.returned <= line.shipped
        assert 0 <= line.refunded <= line.shipped
    assert after.payment.refunded <= after.payment.captured


def test_the_fold_of_its_events_is_the_order_each_time_and_out_of_json() -> None:
    reached: Counter[str] = Counter()

    @given(streams())
    @settings(deadline=None, max_examples=300, derandomize=True, database=None)  # the same at every run
    def check(stream: tuple[list[Event], Order, Counter[str]]) -> None:
        events, order, count = stream
        assert fold(events, "ord_1") == order == fold(events, "ord_1")
        kept = [Event.model_validate_json(event.model_dump_json()) for event in events]
        assert kept == events
        assert fold(kept, "ord_1") == order
        assert Order.model_validate_json(order.model_dump_json()) == order
        assert Order.model_validate(json.loads(json.dumps(order.model_dump(mode="json")))) == order
        reached.update(count)

    check()
    # Or it would prove little: what may be and what may not has been tried.
    assert len({kind for kind in LATER if not reached[kind]}) <= 3
    assert {kind for kind in BARE if not reached[f"not {kind}"]} == set()
