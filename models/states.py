"""States and their transition tables, one per aggregate; `advance()` checks a transition."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from models.errors import InvalidTransition


class CheckoutStatus(StrEnum):
    """`processing`: the stock is held and the payment is running."""

    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    EXPIRED = "expired"
    REFUSED = "refused"


class OrderStatus(StrEnum):
    PENDING_PAYMENT = "pending_payment"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    PARTIALLY_SHIPPED = "partially_shipped"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    PAYMENT_RETRYING = "payment_retrying"
    ON_HOLD = "on_hold"
    CANCELLED = "cancelled"
    RETURN_REQUESTED = "return_requested"
    RETURNED = "returned"


# Nothing ships in these states; the order then resumes its previous status. A return does not stop shipping.
PUT_ASIDE = (OrderStatus.ON_HOLD, OrderStatus.PAYMENT_RETRYING)


class PaymentStatus(StrEnum):
    NOT_REQUIRED = "not_required"  # a zero total
    AUTHORISED = "authorised"
    PARTIALLY_CAPTURED = "partially_captured"
    CAPTURED = "captured"
    VOIDED = "voided"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class ShipmentStatus(StrEnum):
    PREPARING = "preparing"
    SHIPPED = "shipped"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    EXCEPTION = "exception"  # the carrier reports a problem; the parcel may still arrive
    DELIVERED = "delivered"
    REFUSED = "refused"  # by the recipient; on its way back
    LOST = "lost"
    RETURNED_TO_SENDER = "returned_to_sender"


# Final: later tracking events don't change these.
PARCEL_ENDS = (ShipmentStatus.DELIVERED, ShipmentStatus.LOST, ShipmentStatus.RETURNED_TO_SENDER)


class RefundStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # refused by the provider; a manual task decides how to pay the buyer back


class ReturnStatus(StrEnum):
    REQUESTED = "requested"
    RECEIVED = "received"
    REFUNDED = "refunded"
    REFUSED = "refused"
    EXPIRED = "expired"


class HoldState(StrEnum):
    HELD = "held"
    ALLOCATED = "allocated"
    RELEASED = "released"
    SHIPPED = "shipped"


class AttemptState(StrEnum):
    """The state of a row of `payments`."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    AUTHORISED = "authorised"
    DECLINED = "declined"
    VOIDED = "voided"
    CAPTURED = "captured"
    REFUNDED = "refunded"


S = TypeVar("S", bound=StrEnum)

LIVE_CHECKOUT = (CheckoutStatus.PROCESSING, CheckoutStatus.REQUIRES_ACTION)

CHECKOUT_TRANSITIONS: Mapping[CheckoutStatus, frozenset[CheckoutStatus]] = {
    CheckoutStatus.PROCESSING: frozenset(
        {
            CheckoutStatus.REQUIRES_ACTION,
            CheckoutStatus.CONFIRMED,
            CheckoutStatus.DECLINED,
            CheckoutStatus.EXPIRED,
            CheckoutStatus.REFUSED,
        }
    ),
    CheckoutStatus.REQUIRES_ACTION: frozenset(
        {CheckoutStatus.CONFIRMED, CheckoutStatus.DECLINED, CheckoutStatus.EXPIRED, CheckoutStatus.REFUSED}
    ),
    CheckoutStatus.CONFIRMED: frozenset(),
    CheckoutStatus.DECLINED: frozenset(),
    CheckoutStatus.EXPIRED: frozenset(),
    CheckoutStatus.REFUSED: frozenset(),
}

ORDER_TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING_PAYMENT: frozenset(
        {OrderStatus.CONFIRMED, OrderStatus.PAYMENT_RETRYING, OrderStatus.CANCELLED}
    ),
    OrderStatus.CONFIRMED: frozenset(
        {OrderStatus.PROCESSING, OrderStatus.ON_HOLD, OrderStatus.CANCELLED, OrderStatus.PAYMENT_RETRYING}
    ),
    OrderStatus.PROCESSING: frozenset(
        {
            OrderStatus.PARTIALLY_SHIPPED,
            OrderStatus.SHIPPED,
            OrderStatus.ON_HOLD,
            OrderStatus.CANCELLED,
            OrderStatus.PAYMENT_RETRYING,
        }
    ),
    OrderStatus.PARTIALLY_SHIPPED: frozenset(
        {
            OrderStatus.PARTIALLY_SHIPPED,
            OrderStatus.SHIPPED,
            OrderStatus.ON_HOLD,
            OrderStatus.PAYMENT_RETRYING,
            OrderStatus.RETURN_REQUESTED,
        }
    ),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED, OrderStatus.RETURN_REQUESTED, OrderStatus.RETURNED}),
    OrderStatus.DELIVERED: frozenset({OrderStatus.COMPLETED, OrderStatus.RETURN_REQUESTED}),
    OrderStatus.COMPLETED: frozenset(),
    OrderStatus.PAYMENT_RETRYING: frozenset(
        {
            OrderStatus.CONFIRMED,
            OrderStatus.PROCESSING,
            OrderStatus.PARTIALLY_SHIPPED,
            OrderStatus.SHIPPED,
            OrderStatus.CANCELLED,
        }
    ),
    OrderStatus.ON_HOLD: frozenset(
        {OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.PARTIALLY_SHIPPED, OrderStatus.CANCELLED}
    ),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.RETURN_REQUESTED: frozenset(
        {OrderStatus.RETURNED, OrderStatus.DELIVERED, OrderStatus.SHIPPED, OrderStatus.PARTIALLY_SHIPPED}
    ),
    OrderStatus.RETURNED: frozenset(),
}

