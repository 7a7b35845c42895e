"""What a buyer is told of an order by one mail each, besides its confirmation."""

from __future__ import annotations

from enum import StrEnum


class OrderNotice(StrEnum):
    """Each about a subject: a shipment, a refund, a return, or the order itself."""

    CONFIRMED = "confirmed"  # the confirmation once more, because somebody asked for it
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    PARCEL_LOST = "parcel_lost"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    RETURN_REQUESTED = "return_requested"
    RETURN_RECEIVED = "return_received"
    RETURN_REFUSED = "return_refused"
    RETURN_EXPIRED = "return_expired"
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_RETRIED = "payment_retried"
