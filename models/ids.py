"""Makes every id: time-ordered for entities, derived for attempts, `<kind>/<id>` for workflows."""

from __future__ import annotations

import hashlib
import os
import time
import uuid

PREFIXES = frozenset(
    {
        "cart",
        "item",
        "chk",
        "ord",
        "line",
        "pay",
        "prod",
        "var",
        "cat",
        "usr",
        "shp",
        "ret",
        "rfd",
        "adj",
        "req",
        "task",
    }
    | {"evt", "hold", "msg", "promo", "zone"}
    | {"note"}
    | {"diff", "run"}
    | {"ses", "link", "areq", "notice", "key", "addr", "pm"}
)


def new_id(prefix: str) -> str:
    """A UUIDv7 (RFC 9562, 5.7: 48 bits of Unix milliseconds, then random) behind its type: `cart_0197…`."""
    assert prefix in PREFIXES, prefix
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{prefix}_{value:032x}"


def derived_id(prefix: str, *parts: str) -> str:
    """A UUIDv8 over SHA-256: the same parts give the same id, so a repeated request gets the same entity."""
    assert prefix in PREFIXES, prefix
    digest = bytearray(digest_of(*parts)[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return f"{prefix}_{uuid.UUID(bytes=bytes(digest)).hex}"


def digest_of(*parts: str) -> bytes:
    """SHA-256 over length-prefixed parts, so different lists of parts never have the same input."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode()
        hashed.update(len(data).to_bytes(8, "big"))
        hashed.update(data)
    return hashed.digest()


RECONCILIATION = "reconciliation"  # the schedule; its executions' ids have the time appended


def order_of(checkout_id: str) -> str:
    """The id of a checkout's order. It is known before the order exists, so traces of the checkout can name it."""
    return derived_id("ord", checkout_id)


def payment_of(checkout_id: str, attempt: int = 1) -> str:
    """Attempt 1 is the checkout's payment; later ones replace a payment that failed after the order was placed."""
    return derived_id("pay", checkout_id, *([str(attempt)] if attempt > 1 else []))


def cancellation_refund_of(order_id: str) -> str:
    """The refund of what was captured of an order for units that were cancelled: an order is cancelled once."""
    return derived_id("rfd", order_id, "cancelled")


def checkout_workflow(checkout_id: str) -> str:
    return f"checkout/{checkout_id}"


def checkout_cleanup_workflow(checkout_id: str) -> str:
    return f"checkout-cleanup/{checkout_id}"


def order_workflow(order_id: str) -> str:
    return f"order/{order_id}"


def shipment_workflow(shipment_id: str) -> str:
    return f"shipment/{shipment_id}"


def refund_workflow(refund_id: str) -> str:
    return f"refund/{refund_id}"


def return_workflow(return_id: str) -> str:
    return f"return/{return_id}"


def payment_retry_workflow(order_id: str) -> str:
    return f"payment-retry/{order_id}"


def save_payment_method_workflow(payment_method_id: str) -> str:
    return f"save-payment-method/{payment_method_id}"


def remove_payment_method_workflow(payment_method_id: str) -> str:
    return f"remove-payment-method/{payment_method_id}"


def link_workflow(purpose: str, user_id: str, number: int) -> str:
    """`password-reset/usr_…/3`: the third of its kind for that user."""
    return f"{purpose.replace('_', '-')}/{user_id}/{number}"