PAYMENT_TRANSITIONS: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    PaymentStatus.NOT_REQUIRED: frozenset(),
    PaymentStatus.AUTHORISED: frozenset(
        {PaymentStatus.AUTHORISED, PaymentStatus.PARTIALLY_CAPTURED, PaymentStatus.CAPTURED, PaymentStatus.VOIDED}
    ),
    PaymentStatus.PARTIALLY_CAPTURED: frozenset(
        {
            PaymentStatus.PARTIALLY_CAPTURED,
            PaymentStatus.CAPTURED,
            PaymentStatus.PARTIALLY_REFUNDED,
            PaymentStatus.REFUNDED,
        }
    ),
    PaymentStatus.CAPTURED: frozenset(
        {PaymentStatus.CAPTURED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}
    ),
    # More may be captured of an order whose first parcel was refunded.
    PaymentStatus.PARTIALLY_REFUNDED: frozenset({PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED}),
    PaymentStatus.VOIDED: frozenset(),
    PaymentStatus.REFUNDED: frozenset({PaymentStatus.REFUNDED, PaymentStatus.PARTIALLY_REFUNDED}),
}

_ON_THE_WAY = frozenset(
    {
        ShipmentStatus.IN_TRANSIT,
        ShipmentStatus.OUT_FOR_DELIVERY,
        ShipmentStatus.EXCEPTION,
        ShipmentStatus.DELIVERED,
        ShipmentStatus.REFUSED,
        ShipmentStatus.LOST,
        ShipmentStatus.RETURNED_TO_SENDER,
    }
)

SHIPMENT_TRANSITIONS: Mapping[ShipmentStatus, frozenset[ShipmentStatus]] = {
    ShipmentStatus.PREPARING: frozenset({ShipmentStatus.SHIPPED}),
    ShipmentStatus.SHIPPED: _ON_THE_WAY,
    ShipmentStatus.IN_TRANSIT: _ON_THE_WAY,
    ShipmentStatus.OUT_FOR_DELIVERY: _ON_THE_WAY - {ShipmentStatus.OUT_FOR_DELIVERY},
    ShipmentStatus.EXCEPTION: _ON_THE_WAY,
    # A second delivery attempt may succeed.
    ShipmentStatus.REFUSED: frozenset(PARCEL_ENDS),
    **{end: frozenset() for end in PARCEL_ENDS},
}

REFUND_TRANSITIONS: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    RefundStatus.PENDING: frozenset({RefundStatus.SUCCEEDED, RefundStatus.FAILED}),
    # Stripe: a refund that has succeeded may still bounce at the buyer's bank.
    RefundStatus.SUCCEEDED: frozenset({RefundStatus.FAILED}),
    RefundStatus.FAILED: frozenset({RefundStatus.PENDING, RefundStatus.SUCCEEDED}),
}

RETURN_TRANSITIONS: Mapping[ReturnStatus, frozenset[ReturnStatus]] = {
    ReturnStatus.REQUESTED: frozenset({ReturnStatus.RECEIVED, ReturnStatus.REFUSED, ReturnStatus.EXPIRED}),
    ReturnStatus.RECEIVED: frozenset({ReturnStatus.REFUNDED}),
    ReturnStatus.REFUNDED: frozenset(),
    ReturnStatus.REFUSED: frozenset(),
    ReturnStatus.EXPIRED: frozenset({ReturnStatus.RECEIVED}),  # a late arrival is accepted
}


def advance(table: Mapping[S, frozenset[S]], state: S, to: S) -> S:
    """Returns `to` if it may follow `state`. Raises InvalidTransition with both."""
    if to not in table[state]:
        raise InvalidTransition(f"{state} can't become {to}", state=str(state), requested=str(to))
    return to
