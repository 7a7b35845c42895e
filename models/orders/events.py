"""Folds an order's events. The stored row is the result of `fold`; only events change an order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from models.errors import HoldfastError, InvalidTransition, NotEnoughToReturn
from models.money import Money
from models.orders import orders
from models.orders.orders import (
    Event,
    LineQuantity,
    Order,
    OrderLine,
    OrderPayment,
    OrderRefund,
    OrderReturn,
    OrderShipment,
    TrackingEvent,
)
from models.states import (
    ORDER_TRANSITIONS,
    PARCEL_ENDS,
    PAYMENT_TRANSITIONS,
    REFUND_TRANSITIONS,
    RETURN_TRANSITIONS,
    SHIPMENT_TRANSITIONS,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    ReturnStatus,
    ShipmentStatus,
    advance,
)

Changes = dict[str, Any]


def fold(events: Iterable[Event], order_id: str) -> Order:
    """The order after these events. Raises HoldfastError for a gap, a wrong first event or no events."""
    order: Order | None = None
    for event in events:
        expected = order.version + 1 if order else 1
        if event.version != expected:
            raise HoldfastError(f"{order_id}: event {event.version} where {expected} was due")
        order = apply(order, event, order_id)
    if order is None:
        raise HoldfastError(f"{order_id} has no events")
    return order


def apply(order: Order | None, event: Event, order_id: str) -> Order:
    """The order after one more event. Raises InvalidTransition, NotEnoughTo… or RefundExceedsBalance."""
    if order is None:
        if event.type != orders.ORDER_CONFIRMED:
            raise HoldfastError(f"{order_id} begins with {event.type}")
        return Order.model_validate(
            {
                **event.data,
                "id": order_id,
                "status": OrderStatus.CONFIRMED,
                "placed_at": event.at,
                "version": event.version,
            }
        )
    changes = _CHANGES[event.type](order, event)
    return order.model_copy(update={**changes, "version": event.version})


# The order itself


def _progress(to: OrderStatus) -> Callable[[Order, Event], Changes]:
    """A step of the fulfilment. With an open return it changes the status that the order resumes."""

    def change(order: Order, event: Event) -> Changes:
        step = order.step(to)
        return {"resumes" if order.status is OrderStatus.RETURN_REQUESTED else "status": step}

    return change


def _suspended(order: Order, to: OrderStatus) -> Changes:
    return {"status": advance(ORDER_TRANSITIONS, order.status, to), "resumes": order.status}


def _resumed(order: Order, suspended: OrderStatus) -> Changes:
    """Back to the status before `suspended`."""
    if order.status is not suspended or order.resumes is None:
        raise InvalidTransition(f"The order is {order.status}", state=str(order.status), requested="resumed")
    return {"status": advance(ORDER_TRANSITIONS, order.status, order.resumes), "resumes": None}


def _held(order: Order, event: Event) -> Changes:
    return _suspended(order, OrderStatus.ON_HOLD)


def _released(order: Order, event: Event) -> Changes:
    return _resumed(order, OrderStatus.ON_HOLD)


def _cancelled(order: Order, event: Event) -> Changes:
    """Cancels every unit. Raises InvalidTransition after the first shipment."""
    status = advance(ORDER_TRANSITIONS, order.status, OrderStatus.CANCELLED)
    if order.shipments:
        raise InvalidTransition("A parcel has left", state=str(order.status), requested=str(status))
    return {"status": status, "resumes": None, "lines": _without(order, order.left_to_ship())}


def _remainder_cancelled(order: Order, event: Event) -> Changes:
    """Cancels the units that have not shipped, after the first shipment."""
    if not order.shipments:
        raise InvalidTransition("Nothing has left", state=str(order.status), requested="remainder cancelled")
    status = order.resumes if order.status is OrderStatus.PAYMENT_RETRYING and order.resumes else order.fulfilment
    status = advance(ORDER_TRANSITIONS, status, OrderStatus.SHIPPED)
    if order.status is OrderStatus.RETURN_REQUESTED:
        changes: Changes = {"resumes": status}
    else:
        changes = {"status": status, "resumes": None}
    return {**changes, "lines": _without(order, order.left_to_ship())}


def _without(order: Order, left: Mapping[str, int]) -> list[OrderLine]:
    return [line.model_copy(update={"cancelled": line.cancelled + left.get(line.id, 0)}) for line in order.lines]


def _claimed(order: Order, event: Event) -> Changes:
    """Assigns a guest's order to a customer, once."""
    if order.customer_id is not None:
        raise InvalidTransition("The order has a customer", state="claimed", requested="claimed")
    return {"customer_id": event.data["customer_id"]}


