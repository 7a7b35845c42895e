"""The kinds of order mails besides the first confirmation."""

from __future__ import annotations

from enum import StrEnum


class OrderNotice(StrEnum):
    """The subject of each is a shipment, a refund, a return or the order."""

    CONFIRMED = "confirmed"  # sent again on request
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