def _address_changed(order: Order, event: Event) -> Changes:
    order.check_address_may_change()
    return {}


def _noted(order: Order, event: Event) -> Changes:
    return {}


# Money


def _payment(order: Order, **changes: Any) -> Changes:
    """The payment with these changes, and the payment status that follows from its sums."""
    payment = order.payment.model_copy(update=changes)
    return {
        "payment": payment,
        "payment_status": advance(PAYMENT_TRANSITIONS, order.payment_status, _payment_status(order, payment)),
    }


def _payment_status(order: Order, payment: OrderPayment) -> PaymentStatus:
    if payment.refunded.amount:
        whole = payment.refunded.amount >= payment.captured.amount
        return PaymentStatus.REFUNDED if whole else PaymentStatus.PARTIALLY_REFUNDED
    if not payment.captured.amount:
        return PaymentStatus.AUTHORISED if payment.open_authorisation.amount > 0 else PaymentStatus.VOIDED
    return PaymentStatus.CAPTURED if payment.captured >= order.due else PaymentStatus.PARTIALLY_CAPTURED


def _amount(event: Event) -> Money:
    return Money.model_validate(event.data["amount"])


def _payment_authorised(order: Order, event: Event) -> Changes:
    """Another payment replaces the one that failed; the order resumes its previous status."""
    payment = {
        "id": event.data["payment_id"],
        "provider": event.data["provider"],
        "authorised": order.payment.authorised + _amount(event),
        "released": order.payment.released + order.payment.open_authorisation,  # the old one is voided
    }
    resumed = _resumed(order, OrderStatus.PAYMENT_RETRYING)
    return {**_payment(order, **payment), **resumed}


def _payment_captured(order: Order, event: Event) -> Changes:
    return _payment(order, captured=order.payment.captured + _amount(event))


def _payment_voided(order: Order, event: Event) -> Changes:
    return _payment(order, released=order.payment.released + _amount(event))


def _payment_covered(order: Order, event: Event) -> Changes:
    return _resumed(order, OrderStatus.PAYMENT_RETRYING)


def _payment_failed(order: Order, event: Event) -> Changes:
    return _suspended(order, OrderStatus.PAYMENT_RETRYING)


def _payment_refunded(order: Order, event: Event) -> Changes:
    return {
        **_payment(order, refunded=order.payment.refunded + _amount(event)),
        **_refund(order, event.data["refund_id"], RefundStatus.SUCCEEDED),
    }


def _payment_disputed(order: Order, event: Event) -> Changes:
    return {
        "payment": order.payment.model_copy(update={"disputed": order.payment.disputed + _amount(event)}),
    }


def _payment_dispute_won(order: Order, event: Event) -> Changes:
    """Raises InvalidTransition for more than is disputed: it would become refundable in addition."""
    if _amount(event) > order.payment.disputed:
        raise InvalidTransition(
            "Less than that is in dispute", state=str(order.payment_status), requested="dispute won"
        )
    return {
        "payment": order.payment.model_copy(update={"disputed": order.payment.disputed - _amount(event)}),
    }


def _payment_dispute_lost(order: Order, event: Event) -> Changes:
    """The bank keeps the money: the amount stays in `disputed`, so that it can't be refunded as well."""
    return {}


# Refunds


def _refund_requested(order: Order, event: Event) -> Changes:
    """A new refund, or the retry of one that had failed."""
    order.check_refund(_amount(event))
    if order.refund(event.data["refund_id"]) is not None:
        return _refund(order, event.data["refund_id"], RefundStatus.PENDING)
    refund = OrderRefund.model_validate(
        {
            **{name: event.data[name] for name in ("amount", "tax", "lines")},
            "shares": event.data.get("shares", []),
            "id": event.data["refund_id"],
            "status": RefundStatus.PENDING,
            "requested_at": event.at,
        }
    )
    return {"refunds": [*order.refunds, refund], "lines": _with_refunded(order, refund, 1)}


def _refund_failed(order: Order, event: Event) -> Changes:
    """The units may be refunded again. A refund that had succeeded no longer counts as refunded."""
    refund = order.refund(event.data["refund_id"])
    changes = _refund(order, event.data["refund_id"], RefundStatus.FAILED)
    assert refund is not None
    changes["lines"] = _with_refunded(order, refund, -1)
    if refund.status is RefundStatus.SUCCEEDED:
        payment = order.payment.model_copy(update={"refunded": order.payment.refunded - refund.amount})
        changes |= {"payment": payment, "payment_status": _payment_status(order, payment)}
    return changes


def _refund(order: Order, refund_id: str, to: RefundStatus) -> Changes:
    refund = order.refund(refund_id)
    if refund is None:
        raise HoldfastError(f"{order.id} has no refund {refund_id}")
    moved = refund.model_copy(update={"status": advance(REFUND_TRANSITIONS, refund.status, to)})
    changes: Changes = {"refunds": [moved if r.id == refund_id else r for r in order.refunds]}
    if refund.status is RefundStatus.FAILED:  # a failed refund has succeeded late or is retried
        changes["lines"] = _with_refunded(order, refund, 1)
    return changes


def _with_refunded(order: Order, refund: OrderRefund, times: int) -> list[OrderLine]:
    return _with_units(order, refund.lines, "refunded", times)


def _with_units(order: Order, units: list[LineQuantity], name: str, times: int = 1) -> list[OrderLine]:
    wanted = {item.line_id: times * item.quantity for item in units}
    return [line.model_copy(update={name: getattr(line, name) + wanted.get(line.id, 0)}) for line in order.lines]


# Shipments


def _shipment_created(order: Order, event: Event) -> Changes:
    shipment = OrderShipment.model_validate({**event.data, "status": ShipmentStatus.SHIPPED, "shipped_at": event.at})
    order.check_parcel(shipment.lines)
    return {"shipments": [*order.shipments, shipment], "lines": _with_units(order, shipment.lines, "shipped")}


def _shipment_scanned(order: Order, event: Event) -> Changes:
    """A tracking event. A late one is recorded without changing the shipment's status."""
    tracking_event = TrackingEvent(
        status=ShipmentStatus(event.data["status"]),
        at=event.data["at"],
        location=event.data.get("location"),
    )
    late = bool(event.data.get("late"))
    return {
        "shipments": [
            shipment.model_copy(
                update={
                    "status": shipment.status
                    if late
                    else advance(SHIPMENT_TRANSITIONS, shipment.status, tracking_event.status),
                    "events": sorted([*shipment.events, tracking_event], key=lambda known: known.at),
                }
            )
            if shipment.id == event.data["shipment_id"]
            else shipment
            for shipment in order.shipments
        ]
    }


def shipments_have_ended(order: Order) -> OrderStatus | None:
    """The status of a shipped order whose shipments are all final: delivered if anything arrived, else returned. None
    for other orders."""
    if order.fulfilment is not OrderStatus.SHIPPED or any(s.status not in PARCEL_ENDS for s in order.shipments):
        return None
    arrived = any(shipment.status is ShipmentStatus.DELIVERED for shipment in order.shipments)
    return OrderStatus.DELIVERED if arrived else OrderStatus.RETURNED


# Returns


def _return_requested(order: Order, event: Event) -> Changes:
    request = OrderReturn.model_validate(
        {
            "id": event.data["return_id"],
            "status": ReturnStatus.REQUESTED,
            "lines": event.data["lines"],
            "requested_at": event.at,
        }
    )
    order.check_return(request.lines)
    suspended = {} if order.status is OrderStatus.RETURN_REQUESTED else _suspended(order, OrderStatus.RETURN_REQUESTED)
    return {**suspended, "returns": [*order.returns, request]}


def _return_received(order: Order, event: Event) -> Changes:
    """Also of an expired return, unless the units came back with another one."""
    received = [LineQuantity.model_validate(item) for item in event.data["lines"]]
    for item in received:
        line = order.line(item.line_id)
        left = line.shipped - line.returned if line else 0
        if item.quantity > left:
            raise NotEnoughToReturn(
                f"{item.line_id} has {left} units that are not back, {item.quantity} came",
                line_id=item.line_id,
                left=left,
            )
    changes = _return(order, event, ReturnStatus.RECEIVED, received=received)
    changes["lines"] = _with_units(order, received, "returned")
    return _after_return(order, changes)


def _return_refunded(order: Order, event: Event) -> Changes:
    return _return(order, event, ReturnStatus.REFUNDED, refund_id=event.data["refund_id"])


def _return_refused(order: Order, event: Event) -> Changes:
    return _after_return(order, _return(order, event, ReturnStatus.REFUSED))


def _return_expired(order: Order, event: Event) -> Changes:
    return _after_return(order, _return(order, event, ReturnStatus.EXPIRED))


def _return(order: Order, event: Event, to: ReturnStatus, **changes: Any) -> Changes:
    request = order.return_(event.data["return_id"])
    if request is None:
        raise HoldfastError(f"{order.id} has no return {event.data['return_id']}")
    moved = request.model_copy(update={**changes, "status": advance(RETURN_TRANSITIONS, request.status, to)})
    return {"returns": [moved if r.id == request.id else r for r in order.returns]}


def _after_return(order: Order, changes: Changes) -> Changes:
    """Without an open return the order is returned if the buyer has no units left, else it resumes its status."""
    after = order.model_copy(update=changes)
    open_ = any(request.status is ReturnStatus.REQUESTED for request in after.returns)
    if open_ or order.status is not OrderStatus.RETURN_REQUESTED:
        return changes
    if not after.left_to_ship() and not after.left_to_return():
        return {**changes, "status": advance(ORDER_TRANSITIONS, order.status, OrderStatus.RETURNED), "resumes": None}
    return {**changes, **_resumed(order, OrderStatus.RETURN_REQUESTED)}


_CHANGES: Mapping[str, Callable[[Order, Event], Changes]] = {
    orders.ORDER_PROCESSING: _progress(OrderStatus.PROCESSING),
    orders.ORDER_PARTIALLY_SHIPPED: _progress(OrderStatus.PARTIALLY_SHIPPED),
    orders.ORDER_SHIPPED: _progress(OrderStatus.SHIPPED),
    orders.ORDER_DELIVERED: _progress(OrderStatus.DELIVERED),
    orders.ORDER_COMPLETED: _progress(OrderStatus.COMPLETED),
    orders.ORDER_RETURNED: _progress(OrderStatus.RETURNED),
    orders.ORDER_CLAIMED: _claimed,
    orders.ORDER_HELD: _held,
    orders.ORDER_RELEASED: _released,
    orders.ORDER_CANCELLED: _cancelled,
    orders.ORDER_REMAINDER_CANCELLED: _remainder_cancelled,
    orders.ORDER_ADDRESS_CHANGED: _address_changed,
    orders.ORDER_NOTED: _noted,
    orders.PAYMENT_AUTHORISED: _payment_authorised,
    orders.PAYMENT_CAPTURED: _payment_captured,
    orders.PAYMENT_VOIDED: _payment_voided,
    orders.PAYMENT_COVERED: _payment_covered,
    orders.PAYMENT_FAILED: _payment_failed,
    orders.PAYMENT_REFUNDED: _payment_refunded,
    orders.PAYMENT_DISPUTED: _payment_disputed,
    orders.PAYMENT_DISPUTE_WON: _payment_dispute_won,
    orders.PAYMENT_DISPUTE_LOST: _payment_dispute_lost,
    orders.REFUND_REQUESTED: _refund_requested,
    orders.REFUND_FAILED: _refund_failed,
    orders.SHIPMENT_CREATED: _shipment_created,
    orders.SHIPMENT_SCANNED: _shipment_scanned,
    orders.SHIPMENT_DELIVERED: _shipment_scanned,
    orders.SHIPMENT_LOST: _shipment_scanned,
    orders.SHIPMENT_RETURNED: _shipment_scanned,
    orders.RETURN_REQUESTED: _return_requested,
    orders.RETURN_RECEIVED: _return_received,
    orders.RETURN_REFUNDED: _return_refunded,
    orders.RETURN_REFUSED: _return_refused,
    orders.RETURN_EXPIRED: _return_expired,
}
